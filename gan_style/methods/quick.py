"""Quick: paint images anew from their features, with a decoder that learns a collection's look.

This project's own method, for minutes on a CPU instead of days on a GPU. It has four parts. The
generator (nn/decoders.py, Painter) starts as a pretrained decoder: as every pixel is decoded, not
copied, it paints instead of filtering. Before training, the features of VGG-19 of some crops of
either collection are measured, as Gaussians, and the shortest way T from the one to the other is
put in front of that decoder (Mroueh 2020, there for two images): the first image has the target's
palette and much of its texture already. What is to stay of the content is said by the same ways:
at several depths the translation's features shall be the content's, taken to the other collection.
And what no Gaussian knows is learned from a discriminator on frozen features of VGG-19, which knows
textures and has only small heads to learn.

With F_l(x) the features of x at the layer l, T_l x = M_l x + b_l the way there between its
Gaussians, s_l the mean variance of the target's channels, and S a random shift, in a step the same
for x and G(x), another for y,

    G:  -lambda_adversarial * sum over heads h of mean h(F(S G(x)))
        + lambda_content * sum over layers l of mean (F_l(S G(x)) - T_l F_l(S x))^2 / s_l
        + lambda_cycle * mean |G'(G(x)) - x|, two-sided, with the generator G' of the other way
    D:  1/2 sum over heads of mean max(0, 1 - h(F(S y))) + mean max(0, 1 + h(F(S G(x))))

where x is in [0, 1]. The ways are fixed, and of the two directions each is the other's inverse. The
heads see the whole image, halved, and halved again: with fewer sizes plain skies fill with a
regular pattern. The shift keeps that pattern from hiding in the grid of VGG's poolings. The
discriminator gets the features of the generator's own turn, made before its step. Adam (0.5, 0.99),
five times as fast for the heads, which begin with nothing when the generator can paint already.

Sources: Huang, Belongie 2017 (the decoder); Mroueh 2020 (Gaussian transport of features is a
transfer of style); Olkin, Pukelsheim 1982 (its formula); Sauer et al. 2021 and Kumari et al. 2022
(discriminators on frozen features); Zhang, Dauphin, Ma 2019 (branches that begin as 0); Miyato et
al. 2018 (spectral norm); Heusel et al. 2017 (a faster discriminator); Lim, Ye 2017 (hinge); Zhao et
al. 2020 (both collections shifted alike, DiffAugment); Park et al. 2020 (one-sided translation).
The combination and its constants are this project's, chosen by the trials in docs/quick.md.

Differences from the paper: there is none; docs/quick.md says what was tried.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_style import tiling, weights
from gan_style.config import at_least, at_most, did_you_mean
from gan_style.errors import ConfigError
from gan_style.losses import adversarial
from gan_style.maths.statistics import gaussian_map, in_full_precision
from gan_style.method import BACK, ENDS, Batch, Direction, Paper, Side, TrainedMethod
from gan_style.nn.blocks import frozen
from gan_style.nn.decoders import Painter
from gan_style.nn.discriminators import FeatureDiscriminator
from gan_style.nn.vgg import VGG
from gan_style.styles import Styles

PAPER = Paper(
    title="Quick: unpaired translation by painting from features (gan_style)",
    year=2026,
    url="https://arxiv.org/abs/2111.01007",
    family="collection",
    style="collection",
)

PRESETS: dict[str, dict[str, Any]] = {
    # Crops of images whose shorter side is 256: strokes are learned at the size that they have when
    # an image of that size is translated.
    "quick": {
        "preprocess": "scale_shorter_and_crop",
        "load_size": 256,
        "size": 128,
        "ema": 0.998,
        "images": 4000,
        "kid_every": 1,
    },
}

RETIRED = ("lambda_tone",)

# What a discriminator may see: no deeper than the code, which says how small an image may be.
JUDGED = (
    "relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1", "relu3_2", "relu3_3", "relu3_4",
    "relu4_1",
)  # fmt: skip
CODE = Painter.CODE
STRIDE = 8  # pixels of an image to one place of its code
SHIFT = 8  # the image is shifted by up to this fraction of its sides
STRONGEST = 2.0
FLAT = 1e-3  # added to a collection's mean variance, for one that is plain
RIDGE = 1e-2  # of the mean variance, on the diagonals: what few crops don't show counts as alike


@dataclass(frozen=True, kw_only=True)
class Config:
    """Chosen by the trials in docs/quick.md."""

    direction: Literal["a2b", "b2a"] = "a2b"  # which way translate goes; training, if one-sided
    sides: Literal["two", "one"] = "two"  # two directions with a cycle term, or one of them alone
    alpha: float = 1.0  # strength at translate: 0 is AdaIN's decoder, 1 what was learned
    # Weights of the encoder and judge, frozen; AdaIN's decoder reads no other features.
    vgg: Literal["normalised", "random"] = "normalised"  # of encoder and judge; random is for tests
    blocks: int = 2  # residual blocks on the generator's code
    judge_layers: str = "relu2_1,relu3_1,relu4_1"  # of VGG-19, of discriminators and content
    measured_crops: int = 100  # of each collection, for the ways between their features
    judge_scales: int = 3  # sizes of the image that they see: whole, halved, ...
    width_discriminator: int = 64  # channels of their heads
    lambda_adversarial: float = 1.0  # weight of what the discriminator says
    lambda_content: float = 1.5  # weight of the content's features, transported; more is gentler
    lambda_cycle: float = 4.0  # of x -> y -> x against x, in two-sided training; 0 leaves it out
    learning_rate: float = 2e-4  # Adam's, of the generators
    discriminator_rate: float = 5.0  # so many times as fast learn the discriminators

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        at_least(
            1,
            measured_crops=self.measured_crops,
            judge_scales=self.judge_scales,
            width_discriminator=self.width_discriminator,
        )
        at_most(4, judge_scales=self.judge_scales)
        at_most(16, blocks=self.blocks)
        names = ("blocks", "lambda_adversarial", "lambda_content", "lambda_cycle")
        at_least(0, **{name: getattr(self, name) for name in names})
        if not 0 <= self.alpha <= STRONGEST:
            raise ConfigError(f"--alpha is {self.alpha}, but must be in [0, {STRONGEST:g}]")
        for name in ("learning_rate", "discriminator_rate"):
            if not (rate := getattr(self, name)) > 0:
                raise ConfigError(f"--{name} is {rate}, but must be above 0")
        if len(set(self.seen)) < len(self.seen):
            raise ConfigError(f"--judge_layers is {self.judge_layers!r}, which names a layer twice")
        for layer in self.seen:
            if layer not in JUDGED:
                raise ConfigError(f"--judge_layers names {layer!r}: {did_you_mean(layer, JUDGED)}")

    @property
    def seen(self) -> tuple[str, ...]:
        """The layers that the discriminators see."""
        return tuple(layer.strip() for layer in self.judge_layers.split(","))


class Method(TrainedMethod):
    """`gen_ab` turns A into B, `gen_ba` B into A; `disc_a` judges A, `disc_b` B.

    One-sided there are the generator of `direction` and the discriminator of its target alone.
    """

    inference_options: ClassVar[tuple[str, ...]] = ("direction", "alpha")
    multiple = STRIDE  # three poolings, three doublings
    # Measured on a CPU: the encoder's 64 channels, kept for the skip, and the decoder's.
    bytes_per_pixel = 1300.0

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        ways = tuple(ENDS) if config.sides == "two" else (config.direction,)
        self.directions: Mapping[Direction, str] = {
            way: "gen_{}{}".format(*ENDS[way]) for way in ways
        }
        self.judges: Mapping[Direction, str] = {way: f"disc_{ENDS[way][1]}" for way in ways}
        self.averaged = tuple(self.directions.values())
        self.players = {
            "generator": self.averaged,
            "discriminator": tuple(self.judges.values()),
        }
        for name in self.players["generator"]:
            setattr(self, name, Painter(config.blocks))
        for name in self.players["discriminator"]:
            judge = FeatureDiscriminator(
                config.seen, config.judge_scales, config.width_discriminator
            )
            setattr(self, name, judge)
        self.gan = adversarial.LOSSES["hinge"]
        self.ways: dict[Direction, dict[str, Transport]] = {}  # `look` finds them
        # Two positions of relu4_1, for a pad to mirror and norms to have a deviation, in the
        # smallest image that is seen.
        self.smallest = 16 * 2 ** (config.judge_scales - 1)

    def build_for_crop(self, crop: tuple[int, int] | None) -> None:
        """Refuse a strength that is none of what is trained."""
        if self.config.alpha != 1:
            raise ConfigError(
                f"--alpha is {self.config.alpha}, but it is of translate: leave it out"
            )

    def begin(self) -> None:
        """Fill the decoders with AdaIN's; of a random VGG they stay random."""
        if self.config.vgg == "random":
            return
        for name in self.averaged:
            getattr(self, name).decoder.load_state_dict(weights.load("adain"))

    @property
    def looks(self) -> int:
        """Of crops, to know the collections' features by."""
        return self.config.measured_crops

    @torch.no_grad()
    def look(self, batches: Iterable[Batch], fresh: bool) -> None:
        """Find the ways between the collections' features; new generators begin with their code's.

        They are no part of what is saved: of the same crops they are the same.
        """
        layers = {*self.config.seen, CODE}
        seen: dict[Side, dict[str, Moments]] = {
            side: {layer: Moments() for layer in layers} for side in self.sides
        }
        for batch in batches:
            for side, moments in seen.items():
                features = self._vgg_for(batch[side])(batch[side], layers)
                for layer in layers:
                    moments[layer].add(features[layer])
        for way, name in self.directions.items():
            source, target = (seen[side] for side in ENDS[way])
            found = {layer: way_between(source[layer], target[layer]) for layer in layers}
            self.ways[way] = {layer: each.to(features[layer]) for layer, each in found.items()}
            if fresh:
                getattr(self, name).transport(found[CODE].matrix, found[CODE].offset)

    def prefetch(self) -> None:
        """Fetch the encoder."""
        _ = self.vgg

    @cached_property
    def vgg(self) -> VGG:
        """Encoder and judge, fetched when it is used first, and no part of what is saved."""
        return VGG({*Painter.LAYERS, *self.config.seen}, 19, self.config.vgg)

    def bytes_for(self, content: tuple[int, int], styles: Sequence[tuple[int, int]] = ()) -> float:
        """As measured, and large contents in strips."""
        pixels = content[0] * content[1]
        if pixels > tiling.WHOLE:
            # A row's: 80 rows of relu1_1, 38 of relu2_1 and 13 of relu3_1 wait for the deeper
            # layers, 34,000 bytes; the rest, and what a pixel takes, is as measured at 4 to 12 MP.
            twice = 12 * pixels * (self.config.alpha != 1)  # the image of the start is there too
            return tiling.WORKING + 50 * pixels + 100_000 * content[1] + twice
        return super().bytes_for(content, styles)

    @property
    def inference_networks(self) -> tuple[str, ...]:
        """The generator of the configured direction."""
        return (self.directions[self.config.direction],)

    def optimizer(self, player: str, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """One Adam for the generators, one for the discriminators."""
        times = self.config.discriminator_rate if player == "discriminator" else 1
        return torch.optim.Adam(
            parameters, times * self.config.learning_rate, (0.5, 0.99), fused=True
        )

    def translate(self, content: Tensor, style: Styles = None) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] through the generator of `direction`; `style` is unread."""
        return self.translate_in(self.config.direction, content)

    def translate_in(self, direction: Direction, content: Tensor) -> Tensor:
        """The same through the generator of one direction."""
        vgg, alpha = self._vgg_for(content), self.config.alpha
        made = tiling.painted(vgg, getattr(self, self.directions[direction]), content)
        if alpha != 1:
            before = tiling.painted(vgg, self._start.to(content.device), content)
            made = before + alpha * (made - before)
        return made.clamp(0, 1)

    @cached_property
    def _start(self) -> Painter:
        """AdaIN's decoder; of a random VGG another one, as nobody knows it any more."""
        start = Painter(blocks=0).eval().requires_grad_(False)
        if self.config.vgg != "random":
            start.decoder.load_state_dict(weights.load("adain"))
        return start

    def _vgg_for(self, images: Tensor) -> VGG:
        return self.vgg.to(images.device)

    def _painted(self, direction: Direction, images: Tensor) -> Tensor:
        """What the generator makes of images, in [0, 1], about: it isn't cut while it learns."""
        features = self._vgg_for(images)(images, Painter.LAYERS)
        return getattr(self, self.directions[direction])(features)

    def _pyramid(self, images: Tensor) -> list[dict[str, Tensor]]:
        """What a discriminator sees, at every size."""
        levels = []
        for _ in range(self.config.judge_scales):
            levels.append(self._vgg_for(images)(images, self.config.seen))
            images = F.avg_pool2d(images, 2)
        return levels

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """One step: the generators on one sum, then the discriminators on what they have made."""
        c = self.config
        terms: dict[str, Tensor] = {}
        made: dict[Direction, list[dict[str, Tensor]]] = {}
        for way, judge in self.judges.items():
            source, target = ENDS[way]
            x = batch[source]
            shift = _shift(x)
            fake = self._painted(way, x)
            seen = self._pyramid(shift(fake))
            with frozen(getattr(self, judge)):
                scores = getattr(self, judge)(seen)
            terms[f"adversarial_{target}"] = c.lambda_adversarial * _sum(self.gan.fool, scores)
            if c.lambda_content > 0:
                kept = self._vgg_for(x)(shift(x), c.seen)
                each = [
                    content_loss(seen[0][layer], kept[layer], self.ways[way][layer])
                    for layer in c.seen
                ]
                terms[f"content_{source}"] = c.lambda_content * torch.stack(each).sum()
            if c.sides == "two" and c.lambda_cycle > 0:
                again = self._painted(BACK[way], fake)
                terms[f"cycle_{source}"] = c.lambda_cycle * F.l1_loss(again, x)
            made[way] = [{layer: features[layer].detach() for layer in c.seen} for features in seen]
        yield "generator", terms

        terms = {}
        for way, judge in self.judges.items():
            target = ENDS[way][1]
            disc, y = getattr(self, judge), batch[target]
            real = disc(self._pyramid(_shift(y)(y)))
            terms[f"real_{target}"] = 0.5 * _sum(self.gan.real, real)
            terms[f"fake_{target}"] = 0.5 * _sum(self.gan.fake, disc(made[way]))
        yield "discriminator", terms

    def preview(self, batch: Batch) -> dict[str, dict[str, Tensor]]:
        """For each direction: the real image, its translation and, two-sided, the way back."""
        grids: dict[str, dict[str, Tensor]] = {}
        for way in self.directions:
            real = batch[ENDS[way][0]]
            translated = self.translate_in(way, real)
            grids[way] = {"real": real, "translated": translated}
            if self.config.sides == "two":
                grids[way]["back"] = self.translate_in(BACK[way], translated)
        return grids


