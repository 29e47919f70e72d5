"""PatchGAN and pixel discriminators (Isola et al. 2017, Zhu et al. 2017), and one on features.

Layout and keys of the first two as `NLayerDiscriminator` and `PixelDiscriminator` of the CycleGAN
reference: images (N, C, H, W) in [-1, 1] to a map of unbounded scores (N, 1, h, w); there is no
sigmoid.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gan_style.nn.blocks import InstanceNorm, init_normal
from gan_style.nn.vgg import channels


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches; their side is 16, 34, 70, 142, 286 for 1 ... 5 layers.

    Three layers: 2,764,737 weights, 256x256 images give 30x30 scores. The last hidden convolution
    has stride 1: with stride 2 (PyTorch-GAN and its copies) it would judge 94 pixels.

    Args:
        layers: convolutions of stride 2.
        width: channels after the first, `ndf` in the reference.
        init_std: standard deviation of the initial weights.
        channels: of the images.
    """

    def __init__(
        self, layers: int = 3, width: int = 64, init_std: float = 0.02, channels: int = 3
    ) -> None:
        super().__init__()
        sizes = [min(2**level, 8) * width for level in range(layers + 1)]
        model: list[nn.Module] = [nn.Conv2d(channels, width, 4, stride=2, padding=1)]
        model += [nn.LeakyReLU(0.2)]
        for level in range(1, layers + 1):
            stride = 2 if level < layers else 1
            model += [
                nn.Conv2d(sizes[level - 1], sizes[level], 4, stride=stride, padding=1),
                InstanceNorm(sizes[level]),
                nn.LeakyReLU(0.2),
            ]
        self.model = nn.Sequential(*model, nn.Conv2d(sizes[-1], 1, 4, padding=1))
        init_normal(self, init_std)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.model(x)


class PixelDiscriminator(nn.Module):
    """Judges every pixel by its colour alone: 1x1 convolutions `width`, 2 * `width`, 1."""

    def __init__(self, width: int = 64, init_std: float = 0.02, channels: int = 3) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(channels, width, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 1),
            InstanceNorm(2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 1),
        )
        init_normal(self, init_std)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.net(x)


class FeatureDiscriminator(nn.Module):
    """Judges features of a frozen VGG, layer by layer, at several sizes of the image.

    As Sauer et al. 2021 (Projected GANs Converge Faster) and Kumari et al. 2022 (Ensembling
    Off-the-shelf Models for GAN Training): features that already tell textures apart find a brush
    stroke after hundreds of images. For each layer and size there is a head: 1x1, 3x3 and 3x3
    convolutions with LeakyReLU(0.2) between, each with spectral norm (Miyato et al. 2018), to a map
    of scores.

    Differences from Projected GANs: no random projections across channels and scales; the heads are
    shallow; the image is seen at several sizes instead.

    Args:
        layers: of VGG that the heads see.
        scales: sizes of the image: whole, halved, ...
        width: channels of a head.
    """

    def __init__(self, layers: Sequence[str], scales: int, width: int = 64) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.ModuleDict({layer: _head(channels(layer), width) for layer in layers})
            for _ in range(scales)
        )

    def forward(self, pyramid: Sequence[Mapping[str, Tensor]]) -> list[Tensor]:
        """Scores (N, 1, h, w) of every layer, from the features at each size of the image."""
        return [
            head(features[layer])
            for heads, features in zip(self.heads, pyramid, strict=True)
            for layer, head in heads.items()  # type: ignore[operator]  # it is a ModuleDict
        ]


def _head(entering: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        spectral_norm(nn.Conv2d(entering, width, 1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(width, width, 3, padding=1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(width, 1, 3, padding=1)),
    )
