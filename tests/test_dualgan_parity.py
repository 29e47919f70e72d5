"""DualGAN's training step against a plain transcription of the authors' three programs, and laws.

The transcription knows nothing of gan_style but the names of weights and terms. Layouts, losses,
update order, clipping, gradient penalty and optimizers are written out from model.py and ops.py of
duxingren14/DualGAN: commits d71400c (April 2017), d7ee5b8 (August 2017) and bd64bf9 (2020, HEAD);
RMSProp is that of tf.train. Everything there runs in float64, so that what differs is a different
algorithm and not rounding.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields
from itertools import chain
from math import sqrt
from typing import NamedTuple

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from gan_style.errors import ConfigError
from gan_style.losses.adversarial import gradient_norms
from gan_style.methods import cyclegan, dualgan
from gan_style.nn.dualgan import DualGanDiscriminator
from gan_style.training.step import Players

Weights = dict[str, Tensor]
Turns = list[tuple[str, dict[str, Tensor]]]  # player and terms, in playing order


# --- The transcription ---


def wasserstein(scores: Tensor, role: str) -> Tensor:
    return scores.mean() if role == "fake" else -scores.mean()


def classic(scores: Tensor, role: str) -> Tensor:
    """The cross-entropy of sigmoid(scores) against 1, or 0 for the critic's made images."""
    p = 1 / (1 + (-scores).exp())
    return -(1 - p).log().mean() if role == "fake" else -p.log().mean()


def least_squares(scores: Tensor, role: str) -> Tensor:
    return (scores - (0 if role == "fake" else 1)).square().mean()


def hinge(scores: Tensor, role: str) -> Tensor:
    if role == "fool":
        return -scores.mean()
    return (1 + scores if role == "fake" else 1 - scores).clamp(min=0).mean()


class Program(NamedTuple):
    """What a program of theirs computes; the defaults are HEAD's."""

    size: tuple[int, int] = (64, 72)  # 72 are halved to 9, an odd number
    channels_a: int = 3
    kernel: int = 3  # of the generators; the outermost convolutions have 5
    critic_kernel: int = 3  # of the critics; the first convolution has 5
    moments: tuple[int, ...] = (2, 3)  # the axes that are normalised over
    eps: float = 1e-6
    keeps_pixels: bool = False  # where a map is one pixel; no program of theirs does
    kept: float | None = None  # share of the numbers that dropout leaves
    fcn: int = 1  # network_type: the map of stride 2^n joins the decoder where this is below 2^n
    strides: tuple[int, ...] = (2, 2, 2, 2, 2)  # of the critics
    patches: int | None = None  # stride of the map of scores; None is a linear layer
    gan: Callable[[Tensor, str], Tensor] = wasserstein
    penalty: float | None = 10.0
    clamp: float | None = None
    n_critic: int = 1
    generators: int = 1
    draws: bool = False  # a's and b's batch of the generators, among the critics'
    lambda_a: float = 500.0
    lambda_b: float = 500.0
    rate: float = 5e-5
    decay: float = 0.9
    tensorflow: bool = True  # RMSProp as there, or as torch has it


APRIL = Program(
    size=(24, 20),
    kernel=5,
    critic_kernel=5,
    moments=(0, 2, 3),
    eps=1e-5,
    kept=0.5,
    fcn=4,
    strides=(2, 2, 2, 1),
    penalty=None,
    clamp=0.01,
    n_critic=3,
    draws=True,
    lambda_a=200.0,
    lambda_b=200.0,
)
AUGUST = Program(
    size=(40, 36),
    kernel=5,
    critic_kernel=5,
    kept=0.5,
    strides=(2, 2, 2, 1),
    patches=1,
    gan=classic,
    penalty=None,
    generators=2,
    lambda_a=20.0,
    lambda_b=20.0,
)
HEAD = Program()


def padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """SAME, as tf.nn's notes on padding give it."""
    missing = kernel - stride if size % stride == 0 else kernel - size % stride
    return max(missing, 0) // 2, max(missing, 0) - max(missing, 0) // 2