class Moments:
    """Mean and covariance of the channels over the positions of many features (N, C, h, w)."""

    def __init__(self) -> None:
        self.count, self.sum, self.products = 0, torch.zeros(()), torch.zeros(())

    def add(self, features: Tensor) -> None:
        """Count these positions, too."""
        flat = features.cpu().double().transpose(0, 1).flatten(1)
        self.count += flat.shape[1]
        self.sum = self.sum + flat.sum(1)
        self.products = self.products + flat @ flat.mT

    @property
    def values(self) -> tuple[Tensor, Tensor]:
        """(C) and (C, C), divided by the number of positions."""
        mean = self.sum / self.count
        return mean, self.products / self.count - mean.outer(mean)


@dataclass(frozen=True)
class Transport:
    """The way x -> matrix x + offset from features of one collection to those of another.

    Args:
        matrix: (C, C).
        offset: (C).
        variance: mean of the other collection's channels', by which differences are divided.
    """

    matrix: Tensor
    offset: Tensor
    variance: Tensor

    def to(self, like: Tensor) -> "Transport":
        """On the device and in the precision of features; not every accelerator has float64."""
        return Transport(*(x.to(like) for x in (self.matrix, self.offset, self.variance)))

    def __call__(self, features: Tensor) -> Tensor:
        """Features (N, C, h, w) of the one as the other's."""
        return F.conv2d(features, self.matrix[..., None, None], self.offset)


