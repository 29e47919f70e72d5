"""The losses on VGG features that style transfer methods share, and total variation.

Features are (N, C, H, W), images (N, 3, H, W) RGB in [0, 1]. Every loss is a scalar, unweighted,
averaged over the N images of a batch; a target of one image serves the whole batch. The
literature normalises these losses in several ways, and a published weight means nothing without
its normalisation; with D the difference of two unnormalised Gram matrices, C channels and
M = H*W positions, the style losses of a layer are:

| name       | loss                     | is paper's times | used by                               |
|------------|--------------------------|------------------|---------------------------------------|
| gram_paper | sum D^2 / (4 C^2 M^2)    | 1                | Gatys et al. 2016                     |
| gram_hw    | sum D^2 / (C^2 M^2)      | 4                | Gatys' PyTorch notebook, magenta      |
| gram_chw   | sum D^2 / (C^4 M^2)      | 4 / C^2          | neural-style, Johnson et al., MSG-Net |
| gram_none  | sum D^2 / C^2            | 4 M^2            |                                       |
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from gan_style.maths.statistics import (
    GramNorm,
    covariance,
    gaussian_mmd2,
    gaussian_wasserstein2,
    gram,
    in_full_precision,
    mean,
    mean_std,
    sample_positions,
)

ContentNorm = Literal["paper", "mean", "chw"]
StyleLossName = Literal[
    "gram_paper",
    "gram_hw",
    "gram_chw",
    "gram_none",
    "mean_std",
    "covariance",
    "wasserstein",
    "mmd_linear",
    "mmd_polynomial",
    "mmd_gaussian",
]
Statistic = tuple[Tensor, ...]


class StyleLoss(NamedTuple):
    """A statistic of features, and the loss between two of them.

    `of(features, weights)` keeps what the loss needs of an image, so that of the style image is
    computed once; `weights` are position weights (see `gan_style.maths.statistics`) or None.
    `distance(now, target)` is the scalar loss.
    """

    of: Callable[[Tensor, Tensor | None], Statistic]
    distance: Callable[[Statistic, Statistic], Tensor]


@in_full_precision
def content_loss(features: Tensor, target: Tensor, norm: ContentNorm) -> Tensor:
    """Squared difference of two feature maps, per image, averaged over the batch.

    "paper" is half the sum (Gatys et al. 2016), "mean" the mean over all entries, "chw" the sum
    over C*H*W (Johnson et al. 2016): the same number as "mean", here where both are averaged over
    the batch.
    """
    squares = (features - target).square()
    if norm == "paper":
        return squares.flatten(1).sum(1).mean() / 2
    return squares.mean()


@in_full_precision
def total_variation(
    images: Tensor, kind: Literal["l1", "l2"], reduction: Literal["sum", "mean"]
) -> Tensor:
    """Differences of neighbouring pixels, dx across columns and dy across rows.

    | kind, reduction | loss                              | used by                          |
    |-----------------|-----------------------------------|----------------------------------|
    | l2, sum         | (sum dx^2 + sum dy^2) / 2         | neural-style                     |
    | l1, sum         | sum abs(dx) + sum abs(dy)         | neural-style-pt                  |
    | l1, mean        | (mean abs(dx) + mean abs(dy)) / 2 | Dive into Deep Learning          |
    | l2, mean        | (mean dx^2 + mean dy^2) / 2       |                                  |

    Sums are per image and averaged over the batch. neural-style only has the gradient of its
    loss, and leaves out the last row's dx and the last column's dy. An image one pixel wide has
    no dx, which counts as 0.
    """
    differences = (images.diff(dim=3), images.diff(dim=2))
    sizes = [part.abs() if kind == "l1" else part.square() for part in differences]
    if reduction == "sum":
        counts = [len(images), len(images)]
    else:
        counts = [max(part.numel(), 1) for part in differences]
    total = sizes[0].sum() / counts[0] + sizes[1].sum() / counts[1]
    return total if (kind, reduction) == ("l1", "sum") else total / 2


def _gram_loss(norm: GramNorm) -> StyleLoss:
    return StyleLoss(
        lambda features, weights: (gram(features, norm, weights),),
        _sum_of_squares if norm == "paper" else _mean_of_squares,
    )


def _sum_of_squares(now: Statistic, target: Statistic) -> Tensor:
    """Sum over the entries of each part, averaged over the batch; parts added."""
    parts = zip(now, target, strict=True)
    return torch.stack([(a - b).square().flatten(1).sum(1).mean() for a, b in parts]).sum()


def _mean_of_squares(now: Statistic, target: Statistic) -> Tensor:
    """Mean over the entries of each part and the batch; parts added."""
    parts = zip(now, target, strict=True)
    return torch.stack([(a - b).square().mean() for a, b in parts]).sum()


def _wasserstein(now: Statistic, target: Statistic) -> Tensor:
    return gaussian_wasserstein2(now[0], now[1], target[0], target[1]).mean()


def _gaussian_mmd(now: Statistic, target: Statistic) -> Tensor:
    return gaussian_mmd2(now[0], now[1], target[0], target[1]).mean()


STYLE_LOSSES: dict[StyleLossName, StyleLoss] = {
    # Sum over the C^2 entries: E_l of Gatys et al. 2016. The other Grams: mean over the entries.
    "gram_paper": _gram_loss("paper"),
    "gram_hw": _gram_loss("hw"),
    "gram_chw": _gram_loss("chw"),
    "gram_none": _gram_loss("none"),
    # Mean over the channels for means and for standard deviations, added: AdaIN's PyTorch port.
    # The Lua original sums over channels.
    "mean_std": StyleLoss(mean_std, _mean_of_squares),
    # Mean over the C^2 covariances and mean over the C means, added.
    "covariance": StyleLoss(
        lambda features, weights: (covariance(features, weights), mean(features, weights)),
        _mean_of_squares,
    ),
    # Squared 2-Wasserstein distance of Gaussians, a sum over channels; float64 keeps covariances
    # of fewer positions than channels from turning negative.
    "wasserstein": StyleLoss(
        lambda features, weights: (mean(features, weights), covariance(features.double(), weights)),
        _wasserstein,
    ),
    # Squared maximum mean discrepancies (Li et al. 2017) with kernels x.y, (x.y)^2 and Gaussian,
    # sums over channels. The polynomial one is C^2 times gram_hw.
    "mmd_linear": StyleLoss(lambda features, weights: (mean(features, weights),), _sum_of_squares),
    "mmd_polynomial": StyleLoss(
        lambda features, weights: (gram(features, "hw", weights),), _sum_of_squares
    ),
    "mmd_gaussian": StyleLoss(sample_positions, _gaussian_mmd),
}
