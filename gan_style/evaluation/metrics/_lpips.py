"""LPIPS v0.1 of Zhang et al. 2018, which three metrics share.

    LPIPS(x, y) = sum_l mean_p sum_c w_lc (x_lc(p) / |x_l(p)| - y_lc(p) / |y_l(p)|)^2

over positions p and channels c of five ReLUs l of a network trained on ImageNet, with weights
w >= 0 trained on people's judgements (the "lin" heads). The published code maps images to [-1, 1],
subtracts (-.030, -.088, -.188) and divides by (.458, .448, .450): the same as ImageNet's mean and
deviation of images in [0, 1].

torchmetrics has these networks too, but its public classes fetch them from torchvision's host, and
the private one makes half a gigabyte of random classifier first. All but AlexNet is in `nn.vgg`.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from gan_style import weights
from gan_style.evaluation.metric import PairMetric
from gan_style.evaluation.metrics._checks import at_least
from gan_style.nn.vgg import VGG
from gan_style.nn.vgg import Family as VGGFamily

Network = Literal["alex", "vgg"]
Family = Literal["published", "random"]  # random: from a fixed seed, for tests; it needs no file

SOURCE = (
    "Zhang et al. 2018, The unreasonable effectiveness of deep features as a perceptual metric, "
    "https://arxiv.org/abs/1801.03924; v0.1 of https://github.com/richzhang/PerceptualSimilarity"
)
CHANNELS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}
SMALLEST = {"alex": 31, "vgg": 16}  # side in pixels from which on every layer has a position
VGG_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
EPS = 1e-10  # as published: a position without any feature is 0, not NaN


class AlexNet(nn.Sequential):
    """Images (N, 3, H, W) in [0, 1] -> features {index: (N, C, h, w)} of AlexNet's five ReLUs.

    Numbered as torchvision's `features`, whose last pooling is left out.
    """

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        mean = images.new_tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        std = images.new_tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        x = (images - mean) / std
        features = {}
        for index, layer in self.named_children():
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                features[index] = x
        return features


class Lpips(PairMetric):
    """LPIPS of images of one size."""

    def __init__(self, network: Network, family: Family) -> None:
        super().__init__()
        self.features = alexnet(family) if network == "alex" else _vgg(family)
        self.heads = nn.ParameterList(_heads(network, family))  # (1, C, 1, 1) of each layer
        self.smallest = SMALLEST[network]
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, translated: Tensor, other: Tensor) -> Tensor:
        at_least(self.smallest, translated, other)
        ours, theirs = (self.features(images).values() for images in (translated, other))
        distances = [
            (head * (_of_length_1(x) - _of_length_1(y)).square()).sum(1).mean((1, 2))
            for x, y, head in zip(ours, theirs, self.heads, strict=True)
        ]
        return torch.stack(distances).sum(0)


def _of_length_1(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + EPS)


def alexnet(family: Family) -> nn.Module:
    with torch.random.fork_rng(devices=[]):  # whoever builds this draws nothing
        torch.manual_seed(0)
        net = AlexNet()
    if family == "published":
        net.load_state_dict(_under("features.", weights.load("lpips_alex")))
    return net


def _vgg(family: Family) -> nn.Module:
    known: VGGFamily = "torchvision" if family == "published" else "random"
    return VGG(VGG_LAYERS, depth=16, family=known)


def _heads(network: Network, family: Family) -> list[Tensor]:
    if family == "published":
        return list(_under("heads.", weights.load(f"lpips_{network}")).values())
    random = torch.Generator().manual_seed(0)
    return [torch.rand(1, count, 1, 1, generator=random) for count in CHANNELS[network]]


def _under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if prefix in key}
