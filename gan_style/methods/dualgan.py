"""DualGAN: two generators that undo each other, each against a critic; noise is dropout.

Yi, Zhang, Tan, Gong: DualGAN: Unsupervised Dual Learning for Image-to-Image Translation, ICCV 2017.
Three programs of the authors (duxingren14/DualGAN) carry the name, and each is a preset:

- 2017-wgan: commit d71400c of April 2017, the paper's text: Wasserstein critics of one score, all
  weights clipped, batch norm, 5x5 kernels, dropout, three critic steps to one of the generators.
- 2017-classic: commit d7ee5b8 of August 2017: cross-entropy on a map of 32x32 scores, instance
  norm, 5x5 kernels, dropout, one critic step to two of the generators.
- 2020-gp: HEAD and its defaults: gradient penalty, critics of one score, instance norm, 3x3
  kernels, no dropout.
- author: HEAD with what its train.sh gives day-night, facades, oil-chinese and sketch-photo.

lambda is not transferable between them: 20 goes with cross-entropy, 200 to 1000 with the
Wasserstein forms. In all of them the innermost map has a single pixel in images of up to 256, which
its norm erases, so that nothing of the image goes through there (with batch norm: in batches of
one); `bottleneck="kept"` leaves the norm out there.

Differences from the paper: it names 70x70 patches, which none of the programs has.
Differences from the programs: images are scaled by PIL's bicubic, and partners from B drawn
independently; an epoch has as many images as the larger collection, theirs as the smaller. April
2017's list of batches advances by one where its steps use three, so that an epoch sees a third of
the images: ours sees all. HEAD with n_critic > 1 moves the generators first after n - 1 steps,
then after every n. HEAD's networks see BGR, as OpenCV reads it, ours RGB. Averages of the
generators are kept besides.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss as l1

from gan_style import tiling
from gan_style.config import MOST_IMAGES, at_least, at_most
from gan_style.errors import ConfigError
from gan_style.losses import adversarial
from gan_style.method import ENDS, Batch, Direction, Paper, Side, TrainedMethod
from gan_style.nn.blocks import both_ways, from_tanh_range, frozen, to_tanh_range
from gan_style.nn.dualgan import (
    Bottleneck,
    DualGanDiscriminator,
    DualGanGenerator,
    Era,
    Output,
    Over,
)
from gan_style.optimizers import TensorFlowRMSprop
from gan_style.styles import Styles

PAPER = Paper(
    title="DualGAN: Unsupervised Dual Learning for Image-to-Image Translation",
    year=2017,
    url="https://arxiv.org/abs/1704.02510",
    family="collection",
    style="collection",
)

Critic = Literal["2020_scalar", "2020_map", "2017_scalar", "2017_map"]
CRITICS: dict[Critic, tuple[Era, Output]] = {
    "2020_scalar": ("2020", "scalar"),
    "2020_map": ("2020", "map"),
    "2017_scalar": ("2017", "scalar"),
    "2017_map": ("2017", "map"),
}
GanLossName = Literal["wgan-gp", "wgan", "vanilla", "lsgan", "hinge"]

# All: images scaled to the square, never mirrored (main.py compares a bool with "True"), and a
# learning rate that stays.
PRESETS: dict[str, dict[str, Any]] = {
    "2020-gp": {
        "preprocess": "resize",
        "flip": False,
        "epochs": 50,
        "schedule": "constant",
    },
    "2017-wgan": {
        "preprocess": "resize",
        "size": 128,
        "flip": False,
        "epochs": 30,
        "schedule": "constant",
        "kernel": 5,
        "norm": "batch",
        "dropout": 0.5,
        "unskipped": 2,
        "discriminator": "2017_scalar",
        "gan_loss": "wgan",
        "critic_steps": 3,
        "generator_batch": "any",
        "lambda_a": 200.0,
        "lambda_b": 200.0,
    },
    "2017-classic": {
        "preprocess": "resize",
        "flip": False,
        "epochs": 50,
        "schedule": "constant",
        "kernel": 5,
        "dropout": 0.5,
        "discriminator": "2017_map",
        "gan_loss": "vanilla",
        "generator_steps": 2,
        "lambda_a": 20.0,
        "lambda_b": 20.0,
    },
    "author": {
        "preprocess": "resize",
        "flip": False,
        "epochs": 50,
        "schedule": "constant",
        "domains": {
            "oil-chinese": {"epochs": 100},
            "facades": {"epochs": 100, "lambda_a": 1000.0, "lambda_b": 1000.0},
            "dualgan-facades": {"epochs": 100, "lambda_a": 1000.0, "lambda_b": 1000.0},
            "sketch-photo": {"epochs": 100, "lambda_a": 1000.0, "lambda_b": 1000.0},
            "day-night": {
                "epochs": 1000,
                "lambda_a": 1000.0,
                "lambda_b": 1000.0,
                "gan_loss": "wgan",
            },
        },
    },
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """The defaults of 2020."""

    direction: Literal["a2b", "b2a"] = "a2b"  # which way translate goes; training goes both
    channels_a: Literal[1, 3] = 3  # of the networks for A; 1 is grey
    channels_b: Literal[1, 3] = 3  # the same for B
    width_generator: int = 64  # channels of the first map (gcn)
    width_discriminator: int = 64  # the same (dcn)
    kernel: Literal[3, 5] = 3  # side of the generators' inner convolutions
    norm: Over = "instance"  # moments of an image, or of the batch; in translate too
    dropout: float = 0.0  # probability in the three innermost decoder maps, in translate too
    unskipped: int = 0  # outermost maps of the encoder that don't join the decoder
    bottleneck: Bottleneck = "erased"  # maps of one pixel: erased by their norm, or kept
    discriminator: Critic = "2020_scalar"  # its era, and whether it gives one score or a map
    gan_loss: GanLossName = "wgan-gp"  # penalty on gradients; wgan: clips; vanilla: cross-entropy
    lambda_penalty: float = 10.0  # of wgan-gp: weight of (slope - 1)^2
    clip: float = 0.01  # of wgan: bound of all critic weights after each of their steps
    critic_steps: int = 1  # steps of the critics before the generators', each on other images
    generator_steps: int = 1  # steps of the generators after them, all on the same images
    generator_batch: Literal["last", "any"] = "last"  # the critics' last, or any a and b of theirs
    lambda_a: float = 500.0  # weight of a -> b -> a against a
    lambda_b: float = 500.0  # weight of b -> a -> b against b
    rmsprop: Literal["tensorflow", "torch"] = "tensorflow"  # squares start at 1, or 0
    learning_rate: float = 5e-5  # RMSprop's, of both players
    rmsprop_decay: float = 0.9  # of its mean square

    def __post_init__(self) -> None:
        """Refuse what no training can use, in the user's spelling."""
        for name in ("width_generator", "width_discriminator", "critic_steps", "generator_steps"):
            at_least(1, **{name: getattr(self, name)})
        for name in ("lambda_a", "lambda_b", "lambda_penalty", "unskipped"):
            at_least(0, **{name: getattr(self, name)})
        for name in ("critic_steps", "generator_steps"):
            at_most(MOST_IMAGES, **{name: getattr(self, name)})
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"--{name} is {getattr(self, name)}, but must be above 0")
        for name in ("dropout", "rmsprop_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"--{name} is {getattr(self, name)}, but must be in [0, 1)")
        if self.unskipped > 7:
            raise ConfigError(f"--unskipped is {self.unskipped}, but there are 7 skips")


class Method(TrainedMethod):
    """`gen_ab` turns A into B, `gen_ba` B into A; `disc_a` judges A, `disc_b` B."""

    players: Mapping[str, tuple[str, ...]] = {
        "discriminator": ("disc_a", "disc_b"),
        "generator": ("gen_ab", "gen_ba"),
    }
    averaged = ("gen_ab", "gen_ba")
    inference_options: ClassVar[tuple[str, ...]] = ("direction",)
    directions: Mapping[Direction, str] = {"a2b": "gen_ab", "b2a": "gen_ba"}

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = c = config
        self.gen_ab = _generator(c, c.channels_a, c.channels_b)
        self.gen_ba = _generator(c, c.channels_b, c.channels_a)
        self._build_discriminators((256, 256))
        self.gan = adversarial.LOSSES[c.gan_loss.removesuffix("-gp")]
        # The critics' last norm has to see two positions a side: one position it erases.
        self.smallest = {"2020": 64, "2017": 16}[CRITICS[c.discriminator][0]]

    def _build_discriminators(self, crop: tuple[int, int]) -> None:
        c = self.config
        self.disc_a = _discriminator(c, c.channels_a, crop)
        self.disc_b = _discriminator(c, c.channels_b, crop)

    def build_for_crop(self, crop: tuple[int, int] | None) -> None:
        """The scalar critics' last layer has as many weights as their last map has pixels."""
        kind = self.config.discriminator
        if CRITICS[kind][1] == "map":
            return
        if crop is None:
            raise ConfigError(
                f"--discriminator is {kind}, which needs images of one size: give another "
                f"--preprocess, or --discriminator {kind.replace('scalar', 'map')}"
            )
        self._build_discriminators(crop)

    @property
    def batches_a_step(self) -> int:
        """One for each step of the critics."""
        return self.config.critic_steps

    def bytes_for(self, content: tuple[int, int], styles: Sequence[tuple[int, int]] = ()) -> float:
        """As measured, and large contents in strips."""
        if content[0] * content[1] > tiling.WHOLE:
            return tiling.peak(self.config.width_generator, content[0] * content[1])
        return super().bytes_for(content, styles)

    @property
    def grey_sides(self) -> tuple[Side, ...]:
        """Those whose networks have one channel."""
        c = self.config
        channels: dict[Side, int] = {"a": c.channels_a, "b": c.channels_b}
        return tuple(side for side, count in channels.items() if count == 1)

    @property
    def grey(self) -> bool:
        """Whether the side that the configured direction starts from is one of them."""
        return ENDS[self.config.direction][0] in self.grey_sides

    @property
    def inference_networks(self) -> tuple[str, ...]:
        """The generator of the configured direction."""
        return (self.directions[self.config.direction],)

    def optimizer(self, player: str, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """One RMSprop for both generators, one for both critics."""
        rate, decay = self.config.learning_rate, self.config.rmsprop_decay
        if self.config.rmsprop == "tensorflow":
            return TensorFlowRMSprop(parameters, rate, decay)
        return torch.optim.RMSprop(parameters, rate, alpha=decay)

    def translate(self, content: Tensor, style: Styles = None) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] through the generator of `direction`; `style` is unread.

        An image's translation doesn't depend on the others: each has the noise of torch's initial
        seed and statistics of its own.
        """
        return self.translate_in(self.config.direction, content)

    def translate_in(self, direction: Direction, content: Tensor) -> Tensor:
        """The same through the generator of one direction."""
        c = self.config
        signed = to_tanh_range(content, c.channels_a if direction == "a2b" else c.channels_b)
        devices = [content.device] if content.is_cuda else []
        with torch.random.fork_rng(devices):
            return from_tanh_range(self._each(getattr(self, self.directions[direction]), signed))

    def _each(self, net: nn.Module, images: Tensor) -> Tensor:
        """Through a generator as if every image came alone."""
        if self.config.norm == "instance" and not self.config.dropout:
            return tiling.through(net, images)
        made, seed = [], torch.initial_seed()
        for image in images.split(1):
            torch.manual_seed(seed)
            made.append(tiling.through(net, image))
        return torch.cat(made)

    def _signed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        c = self.config
        return to_tanh_range(batch["a"], c.channels_a), to_tanh_range(batch["b"], c.channels_b)

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """One step: the critics on each part of the batch, then the generators on one part."""
        c = self.config
        a, b = self._signed(batch)
        # Every n-th image, so that what parts see doesn't depend on how processes share the batch.
        parts = [(a[k :: c.critic_steps], b[k :: c.critic_steps]) for k in range(c.critic_steps)]
        for part_a, part_b in parts:
            yield "discriminator", self._critics_terms(part_a, part_b)
            if c.gan_loss == "wgan":
                adversarial.clip_weights((self.disc_a, self.disc_b), c.clip)

        a, b = parts[-1]
        if c.generator_batch == "any":
            draws = torch.randint(c.critic_steps, (2,)).tolist()
            a, b = parts[draws[0]][0], parts[draws[1]][1]
        for _ in range(c.generator_steps):
            yield "generator", self._generators_terms(a, b)

    def _critics_terms(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            fake_b, fake_a = self.gen_ab(a), self.gen_ba(b)
        terms = {
            "real_b": self.gan.real(self.disc_b(b)),
            "fake_b": self.gan.fake(self.disc_b(fake_b)),
            "real_a": self.gan.real(self.disc_a(a)),
            "fake_a": self.gan.fake(self.disc_a(fake_a)),
        }
        if self.config.gan_loss == "wgan-gp":
            weight = self.config.lambda_penalty
            steep_b = adversarial.gradient_norms(self.disc_b, b, fake_b)
            steep_a = adversarial.gradient_norms(self.disc_a, a, fake_a)
            terms["penalty_b"] = weight * (steep_b - 1).square().mean()
            terms["penalty_a"] = weight * (steep_a - 1).square().mean()
        return terms

    def _generators_terms(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        c = self.config
        fake_b, fake_a = self.gen_ab(a), self.gen_ba(b)
        with frozen(self.disc_a, self.disc_b):
            terms = {
                "adversarial_ab": self.gan.fool(self.disc_b(fake_b)),
                "adversarial_ba": self.gan.fool(self.disc_a(fake_a)),
            }
        if c.lambda_a > 0:
            terms["cycle_a"] = c.lambda_a * l1(self.gen_ba(fake_b), a)
        if c.lambda_b > 0:
            terms["cycle_b"] = c.lambda_b * l1(self.gen_ab(fake_a), b)
        return terms

    def preview(self, batch: Batch) -> dict[str, dict[str, Tensor]]:
        """For each direction: the real image, its translation, the way back."""
        a, b = self._signed(batch)
        return both_ways(a, b, partial(self._each, self.gen_ab), partial(self._each, self.gen_ba))

    def monitor(self, batch: Batch) -> dict[str, Tensor]:
        """What says whether the critics teach: their gap, slope and clipped weights; the way back.

        The gap is the mean score of real images less that of translations, an estimate of the
        Wasserstein distance where the loss is one; the way back is measured in [-1, 1].
        """
        # As many images as a step of the critics sees: the moments of batch norm depend on it.
        a, b = (images[:: self.config.critic_steps] for images in self._signed(batch))
        fake_b, fake_a = self.gen_ab(a), self.gen_ba(b)
        values = {
            "reconstruction/a": l1(self.gen_ba(fake_b), a),
            "reconstruction/b": l1(self.gen_ab(fake_a), b),
        }
        for side, critic, real, fake in (
            ("a", self.disc_a, a, fake_a),
            ("b", self.disc_b, b, fake_b),
        ):
            values[f"critic/gap_{side}"] = critic(real).mean() - critic(fake).mean()
            if self.config.gan_loss == "wgan-gp":
                norms = adversarial.gradient_norms(critic, real, fake)
                values[f"critic/slope_{side}"] = norms.mean()
            if self.config.gan_loss == "wgan":
                clipped = adversarial.clipped_share(critic, self.config.clip)
                values[f"critic/clipped_{side}"] = clipped
        return values


def _generator(c: Config, channels_in: int, channels_out: int) -> DualGanGenerator:
    return DualGanGenerator(
        channels_in,
        channels_out,
        width=c.width_generator,
        kernel=c.kernel,
        norm=c.norm,
        dropout=c.dropout,
        unskipped=c.unskipped,
        bottleneck=c.bottleneck,
    )


def _discriminator(c: Config, channels: int, crop: tuple[int, int]) -> DualGanDiscriminator:
    era, output = CRITICS[c.discriminator]
    return DualGanDiscriminator(era, output, channels, c.width_discriminator, c.norm, crop)
