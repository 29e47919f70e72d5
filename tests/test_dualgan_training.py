"""DualGAN under train.py, small: its presets, and what several turns a step ask of the loop."""

import json
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from test_training import events, same, weights
from torch import nn

from gan_style import checkpoint
from gan_style.data.images import load_image, to_array
from gan_style.data.stream import Domain
from gan_style.method import Batch, TrainedMethod
from gan_style.methods import dualgan as method
from gan_style.training.step import Players

# 64 pixels are what the critics of 2020 need, but all that dropout meets there is 0, made so by the
# norm of a single pixel.
SMALL = {"size": 64, "width_generator": 2, "width_discriminator": 2, "workers": 1, "threads": 1}
NOISY = {"size": 128}
A_STEP = {"2020-gp": 1, "2017-wgan": 3, "2017-classic": 1}  # images
BOTH = ("a", "b")

every_preset = pytest.mark.parametrize("preset", A_STEP)


@pytest.fixture
def dualgan(train_alone, toy):
    """`train.py --method dualgan` with a preset at its smallest, on the toy domain."""

    def run(preset, **options):
        own = {"method": "dualgan", "preset": preset, "domain": toy}
        return train_alone(**SMALL | own | options)

    return run


def record(run):
    return json.loads((Path(run) / "config.json").read_text())


# Every preset


@pytest.mark.parametrize(
    ("preset", "options"),
    [
        ("2020-gp", {}),
        ("2017-wgan", NOISY | {"generator_batch": "last"}),
        ("2017-wgan", {"dropout": 0.0}),  # its draws among the critics' images are left
        ("2017-classic", NOISY),
    ],
    ids=["points of the penalty", "dropout", "draws", "dropout of classic"],
)
@pytest.mark.slow
def test_an_interrupted_run_goes_on_bit_for_bit(dualgan, preset, options, signal_in_step):
    step = A_STEP[preset]
    options = options | {"images": 5 * step, "ema": 0.9, "sample_every": 0}
    dualgan(preset, run_dir="whole", **options)
    signal_in_step(method, 3)
    with pytest.raises(SystemExit):
        dualgan(preset, run_dir="parts", **options)
    assert not same(weights("whole"), weights("parts"))
    said = dualgan(preset, run_dir="parts", resume="auto", **options)
    assert f"going on after {3 * step} images" in said
    assert same(weights("whole"), weights("parts"))


@pytest.mark.slow
def test_looking_more_often_does_not_change_a_run(dualgan):
    # A look at the samples sets the seed of the dropout.
    options = NOISY | {"images": 4}
    dualgan("2017-classic", log_every=1, sample_every=1, run_dir="often", **options)
    dualgan("2017-classic", log_every=4, sample_every=0, run_dir="never", **options)
    assert same(weights("often"), weights("never"))


@every_preset
@pytest.mark.slow
def test_every_term_and_what_says_whether_critics_teach_is_in_tensorboard(dualgan, preset):
    step = A_STEP[preset]
    said = dualgan(preset, images=2 * step + 1, log_every=1, sample_every=step, run_dir="run")
    assert f"finished after {3 * step} images" in said  # of a third step for a part of it
    assert [path.name for path in checkpoint.checkpoints(Path("run"))] == [f"{3 * step:09}"]
    seen = events("run")
    found = {tag for tag in seen.Tags()["scalars"] if tag.split("/")[0] not in ("speed", "memory")}
    names = ["discriminator/real", "discriminator/fake", "generator/cycle", "critic/gap"]
    names += ["reconstruction/"] + {
        "2020-gp": ["discriminator/penalty", "critic/slope"],
        "2017-wgan": ["critic/clipped"],
        "2017-classic": [],
    }[preset]
    sided = {f"{name}_{side}".replace("/_", "/") for name in names for side in BOTH}
    rates = {"learning_rate/discriminator", "learning_rate/generator"}
    assert found == sided | rates | {"generator/adversarial_ab", "generator/adversarial_ba"}
    for tag in sided:
        assert [event.step for event in seen.Scalars(tag)] == [step, 2 * step, 3 * step], tag
    for tag in rates:  # which stay
        assert [event.value for event in seen.Scalars(tag)] == pytest.approx([5e-5] * 3)
    for direction in ("a2b", "b2a"):
        steps = [event.step for event in seen.Images(f"samples/{direction}")]
        assert steps == [0, step, 2 * step, 3 * step]


# The options of train.sh


