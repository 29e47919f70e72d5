"""Gatys' content loss as a number: how far the features of relu4_2 have moved.

    content = mean (F - P)^2

over channels and positions of relu4_2 of VGG-19, F of the translation and P of the content; Gatys
et al. 2016 have half the sum. The VGG-19 is the normalised one, whose mean activation is 1, with
mirrored borders, as AdaIN uses it: it comes through pip, torchvision's and Caffe's don't. Losses on
other weights have other scales. Images of 16 pixels and more on a side; no library but torch.
"""

import torch
from torch import Tensor

from gan_style.evaluation.metric import Info, PairMetric
from gan_style.evaluation.metrics._checks import at_least
from gan_style.losses.perceptual import content_loss
from gan_style.nn.vgg import VGG, Family

INFO = Info(
    title="Content loss (mean square, relu4_2 of normalised VGG-19)",
    better="lower",
    against="content",
    source=(
        "Gatys et al. 2016, Image style transfer using convolutional neural networks, "
        "https://doi.org/10.1109/CVPR.2016.265"
    ),
    weights=("vgg19_normalised",),
)
LAYER = "relu4_2"


class Metric(PairMetric):
    """Losses from 0 up, on the VGG-19 of a family in `nn.vgg`."""

    def __init__(self, family: Family = "normalised") -> None:
        super().__init__()
        self.vgg = VGG([LAYER], family=family)

    @torch.no_grad()
    def forward(self, translated: Tensor, other: Tensor) -> Tensor:  # noqa: D102
        at_least(self.vgg.smallest, translated, other)
        pairs = zip(self.vgg(translated)[LAYER], self.vgg(other)[LAYER], strict=True)
        return torch.stack([content_loss(now[None], then[None], "mean") for now, then in pairs])
