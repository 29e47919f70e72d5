"""Tensor maths of feature statistics: moments, Gram matrices, AdaIN and distances of distributions.

Features are (N, C, H, W). Every statistic takes position weights: (N or 1, 1, H, W), non-negative,
summing to 1 over the positions of an image; None weighs all positions alike. Half and bfloat16
tensors are cast to float32 and autocast is switched off: sums over positions need the bits.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from gan_style.errors import DataError

P = ParamSpec("P")
R = TypeVar("R")
GramNorm = Literal["paper", "hw", "chw", "none"]


def in_full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function of tensors compute in float32 or float64, also under autocast."""

    @wraps(function)
    def outside_autocast(*args: P.args, **kwargs: P.kwargs) -> R:
        values = (*args, *kwargs.values())
        device = next(value.device for value in values if isinstance(value, Tensor))
        with torch.autocast(device.type, enabled=False):
            return function(
                *(_widened(value) for value in args),
                **{name: _widened(value) for name, value in kwargs.items()},
            )

    return outside_autocast


def _widened(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    return value


@in_full_precision
def guide(mask: Tensor, size: Sequence[int]) -> Tensor:
    """Position weights (N, 1, h, w) of a region for a feature map of `size` (h, w).

    The mask (N, 1, H, W) in [0, 1] is averaged over the area of each position: the T of Gatys et
    al. 2017, who multiply the features with T scaled to a mean square of 1. That is the same as
    weighing the positions with T^2 / sum T^2, which is returned.

    Raises:
        DataError: a mask is zero everywhere.
    """
    height, width = size
    squares = F.adaptive_avg_pool2d(mask, (height, width)).square()
    total = squares.sum((2, 3), keepdim=True)
    if not (total > 0).all():
        index = int((total.flatten() > 0).int().argmin())
        raise DataError(
            f"region mask {index} is empty at {height}x{width} (height x width); "
            "leave the region out or paint it larger"
        )
    return squares / total


@in_full_precision
def mean(features: Tensor, weights: Tensor | None = None) -> Tensor:
    """Channel means (N, C, 1, 1)."""
    if weights is None:
        return features.mean((2, 3), keepdim=True)
    return (features * weights).sum((2, 3), keepdim=True)


@in_full_precision
def mean_std(
    features: Tensor, weights: Tensor | None = None, eps: float = 1e-5, unbiased: bool = True
) -> tuple[Tensor, Tensor]:
    """Channel means and standard deviations sqrt(variance + eps), (N, C, 1, 1) each.

    As in the PyTorch port of AdaIN (Huang & Belongie 2017). The unbiased variance of M positions
    divides by M - 1; with weights w it is the biased one over 1 - sum w^2, the same for equal
    weights. A single position has variance 0, not NaN.
    """
    means = mean(features, weights)
    variance = mean((features - means).square(), weights)
    if unbiased:
        concentration = _concentration(features, weights)
        # At one position the variance is already 0: any divisor but 0 keeps it there.
        variance = variance / (1 - concentration).clamp(min=torch.finfo(variance.dtype).eps)
    return means, (variance + eps).sqrt()


def _concentration(features: Tensor, weights: Tensor | None) -> Tensor:
    """Sum of the squared weights: 1 / M for M positions of equal weight."""
    if weights is None:
        return features.new_full((), 1 / features[0, 0].numel())
    return weights.square().sum((2, 3), keepdim=True)


@in_full_precision
def gram(features: Tensor, norm: GramNorm, weights: Tensor | None = None) -> Tensor:
    """Channel products (N, C, C), summed over positions and divided by what `norm` says.

    "paper" divides by 2*C*H*W, "hw" by H*W, "chw" by C*H*W, "none" by 1. With "paper" the *sum*
    of squared differences of two matrices is the E_l of Gatys et al. 2016 when both maps have one
    size; the others go with the *mean* over the C^2 entries, as their sources do
    (`gan_style.losses.perceptual` has the table). Weights w replace sum_p x x^T by
    H*W * sum_p w_p x x^T, so that uniform ones change nothing.
    """
    flat = features.flatten(2)  # (N, C, H*W)
    channels, positions = flat.shape[1:]
    divisor = {
        "paper": 2 * channels * positions,
        "hw": positions,
        "chw": channels * positions,
        "none": 1,
    }[norm]
    if weights is None:
        products: Tensor = _Products.apply(flat)
        return products / divisor
    return flat * (weights.flatten(2) * positions) @ flat.mT / divisor


class _Products(torch.autograd.Function):
    """X X^T (N, C, C) of X (N, C, M), with one product backward where autograd takes two.

    The gradient comes in X's order in memory. Of autograd's two summands one always comes in the
    other, and adding that to the gradients of a VGG takes as long as a convolution.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x @ x.mT

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        both = gradient + gradient.mT
        return both @ x if x.is_contiguous() else (x.mT @ both).mT


@in_full_precision
def covariance(features: Tensor, weights: Tensor | None = None) -> Tensor:
    """Channel covariances (N, C, C), divided by the number of positions (biased)."""
    return gram(features - mean(features, weights), "hw", weights)


@in_full_precision
def adain(
    content: Tensor, style_mean: Tensor, style_std: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Content features with another mean and standard deviation, (N or 1, C, 1, 1) each.

    AdaIN(x, y) = sigma_y (x - mu_x) / sigma_x + mu_y of Huang & Belongie 2017, so
    `adain(content, *mean_std(style))`; eps and the unbiased variance are `mean_std`'s.
    `weights` are the content's: every position is mapped by the statistics of their region.
    """
    content_mean, content_std = mean_std(content, weights)
    return style_std * (content - content_mean) / content_std + style_mean


@in_full_precision
def symmetric_power(matrix: Tensor, exponent: float) -> Tensor:
    """Power of symmetric matrices (..., C, C), such as 0.5 or -0.5, by their eigenvalues.

    Computed in float64 and returned in the matrix's type. Eigenvalues below 0 are rounding and
    count as 0. For negative exponents the matrix must be positive definite: put an eps on its
    diagonal. Without useful gradients where eigenvalues coincide.
    """
    values, vectors = torch.linalg.eigh(matrix.double())
    powers = values.clamp(min=0).pow(exponent)
    return ((vectors * powers.unsqueeze(-2)) @ vectors.mT).to(matrix.dtype)


@in_full_precision
def gaussian_map(
    mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor, eps: float = 1e-2
) -> tuple[Tensor, Tensor]:
    """The shortest way from one Gaussian to another: matrix M (C, C) and offset b (C) of M x + b.

    M = S1^-1/2 (S1^1/2 S2 S1^1/2)^1/2 S1^-1/2 and b = mu2 - M mu1, with eps on both diagonals: of
    all maps that give x the other mean and covariance the one that moves it least, whose mean
    squared way is `gaussian_wasserstein2` (Olkin, Pukelsheim 1982; as a transfer of style between
    VGG's features of two images Mroueh 2020, Wasserstein Style Transfer). Where x1 doesn't vary,
    eps decides, which keeps the map near the identity if x2 varies as little. Means are (C),
    covariances (C, C). Give float64.
    """
    identity = torch.eye(len(mean1), dtype=mean1.dtype, device=mean1.device)
    cov1, cov2 = cov1 + eps * identity, cov2 + eps * identity
    root, inverse = symmetric_power(cov1, 0.5), symmetric_power(cov1, -0.5)
    matrix = inverse @ symmetric_power(root @ cov2 @ root, 0.5) @ inverse
    return matrix, mean2 - matrix @ mean1


@in_full_precision
def gaussian_wasserstein2(
    mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor, eps: float = 1e-4
) -> Tensor:
    """Squared 2-Wasserstein distances (N) of Gaussians with these means and covariances.

    |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2), with eps on both diagonals; means are
    (N or 1, C, ...), covariances (N or 1, C, C). The last trace is the nuclear norm of L1^T L2
    for Cholesky factors S = L L^T: no matrix root is taken, and gradients stay finite for
    covariances of any rank and for equal ones. Crowson's neural style transfer takes the root by
    12 Newton-Schulz iterations, which at 512 channels of 64 positions leaves 0.1 per unit
    variance between a covariance and itself.

    Computed in float64, where the distance of a covariance to itself is below 1e-14 of its trace.
    Where channels outnumber positions give float64 covariances: rounding to float32 can make
    eigenvalues more negative than eps, and torch then refuses the factor.
    """
    factor1, factor2 = (_cholesky(covariances.double(), eps) for covariances in (cov1, cov2))
    shift = (mean1.flatten(1) - mean2.flatten(1)).square().sum(1)
    traces = factor1.square().sum((1, 2)) + factor2.square().sum((1, 2))
    cross = torch.linalg.svdvals(factor1.mT @ factor2).sum(1)
    return shift + (traces - 2 * cross).to(shift.dtype)


def _cholesky(matrices: Tensor, eps: float) -> Tensor:
    identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
    return torch.linalg.cholesky(matrices + eps * identity)


@in_full_precision
def sample_positions(
    features: Tensor, weights: Tensor | None = None, samples: int = 1024
) -> tuple[Tensor, Tensor]:
    """Feature vectors (N, S, C) of at most `samples` positions, and their weights (N or 1, S).

    Maps of up to `samples` positions come whole. Of larger ones equally weighted positions are
    taken at fixed quantiles of the weights, so the choice is the same in every step.
    """
    vectors = features.flatten(2).mT  # (N, H*W, C)
    positions = vectors.shape[1]
    if weights is None:
        weights = torch.full_like(features[:1, :1], 1 / positions)
    flat = weights.flatten(1)  # (N or 1, H*W)
    if positions <= samples:
        return vectors, flat
    # Multiples of the golden ratio are spread evenly, yet never fall in step with the rows.
    steps = torch.arange(1, samples + 1, device=flat.device, dtype=torch.float64)
    quantiles = (steps * (5**0.5 - 1) / 2).frac().expand(len(flat), -1).contiguous()
    chosen = torch.searchsorted(flat.double().cumsum(1), quantiles, right=True)
    chosen = chosen.expand(len(vectors), -1)
    picked = vectors.gather(1, chosen.unsqueeze(-1).expand(-1, -1, vectors.shape[-1]))
    return picked, torch.full_like(quantiles, 1 / samples, dtype=flat.dtype)


@in_full_precision
def gaussian_mmd2(
    vectors: Tensor, weights: Tensor, target_vectors: Tensor, target_weights: Tensor
) -> Tensor:
    """Squared maximum mean discrepancies (N) of weighted vectors, kernel exp(-|x-y|^2 / 2s^2).

    The biased estimate, pairs of a vector with itself included, so equal samples have distance 0.
    Vectors and weights are those of `sample_positions`. The bandwidth 2s^2 is the mean squared
    distance over all pairs of the target, at least 1e-5.

    The kernel is from Li et al. 2017 (Demystifying neural style transfer). Their code draws other
    random pairs in every step, without bias, and measures the bandwidth on them, within and
    across the two images; here the loss is a fixed function of the vectors, which L-BFGS needs.
    Kernels x.y and (x.y)^2 need no pairs: their distances are the sums of squared differences of
    `mean` and of `gram` with "hw".
    """
    center = (target_weights.unsqueeze(1) @ target_vectors).detach()  # (N or 1, 1, C)
    x, y = vectors - center, target_vectors - center  # distances of large numbers cancel
    xx, xy, yy = _squared_distances(x, x), _squared_distances(x, y), _squared_distances(y, y)
    bandwidth = _expected(yy, target_weights, target_weights).clamp(min=1e-5).view(-1, 1, 1)
    kernel_xx, kernel_xy, kernel_yy = (
        torch.exp(-distances / bandwidth) for distances in (xx, xy, yy)
    )
    return (
        _expected(kernel_xx, weights, weights)
        - 2 * _expected(kernel_xy, weights, target_weights)
        + _expected(kernel_yy, target_weights, target_weights)
    )


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Distances (N, S, T) of every vector of x (N, S, C) to every one of y (N, T, C)."""
    squares = x.square().sum(-1).unsqueeze(-1) + y.square().sum(-1).unsqueeze(-2)
    return (squares - 2 * x @ y.mT).clamp(min=0)


def _expected(values: Tensor, weights: Tensor, other: Tensor) -> Tensor:
    """Means (N) of values (N, S, T) of pairs under weights (N, S) and (N, T)."""
    return (weights.unsqueeze(-1) * values * other.unsqueeze(-2)).sum((1, 2))