@pytest.mark.slow
def test_the_authors_options_are_those_of_the_domain(dualgan, toy, signal_in_step):
    toy.rename("day-night")
    signal_in_step(method, 1)
    with pytest.raises(SystemExit):
        dualgan("author", domain="day-night", run_dir="long")
    own = record("long")
    assert own["train"]["epochs"] == 1000
    assert (own["method"]["lambda_a"], own["method"]["lambda_b"]) == (1000, 1000)
    assert own["method"]["gan_loss"] == "wgan"
    assert "finished after 2 images" in dualgan(
        "author", domain="day-night", run_dir="long", resume="auto", images=2
    )
    assert record("long")["method"] == own["method"]

    dualgan("author", domain="day-night", run_dir="short", images=1)
    assert (record("short")["train"]["images"], record("short")["train"]["epochs"]) == (1, None)
    assert record("short")["method"] == own["method"]


def test_for_other_domains_the_authors_options_are_the_defaults(dualgan, signal_in_step):
    signal_in_step(method, 1)
    with pytest.raises(SystemExit):
        dualgan("author", run_dir="run")
    assert record("run")["train"]["epochs"] == 50
    config = method.Config(width_generator=2, width_discriminator=2)
    assert record("run")["method"] == asdict(config)
    assert (config.lambda_a, config.gan_loss) == (500, "wgan-gp")


# Sizes and channels of images


@pytest.mark.parametrize("preprocess", ["scale_width", "none"])
@pytest.mark.parametrize(
    ("preset", "options", "said"),
    [
        ("2020-gp", {}, "--discriminator is 2020_scalar, which needs images of one size"),
        ("2017-wgan", {"critic_steps": 1}, "--discriminator is 2017_scalar, which needs images"),
        ("2017-wgan", {"discriminator": "2017_map"}, "this method reads 3 together"),
        ("2017-classic", {"batch_size": 2}, "leaves images of different sizes: take 1"),
    ],
)
def test_what_needs_images_of_one_size_says_so(dualgan, refusal, preset, options, said, preprocess):
    assert said in refusal(dualgan, preset, preprocess=preprocess, run_dir="run", **options)
    assert not Path("run").exists()


@pytest.mark.slow
def test_critics_with_a_map_judge_images_of_different_sizes(dualgan, toy):
    Image.new("RGB", (50, 21)).save(toy / "trainA" / "wide.png")
    options = {"preprocess": "none", "gradient_accumulation_steps": 2, "images": 8}
    assert "finished after 8 images" in dualgan("2017-classic", **options)


@pytest.mark.slow
def test_wide_crops_train_and_translate(dualgan, gan_style, toy):
    dualgan("2020-gp", width=96, images=2, run_dir="run")
    # The last map of 64 x 96 pixels after five halvings, 2 x 3, of eight times two channels.
    for side in BOTH:
        judge = weights("run")[f"disc_{side}.safetensors"]
        assert judge["last.1.weight"].shape == (1, 8 * 2 * 2 * 3)
    gan_style("translate", run="run", content=toy / "testA", out="out")
    assert [load_image(path, "white").size for path in Path("out").glob("*.png")] == [(32, 32)] * 3
    assert "going on after 2 images" in dualgan(
        "2020-gp", width=96, images=3, run_dir="run", resume="auto"
    )


def test_cyclegan_trains_on_wide_crops_too(train, toy, monkeypatch):
    from gan_style.methods import cyclegan

    losses, shapes = cyclegan.Method.losses, set()

    def watched(self, batch):
        shapes.update(tuple(images.shape) for images in batch.values())
        yield from losses(self, batch)

    monkeypatch.setattr(cyclegan.Method, "losses", watched)
    assert "finished after 2 images" in train(domain=toy, size=64, width=96, images=2)
    assert shapes == {(1, 3, 64, 96)}


@pytest.mark.parametrize("name", ["2020-gp", "2017-wgan", "2017-classic", "cyclegan"])
@pytest.mark.slow
def test_grey_becomes_colour_and_colour_grey(dualgan, train, gan_style, toy, name):
    options = {"domain": toy, "channels_a": 1, "run_dir": "run", "sample_every": 1}
    if name == "cyclegan":
        train(**options, images=2, lambda_identity=0)
    else:
        dualgan(name, **options, images=2)
    for direction, content in (("a2b", "testA"), ("b2a", "testB")):
        gan_style("translate", run="run", direction=direction, content=toy / content, out=direction)
        paths = sorted(Path(direction).glob("*.png"))
        assert len(paths) == 3
        spread = [np.ptp(to_array(load_image(path, "white")), axis=-1).max() for path in paths]
        assert (max(spread) > 0) == (direction == "a2b")  # between red, green and blue