def way_between(source: Moments, target: Moments) -> Transport:
    """The shortest way between Gaussians of these moments."""
    variance = target.values[1].diagonal().mean() + FLAT
    ends = (*source.values, *target.values)
    return Transport(*gaussian_map(*ends, eps=float(RIDGE * variance)), variance)


@in_full_precision
def content_loss(made: Tensor, content: Tensor, way: Transport) -> Tensor:
    """Mean squared difference of features (N, C, h, w) to the content's, transported.

    In units of the target's mean variance, which makes layers comparable.
    """
    return F.mse_loss(made, way(content)) / way.variance


def _sum(term: Callable[[Tensor], Tensor], scores: Sequence[Tensor]) -> Tensor:
    """A term of the GAN's loss over the heads, each a mean over its scores."""
    return torch.stack([term(each) for each in scores]).sum()


def _shift(images: Tensor) -> Callable[[Tensor], Tensor]:
    """A shift of images (N, C, H, W) by up to 1/8 each way, drawn once; bared edges mirror."""
    height, width = images.shape[-2:]
    rows, columns = height // SHIFT, width // SHIFT
    top, left = (int(torch.randint(2 * most + 1, ())) for most in (rows, columns))

    def shift(x: Tensor) -> Tensor:
        wide = F.pad(x, (columns, columns, rows, rows), mode="reflect")
        return wide[..., top : top + height, left : left + width]

    return shift
