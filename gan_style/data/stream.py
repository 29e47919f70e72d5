"""Unpaired collections, two or one of them, as an endless, seeded stream of crops.

Sampling and cropping follow `data/unaligned_dataset.py` and `data/base_dataset.py` of the CycleGAN
reference: A in a new order every epoch, B drawn independently of A, an epoch as long as the larger
collection. One collection alone comes in a new order every epoch. Item k of the stream depends on
the seed and k alone, never on how many processes, threads or restarts there were; so its position
is one number, and N processes of batch 1 see together what one process of batch N sees.

Differences: images are resized once by PIL's bicubic, which is the reference's and antialiased
(OpenCV's, which albumentations has, is neither), and kept; crops and flips are albumentations'.
Embedded ICC profiles are converted to sRGB, which the reference ignores: it reads 192 of the 2000
photographs of monet2photo up to 132 levels differently. Threads decode, not processes: the cache is
shared and nothing is pickled. An epoch's last, incomplete batch is filled from the next epoch. An
image that can't be read any more is left out, and the next one of its collection is shown instead.
"""

import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor

from gan_style import memory
from gan_style.config import PARTS, DataConfig
from gan_style.data.images import (
    LONG,
    PIXELS,
    ImageError,
    left_out,
    list_images,
    read_picture,
    resize,
    same,
    spread,
    to_array,
    to_grey,
    to_tensor,
)
from gan_style.errors import DataError, printable
from gan_style.io.downloads import sha256_of
from gan_style.io.files import listed
from gan_style.io.safe_io import read_bytes
from gan_style.method import Batch, Side
from gan_style.progress import Bar

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import asks the network otherwise
import albumentations as A

SIDES: tuple[Side, ...] = get_args(Side)
LISTED = 1_000_000_000  # bytes of a list of files: ten million paths
SHARE = 0.25  # of the free memory that images may take: networks and their gradients need the rest
INTERVAL = 0.1  # seconds between two looks at it, which take milliseconds
PAUSE = 0.1  # seconds before what couldn't be read is tried again; a disk over a network may falter

T = TypeVar("T")


class NoImage(DataError):
    """A part of a domain has no image any more that can be read."""


@dataclass(frozen=True, kw_only=True)
class Domain:
    """The image files of two collections; the test parts may be empty."""

    name: str
    trainA: tuple[Path, ...]  # as the folders are called
    trainB: tuple[Path, ...]
    testA: tuple[Path, ...]
    testB: tuple[Path, ...]
    split: bool = False  # into train and test by us: `write` keeps it with the run
    folders: Mapping[str, Path] = field(default_factory=dict)  # of each part, names are within

    def train(self, side: Side) -> tuple[Path, ...]:
        """The training images of a side."""
        return self.trainA if side == "a" else self.trainB

    def test(self, side: Side) -> tuple[Path, ...]:
        """The test images of a side."""
        return self.testA if side == "a" else self.testB

    def name_of(self, part: str, path: Path) -> str:
        """A file of a part by its path within the part's folder, wherever that lies."""
        root = self.folders.get(part)
        return (path.relative_to(root) if root else Path(path.name)).as_posix()

    def names(self, part: str) -> list[str]:
        """All of them, in order."""
        return [self.name_of(part, path) for path in getattr(self, part)]

    def write(self, folder: Path) -> None:
        """Write `<folder>/trainA.txt` and so on: a path within the part's folder a line."""
        for part in PARTS:
            lines = "".join(f"{name}\n" for name in self.names(part))
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
        part: tuple(_in_order(list_images(folder / part))) if (folder / part).is_dir() else ()
        for part in PARTS
    }
    folders = {part: folder / part for part in PARTS}
    return Domain(name=folder.absolute().name, folders=folders, **files)


def _in_order(paths: Iterable[Path]) -> list[Path]:
    """Sorted by path, the same way however accents are stored."""
    return sorted(paths, key=lambda path: Path(same(str(path))))


