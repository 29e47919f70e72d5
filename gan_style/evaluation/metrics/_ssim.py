"""Structural similarity of one-channel maps, for the metrics that are made of it."""

from torch import Tensor

from gan_style import home

WINDOW = 11  # pixels, and so the smallest map


def similarity(maps: Tensor, other: Tensor) -> Tensor:
    """Mean SSIM (N) of maps (N, 1, H, W) whose range is 1, over all windows that lie inside.

    Computed in float64: in float32 the variances, differences of large numbers, give two equal
    flat maps 0.9991.
    """
    home.for_matplotlib()  # which comes with it
    # Its import takes five seconds.
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, everywhere = structural_similarity_index_measure(
        maps.double(),
        other.double(),
        sigma=1.5,
        kernel_size=WINDOW,
        data_range=1.0,
        return_full_image=True,
    )
    border = WINDOW // 2  # there torchmetrics mirrors the maps
    inside = everywhere[:, :, border:-border, border:-border]
    return inside.mean((1, 2, 3)).to(maps.dtype)
