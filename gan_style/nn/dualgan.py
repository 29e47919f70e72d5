"""DualGAN's generator and discriminators, as TensorFlow computes them.

Layouts of duxingren14/DualGAN (model.py, ops.py): commits d71400c (April 2017), d7ee5b8 (August
2017) and bd64bf9 (2020, HEAD). Every convolution has a bias and TensorFlow's SAME padding, which
puts the odd pixel behind; `from_tensorflow` brings that program's weights here. Images are
(N, C, H, W) in [-1, 1], of any size.
"""

import re
from collections.abc import Iterator, Mapping
from math import isqrt
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_style.errors import CheckpointError

Over = Literal["instance", "batch"]
Era = Literal["2020", "2017"]
Output = Literal["map", "scalar"]
Bottleneck = Literal["erased", "kept"]
STD = 0.02  # of all initial weights


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels before and after, so that ceil(size / stride) come out: tf.nn.conv2d's SAME."""
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class SameConv2d(nn.Conv2d):
    """A convolution whose maps have ceil(size / stride) pixels a side."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        kernel, stride = self.kernel_size[0], self.stride[0]
        top, bottom = same_padding(x.shape[-2], kernel, stride)
        left, right = same_padding(x.shape[-1], kernel, stride)
        return super().forward(F.pad(x, (left, right, top, bottom)))


class SameConvTranspose2d(nn.ConvTranspose2d):
    """The transpose of `SameConv2d`: tf.nn.conv2d_transpose, which is told the size to make."""

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:  # type: ignore[override]  # noqa: D102
        kernel, stride = self.kernel_size[0], self.stride[0]
        top, _ = same_padding(size[0], kernel, stride)
        left, _ = same_padding(size[1], kernel, stride)
        return super().forward(x)[..., top : top + size[0], left : left + size[1]]


class Norm(nn.Module):
    """Normalisation by the moments of what goes through, in training and afterwards, with weights.

    - instance: of each image (ops.py, `batch_norm`, since August 2017; eps 1e-6, weights from
      N(1, 0.02)).
    - batch: of the whole batch (tf.contrib.layers.batch_norm, April 2017; eps 1e-5, weights 1).

    A single position differs from its mean by nothing, so there the weights' centre comes out and
    the image is gone: torch's norms refuse that case, TensorFlow's program does it.

    Args:
        channels: of the maps.
        over: see above.
        bottleneck: what happens to a single position: "erased" is that program, "kept" leaves the
            moments out.
    """

    def __init__(self, channels: int, over: Over, bottleneck: Bottleneck = "erased") -> None:
        super().__init__()
        self.over, self.bottleneck = over, bottleneck
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        if over == "instance":
            nn.init.normal_(self.weight, 1.0, STD)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        # In half precision its second derivative, with the cube of 1 / deviation, is infinite.
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        if self.over == "instance" and x.shape[2] * x.shape[3] > 1:
            return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=1e-6)
        if self.over == "batch" and x.numel() > x.shape[1]:
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=1e-5)
        rest = x - x if self.bottleneck == "erased" else x  # with a gradient, which is 0
        return rest * self.weight[:, None, None] + self.bias[:, None, None]


class DualGanGenerator(nn.Module):
    """A U-Net of eight halvings; a map of one pixel stays one.

    30,627,907 weights with kernel 3 (2020), 85,022,787 with kernel 5 (August 2017). The maps that
    are joined are those before the LeakyReLU.

    Args:
        channels_in: of the images that come in.
        channels_out: of those that go out.
        width: channels of the first map; doubled a level up to 8 * width.
        kernel: side of all convolutions but the outermost two, which have 5.
        norm: see `Norm`; the first and last layers have none.
        dropout: probability on the three innermost maps of the decoder, in training and afterwards:
            the paper's noise z.
        unskipped: outermost levels whose map doesn't join the decoder: 2 in April 2017
            (`network_type` fcn_4), else 0.
        bottleneck: see `Norm`. The innermost map has one pixel in images of up to 256, so that with
            "erased", as in that program, it is a learned constant; below 256 so are more levels.
    """

    def __init__(
        self,
        channels_in: int = 3,
        channels_out: int = 3,
        width: int = 64,
        kernel: int = 3,
        norm: Over = "instance",
        dropout: float = 0.0,
        unskipped: int = 0,
        bottleneck: Bottleneck = "erased",
    ) -> None:
        super().__init__()
        self.dropout, self.unskipped = dropout, unskipped
        sizes = [width * min(2**level, 8) for level in range(8)]  # channels of e1 ... e8
        self.e = nn.ModuleList([SameConv2d(channels_in, width, 5, stride=2)])
        self.d = nn.ModuleList()
        channels = sizes[-1]
        for level in range(1, 8):
            self.e.append(SameConv2d(sizes[level - 1], sizes[level], kernel, stride=2))
            out = sizes[7 - level]
            self.d.append(SameConvTranspose2d(channels, out, kernel, stride=2))
            channels = 2 * out if self._joined(7 - level) else out
        self.d.append(SameConvTranspose2d(channels, channels_out, 5, stride=2))
        self.bn_e = nn.ModuleList([Norm(each, norm, bottleneck) for each in sizes[1:]])
        self.bn_d = nn.ModuleList([Norm(each, norm, bottleneck) for each in reversed(sizes[:-1])])
        _init(self)

    def _joined(self, level: int) -> bool:
        """Whether e<level + 1> joins the decoder."""
        return level >= self.unskipped

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        maps = [x, self.e[0](x)]
        for conv, norm in zip(self.e[1:], self.bn_e, strict=True):
            maps.append(norm(conv(F.leaky_relu(maps[-1], 0.2))))
        y = maps.pop()  # e8
        for index, (conv, norm) in enumerate(zip(self.d[:-1], self.bn_d, strict=True)):
            encoded = maps.pop()  # e7, e6, ..., e1
            y = norm(conv(y.relu(), encoded.shape[-2:]))
            if index < 3 and self.dropout:
                y = F.dropout(y, self.dropout)
            if self._joined(6 - index):
                y = torch.cat([y, encoded], dim=1)
        return self.d[-1](y.relu(), x.shape[-2:]).tanh()


class DualGanDiscriminator(nn.Module):
    """Convolutions, then a map of scores (N, 1, h, w) or one score an image (N, 1); no sigmoid.

    2020: five halvings; `map` is one more (256x256 pixels give 4x4 scores of 129 pixels each).
    2017: three halvings and one layer without; `map` gives 32x32 scores of 93 pixels each
    (4,321,153 weights). `scalar` is a linear layer over the last map, whose size is fixed.

    Args:
        era: the layout.
        output: see above.
        channels: of the images.
        width: channels of the first map; doubled a layer up to 8 * width.
        norm: see `Norm`; the first and last layers have none.
        size: (height, width) of the images, if the output is a scalar.
    """

    def __init__(
        self,
        era: Era,
        output: Output,
        channels: int = 3,
        width: int = 64,
        norm: Over = "instance",
        size: tuple[int, int] = (256, 256),
    ) -> None:
        super().__init__()
        kernel, strides = (3, (2, 2, 2, 2, 2)) if era == "2020" else (5, (2, 2, 2, 1))
        sizes = [channels, *(width * min(2**layer, 8) for layer in range(len(strides)))]
        self.h = nn.ModuleList(
            SameConv2d(sizes[layer], sizes[layer + 1], 5 if layer == 0 else kernel, stride=stride)
            for layer, stride in enumerate(strides)
        )
        self.bn = nn.ModuleList(Norm(each, norm) for each in sizes[2:])
        self.last: nn.Module
        if output == "map":
            self.last = SameConv2d(sizes[-1], 1, kernel, stride=strides[-1])
        else:
            halvings = strides.count(2)
            rows, columns = (-(-side // 2**halvings) for side in size)
            self.last = nn.Sequential(nn.Flatten(), nn.Linear(sizes[-1] * rows * columns, 1))
        _init(self)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = F.leaky_relu(self.h[0](x), 0.2)
        for conv, norm in zip(self.h[1:], self.bn, strict=True):
            x = F.leaky_relu(norm(conv(x)), 0.2)
        return self.last(x)


def _init(net: nn.Module) -> None:
    """Truncated at two standard deviations for convolutions, not for the other layers: ops.py."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.trunc_normal_(module.weight, 0.0, STD, -2 * STD, 2 * STD)
        elif isinstance(module, nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, STD)
        else:
            continue
        assert module.bias is not None
        nn.init.zeros_(module.bias)


