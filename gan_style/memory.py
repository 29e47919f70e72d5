"""How much memory is free, and running out of it in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from gan_style.errors import UserError

OWN_GROUPS = Path("/proc/self/cgroup")
OWN_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, kw_only=True)
class Groups:
    """What a version of Linux's cgroups, such as containers and batch systems make, calls things.

    https://docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/memory.html.
    """

    root: Path
    limits: tuple[str, ...]  # files with what a group may take at most
    used: str  # and what it takes, its groups included
    droppable: tuple[str, ...]  # lines of memory.stat: copies of files, which go when room is short


VERSIONS = {
    2: Groups(
        root=Path("/sys/fs/cgroup"),
        limits=("memory.max", "memory.high"),
        used="memory.current",
        droppable=("inactive_file", "active_file"),
    ),
    1: Groups(
        root=Path("/sys/fs/cgroup/memory"),
        limits=("memory.limit_in_bytes",),
        used="memory.usage_in_bytes",
        droppable=("total_inactive_file", "total_active_file"),
    ),
}


def free(device: torch.device) -> float:
    """Bytes that can still be taken: of the accelerator, or of the machine and all containers."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + cached)
    left = [float(psutil.virtual_memory().available)]
    for groups, folder in _own_groups():
        left += _left(groups, folder)
    return max(0.0, min(left))


def _own_groups() -> Iterator[tuple[Groups, Path]]:
    """This process's group and those around it; where it isn't in the open, the outermost."""
    for line in _text(OWN_GROUPS).splitlines():
        number, controllers, path = line.split(":", 2)
        if number != "0" and "memory" not in controllers.split(","):
            continue
        groups = VERSIONS[2 if number == "0" else 1]
        parts = Path(path.lstrip("/")).parts
        # "..", where the process was put into the group from outside of it.
        for count in range(0 if ".." in parts else len(parts), -1, -1):
            yield groups, groups.root.joinpath(*parts[:count])


def _left(groups: Groups, folder: Path) -> Iterator[float]:
    """Bytes below each limit of a group; nothing where it has none, or isn't there."""
    used = _text(folder / groups.used).strip()
    if not used.isdecimal():
        return
    counts = dict(line.split(maxsplit=1) for line in _text(folder / "memory.stat").splitlines())
    dropped = sum(int(counts.get(name, 0)) for name in groups.droppable)
    for name in groups.limits:
        limit = _text(folder / name).strip()
        if limit.isdecimal():  # not "max"
            yield float(int(limit) - max(0, int(used) - dropped))


def below_peak() -> float:
    """Bytes that this process had at its peak and hasn't now; 0 where the system doesn't say."""
    lines = [line.split() for line in _text(OWN_STATUS).splitlines()]
    sizes = {words[0]: 1024 * int(words[1]) for words in lines if words[-1:] == ["kB"]}
    return float(max(0, sizes.get("VmHWM:", 0) - sizes.get("VmRSS:", 0)))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Running out of memory at an image as a UserError.

    Raises:
        UserError: torch couldn't allocate what the image needs.
    """
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
        out_of_memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not (out_of_memory or "allocate memory" in str(error)):
            raise
        raise UserError(f"{path}: not enough memory for it; try a smaller --side") from error
