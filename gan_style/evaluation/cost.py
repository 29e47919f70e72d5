"""What a method costs: seconds an image, peak memory, parameters, bytes of weights.

An image goes from a tensor on the device to a tensor on the device, alone, without gradients, and
as large as translate pads it; encoding the style image is part of it. Contents and styles are
smooth random pictures of one seed: what they show doesn't change what a network has to do, and of
an optimisation only how often its line search tries.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_pre_hook

from gan_style import devices, memory
from gan_style.config import at_least
from gan_style.devices import Precision, autocast, memory_format
from gan_style.errors import UserError
from gan_style.maths.descent import Step
from gan_style.method import Method, OptimisedMethod
from gan_style.progress import Bar

# Runs that count, and those before them: usual for GPUs; a CPU is slower, and soon at its pace.
GPU_RUNS, CPU_RUNS = (50, 10), (10, 2)


def measure(
    method: Method,
    *,
    takes_style: bool,
    device: torch.device,
    precision: Precision = "fp32",
    sizes: Sequence[int] = (256, 512, 1024),
    limit: float = 60.0,
    runs: int | None = None,
    warm_up: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure `method` at each of `sizes`, from the smallest to the largest.

    Its networks are those that one translation calls, wherever they are kept: the generator of one
    direction, AdaIN's encoder beside its decoder, Gatys' VGG. Critics, and a VGG that only judges
    in training, aren't called.

    Args:
        method: on the device and with its weights, as translate has it (eval, no gradients).
        takes_style: the style comes from an image; it gets the size of the content.
        device: of the method.
        precision: what its networks compute in.
        sizes: sides of square contents in pixels.
        limit: seconds a size, after which no run is begun. A single run can't be stopped: a size
            that would take longer, going by the two before it, is left out. Of an optimisation that
            takes longer, the iterations until then are timed and the others worked out from them.
        runs: that count; None is 50 on a GPU and 10 elsewhere.
        warm_up: runs before them; None is 10 on a GPU and 2 elsewhere. Optimisations have only
            their first iterations instead.
        seed: of the pictures; noise of the method itself has torch's.

    Returns:
        parameters: numbers that the networks have learned.
        bytes: of these and of the networks' buffers, as a safetensors file of them has; published
            files may hold more than is used.
        device: the GPU's name, or the CPU's threads.
        precision: as given.
        sizes: side -> `missing`, why there is nothing; or seconds (`median`, `p95`, linear between
            runs), the number of `runs`, `peak_bytes`, and `estimated`: where it is true, one run
            was worked out from `iterations` that were timed, and p95 is the same as the median.
            peak_bytes are those of all tensors on a GPU; elsewhere the resident memory of the
            process, with interpreter, libraries and what it did before, so that it should do
            nothing else. There are none where the limit came before the full size.

    Raises:
        ConfigError: numbers that nothing can be measured with.
    """
    usual_runs, usual_warm_up = GPU_RUNS if device.type == "cuda" else CPU_RUNS
    runs = usual_runs if runs is None else runs
    warm_up = usual_warm_up if warm_up is None else warm_up
    at_least(1, sizes=min(sizes, default=1), runs=runs)
    at_least(0, warm_up=warm_up, limit=limit)
    rows: dict[str, dict[str, Any]] = {}
    # Not inference_mode: methods that optimise pixels need autograd inside.
    with torch.no_grad(), autocast(precision, device):
        order = memory_format(precision)
        smallest = _pictures(method, 1, takes_style, device, order, seed)
        tensors = _weights(method, *smallest)  # and what is fetched at first use, is
        seconds: dict[int, float] = {}  # pixels -> a run of a method that can't be stopped
        stoppable = isinstance(method, OptimisedMethod)
        if sizes and not stoppable:
            row = _translated(method, *smallest, limit, 1, 0)
            seconds[_pixels(smallest[0])] = row["median"]
        for size in sorted(set(sizes)):
            side = _side(method, size)
            pixels, styles = side**2, [(size, size)] if takes_style else []
            needed, free = method.bytes_for((side, side), styles), memory.free(device)
            if needed > free:
                why = f"takes about {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free"
                row = {"missing": why}
            elif (expected := _expected(seconds, pixels)) > limit:
                row = _over(limit, expected)
            else:
                pictures = _pictures(method, size, takes_style, device, order, seed)
                row = _measured(method, *pictures, limit, runs, warm_up)
                if not stoppable and "median" in row:
                    seconds[pixels] = row["median"]
                    row = _over(limit, row["median"]) if row["median"] > limit else row
            rows[str(size)] = row
    return {
        "parameters": sum(each.numel() for each in tensors if isinstance(each, nn.Parameter)),
        "bytes": sum(each.numel() * each.element_size() for each in tensors),
        "device": _name(device),
        "precision": precision,
        "sizes": rows,
    }


