"""How short a training step could be: what its convolutions and its memory take by themselves.

    python experiments/floor.py --precision bf16

Looks at one step of CycleGAN's published recipe as torch carries it out. Every convolution in it,
forward and backward, is then timed alone, on tensors of the same shapes, order and precision: a
program that calls the same library can't take less than their sum. Of everything else the bytes of
the tensors are counted that it reads and writes, and set against the rate at which this machine
copies memory.

--precision  fp32 or bf16; what this machine is quickest in when not given
--size       side of the images
--tries      of every convolution; the median counts
"""

from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import torch
from bench_work import PLAIN, Case, Meter, build, ceiling, now
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gan_style import command
from gan_style.config import Wanted, at_least
from gan_style.devices import choose_precision
from gan_style.progress import Bar

CPU = torch.device("cpu")
CONVOLUTIONS = ("aten.convolution.default", "aten.convolution_backward.default")


class Recorder(TorchDispatchMode):
    """Convolutions by what they are called with, and bytes that all other operations touch."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions: Counter[tuple[Any, ...]] = Counter()
        self.bytes: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if str(func) in CONVOLUTIONS:
            self.convolutions[func, *(_described(each) for each in args)] += 1
        elif not func.is_view and "empty" not in str(func):
            found = _tensors([args, kwargs or {}, out])
            self.bytes[str(func)] += sum(each.numel() * each.element_size() for each in found)
        return out


def _tensors(value: Any) -> list[Tensor]:
    """All that are in a nest of lists and dictionaries, each once."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    nested = [_tensors(each) for each in value] if isinstance(value, list | tuple) else []
    return list({id(each): each for part in nested for each in part}.values())


def _described(value: Any) -> Any:
    """A tensor's shape, strides and dtype; lists as tuples; anything else as it is."""
    if isinstance(value, Tensor):
        return ("tensor", tuple(value.shape), value.stride(), value.dtype)
    return tuple(value) if isinstance(value, list) else value


def _made(described: Any) -> Any:
    if isinstance(described, tuple) and described[:1] == ("tensor",):
        _, shape, strides, dtype = described
        return torch.empty_strided(shape, strides, dtype=dtype).normal_()
    return list(described) if isinstance(described, tuple) else described


def seconds_alone(call: tuple[Any, ...], tries: int) -> float:
    """The median of `tries`, after two."""
    func, *described = call
    arguments = [_made(each) for each in described]
    times = []
    for _ in range(2 + tries):
        started = now(CPU)
        func(*arguments)
        times.append(now(CPU) - started)
    return median(times[2:])


def floor(precision: Wanted = "auto", size: int = 256, tries: int = 7) -> None:
    """Look at a step, time its parts, print their sum beside the step itself."""
    at_least(1, tries=tries)
    at_least(32, size=size)
    case = Case(work="cyclegan", height=size, width=size)
    for variant in (PLAIN, "ours"):
        chosen = "fp32" if variant == PLAIN else choose_precision(precision, CPU)
        once, meter, recorder = build(case, variant, chosen, CPU, Path()), Meter(CPU), Recorder()
        with recorder:
            once(meter)
        times = []
        for _ in range(tries):
            once(meter)
            times.append(meter.seconds)
        calls = Bar(recorder.convolutions.items(), unit=" convolutions", leave=False)
        convolving = sum(seconds_alone(call, tries) * count for call, count in calls)
        moved = sum(recorder.bytes.values())
        rate = ceiling(CPU, quick=True)["copy_gb_per_second"]
        print(f"{variant} in {chosen}: {median(times):.2f} s a step")
        print(f"  {sum(recorder.convolutions.values())} convolutions: {convolving:.2f} s alone")
        print(f"  the rest: {moved / 1e9:.1f} GB, {moved / 1e9 / rate:.2f} s at {rate:.1f} GB/s")
        for name, many in recorder.bytes.most_common(8):
            print(f"    {name:45} {many / 1e9:6.2f} GB")


if __name__ == "__main__":
    command.only("floor.py", floor, lambda: __doc__ or "")
