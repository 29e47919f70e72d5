"""Where a library keeps its own files on a machine without a home that can be written to."""

import atexit
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path


def for_matplotlib() -> None:
    """Give Matplotlib a temporary folder where it would find none, and warn; before its import.

    It is removed at the end. Programs that this one calls use it too.
    """
    if os.environ.get("MPLCONFIGDIR") or all(map(_can_be_written, _of_matplotlib())):
        return
    with suppress(OSError):  # without even a temporary one Matplotlib says what is wrong
        folder = tempfile.mkdtemp(prefix="gan_style-matplotlib-")
        os.environ["MPLCONFIGDIR"] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _of_matplotlib() -> list[Path]:
    """The folders that it keeps files in; without a home, some that can't be written to."""
    try:
        home = Path.home()
    except RuntimeError:  # nobody knows this user
        home = Path(os.devnull)
    if not sys.platform.startswith(("linux", "freebsd")):
        return [home]
    kinds = (("XDG_CONFIG_HOME", ".config"), ("XDG_CACHE_HOME", ".cache"))
    return [Path(os.environ.get(name) or home / usual, "matplotlib") for name, usual in kinds]


def _can_be_written(folder: Path) -> bool:
    """Whether it can, or else what it would be made in; nothing is made here."""
    with suppress(OSError):
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    return False
