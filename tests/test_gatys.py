import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gan_style import config, methods
from gan_style.data.images import load_image, to_array, to_tensor
from gan_style.devices import autocast
from gan_style.errors import ConfigError, TrainingError
from gan_style.maths import descent
from gan_style.methods import gatys
from gan_style.styles import Style

# Of ImageNet, that Caffe's networks subtract from 255 levels.
MEAN_COLOUR = torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1) / 255
TINY = {"vgg": "random", "first_scale": 0, "iterations": 8, "iterations_finer": 4}


def make(**options):
    return gatys.Method(gatys.Config(**TINY | options))


def picture(seed, height=40, width=36, dtype=torch.float32):
    """Soft blobs: neighbouring pixels are alike, as in photographs."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 5, 5, generator=random, dtype=torch.float64)
    fine = torch.rand(1, 3, height, width, generator=random, dtype=torch.float64)
    smooth = F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return (0.8 * smooth + 0.2 * fine).to(dtype)


def run(method, content, style, state=None):
    with torch.no_grad():
        return list(method.optimise(content, style, state))


def losses(steps):
    return [sum(step.terms.values()) for step in steps]


# The objective, by numpy and plain functions in float64


def reference_features(images, net, pooling):
    """Layer -> (C, M) after each ReLU of a VGG-19 that pads with zeros and pools down."""
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(1, 3, 1, 1)
    x, features = (images - mean) / std, {}
    for block, count in enumerate((2, 2, 4, 4, 1), start=1):
        for index in range(1, count + 1):
            conv = net.get_submodule(f"net.conv{block}_{index}")
            x = F.relu(F.conv2d(x, conv.weight, conv.bias, padding=1))
            features[f"relu{block}_{index}"] = x[0].flatten(1).numpy()
        x = {"average": F.avg_pool2d, "max": F.max_pool2d}[pooling](x, 2)
    return features


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_the_objective_is_the_papers(pooling):
    method = make(pooling=pooling, content_weight=0.7, style_weight=30.0)
    method.vgg.double()
    content, style, image = (picture(seed, dtype=torch.float64) for seed in (0, 1, 2))
    terms = method._objective(content, [Style(image=style)])(image)
    f, p, a = (reference_features(x, method.vgg, pooling) for x in (image, content, style))
    expected = 0.7 * 0.5 * ((f["relu4_2"] - p["relu4_2"]) ** 2).sum()
    np.testing.assert_allclose(float(terms["content"]), expected, rtol=1e-10)
    energy = 0.0
    for layer in ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"):
        n, m = f[layer].shape
        difference = f[layer] @ f[layer].T - a[layer] @ a[layer].T
        energy += 0.2 * (difference**2).sum() / (4 * n**2 * m**2)
    np.testing.assert_allclose(float(terms["style"]), 30.0 * energy, rtol=1e-10)
    assert set(terms) == {"content", "style"}


def test_the_style_is_scaled_to_the_contents_longer_side():
    method = make()
    wide = picture(1, height=36, width=72)
    shrunk = F.interpolate(wide, (32, 40), mode="bicubic", antialias=True).clamp(0, 1)
    content, image = picture(0), picture(2)
    one, other = (
        method._objective(content, [Style(image=style)])(image)["style"]
        for style in (wide, shrunk)  # 20 pixels are below VGG's 32
    )
    torch.testing.assert_close(one, other)


def test_total_variation_is_added_where_it_has_a_weight():
    content, image = picture(0, dtype=torch.float64), picture(2, dtype=torch.float64)
    dx = np.diff(image.numpy(), axis=3)
    dy = np.diff(image.numpy(), axis=2)
    expected = {
        "l2_sum": 0.5 * ((dx**2).sum() + (dy**2).sum()),
        "l1_sum": np.abs(dx).sum() + np.abs(dy).sum(),
        "l2_mean": 0.5 * ((dx**2).mean() + (dy**2).mean()),
        "l1_mean": 0.5 * (np.abs(dx).mean() + np.abs(dy).mean()),
    }
    for kind, value in expected.items():
        method = make(tv=kind, tv_weight=3.0)
        method.vgg.double()
        term = method._objective(content, [Style(image=content)])(image)["tv"]
        np.testing.assert_allclose(float(term), 3 * value, rtol=1e-10)


# Descending


def test_an_image_against_itself_has_no_loss_and_stays():
    image = picture(0)
    for optimizer in ("lbfgs", "adam"):
        steps = run(make(optimizer=optimizer), image, image)
        assert losses(steps) == [0.0]  # and there is nothing more to do
        assert torch.equal(steps[-1].image, image)


@pytest.mark.parametrize("style_loss", ["gram_paper", "mean_std", "wasserstein", "mmd_gaussian"])
@pytest.mark.slow
def test_the_loss_of_lbfgs_never_rises(style_loss):
    values = losses(run(make(iterations=6, style_loss=style_loss), picture(0), picture(1)))
    assert all(after <= before for before, after in pairwise(values))
    assert values[-1] < 0.9 * values[0]


def test_adam_lowers_the_loss_and_stays_in_range():
    steps = run(make(optimizer="adam", iterations=20), picture(0), picture(1))
    assert losses(steps)[-1] < 0.9 * losses(steps)[0]
    assert steps[-1].image.min() >= 0
    assert steps[-1].image.max() <= 1


@pytest.mark.slow
def test_more_style_weight_costs_content_and_gains_style():
    ends = []
    for ratio in (1e3, 5e3, 1e4, 5e4, 1e5):  # the sweep of Huang & Fuh's survey
        method = make(iterations=12, style_weight=ratio)
        terms = run(method, picture(0), picture(1))[-1].terms
        ends.append((terms["content"], terms["style"] / ratio))
    content, style = zip(*ends, strict=True)
    assert list(content) == sorted(content)
    assert list(style) == sorted(style, reverse=True)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_only_the_ratio_of_the_weights_matters(optimizer):
    one, other = (
        run(
            make(optimizer=optimizer, content_weight=scale, style_weight=1e3 * scale, iterations=5),
            picture(0),
            picture(1),
        )[-1].image
        for scale in (1.0, 2.0**-20)
    )
    torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_the_rate_of_adam_decays_every_50_iterations():
    method = make(optimizer="adam", learning_rate=0.01, learning_rate_decay=0.5, iterations=51)
    rates = [
        step.state["optimizer"]["param_groups"][0]["lr"]
        for step in run(method, picture(0, 32, 32), picture(1, 32, 32))
    ]
    assert rates == [0.01] * 50 + [0.005]


@pytest.mark.slow
def test_from_coarse_to_fine_the_size_doubles():
    method = make(first_scale=32, iterations=1, iterations_finer=1)
    sizes = [tuple(s.image.shape[-2:]) for s in run(method, picture(0, 100, 150), picture(1))]
    assert sizes == [(50, 75), (100, 150)]  # 25 rows are below VGG's 32
    assert method._scales(picture(0, 64, 128)) == [(32, 64), (64, 128)]
    assert make()._scales(picture(0, 100, 150)) == [(100, 150)]
    assert make(first_scale=512)._scales(picture(0, 100, 150)) == [(100, 150)]
    for side, scales in ((257, 1), (300, 1), (512, 2), (513, 2), (600, 2), (1024, 3)):
        assert len(make(first_scale=256)._scales(torch.zeros(1, 3, side, side))) == scales, side


def test_each_scale_starts_from_the_one_before():
    method = make(first_scale=40, iterations=2, iterations_finer=1, optimizer="adam")
    content = picture(0, 80, 72)
    coarse, coarse_end, fine = run(method, content, picture(1))
    upscaled = F.interpolate(coarse_end.image, (80, 72), mode="bicubic", antialias=True).clamp(0, 1)
    # One step of Adam moves every pixel by the learning rate, or not at all at the bounds.
    assert (fine.image - upscaled).abs().max() <= 0.02 + 1e-6
    assert coarse.done == 1
    assert fine.total == 3


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        ("content", picture(0)),
        ("style", picture(1)),
        ("noise", None),
        ("mean", MEAN_COLOUR.expand(1, 3, 40, 36)),
    ],
)
def test_the_image_starts_as_asked(init, expected):
    method = make(init=init, optimizer="adam", iterations=1, learning_rate=1e-6)
    torch.manual_seed(3)
    start = run(method, picture(0), picture(1))[0].image
    if expected is None:
        torch.manual_seed(3)
        expected = torch.rand(1, 3, 40, 36)
    torch.testing.assert_close(start, expected, atol=2e-6, rtol=0)


# Several styles, and where they go


def test_blended_styles_pull_as_the_average_of_their_grams():
    # sum w (G - A)^2 and (G - sum w A)^2 have one gradient, where the w add up to 1.
    method = make(content_weight=0.0, style_weight=1e3)
    method.vgg.double()
    content, image = (picture(seed, dtype=torch.float64) for seed in (0, 3))
    styles = [picture(seed, dtype=torch.float64) for seed in (1, 2)]
    image.requires_grad_()
    blend = [Style(image=style, weight=w) for style, w in zip(styles, (0.3, 0.7), strict=True)]
    (gradient,) = torch.autograd.grad(method._objective(content, blend)(image)["style"], image)

    def grams(x: Tensor) -> list[Tensor]:
        features = [method.vgg(x)[name][0].flatten(1) for name in method.config.layers]
        return [f @ f.T / (2 * f.numel()) for f in features]

    first, second = map(grams, styles)
    average = [0.3 * one + 0.7 * other for one, other in zip(first, second, strict=True)]
    now = grams(image)
    distance = sum(0.2 * ((g - a) ** 2).sum() for g, a in zip(now, average, strict=True))
    (expected,) = torch.autograd.grad(1e3 * distance, image)
    torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-12)


def test_a_style_pulls_only_where_its_mask_is():
    method = make(content_weight=0.0, style_layers="relu1_1", style_layer_weights="1")
    content, image = picture(0), picture(3).requires_grad_()
    left = torch.zeros(1, 1, 40, 36)
    left[..., :18] = 1
    objective = method._objective(content, [Style(image=picture(1), content_mask=left)])
    (gradient,) = torch.autograd.grad(objective(image)["style"], image)
    assert gradient[..., :18].abs().sum() > 0
    assert gradient[..., 19:].abs().sum() == 0  # one column further is a convolution's reach


def test_only_the_part_of_a_style_in_its_mask_counts():
    method = make(style_layers="relu1_1", style_layer_weights="1")
    style, other = picture(1, 40, 40), picture(1, 40, 40)
    other[..., 20:] = picture(5, 40, 20)
    left = torch.zeros(1, 1, 40, 40)
    left[..., :19] = 1
    one, same = (
        method._objective(picture(0), [Style(image=image, style_mask=left)])(picture(3))["style"]
        for image in (style, other)
    )
    torch.testing.assert_close(one, same)


# When numbers run away


def broken(monkeypatch, method, after, mended_by_adam=False):
    """No numbers from the nth evaluation on; with Adam again, or not."""
    real, count = method._objective, [0]

    def objective(content, styles):
        terms_of = real(content, styles)

        def breaking(image):
            count[0] += 1
            terms = terms_of(image)
            return terms if count[0] < after else terms | {"style": terms["style"] * math.nan}

        return breaking

    fall_back = descent.Descent._fall_back

    def mending(descent, before, terms):
        count[0] = -(10**9)
        return fall_back(descent, before, terms)

    monkeypatch.setattr(method, "_objective", objective)
    if mended_by_adam:
        monkeypatch.setattr(descent.Descent, "_fall_back", mending)
    return method


@pytest.mark.slow
def test_lbfgs_that_leaves_the_numbers_hands_over_to_adam_and_says_so(monkeypatch):
    method = broken(monkeypatch, make(iterations=12), after=8, mended_by_adam=True)
    steps = run(method, picture(0), picture(1))
    notes = [step.note for step in steps if step.note]
    assert len(notes) == 1
    assert "L-BFGS left the numbers in iteration" in notes[0]
    assert "Adam" in notes[0]
    assert steps[-1].done == 12
    assert all(step.image.isfinite().all() for step in steps)
    assert [step.state["kind"] for step in steps][-1] == "adam"


def test_adam_that_leaves_the_numbers_stops_with_what_it_saw(monkeypatch):
    method = broken(monkeypatch, make(optimizer="adam"), after=4)
    with pytest.raises(TrainingError, match=r"iteration 3 of Adam \(content .*, style nan\)"):
        run(method, picture(0), picture(1))


@pytest.mark.slow
def test_an_image_of_one_colour_is_no_trouble():
    grey = torch.full((1, 3, 40, 36), 0.5)
    for content, style in ((grey, picture(1)), (picture(0), grey)):
        assert run(make(), content, style)[-1].image.isfinite().all()


def test_bfloat16_features_give_nearly_the_same_losses():
    content, style = picture(0), picture(1)
    image = picture(2)
    exact = make()._objective(content, [Style(image=style)])(image)
    with autocast("bf16", image.device):
        rounded = make()._objective(content, [Style(image=style)])(image)
    for name in exact:
        assert rounded[name].dtype == torch.float32
        assert float(rounded[name]) == pytest.approx(float(exact[name]), rel=0.02)
        assert float(rounded[name]) != float(exact[name])


# Options


@pytest.mark.parametrize("name", gatys.PRESETS)
def test_presets_are_what_the_methods_source_says_and_can_be_built(name):
    assert config.presets(methods.source("gatys"))[name] == gatys.PRESETS[name]
    built = config.build(gatys.Config, gatys.PRESETS[name])
    assert len(built.layers) == len(built.layer_weights) == (4 if name == "johnson" else 5)
    assert (built == gatys.Config()) == (name == "default")


def test_the_weights_of_the_notebook_are_1000_over_the_squared_channels():
    built = gatys.Config(**gatys.PRESETS["pytorch_neural_style_transfer"])
    assert built.layer_weights == [1e3 / c**2 for c in (64, 128, 256, 512, 512)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style_layer_weights": "1,1"}, "--style_layer_weights has 2 numbers"),
        ({"style_layer_weights": "1,1,1,1,x"}, "--style_layer_weights is '1,1,1,1,x'"),
        ({"style_layer_weights": "nan,1,1,1,1"}, "--style_layer_weights is 'nan,1,1,1,1'"),
        ({"style_layer_weights": "-1,1,1,1,1"}, "--style_layer_weights is '-1,1,1,1,1'"),
        ({"style_layers": "relu1_1,relu1_1"}, "but has one twice"),
        ({"iterations": 0}, "--iterations is 0"),
        ({"style_weight": -1.0}, "--style_weight is -1"),
        ({"learning_rate": 0.0}, "--learning_rate is 0"),
        ({"style_scale": 0.0}, "--style_scale is 0"),
    ],
)
def test_options_that_cannot_work_are_refused_by_name_and_value(options, message):
    with pytest.raises(ConfigError, match=message):
        gatys.Config(**options)


def test_an_unknown_layer_is_refused_before_anything_is_made():
    with pytest.raises(ConfigError, match="no layer 'relu6_1'"):
        run(make(content_layer="relu6_1"), picture(0), picture(1))


# With the published network


def museum_picture(path, side=128):
    return to_tensor(to_array(load_image(path).resize((side, side))))[None]


@pytest.mark.weights
def test_on_paintings_too_an_image_against_itself_has_no_loss(museum):
    image = museum_picture(museum / "testB" / "436528.jpg")
    method = gatys.Method(gatys.Config(first_scale=0))
    assert losses(run(method, image, image)) == [0.0]


@pytest.mark.weights
def test_on_paintings_too_the_loss_never_rises_and_the_sweep_is_monotone(museum):
    content = museum_picture(museum / "testA" / "436037.jpg")
    style = museum_picture(museum / "testB" / "436528.jpg")
    ends = []
    for ratio in (1e3, 5e3, 1e4, 5e4, 1e5):
        config = gatys.Config(first_scale=0, iterations=25, style_weight=ratio)
        steps = run(gatys.Method(config), content, style)
        assert all(after <= before for before, after in pairwise(losses(steps)))
        ends.append((steps[-1].terms["content"], steps[-1].terms["style"] / ratio))
    content_losses, style_losses = zip(*ends, strict=True)
    assert list(content_losses) == sorted(content_losses)
    assert list(style_losses) == sorted(style_losses, reverse=True)
