"""AdaIN: what several styles and masks do to features, and its training step and translation
against plain transcriptions.

They know nothing of gan_style but the names of weights and terms: encoder, decoder, statistics and
losses are written out from net.py, function.py, train.py and test.py of naoto0804/pytorch-AdaIN,
with Adam as Kingma and Ba 2015 give it. In float64, so that what differs is a different algorithm
and not rounding.
"""

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gan_style import config, weights
from gan_style.config import DataConfig, TrainConfig
from gan_style.data.images import list_images, load_image, to_array, to_tensor
from gan_style.errors import ConfigError, DataError
from gan_style.method import Batch
from gan_style.methods import adain
from gan_style.nn.decoders import adain_decoder
from gan_style.styles import Style, Styles

RATE, BETA1, BETA2, EPS = 1e-4, 0.9, 0.999, 1e-8
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of random weights
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")

# Index in the published nn.Sequential: channels out and in.
DECODER = {
    1: (256, 512),
    5: (256, 256),
    8: (256, 256),
    11: (256, 256),
    14: (128, 256),
    18: (128, 128),
    21: (64, 128),
    25: (64, 64),
    28: (3, 64),
}

Weights = dict[str, Tensor]


def make(seed: int = 0, **options) -> adain.Method:
    torch.manual_seed(seed)
    method = adain.Method(adain.Config(**{"vgg": "random", "style_size": 0} | options)).double()
    method.vgg.double()
    return method


def images(seed: int, count: int = 1, height: int = 32, width: int = 48) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, height, width, generator=random, dtype=torch.float64)


CONTENT, ONE, OTHER = images(1), images(2, width=32), images(3).square()


@torch.no_grad()
def code(method: adain.Method, content: Tensor, style: Styles) -> Tensor:
    """What translate gives the decoder."""
    seen = []
    hook = method.decoder.register_forward_pre_hook(lambda _, features: seen.append(features[0]))
    method.translate(content, style)
    hook.remove()
    (features,) = seen
    return features


@torch.no_grad()
def encoded(method: adain.Method, pictures: Tensor) -> Tensor:
    return method.vgg(pictures)["relu4_1"]


def assert_has_statistics(features: Tensor, content: Tensor, style: Tensor) -> None:
    """Features restyled from `content` have means and deviations of `style`.

    Where the content hardly varies there is nothing to scale: 1e-5 in the root is felt then.
    """
    now, before, wanted = (each.flatten(2) for each in (features, content, style))
    torch.testing.assert_close(now.mean(2), wanted.mean(2), atol=1e-4, rtol=0)
    lively = before.var(2) > 0.1
    assert lively.double().mean() > 0.5
    deviations = (wanted.var(2) + 1e-5).sqrt()
    torch.testing.assert_close(now.std(2)[lively], deviations[lively], atol=1e-4, rtol=0)


# The decoder


def test_weight_files_of_the_port_fit():
    with torch.device("meta"):
        decoder = adain_decoder()
    expected = {f"{i}.weight": (*channels, 3, 3) for i, channels in DECODER.items()}
    expected |= {f"{i}.bias": (channels[0],) for i, channels in DECODER.items()}
    assert {key: tuple(value.shape) for key, value in decoder.state_dict().items()} == expected
    assert sum(parameter.numel() for parameter in decoder.parameters()) == 3_505_219


def test_colours_are_not_cut_off_at_black_before_the_loss():
    assert images_of(adain_decoder()).min() < 0


@torch.no_grad()
def images_of(decoder: torch.nn.Module) -> Tensor:
    torch.nn.init.constant_(decoder[-1].bias, -10.0)
    return decoder(torch.rand(1, 512, 2, 3))


# One style


def test_features_take_the_means_and_deviations_of_the_style():
    method = make()
    features, style = code(method, CONTENT, ONE), encoded(method, ONE)
    assert features.shape == (1, 512, 4, 6)
    assert_has_statistics(features, encoded(method, CONTENT), style)


@torch.no_grad()
def test_alpha_0_is_the_decoded_content():
    method = make(alpha=0.0)
    expected = method.decoder(encoded(method, CONTENT)).clamp(0, 1)
    assert torch.equal(method.translate(CONTENT, ONE), expected)


def test_alpha_is_the_share_of_the_style():
    none, part, full = (code(make(alpha=alpha), CONTENT, ONE) for alpha in (0.0, 0.25, 1.0))
    torch.testing.assert_close(part, 0.75 * none + 0.25 * full)


