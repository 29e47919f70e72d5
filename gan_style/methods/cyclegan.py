"""CycleGAN: two generators that undo each other, each against a discriminator of its domain.

Zhu, Park, Isola, Efros: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
Networks, ICCV 2017. Losses, update order, image pools and defaults follow the authors' PyTorch code
(junyanz/pytorch-CycleGAN-and-pix2pix, models/cycle_gan_model.py).

Differences from the paper: as in that code, the identity term is on for every domain (the paper has
it for painting -> photo) and instance norm has no affine weights.
Differences from that code: `upsample="resize"` is offered; one lambda_cycle serves both directions;
the default learning-rate schedule doesn't waste the last epoch (`--schedule reference` does).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss as l1

from gan_style import tiling
from gan_style.config import at_least, at_most
from gan_style.errors import ConfigError
from gan_style.losses import adversarial
from gan_style.method import ENDS, Batch, Direction, Paper, Side, TrainedMethod
from gan_style.nn.blocks import batched_forward, both_ways, from_tanh_range, frozen, to_tanh_range
from gan_style.nn.discriminators import PatchDiscriminator, PixelDiscriminator
from gan_style.nn.generators import ResnetGenerator, UnetGenerator
from gan_style.nn.image_pool import ImagePool
from gan_style.styles import Styles

PAPER = Paper(
    title="Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks",
    year=2017,
    url="https://arxiv.org/abs/1703.10593",
    family="collection",
    style="collection",
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """The reference's defaults."""

    direction: Literal["a2b", "b2a"] = "a2b"  # which way translate goes; training goes both
    generator: Literal["resnet_9", "resnet_6", "unet_256", "unet_128"] = "resnet_9"  # network
    upsample: Literal["transposed", "resize"] = "transposed"  # resize leaves no checkerboard
    discriminator: Literal["patch", "pixel"] = "patch"  # what it judges
    discriminator_layers: int = 3  # patch side 16, 34, 70, 142, 286 for 1 ... 5
    width_generator: int = 64  # channels after the first convolution (ngf)
    width_discriminator: int = 64  # the same (ndf)
    init_std: float = 0.02  # of the initial weights; smaller helps against inverted colours
    channels_a: Literal[1, 3] = 3  # of the networks for A; 1 is grey
    channels_b: Literal[1, 3] = 3  # the same for B
    gan_loss: Literal["lsgan", "vanilla", "hinge"] = "lsgan"  # see losses/adversarial.py
    lambda_cycle: float = 10.0  # weight of a -> b -> a against a, and of b -> a -> b against b
    lambda_identity: float = 0.5  # relative to lambda_cycle; 0 leaves the term out
    pool_size: int = 50  # generated images kept a domain for the discriminators
    learning_rate: float = 2e-4  # Adam's, of both players
    beta1: float = 0.5  # Adam's first moment

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        for name in ("discriminator_layers", "width_generator", "width_discriminator"):
            at_least(1, **{name: getattr(self, name)})
        for name in ("lambda_cycle", "lambda_identity", "pool_size", "init_std"):
            at_least(0, **{name: getattr(self, name)})
        at_most(8, discriminator_layers=self.discriminator_layers)  # a patch of 2302 pixels
        if not self.learning_rate > 0:
            raise ConfigError(f"--learning_rate is {self.learning_rate}, but must be above 0")
        if not 0 <= self.beta1 < 1:
            raise ConfigError(f"--beta1 is {self.beta1}, but must be in [0, 1)")
        if self.lambda_identity > 0 and self.channels_a != self.channels_b:
            raise ConfigError(
                f"--channels_a is {self.channels_a}, --channels_b is {self.channels_b}, so that no "
                "image is one of the other domain: give --lambda_identity 0"
            )