def domain_from_lists(name: str, folder: Path, roots: Mapping[Side, Path]) -> Domain:
    """The domain that `Domain.write` wrote down, with the images of each side in `roots` now.

    Raises:
        DataError: a list can't be read, or names what isn't in a folder.
    """
    files = {part: read_list(folder / f"{part}.txt") for part in PARTS}
    folders: dict[str, Path] = {}
    for side, root in roots.items():
        parts = [part for part in PARTS if part.endswith(side.upper())]
        listed = [path for part in parts for path in files[part]]
        outside = [path for path in listed if path.is_absolute() or ".." in path.parts]
        if outside and (len(outside) < len(listed) or any(".." in path.parts for path in listed)):
            raise DataError(
                f"a list of images in {folder} names {printable(outside[0])}, which isn't within "
                "the folder of the others: it is none that a run has written"
            )
        names, place = _within(listed, root)
        folders |= dict.fromkeys(parts, place)
        files |= {part: tuple(place / names[path] for path in files[part]) for part in parts}
    return Domain(name=name, split=True, folders=folders, **files)


def _within(listed: Sequence[Path], root: Path) -> tuple[dict[Path, Path], Path]:
    """Listed files by their paths within a folder, as it has them now, and that folder: `root`.

    Runs of before listed whole paths, perhaps of another place: then it is `root` if all of them
    are there, at the ends of these paths, and else the folder that they name.
    """
    if not all(path.is_absolute() for path in listed) or not listed:
        return _spelled({path: path for path in listed}, root), root
    common = Path(os.path.commonpath([path.parent for path in listed]))
    for folder in (common, *common.parents):
        names = _spelled({path: path.relative_to(folder) for path in listed}, root)
        if all((root / name).is_file() for name in names.values()):
            return names, root
    return _spelled({path: path.relative_to(common) for path in listed}, common), common


def _spelled(names: dict[Path, Path], folder: Path) -> dict[Path, Path]:
    """The same with names as the files of a folder have them now, where these differ in accents."""
    others = [n for n in names.values() if not (str(n).isascii() or (folder / n).is_file())]
    if not others or not folder.is_dir():
        return names
    there = [path.relative_to(folder) for path in list_images(folder)]
    found = {same(str(name)): name for name in there}
    now = {name: found.get(same(str(name)), name) for name in others}
    return {path: now.get(name, name) for path, name in names.items()}


def read_list(path: Path) -> tuple[Path, ...]:
    """The image files that a text file names, a path a line."""
    try:
        lines = os.fsdecode(read_bytes(path, LISTED)).split("\n")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read: {getattr(error, 'strerror', error)}") from error
    return tuple(Path(line) for line in lines if line)


def with_absent(domain: Domain, left_out: Iterable[tuple[str, str]]) -> Domain:
    """The domain as it was before images vanished that a run has left out, as (part, name).

    They keep their places, so that the stream of a resumed run is that of before.
    """
    wanted = set(left_out)
    files: dict[str, Any] = {}
    for part, folder in domain.folders.items():
        there: tuple[Path, ...] = getattr(domain, part)
        known = {same(name) for name in domain.names(part)}
        noted = {same(name): name for each, name in wanted if each == part}
        absent = [folder / name for key, name in noted.items() if key not in known]
        files[part] = tuple(_in_order((*there, *absent))) if absent else there
    return replace(domain, **files)


def domain_from_two_folders(folder_a: Path, folder_b: Path, test_share: float, seed: int) -> Domain:
    """A seeded split of two loose folders: at least one test image a side, the rest to train."""
    parts = _split(folder_a, "a", test_share, seed) | _split(folder_b, "b", test_share, seed)
    name = f"{folder_a.absolute().name}2{folder_b.absolute().name}"
    folders = {part: folder_a if part.endswith("A") else folder_b for part in PARTS}
    return Domain(name=name, split=True, folders=folders, **parts)


def domain_from_one_folder(folder: Path, side: Side, test_share: float, seed: int) -> Domain:
    """A seeded split of one loose folder, as of two; the other side is empty."""
    empty: dict[str, tuple[Path, ...]] = dict.fromkeys(PARTS, ())
    parts = empty | _split(folder, side, test_share, seed)
    if not any(parts.values()):
        error = DataError(
            f"{folder} has no folder train{side.upper()} and no images: give a folder of images"
        )
        raise _with_unread(error, [folder])
    folders = {part: folder for part in PARTS if part.endswith(side.upper())}
    return Domain(name=folder.absolute().name, split=True, folders=folders, **parts)


