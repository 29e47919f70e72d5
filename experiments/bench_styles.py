"""Seconds an image: one pass of Johnson's network and of AdaIN, against iterations of Gatys.

python experiments/bench_styles.py --sizes 256,512 --limit 60

All on this machine in one run, measured as by gan_style.cost: medians of images in memory to images
in memory, without reading any file. Where --limit seconds are too few for all of Gatys' iterations,
the rest is worked out from those that were timed, and marked by ~. Networks have random weights,
with which a pass takes as long.
"""

from types import ModuleType
from typing import Any

import torch

from gan_style import command, cost
from gan_style.errors import ConfigError
from gan_style.methods import adain, gatys, johnson

ITERATIONS = (100, 300, 500)


def bench(sizes: str = "256,512", limit: float = 60.0, device: str = "cpu") -> None:
    """Print the table."""
    place, sides = torch.device(device), _sides(sizes)

    def costs(module: ModuleType, **options: Any) -> dict[str, Any]:
        method = module.Method(module.Config(**options)).to(place).eval().requires_grad_(False)
        takes_style = module.PAPER.style == "image"
        return cost.measure(method, takes_style=takes_style, device=place, sizes=sides, limit=limit)

    columns = {
        f"Gatys {count} it.": costs(gatys, vgg="random", first_scale=0, iterations=count)
        for count in ITERATIONS
    }
    columns["Johnson"] = costs(johnson)
    columns["AdaIN"] = costs(adain, vgg="random", style_size=0)
    print(f"{columns['Johnson']['device']}, torch {torch.__version__}\n")
    print(f"| size | {' | '.join(columns)} | Gatys / Johnson |\n|{'---|' * (len(columns) + 2)}")
    for side in sides:
        rows = [column["sizes"][str(side)] for column in columns.values()]
        ratios = [_ratio(row, rows[len(ITERATIONS)]) for row in rows[: len(ITERATIONS)]]
        print(f"| {side}x{side} | {' | '.join(map(_cell, rows))} | {', '.join(ratios)} |")


def _sides(text: str) -> list[int]:
    if not all(word.isdecimal() and int(word) >= 32 for word in text.split(",")):
        raise ConfigError(f"--sizes is {text!r}, but must be numbers of at least 32, with commas")
    return [int(word) for word in text.split(",")]


def _cell(row: dict[str, Any]) -> str:
    if "missing" in row:
        return str(row["missing"])
    return f"{'~' * row['estimated']}{row['median']:.3g} s"


def _ratio(row: dict[str, Any], by: dict[str, Any]) -> str:
    return "?" if "missing" in row | by else f"{row['median'] / by['median']:.0f}"


if __name__ == "__main__":
    command.only("bench_styles.py", bench, lambda: __doc__ or "")
