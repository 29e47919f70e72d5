"""The image transformation network of Johnson et al. 2016, as pytorch/examples has it.

Layout and therefore state-dict keys are those of `fast_neural_style/neural_style/
transformer_net.py` of pytorch/examples, so that weight files trained there fit, once the
`running_mean` and `running_var` that old ones have are left out.
"""

from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, nn

from gan_style.nn.blocks import InstanceNorm, ReflectionPad, ThinConv2d
from gan_style.nn.vgg import CAFFE_MEAN

Upsample = Literal["nearest", "transposed"]
Output = Literal["linear", "tanh"]


class TransformNet(nn.Module):
    """Images (N, 3, H, W), RGB of 0 ... 255, to the same: 1,679,235 weights at width 32.

    Instance norm stands for the paper's batch norm, as in everything published after the paper. As
    it follows the first convolution, subtracting a mean from the images first would change nothing.

    Args:
        width: channels after the first convolution; 16 has 424,899 weights, a quarter.
        upsample: "nearest" is x2 and a 3x3 convolution (pytorch/examples); "transposed" the paper,
            which leaves a checkerboard at first.
        output: "linear" may leave 0 ... 255 (pytorch/examples); "tanh" is within 150 of the mean
            colour of ImageNet (the Lua original).
    """

    mean: Tensor
    multiple = 4  # heights and widths that come out as they went in
    smallest = 8  # a quarter of it is 2, which a pad of 1 can mirror; the first pad is 4

    def __init__(
        self, width: int = 32, upsample: Upsample = "nearest", output: Output = "linear"
    ) -> None:
        super().__init__()
        self.output = output
        self.register_buffer("mean", torch.tensor(CAFFE_MEAN).view(1, 3, 1, 1), persistent=False)
        half, full = 2 * width, 4 * width
        layers: dict[str, nn.Module] = {
            "conv1": _convolution(3, width, 9),
            "in1": _norm(width),
            "conv2": _convolution(width, half, 3, stride=2),
            "in2": _norm(half),
            "conv3": _convolution(half, full, 3, stride=2),
            "in3": _norm(full),
            **{f"res{i}": ResidualBlock(full) for i in range(1, 6)},
            "deconv1": _upsampling(full, half, upsample),
            "in4": _norm(half),
            "deconv2": _upsampling(half, width, upsample),
            "in5": _norm(width),
            "deconv3": _named(pad=ReflectionPad(4), conv2d=ThinConv2d(width, 3, 9)),
        }
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, images: Tensor) -> Tensor:  # noqa: D102
        x = images
        for name, layer in self.named_children():
            x = layer(x)
            if name.startswith("in"):
                x = x.relu()
        return 150 * x.tanh() + self.mean if self.output == "tanh" else x


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with affine instance norm around an identity; no ReLU after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.in1 = _convolution(channels, channels, 3), _norm(channels)
        self.conv2, self.in2 = _convolution(channels, channels, 3), _norm(channels)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return x + self.in2(self.conv2(self.in1(self.conv1(x)).relu()))


def _norm(channels: int) -> InstanceNorm:
    return InstanceNorm(channels, affine=True, track_running_stats=False)


def _convolution(channels: int, out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return _named(pad=ReflectionPad(kernel // 2), conv2d=nn.Conv2d(channels, out, kernel, stride))


def _upsampling(channels: int, out: int, kind: Upsample) -> nn.Sequential:
    if kind == "transposed":
        transposed = nn.ConvTranspose2d(channels, out, 3, stride=2, padding=1, output_padding=1)
        return _named(conv2d=transposed)
    return _named(
        upsample=nn.Upsample(scale_factor=2, mode="nearest"),
        pad=ReflectionPad(1),
        conv2d=nn.Conv2d(channels, out, 3),
    )


def _named(**layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))
