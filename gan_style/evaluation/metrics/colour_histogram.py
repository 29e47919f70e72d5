"""Distance of colour histograms from the style image's: HistoGAN's loss, as StyleID reports it.

A pixel (r, g, b) has weight sqrt(r^2 + g^2 + b^2) and, for each channel, a place in a plane of
log-chroma: (log r/g, log r/b), (log g/r, log g/b), (log b/r, log b/g). Each plane has 64 x 64 bins
with centres from -3 to 3, into each of which a pixel at distance (d_u, d_v) falls with

    1 / (1 + (d_u / 0.02)^2) / (1 + (d_v / 0.02)^2)

The three planes together are divided by their sum, and H and H' of two images are compared by
Hellinger's distance

    d = sqrt(sum (sqrt H - sqrt H')^2 / 2)

from 0 (equal) to 1 (disjoint, which those kernels never quite are). As in the published code 1e-6
is added inside logarithms and roots, and images with a side above 256 pixels are scaled to 256x256,
bilinearly. Brightness counts as weight only: an image and its darker copy are at about 0.

The two images may have any sizes; no library but torch.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from gan_style.evaluation.metric import Info, PairMetric
from gan_style.maths.statistics import in_full_precision

INFO = Info(
    title="Colour histogram distance (RGB-uv, 64 bins, Hellinger)",
    better="lower",
    against="style",
    source=(
        "Afifi et al. 2021, HistoGAN, https://arxiv.org/abs/2011.11731, "
        "https://github.com/mahmoudnafifi/HistoGAN; at 256 pixels as in "
        "evaluation/eval_histogan.py of https://github.com/jiwoogit/StyleID"
    ),
)
BINS, EDGE, SIGMA, EPS = 64, 3.0, 0.02, 1e-6
LARGEST = 256  # pixels on a side


class Metric(PairMetric):
    """Distances from 0 to 1."""

    @torch.no_grad()
    def forward(self, translated: Tensor, other: Tensor) -> Tensor:  # noqa: D102
        return hellinger(_histograms(translated), _histograms(other))


def hellinger(histograms: Tensor, others: Tensor) -> Tensor:
    """Distances (N) of histograms (N, ...) that sum to 1."""
    return (histograms.sqrt() - others.sqrt()).square().flatten(1).sum(1).div(2).sqrt()


def _histograms(images: Tensor) -> Tensor:
    """Histograms (N, 3, 64, 64)."""
    if max(images.shape[2:]) > LARGEST:
        images = F.interpolate(images, (LARGEST, LARGEST), mode="bilinear", align_corners=False)
    return torch.stack([histogram(image) for image in images])


@in_full_precision
def histogram(image: Tensor) -> Tensor:
    """Histogram (3, 64, 64) of an image (3, H, W); it sums to 1."""
    pixels = image.flatten(1)  # (3, H*W)
    weights = (pixels.square().sum(0) + EPS).sqrt()
    r, g, b = (pixels + EPS).log()
    rg, rb, gb = (_kernel(each) for each in (r - g, r - b, g - b))
    gr, br, bg = (each.flip(0) for each in (rg, rb, gb))  # bins lie symmetrically
    counts = torch.stack([(weights * u) @ v.mT for u, v in ((rg, rb), (gr, gb), (br, bg))])
    return counts / counts.sum()


def _kernel(values: Tensor) -> Tensor:
    """How much of each pixel (H*W) falls into each bin of one axis: (64, H*W)."""
    centres = torch.linspace(-EDGE, EDGE, BINS, dtype=values.dtype, device=values.device)
    return 1 / (1 + ((values - centres[:, None]) / SIGMA).square())
