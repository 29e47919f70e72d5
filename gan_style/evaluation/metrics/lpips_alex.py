"""LPIPS on AlexNet: how different two images look. Formula and conventions: `_lpips`.

Images of 31 pixels and more on a side, at the size at which they are given; no library but torch.
"""

from gan_style.evaluation.metric import Info
from gan_style.evaluation.metrics._lpips import SOURCE, Family, Lpips

INFO = Info(
    title="LPIPS (v0.1, AlexNet)",
    better="lower",
    against="content",
    also=("truth",),
    source=SOURCE,
    weights=("lpips_alex",),
)


class Metric(Lpips):
    """Distances from 0 (equal) to about 1."""

    def __init__(self, family: Family = "published") -> None:
        super().__init__("alex", family)
