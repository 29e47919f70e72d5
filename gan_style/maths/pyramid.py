"""One image at several scales, for what is optimised or compared from coarse to fine."""

import math

from torch import Tensor
from torch.nn import functional as F


def pyramid(size: tuple[int, int], coarsest: int, smallest: int = 1) -> list[tuple[int, int]]:
    """(height, width) of every scale from the coarsest to `size` itself, each twice the one before.

    Args:
        size: (height, width) in pixels.
        coarsest: about the longer side of the first; 0 leaves only `size`.
        smallest: scales whose shorter side is below it are left out, but never `size`.
    """
    height, width = size
    halvings = max(0, round(math.log2(max(size) / coarsest))) if coarsest else 0
    sizes = [(round(height / 2**k), round(width / 2**k)) for k in range(halvings, 0, -1)]
    return [coarse for coarse in sizes if min(coarse) >= smallest] + [(height, width)]


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (N, C, H, W) in [0, 1] -> the same at (h, w): bicubic, antialiased, clipped.

    Images of that size come back as they are, uncopied.
    """
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 1)
