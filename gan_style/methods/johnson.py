"""Johnson: a network that is trained to give any photograph the style of one image, in one pass.

Johnson, Alahi, Fei-Fei: Perceptual Losses for Real-Time Style Transfer and Super-Resolution, ECCV
2016. A feed-forward network learns what Gatys et al. optimise: VGG-16 sees the content's features
in its output, and the style's Gram matrices. Network, losses and weights are those of
pytorch/examples (fast_neural_style); `--preset fast_neural_style` those of the authors' Lua code.

Differences from the paper: instance norm (Ulyanov et al. 2016) for batch norm, as both programs
have it; nearest upsampling for transposed convolutions and a linear output for the tanh; the
features are torchvision's, with the content at relu2_2, and no total variation.
Differences from pytorch/examples: the style is scaled to a longer side of 512, not taken as it is
(`--style_size 0`) or squashed to a square; with its preset, photographs are squashed to a square,
not cropped in the middle, resized bicubically, and shuffled.
Differences from the Lua code: of its preset, every convolution mirrors its own border, where
fast-neural-style mirrors 40 pixels around the image once and crops what is left of them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gan_style import tiling
from gan_style.config import LONGEST, at_least, at_most, entries
from gan_style.data.images import read_picture, resize, to_array, to_tensor
from gan_style.errors import ConfigError, DataError
from gan_style.losses import perceptual
from gan_style.losses.perceptual import Statistic
from gan_style.method import Batch, Paper, Side, TrainedMethod
from gan_style.nn.transform_net import Output, TransformNet, Upsample
from gan_style.nn.vgg import VGG
from gan_style.styles import Style, Styles, position_weights

PAPER = Paper(
    title="Perceptual Losses for Real-Time Style Transfer and Super-Resolution",
    year=2016,
    url="https://arxiv.org/abs/1603.08155",
    family="feedforward",
    style="fixed",
)

GramLoss = Literal["gram_chw", "gram_hw", "gram_paper", "gram_none"]

# Both: 2 epochs of the 80,000 photographs of COCO's train2014, in steps of 4.
PRESETS: dict[str, dict[str, Any]] = {
    "pytorch_examples": {
        "load_size": 256,
        "flip": False,
        "batch_size": 4,
        "images": 160_000,
        "schedule": "constant",
        "ema": 0.0,
    },
    # jcjohnson/fast-neural-style: train.lua's defaults. Its total variation has weight 1e-6 on 255
    # levels and is summed over the 4 images of a batch, where ours is averaged: 1e-6 * 255^2 * 4.
    "fast_neural_style": {
        "load_size": 256,
        "flip": False,
        "batch_size": 4,
        "images": 160_000,
        "schedule": "constant",
        "ema": 0.0,
        "upsample": "transposed",
        "output": "tanh",
        "vgg": "caffe",
        "style_size": 256,
        "content_layer": "relu3_3",
        "content_weight": 1.0,
        "style_weight": 5.0,
        "tv_weight": 0.2601,
    },
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """The defaults of pytorch/examples."""

    style: str = ""  # file of the style image
    style_size: int = 512  # longer side in pixels that it is scaled to; 0 leaves it as it is
    content_side: Literal["a", "b"] = "b"  # collection of the contents; the other isn't read
    width_generator: int = 32  # channels after the first convolution; 16: a quarter of the weights
    upsample: Upsample = "nearest"  # or transposed, as the paper: checkerboards at first
    output: Output = "linear"  # clipped at the end; tanh keeps to 150 levels around a mean colour
    vgg: Literal["torchvision", "caffe", "random"] = "torchvision"  # weights: see nn/vgg.py
    content_layer: str = "relu2_2"  # of VGG-16, whose features the translation keeps
    content_weight: float = 1e5  # of the mean squared difference of features
    style_layers: str = "relu1_2,relu2_2,relu3_3,relu4_3"  # whose Gram matrices it takes on
    style_loss: GramLoss = "gram_chw"  # by what the matrices are divided: weights hang on it
    style_weight: float = 1e10  # of the sum over the layers; up to 1e11 for some styles
    tv_weight: float = 0.0  # of half the sum of squared differences of neighbouring pixels
    learning_rate: float = 1e-3  # Adam's

    def __post_init__(self) -> None:
        """Refuse what no training can use, in the user's spelling."""
        at_least(1, width_generator=self.width_generator)
        for name in ("style_size", "content_weight", "style_weight", "tv_weight"):
            at_least(0, **{name: getattr(self, name)})
        at_most(LONGEST, style_size=self.style_size)
        if not self.learning_rate > 0:
            raise ConfigError(f"--learning_rate is {self.learning_rate}, but must be above 0")
        if not self.layers:
            raise ConfigError(f"--style_layers is {self.style_layers!r}, but must name a layer")

    @property
    def layers(self) -> list[str]:
        """The names in `style_layers`."""
        return entries(self.style_layers)


