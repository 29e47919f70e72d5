"""VGG-16 and VGG-19 (Simonyan, Zisserman 2015) as feature extractors, with layers by name.

The weight families are not interchangeable: features, and so every loss on them, differ in scale.

| family | images are seen as | padding | used by |
|---|---|---|---|
| normalised | BGR x 255 minus mean | reflect | AdaIN, WCT, SANet; Gatys with zeros |
| caffe | the same | zeros | neural-style, fast-neural-style, CNNMRF |
| torchvision | RGB, ImageNet's mean and deviation | zeros | pytorch/examples, d2l |
| random | as torchvision | zeros | tests; it needs no file |

"normalised" has the Caffe weights rescaled so that the mean activation of each ReLU over images is
about 1 (Gatys et al. 2016), which changes no sign and so nothing but scales. Of odd sizes the
families of Caffe keep the last row and column when they pool, as Caffe does, torchvision's doesn't.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_style import weights
from gan_style.config import did_you_mean
from gan_style.errors import ConfigError
from gan_style.nn.blocks import padded

Family = Literal["normalised", "torchvision", "caffe", "random"]
Pooling = Literal["max", "average"]
Padding = Literal["zeros", "reflect", "replicate"]

CONVOLUTIONS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # in each of the five blocks
CHANNELS = (64, 128, 256, 512, 512)
CAFFE_MEAN = (123.68, 116.779, 103.939)  # R, G, B of 0 ... 255
IMAGENET_MEAN = tuple(255 * value for value in (0.485, 0.456, 0.406))
IMAGENET_STD = tuple(255 * value for value in (0.229, 0.224, 0.225))


class VGG(nn.Module):
    """Images (N, 3, H, W), RGB in [0, 1] -> {layer name: features (N, C, H / stride, W / stride)}.

    Frozen, and only as deep as the deepest layer asked for. A ReLU works in place, but never on a
    layer that was asked for: torchvision's do, so that a captured conv4_2 silently is relu4_2.

    Args:
        layers: `conv1_1`, `relu1_1`, ... `pool5`; `conv` is in front of the ReLU.
        depth: 16 or 19.
        family: of the weights, as in the table above; fetched on first use. "random" is He's
            initialisation from a fixed seed.
        pooling: max as trained; average, which Gatys et al. found to give smoother images.
        padding: of every convolution; None is the family's own.

    Raises:
        ConfigError: an unknown layer, or a family that doesn't exist at this depth.
    """

    def __init__(
        self,
        layers: Iterable[str],
        depth: Literal[16, 19] = 19,
        family: Family = "normalised",
        pooling: Pooling = "max",
        padding: Padding | None = None,
    ) -> None:
        super().__init__()
        self.layers = frozenset(layers)
        self.family = family
        known = _names(depth)
        for layer in self.layers:
            if layer not in known:
                raise ConfigError(
                    f"VGG-{depth} has no layer {layer!r}: {did_you_mean(layer, known)}"
                )
        caffe = family in ("normalised", "caffe")
        self.bgr = caffe
        self.mean = CAFFE_MEAN if caffe else IMAGENET_MEAN
        self.std = (1.0, 1.0, 1.0) if caffe else IMAGENET_STD
        self._constants: dict[tuple[torch.dtype, torch.device], tuple[Tensor, ...]] = {}
        padding = padding or ("reflect" if family == "normalised" else "zeros")
        deepest = max(map(known.index, self.layers))
        with torch.random.fork_rng(devices=[]):  # whoever builds this draws nothing
            self.net = nn.Sequential(
                OrderedDict(
                    (name, _layer(name, pooling, padding, ceil=caffe, kept=self.layers))
                    for name in known[: deepest + 1]
                )
            )
        self._load(depth, family)
        self.requires_grad_(False)

    def forward(self, images: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """The features of all its layers, or of some of these, and no deeper than they are."""
        x = self.seen(images)
        wanted = self.layers if layers is None else frozenset(layers)
        assert wanted <= self.layers  # another's convolution would be overwritten by its ReLU
        features: dict[str, Tensor] = {}
        for name, layer in self.net.named_children():
            x = layer(x)
            if name in wanted:
                features[name] = x
            if len(features) == len(wanted):
                break
        return features

    def seen(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W), RGB in [0, 1], as the first layer has them."""
        with torch.autocast(images.device.type, enabled=False):  # 255 levels are more than bf16's
            mean, std = self._levels(images)
            x = (images * 255 - mean) / std
        if self.bgr:
            x = x.flip(1)
        if torch.is_autocast_enabled(images.device.type):  # half precision is quicker so
            x = x.contiguous(memory_format=torch.channels_last)
        return x

    def _levels(self, like: Tensor) -> tuple[Tensor, ...]:
        """Mean and deviation (3, 1, 1); made in every step they would halt an accelerator."""
        key = (like.dtype, like.device)
        if key not in self._constants:
            self._constants[key] = tuple(
                like.new_tensor(values).view(3, 1, 1) for values in (self.mean, self.std)
            )
        return self._constants[key]

    @property
    def smallest(self) -> int:
        """Side in pixels from which on every layer has a position, and two to mirror."""
        return 2 ** (1 + sum(name.startswith("pool") for name, _ in self.net.named_children()))

    def _load(self, depth: int, family: Family) -> None:
        convolutions = [each for each in self.net if isinstance(each, nn.Conv2d)]
        if family == "random":
            random = torch.Generator().manual_seed(0)
            for each in convolutions:
                nn.init.kaiming_normal_(each.weight, nonlinearity="relu", generator=random)
                nn.init.zeros_(each.bias)  # type: ignore[arg-type]  # VGG's have one
            return
        name = f"vgg{depth}_{family}"
        if name not in weights.known():
            of_depth = [each for each in weights.known() if each.startswith(f"vgg{depth}_")]
            raise ConfigError(f"there are no weights {name}: known: {', '.join(of_depth)}")
        state = weights.load(name)
        keys = sorted((key for key in state if key.endswith(".weight")), key=_position)
        if family == "normalised":
            keys = keys[1:]  # the 1x1 convolution that does what forward does first
        with torch.no_grad():
            for each, key in zip(convolutions, keys, strict=False):
                each.weight.copy_(state[key])
                each.bias.copy_(state[key.replace("weight", "bias")])  # type: ignore[union-attr]


