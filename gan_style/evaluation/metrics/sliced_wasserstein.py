"""Sliced Wasserstein distance: do patches of two collections look alike, scale by scale?

For each level of a Laplacian pyramid, the distance in one dimension (the area between the two
distribution functions) of patches projected onto a random direction of length 1, averaged over 512
directions; `level_0`, `level_1`, ... are the levels, finest first, `value` is their mean.

Karras et al. 2018, section 5, https://arxiv.org/abs/1710.10196, times 1000 as in their tables. 0
for equal collections; symmetric. As there, patches of a level are normalised for each collection
and colour channel by itself, to mean 0 and deviation 1: brightness, contrast and colour cast are
not seen, texture is, and needs no pretrained network. Two samples of one collection are not at 0:
compare figures at equal counts. Levels of collections are comparable at one image size.

Differences from the paper: every level has the same directions; collections may differ in size; a
channel of deviation below 0.0001, 1/40 of a step of 8 bits, is flat but for rounding, which is not
blown up to 1.

Own code: torchmetrics has no such metric, and POT would be one more library, for sorting.
"""

import math

import numpy as np
import torch
from torch import Tensor

from gan_style.evaluation.metric import Info, SetMetric
from gan_style.evaluation.metrics._features import PATCH, check

DIRECTIONS = 512
AT_ONCE = 64  # directions, which bounds memory
FLAT = 1e-4
THOUSAND = 1000.0

INFO = Info(
    title="SWD x 1000",
    better="lower",
    against="collection",
    source="Karras et al. 2018, https://arxiv.org/abs/1710.10196",
    features=("patches",),
    range=(0, math.inf),
)


class Metric(SetMetric):
    """`value`, the mean over levels, and `level_0` ..., finest first; all times 1000."""

    def distance(self, translated: Tensor, real: Tensor, seed: int = 0) -> dict[str, float]:
        """Of patches (M, levels * 3 * 49) and (K, levels * 3 * 49); the seed draws directions.

        Raises:
            DataError: no patches on a side, or of images whose pyramids differ in levels.
        """
        check(translated, real, fewest=1)
        directions = _directions(seed)
        pairs = zip(_levels(translated), _levels(real), strict=True)
        levels = [THOUSAND * sliced(a, b, directions) for a, b in pairs]
        named = {f"level_{index}": level for index, level in enumerate(levels)}
        return {"value": sum(levels) / len(levels)} | named


def sliced(a: Tensor, b: Tensor, directions: Tensor) -> float:
    """Mean over directions (D, P) of the 1-Wasserstein distance of a (M, D) and b (K, D)."""
    i, j, widths = _quantiles(len(a), len(b))
    distances = []
    for some in directions.split(AT_ONCE, dim=1):
        along_a, along_b = (_sorted(some.mT @ each.mT) for each in (a, b))
        distances.append((along_a[:, i] - along_b[:, j]).abs().double() @ widths)
    return torch.cat(distances).mean().item()


def _sorted(rows: Tensor) -> Tensor:
    return torch.from_numpy(np.sort(rows.numpy(), axis=1))  # a fifth of the time of torch's


def _quantiles(m: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Steps of two quantile functions, of m and of k sorted values, and how wide each one is."""
    ends = [torch.arange(1, count + 1, dtype=torch.float64) / count for count in (m, k)]
    edges = torch.cat(ends).unique()
    widths = edges.diff(prepend=edges.new_zeros(1))
    middles = edges - widths / 2
    i, j = ((middles * count).long() for count in (m, k))
    return i, j, widths


def _directions(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(3 * PATCH**2, DIRECTIONS, generator=generator)
    return directions / directions.norm(dim=0)


def _levels(rows: Tensor) -> list[Tensor]:
    """Normalised patches (M, 3 * 49) of each level."""
    levels = rows.cpu().unflatten(1, (-1, 3, PATCH**2))
    mean = levels.mean(dim=(0, 3), keepdim=True)
    deviation = levels.std(dim=(0, 3), keepdim=True, correction=0)
    normalised = (levels - mean) / deviation.clamp(min=FLAT)
    return [level.flatten(1) for level in normalised.unbind(1)]
