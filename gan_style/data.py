"""Unpaired collections, two or one of them, as an endless, seeded stream of crops.

Sampling and cropping follow `data/unaligned_dataset.py` and `data/base_dataset.py` of the CycleGAN
reference: A in a new order every epoch, B drawn independently of A, an epoch as long as the larger
collection. One collection alone comes in a new order every epoch. Item k of the stream depends on
the seed and k alone, never on how many processes, threads or restarts there were; so its position
is one number, and N processes of batch 1 see together what one process of batch N sees.

Differences: images are resized once by PIL's bicubic, which is the reference's and antialiased
(OpenCV's, which albumentations has, is neither), and kept; crops and flips are albumentations'.
Threads decode, not processes: the cache is shared and nothing is pickled. An epoch's last,
incomplete batch is filled from the next epoch.
"""

import os
import random
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gan_style.config import PARTS, DataConfig
from gan_style.errors import DataError, printable
from gan_style.images import (
    PIXELS,
    ImageError,
    list_images,
    load_image,
    resize,
    spread,
    to_array,
    to_tensor,
)
from gan_style.method import Batch, Side
from gan_style.reading import read_bytes

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import asks the network otherwise
import albumentations as A

SIDES: tuple[Side, ...] = get_args(Side)
LISTED = 1_000_000_000  # bytes of a list of files: ten million paths


@dataclass(frozen=True, kw_only=True)
class Domain:
    """The image files of two collections; the test parts may be empty."""

    name: str
    trainA: tuple[Path, ...]  # as the folders are called
    trainB: tuple[Path, ...]
    testA: tuple[Path, ...]
    testB: tuple[Path, ...]
    split: bool = False  # into train and test by us: `write` keeps it with the run

    def train(self, side: Side) -> tuple[Path, ...]:
        """The training images of a side."""
        return self.trainA if side == "a" else self.trainB

    def test(self, side: Side) -> tuple[Path, ...]:
        """The test images of a side."""
        return self.testA if side == "a" else self.testB

    def write(self, folder: Path) -> None:
        """Write `<folder>/trainA.txt` and so on: a path a line."""
        for part in PARTS:
            lines = "".join(f"{path.absolute()}\n" for path in getattr(self, part))
            (folder / f"{part}.txt").write_bytes(os.fsencode(lines))


def is_loose(folder: Path) -> bool:
    """Whether a folder is no domain, so that it may be one collection."""
    return not any((folder / part).is_dir() for part in ("trainA", "trainB"))


def domain_from_folder(folder: Path, sides: Sequence[Side] = SIDES) -> Domain:
    """The domain that lies in `folder`/{trainA,trainB,testA,testB}, of which `sides` are needed."""
    for part in (f"train{side.upper()}" for side in sides):
        if not (folder / part).is_dir():
            loose = "two loose folders are given as --data_a DIR --data_b DIR"
            if len(sides) == 1:
                loose = "one of images alone is given as --domain DIR"
            raise DataError(
                f"{folder} has no folder {part}: a domain has {', '.join(PARTS)}; {loose}"
            )
    files: dict[str, Any] = {
        part: tuple(list_images(folder / part)) if (folder / part).is_dir() else ()
        for part in PARTS
    }
    return Domain(name=folder.absolute().name, **files)


def domain_from_lists(name: str, folder: Path) -> Domain:
    """The domain that `Domain.write` wrote down."""
    files = {part: read_list(folder / f"{part}.txt") for part in PARTS}
    return Domain(name=name, split=True, **files)


def read_list(path: Path) -> tuple[Path, ...]:
    """The image files that a text file names, a path a line."""
    try:
        lines = os.fsdecode(read_bytes(path, LISTED)).split("\n")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read: {getattr(error, 'strerror', error)}") from error
    return tuple(Path(line) for line in lines if line)


def domain_from_two_folders(folder_a: Path, folder_b: Path, test_share: float, seed: int) -> Domain:
    """A seeded split of two loose folders: at least one test image a side, the rest to train."""
    parts = _split(folder_a, "a", test_share, seed) | _split(folder_b, "b", test_share, seed)
    name = f"{folder_a.absolute().name}2{folder_b.absolute().name}"
    return Domain(name=name, split=True, **parts)


def domain_from_one_folder(folder: Path, side: Side, test_share: float, seed: int) -> Domain:
    """A seeded split of one loose folder, as of two; the other side is empty."""
    empty: dict[str, tuple[Path, ...]] = dict.fromkeys(PARTS, ())
    parts = empty | _split(folder, side, test_share, seed)
    if not any(parts.values()):
        raise DataError(
            f"{folder} has no folder train{side.upper()} and no images: give a folder of images"
        )
    return Domain(name=folder.absolute().name, split=True, **parts)


