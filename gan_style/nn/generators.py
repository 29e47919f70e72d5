"""The two generators of CycleGAN: ResNet (Johnson et al. 2016) and U-Net (pix2pix).

Layouts and therefore state-dict keys are those of junyanz/pytorch-CycleGAN-and-pix2pix
(`models/networks.py`), so that its weight files fit. Both map (N, C, H, W) in [-1, 1] to as large
images in [-1, 1].
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint_sequential

from gan_style.nn.blocks import InstanceNorm, ReflectionPad, ThinConv2d, init_normal

Upsample = Literal["transposed", "resize"]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with instance norm around an identity; no ReLU after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            ReflectionPad(1),
            nn.Conv2d(channels, channels, 3),
            InstanceNorm(channels),
            nn.ReLU(),
            ReflectionPad(1),
            nn.Conv2d(channels, channels, 3),
            InstanceNorm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x + self.conv_block(x)


class ResnetGenerator(nn.Module):
    """Two downsamplings, residual blocks, two upsamplings: 11,378,179 weights with 9 blocks.

    Args:
        blocks: residual blocks; the reference takes 9 at 256 pixels and 6 at 128.
        width: channels after the first convolution, `ngf` in the reference.
        upsample: "transposed" is the reference; "resize" is nearest x2 and a 3x3 convolution (Odena
            et al. 2016, distill.pub/2016/deconv-checkerboard), which leaves no checkerboard.
        init_std: standard deviation of the initial weights, `init_gain` in the reference.
        channels_in: of the images that come in, `input_nc`.
        channels_out: of those that go out, `output_nc`.
    """

    multiple = 4  # heights and widths that come out as they went in
    recompute = False  # activations in the backward pass: fewer kept, one more pass forward

    def __init__(
        self,
        blocks: int = 9,
        width: int = 64,
        upsample: Upsample = "transposed",
        init_std: float = 0.02,
        channels_in: int = 3,
        channels_out: int = 3,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [ReflectionPad(3), nn.Conv2d(channels_in, width, 7)]
        layers += [InstanceNorm(width), nn.ReLU()]
        for channels in (width, 2 * width):
            layers += [
                nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
                InstanceNorm(2 * channels),
                nn.ReLU(),
            ]
        layers += [ResidualBlock(4 * width) for _ in range(blocks)]
        for channels in (4 * width, 2 * width):
            layers += [
                _upsample(channels, channels // 2, upsample),
                InstanceNorm(channels // 2),
                nn.ReLU(),
            ]
        layers += [ReflectionPad(3), ThinConv2d(width, channels_out, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)
        init_normal(self, init_std)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if self.recompute and torch.is_grad_enabled():
            parts = round(len(self.model) ** 0.5)  # as many kept as computed again at once
            return checkpoint_sequential(self.model, parts, x, use_reentrant=False)
        return self.model(x)


def _upsample(channels: int, out: int, kind: Upsample) -> nn.Module:
    if kind == "transposed":
        return nn.ConvTranspose2d(channels, out, 3, stride=2, padding=1, output_padding=1)
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"),
        ReflectionPad(1),
        nn.Conv2d(channels, out, 3),
    )


class UnetGenerator(nn.Module):
    """Encoder and decoder of `levels` halvings with skip connections (Isola et al. 2017).

    Args:
        levels: 7 is the reference's unet_128, 8 its unet_256; sides: multiples of 2 ** levels.
        width: channels after the first convolution; doubled a level up to 8 times `width`.
        upsample: as in ResnetGenerator; "transposed" (k4 s2 p1) is the reference.
        init_std: standard deviation of the initial weights.
        channels_in: of the images that come in.
        channels_out: of those that go out.
    """

    def __init__(
        self,
        levels: int = 8,
        width: int = 64,
        upsample: Upsample = "transposed",
        init_std: float = 0.02,
        channels_in: int = 3,
        channels_out: int = 3,
    ) -> None:
        super().__init__()
        self.multiple = 2**levels
        channels = [min(2**level, 8) * width for level in range(levels)]
        block = UnetBlock(channels[-2], channels[-1], None, "innermost", upsample)
        for level in range(levels - 2, 0, -1):
            block = UnetBlock(channels[level - 1], channels[level], block, "middle", upsample)
        self.model = UnetBlock(
            channels_in, channels[0], block, "outermost", upsample, out=channels_out
        )
        init_normal(self, init_std)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.model(x)


class UnetBlock(nn.Module):
    """One level: down, everything below it, up; the input is concatenated to what comes back.

    The innermost *down* convolution has no norm: at a 1x1 map an instance norm would erase it. The
    reference's LeakyReLU works in place and so changes the skipped tensor, which the ReLU after the
    concatenation makes the same again (ReLU(LeakyReLU(x)) = ReLU(x)); ours is not in place.
    """

    def __init__(
        self,
        outer: int,
        inner: int,
        below: nn.Module | None,
        place: Literal["outermost", "middle", "innermost"],
        upsample: Upsample,
        out: int | None = None,
    ) -> None:
        super().__init__()
        out = outer if out is None else out
        self.place = place
        down = nn.Conv2d(outer, inner, 4, stride=2, padding=1)
        up = _unet_upsample(inner if below is None else 2 * inner, out, upsample)
        if place == "outermost":
            layers = [down, below, nn.ReLU(), up, nn.Tanh()]
        elif place == "innermost":
            layers = [nn.LeakyReLU(0.2), down, nn.ReLU(), up, InstanceNorm(outer)]
        else:
            layers = [nn.LeakyReLU(0.2), down, InstanceNorm(inner), below]
            layers += [nn.ReLU(), up, InstanceNorm(outer)]
        self.model = nn.Sequential(*layers)  # type: ignore[arg-type]  # `below` is None only innermost

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y = self.model(x)
        return y if self.place == "outermost" else torch.cat([x, y], dim=1)


def _unet_upsample(channels: int, out: int, kind: Upsample) -> nn.Module:
    if kind == "transposed":
        return nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1)
    return _upsample(channels, out, kind)
