"""Any method over any images: contents, and styles where it takes them, in; PNGs out."""

import csv
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gan_style import colour, memory, optimisation
from gan_style.colour import Colours
from gan_style.config import entries
from gan_style.errors import ConfigError, DataError, UserError
from gan_style.files import atomic_file
from gan_style.images import (
    ImageError,
    from_tensor,
    image_size,
    load_image,
    resize,
    save_png,
    scaled_size,
    to_array,
    to_tensor,
)
from gan_style.method import Method, OptimisedMethod, Style, Styles
from gan_style.pairs import CSV, STEM, STYLE, by_name, called, found_in, output_names, read_pairs
from gan_style.precision import Precision, autocast, memory_format

PIXELS_A_BATCH = 2**20  # of equal-sized images together on an accelerator: 16 of 256x256
TIMES = ("name", "width", "height", "seconds")


@dataclass(frozen=True, kw_only=True)
class StyleFile:
    """A style image in a file; weight and masks as those of `method.Style`."""

    path: Path
    weight: float = 1.0
    content_mask: Path | None = None
    style_mask: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """One image to make."""

    content: Path
    name: Path  # of the PNG, in the output folder
    styles: tuple[StyleFile, ...] = ()


@dataclass(frozen=True, kw_only=True)
class How:
    """What jobs have in common.

    Args:
        device: where to compute.
        background: colour under transparent images.
        batch_size: images at once; None is one on a CPU, and on an accelerator as many of one size
            as make about a megapixel. Images with styles go one by one.
        side: contents whose longer side is above it are scaled down to it; 0 keeps all sizes.
        colour: where colours come from, see `gan_style.colour`.
        save_every: iterations between two intermediate images of an optimisation; 0 keeps none.
        resume: keep what is there already and go on with the image that was interrupted.
        precision: what networks compute in.
        times: write times.csv.
    """

    device: torch.device
    background: str = "white"
    batch_size: int | None = None
    side: int = 0
    colour: Colours = "style"
    save_every: int = 0
    resume: bool = False
    precision: Precision = "fp32"
    times: bool = True


def jobs_without_styles(content: Path, pattern: str = STEM) -> list[Job]:
    """A job an image of a folder, or of the one file; the pattern is of the files' names."""
    names = output_names(content)
    return [Job(content=path, name=called(pattern, name)) for path, name in names.items()]


def jobs_with_styles(
    content: Path,
    style: str,
    weights: str = "",
    content_masks: str = "",
    style_masks: str = "",
    pairs: Path | None = None,
    pattern: str = STEM,
) -> list[Job]:
    """Every content in every style, as <style>/<content>.png; or the pairs of a file.

    Args:
        content: image or folder.
        style: image or folder; or several images joined by commas, which are blended.
        weights: of blended styles, joined by commas.
        content_masks: where each of the blended styles goes; for a single content.
        style_masks: which part of each of the blended styles counts.
        pairs: CSV file with the columns content and style, paths in the two folders.
        pattern: of the files' names; one with the style needs no folders of styles.

    Raises:
        ConfigError: numbers of styles, weights and masks that don't match.
        DataError: a file or folder that isn't there or is empty, or two images of one name.
    """
    contents = output_names(content)
    if "," in style and not _exists(style):
        blended = _blend(entries(style), weights, content_masks, style_masks)
        styles = {blended: Path("+".join(each.path.stem for each in blended))}
    else:
        names = output_names(Path(style), "style")
        if weights:
            raise ConfigError(f"--style_weights is {weights!r}, but --style is not several images")
        if Path(style).is_file():
            blended = _blend([style], "", content_masks, style_masks)
            styles = {blended: Path(Path(style).stem)}
        elif content_masks or style_masks:
            raise ConfigError(f"masks are for single styles, but --style {style} is a folder")
        else:
            styles = {(StyleFile(path=path),): n.with_suffix("") for path, n in names.items()}
    if content_masks and len(contents) > 1:
        raise ConfigError(
            f"--content_masks are for one content, but --content {content} has {len(contents)}"
        )
    if pairs is None:
        wanted = [(path, blend) for blend in styles for path in contents]
    else:
        blends = {blend[0].path: blend for blend in styles}
        paths = by_name(contents, content), by_name(blends, Path(style))
        found = [_pair(*paths, content, Path(style), pairs, row) for row in read_pairs(pairs)]
        wanted = [(path, blends[its]) for path, its in found]
    jobs = []
    for path, blend in dict.fromkeys(wanted):
        name = called(pattern, contents[path], styles[blend].name)
        folder = Path() if STYLE in pattern else styles[blend]
        jobs.append(Job(content=path, name=folder / name, styles=blend))
    for name, uses in Counter(job.name for job in jobs).items():
        if uses > 1:  # x/y.png is content y in style x, and y of a folder x of contents ...
            raise DataError(f"{uses} images would become {name}: rename a style or a content")
    return jobs


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # several names joined can be longer than a name may be
        return False


