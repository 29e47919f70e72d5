"""Johnson: its network, its style image, and its training step against a plain transcription.

The transcription knows nothing of gan_style but the names of weights and terms. Network, VGG-16,
losses and Adam are written out from fast_neural_style of pytorch/examples (transformer_net.py,
vgg.py, utils.py, neural_style.py) and, for the second preset, from jcjohnson/fast-neural-style
(models.lua, StyleLoss.lua, TotalVariation.lua, train.lua), with Adam as Kingma and Ba 2015 give it.
It runs in float64, so that what differs is a different algorithm and not rounding.
"""

from dataclasses import fields

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from gan_style import config
from gan_style.config import DataConfig, TrainConfig
from gan_style.errors import ConfigError, DataError
from gan_style.method import Batch
from gan_style.methods import johnson
from gan_style.nn.transform_net import TransformNet
from gan_style.nn.vgg import VGG

RATE, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
CAFFE_MEAN = (123.68, 116.779, 103.939)

# Name, channels in and out, side of the kernel: pytorch/examples at 32 channels.
CONVOLUTIONS = [
    ("conv1", 3, 32, 9),
    ("conv2", 32, 64, 3),
    ("conv3", 64, 128, 3),
    *((f"res{i}.conv{j}", 128, 128, 3) for i in range(1, 6) for j in (1, 2)),
    ("deconv1", 128, 64, 3),
    ("deconv2", 64, 32, 3),
    ("deconv3", 32, 3, 9),
]
NORMS = [("in1", 32), ("in2", 64), ("in3", 128), ("in4", 64), ("in5", 32)]
NORMS += [(f"res{i}.in{j}", 128) for i in range(1, 6) for j in (1, 2)]

Weights = dict[str, Tensor]


@pytest.fixture
def style(tmp_path) -> str:
    """The file of a style image, wider than high."""
    return save(tmp_path / "style.png", pixels())


def pixels(height: int = 24, width: int = 40, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8).squeeze()


def save(path, array: np.ndarray) -> str:
    Image.fromarray(array).save(path)
    return str(path)


def make(seed: int = 0, **options) -> johnson.Method:
    torch.manual_seed(seed)
    return johnson.Method(johnson.Config(**{"width_generator": 4, "vgg": "random"} | options))


def contents(count: int = 2, side: int = 32, seed: int = 1) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def terms(method: johnson.Method, images: Tensor) -> dict[str, Tensor]:
    ((player, values),) = method.losses(Batch(b=images))
    assert player == "generator"
    return values


# The network


@pytest.mark.parametrize(
    ("width", "upsample", "count"),
    [(32, "nearest", 1_679_235), (16, "nearest", 424_899), (32, "transposed", 1_679_235)],
)
def test_the_network_has_as_many_weights_as_published(width, upsample, count):
    with torch.device("meta"):
        net = TransformNet(width, upsample)
    assert sum(parameter.numel() for parameter in net.parameters()) == count


@pytest.mark.parametrize("output", ["linear", "tanh"])
def test_weight_files_of_pytorch_examples_fit(output):
    file = {}
    for name, entering, leaving, kernel in CONVOLUTIONS:
        file[f"{name}.conv2d.weight"] = torch.zeros(leaving, entering, kernel, kernel)
        file[f"{name}.conv2d.bias"] = torch.zeros(leaving)
    for name, channels in NORMS:
        file[f"{name}.weight"] = file[f"{name}.bias"] = torch.zeros(channels)
    TransformNet(output=output).load_state_dict(file, strict=True)  # no running statistics either


@pytest.mark.parametrize("upsample", ["nearest", "transposed"])
@pytest.mark.parametrize("size", [(8, 8), (32, 44)])
@torch.no_grad()
def test_multiples_of_four_come_out_as_they_went_in(upsample, size):
    images = torch.rand(1, 3, *size)
    assert make(upsample=upsample).net(images).shape == images.shape


@torch.no_grad()
def test_tanh_keeps_within_150_levels_of_the_mean_and_linear_does_not():
    linear, tanh = make(output="linear").net, make(output="tanh").net
    for net in (linear, tanh):
        net.deconv3.conv2d.weight.mul_(1e4)  # saturates
    images = 255 * contents(1)
    distance = tanh(images) - torch.tensor(CAFFE_MEAN).view(3, 1, 1)
    assert distance.abs().max() == pytest.approx(150, abs=1e-3)
    assert linear(images).abs().max() > 1000


