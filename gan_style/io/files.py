"""Writing files and folders so that a crash leaves the old one or the new one, never a half."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gan_style.errors import WriteError

SHOWN = 10  # of many lines in a message


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success it is synced and takes `path`'s place.

    The temporary name keeps the suffix, because image writers choose the format by it, and no
    more of the name than fits: the whole may be as long as names can be, 255 bytes.

    Raises:
        WriteError: what the system has against it, such as a full disk.
    """
    partial = path.with_name(f".partial-{os.getpid()}-{path.name[-50:]}")  # 4 bytes a character
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.touch()
            mode = partial.stat().st_mode  # by the umask; safetensors would give 600
            yield partial
            partial.chmod(mode)
            sync(partial)
            partial.replace(path)
            sync(path.parent)
        finally:
            partial.unlink(missing_ok=True)


def listed(lines: Sequence[str], file: Path | None = None) -> str:
    """Lines of a message as one: at most ten, and where there are more, their number and `file`.

    That file then has all of them, a line each; where it can't be written, the message says so.
    Without one it is a new file where the system keeps temporary ones.
    """
    if len(lines) <= SHOWN:
        return "; ".join(lines)
    try:
        file = file or temporary_file("list", ".txt")
        with atomic_file(file) as partial:
            text = "".join(f"{line}\n" for line in lines)
            partial.write_text(text, encoding="utf-8", errors="backslashreplace")
        rest = f"all {len(lines)} are in {file}"
    except WriteError as error:
        rest = f"{len(lines)} in all ({error})"
    return "; ".join([*lines[:SHOWN], f"... {rest}"])


def temporary_file(name: str, suffix: str) -> Path:
    """A new, empty file where the system keeps temporary ones; nobody removes it but the system.

    Raises:
        WriteError: what the system has against it.
    """
    with explained(Path("a temporary file")):
        handle, path = tempfile.mkstemp(suffix, f"gan_style-{name}-")
        os.close(handle)
        return Path(path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all; a NaN is refused, as no other program reads it."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on success it becomes `path`, which must not exist.

    Raises:
        UserError: as `atomic_file`.
    """
    partial = path.with_name(f".partial-{path.name}")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
            sync_files(partial)
            partial.rename(path)
            sync(path.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def make_writable(folder: Path) -> None:
    """Make `folder` where it isn't there, and see that files can be written to it."""
    probe = folder / f".partial-{os.getpid()}"
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """What the system has against writing `path` as a WriteError."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"can't write {path}: {error.strerror or error}") from error


def sync_files(folder: Path) -> None:
    """Force every file of `folder`, then the folder itself, out to the disk."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Force one file, or the names in one folder, out to the disk."""
    # Windows forces out only what may be written to.
    flags = os.O_RDWR if os.name == "nt" and not path.is_dir() else os.O_RDONLY
    try:
        handle = os.open(path, flags)
    except PermissionError:
        if path.is_dir():  # which Windows never opens: it keeps names by itself
            return
        raise
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
