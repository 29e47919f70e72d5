"""CycleGAN's training step against a plain transcription of its published description.

The transcription knows nothing of gan_style but the names of weights and terms. Layouts, losses,
update order, pool and Adam are written out from models/networks.py, models/cycle_gan_model.py and
util/image_pool.py of junyanz/pytorch-CycleGAN-and-pix2pix, with Adam as Kingma and Ba 2015 give it.
Everything runs in float64, so that what differs is a different algorithm and not rounding.
"""

from collections.abc import Iterator

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F

from gan_style.methods import cyclegan
from gan_style.training.step import Players

LAMBDA_CYCLE, LAMBDA_IDENTITY = 10.0, 0.5  # of the reference, relative to each other as there
RATE, BETA1, BETA2, EPS = 2e-4, 0.5, 0.999, 1e-8
POOL_SIZE = 3  # two images a step fill it in the second step, which then exchanges already

# Biases that no norm follows. All others are subtracted again by the norm: their gradients are
# rounding (1e-15), which Adam divides by its eps of 1e-8 and so doesn't leave below 1e-10.
LIVE_BIASES = {"gen": {"model.23.bias"}, "disc": {"model.0.bias", "model.11.bias"}}

Weights = dict[str, Tensor]


def normalised(x: Tensor) -> Tensor:
    centred = x - x.mean((2, 3), keepdim=True)
    return centred / (centred.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()


def reflected(x: Tensor, width: int) -> Tensor:
    return F.pad(x, (width, width, width, width), mode="reflect")


def generator(weights: Weights, x: Tensor) -> Tensor:
    """Six residual blocks."""

    def of(key: str | int) -> tuple[Tensor, Tensor]:
        return weights[f"model.{key}.weight"], weights[f"model.{key}.bias"]

    x = normalised(F.conv2d(reflected(x, 3), *of(1))).relu()
    x = normalised(F.conv2d(x, *of(4), stride=2, padding=1)).relu()
    x = normalised(F.conv2d(x, *of(7), stride=2, padding=1)).relu()
    for block in range(10, 16):
        y = normalised(F.conv2d(reflected(x, 1), *of(f"{block}.conv_block.1"))).relu()
        x = x + normalised(F.conv2d(reflected(y, 1), *of(f"{block}.conv_block.5")))
    for key in (16, 19):
        up = F.conv_transpose2d(x, *of(key), stride=2, padding=1, output_padding=1)
        x = normalised(up).relu()
    return F.conv2d(reflected(x, 3), *of(23)).tanh()


def discriminator(weights: Weights, x: Tensor) -> Tensor:
    def convolved(key: int, x: Tensor, stride: int) -> Tensor:
        weight, bias = weights[f"model.{key}.weight"], weights[f"model.{key}.bias"]
        return F.conv2d(x, weight, bias, stride=stride, padding=1)

    x = F.leaky_relu(convolved(0, x, 2), 0.2)
    for key, stride in ((2, 2), (5, 2), (8, 1)):
        x = F.leaky_relu(normalised(convolved(key, x, stride)), 0.2)
    return convolved(11, x, 1)


def lsgan(scores: Tensor, target: float) -> Tensor:
    return (scores - target).square().mean()


def vanilla(scores: Tensor, target: float) -> Tensor:
    p = 1 / (1 + (-scores).exp())
    return -(target * p.log() + (1 - target) * (1 - p).log()).mean()


def distance(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).abs().mean()


class Transcription:
    """Four networks' weights, their Adam moments, two pools; `step` is the published step."""

    def __init__(self, weights: dict[str, Weights], gan, lambda_identity: float):
        self.nets = {
            name: {key: value.clone().requires_grad_() for key, value in net.items()}
            for name, net in weights.items()
        }
        self.gan, self.lambda_identity = gan, lambda_identity
        self.moments: dict[tuple[str, str], tuple[Tensor, Tensor]] = {}
        self.pools: dict[str, list[Tensor]] = {"a": [], "b": []}
        self.exchanges = self.steps = 0

    def step(self, a: Tensor, b: Tensor) -> dict[str, dict[str, Tensor]]:
        """Images in [0, 1] -> terms of both players, after both have moved."""
        self.steps += 1
        a, b = (a - 0.5) / 0.5, (b - 0.5) / 0.5
        gen_ab, gen_ba, disc_a, disc_b = (
            self.nets[name] for name in ("gen_ab", "gen_ba", "disc_a", "disc_b")
        )
        fake_b, fake_a = generator(gen_ab, a), generator(gen_ba, b)
        generator_terms = {
            "adversarial_ab": self.gan(discriminator(disc_b, fake_b), 1.0),
            "adversarial_ba": self.gan(discriminator(disc_a, fake_a), 1.0),
            "cycle_a": LAMBDA_CYCLE * distance(generator(gen_ba, fake_b), a),
            "cycle_b": LAMBDA_CYCLE * distance(generator(gen_ab, fake_a), b),
        }
        if self.lambda_identity:
            weight = self.lambda_identity * LAMBDA_CYCLE
            generator_terms["identity_b"] = weight * distance(generator(gen_ab, b), b)
            generator_terms["identity_a"] = weight * distance(generator(gen_ba, a), a)
        self.move(("gen_ab", "gen_ba"), sum(generator_terms.values()))

        # fake_a and fake_b are those of above: the generators that made them are gone by now.
        shown_b = self.from_pool("b", fake_b.detach())
        shown_a = self.from_pool("a", fake_a.detach())
        discriminator_terms = {
            "real_b": 0.5 * self.gan(discriminator(disc_b, b), 1.0),
            "fake_b": 0.5 * self.gan(discriminator(disc_b, shown_b), 0.0),
            "real_a": 0.5 * self.gan(discriminator(disc_a, a), 1.0),
            "fake_a": 0.5 * self.gan(discriminator(disc_a, shown_a), 0.0),
        }
        self.move(("disc_a", "disc_b"), sum(discriminator_terms.values()))
        return {"generator": generator_terms, "discriminator": discriminator_terms}

    def from_pool(self, domain: str, images: Tensor) -> Tensor:
        pool, shown = self.pools[domain], []
        for image in images:
            if len(pool) < POOL_SIZE:
                pool.append(image)
                shown.append(image)
            elif torch.rand(()) < 0.5:
                shown.append(image)
            else:
                slot = int(torch.randint(POOL_SIZE, ()))
                shown.append(pool[slot])
                pool[slot] = image
                self.exchanges += 1
        return torch.stack(shown)

    def move(self, names: tuple[str, ...], loss: Tensor) -> None:
        keys = [(name, key) for name in names for key in self.nets[name]]
        gradients = torch.autograd.grad(loss, [self.nets[name][key] for name, key in keys])
        for (name, key), g in zip(keys, gradients, strict=True):
            m, v = self.moments.get((name, key), (torch.zeros_like(g), torch.zeros_like(g)))
            m, v = BETA1 * m + (1 - BETA1) * g, BETA2 * v + (1 - BETA2) * g.square()
            self.moments[name, key] = m, v
            unbiased_m, unbiased_v = m / (1 - BETA1**self.steps), v / (1 - BETA2**self.steps)
            moved = self.nets[name][key] - RATE * unbiased_m / (unbiased_v.sqrt() + EPS)
            self.nets[name][key] = moved.detach().requires_grad_()


def batches(steps: int) -> Iterator[dict[str, Tensor]]:
    random = torch.Generator().manual_seed(1)
    for _ in range(steps):
        a, b = torch.rand(2, 2, 3, 32, 32, generator=random, dtype=torch.float64)
        yield {"a": a, "b": b.square()}  # squared: the domains differ in brightness


@pytest.mark.parametrize(
    ("options", "gan", "lambda_identity"),
    [
        ({}, lsgan, LAMBDA_IDENTITY),  # all weights and rates are the defaults
        ({"gan_loss": "vanilla"}, vanilla, LAMBDA_IDENTITY),
        ({"lambda_identity": 0.0}, lsgan, 0.0),
    ],
    ids=["default", "vanilla", "no identity"],
)
def test_three_training_steps_agree_with_the_published_algorithm(options, gan, lambda_identity):
    torch.manual_seed(0)
    tiny = {"generator": "resnet_6", "width_generator": 4, "width_discriminator": 8}
    config = cyclegan.Config(**tiny, pool_size=POOL_SIZE, **options)
    method = cyclegan.Method(config).double()
    nets = [name for names in method.players.values() for name in names]
    published = Transcription(
        {name: getattr(method, name).state_dict() for name in nets}, gan, lambda_identity
    )
    players = Players(method, Accelerator(cpu=True))
    for step, batch in enumerate(batches(3)):
        torch.manual_seed(step)  # the same draws for both pools
        ours = dict(players.step([batch]))
        torch.manual_seed(step)
        theirs = published.step(**batch)
        for player, terms in theirs.items():
            assert ours[player].keys() == terms.keys()
            for name, value in terms.items():
                assert abs(ours[player][name] - value) < 1e-10 * max(1, value), (step, name)
        for net in nets:
            for key, value in getattr(method, net).state_dict().items():
                kind, _ = net.split("_")
                dead = key.endswith("bias") and key not in LIVE_BIASES[kind]
                error = (value - published.nets[net][key]).abs().max()
                assert error < (1e-8 if dead else 1e-10), (step, net, key)
    assert published.exchanges > 0  # the pools have given old images back
