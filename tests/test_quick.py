"""Quick: its mathematics against an independent transcription, and what its options do."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from gan_style import strips, weights
from gan_style.errors import ConfigError
from gan_style.images import list_images, load_image, save_png, to_array
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


def normed(f, epsilon=1e-5):
    mean = f.mean((2, 3), keepdim=True)
    variance = ((f - mean) ** 2).mean((2, 3), keepdim=True)
    return (f - mean) / (variance + epsilon).sqrt()


def blocks_of_eight(x):
    n, c, height, width = x.shape
    return x.reshape(n, c, height // 8, 8, width // 8, 8).mean((3, 5))


@pytest.mark.parametrize("sides", ["one", "two"])
def test_a_step_is_that_of_the_recipe(sides):
    weights = {"lambda_adversarial": 0.7, "lambda_content": 1.3, "lambda_cycle": 2.5}
    method = make(sides=sides, direction="b2a", lambda_tone=0.9, **weights).double()
    method.vgg.double()
    for name in method.averaged:
        moved(getattr(method, name))
    for name in method.players["discriminator"]:
        getattr(method, name).eval()
    a, b = images(seed=1).double(), images(seed=2).double()
    torch.manual_seed(5)
    turns = dict(method.losses(Batch(a=a, b=b)))

    t = Transcribed(method)
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
        codes = [normed(t.encode(shift(y))["relu4_1"]) for y in (fake, x)]
        ours[f"content_{source}"] = 1.3 * ((codes[0] - codes[1]) ** 2).mean()
        tones = [normed(blocks_of_eight(y.mean(1, keepdim=True)), 0.05**2) for y in (fake, x)]
        ours[f"tone_{source}"] = 0.9 * ((tones[0] - tones[1]) ** 2).mean()
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


def test_the_content_of_an_image_is_no_matter_of_contrast_and_brightness_of_its_features():
    code = torch.rand(2, 5, 6, 7) + 0.5
    scale, offset = torch.rand(2, 5, 1, 1) + 0.5, torch.randn(2, 5, 1, 1)
    assert quick.content_loss(scale * code + offset, code) < 1e-8
    assert quick.content_loss(code.flip(-1), code) > 1


def test_tones_are_free_in_brightness_and_hue_but_not_in_which_place_is_the_lighter():
    ramp = torch.linspace(0.2, 0.8, 64).expand(1, 3, 64, 64)
    tinted = ramp * torch.tensor([1.2, 0.5, 0.9]).view(1, 3, 1, 1) + 0.1
    assert quick.tone_loss(tinted, ramp) < 1e-3
    assert quick.tone_loss(1 - ramp, ramp) == pytest.approx(4, rel=0.1)  # each place at -1 times
    fine = torch.tensor([-0.1, 0.1]).repeat(32).expand(1, 3, 64, 64)  # a stroke is no tone
    assert quick.tone_loss(ramp + fine, ramp) < 1e-6
    torch.manual_seed(0)
    noise = 1e-3 * torch.randn(2, 1, 3, 64, 64)  # nor is the noise of a plain sky
    assert quick.tone_loss(0.5 + noise[0], 0.5 + noise[1]) < 1e-4


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


def test_a_new_run_begins_so_and_one_of_anothers_weights_does_not(
    published, train_alone, toy, refusal
):
    options = TRAIN | {"vgg": "normalised", "domain": toy, "images": 1, "learning_rate": 1e-9}
    train_alone(**options, run_dir="new", sides="one", direction="b2a")
    state = load_file("new/gen_ba.safetensors")
    for key, value in published.items():
        torch.testing.assert_close(state[f"decoder.{key}"], value, atol=1e-6, rtol=0)
    for key in published:
        state[f"decoder.{key}"] += 1
    save_file(state, "new/gen_ba.safetensors")
    train_alone(start_from="new", run_dir="other", images=1)
    other = load_file("other/gen_ba.safetensors")
    for key, value in published.items():
        torch.testing.assert_close(other[f"decoder.{key}"], value + 1, atol=1e-6, rtol=0)
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
            monkeypatch.setattr(strips, name, value)
        torch.testing.assert_close(strips.painted(vgg, painter, content), whole)


# Options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"judge_layers": "relu2_1,relu9_1"}, "--judge_layers names 'relu9_1'"),
        ({"alpha": 3.0}, "--alpha is 3.0, but must be in"),
        ({"judge_scales": 0}, "--judge_scales is 0"),
        ({"judge_scales": 5}, "--judge_scales is 5"),
        ({"judge_layers": "relu2_1, relu2_1"}, "names a layer twice"),
        ({"blocks": 17}, "--blocks is 17"),
        ({"lambda_tone": -1.0}, "--lambda_tone is -1.0"),
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
