"""Quick: its mathematics against an independent transcription, and what its options do."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F

from gan_style import tiling, weights
from gan_style.data.images import list_images, load_image, save_png, to_array
from gan_style.errors import ConfigError
from gan_style.method import Batch
from gan_style.methods import quick
from gan_style.nn.decoders import Painter, adain_decoder
from gan_style.nn.discriminators import FeatureDiscriminator
from gan_style.nn.vgg import VGG

SMALL = {"vgg": "random", "blocks": 1, "width_discriminator": 4, "judge_scales": 2}
TRAIN = {"method": "quick", "size": 32, "load_size": 32, "threads": 1, "workers": 1} | SMALL


def make(**options) -> quick.Method:
    torch.manual_seed(0)
    return quick.Method(quick.Config(**SMALL | options))


def moved(net: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """With nothing left at 0."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for each in net.parameters():
            size = 0.1 if each.dim() == 1 else each[0].numel() ** -0.5
            each.copy_(size * torch.randn(each.shape, generator=random, dtype=torch.float64))
    return net


def images(side: int = 32, count: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


# The mathematics


class Transcribed:
    """A step from raw weights, by the formulas of the recipe alone."""

    def __init__(self, method: quick.Method) -> None:
        self.nets = {
            name: dict(getattr(method, name).named_parameters())
            | dict(getattr(method, name).named_buffers())
            for names in method.players.values()
            for name in names
        }
        self.vgg = [(m.weight, m.bias) for m in method.vgg.net if hasattr(m, "weight")]

    def encode(self, x):
        mean = torch.tensor([0.485, 0.456, 0.406], dtype=x.dtype).view(3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225], dtype=x.dtype).view(3, 1, 1)
        y, found = (x - mean) / std, {}
        names = ["1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "3_4", "4_1"]
        for name, (weight, bias) in zip(names, self.vgg, strict=True):
            if name in ("2_1", "3_1", "4_1"):
                y = F.max_pool2d(y, 2)
            y = F.relu(F.conv2d(y, weight, bias, padding=1))
            found[f"relu{name}"] = y
        return found

    def paint(self, net, x):
        w, f = self.nets[net], self.encode(x)

        def conv(y, name, mirrored=True):
            y = F.pad(y, (1,) * 4, mode="reflect") if mirrored else y
            return F.conv2d(y, w[f"{name}.weight"], w[f"{name}.bias"])

        y = f["relu4_1"]
        inner = F.relu(conv(F.relu(conv(y, "blocks.0.0", False)), "blocks.0.3"))
        y = y + conv(inner, "blocks.0.5", False)
        for number in (1, 5, 8, 11, 14, 18, 21, 25):
            y = F.relu(conv(y, f"decoder.{number}"))
            skip = {1: "relu3_1", 14: "relu2_1", 21: "relu1_1"}.get(number)
            if skip:
                y = y.repeat_interleave(2, -1).repeat_interleave(2, -2)
                y = y + conv(f[skip], f"skips.{skip}", False)
        return conv(y, "decoder.28")

    def measure(self, looks):
        """The ways of Olkin and Pukelsheim at every layer, by way of NumPy."""
        self.ways = {"a": {}, "b": {}}
        for layer in ("relu2_1", "relu3_1", "relu4_1"):
            found = {}
            for side in "ab":
                maps = [self.encode(look[side].double())[layer][0].flatten(1) for look in looks]
                points = torch.cat(maps, 1).detach().numpy()
                found[side] = points.mean(1), np.cov(points, bias=True)
            for source, target in ("ab", "ba"):
                (m1, s1), (m2, s2) = found[source], found[target]
                variance = np.trace(s2) / len(s2) + 0.001
                ridge = 0.01 * variance * np.eye(len(s2))
                # M = (S2 S1)^1/2 S1^-1, of a product that isn't symmetric.
                values, vectors = np.linalg.eig((s2 + ridge) @ (s1 + ridge))
                root = ((vectors * np.sqrt(values)) @ np.linalg.inv(vectors)).real
                matrix = root @ np.linalg.inv(s1 + ridge)
                way = matrix, m2 - matrix @ m1, variance
                self.ways[source][layer] = [torch.as_tensor(part) for part in way]

    def missed(self, made, content, way):
        matrix, offset, variance = way
        wanted = torch.einsum("ij,njhw->nihw", matrix, content) + offset.view(-1, 1, 1)
        return ((made - wanted) ** 2).mean() / variance

    def judge(self, net, x):
        """Scores of every head; u and v stand still, as the judge is in eval mode."""
        w, scores = self.nets[net], []
        for scale in range(2):
            f = self.encode(x)
            for layer in ("relu2_1", "relu3_1", "relu4_1"):
                y = f[layer]
                for number, padding in ((0, 0), (2, 1), (4, 1)):
                    key = f"heads.{scale}.{layer}.{number}"
                    weight = w[f"{key}.parametrizations.weight.original"]
                    u, v = (w[f"{key}.parametrizations.weight.0._{n}"] for n in "uv")
                    sigma = u @ weight.flatten(1) @ v
                    y = F.conv2d(y, weight / sigma, w[f"{key}.bias"], padding=padding)
                    y = y if number == 4 else torch.where(y > 0, y, 0.2 * y)
                scores.append(y)
            x = F.avg_pool2d(x, 2)
        return scores


def shifter(side=32):
    top, left = (int(torch.randint(2 * (side // 8) + 1, ())) for _ in range(2))

    def shift(x):
        p = side // 8
        x = torch.cat([x[..., 1 : p + 1].flip(-1), x, x[..., -p - 1 : -1].flip(-1)], -1)
        x = torch.cat([x[..., 1 : p + 1, :].flip(-2), x, x[..., -p - 1 : -1, :].flip(-2)], -2)
        return x[..., top : top + side, left : left + side]

    return shift


@pytest.mark.parametrize("sides", ["one", "two"])
def test_a_step_is_that_of_the_recipe(sides):
    weights = {"lambda_adversarial": 0.7, "lambda_content": 1.3, "lambda_cycle": 2.5}
    method = make(sides=sides, direction="b2a", **weights).double()
    method.vgg.double()
    for name in method.averaged:
        moved(getattr(method, name))
    for name in method.players["discriminator"]:
        getattr(method, name).eval()
    a, b = images(seed=1).double(), images(seed=2).double()
    looks = [Batch(a=images(48, 1, 10 + n), b=images(40, 1, 20 + n) ** 2) for n in range(3)]
    method.look(({side: x.double() for side, x in look.items()} for look in looks), fresh=False)
    torch.manual_seed(5)
    turns = dict(method.losses(Batch(a=a, b=b)))

    t = Transcribed(method)
    t.measure(looks)
    torch.manual_seed(5)
    expected, fakes = {"generator": {}, "discriminator": {}}, {}
    ways = [("a", "b"), ("b", "a")] if sides == "two" else [("b", "a")]
    sides_of = {"a": a, "b": b}
    for source, target in ways:
        x, shift = sides_of[source], shifter()
        fake = t.paint(f"gen_{source}{target}", x)
        fakes[target] = shift(fake)
        scores = t.judge(f"disc_{target}", shift(fake))
        ours = expected["generator"]
        ours[f"adversarial_{target}"] = 0.7 * sum(-s.mean() for s in scores)
        codes = [t.encode(shift(y)) for y in (fake, x)]
        ours[f"content_{source}"] = 1.3 * sum(
            t.missed(*(code[layer] for code in codes), t.ways[source][layer])
            for layer in ("relu2_1", "relu3_1", "relu4_1")
        )
        if sides == "two":
            again = t.paint(f"gen_{target}{source}", fake)
            ours[f"cycle_{source}"] = 2.5 * (again - x).abs().mean()
    for _, target in ways:
        real = t.judge(f"disc_{target}", shifter()(sides_of[target]))
        made = t.judge(f"disc_{target}", fakes[target])
        ours = expected["discriminator"]
        ours[f"real_{target}"] = 0.5 * sum((1 - s).clamp(min=0).mean() for s in real)
        ours[f"fake_{target}"] = 0.5 * sum((1 + s).clamp(min=0).mean() for s in made)
    assert turns.keys() == expected.keys()
    for player, terms in expected.items():
        assert turns[player].keys() == terms.keys()
        nets = [getattr(method, name) for name in method.players[player]]
        moving = [p for net in nets for p in net.parameters()]
        for found, wanted in ((turns[player][key], terms[key]) for key in terms):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
        both = [
            torch.autograd.grad(sum(loss.values()), moving, retain_graph=True)
            for loss in (turns[player], terms)
        ]
        for found, wanted in zip(*both, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-10)


def test_content_is_free_in_what_tells_the_collections_apart():
    torch.manual_seed(0)
    mine, theirs = quick.Moments(), quick.Moments()
    mixed = torch.randn(6, 6, dtype=torch.float64)
    tint = torch.tensor([1.0, -2.0, 0.5, 0, 3, 0], dtype=torch.float64).view(1, 6, 1, 1)
    for _ in range(3):
        features = torch.randn(2, 6, 7, 5, dtype=torch.float64)
        mine.add(features)
        theirs.add(features + tint)
    way = quick.way_between(mine, theirs)
    content = torch.randn(1, 6, 3, 4, dtype=torch.float64)
    # Collections that differ in a tint alone: all but the tint has to stay.
    torch.testing.assert_close(way(content), content + tint)
    assert quick.content_loss(content + tint, content, way) < 1e-20
    missed = quick.content_loss(content, content, way)
    torch.testing.assert_close(missed, tint.square().mean() / (mine.values[1].trace() / 6 + 1e-3))
    theirs = quick.Moments()
    theirs.add(torch.einsum("ij,njhw->nihw", mixed, torch.randn(2, 6, 90, 9, dtype=torch.float64)))
    there, back = quick.way_between(mine, theirs), quick.way_between(theirs, mine)
    # Not quite its inverse, as the ridges of the two differ.
    torch.testing.assert_close(back(there(content)), content, atol=0.3, rtol=0)


@pytest.mark.parametrize("side", ["a", "b"])
def test_a_plain_collection_has_a_way_too(side):
    plain, other = quick.Moments(), quick.Moments()
    plain.add(torch.full((1, 4, 8, 8), 0.5))
    other.add(torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)))
    ends = (plain, other) if side == "a" else (other, plain)
    way = quick.way_between(*ends)
    assert all(part.isfinite().all() for part in vars(way).values())
    nothing = torch.zeros(1, 4, 2, 2, dtype=torch.float64)
    assert quick.content_loss(nothing, nothing, way).isfinite()


def test_a_shift_moves_all_that_it_is_given_alike():
    torch.manual_seed(3)
    x = images(16)
    shift = quick._shift(x)
    assert torch.equal(shift(x) + shift(2 * x), shift(3 * x))


def test_shifts_reach_an_eighth_each_way():
    rows = torch.arange(32.0).view(1, 1, 32, 1).expand(1, 1, 32, 32)
    tops = {float(quick._shift(rows)(rows)[0, 0, 10, 0]) for _ in range(300)}
    assert tops == {10.0 + n for n in range(-4, 5)}


def test_the_discriminator_has_a_slope_of_one_at_most_in_every_layer():
    torch.manual_seed(0)
    judge = FeatureDiscriminator(["relu2_1"], scales=1, width=8)
    features = {"relu2_1": torch.randn(1, 128, 8, 8)}
    for _ in range(30):  # the power iteration goes on with every look
        judge([features])
    for layer in list(judge.heads[0]["relu2_1"])[::2]:
        assert torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2) == pytest.approx(
            1, abs=0.02
        )


# The start, and strength


@pytest.fixture
def published(monkeypatch):
    """A decoder in the place of AdaIN's."""
    torch.manual_seed(7)
    state = moved(adain_decoder().double(), seed=7).float().state_dict()
    monkeypatch.setattr(weights, "load", lambda name: {"adain": state}[name])
    monkeypatch.setattr(quick, "VGG", lambda layers, depth, _: VGG(layers, depth, "random"))
    return state


def test_training_begins_with_the_published_decoder(published):
    method = make(vgg="normalised")
    method.begin()
    content = images()
    with torch.no_grad():
        code = method.vgg(content, ["relu4_1"])["relu4_1"]
        decoder = adain_decoder()
        decoder.load_state_dict(published)
        expected = decoder(code).clamp(0, 1)
        for way in ("a2b", "b2a"):
            assert torch.equal(method.translate_in(way, content), expected)


def codes(method: quick.Method, batches: list[Batch], side: str) -> torch.Tensor:
    """(512, positions) of all images of a side."""
    found = [method.vgg(batch[side], ["relu4_1"])["relu4_1"][0].flatten(1) for batch in batches]
    return torch.cat(found, 1).double()


@pytest.mark.parametrize("sides", ["one", "two"])
def test_generators_begin_with_the_targets_distribution_of_codes(published, sides):
    method = make(vgg="normalised", sides=sides, direction="b2a")
    method.begin()
    before = {name: copy.deepcopy(getattr(method, name)) for name in method.averaged}
    batches = [Batch(a=images(64, 1, n), b=images(72, 1, 10 + n) ** 2) for n in range(6)]
    method.look(iter(batches), fresh=True)
    content = images(48)
    for way, (source, target) in {"a2b": "ab", "b2a": "ba"}.items():
        if way not in method.directions:
            continue
        x, y = (codes(method, batches, side) for side in (source, target))
        variance = torch.cov(y, correction=0).trace() / 512 + 0.001
        ridge = 0.01 * variance * torch.eye(512)
        s1, s2 = (torch.cov(z, correction=0) + ridge for z in (x, y))
        values, vectors = np.linalg.eig((s1 @ s2).numpy())
        root = torch.from_numpy((vectors * np.sqrt(values) @ np.linalg.inv(vectors)).real)
        matrix = torch.linalg.solve(s1, root)
        features = method.vgg(content)
        code = features["relu4_1"].double()
        code = code - x.mean(1).view(-1, 1, 1)
        code = torch.einsum("ij,njhw->nihw", matrix, code) + y.mean(1).view(-1, 1, 1)
        name = method.directions[way]
        with torch.no_grad():
            expected = before[name](features | {"relu4_1": code.float()})
            found = getattr(method, name)(features)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
        assert (found - before[name](features)).abs().max() > 0.05


def test_blocks_and_skips_are_of_the_code_as_it_was():
    painter = moved(Painter(2).double())
    torch.manual_seed(0)
    shapes = {"relu4_1": (512, 5, 6), "relu3_1": (256, 10, 12), "relu2_1": (128, 20, 24)}
    shapes |= {"relu1_1": (64, 40, 48)}
    features = {name: torch.rand(2, *shape, dtype=torch.float64) for name, shape in shapes.items()}
    matrix = torch.randn(512, 512, dtype=torch.float64) / 20
    offset = torch.randn(512, dtype=torch.float64)
    seen = []
    painter.decoder[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    with torch.no_grad():
        painter(features)
        expected = torch.einsum("ij,njhw->nihw", matrix, seen[0]) + offset.view(-1, 1, 1)
        expected = F.conv2d(
            F.pad(expected, (1,) * 4, mode="reflect"),
            painter.decoder[1].weight, painter.decoder[1].bias,
        )  # fmt: skip
        painter.transport(matrix, offset)
        painter.decoder[1].register_forward_hook(lambda *found: seen.append(found[2]))
        painter(features)
    torch.testing.assert_close(seen[2], expected)


def test_a_new_run_begins_so_and_one_of_anothers_weights_does_not(
    published, train_alone, toy, refusal
):
    options = TRAIN | {"vgg": "normalised", "domain": toy, "images": 1, "learning_rate": 1e-9}
    options |= {"sides": "one", "direction": "b2a", "measured_crops": 3}
    train_alone(**options, run_dir="new")
    state = load_file("new/gen_ba.safetensors")
    moved = {"1.weight", "1.bias"}  # where the code's transport has gone to
    for key, value in published.items():
        assert torch.allclose(state[f"decoder.{key}"], value, atol=1e-6) == (key not in moved)
    for again in ({"run_dir": "new", "resume": "auto"}, {"start_from": "new", "run_dir": "other"}):
        train_alone(**again, images=2)
        there = load_file(Path(again["run_dir"], "gen_ba.safetensors"))
        for key, value in state.items():
            torch.testing.assert_close(there[key], value, atol=1e-6, rtol=0)
    line = refusal(train_alone, start_from="new", direction="a2b", images=1)
    assert "new has only disc_a.safetensors, gen_ba.ema.safetensors, gen_ba.safetensors" in line
    line = refusal(train_alone, **options, alpha=0.5)
    assert line == "train.py: --alpha is 0.5, but it is of translate: leave it out"


def test_strength_goes_from_the_start_through_what_was_learned(published):
    def made(alpha: float) -> torch.Tensor:
        method = quick.Method(quick.Config(**SMALL | {"vgg": "normalised", "alpha": alpha}))
        method.gen_ab = learned.gen_ab
        with torch.no_grad():
            return method.translate(content)

    learned = make(vgg="normalised")
    learned.begin()
    content = images()
    with torch.no_grad():
        start = learned.translate(content)
        for skip in learned.gen_ab.skips.values():
            skip.bias.fill_(0.003)
        end = learned.translate(content)
    assert (end - start).abs().max() > 1e-3
    inside = (start > 0.05) & (start < 0.95) & (end > 0.05) & (end < 0.95)  # nothing is cut there
    assert inside.float().mean() > 0.1
    for alpha in (0.0, 0.4, 1.0, 1.3):
        expected = start + alpha * (end - start)
        torch.testing.assert_close(made(alpha)[inside], expected[inside], atol=1e-5, rtol=0)


@pytest.mark.parametrize("rows", [1, 9, 1000])
def test_a_large_image_is_painted_in_strips_as_it_is_whole(rows, monkeypatch):
    painter = moved(Painter(2).double()).requires_grad_(False)
    vgg = VGG(Painter.LAYERS, 19, "random").double()
    content = torch.rand(2, 3, 72, 40, dtype=torch.float64)
    with torch.no_grad():
        whole = painter(vgg(content))
        for name, value in {"WHOLE": 0, "STRIP": rows * 40, "BLOCK": 1000}.items():
            monkeypatch.setattr(tiling, name, value)
        torch.testing.assert_close(tiling.painted(vgg, painter, content), whole)


# Options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"judge_layers": "relu2_1,relu9_1"}, "--judge_layers names 'relu9_1'"),
        ({"alpha": 3.0}, "--alpha is 3.0, but must be in"),
        ({"judge_scales": 0}, "--judge_scales is 0"),
        ({"judge_scales": 5}, "--judge_scales is 5"),
        ({"judge_layers": "relu2_1, relu2_1"}, "names a layer twice"),
        ({"measured_crops": 0}, "--measured_crops is 0"),
        ({"blocks": 17}, "--blocks is 17"),
        ({"lambda_content": -1.0}, "--lambda_content is -1.0"),
        ({"learning_rate": 0.0}, "--learning_rate is 0.0, but must be above 0"),
        ({"discriminator_rate": 0.0}, "--discriminator_rate is 0.0, but must be above 0"),
    ],
)
def test_what_no_training_can_use_is_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        quick.Config(**options)


def test_the_discriminators_learn_faster():
    method = make(learning_rate=1e-4, discriminator_rate=3.0)
    for player, rate in {"generator": 1e-4, "discriminator": 3e-4}.items():
        nets = [getattr(method, name) for name in method.players[player]]
        optimizer = method.optimizer(player, [p for net in nets for p in net.parameters()])
        assert [group["lr"] for group in optimizer.param_groups] == [pytest.approx(rate)]


def test_one_sided_there_is_one_way():
    for way, nets in {"a2b": ("gen_ab", "disc_b"), "b2a": ("gen_ba", "disc_a")}.items():
        method = make(sides="one", direction=way)
        assert (*method.players["generator"], *method.players["discriminator"]) == nets
        assert method.directions == {way: nets[0]}
        assert {name.split(".")[0] for name in method.state_dict()} == set(nets)


def test_a_one_sided_run_goes_its_way_alone(train_alone, gan_style, toy, refusal):
    run = {"run_dir": "run", "domain": toy}
    train_alone(**TRAIN, **run, sides="one", direction="b2a", images=2)
    assert {path.name for path in Path("run").glob("*.safetensors")} == {
        "gen_ba.safetensors",
        "gen_ba.ema.safetensors",
        "disc_a.safetensors",
    }
    gan_style("translate", run="run", content=toy / "testB", out="made")
    assert len(list_images(Path("made"))) == 3
    gan_style("translate", run="run", content=toy / "testB", direction="b2a", out="same")
    line = refusal(gan_style, "translate", run="run", content=toy / "testA", direction="a2b")
    assert "--direction is 'a2b', but run was trained for b2a alone" in line
    line = refusal(train_alone, run_dir="run", resume="auto", direction="a2b", images=4)
    assert "--direction is 'a2b', but run was trained for b2a alone" in line
    train_alone(run_dir="run", resume="auto", images=4)


def test_a_run_of_an_earlier_version_translates_and_is_begun_from(
    train_alone, gan_style, toy, refusal
):
    train_alone(**TRAIN, domain=toy, sides="one", run_dir="run", images=1)
    record = json.loads(Path("run/config.json").read_text())
    record["method"]["lambda_tone"] = 1.0
    del record["method"]["measured_crops"]
    Path("run/config.json").write_text(json.dumps(record))
    gan_style("translate", run="run", content=toy / "testA", out="made")
    assert len(list_images(Path("made"))) == 3
    line = refusal(train_alone, run_dir="run", resume="auto", images=2)
    advised = "begin a new run from its weights, with: --start_from run"
    assert line.startswith("train.py: run was trained with --lambda_tone, which quick has no more")
    assert line.endswith(advised)
    train_alone(start_from="run", run_dir="new", images=1)


@pytest.mark.slow
@pytest.mark.parametrize("sides", ["one", "two"])
def test_an_interrupted_run_goes_on_bit_for_bit(train_alone, toy, signal_in_step, sides):
    options = TRAIN | {"domain": toy, "sides": sides, "images": 4, "ema": 0.9}
    train_alone(**options, run_dir="whole")
    signal_in_step(quick, 2)
    with pytest.raises(SystemExit):
        train_alone(**options, run_dir="parts")
    train_alone(run_dir="parts", resume="auto")
    files = sorted(path.name for path in Path("whole").glob("*.safetensors"))
    assert files
    for name in files:
        one, other = (load_file(Path(run, name)) for run in ("whole", "parts"))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), name