def _over(limit: float, seconds: float) -> dict[str, Any]:
    return {"missing": f"over the limit of {limit:g} s (about {seconds:.3g} s)"}


def _expected(seconds: dict[int, float], pixels: int) -> float:
    """On the straight line through the two largest sizes; 0, nothing to go by, of fewer.

    Not in proportion to the pixels: a style image that is scaled to one size always costs the same.
    """
    if len(seconds) < 2:
        return 0.0
    (few, quick), (more, slow) = sorted(seconds.items())[-2:]
    return slow + max(0.0, slow - quick) / (more - few) * (pixels - more)


def _side(method: Method, size: int) -> int:
    """The next side that the networks take."""
    return -(-max(size, method.smallest) // method.multiple) * method.multiple


def _pixels(images: Tensor) -> int:
    return images.shape[-2] * images.shape[-1]


def _pictures(
    method: Method,
    size: int,
    takes_style: bool,
    device: torch.device,
    order: torch.memory_format,
    seed: int,
) -> tuple[Tensor, Tensor | None]:
    """A content and a style (1, 3, H, W) in [0, 1]: blurred blots with a little grain."""
    random = torch.Generator().manual_seed(seed)

    def picture(side: int) -> Tensor:
        blots = F.interpolate(
            torch.rand(1, 3, 8, 8, generator=random), (side, side), mode="bicubic"
        )
        grain = 0.05 * torch.randn(1, 3, side, side, generator=random)
        return (blots + grain).clamp(0, 1).to(device)

    content = picture(_side(method, size)).contiguous(memory_format=order)
    return content, picture(max(size, method.smallest)) if takes_style else None


def _weights(method: Method, content: Tensor, style: Tensor | None) -> list[Tensor]:
    """Parameters and buffers, each once, of the networks that a translation calls."""
    called: dict[nn.Module, None] = {}
    handle = register_module_forward_pre_hook(lambda net, _: called.setdefault(net))
    try:
        if isinstance(method, OptimisedMethod):
            _first_step(method, content, style)
        else:
            method.translate(content, style)
    finally:
        handle.remove()
    tensors = [each for net in called for each in (*net.parameters(), *net.buffers())]
    return list({id(each): each for each in tensors}.values())


def _measured(
    method: Method, content: Tensor, style: Tensor | None, limit: float, runs: int, warm_up: int
) -> dict[str, Any]:
    devices.reset_peak(content.device)
    try:
        with memory.explained(Path()):
            if isinstance(method, OptimisedMethod):
                return _optimised(method, content, style, limit, runs)
            return _translated(method, content, style, limit, runs, warm_up)
    except UserError as error:
        if not isinstance(error.__cause__, RuntimeError | MemoryError):
            raise
        return {"missing": "not enough memory"}


def _translated(
    method: Method, content: Tensor, style: Tensor | None, limit: float, runs: int, warm_up: int
) -> dict[str, Any]:
    """Runs until there are enough or the limit is spent; the last counts, however few there are."""
    times: list[float] = []
    with _bar(content, " runs", warm_up + runs) as bar:
        while len(times) < warm_up + runs and sum(times) <= limit:
            started = devices.now(content.device)
            method.translate(content, style)
            times.append(devices.now(content.device) - started)
            bar.update()
    counted = times[min(warm_up, len(times) - 1) :]
    return _row(counted) | {"peak_bytes": devices.peak(content.device)}


class _Mark(NamedTuple):
    """The end of an iteration."""

    seconds: float  # since the image was begun
    pixels: int  # of its scale
    done: int  # iterations over all scales


def _optimised(
    method: OptimisedMethod, content: Tensor, style: Tensor | None, limit: float, runs: int
) -> dict[str, Any]:
    """Whole images while the limit isn't spent; if not even one was made, it is worked out."""
    scales = _scales(method, content, style)
    until = devices.now(content.device) + limit
    times: list[float] = []
    with _bar(content, " it") as bar:
        while len(times) < runs and (not times or devices.now(content.device) < until):
            marks, finished = _iterations(method, content, style, until, bar)
            if not finished:
                break
            times.append(marks[-1].seconds)
    if times:
        return _row(times) | {"peak_bytes": devices.peak(content.device)}
    row = _row([_worked_out(marks, scales)]) | {"estimated": True, "iterations": len(marks)}
    if marks[-1].pixels == _pixels(content):
        row["peak_bytes"] = devices.peak(content.device)
    return row


def _iterations(
    method: OptimisedMethod, content: Tensor, style: Tensor | None, until: float, bar: Bar
) -> tuple[list[_Mark], bool]:
    """One image, and whether it was finished; where not, the last scale has two marks or more."""
    began, marks = devices.now(content.device), []
    with _steps(method, content, style) as steps:
        for step in steps:
            now = devices.now(content.device)
            marks.append(_Mark(now - began, _pixels(step.image), step.done))
            bar.update()
            paced = len(marks) > 1 and marks[-2].pixels == marks[-1].pixels
            if now > until and paced and step.done < step.total:
                return marks, False
    return marks, True


def _scales(
    method: OptimisedMethod, content: Tensor, style: Tensor | None
) -> list[tuple[int, int]]:
    """(pixels, iterations) from the coarsest scale to the finest, each twice as high and wide.

    A step tells its scale and the iterations in all, but not how they are shared out. What comes
    before the last scale is all there is for a content of half the size.
    """
    first = _first_step(method, content, style)
    height, width = content.shape[-2:]
    pixels, totals = [height * width], [first.total]
    while pixels[0] > _pixels(first.image):
        factor = 2 ** len(pixels)
        smaller = F.interpolate(content, (round(height / factor), round(width / factor)))
        pixels.insert(0, _pixels(smaller))
        totals.insert(0, _first_step(method, smaller, style).total)
    return list(zip(pixels, [b - a for a, b in pairwise([0, *totals])], strict=True))


def _worked_out(marks: Sequence[_Mark], scales: Sequence[tuple[int, int]]) -> float:
    """Seconds until now, and those of what is left, at the pace of the last scale that was reached.

    Its first iteration sets up and isn't part of the pace, which goes with the pixels.
    """
    last = marks[-1]
    here = [mark.seconds for mark in marks if mark.pixels == last.pixels]
    pace = (here[-1] - here[0]) / (len(here) - 1)
    seconds, end = last.seconds, 0
    for pixels, iterations in scales:
        end += iterations
        left = min(iterations, max(0, end - last.done))
        seconds += left * pace * pixels / last.pixels
    return seconds


def _first_step(method: OptimisedMethod, content: Tensor, style: Tensor | None) -> Step:
    with _steps(method, content, style) as steps:
        return next(steps)


def _steps(
    method: OptimisedMethod, content: Tensor, style: Tensor | None
) -> "closing[Generator[Step, None, None]]":
    """The iterations, given up with all they hold at the end of the block."""
    return closing(cast("Generator[Step, None, None]", method.optimise(content, style)))


def _row(times: Sequence[float]) -> dict[str, Any]:
    return {
        "median": float(np.median(times)),
        "p95": float(np.percentile(times, 95)),
        "runs": len(times),
        "estimated": False,
    }


def _bar(content: Tensor, unit: str, total: int | None = None) -> Bar:
    height, width = content.shape[-2:]
    return Bar(desc=f"{width}x{height}", unit=unit, total=total, delay=2, leave=False)


def _name(device: torch.device) -> str:
    if device.type != "cpu":
        return devices.name(device)
    threads = torch.get_num_threads()
    return f"cpu, {threads} thread{'s' * (threads != 1)}"