def test_the_content_as_its_own_style_changes_nothing():
    method = make()
    torch.testing.assert_close(code(method, CONTENT, CONTENT), encoded(method, CONTENT))


def test_every_content_can_have_a_style_of_its_own():
    method, contents, styles = make(), images(4, count=2), images(5, count=2)
    together = code(method, contents, styles)
    for i in range(2):
        alone = code(method, contents[i : i + 1], styles[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone)


@pytest.mark.parametrize(
    ("size", "option", "expected"),
    [
        ((40, 24), 0, (40, 24)),
        ((40, 24), 48, (80, 48)),
        ((24, 40), 16, (16, 27)),
        ((8, 40), 0, (16, 40)),  # the encoder needs 16
    ],
)
def test_the_shorter_side_of_the_style_is_scaled(size, option, expected):
    method, seen = make(style_size=option), []
    method.vgg.register_forward_pre_hook(lambda _, pictures: seen.append(pictures[0]))
    hard = images(2, height=size[0], width=size[1]).round()  # bicubic would overshoot 0 and 1
    code(method, CONTENT, hard)
    assert [pictures.shape for pictures in seen] == [CONTENT.shape, (1, 3, *expected)]
    assert seen[1].min() == 0
    assert seen[1].max() == 1


def test_translating_without_a_style_is_refused():
    with pytest.raises(ConfigError, match="--style"):
        make().translate(CONTENT)


@torch.no_grad()
def test_translations_are_clipped():
    method = make()
    method.decoder[-1].weight.mul_(1e3)
    translated = method.translate(CONTENT, ONE)
    assert translated.min() == 0
    assert translated.max() == 1


# Several styles


def test_styles_are_mixed_by_their_weights():
    method = make()
    one, other = code(method, CONTENT, ONE), code(method, CONTENT, OTHER)
    mixed = code(method, CONTENT, [Style(image=ONE, weight=1), Style(image=OTHER, weight=3)])
    torch.testing.assert_close(mixed, 0.25 * one + 0.75 * other)


def test_a_style_without_weight_is_as_if_it_were_not_there():
    method = make()
    mixed = code(method, CONTENT, [Style(image=ONE, weight=0), Style(image=OTHER, weight=2)])
    assert torch.equal(mixed, code(method, CONTENT, OTHER))
    empty = Style(image=ONE, weight=0, content_mask=half("right"))
    masked = code(method, CONTENT, [empty, Style(image=OTHER, content_mask=half("left"))])
    assert torch.equal(masked[..., 3:], encoded(method, CONTENT)[..., 3:])


def half(side: str, pictures: Tensor = CONTENT) -> Tensor:
    mask = torch.zeros_like(pictures[:, :1])
    middle = pictures.shape[-1] // 2
    mask[..., slice(middle) if side == "left" else slice(middle, None)] = 1
    return mask


def test_a_mask_of_everything_is_no_mask():
    method, everywhere = make(), torch.ones_like(CONTENT[:, :1])
    for others in ([], [Style(image=OTHER, weight=2, content_mask=everywhere)]):
        masked = [Style(image=ONE, content_mask=everywhere), *others]
        free = [Style(image=each.image, weight=each.weight) for each in masked]
        torch.testing.assert_close(code(method, CONTENT, masked), code(method, CONTENT, free))


def test_each_half_has_the_statistics_of_its_own_style_and_nothing_of_the_other():
    method = make()

    def halves(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        styles = [
            Style(image=left, content_mask=half("left")),
            Style(image=right, content_mask=half("right"), weight=3),
        ]
        return code(method, CONTENT, styles).chunk(2, dim=3)

    left, right = halves(ONE, OTHER)
    contents = encoded(method, CONTENT).chunk(2, dim=3)
    assert_has_statistics(left, contents[0], encoded(method, ONE))
    assert_has_statistics(right, contents[1], encoded(method, OTHER))
    third = images(6)
    assert torch.equal(halves(ONE, third)[0], left)
    assert torch.equal(halves(third, OTHER)[1], right)
    assert not torch.equal(halves(third, OTHER)[0], left)


def test_what_no_mask_covers_keeps_the_features_of_the_content():
    method = make()
    features = code(method, CONTENT, [Style(image=ONE, content_mask=half("left"))])
    content = encoded(method, CONTENT)
    assert torch.equal(features[..., 3:], content[..., 3:])
    assert not torch.isclose(features[..., :3], content[..., :3]).all()


def test_soft_masks_share_a_position_by_weight_and_mask():
    # Uniform masks have the statistics of the whole content, so that the parts are known.
    method, everywhere = make(), torch.ones_like(CONTENT[:, :1])
    content, one, other = (
        encoded(method, CONTENT),
        code(method, CONTENT, ONE),
        code(method, CONTENT, OTHER),
    )

    def mixed(first: float, second: float, weight: float) -> Tensor:
        return code(
            method,
            CONTENT,
            [
                Style(image=ONE, content_mask=first * everywhere),
                Style(image=OTHER, content_mask=second * everywhere, weight=weight),
            ],
        )

    # Shares 1 * 0.5 and 3 * 0.25 of 1.25; the masks add up to 0.75, the rest is the content's.
    expected = 0.75 * (0.4 * one + 0.6 * other) + 0.25 * content
    torch.testing.assert_close(mixed(0.5, 0.25, weight=3), expected)
    # 0.8 + 0.8 cover everything: nothing is left to the content.
    torch.testing.assert_close(mixed(0.8, 0.8, weight=3), 0.25 * one + 0.75 * other)
    alone = code(method, CONTENT, [Style(image=ONE, content_mask=0.25 * everywhere)])
    torch.testing.assert_close(alone, 0.25 * one + 0.75 * content)


def test_only_the_masked_part_of_a_style_counts():
    method, mask = make(), half("right", ONE)
    features = code(method, CONTENT, [Style(image=ONE, style_mask=mask)])
    assert_has_statistics(features, encoded(method, CONTENT), encoded(method, ONE)[..., 2:])


def test_masks_of_a_batch_are_each_for_one_content():
    method, contents = make(), images(4, count=2)
    masks = torch.cat([half("left"), half("right")])
    style_masks = torch.cat([half("right", ONE), half("left", ONE)])
    together = code(
        method, contents, [Style(image=ONE, content_mask=masks, style_mask=style_masks)]
    )
    for i in range(2):
        here = slice(i, i + 1)
        style = Style(image=ONE, content_mask=masks[here], style_mask=style_masks[here])
        torch.testing.assert_close(together[here], code(method, contents[here], [style]))


def test_an_empty_mask_is_refused():
    empty = torch.zeros_like(CONTENT[:, :1])
    with pytest.raises(DataError, match="empty"):
        make().translate(CONTENT, [Style(image=ONE, content_mask=empty)])


# Training


def mean_std(features: Tensor) -> tuple[Tensor, Tensor]:
    n, channels = features.shape[:2]
    flat = features.reshape(n, channels, -1)
    mean = flat.sum(2, keepdim=True) / flat.shape[2]
    variance = (flat - mean).square().sum(2, keepdim=True) / (flat.shape[2] - 1)
    return mean[..., None], (variance + 1e-5).sqrt()[..., None]


def restyled(content: Tensor, style: Tensor) -> Tensor:
    (mean_c, std_c), (mean_s, std_s) = mean_std(content), mean_std(style)
    return (content - mean_c) / std_c * std_s + mean_s


def convolved(of: Weights, key: str, x: Tensor, mode: str = "reflect") -> Tensor:
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode=mode), of[f"{key}.weight"], of[f"{key}.bias"])