def channels(layer: str) -> int:
    """How many a layer has, by its name; of either depth."""
    return CHANNELS[int(layer[4]) - 1]


def _position(key: str) -> int:
    return int(key.split(".")[-2])


def _names(depth: int) -> list[str]:
    names = []
    for block, count in enumerate(CONVOLUTIONS[depth], start=1):
        for index in range(1, count + 1):
            names += [f"conv{block}_{index}", f"relu{block}_{index}"]
        names.append(f"pool{block}")
    return names


def _layer(
    name: str, pooling: Pooling, padding: Padding, ceil: bool, kept: Collection[str]
) -> nn.Module:
    kind, block = name[:4], int(name[4])
    if kind == "relu":
        return nn.ReLU(inplace=name.replace("relu", "conv") not in kept)
    if kind == "pool":
        pool = nn.MaxPool2d if pooling == "max" else nn.AvgPool2d
        return pool(2, ceil_mode=ceil)
    first = name.endswith("_1")
    entering = CHANNELS[block - 2] if first and block > 1 else CHANNELS[block - 1]
    entering = 3 if name == "conv1_1" else entering
    convolution = nn.Conv2d if padding == "zeros" else _PaddedConv2d
    return convolution(entering, channels(name), 3, padding=1, padding_mode=padding)


class _PaddedConv2d(nn.Conv2d):
    """A convolution that pads in the dtype of what comes in: see `padded`."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(padded(x, (1, 1, 1, 1), self.padding_mode), self.weight, self.bias)
