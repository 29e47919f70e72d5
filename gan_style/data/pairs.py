"""Which content goes with which style, and what their translation is called.

A translation is <content>.png, or <style>/<content>.png where a style image was given: paths of the
two in their folders, without suffixes. Other programs call theirs otherwise, which a pattern says:
'{stem}_fake' is x_fake.png of x.jpg, in the same folders; '{stem}_in_{style}' has the style's name
in the file's instead of a folder.

Names are compared as `same` has them: macOS may spell the accents of one name otherwise than Linux.
"""

import csv
import io
import os
import random
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_style.data.images import SUFFIXES, list_images, same, without_images
from gan_style.errors import ConfigError, DataError
from gan_style.io.files import atomic_file
from gan_style.io.safe_io import read_bytes

# File names are bytes to the system: one that isn't UTF-8 must not end a run.
LONGEST = 255  # bytes of a name, the most that file systems take
CSV: dict[str, Any] = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}
COLUMNS = ("content", "style")
STEM, STYLE = "{stem}", "{style}"  # what a pattern may hold


def by_name(paths: Iterable[Path], folder: Path) -> dict[str, Path]:
    """Names of files in a folder -> their paths, for `found_in`."""
    return {same(path.relative_to(folder).as_posix()): path for path in paths}


def found_in(files: Mapping[str, Path], folder: Path, name: str) -> Path | None:
    """The file that a row of pairs calls `name`; None where none of them is called so."""
    path = folder / name
    within = path.is_relative_to(folder)
    return files.get(same(path.relative_to(folder).as_posix())) if within else None


def check_pattern(pattern: str) -> None:
    """Refuse a pattern that names no file, or not one for each content.

    Raises:
        ConfigError: with what it may hold.
    """
    rest = pattern.replace(STEM, "", 1).replace(STYLE, "", 1)
    outside = pattern.startswith(".") or pattern.casefold().endswith((".", *SUFFIXES))
    if STEM not in pattern or set(rest) & set("{}/\\\0") or outside:
        raise ConfigError(
            f"--pattern is {pattern!r}, but must be a file's name without suffix that holds {STEM} "
            f"once, and may hold {STYLE} once, such as '{STEM}_fake'"
        )


def called(pattern: str, name: Path, style: str = "") -> Path:
    """What a pattern makes of a content's `name`, a path, with the style's stem.

    Raises:
        DataError: that is longer than names may be.
    """
    values = {STEM: name.stem, STYLE: style}
    stem = re.sub("{stem}|{style}", lambda match: values[match[0]], pattern)
    path = name.with_name(f"{stem}{name.suffix}")
    if len(os.fsencode(path.name)) > LONGEST:
        raise DataError(f"{path} would be longer than {LONGEST} bytes: give another --pattern")
    return path


def stem_in(pattern: str, stem: str) -> str | None:
    """The content's stem in a file's, by a pattern without style; None where that doesn't fit."""
    before, after = same(pattern).split(STEM)
    inside = stem.removeprefix(before).removesuffix(after)
    return inside if inside and before + inside + after == stem else None


def output_names(folder: Path, option: str = "content") -> dict[Path, Path]:
    """Image files under `folder` (or the one file) -> their relative PNG names.

    Files that differ in their suffix alone keep it: a.jpg and a.png become a.jpg.png and a.png.png.

    Raises:
        DataError: nothing there, no images, or two that would still get one name.
    """
    if not folder.exists():
        raise DataError(f"--{option} {folder}: no such file or folder")
    files, root = ([folder], folder.parent) if folder.is_file() else (list_images(folder), folder)
    if not files:
        raise DataError(f"--{option} {folder}: {without_images(folder)}")
    stems = {path: path.relative_to(root).with_suffix("") for path in files}
    count = Counter(stems.values())
    names = {
        path: stem.with_name(f"{stem.name if count[stem] == 1 else path.name}.png")
        for path, stem in stems.items()
    }
    for name, uses in Counter(names.values()).items():
        if uses > 1:
            raise DataError(f"--{option} {folder}: {uses} images would become {name}; rename one")
        if len(os.fsencode(name.name)) > LONGEST:
            raise DataError(
                f"--{option} {folder}: {name} would be longer than {LONGEST} bytes; rename it"
            )
    return names


def output_files(folder: Path, option: str = "content") -> dict[str, Path]:
    """The names that `output_names` gives, as names are compared -> the image files.

    Raises:
        DataError: as `output_names`, or two whose names differ only in how accents are stored.
    """
    found: dict[str, Path] = {}
    for path, name in output_names(folder, option).items():
        other = found.setdefault(same(name.as_posix()), path)
        if other != path:
            raise DataError(
                f"--{option} {folder}: {other.name} and {path.name} differ only in how their "
                "accents are stored: rename one"
            )
    return found


def read_pairs(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with the columns content and style, paths in the two folders.

    Raises:
        DataError: no such file, or it isn't one of pairs.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig", CSV["errors"])  # spreadsheets put a mark first
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except OSError as error:
        raise DataError(f"--pairs {path}: {error.strerror}") from error
    except (ValueError, csv.Error) as error:
        raise DataError(f"--pairs {path}: {error}") from error
    if not rows or not set(COLUMNS) <= rows[0].keys():
        raise DataError(f"--pairs {path} needs a header with content and style, and a row")
    return rows


def draw_pairs(
    content: Path, style: Path, count: int, seed: int, bad: Collection[Path] = ()
) -> list[dict[str, str]]:
    """`count` different contents, or all there are, each with a style; in the contents' order.

    No style comes again before every other one was drawn. Where contents are bad, others take
    their places and the rest stays; where styles are, the next one comes.

    Raises:
        DataError: no images in one of the folders, or bad ones alone.
    """
    contents, styles = (
        list(output_names(folder, option))
        for folder, option in ((content, "content"), (style, "style"))
    )
    random_state = random.Random(seed)
    chosen = sorted(random_state.sample(range(len(contents)), min(count, len(contents))))
    good = [path for path in styles if path not in bad]
    if not good or all(path in bad for path in contents):
        where = f"--content {content}" if good else f"--style {style}"
        raise DataError(f"{where}: none of the images can be read")
    order: list[Path] = []
    while len(order) < len(chosen):
        order += [path for path in random_state.sample(styles, len(styles)) if path not in bad]
    # Drawn last, so that nothing else hangs on them.
    others = sorted(set(range(len(contents))) - set(chosen))
    spare = iter(
        [each for each in random_state.sample(others, len(others)) if contents[each] not in bad]
    )
    places = [each if contents[each] not in bad else next(spare, None) for each in chosen]
    pairs = [(place, path) for place, path in zip(places, order, strict=False) if place is not None]
    return [
        {
            "content": contents[place].relative_to(content).as_posix(),
            "style": path.relative_to(style).as_posix(),
        }
        for place, path in sorted(pairs)
    ]


def write_pairs(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write pairs as `read_pairs` reads them, whole or not at all."""
    with atomic_file(path) as partial, partial.open("w", **CSV) as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