def _blend(
    paths: Sequence[str], weights: str, content_masks: str, style_masks: str
) -> tuple[StyleFile, ...]:
    """Several styles for one image, each with its weight and masks."""
    for path in paths:
        if not Path(path).is_file():
            raise DataError(f"--style {path}: no such file")
    texts = {"style_weights": weights, "content_masks": content_masks, "style_masks": style_masks}
    lists = {name: entries(text) for name, text in texts.items()}
    for name, values in lists.items():
        if values and len(values) != len(paths):
            raise ConfigError(
                f"--{name} has {len(values)} entries, but --style has {len(paths)} images"
            )
    for name in ("content_masks", "style_masks"):
        for path in lists[name]:
            if not Path(path).is_file():
                raise DataError(f"--{name} {path}: no such file")
    try:
        numbers = [float(word) for word in lists["style_weights"]] or [1.0] * len(paths)
    except ValueError as error:
        raise ConfigError(f"--style_weights is {weights!r}, but must be numbers") from error
    if any(not number >= 0 for number in numbers) or not 0 < sum(numbers) < float("inf"):
        raise ConfigError(f"--style_weights is {weights!r}, but must be at least 0, not all 0")
    return tuple(
        StyleFile(
            path=Path(path),
            weight=numbers[index],
            content_mask=_entry(lists["content_masks"], index),
            style_mask=_entry(lists["style_masks"], index),
        )
        for index, path in enumerate(paths)
    )


def _entry(paths: Sequence[str], index: int) -> Path | None:
    return Path(paths[index]) if paths else None


def _pair(
    contents: Mapping[str, Path],
    styles: Mapping[str, Path],
    content: Path,
    style: Path,
    pairs: Path,
    row: Mapping[str, str],
) -> tuple[Path, Path]:
    """The files of the content and the style that a row of `pairs` names."""
    found = []
    for folder, names, key in ((content, contents, "content"), (style, styles, "style")):
        path = found_in(names, folder, row[key] or "")
        if path is None and not (row[key] and _exists(str(folder / row[key]))):
            raise DataError(f"--pairs {pairs} names {row[key]!r}, which isn't in {folder}")
        found.append(path)
    path, its = found
    if path is None or its is None:  # no images, hidden, or behind ".."
        raise DataError(
            f"--pairs {pairs} names {row['content']!r} in {row['style']!r}, but these aren't both "
            f"among the images found in {content} and {style}"
        )
    return path, its


