"""Look through a dataset before a training does: what can't be read, what is there twice."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gan_style import command
from gan_style.config import PARTS, at_least
from gan_style.data.images import (
    SUFFIXES,
    ImageError,
    list_files,
    list_images,
    read_picture,
    without_images,
)
from gan_style.errors import DataError, printable
from gan_style.io.files import SHOWN, atomic_file, temporary_file
from gan_style.progress import Bar

PROGRAM = "data_tools.check"
HELP = f"""Open every image of a dataset and say what is wrong with it.

Reads   FOLDER/{{trainA,trainB,testA,testB}}, or FOLDER as one collection.
Writes  nothing, or a temporary file with the whole of lists of which the first lines are printed.
        Exit code 0: usable; 1: a training would stop.

  python -m data_tools.check data/monet2photo
  python -m data_tools.check my/paintings --crop 128

  --crop 256   side of the training's crop, to name images that are smaller

Files are images if they end in {", ".join(SUFFIXES)}; hidden ones are skipped.
"""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `check` found. Groups are files whose decoded pixels are the same."""

    folder: Path
    counts: dict[str, int]  # images by part; {"": n} for a folder without parts
    unreadable: tuple[str, ...]  # "<path>: <reason>"
    small: tuple[str, ...]  # "<path>: <width>x<height>", a side is below the crop
    a_and_b: tuple[tuple[Path, ...], ...]  # groups across A and B
    train_and_test: tuple[tuple[Path, ...], ...]  # groups across training and test of one side
    within: tuple[tuple[Path, ...], ...]  # groups within one part
    partly: tuple[str, ...]  # "<path>: <what of it is read>", such as one of several frames
    ignored: tuple[Path, ...]  # files with other suffixes

    @property
    def problems(self) -> tuple[str, ...]:
        """What would stop a training: unreadable files, fewer than two training images a side."""
        needed = PARTS[:2] if "trainA" in self.counts else ("",)
        few = [
            f"{self.folder / part}: {_images(self.counts[part])}, but a collection needs at least 2"
            for part in needed
            if self.counts[part] < 2
        ]
        return (*few, *self.unreadable)


def check(folder: Path, crop: int = 256) -> Report:
    """Decode every image of `folder`/{trainA,trainB,testA,testB}; without these, of `folder`.

    Args:
        folder: the dataset.
        crop: images with a side below this many pixels are reported.

    Raises:
        DataError: the folder isn't there, or has no images at all.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}")
    parts = PARTS if any((folder / part).is_dir() for part in PARTS) else ("",)
    files = {part: list_images(folder / part) if (folder / part).is_dir() else [] for part in parts}
    part_of = {path: part for part, paths in files.items() for path in paths}
    if not part_of:
        raise DataError(f"{folder}: {without_images(folder)} (looked for {', '.join(SUFFIXES)})")
    unreadable, small, partly, same = [], [], [], defaultdict(list)
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        looks = Bar(pool.map(_look, part_of), total=len(part_of), unit=" images")
        for path, look in zip(part_of, looks, strict=True):
            if isinstance(look, str):
                unreadable.append(look)
                continue
            (width, height), pixels, note = look
            if note:
                partly.append(note)
            if min(width, height) < crop:
                small.append(f"{path}: {width}x{height}")
            same[width, height, pixels].append(path)
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C doesn't wait for the images still queued
    groups = [tuple(paths) for paths in same.values() if len(paths) > 1]
    return Report(
        folder=folder,
        counts={part: len(paths) for part, paths in files.items()},
        unreadable=tuple(unreadable),
        small=tuple(small),
        a_and_b=tuple(group for group in groups if len({part_of[p][-1:] for p in group}) > 1),
        train_and_test=tuple(group for group in groups if _leaks({part_of[p] for p in group})),
        within=tuple(group for group in groups if len({part_of[p] for p in group}) < len(group)),
        partly=tuple(partly),
        ignored=tuple(sorted(path for part in parts for path in _ignored(folder / part))),
    )


def _look(path: Path) -> tuple[tuple[int, int], bytes, str] | str:
    """(width, height), the hash of the decoded pixels and a note, or why it can't be read."""
    try:
        picture = read_picture(path)
    except ImageError as error:
        return str(error)
    pixels = hashlib.sha256(picture.image.tobytes()).digest()
    return picture.image.size, pixels, picture.note


def _leaks(parts: set[str]) -> bool:
    return {"trainA", "testA"} <= parts or {"trainB", "testB"} <= parts


def _ignored(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in list_files(folder) if path.suffix.lower() not in SUFFIXES)


def text(report: Report, crop: int, most: int | None = SHOWN) -> str:
    """The report: a line an item, of each list at most so many."""
    lines = [f"{report.folder / part}: {_images(count)}" for part, count in report.counts.items()]
    for title, items in (
        ("would stop a training", report.problems),
        (f"smaller than the crop of {crop}", report.small),
        ("the same image in A and in B", _joined(report.a_and_b)),
        ("the same image in training and in test", _joined(report.train_and_test)),
        ("the same image twice in one folder", _joined(report.within)),
        ("read in part", report.partly),
        ("ignored (other suffixes)", [str(path) for path in report.ignored]),
    ):
        shown = items[:most]
        if items:
            lines += [f"{title}: {len(items)}", *(f"  {printable(item)}" for item in shown)]
        if len(items) > len(shown):
            lines.append(f"  and {len(items) - len(shown)} more")
    lines.append("not usable as it is" if report.problems else "usable")
    return "\n".join(lines)


def _images(count: int) -> str:
    return f"{count} image{'s' * (count != 1)}"


def _joined(groups: Iterable[tuple[Path, ...]]) -> list[str]:
    return [" = ".join(str(path) for path in group) for group in groups]


def look(folder: str, /, crop: int = 256) -> int:
    """`python -m data_tools.check`; returns the exit code."""
    at_least(1, crop=crop)
    report = check(Path(folder), crop)
    shown, whole = text(report, crop), text(report, crop, most=None)
    if shown != whole:
        file = temporary_file("check", ".txt")
        with atomic_file(file) as partial:
            partial.write_text(f"{whole}\n", encoding="utf-8", errors="backslashreplace")
        print(f"all of what follows, and more of it: {file}")
    print(shown)
    return 1 if report.problems else 0


def main(arguments: Sequence[str]) -> int | None:
    """`gan_style check`: the same with what was typed after it."""
    return command.alone(arguments, look, lambda: HELP)


if __name__ == "__main__":
    command.only(PROGRAM, look, lambda: HELP)
