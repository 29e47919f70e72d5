"""Peak signal-to-noise ratio against the true translation, for paired data.

    PSNR = -10 log10 mean (x - y)^2

over all pixels and channels of images in [0, 1], in decibels. Equal images would have infinity,
which no mean and no JSON survives: the ratio ends at 100 dB, a root mean square difference of
1e-5, which 8-bit images of 256x256 pixels have when they differ by one level in one place. Images
of any size; no library but torch.
"""

import torch
from torch import Tensor

from gan_style.evaluation.metric import Info, PairMetric

INFO = Info(
    title="PSNR (dB, RGB, at most 100)",
    better="higher",
    against="truth",
    source="Horé & Ziou 2010, Image quality metrics: PSNR vs. SSIM, https://doi.org/10.1109/ICPR.2010.579",
)
MOST = 100.0


class Metric(PairMetric):
    """Decibels, at most 100."""

    @torch.no_grad()
    def forward(self, translated: Tensor, other: Tensor) -> Tensor:  # noqa: D102
        squares = (translated.double() - other.double()).square().mean((1, 2, 3))
        return (-10 * squares.log10()).clamp(max=MOST).to(translated.dtype)
