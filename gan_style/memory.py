"""How much memory is free, and running out of it in one line."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import torch

from gan_style.errors import UserError

# A container's limit, version 2 and version 1 of cgroups.
LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def free(device: torch.device) -> float:
    """Bytes that can still be taken: of the accelerator, or of the machine or container."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + cached)
    available = float(psutil.virtual_memory().available)
    for path in LIMITS:
        try:
            limit = int(path.read_text())
        except (OSError, ValueError):  # no container, or "max"
            continue
        # Not minus the container's usage, which counts files that can be dropped at any time.
        available = min(available, float(limit - psutil.Process().memory_info().rss))
    return max(0.0, available)


def peak(device: torch.device) -> int:
    """The most bytes taken so far: of the accelerator, or by this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):
        if found := re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()):
            return int(found[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        info = psutil.Process().memory_info()
        return int(getattr(info, "peak_wset", info.rss))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


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
