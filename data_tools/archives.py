"""Zip archives from strangers: what they hold is checked before anything is written."""

import lzma
import shutil
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from zipfile import BadZipFile, ZipFile, ZipInfo

from gan_style.config import PARTS
from gan_style.errors import DataError
from gan_style.io.files import atomic_folder
from gan_style.progress import Bar

SPLITS = ("train", "val", "test")
# A bomb declares more; an archive of yours that does: unpack it yourself.
MAX_BYTES = 20_000_000_000
MAX_FILES = 1_000_000
MAX_FOLDERS = 30  # in each other; a name of 64 kB has place for 30,000, to be looked at one by one
ENCRYPTED = 0x1  # bit of ZipInfo.flag_bits
# What zipfile and its decompressors raise on data that is broken or made in unknown ways.
BROKEN = (
    BadZipFile, zlib.error, lzma.LZMAError, struct.error, ValueError, EOFError, NotImplementedError,
)  # fmt: skip


class ArchiveError(DataError):
    """An archive that is broken, unsafe, or not the one that was published."""


@contextmanager
def reading(archive: Path) -> Iterator[ZipFile]:
    """Yield the open archive, whose entries all stay inside a folder; the names are checked here.

    Raises:
        ArchiveError: no zip archive, a broken one, or an unsafe or oversized one.
    """
    try:
        with ZipFile(archive) as zip_file:
            entries = zip_file.infolist()
            size = sum(entry.file_size for entry in entries)
            if size > MAX_BYTES or len(entries) > MAX_FILES:
                raise ArchiveError(
                    f"{archive} would unpack to {size / 1e9:.1f} GB in {len(entries)} files, above "
                    f"{MAX_BYTES / 1e9:g} GB or {MAX_FILES} files"
                )
            for entry in entries:
                if problem := _problem(entry):
                    raise ArchiveError(f"{archive}: entry {entry.orig_filename[:100]!r} {problem}")
            yield zip_file
    except BROKEN as error:
        raise ArchiveError(
            f"{archive} is no zip archive or a broken one: {error or 'it ends early'}"
        ) from error
    except OSError as error:
        if error.errno is not None:  # the disk's; bz2 alone speaks of broken data by OSError
            raise
        raise ArchiveError(f"{archive} is broken: {error}") from error


def _problem(entry: ZipInfo) -> str:
    """Why an entry can't be unpacked, or "" when it can."""
    name = entry.orig_filename  # as stored; `filename` is already repaired for this system
    if "\\" in name or "\0" in name or PureWindowsPath(name).anchor:
        return "has an absolute or a Windows path"
    parts = PurePosixPath(name).parts
    if ".." in parts:
        return "leaves the folder it is unpacked to"
    if len(parts) > MAX_FOLDERS:
        return f"lies in more than {MAX_FOLDERS} folders"
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if entry.flag_bits & ENCRYPTED:
        return "is encrypted"
    return ""


def copy(zip_file: ZipFile, entry: ZipInfo, target: Path) -> None:
    """Write one entry to `target`, which must not exist.

    zipfile hands out at most the size that the header declares and compares the checksum, so that
    a lying header can't write more than what was counted before.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with zip_file.open(entry) as source, target.open("xb") as sink:
        shutil.copyfileobj(source, sink)
        if sink.tell() != entry.file_size:
            raise BadZipFile(
                f"{entry.filename!r} has {sink.tell()} bytes, its header says {entry.file_size}"
            )


def unpack(archive: Path, folder: Path) -> None:
    """Make `folder`/{trainA,trainB,testA,testB} of an archive, whole or not at all.

    Raises:
        ArchiveError: as `reading` and `plan`.
        DataError: too little space.
    """
    with reading(archive) as zip_file:
        files = plan(archive, zip_file.infolist())
        need_space(
            folder.parent, sum(entry.file_size for entry, _ in files), f"unpacking {archive}"
        )
        with atomic_folder(folder) as partial:
            for entry, target in Bar(files, desc="unpacking", unit=" files"):
                copy(zip_file, entry, partial / target)


def plan(archive: Path, entries: Iterable[ZipInfo]) -> list[tuple[ZipInfo, PurePosixPath]]:
    """Which entries are unpacked, and where to: <part>/..., a part being trainA, testB and so on.

    Folders around everything are left out, train/A becomes trainA, and val/A becomes testA unless
    there is a test as well. Hidden files, __MACOSX and whatever lies elsewhere are not unpacked.

    Raises:
        ArchiveError: no trainA or no trainB, or two entries for one place.
    """
    files = [(entry, PurePosixPath(entry.filename)) for entry in entries if not entry.is_dir()]
    files = [
        (entry, path)
        for entry, path in files
        if path.parts and not any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    ]
    while len({path.parts[0] for _, path in files}) == 1 and not _in_layout(files[0][1]):
        files = [(entry, PurePosixPath(*path.parts[1:])) for entry, path in files]
        files = [(entry, path) for entry, path in files if path.parts]
    held_out = "test" if any(path.parts[0] == "test" for _, path in files) else "val"
    placed = []
    for entry, path in files:
        match path.parts:
            case [part, _, *_] if part in PARTS:
                placed.append((entry, path))
            case ["train", ("A" | "B") as side, *rest] if rest:
                placed.append((entry, PurePosixPath(f"train{side}", *rest)))
            case [split, ("A" | "B") as side, *rest] if rest and split == held_out:
                placed.append((entry, PurePosixPath(f"test{side}", *rest)))
    targets = {path for _, path in placed}
    missing = [part for part in PARTS[:2] if part not in {path.parts[0] for path in targets}]
    if missing:
        found = sorted({path.parent.as_posix() for _, path in files})[:8]
        raise ArchiveError(
            f"{archive} has no images for {' and '.join(missing)}; it needs trainA and trainB, or "
            f"train/A and train/B, but has: {', '.join(found) or 'nothing'}"
        )
    folders = {parent for path in targets for parent in path.parents}
    if len(targets) < len(placed) or targets & folders:
        raise ArchiveError(f"{archive} has several entries for one file")
    return placed


def _in_layout(path: PurePosixPath) -> bool:
    return path.parts[0] in (*PARTS, *SPLITS)


def need_space(folder: Path, needed: int, what: str) -> None:
    """Raise DataError when the disk of `folder` has fewer than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"{what} needs {needed / 1e9:.2f} GB, but {folder} has {free / 1e9:.2f} GB free: "
            "make room or choose a folder on another disk"
        )