class Method(TrainedMethod):
    """`gen_ab` turns A into B, `gen_ba` B into A; `disc_a` judges A, `disc_b` B."""

    players: Mapping[str, tuple[str, ...]] = {
        "generator": ("gen_ab", "gen_ba"),
        "discriminator": ("disc_a", "disc_b"),
    }
    averaged = ("gen_ab", "gen_ba")
    inference_options: ClassVar[tuple[str, ...]] = ("direction",)
    directions: Mapping[Direction, str] = {"a2b": "gen_ab", "b2a": "gen_ba"}

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        a, b = config.channels_a, config.channels_b
        self.gen_ab, self.gen_ba = _generator(config, a, b), _generator(config, b, a)
        self.disc_a, self.disc_b = _discriminator(config, a), _discriminator(config, b)
        self.pool_a, self.pool_b = ImagePool(config.pool_size), ImagePool(config.pool_size)
        self.gan = adversarial.LOSSES[config.gan_loss]
        self.multiple = self.gen_ab.multiple
        # Below this a reflection pad is wider than the map, or an instance norm sees one position.
        patch = 3 * 2**config.discriminator_layers if config.discriminator == "patch" else 1
        self.smallest = max(8, self.multiple, patch)

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
        """One Adam for both generators, one for both discriminators."""
        betas = (self.config.beta1, 0.999)
        return torch.optim.Adam(parameters, self.config.learning_rate, betas, fused=True)

    def translate(self, content: Tensor, style: Styles = None) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] through the generator of `direction`; `style` is unread."""
        return self.translate_in(self.config.direction, content)

    def translate_in(self, direction: Direction, content: Tensor) -> Tensor:
        """The same through the generator of one direction."""
        c = self.config
        channels = c.channels_a if direction == "a2b" else c.channels_b
        net = getattr(self, self.directions[direction])
        return from_tanh_range(tiling.through(net, to_tanh_range(content, channels)))

    def _signed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        c = self.config
        return to_tanh_range(batch["a"], c.channels_a), to_tanh_range(batch["b"], c.channels_b)

    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """One step: both generators on one sum, then both discriminators on pooled images."""
        a, b = self._signed(batch)
        c = self.config
        if c.lambda_identity > 0:
            fake_b, same_b = batched_forward(self.gen_ab, a, b)
            fake_a, same_a = batched_forward(self.gen_ba, b, a)
        else:
            fake_b, fake_a = self.gen_ab(a), self.gen_ba(b)
        with frozen(self.disc_a, self.disc_b):
            terms = {
                "adversarial_ab": self.gan.fool(self.disc_b(fake_b)),
                "adversarial_ba": self.gan.fool(self.disc_a(fake_a)),
            }
        if c.lambda_cycle > 0:
            terms["cycle_a"] = c.lambda_cycle * l1(self.gen_ba(fake_b), a)
            terms["cycle_b"] = c.lambda_cycle * l1(self.gen_ab(fake_a), b)
        if c.lambda_identity > 0:
            weight = c.lambda_identity * c.lambda_cycle
            terms["identity_a"] = weight * l1(same_a, a)
            terms["identity_b"] = weight * l1(same_b, b)
        yield "generator", terms

        # Images made before the generators' step, as in the reference.
        real_b, pooled_b = batched_forward(self.disc_b, b, self.pool_b.query(fake_b))
        real_a, pooled_a = batched_forward(self.disc_a, a, self.pool_a.query(fake_a))
        yield (
            "discriminator",
            {
                "real_b": 0.5 * self.gan.real(real_b),
                "fake_b": 0.5 * self.gan.fake(pooled_b),
                "real_a": 0.5 * self.gan.real(real_a),
                "fake_a": 0.5 * self.gan.fake(pooled_a),
            },
        )

    def preview(self, batch: Batch) -> dict[str, dict[str, Tensor]]:
        """For each direction: the real image, its translation, the way back, the identity.

        Grey images have no identity in colour, and the other way round.
        """
        a, b = self._signed(batch)
        grids = both_ways(a, b, self.gen_ab, self.gen_ba)
        if a.shape[1] == b.shape[1]:
            grids["a2b"]["identity"] = from_tanh_range(self.gen_ba(a))
            grids["b2a"]["identity"] = from_tanh_range(self.gen_ab(b))
        return grids

    def monitor(self, batch: Batch) -> dict[str, Tensor]:
        """Mean score of each discriminator on real images and on translations of this batch."""
        a, b = self._signed(batch)
        return {
            "score/real_a": self.disc_a(a).mean(),
            "score/fake_a": self.disc_a(self.gen_ba(b)).mean(),
            "score/real_b": self.disc_b(b).mean(),
            "score/fake_b": self.disc_b(self.gen_ab(a)).mean(),
        }


def _generator(
    config: Config, channels_in: int, channels_out: int
) -> ResnetGenerator | UnetGenerator:
    kind, size = config.generator.split("_")
    shape = (config.width_generator, config.upsample, config.init_std, channels_in, channels_out)
    if kind == "resnet":
        return ResnetGenerator(int(size), *shape)
    return UnetGenerator({"128": 7, "256": 8}[size], *shape)


def _discriminator(config: Config, channels: int) -> PatchDiscriminator | PixelDiscriminator:
    shape = (config.width_discriminator, config.init_std, channels)
    if config.discriminator == "pixel":
        return PixelDiscriminator(*shape)
    return PatchDiscriminator(config.discriminator_layers, *shape)