def check_sizes(method: Method, jobs: Sequence[Job], how: How) -> None:
    """Refuse, before anything starts, contents that memory can't hold.

    Raises:
        UserError: the first that is too large, with the --side that fits.
    """
    free = memory.free(how.device)
    for path in dict.fromkeys(job.content for job in jobs):
        try:
            width, height = image_size(path)
        except ImageError:  # what can't be read is told when its turn comes
            continue
        height, width = scaled_size((height, width), how.side)
        needed = _bytes(method, (height, width))
        if needed > free:
            sides = range(max(height, width) // 16 * 16, 16, -16)
            fitting = (s for s in sides if _bytes(method, scaled_size((height, width), s)) <= free)
            raise UserError(
                f"{path} at {width}x{height} pixels takes about {needed / 1e9:.1f} GB, but "
                f"{free / 1e9:.1f} GB are free: try --side {next(fitting, 16)}"
            )


def _bytes(method: Method, size: tuple[int, int]) -> float:
    height, width = _padded_size(size, method.multiple, method.smallest)
    return method.bytes_for(height * width)


def translate_files(
    method: Method, jobs: Sequence[Job], out: Path, how: How, options: dict[str, Any]
) -> list[ImageError]:
    """Do every job: PNGs under `out`, and `<out>/times.csv` if asked for.

    times.csv has name, width, height, and the seconds of the image's batch divided by the images in
    it, from the tensor in memory to the tensor in memory.

    Args:
        method: on the device, with its weights.
        jobs: what to make.
        out: output folder.
        how: what jobs have in common.
        options: of the method, which the state of an interrupted optimisation is compared with.

    Returns:
        What couldn't be read; everything else is written.
    """
    bad: list[ImageError] = []
    earlier = _earlier_times(out) if how.resume else {}
    waiting = [job for job in jobs if not (how.resume and _is_done(job, out, earlier))]
    rows = earlier or {}
    if how.times and not how.resume and any((out / job.name).exists() for job in jobs):
        _write_times(out, {})  # none of those there is this command's
    pictures = isinstance(method, OptimisedMethod)  # each of which has a bar of its own
    try:
        with tqdm(
            total=len(jobs), initial=len(jobs) - len(waiting), unit=" images",
            delay=0 if pictures else 2, dynamic_ncols=True, disable=pictures and len(jobs) == 1,
        ) as bar:  # fmt: skip
            for batch in _batches(waiting, how, bad):
                started = _now(how.device)
                with memory.explained(batch[0][0].content):
                    images = _translate(method, batch, out, how, options)
                seconds = (_now(how.device) - started) / len(batch)
                for (job, _), image in zip(batch, images, strict=True):
                    save_png(image, out / job.name)
                    optimisation.forget(out / job.name)
                    rows[str(job.name)] = (image.shape[1], image.shape[0], f"{seconds:.4f}")
                bar.update(len(batch))
    finally:
        if rows and how.times:
            _write_times(out, rows)
    return bad


def _write_times(out: Path, rows: dict[str, tuple[Any, ...]]) -> None:
    with atomic_file(out / "times.csv") as partial, partial.open("w", **CSV) as file:
        csv.writer(file).writerows([TIMES, *((name, *row) for name, row in rows.items())])


def _is_done(job: Job, out: Path, times: dict[str, tuple[Any, ...]] | None) -> bool:
    """Whether an interrupted command had made it: what it was to replace may lie there as well."""
    path = out / job.name
    made = times is None or str(job.name) in times
    return path.exists() and made and not optimisation.is_under_way(path)


def _earlier_times(out: Path) -> dict[str, tuple[Any, ...]] | None:
    path = out / "times.csv"
    if not path.exists():
        return None
    try:
        with path.open(**CSV) as file:
            rows = [row for row in csv.reader(file) if len(row) == len(TIMES)]
    except (OSError, csv.Error) as error:
        raise DataError(f"{path} can't be read: {error}; remove it") from error
    return {row[0]: tuple(row[1:]) for row in rows[1:]}


def _translate(
    method: Method,
    batch: Sequence[tuple[Job, np.ndarray]],
    out: Path,
    how: How,
    options: dict[str, Any],
) -> list[np.ndarray]:
    """Images uint8 (H, W, 3) of one size -> the same."""
    arrays = [array for _, array in batch]
    job = batch[0][0]
    if not job.styles:
        return translate_arrays(method, arrays, how.device, how.precision)
    content = _tensor(arrays[0], method, how.device)
    styles = [_style(each, arrays[0], method, how) for each in job.styles]
    grey, matched = colour.before(how.colour, content, [style.image for style in styles])
    styles = [replace(s, image=image) for s, image in zip(styles, matched, strict=True)]

    def finish(image: Tensor) -> Tensor:
        return colour.after(how.colour, image, content)

    with torch.no_grad():  # not inference_mode: methods that optimise pixels need autograd inside
        if isinstance(method, OptimisedMethod):
            made_by = {**options, "colour": how.colour, "precision": how.precision}
            with autocast(how.precision, how.device):
                image = optimisation.optimise(
                    method, grey, styles, out / job.name, made_by, how.save_every, how.resume,
                    finish,
                )  # fmt: skip
        else:
            image = translate(method, grey, styles, how.precision)
        image = finish(image)
    height, width = arrays[0].shape[:2]
    return [from_tensor(image[0])[:height, :width]]


def translate(method: Method, content: Tensor, styles: Styles, precision: Precision) -> Tensor:
    """Images (N, 3, H, W), RGB in [0, 1] -> float32 of the same, in one call of the method."""
    content = content.contiguous(memory_format=memory_format(precision))
    with torch.no_grad(), autocast(precision, content.device):
        return method.translate(content, styles).float()


def translate_arrays(
    method: Method, arrays: Sequence[np.ndarray], device: torch.device, precision: Precision
) -> list[np.ndarray]:
    """Images uint8 (H, W, 3) of one size -> the same, by a method that takes no style."""
    padded = torch.cat([_tensor(array, method, device) for array in arrays])
    height, width = arrays[0].shape[:2]
    images = translate(method, padded, None, precision)
    return [from_tensor(image)[:height, :width] for image in images]


def pad(array: np.ndarray, multiple: int, smallest: int) -> np.ndarray:
    """(H, W, 3) mirrored at its lower and right edge up to the next size that a network takes."""
    height, width = array.shape[:2]
    new_height, new_width = _padded_size((height, width), multiple, smallest)
    extra = ((0, new_height - height), (0, new_width - width), (0, 0))
    return np.pad(array, extra, mode="reflect")


def _padded_size(size: tuple[int, int], multiple: int, smallest: int) -> tuple[int, int]:
    height, width = (-(-max(side, smallest) // multiple) * multiple for side in size)
    return height, width


def _tensor(array: np.ndarray, method: Method, device: torch.device) -> Tensor:
    """(H, W, 3) -> (1, 3, H', W') of a size that the method takes."""
    return to_tensor(pad(array, method.multiple, method.smallest))[None].to(device)


def _style(file: StyleFile, content: np.ndarray, method: Method, how: How) -> Style:
    """A style and its masks as tensors; the content's mask is padded as the content is."""
    array = _read(file.path, how.background)

    def mask(path: Path | None, of: np.ndarray, multiple: int) -> Tensor | None:
        if path is None:
            return None
        padded = pad(_mask(path, of.shape[:2]), multiple, method.smallest)
        return to_tensor(padded)[None, :1].to(how.device)

    return Style(
        image=to_tensor(pad(array, 1, method.smallest))[None].to(how.device),
        weight=file.weight,
        content_mask=mask(file.content_mask, content, method.multiple),
        style_mask=mask(file.style_mask, array, 1),
    )


@lru_cache(maxsize=4)  # consecutive jobs share their styles
def _read(path: Path, background: str) -> np.ndarray:
    return to_array(load_image(path, background))


def _mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """A mask as grey uint8 (H, W, 3), scaled to its image's `size` if the shape is the same."""
    array = np.array(load_image(path, "black").convert("L").convert("RGB"))
    height, width = array.shape[:2]
    if abs(height * size[1] - width * size[0]) > 0.02 * width * size[0]:
        raise ImageError(
            f"{path}: the mask is {width}x{height} pixels, its image {size[1]}x{size[0]}: "
            "they need the same shape"
        )
    if not array.any():
        raise DataError(f"{path}: the mask is black everywhere: leave its style out, or paint it")
    return resize(array, size)


def _batches(
    jobs: Sequence[Job], how: How, bad: list[ImageError]
) -> Iterator[list[tuple[Job, np.ndarray]]]:
    """Neighbouring jobs of one size together, with styles one by one; `bad` gets the unreadable."""

    def readable() -> Iterator[tuple[Job, np.ndarray]]:
        for job in jobs:
            try:
                array = to_array(load_image(job.content, how.background))
                for style in job.styles:
                    _read(style.path, how.background)
                yield job, resize(array, scaled_size(array.shape[:2], how.side))
            except ImageError as error:
                bad.append(error)

    for (height, width, _), same in groupby(readable(), key=lambda item: item[1].shape):
        most = 1 if how.device.type == "cpu" else max(1, PIXELS_A_BATCH // (height * width))
        batch: list[tuple[Job, np.ndarray]] = []
        for item in same:
            batch.append(item)
            if item[0].styles or len(batch) == (how.batch_size or most):
                yield batch
                batch = []
        if batch:
            yield batch


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
