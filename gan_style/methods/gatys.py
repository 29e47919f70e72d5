"""Gatys: optimise the pixels until VGG sees the content's features and the style's correlations.

Gatys, Ecker, Bethge: Image Style Transfer Using Convolutional Neural Networks, CVPR 2016; coarse to
fine and spatial guidance as in Gatys et al.: Controlling Perceptual Factors in Neural Style
Transfer, CVPR 2017. Layers and losses are the paper's: normalised VGG-19, conv4_2 and conv1_1 ...
conv5_1 after their ReLU, E_l with 1 / (4 N^2 M^2).

Differences from the paper: pooling is max, as the network was trained and as in the authors' later
program, because average pooling left a grain of dots where we tried it; the image starts as the
content and not as white noise, at about 256 pixels, and doubles its size (`--preset paper`: average
pooling, noise, a single scale). L-BFGS has a strong Wolfe line search, so that the loss doesn't
rise, and no bounds (values are clipped at the end; Adam's after every step). The style's longer
side is scaled to the content's. The paper shows alpha / beta from 5e-3 to 1e-4, which by its
formulas leaves photographs nearly as they were; ours is 1e-7. As in the paper the content loss is a
sum over positions and the style loss is not: twice the size takes four times the style weight for
the same balance.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from gan_style.config import at_least, at_most, entries
from gan_style.errors import ConfigError
from gan_style.losses import perceptual
from gan_style.losses.perceptual import ContentNorm, StyleLossName
from gan_style.maths.descent import Objective, Optimizer, Scale, Step, descend
from gan_style.maths.pyramid import pyramid, resized
from gan_style.method import OptimisedMethod, Paper
from gan_style.nn.vgg import CAFFE_MEAN, VGG, Family, Padding, Pooling
from gan_style.styles import STYLE_FILE, Style, Styles, position_weights, styles_of

PAPER = Paper(
    title="Image Style Transfer Using Convolutional Neural Networks",
    year=2016,
    url="https://openaccess.thecvf.com/content_cvpr_2016/papers/"
    "Gatys_Image_Style_Transfer_CVPR_2016_paper.pdf",
    family="optimisation",
    style="image",
)

# The conventions of well-known programs, converted to pixels in [0, 1]. Their first step, learning
# rates and total variation are in units of 255 levels or of ImageNet's standard deviation.
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    # As the paper's figures: smooth pooling, from white noise, at one scale.
    "paper": {"pooling": "average", "init": "noise", "first_scale": 0},
    # jcjohnson/neural-style: neural_style.lua's defaults. Its total variation has weight 1e-3 on
    # 256 levels, 1e-3 * 256^2 here; its start is the mean colour but for a thousandth of a level.
    "neural_style": {
        "vgg": "caffe",
        "content_norm": "mean",
        "content_weight": 5.0,
        "style_loss": "gram_chw",
        "style_layer_weights": "1,1,1,1,1",
        "style_weight": 100.0,
        "tv": "l2_sum",
        "tv_weight": 65.536,
        "init": "mean",
        "iterations": 1000,
        "first_scale": 0,
        "history": 100,
    },
    # leongatys/PytorchNeuralStyleTransfer: 1e3 / C^2 a layer on the means of Gram / HW.
    "pytorch_neural_style_transfer": {
        "content_norm": "mean",
        "content_weight": 1.0,
        "style_loss": "gram_hw",
        "style_layer_weights": "0.244140625,0.06103515625,0.0152587890625,0.003814697265625,"
        "0.003814697265625",
        "style_weight": 1.0,
        "first_scale": 0,
        "history": 100,
    },
    # Dive into Deep Learning 14.12: Adam at 0.3 on normalised images. It names convolutions, but
    # the ReLUs behind them work in place, so that it sees what they leave; conv5_1 has none.
    "d2l": {
        "vgg": "torchvision",
        "content_layer": "relu4_4",
        "style_layers": "relu1_1,relu2_1,relu3_1,relu4_1,conv5_1",
        "style_layer_weights": "1,1,1,1,1",
        "content_norm": "mean",
        "content_weight": 1.0,
        "style_loss": "gram_chw",
        "style_weight": 1e4,
        "tv": "l1_mean",
        "tv_weight": 44.0,  # 10 / 0.226, the mean of ImageNet's standard deviations
        "optimizer": "adam",
        "learning_rate": 0.068,  # 0.3 * 0.226
        "learning_rate_decay": 0.8,
        "first_scale": 0,
    },
    # What johnson's network learns by pytorch/examples' recipe, optimised for one image.
    "johnson": {
        "vgg": "torchvision",
        "vgg_depth": 16,
        "content_layer": "relu2_2",
        "content_norm": "mean",
        "content_weight": 1e5,
        "style_layers": "relu1_2,relu2_2,relu3_3,relu4_3",
        "style_layer_weights": "1,1,1,1",
        "style_loss": "gram_chw",
        "style_weight": 1e10,
        "first_scale": 0,
    },
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """The paper's but for pooling, start, scales and weights."""

    vgg: Family = "normalised"  # weights: see nn/vgg.py
    vgg_depth: Literal[16, 19] = 19  # layers of VGG; normalised weights are of 19
    pooling: Pooling = "max"  # of VGG; the paper prefers average
    padding: Padding = "zeros"  # of every layer of VGG
    content_layer: str = "relu4_2"  # whose features the image keeps
    style_layers: str = "relu1_1,relu2_1,relu3_1,relu4_1,relu5_1"  # whose statistics it takes on
    style_layer_weights: str = "0.2,0.2,0.2,0.2,0.2"  # in the same order
    content_weight: float = 1.0  # alpha
    style_weight: float = 1e7  # beta; see docs/styles.md for what it does
    content_norm: ContentNorm = "paper"  # half the sum, or the mean of squares
    style_loss: StyleLossName = "gram_paper"  # what is compared, and by which factor
    tv: Literal["l2_sum", "l1_sum", "l2_mean", "l1_mean"] = "l2_sum"  # total variation
    tv_weight: float = 0.0  # of the total variation, for smoother images
    init: Literal["content", "noise", "style", "mean"] = "content"  # start; mean is one colour
    optimizer: Literal["lbfgs", "adam"] = "lbfgs"  # Adam takes less memory, and more iterations
    history: int = 50  # steps that L-BFGS remembers: each takes six numbers a pixel
    learning_rate: float = 0.02  # Adam's; pixels are in [0, 1]
    learning_rate_decay: float = 1.0  # Adam's, every 50 iterations
    first_scale: int = 256  # about the longer side of the coarsest image, then doubled; 0 none
    iterations: int = 500  # at the coarsest scale
    iterations_finer: int = 200  # at each of the others
    style_scale: float = 1.0  # longer side of the style relative to the content's

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, in the user's spelling."""
        at_least(1, iterations=self.iterations, history=self.history)
        names = ("content_weight", "style_weight", "tv_weight", "first_scale", "iterations_finer")
        at_least(0, **{name: getattr(self, name) for name in names})
        at_most(16, style_scale=self.style_scale)
        for name in ("learning_rate", "learning_rate_decay", "style_scale"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"--{name} is {getattr(self, name)}, but must be above 0")
        if not self.layers:
            raise ConfigError(f"--style_layers is {self.style_layers!r}, but must name a layer")
        if len(set(self.layers)) < len(self.layers):
            raise ConfigError(f"--style_layers is {self.style_layers!r}, but has one twice")
        if len(self.layer_weights) != len(self.layers):
            raise ConfigError(
                f"--style_layer_weights has {len(self.layer_weights)} numbers, but --style_layers "
                f"{len(self.layers)} names"
            )

    @property
    def layers(self) -> list[str]:
        """The names in `style_layers`."""
        return entries(self.style_layers)

    @property
    def layer_weights(self) -> list[float]:
        """The numbers in `style_layer_weights`."""
        try:
            numbers = [float(word) for word in entries(self.style_layer_weights)]
        except ValueError:
            numbers = [math.nan]
        if not all(0 <= number < math.inf for number in numbers):
            raise ConfigError(
                f"--style_layer_weights is {self.style_layer_weights!r}, but must be numbers of at "
                "least 0 with commas between them"
            )
        return numbers


