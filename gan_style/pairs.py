"""Which content goes with which style, and what their translation is called.

A translation is <content>.png, or <style>/<content>.png where a style image was given: paths of the
two in their folders, without suffixes.
"""

import csv
import io
import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gan_style.errors import DataError
from gan_style.files import atomic_file
from gan_style.images import list_images
from gan_style.reading import read_bytes

# File names are bytes to the system: one that isn't UTF-8 must not end a run.
CSV: dict[str, Any] = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}
COLUMNS = ("content", "style")


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
        raise DataError(f"--{option} {folder}: no images in this folder")
    stems = {path: path.relative_to(root).with_suffix("") for path in files}
    count = Counter(stems.values())
    names = {
        path: stem.with_name(f"{stem.name if count[stem] == 1 else path.name}.png")
        for path, stem in stems.items()
    }
    for name, uses in Counter(names.values()).items():
        if uses > 1:
            raise DataError(f"--{option} {folder}: {uses} images would become {name}; rename one")
        if len(os.fsencode(name.name)) > 255:  # the most that file systems take
            raise DataError(
                f"--{option} {folder}: {name} would be longer than 255 bytes; rename it"
            )
    return names


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


def draw_pairs(content: Path, style: Path, count: int, seed: int) -> list[dict[str, str]]:
    """`count` different contents, or all there are, each with a style; in the contents' order.

    No style comes again before every other one was drawn.

    Raises:
        DataError: no images in one of the folders.
    """
    contents, styles = (
        [path.relative_to(folder).as_posix() for path in output_names(folder, option)]
        for folder, option in ((content, "content"), (style, "style"))
    )
    random_state = random.Random(seed)
    chosen = sorted(random_state.sample(range(len(contents)), min(count, len(contents))))
    order: list[str] = []
    while len(order) < len(chosen):
        order += random_state.sample(styles, len(styles))
    return [
        {"content": contents[index], "style": name}
        for index, name in zip(chosen, order, strict=False)
    ]


def write_pairs(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write pairs as `read_pairs` reads them, whole or not at all."""
    with atomic_file(path) as partial, partial.open("w", **CSV) as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
