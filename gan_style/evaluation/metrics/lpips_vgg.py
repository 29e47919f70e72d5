"""LPIPS on VGG-16: how different two images look. Formula and conventions: `_lpips`.

Images of 16 pixels and more on a side, at the size at which they are given; no library but torch.
A method that was trained with a VGG loss looks better here than on AlexNet.
"""

from gan_style.evaluation.metric import Info
from gan_style.evaluation.metrics._lpips import SOURCE, Family, Lpips

INFO = Info(
    title="LPIPS (v0.1, VGG-16)",
    better="lower",
    against="content",
    source=SOURCE,
    weights=("vgg16_torchvision", "lpips_vgg"),
)


class Metric(Lpips):
    """Distances from 0 (equal) to about 1."""

    def __init__(self, family: Family = "published") -> None:
        super().__init__("vgg", family)
