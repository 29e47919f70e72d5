"""The numbers that networks compute in: --precision of training, translate and cost.

Weights, optimizers, losses and statistics are float32 always; in bf16 and fp16 it is convolutions
and matrix products that are rounded, by torch's autocast.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from gan_style.config import Wanted
from gan_style.errors import ConfigError

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Instructions that multiply bf16, without which a CPU takes longer for it than for float32.
CPU_FLAGS = ("avx512_bf16", "amx_bf16")


def choose(wanted: Wanted, device: torch.device) -> Precision:
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