def decoded(of: Weights, x: Tensor) -> Tensor:
    for index in (1, 5, 8, 11, 14, 18, 21, 25):
        x = convolved(of, str(index), x).relu()
        if index in (1, 14, 21):
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return convolved(of, "28", x)


def random_vgg(of: Weights, x: Tensor) -> dict[str, Tensor]:
    """VGG-19 up to relu4_1 with the zeros and the normalisation of torchvision."""
    x = (x - x.new_tensor(MEAN).view(3, 1, 1)) / x.new_tensor(STD).view(3, 1, 1)
    features = {}
    for block, count in enumerate((2, 2, 4, 1), start=1):
        for i in range(1, count + 1):
            x = convolved(of, f"net.conv{block}_{i}", x, "constant").relu()
            features[f"relu{block}_{i}"] = x
        x = F.max_pool2d(x, 2)
    return features


def mse(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square().sum() / x.numel()


class Transcription:
    """The decoder's weights and their Adam moments; `step` is the published step."""

    def __init__(self, decoder: Weights, vgg: Weights):
        self.weights = {key: value.clone().requires_grad_() for key, value in decoder.items()}
        self.vgg = vgg
        self.moments = dict.fromkeys(decoder, (0.0, 0.0))
        self.steps = 0

    def step(self, content: Tensor, style: Tensor) -> dict[str, Tensor]:
        of_content, of_style = random_vgg(self.vgg, content), random_vgg(self.vgg, style)
        target = restyled(of_content["relu4_1"], of_style["relu4_1"])
        now = random_vgg(self.vgg, decoded(self.weights, target))
        distances = []
        for layer in LAYERS:
            (mean, std), (mean_s, std_s) = mean_std(now[layer]), mean_std(of_style[layer])
            distances += [mse(mean, mean_s), mse(std, std_s)]
        terms = {"content": 1.0 * mse(now["relu4_1"], target), "style": 10.0 * sum(distances)}
        self.move(sum(terms.values()))
        return terms

    def move(self, loss: Tensor) -> None:
        self.steps += 1
        gradients = torch.autograd.grad(loss, list(self.weights.values()))
        for (key, value), g in zip(list(self.weights.items()), gradients, strict=True):
            m, v = self.moments[key]
            m, v = BETA1 * m + (1 - BETA1) * g, BETA2 * v + (1 - BETA2) * g.square()
            self.moments[key] = m, v
            unbiased_m, unbiased_v = m / (1 - BETA1**self.steps), v / (1 - BETA2**self.steps)
            moved = value - RATE * unbiased_m / (unbiased_v.sqrt() + EPS)
            self.weights[key] = moved.detach().requires_grad_()


def terms(method: adain.Method, batch: Batch) -> dict[str, Tensor]:
    ((player, values),) = method.losses(batch)
    assert player == "generator"
    return values


@pytest.mark.parametrize("side", ["a", "b"])
def test_three_training_steps_agree_with_the_published_program(side):
    method = make(content_side=side, alpha=0.5)  # alpha is translate's alone
    published = Transcription(method.decoder.state_dict(), method.vgg.state_dict())
    optimizer = method.optimizer("generator", method.decoder.parameters())
    for step in range(3):
        content, style = images(10 + step, 2, 32, 32), images(20 + step, 2, 32, 32).square()
        batch = Batch(a=content, b=style) if side == "a" else Batch(a=style, b=content)
        ours = terms(method, batch)
        torch.stack(list(ours.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        theirs = published.step(content, style)
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert abs(ours[name] - value) < 1e-10 * max(1, value), (step, name)
        for key, value in method.decoder.state_dict().items():
            error = (value - published.weights[key]).abs().max()
            assert error < 1e-10, (step, key)


@torch.no_grad()
def test_weights_multiply_the_terms():
    batch = Batch(a=ONE, b=CONTENT)
    once, thrice = (terms(make(content_weight=w, style_weight=w), batch) for w in (1.0, 3.0))
    for name, value in once.items():
        torch.testing.assert_close(thrice[name], 3 * value)


def test_losses_keep_their_bits_under_autocast():
    method = make().float()
    method.vgg.float()
    batch = Batch(a=images(2).float(), b=images(3).float())
    exactly = terms(method, batch)
    with torch.autocast("cpu", torch.bfloat16):
        rough = terms(method, batch)
    for name, value in exactly.items():
        assert rough[name].dtype == torch.float32
        torch.testing.assert_close(rough[name], value, rtol=0.1, atol=0)


def test_the_encoder_is_neither_saved_nor_learned():
    method = make()
    values = terms(method, Batch(a=ONE, b=CONTENT))
    torch.stack(list(values.values())).sum().backward()
    assert not [key for key in method.state_dict() if not key.startswith("decoder.")]
    assert len(list(method.parameters())) == len(list(method.decoder.parameters()))
    assert not any(p.requires_grad or p.grad is not None for p in method.vgg.parameters())


def test_the_encoder_is_fetched_before_training_and_not_before(monkeypatch):
    made = []
    monkeypatch.setattr(adain, "VGG", lambda *args: made.append(args))
    method = adain.Method(adain.Config())
    assert made == []
    method.prefetch()
    assert made == [(LAYERS, 19, "normalised")]


@torch.no_grad()
def test_a_preview_has_styles_as_large_as_in_training():
    method = make(style_size=64)
    batch = Batch(a=images(2), b=images(3))
    columns = method.preview(batch)["translated"]
    assert columns["content"] is batch["b"]
    assert columns["style"] is batch["a"]
    unscaled = make(style_size=0)
    assert torch.equal(columns["translated"], unscaled.translate(batch["b"], batch["a"]))


# Options


@pytest.mark.parametrize("preset", adain.PRESETS)
def test_a_preset_is_accepted(preset):
    options = adain.PRESETS[preset]
    known = {field.name for cls in (adain.Config, DataConfig, TrainConfig) for field in fields(cls)}
    assert set(options) <= known
    for cls in (adain.Config, DataConfig, TrainConfig):
        config.build(cls, options)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("alpha", -0.1),
        ("alpha", 1.1),
        ("style_size", -1),
        ("content_weight", -1.0),
        ("style_weight", -1.0),
        ("learning_rate", 0.0),
    ],
)
def test_what_nothing_can_use_is_refused_by_name_and_value(option, value):
    with pytest.raises(ConfigError, match=rf"--{option} is {value}"):
        adain.Config(**{option: value})


# With the published weights


def published_vgg(of: Weights, x: Tensor) -> Tensor:
    """The first 31 layers of the port's encoder: the 1x1 convolution, then VGG-19 to relu4_1."""
    x = F.conv2d(x, of["0.weight"], of["0.bias"])
    for index in (2, 5, 9, 12, 16, 19, 22, 25, 29):
        x = convolved(of, str(index), x).relu()
        if index in (5, 12, 25):
            x = F.max_pool2d(x, 2, ceil_mode=True)
    return x


def picture(path: Path, size: int = 256) -> Tensor:
    return to_tensor(to_array(load_image(path).resize((size, size))))[None]


def with_published_weights(**options) -> adain.Method:
    method = adain.Method(adain.Config(**options))
    for net, name in method.pretrained.items():
        getattr(method, net).load_state_dict(weights.load(name), strict=True)
    return method


@pytest.mark.weights
@torch.no_grad()
def test_the_published_weights_translate_as_in_the_published_program():
    method = with_published_weights(style_size=0, alpha=0.7).double()
    method.vgg.double()
    encoder, decoder = (
        {key: value.double() for key, value in weights.load(name).items()}
        for name in ("vgg19_normalised", "adain")
    )
    content, style = published_vgg(encoder, CONTENT), published_vgg(encoder, ONE)
    features = 0.7 * restyled(content, style) + 0.3 * content
    expected = decoded(decoder, features).clamp(0, 1)
    assert 0.1 < expected.mean() < 0.9
    # The port's 1x1 convolution has rounded constants.
    torch.testing.assert_close(method.translate(CONTENT, ONE), expected, atol=1e-5, rtol=0)


@pytest.mark.weights
@torch.no_grad()
def test_the_published_decoder_gives_back_what_was_encoded(museum):
    # 20.2 dB; their mean colours are at 17.0, and an untrained decoder below 10.
    method = with_published_weights(alpha=0.0, style_size=0)
    errors = []
    for path in list_images(museum / "testA")[:8]:
        image = picture(path)
        errors.append((method.translate(image, image) - image).square().mean())
    assert -10 * torch.stack(errors).log10().mean() > 19


@pytest.mark.weights
@torch.no_grad()
def test_the_mean_activation_of_the_published_encoder_is_about_1(museum):
    # 0.79 to 0.88 on these paintings, which are darker than photographs.
    vgg = with_published_weights().vgg
    pictures = torch.cat([picture(path) for path in list_images(museum / "testA")[:8]])
    for layer, features in vgg(pictures).items():
        assert 0.7 < features.mean() < 1.3, layer


def test_a_style_that_would_be_scaled_beyond_all_memory_is_refused():
    with pytest.raises(DataError, match="1000x500 pixels would be scaled to 32768x16384"):
        adain._scaled(torch.zeros(1, 3, 500, 1000), 16_384, 8)


@pytest.mark.parametrize(
    ("size", "scaled"),
    [
        ((8, 3000), (16, 4096)),  # by the shorter side alone it would be 512x192000
        ((3000, 8), (4096, 16)),
        ((10, 80), (512, 4096)),  # eight times as long: still as the port
        ((300, 200), (768, 512)),
    ],
)
def test_a_very_long_style_is_scaled_to_a_bounded_length(size, scaled):
    assert adain._scaled(torch.zeros(1, 3, *size), 512, 16).shape[2:] == scaled