def _keys() -> Iterator[tuple[str, str]]:
    """What follows A_ or B_ in that program's names, and our key."""
    convolution = {"w": "weight", "biases": "bias"}
    norm = {"scale": "weight", "center": "bias", "gamma": "weight", "beta": "bias"}
    linear = {"Matrix": "weight", "bias": "bias"}
    layers = [
        *((f"g_e{n}_conv", f"e.{n - 1}", convolution) for n in range(1, 9)),
        *((f"g_d{n}", f"d.{n - 1}", convolution) for n in range(1, 9)),
        *((f"g_bn_e{n}", f"bn_e.{n - 2}", norm) for n in range(2, 9)),
        *((f"g_bn_d{n}", f"bn_d.{n - 1}", norm) for n in range(1, 8)),
        *((f"d_h{n}_conv", f"h.{n}", convolution) for n in range(4)),
        *((f"d_bn{n}", f"bn.{n - 1}", norm) for n in range(1, 4)),
        ("d_h3_1_conv", "h.4", convolution),
        ("d_bn3_1", "bn.3", norm),
        ("d_h4", "last", convolution),
        ("d_h3_lin", "last.1", linear),  # 2017
        ("d_d_h3_lin", "last.1", linear),  # 2020
    ]
    for theirs, ours, kinds in layers:
        for kind, weight_or_bias in kinds.items():
            yield f"{theirs}/{kind}", f"{ours}.{weight_or_bias}"