@torch.no_grad()
def test_a_mean_colour_of_the_input_changes_nothing():
    # So the Lua code's preprocessing, BGR minus the mean, is the network's with permuted weights.
    net, images = make().net.double(), 255 * contents(1).double()
    mean = torch.tensor(CAFFE_MEAN, dtype=torch.float64).view(3, 1, 1)
    torch.testing.assert_close(net(images - mean), net(images), atol=1e-9, rtol=0)


# Training


def normalised(x: Tensor) -> Tensor:
    centred = x - x.mean((2, 3), keepdim=True)
    return centred / (centred.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()


def network(weights: Weights, x: Tensor, transposed: bool, tanh: bool) -> Tensor:
    """Levels of 0 ... 255 to levels."""

    def convolved(name: str, x: Tensor, stride: int = 1) -> Tensor:
        kernel = weights[f"{name}.conv2d.weight"]
        x = F.pad(x, (kernel.shape[-1] // 2,) * 4, mode="reflect")
        return F.conv2d(x, kernel, weights[f"{name}.conv2d.bias"], stride=stride)

    def doubled(name: str, x: Tensor) -> Tensor:
        if not transposed:
            return convolved(name, x.repeat_interleave(2, 2).repeat_interleave(2, 3))
        kernel, bias = weights[f"{name}.conv2d.weight"], weights[f"{name}.conv2d.bias"]
        return F.conv_transpose2d(x, kernel, bias, stride=2, padding=1, output_padding=1)

    def normed(name: str, x: Tensor) -> Tensor:
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return normalised(x) * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)

    x = normed("in1", convolved("conv1", x)).relu()
    x = normed("in2", convolved("conv2", x, stride=2)).relu()
    x = normed("in3", convolved("conv3", x, stride=2)).relu()
    for i in range(1, 6):
        y = normed(f"res{i}.in1", convolved(f"res{i}.conv1", x)).relu()
        x = x + normed(f"res{i}.in2", convolved(f"res{i}.conv2", y))
    x = normed("in4", doubled("deconv1", x)).relu()
    x = normed("in5", doubled("deconv2", x)).relu()
    x = convolved("deconv3", x)
    return 150 * x.tanh() + x.new_tensor(CAFFE_MEAN).view(3, 1, 1) if tanh else x


def vgg16(weights: Weights, levels: Tensor) -> dict[str, Tensor]:
    """The ReLUs that either program looks at; torchvision's normalisation."""
    x = (levels / 255 - levels.new_tensor(MEAN).view(3, 1, 1)) / levels.new_tensor(STD).view(
        3, 1, 1
    )
    features = {}
    for block, count in enumerate((2, 2, 3, 3), start=1):
        for i in range(1, count + 1):
            of = f"net.conv{block}_{i}"
            x = F.conv2d(x, weights[f"{of}.weight"], weights[f"{of}.bias"], padding=1).relu()
            features[f"relu{block}_{i}"] = x
        x = F.max_pool2d(x, 2)
    return features


def gram(x: Tensor) -> Tensor:
    n, channels, height, width = x.shape
    flat = x.reshape(n, channels, height * width)
    return torch.einsum("nip,njp->nij", flat, flat) / (channels * height * width)


def mse(x: Tensor, y: Tensor) -> Tensor:
    return (x - y.expand_as(x)).square().sum() / x.numel()


class Transcription:
    """A network's weights and their Adam moments; `step` is the published step."""

    def __init__(self, weights: Weights, vgg: Weights, style: Tensor, lua: bool):
        self.weights = {key: value.clone().requires_grad_() for key, value in weights.items()}
        self.vgg, self.lua = vgg, lua
        self.targets = {name: gram(x) for name, x in vgg16(vgg, style).items()}
        self.moments = dict.fromkeys(weights, (0.0, 0.0))
        self.steps = 0

    def step(self, levels: Tensor) -> dict[str, Tensor]:
        """Images of 0 ... 255 -> terms, after the network has moved."""
        painted = network(self.weights, levels, transposed=self.lua, tanh=self.lua)
        now, of_content = vgg16(self.vgg, painted), vgg16(self.vgg, levels)
        names = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
        style = sum(mse(gram(now[name]), self.targets[name]) for name in names)
        if self.lua:
            rows, columns = painted.diff(dim=2), painted.diff(dim=3)
            terms = {
                "content": mse(now["relu3_3"], of_content["relu3_3"]),
                "style": 5.0 * style,
                # TotalVariation.lua adds 1e-6 times this one's gradient, whatever the batch.
                "tv": 1e-6 * (rows.square().sum() + columns.square().sum()) / 2,
            }
        else:
            terms = {
                "content": 1e5 * mse(now["relu2_2"], of_content["relu2_2"]),
                "style": 1e10 * style,
            }
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


def is_dead(key: str) -> bool:
    """Biases that a norm subtracts again, the next one or the next behind the residual blocks.

    Their gradients are rounding, which Adam scales up.
    """
    return (key.endswith("conv2d.bias") and key != "deconv3.conv2d.bias") or (
        key.startswith("res") and key.endswith("in2.bias")
    )


@pytest.mark.parametrize("preset", ["pytorch_examples", "fast_neural_style"])
def test_three_training_steps_agree_with_the_published_program(preset, style):
    own = {field.name for field in fields(johnson.Config)}
    chosen = {key: value for key, value in johnson.PRESETS[preset].items() if key in own}
    method = make(**chosen | {"vgg": "random", "style": style, "style_size": 0}).double()
    method.vgg.double()
    exactly = torch.tensor(CAFFE_MEAN, dtype=torch.float64)  # not its float32 rounding
    method.net.mean.copy_(exactly.view(1, 3, 1, 1))
    image = torch.from_numpy(pixels()).permute(2, 0, 1)[None].float() / 255  # as read from the file
    published = Transcription(
        method.net.state_dict(),
        method.vgg.state_dict(),
        255 * image.double(),
        lua=preset == "fast_neural_style",
    )
    optimizer = method.optimizer("generator", method.net.parameters())
    for step in range(3):
        images = contents(count=4, seed=step).double()
        ours = terms(method, images)
        torch.stack(list(ours.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        theirs = published.step(255 * images)
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert abs(ours[name] - value) < 1e-10 * max(1, value), (step, name)
        for key, value in method.net.state_dict().items():
            if is_dead(key):
                continue
            error = (value - published.weights[key]).abs().max()
            assert error < 1e-10, (step, key)


@pytest.mark.slow
def test_the_loss_falls(style):
    method, images = make(style=style, learning_rate=1e-2), contents()
    optimizer = method.optimizer("generator", method.net.parameters())
    losses = []
    for _ in range(10):
        loss = torch.stack(list(terms(method, images).values())).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


@torch.no_grad()
@pytest.mark.slow
def test_a_batch_has_the_mean_loss_of_its_images(style):
    method = make(style=style, tv_weight=1.0).double()
    method.vgg.double()
    images = contents().double()
    each = [terms(method, images[i : i + 1]) for i in range(2)]
    for name, value in terms(method, images).items():
        torch.testing.assert_close(value, (each[0][name] + each[1][name]) / 2)


@pytest.mark.parametrize("side", ["a", "b"])
def test_one_collection_is_read(side, style):
    method = make(style=style, content_side=side)
    assert method.sides == (side,)
    batch = Batch(**{side: contents()})
    ((_, values),) = method.losses(batch)
    assert all(value.isfinite() for value in values.values())
    with torch.no_grad():
        columns = method.preview(batch)["translated"]
    assert columns["content"] is batch[side]


@pytest.mark.slow
def test_losses_keep_their_bits_under_autocast(style):
    method, images = make(style=style, tv_weight=1.0), contents()
    exact = terms(method, images)
    with torch.autocast("cpu", torch.bfloat16):
        rough = terms(method, images)
    for name, value in exact.items():
        assert rough[name].dtype == torch.float32
        torch.testing.assert_close(rough[name], value, rtol=0.1, atol=0)


def test_without_a_weight_there_is_no_total_variation(style):
    assert terms(make(style=style), contents()).keys() == {"content", "style"}


# The style image


def test_a_training_without_a_style_is_refused_before_it_starts():
    with pytest.raises(ConfigError, match="--style is missing"):
        make().prefetch()


def test_a_style_that_is_no_image_is_refused_before_training(tmp_path):
    path = tmp_path / "style.png"
    path.write_text("no image")
    with pytest.raises(DataError, match=r"style\.png: not an image"):
        make(style=str(path)).prefetch()


@pytest.mark.parametrize("option", ["content_layer", "style_layers"])
def test_a_layer_that_does_not_exist_is_refused_before_training(option, style):
    with pytest.raises(ConfigError, match="VGG-16 has no layer 'relu4_9'"):
        make(**{"style": style, option: "relu4_9"}).prefetch()


@torch.no_grad()
@pytest.mark.slow
def test_a_grey_style_is_read_as_it_looks(tmp_path):
    grey, images = pixels(channels=1), contents()
    one, other = (
        terms(make(style=save(tmp_path / f"{i}.png", each)), images)["style"]
        for i, each in enumerate((grey, np.stack([grey] * 3, 2)))
    )
    assert one == other


@torch.no_grad()
@pytest.mark.slow
def test_what_is_transparent_in_a_style_does_not_count(tmp_path):
    # A dark half and a transparent one, which would be white.
    rgba = np.dstack([pixels() // 4, np.full(pixels().shape[:2], 255, np.uint8)])
    rgba[:, rgba.shape[1] // 2 :] = (255, 255, 255, 0)
    half = rgba[:, : rgba.shape[1] // 2, :3]
    values = [
        terms(make(style=save(tmp_path / f"{i}.png", each), style_layers="relu1_2"), contents())
        for i, each in enumerate((rgba, half, rgba[..., :3]))
    ]
    cut, alone, whole = (float(each["style"]) for each in values)
    assert abs(cut - alone) < abs(whole - alone) / 10


def test_a_style_without_an_opaque_pixel_is_refused(tmp_path):
    clear = np.zeros((*pixels().shape[:2], 4), np.uint8)
    with pytest.raises(DataError, match=r"clear\.png: it is transparent everywhere"):
        make(style=save(tmp_path / "clear.png", clear)).prefetch()


@pytest.mark.parametrize(
    ("size", "option", "expected"),
    [
        ((24, 40), 0, (24, 40)),
        ((24, 40), 80, (48, 80)),
        ((40, 24), 80, (80, 48)),
        ((64, 200), 100, (32, 100)),
        ((8, 200), 0, (16, 200)),  # VGG needs 16
    ],
)
@torch.no_grad()
def test_the_longer_side_of_the_style_is_scaled(size, option, expected, tmp_path):
    method = make(style=save(tmp_path / "style.png", pixels(*size)), style_size=option)
    seen = []
    method.vgg.register_forward_pre_hook(lambda _, images: seen.append(images[0].shape))
    method.prefetch()
    assert seen == [(1, 3, *expected)]
    terms(method, contents())
    assert len(seen) == 3  # contents and translations: that of the style is kept


# VGG


def test_vgg_is_neither_saved_nor_needed_to_translate(style, monkeypatch):
    method = make(style=style)
    terms(method, contents())
    assert not [key for key in method.state_dict() if not key.startswith("net.")]
    assert {id(p) for p in method.parameters()} == {id(p) for p in method.net.parameters()}

    def refuse(*args):
        raise AssertionError("VGG was made")

    monkeypatch.setattr(johnson, "VGG", refuse)
    with torch.no_grad():
        make(style=style).translate(contents())


def test_vgg_does_not_learn(style):
    method = make(style=style)
    torch.stack(list(terms(method, contents()).values())).sum().backward()
    assert not any(p.requires_grad or p.grad is not None for p in method.vgg.parameters())


@torch.no_grad()
def test_translations_are_clipped(style):
    method, images = make(style=style), contents()
    method.net.deconv3.conv2d.weight.mul_(1e4)
    translated = method.translate(images)
    assert translated.min() == 0
    assert translated.max() == 1


# Options


@pytest.mark.parametrize("preset", johnson.PRESETS)
def test_a_preset_is_accepted(preset):
    options = johnson.PRESETS[preset]
    known = {
        field.name for cls in (johnson.Config, DataConfig, TrainConfig) for field in fields(cls)
    }
    assert set(options) <= known
    for cls in (johnson.Config, DataConfig, TrainConfig):
        config.build(cls, options)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("width_generator", 0),
        ("style_size", -1),
        ("content_weight", -1.0),
        ("style_weight", -1.0),
        ("tv_weight", -1.0),
        ("learning_rate", 0.0),
    ],
)
def test_what_no_training_can_use_is_refused_by_name_and_value(option, value):
    with pytest.raises(ConfigError, match=rf"--{option} is {value}"):
        johnson.Config(**{option: value})


@pytest.mark.slow
def test_in_bf16_vgg_judges_in_bf16_too(train_alone, toy, style, monkeypatch):
    seen, forward = [], VGG.forward

    def watched(self, images, layers=None):
        features = forward(self, images, layers)
        seen.append(features["relu2_2"].dtype)
        return features

    monkeypatch.setattr(VGG, "forward", watched)
    train_alone(
        method="johnson", vgg="random", width_generator=4, style=style, domain=toy, threads=1,
        workers=1, size=16, load_size=16, images=2, batch_size=1, sample_every=0,
        precision="bf16",
    )  # fmt: skip
    # The style's targets before the launch's precision is known, then two images of each step.
    assert seen == [torch.float32] + 4 * [torch.bfloat16]