class Method(TrainedMethod):
    """`net` paints; VGG-16 is only there for its losses, and no part of what is saved."""

    players: Mapping[str, tuple[str, ...]] = {"generator": ("net",)}
    averaged = ("net",)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.net = TransformNet(config.width_generator, config.upsample, config.output)
        self.multiple = self.net.multiple
        self.smallest = max(self.net.smallest, 16)  # VGG's fourth pooling needs 16 in training
        # Measured at 16, 32 and 64 channels on a CPU: 24, 23 and 22 bytes each; transposed 15.
        self.bytes_per_pixel = 24.0 * config.width_generator
        self._style_targets: dict[str, Statistic] = {}

    @cached_property
    def vgg(self) -> VGG:
        """The loss network, fetched when it is used first."""
        return VGG([self.config.content_layer, *self.config.layers], 16, self.config.vgg)

    @property
    def sides(self) -> tuple[Side, ...]:
        """The contents alone."""
        return (self.config.content_side,)

    def bytes_for(self, content: tuple[int, int], styles: Sequence[tuple[int, int]] = ()) -> float:
        """As measured, and large contents in strips."""
        if content[0] * content[1] > tiling.WHOLE:
            return tiling.peak(self.config.width_generator, content[0] * content[1])
        return super().bytes_for(content, styles)

    @property
    def inference_networks(self) -> tuple[str, ...]:
        """The one network."""
        return ("net",)

    def prefetch(self) -> None:
        """Read the style image and fetch VGG."""
        self._targets(next(self.net.parameters()))

    def optimizer(self, player: str, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Adam as it comes."""
        return torch.optim.Adam(parameters, lr=self.config.learning_rate, fused=True)

    def translate(self, content: Tensor, style: Styles = None) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] through the network; `style` is unread."""
        return self._painted(content).clamp(0, 1)

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """One step on a batch of contents."""
        c = self.config
        content = batch[c.content_side]
        painted = self._painted(content)
        with torch.no_grad():
            wanted = self._features(content, [c.content_layer])[c.content_layer]
        features = self._features(painted)
        loss = perceptual.STYLE_LOSSES[c.style_loss]
        distances = [
            loss.distance(loss.of(features[name], None), target)
            for name, target in self._targets(content).items()
        ]
        terms = {
            "content": c.content_weight
            * perceptual.content_loss(features[c.content_layer], wanted, "mean"),
            "style": c.style_weight * torch.stack(distances).sum(),
        }
        if c.tv_weight > 0:
            terms["tv"] = c.tv_weight * perceptual.total_variation(painted, "l2", "sum")
        yield "generator", terms

    def preview(self, batch: Batch) -> dict[str, dict[str, Tensor]]:
        """Contents beside their translations."""
        content = batch[self.config.content_side]
        return {"translated": {"content": content, "translated": self.translate(content)}}

    def _painted(self, content: Tensor) -> Tensor:
        """The network's output in units of [0, 1], which it may leave."""
        return tiling.through(self.net, content * 255) / 255

    def _features(self, images: Tensor, layers: Sequence[str] | None = None) -> dict[str, Tensor]:
        return self.vgg.to(images.device)(images, layers)

    def _targets(self, like: Tensor) -> dict[str, Statistic]:
        """The style's Gram matrices, worked out once; on the device of `like`."""
        if not self._style_targets:
            loss = perceptual.STYLE_LOSSES[self.config.style_loss]
            style = self._style().to(like)
            mask = style.style_mask
            with torch.no_grad():
                features = self._features(style.image)
            self._style_targets = {
                name: loss.of(features[name], position_weights(mask, features[name]))
                for name in self.config.layers
            }
        self._style_targets = {  # the same tensors where they are on the device already
            name: tuple(part.to(like.device) for part in target)
            for name, target in self._style_targets.items()
        }
        return self._style_targets

    def _style(self) -> Style:
        """Scaled, and large enough for VGG; what is transparent doesn't count, as if masked."""
        c = self.config
        if not c.style:
            raise ConfigError("--style is missing: johnson learns the style of one image")
        picture = read_picture(Path(c.style))
        array = to_array(picture.image)
        sides = array.shape[:2]
        scale = c.style_size / max(sides) if c.style_size else 1.0
        height, width = (max(self.vgg.smallest, round(side * scale)) for side in sides)
        image = to_tensor(resize(array, (height, width)))[None]
        if picture.alpha is None:
            return Style(image=image)
        alpha = resize(to_array(picture.alpha), (height, width))
        if not alpha.any():
            raise DataError(f"--style {c.style}: it is transparent everywhere")
        return Style(image=image, style_mask=to_tensor(alpha[..., None])[None])
