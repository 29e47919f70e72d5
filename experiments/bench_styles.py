"""Seconds an image: one pass of Johnson's network and of AdaIN, against iterations of Gatys.

python experiments/bench_styles.py --sizes 256,512 --measured 500,100

All on this machine in one run, batch 1, images in memory to images in memory, and without reading
any file. The feed-forward methods get the median of --repeats runs after two to warm up; Gatys is
timed once, since its iterations are repetitions already. Where fewer iterations are measured than a
column says, the rest is extrapolated from the last half of those that were, and marked by ~.
Networks have random weights and noise for images: a pass takes as long, and L-BFGS evaluates as
often (28 times in 25 iterations, the same as with the published VGG on paintings).
"""

import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from tqdm import tqdm

from gan_style import command
from gan_style.errors import ConfigError
from gan_style.methods import adain, gatys, johnson

ITERATIONS = (100, 300, 500)


def bench(
    sizes: str = "256,512", measured: str = "500,100", repeats: int = 11, device: str = "cpu"
) -> None:
    """Print the table."""
    place = torch.device(device)
    sides, counts = _numbers("sizes", sizes), _numbers("measured", measured)
    if len(sides) != len(counts):
        raise ConfigError(f"--sizes has {len(sides)} numbers, but --measured {len(counts)}")
    rows = [_row(size, count, repeats, place) for size, count in zip(sides, counts, strict=True)]
    kind = torch.cuda.get_device_name(place) if place.type == "cuda" else platform.processor()
    print(f"\n{kind or place.type}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    header = ["size", *(f"Gatys {n} it." for n in ITERATIONS), "Johnson", "AdaIN"]
    header += [f"Gatys {n} / Johnson" for n in ITERATIONS]
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def _numbers(name: str, text: str) -> list[int]:
    if not all(word.isdecimal() and int(word) >= 32 for word in text.split(",")):
        raise ConfigError(f"--{name} is {text!r}, but must be numbers of at least 32, with commas")
    return [int(word) for word in text.split(",")]


def _row(size: int, measured: int, repeats: int, device: torch.device) -> list[str]:
    content, style = (torch.rand(1, 3, size, size, device=device) for _ in range(2))
    net = johnson.Method(johnson.Config()).to(device).eval()
    johnson_seconds = _median(lambda: net.translate(content), repeats, device)
    arbitrary = adain.Method(adain.Config(vgg="random", style_size=size)).to(device).eval()
    adain_seconds = _median(lambda: arbitrary.translate(content, style), repeats, device)
    marks = _gatys(content, style, measured)
    gatys_seconds = {n: marks[n] if n in marks else _extrapolated(marks, n) for n in ITERATIONS}
    return [
        f"{size}x{size}",
        *(f"{'' if n in marks else '~'}{gatys_seconds[n]:.1f} s" for n in ITERATIONS),
        f"{johnson_seconds:.3f} s",
        f"{adain_seconds:.3f} s",
        *(f"{gatys_seconds[n] / johnson_seconds:.0f}" for n in ITERATIONS),
    ]


def _gatys(content: torch.Tensor, style: torch.Tensor, iterations: int) -> dict[int, float]:
    """Iteration -> seconds from the start."""
    options: dict[str, Any] = {"vgg": "random", "first_scale": 0, "iterations": iterations}
    method = gatys.Method(gatys.Config(**options))
    _ = method.vgg
    marks, started = {}, time.perf_counter()
    with torch.no_grad():
        steps = method.optimise(content, style)
        for step in tqdm(steps, total=iterations, unit=" it", desc=f"gatys {content.shape[-1]}"):
            marks[step.done] = time.perf_counter() - started
    return marks


def _extrapolated(marks: dict[int, float], iterations: int) -> float:
    last = max(marks)
    pace = (marks[last] - marks[last // 2]) / (last - last // 2)
    return marks[last] + (iterations - last) * pace


def _median(work: Callable[[], Any], repeats: int, device: torch.device) -> float:
    seconds = []
    with torch.no_grad():
        for _ in range(repeats + 2):
            started = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[2:])


if __name__ == "__main__":
    command.only("bench_styles.py", bench, lambda: __doc__ or "")