def test_two_grey_dots_against_themselves_are_a_training_too(train_alone, gan_style):
    """Every pixel of a crop is alike; nothing becomes NaN, which would end the run."""
    for number in range(3):
        save_png(np.full((4, 5, 3), 90 * number, dtype=np.uint8), Path("dots", f"{number}.png"))
    out = train_alone(**TRAIN, data_a="dots", data_b="dots", run_dir="run", images=3)
    assert "2 images of a collection are few" in out  # one is for testing
    gan_style("translate", run="run", content="dots", direction="a2b", out="made")
    assert {load_image(path).size for path in list_images(Path("made"))} == {(5, 4)}


def test_the_first_preset_crops_images_scaled_by_their_shorter_side():
    from gan_style import command

    options = command.with_preset({"method": "quick", "minutes": "3"}, "")
    assert options["preprocess"] == "scale_shorter_and_crop"
    assert "images" not in options  # a typed budget replaces the preset's


def test_contents_far_from_the_scale_of_training_are_said(train_alone, gan_style, toy):
    train_alone(**TRAIN, domain=toy, run_dir="run", sides="one", images=1)
    cases = [
        ((32, 60), 0, ""),
        ((50, 90), 0, ""),
        ((64, 96), 0, "strokes come out fine; --side 48 has them as in training"),
        ((64, 96), 50, ""),
        ((16, 64), 0, "enlarge the contents for finer ones"),
        ((64, 96), 24, "strokes come out large; --side 48 has them as in training"),
    ]
    for number, (size, side, said) in enumerate(cases):
        Image.new("RGB", size).save("photo.png")
        out = gan_style("translate", run="run", content="photo.png", side=side, out=f"{number}.png")
        assert said in out
        assert ("strokes" in out) == bool(said)