# Gathered batches


GATHERED = {
    "2020-gp": {},
    # Moments of one batch are not those of two, and each batch has its own noise and draws.
    "2017-wgan": {"norm": "instance", "dropout": 0.0, "generator_batch": "last"},
    "2017-classic": {"dropout": 0.0},
}


@every_preset
@pytest.mark.slow
def test_gathered_batches_of_one_make_the_step_of_a_batch_of_two(dualgan, preset, monkeypatch):
    # The penalty's points: in which order images get theirs depends on the batches.
    monkeypatch.setattr(torch, "rand", lambda *shape, **options: torch.full(shape, 0.3, **options))
    options = GATHERED[preset] | {"images": 2 * A_STEP[preset], "sample_every": 0, "ema": 0.0}
    options |= {"learning_rate": 1e-3}
    dualgan(preset, run_dir="batch", batch_size=2, **options)
    dualgan(preset, run_dir="gathered", gradient_accumulation_steps=2, **options)
    dualgan(preset, run_dir="single", **options)
    saved = "checkpoints/{:09}/state.safetensors".format(options["images"])
    steps = {
        run: checkpoint.load_state(Path(run) / saved)["progress"]["steps"]
        for run in ("batch", "gathered", "single")
    }
    assert steps == {"batch": 1, "gathered": 1, "single": 2}
    batch, gathered, single = weights("batch"), weights("gathered"), weights("single")
    # Of a bias before an instance norm the gradient is 0, and rounding alone moves it.
    for name, net in batch.items():
        keys = [key for key in net if key.endswith("weight")]
        near = [(net[key] - gathered[name][key]).abs().max() for key in keys]
        far = [(net[key] - single[name][key]).abs().max() for key in keys]
        assert max(near) < 1e-5 < 1e-4 < max(far), name


class Numbers:
    """A stream of numbers in place of images."""

    sides = ("b",)
    left_out = MappingProxyType({})
    domain = Domain(name="numbers", trainA=(), trainB=(), testA=(), testB=())

    def __len__(self):
        return 2

    def batches(self, start, batch_size, process, processes):
        for number in (-1.0, 5.0):
            yield Batch(b=torch.tensor([number]))

    def samples(self, count):
        return Batch(b=torch.zeros(count))


class ThreeTurns(TrainedMethod):
    """Moves its number towards those of the batches, three times a step."""

    players = {"net": ("net",)}  # noqa: RUF012
    averaged = inference_networks = ("net",)

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(1, 1, bias=False)
        self.net.weight.data.fill_(18.0)
        self.seen = []

    def optimizer(self, player, parameters):
        return torch.optim.SGD(parameters, lr=0.5)

    def losses(self, batch):
        for turn in range(3):
            self.seen.append((turn, float(batch["b"]), self.net.weight.item()))
            yield "net", {"far": 0.5 * (self.net(torch.ones(1)) - batch["b"]).square().sum()}


def test_batches_advance_together_turn_by_turn():
    method = ThreeTurns()
    players = Players(method, Accelerator(cpu=True))
    turns = players.step(list(Numbers().batches(0, 1, 0, 1)))
    # A turn's mean gradient is the weight less 2, the numbers' mean; half of it is gone each time.
    assert method.seen == [
        (0, -1, 18), (0, 5, 18), (1, -1, 10), (1, 5, 10), (2, -1, 6), (2, 5, 6)
    ]  # fmt: skip
    assert players.net("net").weight.item() == 4
    squares = [(weight - number) ** 2 for _, number, weight in method.seen]
    assert [2 * terms["far"].item() for _, terms in turns] == squares  # one batch's, not its share


class OutOfMemory(ThreeTurns):
    """Fails after a forward pass that has moved running means, and a random number."""

    def __init__(self):
        super().__init__()
        self.net = nn.BatchNorm1d(1)

    def losses(self, batch):
        self.net(torch.rand(4, 1))
        raise MemoryError
        yield


def test_a_step_that_fails_before_a_weight_moves_is_taken_back():
    players = Players(OutOfMemory(), Accelerator(cpu=True))
    before = torch.get_rng_state()
    with pytest.raises(MemoryError):
        players.step(list(Numbers().batches(0, 1, 0, 1))[:1])
    assert players.net("net").running_mean.item() > 0
    players.take_back()
    assert players.net("net").running_mean.item() == players.net("net").num_batches_tracked == 0
    assert torch.equal(torch.get_rng_state(), before)
    assert not players.moved