TV: dict[str, tuple[Literal["l1", "l2"], Literal["sum", "mean"]]] = {
    "l2_sum": ("l2", "sum"),
    "l1_sum": ("l1", "sum"),
    "l2_mean": ("l2", "mean"),
    "l1_mean": ("l1", "mean"),
}


class Method(OptimisedMethod):
    """Needs no training: every image is an optimisation of its own."""

    longest_side = 512

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.smallest = 32
        # Measured on a CPU at 512 pixels: 3.2 KB, 4.0 KB with borders that aren't zeros, 8 % less
        # in bf16; L-BFGS has two images a step that it remembers, and a few more.
        self.bytes_per_pixel = 3300.0 if config.padding == "zeros" else 4000.0
        # 810 to 850 of a style, whose features are computed once and without gradients.
        self.style_bytes_per_pixel = 850.0 if config.padding == "zeros" else 1100.0
        if config.optimizer == "lbfgs":
            self.bytes_per_pixel += 24 * config.history + 350

    def bytes_for(self, content: tuple[int, int], styles: Sequence[tuple[int, int]] = ()) -> float:
        """As measured: of the optimisation, or of the look at the largest style before it."""
        pixels = content[0] * content[1]
        own, of_styles, files = super().bytes_for(content), 0.0, 0
        for style in styles:
            longer = max(content) * self.config.style_scale
            height, width = _longer_size(style, longer, min(self.smallest, *style))
            of_styles = max(of_styles, height * width * self.style_bytes_per_pixel)
            files += style[0] * style[1]
        # Beside a style there are the content's features and what the coarser scale has left.
        return max(own, 1000 * pixels + of_styles) + STYLE_FILE * files

    @cached_property
    def vgg(self) -> VGG:
        """The loss network, fetched when it is used first."""
        c = self.config
        return VGG([c.content_layer, *c.layers], c.vgg_depth, c.vgg, c.pooling, c.padding)

    def optimise(
        self, content: Tensor, style: Styles, state: dict[str, Any] | None = None
    ) -> Iterator[Step]:
        """Coarse to fine, each scale from the result of the one before."""
        c, styles = self.config, styles_of(style)
        coarse, *finer = self._scales(content)
        yield from descend(
            self._start(content, styles),
            [Scale(size=coarse, iterations=c.iterations)]
            + [Scale(size=size, iterations=c.iterations_finer) for size in finer],
            lambda size: self._objective(resized(content, size), styles),
            Optimizer(
                name=c.optimizer,
                history=c.history,
                learning_rate=c.learning_rate,
                learning_rate_decay=c.learning_rate_decay,
                advice="try a lower --learning_rate or --style_weight",
            ),
            state,
        )

    def _scales(self, content: Tensor) -> list[tuple[int, int]]:
        """Heights and widths from the coarsest to the content's own."""
        height, width = content.shape[-2:]
        return pyramid((height, width), self.config.first_scale, self.vgg.smallest)

    def _start(self, content: Tensor, styles: list[Style]) -> Tensor:
        size = self._scales(content)[0]
        if self.config.init == "noise":
            # A generator of its own: every image gets the same noise, whichever came before it.
            random = torch.Generator().manual_seed(torch.initial_seed())
            return torch.rand(1, 3, *size, generator=random).to(content.device)
        if self.config.init == "mean":
            colour = content.new_tensor(CAFFE_MEAN).view(1, 3, 1, 1) / 255
            return colour.expand(1, 3, *size).contiguous()
        return resized(content if self.config.init == "content" else styles[0].image, size)

    def _features(self, images: Tensor) -> dict[str, Tensor]:
        return self.vgg.to(images.device)(images)

    def _objective(self, content: Tensor, styles: list[Style]) -> Objective:
        """The weighted terms of an image as a function, with everything fixed worked out."""
        c = self.config
        loss = perceptual.STYLE_LOSSES[c.style_loss]
        shares = dict(zip(c.layers, c.layer_weights, strict=True))
        with torch.no_grad():
            of_content = self._features(content)
            wanted = of_content[c.content_layer]
            targets = []
            for style in styles:
                longer = max(content.shape[-2:]) * c.style_scale
                of_style = self._features(_longer_side(style.image, longer, self.vgg.smallest))
                for name, share in shares.items():
                    where = position_weights(style.content_mask, of_content[name])
                    positions = position_weights(style.style_mask, of_style[name])
                    target = loss.of(of_style[name], positions)
                    targets.append((style.weight * share, name, where, target))
                del of_style  # before those of the next are computed

        def objective(image: Tensor) -> dict[str, Tensor]:
            features = self._features(image)
            terms = {
                "content": c.content_weight
                * perceptual.content_loss(features[c.content_layer], wanted, c.content_norm)
            }
            distances = [
                weight * loss.distance(loss.of(features[name], where), target)
                for weight, name, where, target in targets
            ]
            terms["style"] = c.style_weight * torch.stack(distances).sum()
            if c.tv_weight:
                terms["tv"] = c.tv_weight * perceptual.total_variation(image, *TV[c.tv])
            return terms

        return objective


def _longer_side(images: Tensor, longer: float, smallest: int) -> Tensor:
    height, width = images.shape[-2:]
    return resized(images, _longer_size((height, width), longer, smallest))


def _longer_size(size: tuple[int, int], longer: float, smallest: int) -> tuple[int, int]:
    """Scaled so that the longer side is `longer`, and the shorter one at least `smallest`."""
    scale = longer / max(size)
    return max(smallest, round(size[0] * scale)), max(smallest, round(size[1] * scale))
