"""The device to compute on: in which numbers, how long, and in how much memory.

Where torch can't use a GPU that is there it takes none, with a warning at most, and what would take
minutes takes days. Here that is a mistake to mend, unless the CPU was asked for.

Weights, optimizers, losses and statistics are float32 always; in bf16 and fp16 it is convolutions
and matrix products that are rounded, by torch's autocast.
"""

import os
import platform
import re
import shlex
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import psutil
import torch

from gan_style.config import Wanted
from gan_style.errors import ConfigError

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Instructions that multiply bf16, without which a CPU takes longer for it than for float32.
CPU_FLAGS = ("avx512_bf16", "amx_bf16")

NODES = Path("/dev")  # nvidia0, nvidia1, ... are the GPUs that a process, or container, may open
DRIVER = Path("/sys/module/nvidia/version")
# CUDA -> the oldest driver that runs any release of it.
# https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html, table 1
OLDEST_DRIVER = {"11": 450, "12": 525, "13": 580}
ON_PURPOSE = "ACCELERATE_USE_CPU=true before the command"  # of a training


def find(wanted: str = "") -> torch.device:
    """The device that is wanted; a GPU where there is one, else the CPU, when none is.

    Raises:
        ConfigError: it doesn't work; or there is a GPU that this torch can't use.
    """
    name = wanted or ("cuda" if _has_gpu() else "cpu")
    if not (reason := _obstacle(name)):
        return torch.zeros(0, device=name).device
    if name.startswith("cuda") and _is_there() and "ordinal" not in reason:
        raise ConfigError(_explained(reason, "--device cpu"))
    raise ConfigError(f"--device is {wanted!r}, which doesn't work here: {reason}")


def name(device: torch.device) -> str:
    """cpu, or what the accelerator calls itself."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def machine(device: torch.device) -> str:
    """The accelerator, or the processor and its cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = platform.processor() or platform.machine()
    with suppress(OSError):  # Linux tells the processor's name here only
        known = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        model = known[1] if known else model
    return f"{model}, {os.cpu_count()} cores"


def now(device: torch.device) -> float:
    """Seconds by a clock that begins anywhere, when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


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


def reset_peak(device: torch.device) -> None:
    """Forget earlier peaks, where the system can; where it can't, sizes must ascend."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux's for VmHWM: see man 5 proc


def choose_precision(wanted: Wanted, device: torch.device) -> Precision:
    """What is quickest on a device, or what was asked for.

    bf16 where the processor multiplies it, else fp32. fp16 is never chosen: its range is too small
    for some gradients.

    Raises:
        ConfigError: fp16 on a device that has no fp16.
    """
    if wanted == "fp16" and device.type != "cuda":
        raise ConfigError(f"--precision is fp16, but {device.type} has none: try auto")
    if wanted != "auto":
        return wanted
    return "bf16" if _multiplies_bf16(device) else "fp32"


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # An older torch can't tell.
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    found = torch.cpu.get_capabilities()
    return any(found.get(flag) for flag in CPU_FLAGS)


@contextmanager
def autocast(precision: Precision, device: torch.device) -> Iterator[None]:
    """Compute in a precision; fp32 leaves everything as it is."""
    if precision == "fp32":
        yield
        return
    with torch.autocast(device.type, DTYPES[precision]):
        yield


def memory_format(precision: Precision) -> torch.memory_format:
    """The order in memory of the images that go into the networks, which their maps follow.

    With the channels of a pixel side by side convolutions of half precision are quicker, on CPUs
    by a seventh; the gradients of float32 weights take twice as long there.
    """
    return torch.contiguous_format if precision == "fp32" else torch.channels_last


def with_float64(device: torch.device) -> torch.device:
    """The device, if it has float64, as metrics are computed in it.

    Raises:
        ConfigError: it has none.
    """
    if device.type == "mps":
        raise ConfigError("--device is 'mps', which has no float64 to measure in: give cpu")
    return device


def refuse_unusable_gpu() -> None:
    """Refuse to train on the CPU where there is a GPU that this torch can't use.

    Raises:
        ConfigError: so it is.
    """
    if not _has_gpu():
        return
    rank = int(os.environ.get("LOCAL_RANK", "0"))  # each process asks the GPU that it will have
    name = f"cuda:{rank}" if rank < torch.cuda.device_count() else "cuda"
    if reason := _obstacle(name):
        raise ConfigError(_explained(reason, ON_PURPOSE))


def _has_gpu() -> bool:
    """Whether there is a GPU, used by this torch or not, that isn't hidden on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch has against the GPU is asked below
        return torch.cuda.is_available() or (_is_there() and not _is_hidden())


def _is_there() -> bool:
    """Whether this process may open an NVIDIA GPU, whatever torch says of it."""
    return any(map(_opens, NODES.glob("nvidia[0-9]*")))


def _opens(node: Path) -> bool:
    try:
        os.close(os.open(node, os.O_RDWR))
    except OSError:  # a scheduler has given it to somebody else
        return False
    return True


def _is_hidden() -> bool:
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    return shown is not None and shown.split(",")[0].strip() in ("", "-1", "NoDevFiles")


def _obstacle(name: str) -> str:
    """Why nothing can be computed on a device; nothing where it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they come again as the error
            torch.ones(1, device=name).add(1).item()  # what a missing architecture breaks
    except Exception as error:  # torch has several kinds, one of them a mere Exception
        return (str(error) or type(error).__name__).splitlines()[0]
    return ""


def _explained(reason: str, on_purpose: str) -> str:
    made_for = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    return (
        f"torch {torch.__version__}, made for {made_for}, can't use the GPU of this machine: "
        f"{_diagnosis(reason)}; or compute on the CPU: {on_purpose}"
    )


def _diagnosis(reason: str) -> str:
    """What is wrong and how to mend it."""
    cuda = torch.version.cuda or ""
    if "too old" in reason:
        number = re.search(r"found version (\d+)", reason)
        knows = f" (CUDA {int(number[1]) // 1000}.{int(number[1]) % 1000 // 10})" if number else ""
        oldest = OLDEST_DRIVER.get(cuda.split(".")[0])
        to = f" to {oldest} or newer" if oldest else ""
        return f"its driver {_driver()}{knows} is too old: update it{to}, or {_install('auto')}"
    if "no kernel image" in reason or "not compatible" in reason:
        major, minor = torch.cuda.get_device_capability()
        known = torch.cuda.get_arch_list()
        oldest_known = min(int(each) for each in re.findall(r"sm_(\d+)", " ".join(known)))
        # CUDA 12.6 was the last whose torch has code for GPUs of before 2018.
        backend = "cu126" if 10 * major + minor < oldest_known else "auto"
        gpu = f"{torch.cuda.get_device_name()} is sm_{major}{minor}"
        return f"{gpu}, and it has code for {' '.join(known)} alone: {_install(backend)}"
    if not cuda:
        return _install("auto")
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = f" (CUDA_VISIBLE_DEVICES is {shown!r})" if shown is not None else ""
    return f"{reason}{hidden}: see whether nvidia-smi finds it"


def _driver() -> str:
    try:
        return DRIVER.read_text(encoding="utf-8").strip()
    except OSError:
        return "of NVIDIA"


def _install(backend: str) -> str:
    """How to get a torch for another CUDA; uv looks up which one the driver takes."""
    python = shlex.quote(sys.executable)
    return (
        f"install another torch: {python} -m pip install uv && {python} -m uv pip install "
        f"--python {python} --torch-backend {backend} --reinstall torch torchvision"
    )