def _split(folder: Path, side: Side, test_share: float, seed: int) -> dict[str, tuple[Path, ...]]:
    files = list_images(folder)
    for path in files:
        if "\n" in str(path.absolute()):
            raise DataError(
                f"{printable(path)}: a path with a line break can't be kept in the run's lists of "
                "files, which have a path a line: rename it"
            )
    random.Random(f"{seed} {side.upper()}").shuffle(files)
    test = max(1, round(test_share * len(files))) if len(files) > 2 else 0
    return {
        f"test{side.upper()}": tuple(sorted(files[:test])),
        f"train{side.upper()}": tuple(sorted(files[test:])),
    }


class ImageCache:
    """Files as scaled uint8 arrays, kept in memory up to a bound.

    Args:
        scaled: (height, width) -> that of what the crop is taken from.
        background: colour under transparent images.
        limit: bytes kept at most.
    """

    def __init__(
        self,
        scaled: Callable[[tuple[int, int]], tuple[int, int]],
        background: str,
        limit: float,
    ) -> None:
        self.scaled, self.background, self.limit = scaled, background, limit
        self.arrays: dict[Path, np.ndarray] = {}
        self.size = 0
        self.lock = threading.Lock()

    def read(self, path: Path) -> np.ndarray:
        """The scaled image of a file; ImageError when it can't be read."""
        array = self.arrays.get(path)
        if array is None:
            array = to_array(load_image(path, self.background))
            size = self.scaled(array.shape[:2])
            if size[0] * size[1] > PIXELS:  # as wide as the others, a line is very long
                raise ImageError(
                    f"{path}: {array.shape[1]}x{array.shape[0]} pixels would be scaled to "
                    f"{size[1]}x{size[0]}, which is more than {PIXELS} pixels"
                )
            array = resize(array, size)
            with self.lock:
                if path not in self.arrays and self.size + array.nbytes <= self.limit:
                    self.arrays[path] = array
                    self.size += array.nbytes
        return array


class DomainPair:
    """The training images of a domain as a stream of unpaired crops.

    Args:
        domain: its files.
        config: how they are cut.
        seed: of the order, the crops and the flips.
        multiple: sides that the networks take are multiples of this ...
        smallest: ... and at least this.
        progress: show a bar while the images are read for the first time.
        sides: the collections that are read; the other one is never looked at.

    Raises:
        DataError: fewer than two images a side, files that can't be read, images too small.
    """

    def __init__(
        self,
        domain: Domain,
        config: DataConfig,
        seed: int,
        multiple: int = 1,
        smallest: int = 1,
        progress: bool = False,
        sides: Sequence[Side] = SIDES,
    ) -> None:
        self.config, self.seed = config, seed
        self.sides = tuple(side for side in SIDES if side in sides)
        self.multiple, self.smallest = multiple, smallest
        self.cache = ImageCache(
            lambda size: _scaled_size(size, config, multiple),
            config.background,
            config.cache_gb * 1e9,
        )
        self.skipped: list[str] = []
        self.domain = self._checked(domain, progress)
        self.local = threading.local()  # an albumentations pipeline has its own random state

    def __len__(self) -> int:
        """Images an epoch: as many as the larger collection has."""
        return max(len(self.domain.train(side)) for side in self.sides)

    def _checked(self, domain: Domain, progress: bool) -> Domain:
        """Read every file once, before training, and fill the cache with it."""
        letters = [side.upper() for side in self.sides]
        parts = [f"{use}{letter}" for use in ("train", "test") for letter in letters]
        for part in parts[: len(letters)]:
            count = len(getattr(domain, part))
            if count < 2:
                raise DataError(
                    f"{domain.name}: {count or 'no'} image{'s' * (count != 1)} in {part}, "
                    "but a collection needs at least 2"
                )
        files = [path for part in parts for path in getattr(domain, part)]
        with ThreadPoolExecutor(self.config.workers) as pool:
            results = tqdm(
                pool.map(self._problem, files),
                total=len(files), desc="reading images", unit=" images", leave=False,
                disable=not progress, delay=2,
            )  # fmt: skip
            problems = {
                path: problem for path, problem in zip(files, results, strict=True) if problem
            }
        self.skipped = list(problems.values())
        if not problems:
            return domain
        if not self.config.skip_bad_images:
            raise DataError(
                f"{len(problems)} of {len(files)} images can't be used (leave them out with "
                "--skip_bad_images): " + "; ".join(problems.values())
            )
        good: dict[str, Any] = {
            part: tuple(path for path in getattr(domain, part) if path not in problems)
            for part in parts
        }
        for part in parts[: len(letters)]:
            if len(good[part]) < 2:
                raise DataError(
                    f"{domain.name}: {len(good[part])} images in {part} can be used, "
                    f"but a collection needs at least 2: {self.skipped[0]}"
                )
        return replace(domain, **good)

    def _problem(self, path: Path) -> str:
        try:
            height, width = self.cache.read(path).shape[:2]
        except ImageError as error:
            return str(error)
        crop = self.config.crop
        if crop and (height < crop[0] or width < crop[1]):
            options = f"--size {crop[0]}" + f" --width {crop[1]}" * (self.config.width is not None)
            return f"{printable(path)}: {width}x{height} pixels is below the crop, {options}"
        if min(height, width) < self.smallest:
            return (
                f"{printable(path)}: {width}x{height} pixels, but these networks need "
                f"{self.smallest}"
            )
        return ""

    def item(self, position: int) -> tuple[Tensor, ...]:
        """Item `position` of the stream: float32 (3, H, W) in [0, 1] of each of `sides`."""
        paths = self.files(position)
        return tuple(
            self._crop(path, position, side) for path, side in zip(paths, self.sides, strict=True)
        )

    def files(self, position: int) -> tuple[Path, ...]:
        """Where item `position` comes from."""
        epoch, index = divmod(position, len(self))
        files = [self.domain.train(side) for side in self.sides]
        order, partners = _epoch(self.seed, epoch, len(self), len(files[-1]))
        first = int(order[index])
        second = first if self.config.serial_b else int(partners[index])
        return tuple(
            paths[number % len(paths)]
            for paths, number in zip(files, (first, second), strict=False)
        )

    def _crop(self, path: Path, position: int, side: Side) -> Tensor:
        pipeline = getattr(self.local, "pipeline", None)
        if pipeline is None:
            pipeline = self.local.pipeline = _pipeline(self.config)
        number = SIDES.index(side)
        seed = np.random.SeedSequence((self.seed, position, number)).generate_state(1)[0]
        pipeline.set_random_seed(int(seed))
        return to_tensor(pipeline(image=self.cache.read(path))["image"])

    def batches(
        self,
        start: int,
        batch_size: int,
        process: int = 0,
        processes: int = 1,
        pinned: bool = False,
    ) -> Generator[Batch, None, None]:
        """Batches for one of several processes, from item `start` of the stream on, for ever.

        Pinned ones can be copied to a GPU while it computes.
        """

        def make(position: int) -> Batch:
            first = position + process * batch_size
            items = [self.item(first + i) for i in range(batch_size)]
            batch = Batch()
            for side, images in zip(self.sides, zip(*items, strict=True), strict=True):
                stacked = torch.stack(images)
                batch[side] = stacked.pin_memory() if pinned else stacked
            return batch

        step = batch_size * processes
        pool = ThreadPoolExecutor(self.config.workers, thread_name_prefix="loader")
        try:
            ahead: deque[Future[Batch]] = deque()
            while True:
                while len(ahead) < 2 * self.config.workers:
                    ahead.append(pool.submit(make, start))
                    start += step
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def samples(self, count: int, use: Literal["test", "train"] = "test") -> Batch:
        """`count` fixed test images a side (training images where there are no test images).

        Scaled like all others and cropped in the middle to `size` x `width`, or to as much of it as
        all of them hold: in height and in width a multiple of what the networks take.
        """
        batch = Batch()
        for side in self.sides:
            files = self.domain.test(side) if use == "test" else ()
            batch[side] = self._middle(files or self.domain.train(side), count)
        return batch

    def _middle(self, files: Sequence[Path], count: int) -> Tensor:
        arrays = [self.cache.read(path) for path in spread(files, count)]
        shapes = [self.config.shape, *(array.shape[:2] for array in arrays)]
        height, width = (
            min(sides) // self.multiple * self.multiple for sides in zip(*shapes, strict=True)
        )
        return torch.stack([to_tensor(center_crop(array, (height, width))) for array in arrays])


