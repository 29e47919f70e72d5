"""LPIPS on AlexNet of the two images in grey: how much of the structure is kept, whatever colours.

Both become their luma in all three channels, as in StyleID's evaluation, which rounds the luma to
8 bits. Formula and conventions are `_lpips`'s; images of 31 pixels and more on a side; no library
but torch.
"""

from torch import Tensor

from gan_style.evaluation.metric import Info
from gan_style.evaluation.metrics._lpips import SOURCE, Family, Lpips
from gan_style.maths.colour import luma

INFO = Info(
    title="LPIPS of grey images (v0.1, AlexNet)",
    better="lower",
    against="content",
    source=(
        "Chung et al. 2024, Style injection in diffusion, https://arxiv.org/abs/2312.09008, "
        f"evaluation/eval_artfid.py of https://github.com/jiwoogit/StyleID; {SOURCE}"
    ),
    weights=("lpips_alex",),
)


class Metric(Lpips):
    """Distances from 0 (equal but for colours) to about 1."""

    def __init__(self, family: Family = "published") -> None:
        super().__init__("alex", family)

    def forward(self, translated: Tensor, other: Tensor) -> Tensor:  # noqa: D102
        return super().forward(_grey(translated), _grey(other))


def _grey(images: Tensor) -> Tensor:
    return luma(images).expand_as(images)
