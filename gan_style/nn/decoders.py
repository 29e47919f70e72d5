"""Networks that turn VGG's features back into images."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from gan_style.nn.blocks import ReflectionPad
from gan_style.nn.vgg import channels

# Channels in and out, and whether a doubling of the size follows.
ADAIN = (
    (512, 256, True),
    (256, 256, False),
    (256, 256, False),
    (256, 256, False),
    (256, 128, True),
    (128, 128, False),
    (128, 64, True),
    (64, 64, False),
    (64, 3, False),
)


def adain_decoder() -> nn.Sequential:
    """Features (N, 512, H / 8, W / 8) of VGG-19's relu4_1 -> RGB (N, 3, H, W), about [0, 1].

    3,505,219 weights. The mirror image of the encoder with nearest upsampling for max pooling, and
    no norm, which would undo the statistics that AdaIN sets (Huang & Belongie 2017). Layout and
    therefore state-dict keys are those of naoto0804/pytorch-AdaIN, so that its decoder.pth fits.
    """
    layers: list[nn.Module] = []
    for entering, out, doubles in ADAIN:
        layers += [ReflectionPad(1), nn.Conv2d(entering, out, 3), nn.ReLU()]
        if doubles:
            layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
    return nn.Sequential(*layers[:-1])  # an image has no ReLU


class Painter(nn.Module):
    """VGG-19's features of images -> images of the same size anew, RGB (N, 3, H, W), about [0, 1].

    D(e + sum of blocks(e), skips) with e = relu4_1 and D the decoder of AdaIN. The last layer of
    every block and all skips are 0 at the start, so that the network begins as its decoder,
    whatever that is filled with (zero-initialised branches: Zhang, Dauphin, Ma 2019, Fixup). A
    skip adds what a 1x1 convolution makes of an encoder's layer, after the doubling that leads to
    its size. 5,297,667 weights with two blocks.

    Args:
        blocks: residual ones on the code.
    """

    CODE = "relu4_1"
    SKIPS = ("relu3_1", "relu2_1", "relu1_1")  # in the order in which the decoder meets their sizes
    LAYERS = (*SKIPS, CODE)

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.decoder = adain_decoder()
        self.blocks = nn.ModuleList(_code_block() for _ in range(blocks))
        self.skips = nn.ModuleDict(
            {layer: _zeros(nn.Conv2d(channels(layer), channels(layer), 1)) for layer in self.SKIPS}
        )

    @torch.no_grad()
    def transport(self, matrix: Tensor, offset: Tensor) -> None:
        """Let every code e be matrix (512, 512) e + offset (512) from now on.

        That becomes a part of the decoder's first convolution, as the border that it mirrors is
        mapped like all else.
        """
        first = cast("nn.Conv2d", self.decoder[1])
        weight = first.weight.double()
        moved = torch.einsum("oihw,i->o", weight, offset.to(weight))
        first.bias.add_(moved)  # type: ignore[union-attr]  # it has one
        first.weight.copy_(torch.einsum("oihw,ij->ojhw", weight, matrix.to(weight)))

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Images from the features `LAYERS`."""
        y = features[self.CODE]
        for block in self.blocks:
            y = y + block(y)
        skips = iter(self.skips.items())
        for layer in self.decoder:
            y = layer(y)
            if isinstance(layer, nn.Upsample):
                name, skip = next(skips)
                y = y + skip(features[name])
        return y


def _code_block() -> nn.Sequential:
    """A residual branch on 512 channels that is 0 at first: 1x1, 3x3, 1x1, half as wide inside."""
    inner = (nn.Conv2d(512, 256, 1), nn.Conv2d(256, 256, 3))
    for layer in inner:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # they have one
    last = _zeros(nn.Conv2d(256, 512, 1))
    return nn.Sequential(inner[0], nn.ReLU(), ReflectionPad(1), inner[1], nn.ReLU(), last)


def _zeros(layer: nn.Conv2d) -> nn.Conv2d:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
