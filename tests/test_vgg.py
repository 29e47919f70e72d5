import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gan_style import weights
from gan_style.errors import ConfigError
from gan_style.nn.vgg import CHANNELS, CONVOLUTIONS, VGG

# torchvision's `features` of vgg19 and vgg16: the index of every convolution.
INDEX = {
    19: (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34),
    16: (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
}
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def convolutions(net):
    return [each for each in net.modules() if isinstance(each, nn.Conv2d)]


def picture(height=40, width=36, seed=0):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def published(monkeypatch):
    """Made-up files in the layouts of the real ones; what was asked for."""
    asked = []

    def load(name):
        asked.append(name)
        depth = int(name[3:5])
        blocks = zip(CHANNELS, CONVOLUTIONS[depth], strict=True)
        out = [channels for channels, count in blocks for _ in range(count)]
        random = torch.Generator().manual_seed(depth)
        pairs = [
            (
                torch.randn(o, i, 3, 3, generator=random) * (2 / (9 * i)) ** 0.5,
                torch.randn(o, generator=random) * 0.1,
            )
            for i, o in zip([3, *out], out, strict=False)
        ]
        if name.endswith("normalised"):
            keys = [2, 5, 9, 12, 16, 19, 22, 25, 29, 32, 35, 38, 42, 45, 48, 51]
            pairs = [(torch.full((3, 3, 1, 1), 9.0), torch.full((3,), 9.0)), *pairs]
            names = [f"{key}." for key in [0, *keys]]
        else:
            names = [f"features.{key}." for key in INDEX[depth]]
        state = {}
        for prefix, (weight, bias) in zip(names, pairs, strict=True):
            state[f"{prefix}weight"], state[f"{prefix}bias"] = weight, bias
        return dict(sorted(state.items()))  # as text: "features.10" before "features.2"

    monkeypatch.setattr(weights, "load", load)
    return asked


def reference(images, state, depth, family, pooling):
    """The features after every ReLU, by the functions of torch alone."""
    keys = sorted({key.rsplit(".", 1)[0] for key in state}, key=lambda key: int(key.split(".")[-1]))
    if family == "torchvision":
        x = (images - MEAN) / STD
    else:  # BGR of 0 ... 255 minus the mean that the Caffe networks were trained with
        mean = torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
        x = images[:, [2, 1, 0]] * 255 - mean
    if family == "normalised":
        keys = keys[1:]
    features = {}
    for block, count in enumerate(CONVOLUTIONS[depth], start=1):
        for index in range(1, count + 1):
            key = keys.pop(0)
            padded = F.pad(x, (1, 1, 1, 1), "reflect" if family == "normalised" else "constant")
            x = F.relu(F.conv2d(padded, state[f"{key}.weight"], state[f"{key}.bias"]))
            features[f"relu{block}_{index}"] = x
        pool = F.max_pool2d if pooling == "max" else F.avg_pool2d
        x = pool(x, 2, ceil_mode=family != "torchvision")
        features[f"pool{block}"] = x
    return features


@pytest.mark.parametrize(
    ("depth", "family", "pooling"),
    [
        (19, "normalised", "max"),
        (19, "normalised", "average"),
        (19, "torchvision", "average"),
        (19, "caffe", "max"),
        (16, "torchvision", "max"),
        (16, "caffe", "average"),
    ],
)
def test_features_are_those_of_the_plain_functions(published, depth, family, pooling):
    images = picture()
    layers = [f"relu{block}_{n}" for block, n in ((1, 1), (1, 2), (2, 1), (3, 3), (4, 2), (5, 1))]
    found = VGG([*layers, "pool4"], depth, family, pooling)(images)
    assert published == [f"vgg{depth}_{family}"]
    expected = reference(images, weights.load(published[0]), depth, family, pooling)
    assert set(found) == {*layers, "pool4"}
    for name, features in found.items():
        torch.testing.assert_close(features, expected[name], rtol=1e-4, atol=1e-4)


def test_a_layer_in_front_of_its_relu_keeps_what_the_relu_drops():
    found = VGG(["conv2_1", "relu2_1"], family="random")(picture())
    assert found["conv2_1"].min() < 0
    assert torch.equal(found["conv2_1"].clamp(min=0), found["relu2_1"])


def test_it_is_as_deep_as_the_deepest_layer_asked_for():
    assert len(convolutions(VGG(["relu2_2", "relu1_1"], family="random"))) == 4
    whole = convolutions(VGG(["pool5"], family="random"))
    assert len(whole) == 16
    parameters = sum(p.numel() for conv in whole for p in conv.parameters())
    assert parameters == 20_024_384  # of VGG-19's convolutions
    assert len(convolutions(VGG(["relu5_3"], 16, "random"))) == 13


def test_random_weights_are_the_same_every_time_and_need_no_file(monkeypatch):
    monkeypatch.setattr(weights, "load", None)
    torch.manual_seed(1)
    drawn = torch.get_rng_state()
    one = VGG(["relu3_1"], family="random")(picture())["relu3_1"]
    assert torch.equal(torch.get_rng_state(), drawn)
    torch.manual_seed(2)
    assert torch.equal(VGG(["relu3_1"], family="random")(picture())["relu3_1"], one)
    assert 0.1 < one.mean() < 10  # He's initialisation keeps the scale


def test_it_is_frozen_but_gradients_reach_the_image():
    net = VGG(["relu2_1"], family="random")
    images = picture().requires_grad_()
    net(images)["relu2_1"].sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(not p.requires_grad and p.grad is None for p in net.parameters())


@pytest.mark.parametrize("padding", ["zeros", "reflect", "replicate"])
def test_padding_is_a_choice(padding):
    net = VGG(["conv1_1"], family="random", padding=padding)
    (conv,) = convolutions(net)
    x = (picture() - MEAN) / STD
    mode = "constant" if padding == "zeros" else padding
    expected = F.conv2d(F.pad(x, (1, 1, 1, 1), mode), conv.weight, conv.bias)
    torch.testing.assert_close(net(picture())["conv1_1"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("layer", "smallest"), [("relu1_2", 2), ("relu2_1", 4), ("relu5_1", 32)])
def test_the_smallest_side_leaves_two_positions_to_mirror(published, layer, smallest):
    net = VGG([layer])
    assert net.smallest == smallest
    net(picture(smallest, smallest))
    with pytest.raises(RuntimeError):
        net(picture(smallest // 2, smallest // 2))


def test_under_autocast_features_are_bfloat16_and_the_image_is_not_rounded_first():
    net = VGG(["relu1_1", "relu3_1"], family="random")
    exact = net(picture())
    with torch.autocast("cpu", torch.bfloat16):
        rounded = net(picture())
    for name in exact:
        assert rounded[name].dtype == torch.bfloat16
        error = (rounded[name].float() - exact[name]).norm() / exact[name].norm()
        assert error < 0.02


def test_memory_formats_and_compilation_change_nothing():
    net = VGG(["relu2_1"], family="random")
    exact = net(picture())["relu2_1"]
    last = net.to(memory_format=torch.channels_last)
    images = picture().to(memory_format=torch.channels_last)
    torch.testing.assert_close(last(images)["relu2_1"], exact, rtol=1e-4, atol=1e-4)
    traced = torch.compile(net, backend="eager", fullgraph=True)(picture())
    torch.testing.assert_close(traced["relu2_1"], exact, rtol=1e-4, atol=1e-4)


def test_unknown_layers_and_families_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"no layer 'relu3_4': did you mean 'relu3_\d'"):
        VGG(["relu3_4"], 16, "random")
    with pytest.raises(ConfigError, match="no weights vgg16_normalised: known: vgg16_"):
        VGG(["relu1_1"], 16, "normalised")
