"""SSIM of the two images' edges: whether outlines are kept, whatever happens to the areas.

Edges are the length of Sobel's gradient of the luma,

    e = sqrt(g_x^2 + g_y^2),  g_x = luma * [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]] / 4,

and g_y with the transposed kernel, so that a step from black to white has length 1. SSIM as in
`ssim`, with its constants for a range of 1. Papers on photorealistic style transfer take the edges
that HED, a trained network, finds (Xie & Tu 2015): their numbers are not these.

Images of 13 pixels and more on a side: the outermost pixels have no gradient. The windows are
torchmetrics'.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from gan_style.evaluation.metric import Info, PairMetric
from gan_style.evaluation.metrics._checks import at_least
from gan_style.evaluation.metrics._ssim import WINDOW, similarity
from gan_style.maths.colour import luma

INFO = Info(
    title="SSIM of edges (Sobel, not HED)",
    better="higher",
    against="content",
    source=(
        "Yoo et al. 2019, Photorealistic style transfer via wavelet transforms, "
        "https://arxiv.org/abs/1903.09760, with Sobel's edges for HED's"
    ),
)


class Metric(PairMetric):
    """Similarities from -1 to 1 (equal edges)."""

    smallest = WINDOW + 2

    @torch.no_grad()
    def forward(self, translated: Tensor, other: Tensor) -> Tensor:  # noqa: D102
        at_least(self.smallest, translated, other)
        return similarity(edges(translated), edges(other))


def edges(images: Tensor) -> Tensor:
    """Strength of edges (N, 1, H - 2, W - 2), from 0 to sqrt(1.25)."""
    across = images.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
    gradients = F.conv2d(luma(images), torch.stack((across, across.mT))[:, None])
    return gradients.square().sum(1, keepdim=True).sqrt()