KEYS = dict(_keys())
# Of the discriminators, A_d_net judges what A_g_net makes: images of B.
NETWORKS = {"A_g": "gen_ab", "B_g": "gen_ba", "A_d": "disc_b", "B_d": "disc_a"}
# The optimiser's, and the moments that contrib's batch_norm keeps and that program never uses.
UNUSED = re.compile(r"/(RMSProp(_1)?|moving_(mean|variance))$")
# The axis of the images' channels.
IMAGE_AXIS = {"e.0.weight": 1, "h.0.weight": 1, "d.7.weight": 1, "d.7.bias": 0}


def from_tensorflow(variables: Mapping[str, np.ndarray], bgr: bool) -> dict[str, dict[str, Tensor]]:
    """State dicts of "gen_ab", "gen_ba", "disc_a" and "disc_b", of those that are there.

    Convolutions are [h, w, in, out] there and [out, in, h, w] here; transposed ones [h, w, out, in]
    and [in, out, h, w]. The linear layer's rows run over (h, w, c) there and over (c, h, w) here.

    Args:
        variables: of a checkpoint of duxingren14/DualGAN, by name, with or without ":0".
        bgr: whether the networks see blue first, as those of 2020 do (OpenCV); 2017's don't. Ours
            see red first, so that the images' channels are reversed.

    Raises:
        CheckpointError: if a name isn't one of that program's, or the linear layer's rows are not
            those of square maps.
    """
    states: dict[str, dict[str, Tensor]] = {}
    for name, array in variables.items():
        name = name.removesuffix(":0")
        if UNUSED.search(name):
            continue
        if name[:3] not in NETWORKS or name[2:] not in KEYS:
            raise CheckpointError(
                f"{name} is no variable of duxingren14/DualGAN, whose names are like A_g_e1_conv/w"
            )
        key = KEYS[name[2:]]
        value = torch.tensor(array)
        if value.dim() == 4:
            value = value.permute(3, 2, 0, 1)
        if bgr and key in IMAGE_AXIS:
            value = value.flip(IMAGE_AXIS[key])
        states.setdefault(NETWORKS[name[:3]], {})[key] = value.contiguous()
    for network, state in states.items():
        if "last.1.weight" in state:
            state["last.1.weight"] = _channels_first(network, state)
    return states


def _channels_first(network: str, state: Mapping[str, Tensor]) -> Tensor:
    """The linear layer's weight, (1, c * h * w)."""
    matrix = state["last.1.weight"]  # (h * w * c, 1)
    channels = len(state.get("h.3.bias", ()))  # of 2020's h.4 too
    side = isqrt(len(matrix) // max(channels, 1))
    if len(matrix) != side * side * channels:
        raise CheckpointError(
            f"{network}'s linear layer has {len(matrix)} rows, which are no square maps of the "
            f"{channels} channels that its last convolution has"
        )
    return matrix.reshape(side, side, channels).permute(2, 0, 1).reshape(1, -1)
