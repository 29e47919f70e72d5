"""Cycle reconstruction: how far an image is from itself after there and back again.

    L1 = mean |x - x''|

over all pixels and channels of images in [0, 1], x'' being the translation of the translation: the
cycle loss of Zhu et al. 2017, whose images are in [-1, 1] and whose numbers are twice these. On its
way the image was a PNG of 8 bits, as a translation that anybody gets: what a generator hides in
differences of less than a level, to find it on the way back (Chu et al. 2017,
https://arxiv.org/abs/1712.02950), doesn't help it here. Images of any size; no library but torch.
"""

import torch
from torch import Tensor

from gan_style.evaluation.metric import Info, PairMetric

INFO = Info(
    title="Cycle reconstruction L1 (images in [0, 1], through PNGs)",
    better="lower",
    against="reconstruction",
    source=(
        "Zhu et al. 2017, Unpaired image-to-image translation using cycle-consistent adversarial "
        "networks, https://arxiv.org/abs/1703.10593"
    ),
)


class Metric(PairMetric):
    """Distances from 0 (equal) to 1."""

    @torch.no_grad()
    def forward(self, translated: Tensor, other: Tensor) -> Tensor:  # noqa: D102
        return (translated - other).abs().mean((1, 2, 3))
