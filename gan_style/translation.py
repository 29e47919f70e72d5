"""Any method over any images: a folder in, PNGs of the same names and sizes out."""

import csv
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gan_style.errors import DataError
from gan_style.files import atomic_file
from gan_style.images import (
    ImageError,
    from_tensor,
    list_images,
    load_image,
    save_png,
    to_array,
    to_tensor,
)
from gan_style.method import Method

# File names are bytes to the system: one that isn't UTF-8 must not end a run.
CSV: dict[str, Any] = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}
PIXELS_A_BATCH = 2**20  # of equal-sized images together on an accelerator: 16 of 256x256


def output_names(content: Path) -> dict[Path, Path]:
    """Image files under `content` (or the one file) -> their relative PNG names.

    Files that differ in their suffix alone keep it: a.jpg and a.png become a.jpg.png and a.png.png.

    Raises:
        DataError: nothing there, no images, or two that would still get one name.
    """
    if not content.exists():
        raise DataError(f"--content {content}: no such file or folder")
    files, root = (
        ([content], content.parent) if content.is_file() else (list_images(content), content)
    )
    if not files:
        raise DataError(f"--content {content}: no images in this folder")
    stems = {path: path.relative_to(root).with_suffix("") for path in files}
    count = Counter(stems.values())
    names = {
        path: stem.with_name(f"{stem.name if count[stem] == 1 else path.name}.png")
        for path, stem in stems.items()
    }
    for name, uses in Counter(names.values()).items():
        if uses > 1:
            raise DataError(f"--content {content}: {uses} images would become {name}; rename one")
    return names


def translate_files(
    method: Method,
    names: dict[Path, Path],
    out: Path,
    device: torch.device,
    background: str = "white",
    batch_size: int | None = None,
) -> list[ImageError]:
    """Translate every file of `names` (input -> relative output) into PNGs under `out`.

    Also writes `<out>/times.csv`: name, width, height, and the seconds of its batch divided by the
    images in it, from the tensor in memory to the tensor in memory.

    Args:
        method: on `device`, with its weights.
        names: input file -> output file relative to `out`.
        out: output folder.
        device: where to compute.
        background: colour under transparent images.
        batch_size: images at once; None is one on a CPU, and on an accelerator as many of one size
            as make about a megapixel.

    Returns:
        What couldn't be read; everything else is written.
    """
    bad: list[ImageError] = []
    rows = []
    with tqdm(total=len(names), unit=" images", delay=2, dynamic_ncols=True) as bar:
        for batch in _batches(list(names), background, batch_size, device, bad):
            arrays = [array for _, array in batch]
            images, seconds = translate_arrays(method, arrays, device)
            for (path, _), image in zip(batch, images, strict=True):
                save_png(image, out / names[path])
                rows.append((names[path], image.shape[1], image.shape[0], f"{seconds:.4f}"))
            bar.update(len(batch))
    if rows:
        with atomic_file(out / "times.csv") as partial, partial.open("w", **CSV) as file:
            csv.writer(file).writerows([("name", "width", "height", "seconds"), *rows])
    return bad


def translate_arrays(
    method: Method, arrays: Sequence[np.ndarray], device: torch.device
) -> tuple[list[np.ndarray], float]:
    """Images uint8 (H, W, 3) of one size -> the same, and seconds an image."""
    padded = torch.stack(
        [to_tensor(pad(array, method.multiple, method.smallest)) for array in arrays]
    )
    height, width = arrays[0].shape[:2]
    padded = padded.to(device)
    started = _now(device)
    with torch.no_grad():  # not inference_mode: methods that optimise pixels need autograd inside
        images: Tensor = method.translate(padded)
    seconds = (_now(device) - started) / len(arrays)
    return [from_tensor(image)[:height, :width] for image in images], seconds


def pad(array: np.ndarray, multiple: int, smallest: int) -> np.ndarray:
    """(H, W, 3) mirrored at its lower and right edge up to the next size that a network takes."""
    sides = [-(-max(side, smallest) // multiple) * multiple for side in array.shape[:2]]
    extra = [(0, new - old) for new, old in zip(sides, array.shape[:2], strict=True)]
    return np.pad(array, [*extra, (0, 0)], mode="reflect")


def _batches(
    files: list[Path],
    background: str,
    batch_size: int | None,
    device: torch.device,
    bad: list[ImageError],
) -> Iterator[list[tuple[Path, np.ndarray]]]:
    """Neighbouring files of one size together; files that can't be read go to `bad`."""

    def readable() -> Iterator[tuple[Path, np.ndarray]]:
        for path in files:
            try:
                yield path, to_array(load_image(path, background))
            except ImageError as error:
                bad.append(error)

    for (height, width, _), same in groupby(readable(), key=lambda item: item[1].shape):
        most = 1 if device.type == "cpu" else max(1, PIXELS_A_BATCH // (height * width))
        batch: list[tuple[Path, np.ndarray]] = []
        for item in same:
            batch.append(item)
            if len(batch) == (batch_size or most):
                yield batch
                batch = []
        if batch:
            yield batch


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
