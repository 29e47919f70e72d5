"""Structural similarity of the two images' luma.

    SSIM = mean_w (2 m_x m_y + c1)(2 s_xy + c2) / ((m_x^2 + m_y^2 + c1)(s_x^2 + s_y^2 + c2))

over all 11x11 windows w inside the image, with means m and (co)variances s under a Gaussian of
deviation 1.5 pixels, c1 = 0.01^2 and c2 = 0.03^2 for values in [0, 1]. That is Wang et al.'s
definition, on brightness; their first step, averaging over factor x factor pixels of images above
384 pixels, is left out, as almost everywhere. Papers on style transfer that give SSIM rarely say on
which channels; code that averages it over R, G and B, such as StyleID's, punishes new colours too.

Images of 11 pixels and more on a side. The windows are torchmetrics', without those that it
completes by mirroring at the border.
"""

import torch
from torch import Tensor

from gan_style.evaluation.metric import Info, PairMetric
from gan_style.evaluation.metrics._checks import at_least
from gan_style.evaluation.metrics._ssim import WINDOW, similarity
from gan_style.maths.colour import luma

INFO = Info(
    title="SSIM (luma, 11x11 Gaussian of 1.5 pixels)",
    better="higher",
    against="content",
    also=("truth",),
    source=(
        "Wang et al. 2004, Image quality assessment: from error visibility to structural "
        "similarity, https://doi.org/10.1109/TIP.2003.819861"
    ),
)


class Metric(PairMetric):
    """Similarities from -1 to 1 (equal brightness)."""

    smallest = WINDOW

    @torch.no_grad()
    def forward(self, translated: Tensor, other: Tensor) -> Tensor:  # noqa: D102
        at_least(self.smallest, translated, other)
        return similarity(luma(translated), luma(other))
