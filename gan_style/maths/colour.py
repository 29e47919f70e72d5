"""Colours kept while style is transferred: luma, and linear maps between colour distributions.

Images are (N, 3, H, W), RGB in [0, 1]. After Gatys et al. 2017, Controlling perceptual factors in
neural style transfer.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from gan_style.maths.statistics import covariance, mean, mean_std, symmetric_power

ColourMap = Literal["pca", "cholesky", "optimal_transport"]
Colours = Literal["style", "luma", "match"]  # what the colours of a translation come from


def luma(images: Tensor) -> Tensor:
    """Brightness (N, 1, H, W) in [0, 1]: .299 R + .587 G + .114 B."""
    return (images * images.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)


def with_luma(images: Tensor, wanted: Tensor) -> Tensor:
    """The images' colours (I and Q of YIQ) at another luma (N, 1, H, W), clamped to [0, 1].

    YIQ is linear and its luma weights sum to 1, so the difference of luma is added to all three
    channels. The clamp alters luma and colour where the two don't go together.
    """
    return (images + wanted - luma(images)).clamp(0, 1)


def match_luma(style: Tensor, content: Tensor) -> Tensor:
    """The style as a grey RGB image whose luma has the content's mean and standard deviation.

    (N, 3, H, W) of the style's size, not clamped: values may leave [0, 1]. A style of one
    brightness becomes the content's mean.
    """
    style_luma = luma(style).double()
    style_mean, style_std = mean_std(style_luma, eps=0, unbiased=False)
    content_mean, content_std = mean_std(luma(content).double(), eps=0, unbiased=False)
    # Below 1e-6 there is only rounding: one 8-bit step in a million pixels has more.
    scale = content_std / style_std.clamp(min=1e-6)
    return _grey(scale * (style_luma - style_mean) + content_mean).to(style.dtype)


def match_colours(
    source: Tensor, target: Tensor, how: ColourMap = "pca", eps: float = 1e-5
) -> Tensor:
    """The source with its colours mapped linearly to the target's mean and covariance.

    (N, 3, H, W) of the source's size, not clamped: values may leave [0, 1]. Covariances are
    divided by the number of pixels. The CORAL of AdaIN's PyTorch port doesn't do that, which
    scales its output's contrast by sqrt(target pixels / source pixels). `eps` is added to the
    covariances' diagonals (Gatys et al. 2017), so that grey images can be mapped too; computed in
    float64.
    """
    pixels = source.double()
    source_cov, target_cov = (_regular_covariance(images, eps) for images in (source, target))
    matrix = COLOUR_MAPS[how](source_cov, target_cov)
    mapped = torch.einsum("nij,njhw->nihw", matrix, pixels - mean(pixels))
    return (mapped + mean(target.double())).to(source.dtype)


def _regular_covariance(images: Tensor, eps: float) -> Tensor:
    return covariance(images.double()) + eps * torch.eye(3, dtype=torch.float64).to(images.device)


def _pca(source: Tensor, target: Tensor) -> Tensor:
    """S_t^1/2 S_s^-1/2: Gatys et al. 2017's choice."""
    return symmetric_power(target, 0.5) @ symmetric_power(source, -0.5)


def _cholesky(source: Tensor, target: Tensor) -> Tensor:
    """L_t L_s^-1 of the Cholesky factors; depends on the order of the channels."""
    factors = torch.linalg.cholesky(source), torch.linalg.cholesky(target)
    return torch.linalg.solve_triangular(factors[0], factors[1], upper=False, left=False)


def _optimal_transport(source: Tensor, target: Tensor) -> Tensor:
    """S_s^-1/2 (S_s^1/2 S_t S_s^1/2)^1/2 S_s^-1/2: of all maps the one that moves colours least."""
    root, inverse = symmetric_power(source, 0.5), symmetric_power(source, -0.5)
    return inverse @ symmetric_power(root @ target @ root, 0.5) @ inverse


COLOUR_MAPS: dict[ColourMap, Callable[[Tensor, Tensor], Tensor]] = {
    "pca": _pca,
    "cholesky": _cholesky,
    "optimal_transport": _optimal_transport,
}


def before(how: Colours, content: Tensor, styles: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Content and styles as a method should see them.

    "style" leaves them alone: the colours will be the style's. "luma" makes both grey, the styles'
    brightness matched to the content's. "match" maps the styles' colours to the content's. What was
    matched is clamped to [0, 1].
    """
    if how == "luma":
        return _grey(luma(content)), [match_luma(style, content).clamp(0, 1) for style in styles]
    if how == "match":
        return content, [match_colours(style, content).clamp(0, 1) for style in styles]
    return content, styles


def after(how: Colours, image: Tensor, content: Tensor) -> Tensor:
    """What a method made of `before`'s images, with the content's chroma again for "luma"."""
    return with_luma(content, luma(image)) if how == "luma" else image


def _grey(luma: Tensor) -> Tensor:
    return luma.expand(-1, 3, -1, -1)
