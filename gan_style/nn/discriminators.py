"""PatchGAN and pixel discriminators (Isola et al. 2017, Zhu et al. 2017).

Layout and keys as `NLayerDiscriminator` and `PixelDiscriminator` of the CycleGAN reference: images
(N, C, H, W) in [-1, 1] to a map of unbounded scores (N, 1, h, w); there is no sigmoid.
"""

from torch import Tensor, nn

from gan_style.nn.blocks import InstanceNorm, init_normal


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
