"""The device to compute on, and why a GPU that is there can't be it.

Where torch can't use the GPU it takes none, with a warning at most, and what would take minutes
takes days. Here that is a mistake to mend, unless the CPU was asked for.
"""

import os
import re
import shlex
import sys
import warnings
from pathlib import Path

import torch

from gan_style.errors import ConfigError

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
