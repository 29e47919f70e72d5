"""Gatys' style loss as a number: how far the Gram matrices are from the style image's.

    gram = sum_l mean (F_l F_l^T / M_l - S_l S_l^T / M_l')^2

over the C x C entries of relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of VGG-19, F (C, M) of the
translation and S (C, M') of the style image, which may have another size. It is "gram_hw" of
`losses.perceptual`, four times the E_l of Gatys et al. 2016 at equal sizes, each layer weighing 1.
The VGG-19 is the normalised one, whose mean activation is 1, with mirrored borders, as AdaIN uses
it: it comes through pip, torchvision's and Caffe's don't. Losses on other weights have other
scales, and the same image at another size has other textures: compare at one size.

Images of 32 pixels and more on a side; no library but torch.
"""

import torch
from torch import Tensor

from gan_style.evaluation.metric import Info, PairMetric
from gan_style.evaluation.metrics._checks import at_least
from gan_style.losses.perceptual import STYLE_LOSSES
from gan_style.nn.vgg import VGG, Family

INFO = Info(
    title="Gram loss (mean square, Gram / HW, relu1_1 ... relu5_1 of normalised VGG-19)",
    better="lower",
    against="style",
    source=(
        "Gatys et al. 2016, Image style transfer using convolutional neural networks, "
        "https://doi.org/10.1109/CVPR.2016.265; normalised as in "
        "https://github.com/leongatys/PytorchNeuralStyleTransfer"
    ),
    weights=("vgg19_normalised",),
)
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


class Metric(PairMetric):
    """Losses from 0 up, on the VGG-19 of a family in `nn.vgg`."""

    def __init__(self, family: Family = "normalised") -> None:
        super().__init__()
        self.vgg = VGG(LAYERS, family=family)

    @torch.no_grad()
    def forward(self, translated: Tensor, other: Tensor) -> Tensor:  # noqa: D102
        at_least(self.vgg.smallest, translated, other)
        ours, theirs = self.vgg(translated), self.vgg(other)
        return torch.stack([_losses(ours[layer], theirs[layer]) for layer in LAYERS]).sum(0)


def _losses(features: Tensor, style: Tensor) -> Tensor:
    """Losses (N) of one layer."""
    of, distance = STYLE_LOSSES["gram_hw"]
    pairs = zip(features, style, strict=True)
    return torch.stack([distance(of(ours[None], None), of(its[None], None)) for ours, its in pairs])