def _with_unread(error: DataError, folders: Sequence[Path]) -> DataError:
    """The error, with what these folders have that nothing reads, a line each."""
    for folder in dict.fromkeys(folders):
        if folder.is_dir() and (line := left_out(folder)):
            error.add_note(line)
    return error


def _split(folder: Path, side: Side, test_share: float, seed: int) -> dict[str, tuple[Path, ...]]:
    files = _in_order(list_images(folder))
    for path in files:
        if "\n" in str(path.absolute()):
            raise DataError(
                f"{printable(path)}: a path with a line break can't be kept in the run's lists of "
                "files, which have a path a line: rename it"
            )
    random.Random(f"{seed} {side.upper()}").shuffle(files)
    test = max(1, round(test_share * len(files))) if len(files) > 2 else 0
    return {
        f"test{side.upper()}": tuple(_in_order(files[:test])),
        f"train{side.upper()}": tuple(_in_order(files[test:])),
    }


def _tried_twice(read: Callable[[], T], pause: float = 0.0) -> T:
    """What a read returns; where it fails it is done again, `pause` seconds later."""
    try:
        return read()
    except (ImageError, OSError):
        time.sleep(pause)
        return read()


class ImageCache:
    """Files as scaled uint8 arrays, kept in memory up to a bound, and to a share of what is free.

    Args:
        scaled: (height, width) -> that of what the crop is taken from.
        background: colour under transparent images.
        limit: bytes kept at most.
        processes: of this machine that keep as much each.
    """

    def __init__(
        self,
        scaled: Callable[[tuple[int, int]], tuple[int, int]],
        background: str,
        limit: float,
        processes: int = 1,
    ) -> None:
        self.scaled, self.background, self.limit = scaled, background, limit
        self.processes = processes
        self.arrays: dict[tuple[Path, bool], np.ndarray] = {}
        self.notes: dict[Path, str] = {}  # what of a file isn't read
        self.size = 0
        self.room, self.looked = 0.0, -INTERVAL  # bytes that memory has for images, and since when
        self.short = False  # of memory, before the limit was reached
        self.lock = threading.Lock()

    def read(self, path: Path, grey: bool = False, pause: float = 0.0) -> np.ndarray:
        """The scaled image of a file, tried twice; ImageError when it can't be read.

        Args:
            path: the file.
            grey: its luma, in all three channels; taken before it is scaled, as in the reference.
            pause: seconds between the two times.
        """
        array = self.arrays.get((path, grey))
        if array is None:
            picture = _tried_twice(lambda: read_picture(path, self.background), pause)
            if picture.note:
                self.notes[path] = picture.note
            array = to_array(to_grey(picture.image) if grey else picture.image)
            size = self.scaled(array.shape[:2])
            if size[0] * size[1] > PIXELS:  # as wide as the others, a line is very long
                raise ImageError(
                    f"{path}: {array.shape[1]}x{array.shape[0]} pixels would be scaled to "
                    f"{size[1]}x{size[0]}, which is more than {PIXELS} pixels"
                )
            array = resize(array, size)
            with self.lock:
                if (path, grey) not in self.arrays and self._has_room(array.nbytes):
                    self.arrays[path, grey] = array
                    self.size += array.nbytes
        return array

    def _has_room(self, size: int) -> bool:
        """Whether so many bytes more keep to both bounds; other processes keep as much as this."""
        if self.size + size > self.limit:
            return False
        now = time.monotonic()
        if now - self.looked >= INTERVAL:
            # What training holds at the peak of a step comes back in the next one.
            free = memory.free(torch.device("cpu")) - self.processes * memory.below_peak()
            self.room, self.looked = SHARE * (free / self.processes + self.size), now
        fits = self.size + size <= self.room
        self.short = self.short or not fits
        return fits


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
        grey: those of them that are read as their luma.
        left_out: (part, name within its folder) of images that this run has left out before: where
            they still can't be read, it goes on without them.
        processes: of this machine that share its memory.
        advice: what to do about images that can't be used.

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
        grey: Collection[Side] = (),
        left_out: Collection[tuple[str, str]] = (),
        processes: int = 1,
        advice: str = "leave them out with --skip_bad_images",
    ) -> None:
        self.config, self.seed = config, seed
        self.sides = tuple(side for side in SIDES if side in sides)
        self.grey = tuple(grey)
        self.multiple, self.smallest = multiple, smallest
        self.cache = ImageCache(
            lambda size: _scaled_size(size, config, multiple),
            config.background,
            config.cache_gb * 1e9,
            processes,
        )
        self.skipped: list[str] = []  # bad images that were none of the training's from the start
        # (part, path) -> why, of those that the training had and couldn't read any more.
        self.left_out: dict[tuple[str, Path], str] = {}
        self.advice = advice
        self.digests: dict[Path, str] = {}  # SHA-256 of every file that can be used
        self.domain = self._checked(domain, progress, left_out)
        self.local = threading.local()  # an albumentations pipeline has its own random state

    def __len__(self) -> int:
        """Images an epoch: as many as the larger collection has."""
        return max(len(self.domain.train(side)) for side in self.sides)

    def _checked(
        self, domain: Domain, progress: bool, left_out: Collection[tuple[str, str]]
    ) -> Domain:
        """Read every file once, before training, and fill the cache with it."""
        letters = [side.upper() for side in self.sides]
        parts = [f"{use}{letter}" for use in ("train", "test") for letter in letters]
        if short := [part for part in parts[: len(letters)] if len(getattr(domain, part)) < 2]:
            count = len(getattr(domain, short[0]))
            error = DataError(
                f"{domain.name}: {count or 'no'} image{'s' * (count != 1)} in {short[0]}, "
                "but a collection needs at least 2"
            )
            raise _with_unread(error, [domain.folders[part] for part in short])
        files = [(part, path) for part in parts for path in getattr(domain, part)]
        with ThreadPoolExecutor(self.config.workers) as pool:
            results = Bar(
                pool.map(self._problem, files),
                total=len(files), desc="reading images", unit=" images", leave=False,
                disable=not progress, delay=2,
            )  # fmt: skip
            problems = {
                file: problem for file, problem in zip(files, results, strict=True) if problem
            }
        noted = {(part, same(name)) for part, name in left_out}
        known = [file for file in problems if (file[0], same(domain.name_of(*file))) in noted]
        self.left_out = {file: problems.pop(file) for file in known}
        self.skipped = list(problems.values())
        if not problems:
            return domain
        if not self.config.skip_bad_images:
            raise DataError(
                f"{len(problems)} of {len(files)} images can't be used ({self.advice}): "
                f"{listed(self.skipped)}"
            )
        good: dict[str, Any] = {
            part: tuple(path for path in getattr(domain, part) if (part, path) not in problems)
            for part in parts
        }
        for part in parts[: len(letters)]:
            if len(good[part]) < 2:
                raise DataError(
                    f"{domain.name}: {len(good[part])} images in {part} can be used, "
                    f"but a collection needs at least 2: {self.skipped[0]}"
                )
        return replace(domain, **good)

    def _problem(self, file: tuple[str, Path]) -> str:
        try:
            self._sound(*file)
            self.digests[file[1]] = _tried_twice(lambda: sha256_of(file[1]), PAUSE)
        except ImageError as error:
            return str(error)
        except OSError as error:  # it has vanished since
            return f"{printable(file[1])}: {error.strerror}"
        return ""

    def _sound(self, part: str, path: Path, pause: float = 0.0) -> np.ndarray:
        """The scaled image of a file; ImageError where it can't be read or used."""
        array = self.cache.read(path, part[-1].lower() in self.grey, pause)
        height, width = array.shape[:2]
        crop = self.config.crop
        if crop and (height < crop[0] or width < crop[1]):
            options = f"--size {crop[0]}" + f" --width {crop[1]}" * (self.config.width is not None)
            raise ImageError(f"{path}: {width}x{height} pixels is below the crop, {options}")
        if min(height, width) < self.smallest:
            raise ImageError(
                f"{path}: {width}x{height} pixels, but these networks need {self.smallest}"
            )
        return array

    def identity(self, part: str) -> list[str]:
        """What the images of a part are, in order: content, and name within their folder.

        The same wherever the folder lies, however it was typed and its accents are stored, and
        other for other pixels. Of an image that can't be read the content is empty.
        """
        files: tuple[Path, ...] = getattr(self.domain, part)
        return [
            # Half of the digest keeps checkpoints small.
            f"{self.digests.get(path, '')[:32]} {part}/{same(name)}"
            for path, name in zip(files, self.domain.names(part), strict=True)
        ]

    def item(self, position: int) -> tuple[Tensor, ...]:
        """Item `position` of the stream: float32 (3, H, W) in [0, 1] of each of `sides`.

        Raises:
            NoImage: no image of a collection can be read any more.
        """
        return tuple(
            self._crop(self._array(part, number), position, side)
            for (part, number), side in zip(self._places(position), self.sides, strict=True)
        )

    def files(self, position: int) -> tuple[Path, ...]:
        """Where item `position` comes from."""
        return tuple(self._path(*place) for place in self._places(position))

    def _places(self, position: int) -> tuple[tuple[str, int], ...]:
        """(part, index into it) of each of `sides`, as if every image could be read."""
        epoch, index = divmod(position, len(self))
        counts = [len(self.domain.train(side)) for side in self.sides]
        order, partners = _epoch(self.seed, epoch, len(self), counts[-1])
        first = int(order[index])
        second = first if self.config.serial_b else int(partners[index])
        return tuple(
            (f"train{side.upper()}", number % count)
            for side, count, number in zip(self.sides, counts, (first, second), strict=False)
        )

    def _path(self, part: str, index: int) -> Path:
        """The image at `index` of a part, or the next one that isn't left out."""
        files: tuple[Path, ...] = getattr(self.domain, part)
        for step in range(len(files)):
            path = files[(index + step) % len(files)]
            if (part, path) not in self.left_out:
                return path
        reason = self.left_out[part, files[index]]
        raise NoImage(
            f"none of the {len(files)} images of {self.domain.name}/{part} can be read any more, "
            f"such as {reason}"
        )

    def lost(self, part: str) -> bool:
        """Whether a part has had images, and none of them can be read any more."""
        files: tuple[Path, ...] = getattr(self.domain, part)
        return bool(files) and all((part, path) in self.left_out for path in files)

    def _array(self, part: str, index: int) -> np.ndarray:
        """The scaled image of that; one that can't be read any more is left out from now on."""
        pause = PAUSE
        while True:
            path = self._path(part, index)
            try:
                return self._sound(part, path, pause)
            except ImageError as error:
                self.left_out.setdefault((part, path), str(error))
                pause = 0.0  # a disk that has gone has many images

    def _crop(self, array: np.ndarray, position: int, side: Side) -> Tensor:
        pipeline = getattr(self.local, "pipeline", None)
        if pipeline is None:
            pipeline = self.local.pipeline = _pipeline(self.config)
        number = SIDES.index(side)
        seed = int(np.random.SeedSequence((self.seed, position, number)).generate_state(1)[0])
        # One state for all transforms: set_random_seed gives each its own of the same seed, and the
        # first draw of the crop is that of the flip.
        pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
        return to_tensor(pipeline(image=array)["image"])

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
        """`count` fixed test images a side (training images where there are no test images left).

        Scaled like all others and cropped in the middle to `size` x `width`, or to as much of it as
        all of them hold: in height and in width a multiple of what the networks take.

        Raises:
            NoImage: no training image of a collection can be read any more either.
        """
        batch = Batch()
        for side in self.sides:
            if use == "test" and self.domain.test(side):
                with suppress(NoImage):  # training goes on without them
                    batch[side] = self._middle(f"test{side.upper()}", count)
            if side not in batch:
                batch[side] = self._middle(f"train{side.upper()}", count)
        return batch

    def _middle(self, part: str, count: int) -> Tensor:
        indices = range(len(getattr(self.domain, part)))
        arrays = [self._array(part, index) for index in spread(indices, count)]
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

    Its `resize`, which it doesn't list, is to `load_size`; ours is to the crop's size. Of
    `scale_shorter_and_crop`, which isn't the reference's, the longer side is at most LONG times
    what the shorter is scaled to: 3000x8 pixels would become 192,000x512. Such an image comes out
    smaller, and distorted where it would be below the crop.
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
    if config.preprocess == "scale_shorter_and_crop":
        shorter = config.scaled_shorter
        scale = min(shorter / min(height, width), LONG * shorter / max(height, width))
        least = config.shape
        height, width = max(least[0], round(height * scale)), max(least[1], round(width * scale))
    if config.crop is None:
        height, width = (max(1, round(n / multiple)) * multiple for n in (height, width))
    return height, width
