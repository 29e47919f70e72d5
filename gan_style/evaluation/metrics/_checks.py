"""What several metrics ask of images."""

from torch import Tensor

from gan_style.errors import DataError


def at_least(side: int, *batches: Tensor) -> None:
    """Refuse images (N, 3, H, W) with a side below `side`, where torch would speak of kernels.

    Raises:
        DataError: one of the batches has.
    """
    for images in batches:
        height, width = images.shape[2:]
        if min(height, width) < side:
            raise DataError(
                f"an image of {width}x{height} pixels (width x height) is too small for this "
                f"metric: both sides must be at least {side}"
            )