def center_crop(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle of an image (H, W, 3), of `size` = (height, width)."""
    height, width = size
    top, left = (array.shape[0] - height) // 2, (array.shape[1] - width) // 2
    return array[top : top + height, left : left + width]


@lru_cache(maxsize=4)
def _epoch(seed: int, epoch: int, length: int, count_b: int) -> tuple[Tensor, Tensor]:
    """The order of the first side and its partners from B, drawn anew for every epoch."""
    generator = torch.Generator()
    generator.manual_seed(int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0]))
    order = torch.randperm(length, generator=generator)
    return order, torch.randint(count_b, (length,), generator=generator)


def _pipeline(config: DataConfig) -> A.Compose:
    crop = [A.RandomCrop(*config.crop)] if config.crop else []  # of "resize" it is all there is
    flip = [A.HorizontalFlip(p=0.5)] if config.flip else []
    return A.Compose([*crop, *flip])


def _scaled_size(size: tuple[int, int], config: DataConfig, multiple: int) -> tuple[int, int]:
    """(height, width) -> that of what the crop is taken from, by the reference's `preprocess`.

    Its `resize`, which it doesn't list, is to `load_size`; ours is to the crop's size.
    """
    height, width = size
    if config.preprocess == "resize":
        return config.shape
    if config.preprocess == "resize_and_crop":
        return config.scaled_to
    if config.preprocess in ("scale_width", "scale_width_and_crop"):
        # The reference takes at least a crop's height and so distorts very wide images; so do we.
        scaled = config.scaled_width
        height, width = max(scaled * height // width, config.size), scaled
    if config.crop is None:
        height, width = (max(1, round(n / multiple)) * multiple for n in (height, width))
    return height, width
