"""Style images: what each weighs among the others, where it goes, and how it is read from a file.

Methods that take styles share one rule. A style's weight is relative to those of the others. Its
mask in the content says where it goes; its mask in the style says which part of it counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gan_style.config import entries
from gan_style.data.images import (
    ImageError,
    Picture,
    TooDarkError,
    label,
    pad,
    picture_of,
    resize,
    to_array,
    to_tensor,
)
from gan_style.errors import ConfigError, DataError
from gan_style.maths.statistics import guide

STYLE_FILE = 30  # bytes a pixel of a style as it was read: in 8 bits, as a tensor, and padded
CHROMA = 32  # levels between the channels of a grey mask: a JPEG may have some
LIGHT = 128  # the lightest level of a mask: below are labels, 1 for what is meant


@dataclass(frozen=True)
class Style:
    """One style image among several, and where it applies.

    >>> Style("painting.jpg", weight=0.7).weight
    0.7

    Args:
        image: a file, a PIL image or an array, as `images.picture_of` takes; methods are given
            tensors (1 or N, 3, H, W), RGB in [0, 1], which `read_style` makes of these.
        weight: relative to the other styles.
        content_mask: an image of the content's shape, white where this style goes; None is
            everywhere. As a tensor (1 or N, 1, H, W) in [0, 1].
        style_mask: an image of the style's shape, white where it counts; the same.
    """

    image: Any
    _: KW_ONLY
    weight: float = 1.0
    content_mask: Any = None
    style_mask: Any = None

    def to(self, target: torch.device | Tensor) -> "Style":
        """Image and masks on a device; or on that of a tensor, and in its type."""
        return self.changed(lambda tensor: tensor.to(target))

    def changed(self, change: Callable[[Tensor], Tensor]) -> "Style":
        """The style with image and masks changed alike."""
        content_mask, style_mask = (
            None if mask is None else change(mask) for mask in (self.content_mask, self.style_mask)
        )
        return replace(
            self, image=change(self.image), content_mask=content_mask, style_mask=style_mask
        )


Styles = Tensor | Sequence[Style] | None  # a tensor is one style that goes everywhere


def styles_of(style: Styles) -> list[Style]:
    """The styles as a list, with weights that sum to 1.

    Raises:
        ConfigError: no style, weights that can't be shared out, or masks for some styles alone.
    """
    styles = [Style(image=style)] if isinstance(style, Tensor) else list(style or ())
    if not styles:
        raise ConfigError("this method takes its style from an image: give one as --style")
    weights = [each.weight for each in styles]
    _check_weights(weights, ",".join(f"{weight:g}" for weight in weights))
    masked = [each.content_mask is not None for each in styles]
    if any(masked) and not all(masked):
        raise ConfigError("either every style has a mask in the content or none has")
    return [replace(each, weight=each.weight / sum(weights)) for each in styles]


def _check_weights(weights: Sequence[float], typed: str) -> None:
    if any(not weight >= 0 for weight in weights) or not 0 < sum(weights) < float("inf"):
        raise ConfigError(f"--style_weights is {typed!r}, but must be at least 0, not all 0")


def of_content(style: Styles, index: int) -> list[Style]:
    """The styles of one content of a batch: of N images or masks the one at `index`."""

    def pick(tensor: Tensor) -> Tensor:
        return tensor if len(tensor) == 1 else tensor[index : index + 1]

    return [each.changed(pick) for each in styles_of(style)]


def position_weights(mask: Tensor | None, features: Tensor) -> Tensor | None:
    """A mask (N, 1, H, W) as weights (N, 1, h, w) of the positions of features (..., h, w).

    They are `statistics.guide`'s and sum to 1; None, which is everywhere, stays None.

    Raises:
        DataError: a mask is zero everywhere.
    """
    return None if mask is None else guide(mask, features.shape[-2:])


def shares(styles: Sequence[Style], features: Tensor) -> tuple[Tensor, list[Tensor]]:
    """How much of every position of the content's `features` (N, C, h, w) is whose.

    A style's share of a position is its weight times its mask, relative to those of the others.
    Together they have as much as the masks add up to, at most 1; the content has the rest.

    Returns:
        The content's share, and that of each style: (1 or N, 1, h, w), or (1, 1, 1, 1) without
        masks, in [0, 1]. They add up to 1.
    """
    height, width = features.shape[-2:]
    masks = [
        features.new_ones(1, 1, 1, 1)
        if each.content_mask is None
        else F.adaptive_avg_pool2d(each.content_mask, (height, width))
        for each in styles
    ]
    covered = torch.stack(torch.broadcast_tensors(*masks)).sum(0).clamp(max=1)
    weighted = [each.weight * mask for each, mask in zip(styles, masks, strict=True)]
    total = torch.stack(torch.broadcast_tensors(*weighted)).sum(0)
    total = total.clamp(min=torch.finfo(total.dtype).tiny)  # a share of nothing is 0
    return 1 - covered, [covered * part / total for part in weighted]


# Styles in files


def style_files(
    paths: Sequence[str], weights: str, content_masks: str, style_masks: str
) -> tuple[Style, ...]:
    """Several styles for one image, each with its weight and masks, as a user types them.

    Args:
        paths: of the style images.
        weights: a number for each, joined by commas; empty weighs all alike.
        content_masks: an image for each, joined by commas, or empty.
        style_masks: the same.

    Raises:
        ConfigError: not as many as there are styles, or weights that can't be shared out.
        DataError: a file that isn't there.
    """
    for path in paths:
        if not Path(path).is_file():
            raise DataError(f"--style {path}: no such file")
    texts = {"style_weights": weights, "content_masks": content_masks, "style_masks": style_masks}
    lists = {name: entries(text) for name, text in texts.items()}
    for name, values in lists.items():
        if values and len(values) != len(paths):
            raise ConfigError(
                f"--{name} has {len(values)} entries, but --style has {len(paths)} images"
            )
    for name in ("content_masks", "style_masks"):
        for path in lists[name]:
            if not Path(path).is_file():
                raise DataError(f"--{name} {path}: no such file")
    try:
        numbers = [float(word) for word in lists["style_weights"]] or [1.0] * len(paths)
    except ValueError as error:
        raise ConfigError(f"--style_weights is {weights!r}, but must be numbers") from error
    _check_weights(numbers, weights)
    return tuple(
        Style(
            Path(path),
            weight=numbers[index],
            content_mask=_entry(lists["content_masks"], index),
            style_mask=_entry(lists["style_masks"], index),
        )
        for index, path in enumerate(paths)
    )


def _entry(paths: Sequence[str], index: int) -> Path | None:
    return Path(paths[index]) if paths else None


def read_style(
    style: Style, content: tuple[int, int], background: str, multiple: int, smallest: int
) -> Style:
    """A style and its masks as tensors; the content's mask is padded as the content is.

    What is transparent in the style doesn't count, as if masked.

    Args:
        style: of images; those that are tensors already stay as they are.
        content: (height, width) of the content before it is padded.
        background: colour under a transparent style.
        multiple: heights and widths of contents are padded to multiples of it ...
        smallest: ... and to at least this, those of styles too.

    Raises:
        DataError: an image or mask that can't be read, or with nothing in it that counts.
    """
    if isinstance(style.image, Tensor):
        return style
    picture = read_once(style.image, background)
    array = to_array(picture.image)
    content_mask = style_mask = None
    if style.content_mask is not None:
        content_mask = _mask("content_masks", style.content_mask, content)
    if style.style_mask is not None:
        style_mask = _mask("style_masks", style.style_mask, array.shape[:2])
    if picture.alpha is not None:
        alpha = np.asarray(picture.alpha)
        if not alpha.any():
            raise DataError(f"{label(style.image)}: the style is transparent everywhere")
        style_mask = alpha if style_mask is None else np.minimum(style_mask, alpha)
        if not style_mask.any():
            raise DataError(
                f"{label(style.style_mask)}: the mask is black where its style is opaque"
            )

    def tensor(mask: np.ndarray | None, multiple: int) -> Tensor | None:
        if mask is None:
            return None
        return to_tensor(pad(mask[..., None], multiple, smallest))[None]

    return Style(
        image=to_tensor(pad(array, 1, smallest))[None],
        weight=style.weight,
        content_mask=tensor(content_mask, multiple),
        style_mask=tensor(style_mask, 1),
    )


def read_once(image: Any, background: str) -> Picture:
    """A style image as `picture_of` reads it; the last few files are kept until `forget_read`."""
    if isinstance(image, Path):
        return _read_file(image, background)
    return picture_of(image, background)


@lru_cache(maxsize=4)  # consecutive jobs share their styles
def _read_file(path: Path, background: str) -> Picture:
    return picture_of(path, background)


forget_read = _read_file.cache_clear


def _mask(option: str, mask: Any, size: tuple[int, int]) -> np.ndarray:
    """A mask (H, W), white where it counts, scaled to its image's `size` if the shape is the same.

    Raises:
        ImageError, DataError: of another shape, black (also where it is scaled down), in colours,
            or of labels: 1 of 255 would be next to nothing.
    """
    path = label(mask)
    try:
        colours = to_array(picture_of(mask, "black").image)
    except ImageError as error:
        dark = error.__cause__
        if not isinstance(dark, TooDarkError):
            raise
        raise DataError(
            f"--{option} {path}: range found {dark.found} of 65535, but a mask is white where it "
            "counts: save it with 8 bits, 255 there"
        ) from error
    height, width = colours.shape[:2]
    if abs(height * size[1] - width * size[0]) > 0.02 * width * size[0]:
        raise ImageError(
            f"{path}: the mask is {width}x{height} pixels, its image {size[1]}x{size[0]}: "
            "they need the same shape"
        )
    chroma = np.ptp(colours, axis=2)
    if chroma.max() > CHROMA:
        met = colours.reshape(-1, 3)[chroma.argmax()]
        raise DataError(
            f"{path}: the mask has the colour #{bytes(met).hex()}, but must be grey, white where "
            "it counts: save it so"
        )
    if not colours.any():
        raise DataError(f"{path}: the mask is black everywhere: leave its style out, or paint it")
    if colours.max() < LIGHT:
        raise DataError(
            f"{path}: the highest value of the mask is {colours.max()} of 255, but where it counts "
            "it must be white, 255: multiply it so that it is"
        )
    scaled = resize(colours, size)[..., 1]
    if not scaled.any():
        raise DataError(
            f"--{option} {path}: what is white in the mask of {width}x{height} pixels is too small "
            f"to be left where its image has {size[1]}x{size[0]}: paint it larger, or leave its "
            "style out"
        )
    return scaled