@pytest.mark.slow
def test_a_net_of_the_zoo_is_small_and_its_folder_stays_as_it_is(
    train_alone, gan_style, toy, monkeypatch, refusal
):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "experiments")
    import publish

    train_alone(**TRAIN, domain=toy, run_dir="run", direction="b2a", images=2, ema=0.5)
    publish.publish("run", "results/zoo/toy2toy", weights="ema")
    folder = Path("results/zoo/toy2toy")
    files = {path.name for path in folder.iterdir()}
    assert files == {"config.json", "gen_ba.safetensors"}
    whole = Path("run/gen_ba.ema.safetensors").stat().st_size
    assert Path(folder, "gen_ba.safetensors").stat().st_size < 0.51 * whole
    gan_style("translate", run=folder, content=toy / "testB")
    gan_style("translate", run="run", weights="ema", content=toy / "testB", out="whole")
    assert {path.name for path in folder.iterdir()} == files
    record = json.loads(Path(folder, "config.json").read_text())
    assert str(toy) not in json.dumps(record)
    line = refusal(gan_style, "translate", run=folder, content=toy / "testA", direction="a2b")
    assert "was trained for b2a alone" in line
    for path in list_images(Path("whole")):
        made = Path("results/translated/toy2toy/testB") / path.name
        one, other = (to_array(load_image(each)).astype(int) for each in (path, made))
        assert abs(one - other).max() <= 1