class Transcription:
    """Four networks' weights and their mean squares; `step` is the published step.

    Whatever is random is drawn in the order in which `gan_style.methods.dualgan` draws it.
    """

    def __init__(self, weights: dict[str, Weights], program: Program) -> None:
        self.program = program
        self.nets = {
            name: {key: value.clone().requires_grad_() for key, value in net.items()}
            for name, net in weights.items()
        }
        self.squares: dict[tuple[str, str], Tensor] = {}

    def kernel(self, net: str, key: str) -> Tensor:
        weight = self.nets[net][f"{key}.weight"]
        side = self.program.critic_kernel if net.startswith("disc") else self.program.kernel
        side = 5 if key in ("e.0", "d.7", "h.0") else side
        assert weight.shape[2:] == (side, side)
        return weight

    def conv(self, x: Tensor, net: str, key: str, stride: int) -> Tensor:
        weight, bias = self.kernel(net, key), self.nets[net][f"{key}.bias"]
        rows, columns = (padding(size, weight.shape[-1], stride) for size in x.shape[2:])
        return F.conv2d(F.pad(x, (*columns, *rows)), weight, bias, stride=stride)

    def deconv(self, x: Tensor, net: str, key: str, size: torch.Size) -> Tensor:
        weight, bias = self.kernel(net, key), self.nets[net][f"{key}.bias"]
        (top, _), (left, _) = (padding(each, weight.shape[-1], 2) for each in size)
        full = F.conv_transpose2d(x, weight, bias, stride=2)
        return full[:, :, top : top + size[0], left : left + size[1]]

    def normed(self, x: Tensor, net: str, key: str) -> Tensor:
        program = self.program
        if not (program.keeps_pixels and x.shape[2:].numel() == 1):
            x = x - x.mean(program.moments, keepdim=True)
            x = x / (x.square().mean(program.moments, keepdim=True) + program.eps).sqrt()
        scale, center = self.nets[net][f"{key}.weight"], self.nets[net][f"{key}.bias"]
        return scale.view(1, -1, 1, 1) * x + center.view(1, -1, 1, 1)

    def translated(self, net: str, x: Tensor) -> Tensor:
        """`fcn`."""
        e = [x, self.conv(x, net, "e.0", 2)]  # e[n] is their e<n>
        for n in range(2, 9):
            convolved = self.conv(F.leaky_relu(e[-1], 0.2), net, f"e.{n - 1}", 2)
            e.append(self.normed(convolved, net, f"bn_e.{n - 2}"))
        y = e[8]
        for n in range(1, 8):
            y = self.deconv(y.clamp(min=0), net, f"d.{n - 1}", e[8 - n].shape[2:])
            y = self.normed(y, net, f"bn_d.{n - 1}")
            if n <= 3 and self.program.kept:
                draw = F.dropout(torch.ones_like(y), 1 - self.program.kept)  # one a number
                y = torch.where(draw > 0, y / self.program.kept, 0)
            if self.program.fcn < 2 ** (8 - n):
                y = torch.cat([y, e[8 - n]], 1)
        return self.deconv(y.clamp(min=0), net, "d.7", x.shape[2:]).tanh()

    def scores(self, net: str, x: Tensor) -> Tensor:
        """`discriminator`."""
        for n, stride in enumerate(self.program.strides):
            x = self.conv(x, net, f"h.{n}", stride)
            x = F.leaky_relu(self.normed(x, net, f"bn.{n - 1}") if n else x, 0.2)
        if self.program.patches:
            return self.conv(x, net, "last", self.program.patches)
        return x.flatten(1) @ self.nets[net]["last.1.weight"].T + self.nets[net]["last.1.bias"]

    def penalty(self, net: str, real: Tensor, fake: Tensor) -> Tensor:
        epsilon = torch.rand(len(real), 1, 1, 1, dtype=torch.float64)
        interpolated = (real + epsilon * (fake - real)).detach().requires_grad_()
        score = self.scores(net, interpolated).sum()
        (gradient,) = torch.autograd.grad(score, interpolated, create_graph=True)
        steep = ((gradient**2).sum((1, 2, 3)) + 1e-8).sqrt()
        return self.program.penalty * ((steep - 1) ** 2).mean()

    def step(self, a: Tensor, b: Tensor) -> Turns:
        """Images in [0, 1] -> terms, after everybody has moved."""
        program, turns = self.program, []
        if program.channels_a == 1:
            a = (0.299 * a[:, 0] + 0.587 * a[:, 1] + 0.114 * a[:, 2])[:, None]
        # Groups of n_critic images follow each other; every member of one is for another step.
        batches_a = [(2 * a - 1)[k :: program.n_critic] for k in range(program.n_critic)]
        batches_b = [(2 * b - 1)[k :: program.n_critic] for k in range(program.n_critic)]
        for batch_a, batch_b in zip(batches_a, batches_b, strict=True):
            turns.append(("discriminator", self.critics_step(batch_a, batch_b)))
        choice = [program.n_critic - 1] * 2
        if program.draws:
            choice = torch.randint(program.n_critic, (2,)).tolist()
        for _ in range(program.generators):
            terms = self.generators_step(batches_a[choice[0]], batches_b[choice[1]])
            turns.append(("generator", terms))
        return turns

    def critics_step(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        gan = self.program.gan
        fake_b, fake_a = self.translated("gen_ab", a), self.translated("gen_ba", b)
        terms = {
            "real_b": gan(self.scores("disc_b", b), "real"),
            "fake_b": gan(self.scores("disc_b", fake_b), "fake"),
            "real_a": gan(self.scores("disc_a", a), "real"),
            "fake_a": gan(self.scores("disc_a", fake_a), "fake"),
        }
        if self.program.penalty:
            terms["penalty_b"] = self.penalty("disc_b", b, fake_b)
            terms["penalty_a"] = self.penalty("disc_a", a, fake_a)
        self.move(("disc_a", "disc_b"), sum(terms.values()))
        if self.program.clamp:
            for net in ("disc_a", "disc_b"):
                for weight in self.nets[net].values():
                    weight.data = weight.data.clamp(-self.program.clamp, self.program.clamp)
        return terms

    def generators_step(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        program = self.program
        fake_b, fake_a = self.translated("gen_ab", a), self.translated("gen_ba", b)
        back_a, back_b = self.translated("gen_ba", fake_b), self.translated("gen_ab", fake_a)
        terms = {
            "adversarial_ab": program.gan(self.scores("disc_b", fake_b), "fool"),
            "adversarial_ba": program.gan(self.scores("disc_a", fake_a), "fool"),
            "cycle_a": program.lambda_a * (back_a - a).abs().mean(),
            "cycle_b": program.lambda_b * (back_b - b).abs().mean(),
        }
        self.move(("gen_ab", "gen_ba"), sum(terms.values()))
        return terms

    def move(self, names: tuple[str, ...], loss: Tensor) -> None:
        """RMSProp. tf.train's starts the squares at 1 and adds 1e-10 inside of the root."""
        rate, decay, tensorflow = self.program.rate, self.program.decay, self.program.tensorflow
        keys = [(name, key) for name in names for key in self.nets[name]]
        gradients = torch.autograd.grad(loss, [self.nets[name][key] for name, key in keys])
        for (name, key), g in zip(keys, gradients, strict=True):
            before = self.squares.get((name, key), torch.full_like(g, float(tensorflow)))
            square = self.squares[name, key] = decay * before + (1 - decay) * g**2
            root = (square + 1e-10).sqrt() if tensorflow else square.sqrt() + 1e-8
            moved = self.nets[name][key] - rate * g / root
            self.nets[name][key] = moved.detach().requires_grad_()


# --- Ours beside it ---

TINY = {"width_generator": 2, "width_discriminator": 2}
GP = {"gan_loss": "wgan-gp"}


def preset(name: str) -> dict[str, object]:
    """The options of a preset that are the method's own."""
    own = {field.name for field in fields(dualgan.Config)}
    return {key: value for key, value in dualgan.PRESETS[name].items() if key in own}


def played(method, batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """One step; yields after each player has moved."""
    return chain.from_iterable(Players(method, Accelerator(cpu=True)).moves([batch]))


def batches(program: Program, steps: int) -> Iterator[dict[str, Tensor]]:
    """Two images for every step of the critics."""
    random = torch.Generator().manual_seed(1)
    shape = (2, 2 * program.n_critic, 3, *program.size)
    for _ in range(steps):
        a, b = torch.rand(shape, generator=random, dtype=torch.float64)
        yield {"a": a, "b": b.square()}  # squared: the domains differ in brightness


def grown(net: nn.Module) -> nn.Module:
    """With weights by which every layer matters, in float64: with those of 0.02 it's the last."""
    for key, weight in net.named_parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, 0.0, 1 / sqrt(weight[0].numel()))
        else:
            nn.init.normal_(weight, float(key.endswith("weight")), 0.2)
    return net.double()


CASES = {
    "2020-gp": (preset("2020-gp"), HEAD),
    "2017-wgan": (preset("2017-wgan"), APRIL),
    "2017-classic": (preset("2017-classic"), AUGUST),
    # A clip of 0.01 leaves critics of two channels hardly a slope.
    "2017-wgan, wide": (preset("2017-wgan") | {"clip": 0.4}, APRIL._replace(clamp=0.4)),
    "2020 patchgan": (GP | {"discriminator": "2020_map"}, HEAD._replace(patches=2)),
    "2020 n_critic 3": (
        GP | {"critic_steps": 3, "generator_batch": "last"},
        HEAD._replace(n_critic=3),
    ),
    "torch's RMSprop": (GP | {"rmsprop": "torch"}, HEAD._replace(tensorflow=False)),
    "lsgan": (
        {"gan_loss": "lsgan", "bottleneck": "kept"},
        HEAD._replace(gan=least_squares, penalty=None, keeps_pixels=True),
    ),
    "hinge": (
        {"gan_loss": "hinge", "discriminator": "2017_scalar"},
        HEAD._replace(
            size=(17, 24), gan=hinge, penalty=None, strides=(2, 2, 2, 1), critic_kernel=5
        ),
    ),
    "other numbers": (
        {
            "channels_a": 1,
            "lambda_penalty": 3.0,
            "dropout": 0.2,
            "lambda_a": 30.0,
            "lambda_b": 70.0,
            "learning_rate": 1e-3,
            "rmsprop_decay": 0.7,
        },
        HEAD._replace(
            channels_a=1, penalty=3.0, kept=0.8, lambda_a=30.0, lambda_b=70.0, rate=1e-3, decay=0.7
        ),
    ),
}


# Biases that a norm subtracts again: their gradients are rounding (1e-12), which TensorFlow's
# RMSProp divides by about 1, but torch's by something almost as small.
DEAD = re.compile(r"(h\.[1-4]|e\.[1-7]|d\.[0-6])\.bias")


@pytest.mark.parametrize(("options", "program"), CASES.values(), ids=CASES)
def test_two_training_steps_agree_with_the_official_program(options, program):
    torch.manual_seed(0)
    method = dualgan.Method(dualgan.Config(**TINY, **options))
    method.build_for_crop(program.size)
    method = grown(method)
    nets = [name for names in method.players.values() for name in names]
    official = Transcription({name: getattr(method, name).state_dict() for name in nets}, program)
    players = Players(method, Accelerator(cpu=True))
    for step, batch in enumerate(batches(program, 2)):
        torch.manual_seed(step)  # the same draws for both
        ours = players.step([batch])
        torch.manual_seed(step)
        theirs = official.step(**batch)
        for (player, found), (other, terms) in zip(ours, theirs, strict=True):
            assert (player, found.keys()) == (other, terms.keys())
            for name, value in terms.items():
                assert abs(found[name] - value) < 1e-10 * max(1, abs(value)), (step, name)
        for net in nets:
            for key, value in getattr(method, net).state_dict().items():
                error = (value - official.nets[net][key]).abs().max()
                dead = not program.tensorflow and DEAD.fullmatch(key)
                assert error < (1e-6 if dead else 1e-11), (step, net, key)


# --- The schedule: networks that show what they are given ---


class Shift(nn.Module):
    """A generator that adds its weight."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight


class Scale(Shift):
    """One that multiplies by it."""

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Mean(Shift):
    """A critic whose score (N, 1) is its weight times the image's mean."""

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x.mean((1, 2, 3))[:, None]


def of_stand_ins(**options) -> dualgan.Method:
    """Images are in [-1, 1]; what gen_ab makes of them is above 5, what gen_ba makes below -5."""
    method = dualgan.Method(dualgan.Config(width_generator=1, width_discriminator=1, **options))
    method.gen_ab, method.gen_ba = Shift(10.0), Shift(-10.0)
    method.disc_a, method.disc_b = Mean(0.01), Mean(0.01)
    return method


def numbered(count: int) -> dict[str, Tensor]:
    """Of A, the first image is 0 everywhere in [-1, 1], the second 0.01 ...; of B 0.5, 0.51 ..."""
    signed = torch.arange(count).view(-1, 1, 1, 1).expand(-1, 3, 2, 2) / 100
    return {"a": (signed + 1) / 2, "b": (signed + 0.5 + 1) / 2}


def given_by_turn(method: dualgan.Method, batch) -> list[tuple[str, dict[str, list[list[float]]]]]:
    """Who played, and the images (by their value) that each network was given meanwhile."""
    given: dict[str, list[list[float]]] = {}

    def show(name: str) -> Callable:
        def hook(_, inputs: tuple[Tensor]) -> None:
            values = [round(float(value), 2) for value in inputs[0][:, 0, 0, 0].detach()]
            given.setdefault(name, []).append(values)

        return hook

    nets = [name for names in method.players.values() for name in names]
    hooks = [getattr(method, name).register_forward_pre_hook(show(name)) for name in nets]
    turns = []
    for player, _ in played(method, batch):
        turns.append((player, dict(given)))
        given.clear()
    for hook in hooks:
        hook.remove()
    return turns


D, G = "discriminator", "generator"
SCHEDULES = {
    "2020-gp": (preset("2020-gp"), [D, G]),
    "2017-wgan": (preset("2017-wgan"), [D, D, D, G]),
    "2017-classic": (preset("2017-classic"), [D, G, G]),
    "n_critic": ({"critic_steps": 5}, [D, D, D, D, D, G]),
    "both": ({"critic_steps": 2, "generator_steps": 3}, [D, D, G, G, G]),
}


@pytest.mark.parametrize(("options", "players"), SCHEDULES.values(), ids=SCHEDULES)
def test_a_step_has_as_many_turns_of_each_player_as_the_program(options, players):
    method = of_stand_ins(**options)
    assert method.batches_a_step == players.count(D)
    trained, steps = Players(method, Accelerator(cpu=True)), []
    for player, optimizer in trained.optimizers.items():
        post = optimizer.optimizer.register_step_post_hook
        post(lambda *_, player=player: steps.append(player))
    for _ in range(2):
        turns = trained.step([numbered(2 * method.batches_a_step)])
        assert [player for player, _ in turns] == players
    assert steps == 2 * players


def test_each_critics_step_sees_one_image_of_every_group():
    method = of_stand_ins(gan_loss="wgan", critic_steps=3)
    turns = given_by_turn(method, numbered(6))
    for k, (player, given) in enumerate(turns[:3]):
        a, b = [k / 100, k / 100 + 0.03], [0.5 + k / 100, 0.53 + k / 100]
        made_b, made_a = [each + 10 for each in a], [each - 10 for each in b]
        assert player == D
        assert given["gen_ab"] == [pytest.approx(a)]
        assert given["gen_ba"] == [pytest.approx(b)]
        assert sorted(given["disc_a"]) == [pytest.approx(made_a), pytest.approx(a)]
        assert sorted(given["disc_b"]) == [pytest.approx(b), pytest.approx(made_b)]


def test_the_generators_see_the_critics_last_images_on_every_turn():
    method = of_stand_ins(gan_loss="wgan", critic_steps=3, generator_steps=2)
    turns = given_by_turn(method, numbered(6))
    for player, given in turns[3:]:
        assert player == G
        # A real image, then the way back.
        assert sorted(given["gen_ab"]) == [pytest.approx([-9.48, -9.45]), [0.02, 0.05]]
        assert sorted(given["gen_ba"]) == [[0.52, 0.55], pytest.approx([10.02, 10.05])]
        assert given["disc_b"] == [[10.02, 10.05]]
        assert given["disc_a"] == [[-9.48, -9.45]]


def test_the_generators_images_may_be_any_of_the_critics_a_and_b_apart():
    method = of_stand_ins(gan_loss="wgan", critic_steps=3, generator_steps=2, generator_batch="any")
    torch.manual_seed(0)
    counts: Counter[tuple[int, int]] = Counter()
    for _ in range(180):
        method.gen_ab, method.gen_ba = Shift(10.0), Shift(-10.0)
        *_, (_, first), (_, second) = given_by_turn(method, numbered(3))
        assert first == second  # drawn once a step
        ((a,), (b,)) = first["disc_b"][0], first["disc_a"][0]  # a + 10 and b - 10
        counts[round((a - 10) * 100), round((b + 9.5) * 100)] += 1
    # Nine pairs of equal probability: 20 times each, give or take four.
    assert counts.keys() == {(i, j) for i in range(3) for j in range(3)}
    assert all(8 < count < 35 for count in counts.values())


def test_every_turn_is_played_with_what_the_generators_make_at_that_moment():
    method = of_stand_ins(gan_loss="wgan", critic_steps=2, generator_steps=2)
    made: dict[str, list[float]] = {"disc_a": [], "disc_b": []}
    for name, values in made.items():
        getattr(method, name).register_forward_pre_hook(
            lambda _, inputs, values=values: values.append(float(inputs[0].detach().mean()))
        )
    for turn, (player, _) in enumerate(method.losses(numbered(2))):
        shift = 10.0 * (turn + 1)
        assert max(made["disc_b"]) == pytest.approx(shift, abs=1), (turn, player)
        assert min(made["disc_a"]) == pytest.approx(-shift, abs=1), (turn, player)
        nn.init.constant_(method.gen_ab.weight, shift + 10)
        nn.init.constant_(method.gen_ba.weight, -shift - 10)


# --- Who learns from what ---


@pytest.mark.parametrize("gan_loss", ["wgan-gp", "wgan", "vanilla", "lsgan", "hinge"])
def test_a_players_terms_reach_its_own_networks_and_no_others(gan_loss):
    method = of_stand_ins(gan_loss=gan_loss)
    weights = {
        player: [getattr(method, name).weight for name in names]
        for player, names in method.players.items()
    }
    for player, terms in method.losses(numbered(2)):
        torch.stack(list(terms.values())).sum().backward()
        for other, moved in weights.items():
            assert all((weight.grad is not None) == (other == player) for weight in moved)
        method.zero_grad()


def photos(count: int, side: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, count, 3, side, side, generator=random)
    return {"a": a, "b": b}


def filled(method: dualgan.Method, value: float) -> None:
    """All critics' weights."""
    for critic in (method.disc_a, method.disc_b):
        for weight in critic.parameters():
            nn.init.constant_(weight, value)


def test_all_weights_of_the_critics_are_clipped_after_each_of_their_steps():
    method = dualgan.Method(dualgan.Config(**TINY, **preset("2017-wgan") | {"clip": 0.25}))
    method.build_for_crop((24, 24))
    nn.init.constant_(method.gen_ab.e[1].bias, 2.0)
    asked: list[dict[str, set[float]]] = []  # the weights with which critics were asked

    def look(critic: nn.Module, _) -> None:
        weights = critic.named_parameters()
        asked.append({key: set(weight.flatten().tolist()) for key, weight in weights})

    for critic in (method.disc_a, method.disc_b):
        critic.register_forward_pre_hook(look)
    layers = ["h.0", "h.1", "h.2", "h.3", "bn.0", "bn.1", "bn.2", "last.1"]
    keys = [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    filled(method, 2.0)
    turns = method.losses(photos(6, 24))
    for expected, step in ((2.0, -3.0), (-0.25, 3.0), (0.25, -3.0), (-0.25, 0.0)):
        next(turns)
        assert len(asked) in (2, 4)
        assert all(weights == {key: {expected} for key in keys} for weights in asked)
        asked.clear()
        filled(method, step)  # as if the step had moved all of them far
    assert (method.gen_ab.e[1].bias == 2).all()


@pytest.mark.parametrize("gan_loss", ["wgan-gp", "vanilla", "lsgan", "hinge"])
def test_nothing_is_clipped_with_other_losses(gan_loss):
    method = dualgan.Method(
        dualgan.Config(**TINY, gan_loss=gan_loss, discriminator="2017_map", critic_steps=2)
    )
    filled(method, 2.0)
    assert len(list(method.losses(photos(2, 24)))) == 3
    for critic in (method.disc_a, method.disc_b):
        assert all((weight == 2).all() for weight in critic.parameters())


# --- The gradient penalty ---


class Linear(nn.Module):
    """A critic whose scores (N, 1) are sums of weighted pixels."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return (self.weight * x).sum((1, 2, 3))[:, None]


class Energy(Linear):
    """One whose scores are half the squares of the pixels: its gradient is the image."""

    def forward(self, x: Tensor) -> Tensor:
        return (self.weight * x.square()).sum((1, 2, 3))[:, None] / 2


def three_four() -> Tensor:
    weight = torch.zeros(3, 2, 2, dtype=torch.float64)
    weight[0, 0, 1], weight[2, 1, 0] = 3.0, 4.0  # of norm 5
    return weight


def pairs(count: int, side: int = 2) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    size = (2, count, 3, side, side)
    real, fake = 2 * torch.rand(size, generator=random, dtype=torch.float64) - 1
    return real, fake


def test_a_linear_critic_is_as_steep_as_its_weights_norm_whatever_the_images():
    found = gradient_norms(Linear(three_four()), *pairs(4))
    expected = torch.full((4,), sqrt(25 + 1e-8), dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=0)


def test_the_scores_of_a_map_are_summed():
    # Every pixel is in one score, with weights of norm 7; four pixels have sqrt(4) times as much.
    critic = nn.Conv2d(3, 1, 1).double()
    critic.weight.data = torch.tensor([2.0, 3.0, 6.0], dtype=torch.float64).view(1, 3, 1, 1)
    assert gradient_norms(critic, *pairs(2)).tolist() == pytest.approx([14, 14])


def test_the_slope_of_a_critic_that_looks_away_is_finite_and_can_be_trained():
    critic = Linear(torch.zeros(3, 2, 2, dtype=torch.float64))
    found = gradient_norms(critic, *pairs(2))
    assert found.tolist() == pytest.approx([1e-4, 1e-4])  # sqrt(1e-8)
    found.sum().backward()
    assert critic.weight.grad.isfinite().all()


def test_every_image_is_alone_in_its_slope():
    images, _ = pairs(3)
    critic = Energy(torch.ones((), dtype=torch.float64))
    # Between an image and itself there is nothing else, so that the draw doesn't matter.
    expected = [sqrt(float(image.square().sum()) + 1e-8) for image in images]
    assert gradient_norms(critic, images, images).tolist() == pytest.approx(expected)

    torch.manual_seed(0)
    critic = DualGanDiscriminator("2020", "map", width=2, size=(64, 64)).double()
    images, _ = pairs(3, 64)
    alone = [gradient_norms(critic, image, image) for image in images.split(1)]
    torch.testing.assert_close(gradient_norms(critic, images, images), torch.cat(alone))


def test_slopes_are_taken_between_real_and_made_images_one_place_an_image():
    torch.manual_seed(0)
    critic, places = Linear(torch.ones((), dtype=torch.float64)), []
    critic.register_forward_pre_hook(lambda _, inputs: places.append(inputs[0].detach()))
    real = torch.full((4000, 3, 2, 2), -1.0, dtype=torch.float64)
    gradient_norms(critic, real, -real)
    (place,) = places
    assert torch.equal(place, place[:, :1, :1, :1].expand_as(place))
    place = place[:, 0, 0, 0]
    assert place.abs().max() <= 1
    # U(-1, 1): of 4000 numbers, the mean's deviation is 0.009, that of the share below 0 is 0.008.
    assert place.mean() == pytest.approx(0, abs=0.04)
    assert (place < 0).double().mean() == pytest.approx(0.5, abs=0.04)
    assert place.square().mean() == pytest.approx(1 / 3, abs=0.03)
    assert len(place.unique()) == 4000


def test_the_penalty_moves_a_linear_critic_towards_norm_1():
    critic = Linear(three_four())
    (gradient_norms(critic, *pairs(4)) - 1).square().mean().backward()
    # 2 (|w| - 1) w / |w| with |w| = 5
    torch.testing.assert_close(critic.weight.grad, 2 * 4 * three_four() / 5)


def test_the_penalty_reaches_neither_images_nor_what_made_them():
    real, fake = pairs(2)
    generator = Scale(0.5).double()
    real.requires_grad_()
    critic = Energy(torch.ones((), dtype=torch.float64))
    gradient_norms(critic, real, generator(fake)).sum().backward()
    assert critic.weight.grad is not None
    assert real.grad is None
    assert generator.weight.grad is None


def grown_critic(output: str, width: int, side: int = 64) -> nn.Module:
    torch.manual_seed(0)
    return grown(DualGanDiscriminator("2020", output, width=width, size=(side, side)))


def penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    torch.manual_seed(1)
    return (gradient_norms(critic, real, fake) - 1).square().mean()


@pytest.mark.parametrize("output", ["scalar", "map"])
def test_the_penaltys_gradient_is_that_of_its_finite_differences(output):
    critic, images = grown_critic(output, width=2), pairs(2, 64)
    weights = list(critic.parameters())
    found = torch.autograd.grad(penalty(critic, *images), weights, allow_unused=True)
    step = 1e-6
    for weight, gradient in zip(weights, found, strict=True):
        direction = torch.randn_like(weight)
        values = []
        for side in (step, -step):
            with torch.no_grad():
                weight.add_(direction, alpha=side)
                values.append(float(penalty(critic, *images)))
                weight.sub_(direction, alpha=side)
        expected = (values[0] - values[1]) / (2 * step)
        along = 0.0 if gradient is None else float((gradient * direction).sum())
        assert along == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_in_half_precision_the_penalty_stays_close(half):
    # At 64 pixels the last norm is over four positions, which may all but agree: then the slope is
    # mostly that one's, and rounding decides it.
    critic = grown_critic("scalar", width=8, side=128).float()
    real, fake = (images.float() for images in pairs(4, 128))
    weights = [weight for key, weight in critic.named_parameters() if key != "last.1.bias"]

    def value_and_gradient() -> tuple[Tensor, Tensor]:
        value = penalty(critic, real, fake)
        gradients = torch.autograd.grad(value, weights)
        return value.detach(), torch.cat([each.flatten() for each in gradients])

    exact, expected = value_and_gradient()
    with torch.autocast("cpu", half):
        rounded, found = value_and_gradient()
    assert rounded.dtype == found.dtype == torch.float32
    assert found.isfinite().all()
    assert 0 < abs(rounded - exact) < 0.05 * exact
    assert torch.cosine_similarity(found, expected, dim=0) > 0.98
    assert found.norm() / expected.norm() == pytest.approx(1, abs=0.05)


def kept_for_backward(function: Callable, *args) -> int:
    """How many tensors autograd puts aside."""
    kept: list[torch.Size] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        function(*args)
    return len(kept)


def test_without_gradients_slopes_are_the_same_numbers_and_no_graph_is_built():
    critic, (real, fake) = grown_critic("map", width=2), pairs(2, 64)
    expected = penalty(critic, real, fake)
    with torch.no_grad():
        found = penalty(critic, real, fake)
        kept = kept_for_backward(penalty, critic, real, fake)
    assert expected.requires_grad
    assert not found.requires_grad
    assert torch.equal(found, expected)
    # What the slope itself takes, and nothing for a slope of gradient_norms.
    assert kept == kept_for_backward(critic, real.requires_grad_())
    assert kept < kept_for_backward(penalty, critic, real, fake)


# --- What is looked at ---

# In [-1, 1]: A is -0.4, B is 0.8.
TWO_GREYS = {"a": torch.full((2, 3, 3, 4), 0.3), "b": torch.full((2, 3, 3, 4), 0.9)}


def monitored(**options) -> dict[str, float]:
    method = of_stand_ins(**options)
    method.gen_ab, method.gen_ba = Shift(1.0), Scale(0.5)
    method.disc_a, method.disc_b = Mean(3.0), Mean(6.0)
    with torch.no_grad():
        values = method.monitor(TWO_GREYS)
    assert not any(value.requires_grad for value in values.values())
    return {name: round(float(value), 5) for name, value in values.items()}


def test_the_curves_show_the_gap_of_the_scores_and_the_way_back():
    assert monitored(gan_loss="vanilla") == {
        "reconstruction/a": 0.7,  # (-0.4 + 1) / 2 = 0.3 against -0.4
        "reconstruction/b": 0.6,  # 0.8 / 2 + 1 = 1.4 against 0.8
        "critic/gap_a": -2.4,  # 3 * (-0.4 - 0.8 / 2)
        "critic/gap_b": 1.2,  # 6 * (0.8 - (-0.4 + 1))
    }


def test_with_a_penalty_the_curves_show_the_slope():
    values = monitored(gan_loss="wgan-gp")
    # 36 numbers, each with a gradient of 3 / 36 or 6 / 36: sqrt(36) times as much
    assert (values["critic/slope_a"], values["critic/slope_b"]) == (0.5, 1)
    assert values["critic/gap_a"] == -2.4
    assert not {"critic/clipped_a", "critic/clipped_b"} & values.keys()


def test_with_clipping_the_curves_show_the_share_at_the_limit():
    values = monitored(gan_loss="wgan", clip=5.0)  # 3 is below, 6 above
    assert (values["critic/clipped_a"], values["critic/clipped_b"]) == (0, 1)
    assert not {"critic/slope_a", "critic/slope_b"} & values.keys()


@torch.no_grad()
def test_the_curves_are_of_as_many_images_as_a_step_of_the_critics():
    """Else batch norm, whose moments are of what comes together, would show other critics."""
    options = {"norm": "batch", "discriminator": "2017_scalar", "gan_loss": "wgan"}
    method = dualgan.Method(dualgan.Config(**TINY, **options, critic_steps=3))
    method.build_for_crop((32, 32))
    three = {side: torch.rand(3, 3, 32, 32) for side in ("a", "b")}
    first = {side: images[:1] for side, images in three.items()}
    assert method.monitor(three) == method.monitor(first)


# --- Translations ---


def noisy(**options) -> dualgan.Method:
    """April's generators at two channels, done with training, with something to drop."""
    torch.manual_seed(0)
    own = {key: value for key, value in preset("2017-wgan").items() if key not in options}
    return grown(dualgan.Method(dualgan.Config(**TINY, **own, **options))).float().eval()


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
@pytest.mark.parametrize(
    "options", [{}, {"norm": "instance"}, {"dropout": 0.0}], ids=["both", "dropout", "batch norm"]
)
@torch.no_grad()
def test_an_image_is_translated_as_if_it_came_alone(options, direction):
    method = noisy(direction=direction, **options)
    images = torch.rand(3, 3, 64, 64)
    together = method.translate(images)
    for index, image in enumerate(images.split(1)):
        torch.rand(3)  # the seed counts, not what has been drawn since
        assert torch.equal(method.translate(image), together[index : index + 1])
    assert together.shape == images.shape
    assert 0 <= together.min() < together.max() <= 1


@torch.no_grad()
def test_each_image_has_the_same_noise():
    method = noisy(norm="instance")
    image = torch.rand(1, 3, 64, 64)
    first, second = method.translate(image.repeat(2, 1, 1, 1))
    assert torch.equal(first, second)


@pytest.mark.parametrize(("dropout", "same"), [(0.5, False), (0.0, True)])
@torch.no_grad()
def test_another_seed_gives_another_translation_if_there_is_noise(dropout, same):
    method, image = noisy(dropout=dropout), torch.rand(1, 3, 64, 64)
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append(method.translate(image))
    assert torch.equal(*found) == same


@torch.no_grad()
def test_translate_draws_nothing_from_the_random_state_of_others():
    method, images = noisy(), torch.rand(2, 3, 64, 64)
    before = torch.get_rng_state()
    method.translate(images)
    assert torch.equal(torch.get_rng_state(), before)


# --- What is refused, and what depends on the images ---


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("width_generator", 0),
        ("width_discriminator", 0),
        ("critic_steps", 0),
        ("generator_steps", 0),
        ("lambda_a", -1.0),
        ("lambda_b", -1.0),
        ("lambda_penalty", -1.0),
        ("unskipped", -1),
        ("unskipped", 8),
        ("learning_rate", 0.0),
        ("clip", 0.0),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("rmsprop_decay", 1.0),
        ("rmsprop_decay", -0.1),
    ],
)
def test_options_that_no_training_can_use_are_refused(option, value):
    with pytest.raises(ConfigError, match=f"^--{option} is {value}, but"):
        dualgan.Config(**{option: value})


@pytest.mark.parametrize(
    ("discriminator", "weights"),
    [
        ("2020_scalar", 16 * 3 * 5),  # five halvings of 66x130 pixels: 33, 17, 9, 5, 3 rows
        ("2017_scalar", 16 * 9 * 17),  # three
    ],
)
def test_scalar_critics_are_built_for_the_crop_whatever_its_shape(discriminator, weights):
    method = dualgan.Method(dualgan.Config(**TINY, discriminator=discriminator, channels_b=1))
    method.build_for_crop((66, 130))
    for critic, channels in ((method.disc_a, 3), (method.disc_b, 1)):
        assert critic.last[1].weight.shape == (1, weights)
        assert critic(torch.rand(2, channels, 66, 130)).shape == (2, 1)


@pytest.mark.parametrize("discriminator", ["2020_scalar", "2017_scalar"])
def test_scalar_critics_refuse_images_of_many_sizes(discriminator):
    method = dualgan.Method(dualgan.Config(**TINY, discriminator=discriminator))
    with pytest.raises(ConfigError, match=f"^--discriminator is {discriminator}, .*--preprocess"):
        method.build_for_crop(None)


@pytest.mark.parametrize("crop", [None, (64, 96)])
@pytest.mark.parametrize("discriminator", ["2020_map", "2017_map"])
def test_critics_of_patches_take_images_of_many_sizes(discriminator, crop):
    method = dualgan.Method(dualgan.Config(**TINY, discriminator=discriminator))
    critics = method.disc_a, method.disc_b
    method.build_for_crop(crop)
    assert (method.disc_a, method.disc_b) == critics
    for size in ((64, 64), (96, 72)):
        assert method.disc_a(torch.rand(1, 3, *size)).dim() == 4


@pytest.mark.parametrize("discriminator", ["2020_scalar", "2020_map", "2017_scalar", "2017_map"])
@torch.no_grad()
def test_critics_still_see_something_in_the_smallest_images(discriminator):
    method = dualgan.Method(dualgan.Config(**TINY, discriminator=discriminator))
    for side, alike in ((method.smallest, False), (method.smallest // 2, True)):
        method.build_for_crop((side, side))
        first, second = method.disc_a(torch.rand(2, 3, side, side))
        assert torch.equal(first, second) == alike


# --- Grey images ---


def unequal(module, **options):
    """A method for grey A and coloured B, at its smallest."""
    torch.manual_seed(0)
    return module.Method(module.Config(**TINY, channels_a=1, channels_b=3, **options))


GREY = {
    "dualgan": (dualgan, {}),
    "dualgan, 2017": (dualgan, preset("2017-classic")),
    "cyclegan": (cyclegan, {"generator": "resnet_6", "lambda_identity": 0.0}),
}
every_grey = pytest.mark.parametrize(("module", "options"), GREY.values(), ids=GREY)


@every_grey
def test_networks_for_grey_and_coloured_images_train(module, options):
    method = unequal(module, **options)
    method.build_for_crop((64, 64))
    before = {key: weight.detach().clone() for key, weight in method.named_parameters()}
    turns = list(played(method, photos(2, 64)))
    assert all(value.isfinite() for _, terms in turns for value in terms.values())
    for net in ("gen_ab", "gen_ba", "disc_a", "disc_b"):
        weights = dict(getattr(method, net).named_parameters(prefix=net))
        assert any(not torch.equal(weight, before[key]) for key, weight in weights.items())


@every_grey
@torch.no_grad()
def test_translations_are_rgb_and_grey_where_the_target_is(module, options):
    images = torch.rand(2, 3, 64, 64)
    red, green, blue = unequal(module, direction="b2a", **options).translate(images).unbind(1)
    assert torch.equal(red, green)
    assert torch.equal(red, blue)
    coloured = unequal(module, direction="a2b", **options).translate(images)
    assert coloured.shape == images.shape
    red, green, _ = coloured.unbind(1)
    assert not torch.equal(red, green)


@every_grey
@torch.no_grad()
def test_previews_of_grey_and_coloured_images_are_rgb(module, options):
    for columns in unequal(module, **options).preview(photos(2, 64)).values():
        assert {tuple(images.shape) for images in columns.values()} == {(2, 3, 64, 64)}


@pytest.mark.parametrize("module", [dualgan, cyclegan])
@torch.no_grad()
def test_grey_networks_are_given_the_luma(module):
    options = {"lambda_identity": 0.0} if module is cyclegan else {}
    method = unequal(module, direction="a2b", **options)
    method.gen_ab = nn.Identity()
    primaries = torch.eye(3).view(3, 3, 1, 1).expand(-1, -1, 2, 2)  # red, green, blue
    found = method.translate(primaries)
    expected = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    torch.testing.assert_close(found, expected)


def test_an_identity_between_grey_and_coloured_images_is_refused():
    with pytest.raises(ConfigError, match=r"^--channels_a is 1, --channels_b is 3.*identity 0$"):
        cyclegan.Config(channels_a=1)
    assert cyclegan.Config(channels_a=1, channels_b=1).lambda_identity > 0
