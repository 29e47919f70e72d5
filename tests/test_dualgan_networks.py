"""DualGAN's networks against duxingren14/DualGAN, in numpy with TensorFlow's layouts, and numbers.

Counts and shapes are taken on torch's "meta" device, which knows sizes and computes nothing.
"""

from math import exp, pi, sqrt
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan_style.errors import CheckpointError
from gan_style.nn.dualgan import (
    DualGanDiscriminator,
    DualGanGenerator,
    Norm,
    SameConv2d,
    SameConvTranspose2d,
    from_tensorflow,
    same_padding,
)

Array = np.ndarray
Variables = dict[str, Array]  # TensorFlow's, by name


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def nchw(images: Array) -> Tensor:
    return torch.tensor(images).permute(0, 3, 1, 2)


# --- What TensorFlow computes. Images are (N, H, W, C). ---


def tf_padding(size: int, kernel: int, stride: int) -> tuple[int, int, int]:
    """Pixels that come out, and those put before and after: tf.nn's "Notes on padding"."""
    out = int(np.ceil(size / stride))
    total = max((out - 1) * stride + kernel - size, 0)
    return out, total // 2, total - total // 2


def taps(w: Array, rows: int, columns: int, stride: int):
    """Each tap of a kernel and the pixels of the padded image that it meets."""
    for i in range(w.shape[0]):
        for j in range(w.shape[1]):
            down = slice(i, i + (rows - 1) * stride + 1, stride)
            across = slice(j, j + (columns - 1) * stride + 1, stride)
            yield w[i, j], (slice(None), down, across)


def tf_conv(x: Array, w: Array, stride: int) -> Array:
    """tf.nn.conv2d with SAME padding; w is [h, w, in, out]."""
    rows, top, bottom = tf_padding(x.shape[1], w.shape[0], stride)
    columns, left, right = tf_padding(x.shape[2], w.shape[1], stride)
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    y = np.zeros((len(x), rows, columns, w.shape[3]))
    for tap, pixels in taps(w, rows, columns, stride):
        y += padded[pixels] @ tap
    return y


def tf_conv_transpose(y: Array, w: Array, size: tuple[int, int], stride: int) -> Array:
    """tf.nn.conv2d_transpose to `size`; w is [h, w, out, in]."""
    rows, top, bottom = tf_padding(size[0], w.shape[0], stride)
    columns, left, right = tf_padding(size[1], w.shape[1], stride)
    assert y.shape[1:3] == (rows, columns)  # TensorFlow refuses others
    padded = np.zeros((len(y), top + size[0] + bottom, left + size[1] + right, w.shape[2]))
    for tap, pixels in taps(w, rows, columns, stride):
        padded[pixels] += y @ tap.T
    return padded[:, top : top + size[0], left : left + size[1]]


SIZES = [(6, 6), (5, 5), (4, 7), (7, 2), (1, 1), (1, 4), (2, 3)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_convolutions_and_their_transposes_are_tensorflows(kernel, stride, size):
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(3, *size, 2)), rng.normal(size=(kernel, kernel, 2, 3)), [1.0, 2, 3]
    weight = torch.tensor(w).permute(3, 2, 0, 1)  # [3, 2, h, w] for both, as in and out swap
    forward = SameConv2d(2, 3, kernel, stride=stride).double()
    forward.load_state_dict({"weight": weight, "bias": torch.tensor(b)})
    y = tf_conv(x, w, stride)
    torch.testing.assert_close(forward(nchw(x)), nchw(y + b))

    # The transpose of the matrix whose rows are what the convolution makes of single ones.
    numbers = x[0].size
    matrix = tf_conv(np.eye(numbers).reshape(numbers, *size, 2), w, stride).reshape(numbers, -1)
    expected = (y.reshape(3, -1) @ matrix.T).reshape(3, *size, 2)
    np.testing.assert_allclose(tf_conv_transpose(y, w, size, stride), expected, atol=1e-9)
    backward = SameConvTranspose2d(3, 2, kernel, stride=stride).double()
    backward.load_state_dict({"weight": weight, "bias": torch.tensor(b[:2])})
    torch.testing.assert_close(backward(nchw(y), size), nchw(expected + b[:2]))


def test_the_odd_pixel_of_the_padding_is_put_behind():
    assert same_padding(256, 3, 2) == (0, 1)
    assert same_padding(256, 5, 2) == (1, 2)
    assert same_padding(255, 3, 2) == (1, 1)
    assert same_padding(32, 5, 1) == (2, 2)
    assert same_padding(1, 3, 2) == (1, 1)
    assert same_padding(4, 1, 2) == (0, 0)  # the last pixel isn't seen


# --- The official networks ---


class Era(NamedTuple):
    """What a program computes, and which of our layouts that is."""

    side: int  # of its images
    kernel: int  # but of the outermost convolutions
    norm: str
    fcn: int  # network_type
    layers: dict[str, tuple[str, int]]  # of discriminators after the first: norm, stride
    head: str
    generator: dict[str, object]
    discriminator: dict[str, object]


LAYERS_2017 = {"h1_conv": ("bn1", 2), "h2_conv": ("bn2", 2), "h3_conv": ("bn3", 1)}
LAYERS_2020 = LAYERS_2017 | {"h3_conv": ("bn3", 2), "h3_1_conv": ("bn3_1", 2)}
BATCH = {"norm": "batch"}
ERAS = {
    "2017-04": Era(128, 5, "batch", 4, LAYERS_2017, "h3_lin",
                   BATCH | {"kernel": 5, "unskipped": 2},
                   BATCH | {"era": "2017", "output": "scalar", "size": (128, 128)}),
    "2017-08": Era(256, 5, "instance", 1, LAYERS_2017, "h4",
                   {"kernel": 5}, {"era": "2017", "output": "map"}),
    "2020": Era(256, 3, "instance", 1, LAYERS_2020, "d_h3_lin",
                {}, {"era": "2020", "output": "scalar"}),
    "2020 patchgan": Era(256, 3, "instance", 1, LAYERS_2020, "h4",
                         {}, {"era": "2020", "output": "map"}),
}  # fmt: skip
NORMS = {
    "instance": ("scale", "center", (1, 2), 1e-6),  # ops.py since August 2017
    "batch": ("gamma", "beta", (0, 1, 2), 1e-5),  # tf.contrib.layers.batch_norm
}
WIDTH = 2
CHANNELS = {"A": 1, "B": 3}


class Official:
    """duxingren14/DualGAN with random variables; `variables` of all four networks."""

    def __init__(self, era: Era) -> None:
        self.era, self.variables = era, Variables()
        self.rng = np.random.default_rng(0)
        for own, other in ("AB", "BA"):
            self.make_generator(f"{own}_g_", CHANNELS[own], CHANNELS[other])
            self.make_discriminator(f"{own}_d_", CHANNELS[other])
        for array in self.variables.values():
            array.setflags(write=False)  # as those that come from a file may be

    def make(self, name: str, *shape: int, mean: float = 0.0, std: float = 1.0) -> None:
        self.variables[name] = self.rng.normal(mean, std, shape)

    def make_conv(self, name: str, kernel: int, *channels: int, out: int) -> None:
        self.make(f"{name}/w", kernel, kernel, *channels, std=1 / kernel / sqrt(max(channels)))
        self.make(f"{name}/biases", out, std=0.2)

    def make_norm(self, name: str, channels: int) -> None:
        scale, center, _, _ = NORMS[self.era.norm]
        self.make(f"{name}/{scale}", channels, mean=1.0, std=0.2)
        self.make(f"{name}/{center}", channels)
        if self.era.norm == "batch":
            self.make(f"{name}/moving_mean", channels)
            self.make(f"{name}/moving_variance", channels)

    def make_generator(self, prefix: str, channels_in: int, channels_out: int) -> None:
        encoder = [channels_in, *(WIDTH * m for m in (1, 2, 4, 8, 8, 8, 8, 8))]
        decoder = [encoder[8], *encoder[7:0:-1], channels_out]
        for n in range(1, 9):
            kernel = 5 if n == 1 else self.era.kernel
            self.make_conv(f"{prefix}e{n}_conv", kernel, encoder[n - 1], encoder[n], out=encoder[n])
            kernel = 5 if n == 8 else self.era.kernel
            joined = n > 1 and self.joins(n - 1)
            came = decoder[n - 1] * (2 if joined else 1)
            self.make_conv(f"{prefix}d{n}", kernel, decoder[n], came, out=decoder[n])
        for n in range(1, 8):
            self.make_norm(f"{prefix}bn_e{n + 1}", encoder[n + 1])
            self.make_norm(f"{prefix}bn_d{n}", decoder[n])

    def make_discriminator(self, prefix: str, channels: int) -> None:
        widths = [WIDTH * m for m in (1, 2, 4, 8, 8)]
        self.make_conv(f"{prefix}h0_conv", 5, channels, WIDTH, out=WIDTH)
        side = self.era.side // 2
        for n, (layer, (norm, stride)) in enumerate(self.era.layers.items(), 1):
            self.make_conv(
                f"{prefix}{layer}", self.era.kernel, widths[n - 1], widths[n], out=widths[n]
            )
            self.make_norm(f"{prefix}{norm}", widths[n])
            side //= stride
        if self.era.head == "h4":
            self.make_conv(f"{prefix}h4", self.era.kernel, widths[n], 1, out=1)
        else:
            self.make(f"{prefix}{self.era.head}/Matrix", side * side * widths[n], 1)
            self.make(f"{prefix}{self.era.head}/bias", 1)

    def joins(self, n: int) -> bool:
        """Whether d<n> is joined by a map of the encoder."""
        return self.era.fcn < 2 ** (8 - n)

    def conv(self, x: Array, name: str, stride: int = 2) -> Array:
        w, biases = self.variables[f"{name}/w"], self.variables[f"{name}/biases"]
        return tf_conv(x, w, stride) + biases

    def deconv(self, x: Array, name: str, side: int) -> Array:
        w, biases = self.variables[f"{name}/w"], self.variables[f"{name}/biases"]
        return tf_conv_transpose(x, w, (side, side), 2) + biases

    def normed(self, x: Array, name: str) -> Array:
        scale, center, axes, eps = NORMS[self.era.norm]
        mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        x = (x - mean) / np.sqrt(variance + eps)
        return x * self.variables[f"{name}/{scale}"] + self.variables[f"{name}/{center}"]

    def translated(self, x: Array, prefix: str) -> Array:
        e = [x, self.conv(x, f"{prefix}e1_conv")]
        for n in range(2, 9):
            e.append(self.normed(self.conv(lrelu(e[-1]), f"{prefix}e{n}_conv"), f"{prefix}bn_e{n}"))
        y = e[8]
        for n in range(1, 8):
            y = self.deconv(np.maximum(y, 0), f"{prefix}d{n}", self.era.side // 2 ** (8 - n))
            y = self.normed(y, f"{prefix}bn_d{n}")
            if self.joins(n):
                y = np.concatenate([y, e[8 - n]], 3)
        return np.tanh(self.deconv(np.maximum(y, 0), f"{prefix}d8", self.era.side))

    def scores(self, x: Array, prefix: str) -> Array:
        x = lrelu(self.conv(x, f"{prefix}h0_conv"))
        for layer, (norm, stride) in self.era.layers.items():
            x = lrelu(self.normed(self.conv(x, f"{prefix}{layer}", stride), f"{prefix}{norm}"))
        if self.era.head == "h4":
            return self.conv(x, f"{prefix}h4", stride)
        head = f"{prefix}{self.era.head}"
        matrix, bias = self.variables[f"{head}/Matrix"], self.variables[f"{head}/bias"]
        return x.reshape(len(x), -1) @ matrix + bias


def lrelu(x: Array) -> Array:
    return np.maximum(x, 0.2 * x)


def ours(era: Era) -> dict[str, nn.Module]:
    """Our networks of that layout, by the names that `from_tensorflow` gives them."""
    a, b = CHANNELS["A"], CHANNELS["B"]
    with torch.device("meta"):  # no weights are drawn, as all are assigned
        return {
            "gen_ab": DualGanGenerator(a, b, WIDTH, **era.generator),
            "gen_ba": DualGanGenerator(b, a, WIDTH, **era.generator),
            "disc_a": DualGanDiscriminator(channels=a, width=WIDTH, **era.discriminator),
            "disc_b": DualGanDiscriminator(channels=b, width=WIDTH, **era.discriminator),
        }


@pytest.fixture(scope="module", params=ERAS)
def official(request) -> Official:
    return Official(ERAS[request.param])


@pytest.mark.parametrize("bgr", [False, True], ids=["rgb", "bgr"])
def test_with_its_variables_our_networks_compute_what_the_official_program_does(official, bgr):
    nets, side = ours(official.era), official.era.side
    states = from_tensorflow(official.variables, bgr)
    assert states.keys() == nets.keys()
    rng = np.random.default_rng(1)
    a, b = (rng.uniform(-1, 1, (2, side, side, CHANNELS[domain])) for domain in "AB")
    for name, x, run, prefix in [
        ("gen_ab", a, official.translated, "A_g_"),
        ("gen_ba", b, official.translated, "B_g_"),
        ("disc_a", a, official.scores, "B_d_"),
        ("disc_b", b, official.scores, "A_d_"),
    ]:
        nets[name].load_state_dict(states[name], strict=True, assign=True)
        found = nets[name](nchw(x).flip(1) if bgr else nchw(x))  # red first is blue last
        expected = run(x, prefix)
        assert expected.std() > 0.1  # neither constant nor saturated
        if found.dim() == 4:
            expected = nchw(expected)
            if bgr:
                expected = expected.flip(1)
        torch.testing.assert_close(found, torch.as_tensor(expected), rtol=1e-8, atol=1e-8)


def test_names_may_end_as_tensors_do_and_what_no_network_uses_is_dropped(official):
    extra = {"RMSProp": np.ones(1), "RMSProp_1": np.ones(1), "moving_mean": np.ones(1)}
    variables = {f"{name}:0": array for name, array in official.variables.items()}
    variables |= {f"B_g_bn_e2/{name}": array for name, array in extra.items()}
    variables |= {f"A_d_h0_conv/w/{name}:0": array for name, array in extra.items()}
    expected = from_tensorflow(official.variables, bgr=False)
    found = from_tensorflow(variables, bgr=False)
    assert found.keys() == expected.keys()
    for name, state in expected.items():
        torch.testing.assert_close(found[name], state, rtol=0, atol=0)
        assert all(value.is_contiguous() for value in found[name].values())  # safetensors' wish


@pytest.mark.parametrize(
    "name",
    [
        "global_step",
        "A_g_e9_conv/w",
        "A_g_e0_conv/w",
        "A_g_bn_e1/scale",
        "A_g_e1_conv/scale",
        "C_d_h0_conv/w",
        "A_g_e1_conv/w/Adam",
        "A_g_e1_conv/w/RMSProp_2",
        "x/A_g_e1_conv/w",
    ],
)
def test_a_name_that_fits_nowhere_is_refused(name):
    with pytest.raises(CheckpointError) as error:
        from_tensorflow({f"{name}:0": np.ones(1)}, bgr=False)
    assert str(error.value).startswith(f"{name} is no variable of duxingren14/DualGAN")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("prefix", ["A_g_", "B_g_", "A_d_", "B_d_"])
def test_networks_that_are_not_there_are_left_out(official, prefix):
    part = {name: a for name, a in official.variables.items() if name.startswith(prefix)}
    name = {"A_g_": "gen_ab", "B_g_": "gen_ba", "A_d_": "disc_b", "B_d_": "disc_a"}[prefix]
    assert from_tensorflow(part, bgr=False).keys() == {name}


@pytest.mark.parametrize("rows", [15, 4 * 6, 4])
def test_a_linear_layer_that_is_not_over_square_maps_is_refused(rows):
    # of 4 channels: no whole number of pixels, 6 pixels; a last convolution that isn't there
    variables = {"A_d_d_h3_lin/Matrix": np.ones((rows, 1))}
    if rows > 4:
        variables["A_d_h3_conv/biases"] = np.ones(4)
    with pytest.raises(CheckpointError, match=f"disc_b's linear layer has {rows} rows"):
        from_tensorflow(variables, bgr=False)


# --- Published numbers ---


def test_generators_have_as_many_weights_as_the_official_ones():
    with torch.device("meta"):
        assert count(DualGanGenerator()) == 30_627_907
        assert count(DualGanGenerator(kernel=5)) == 85_022_787
        # d7 and d8 see 128 and 64 channels less: 25 * (128 * 64 + 64 * 3) weights
        april = DualGanGenerator(kernel=5, norm="batch", unskipped=2)
        assert count(april) == 84_813_187 == 85_022_787 - 25 * (128 * 64 + 64 * 3)


def test_discriminators_have_as_many_weights_as_the_official_ones():
    with torch.device("meta"):
        net = DualGanDiscriminator("2020", "scalar")
        assert (count(net.h) + count(net.bn), count(net.last)) == (3_916_672, 32_769)
        net = DualGanDiscriminator("2020", "map")
        assert (count(net.h) + count(net.bn), count(net.last)) == (3_916_672, 9 * 512 + 1)
        assert count(DualGanDiscriminator("2017", "map")) == 4_321_153
        # 128x128 pixels, as in April 2017: three halvings leave 16x16 of 512 channels
        net = DualGanDiscriminator("2017", "scalar", norm="batch", size=(128, 128))
        assert count(net.last) == 16 * 16 * 512 + 1


def outputs(net: nn.Module, layers: nn.ModuleList, *images: Tensor) -> list[Tensor]:
    """What each of the layers makes."""
    found: list[Tensor] = []
    hooks = [layer.register_forward_hook(lambda *made: found.append(made[2])) for layer in layers]
    net(*images)
    for hook in hooks:
        hook.remove()
    return found


def inputs(net: nn.Module, layers: nn.ModuleList, *images: Tensor) -> list[Tensor]:
    """What each of the layers is given."""
    found: list[Tensor] = []
    hooks = [layer.register_forward_pre_hook(lambda _, x: found.append(x[0])) for layer in layers]
    net(*images)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("kernel", [3, 5])
def test_the_maps_of_the_generator_have_the_official_shapes(kernel):
    with torch.device("meta"):
        net, images = DualGanGenerator(kernel=kernel), torch.empty(2, 3, 256, 256)
        encoded, joined = outputs(net, net.e, images), inputs(net, net.d, images)
        assert net(images).shape == (2, 3, 256, 256)
    assert [tuple(each.shape[1:]) for each in encoded] == [
        (64, 128, 128), (128, 64, 64), (256, 32, 32), (512, 16, 16),
        (512, 8, 8), (512, 4, 4), (512, 2, 2), (512, 1, 1),
    ]  # fmt: skip
    assert [tuple(each.shape[1:]) for each in joined] == [  # e8, then d1 ... d7 with e7 ... e1
        (512, 1, 1), (1024, 2, 2), (1024, 4, 4), (1024, 8, 8),
        (1024, 16, 16), (512, 32, 32), (256, 64, 64), (128, 128, 128),
    ]  # fmt: skip


@pytest.mark.parametrize(("unskipped", "given"), [(0, [256, 128]), (1, [256, 64]), (2, [128, 64])])
def test_unskipped_maps_dont_join_the_decoder(unskipped, given):
    with torch.device("meta"):
        net, images = DualGanGenerator(unskipped=unskipped), torch.empty(1, 3, 256, 256)
        joined = [each.shape[1] for each in inputs(net, net.d, images)]
    assert joined == [512, 1024, 1024, 1024, 1024, 512, *given]


@pytest.mark.parametrize(
    ("era", "output", "shape"),
    [
        ("2020", "map", (2, 1, 4, 4)),
        ("2020", "scalar", (2, 1)),
        ("2017", "map", (2, 1, 32, 32)),
        ("2017", "scalar", (2, 1)),
    ],
)
def test_a_discriminator_gives_a_map_or_one_score_an_image(era, output, shape):
    with torch.device("meta"):
        assert DualGanDiscriminator(era, output)(torch.empty(2, 3, 256, 256)).shape == shape


@pytest.mark.parametrize("era", ["2020", "2017"])
def test_a_scalar_is_of_images_of_any_one_size(era):
    with torch.device("meta"):
        net = DualGanDiscriminator(era, "scalar", 1, size=(37, 51))
        assert net(torch.empty(2, 1, 37, 51)).shape == (2, 1)


def without_norms(net: nn.Module) -> nn.Module:
    """Its statistics are of the whole image."""
    net.bn = nn.ModuleList(nn.Identity() for _ in net.bn)
    return net


@pytest.mark.parametrize(("era", "side"), [("2020", 129), ("2017", 93)])
def test_a_score_of_the_map_judges_a_patch_of_the_known_side(era, side):
    net = without_norms(DualGanDiscriminator(era, "map", width=1).double())
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.1)  # nothing can cancel
    image = torch.ones(1, 3, 256, 256, dtype=torch.float64, requires_grad=True)
    scores = net(image)[0, 0]
    scores[len(scores) // 2 - 1, len(scores) // 2 - 1].backward()
    for pixels in image.grad[0, 0].nonzero(as_tuple=True):
        assert pixels.min() > 0  # not cut off by the border
        assert pixels.max() < 255
        assert pixels.max() - pixels.min() + 1 == side


@pytest.mark.parametrize("size", [(37, 51), (1, 1), (2, 300)])
@pytest.mark.parametrize("build", [{}, {"kernel": 5, "norm": "batch", "unskipped": 2}])
def test_images_of_any_size_come_out_as_they_went_in(build, size):
    with torch.device("meta"):
        net = DualGanGenerator(1, 3, width=4, **build)
        assert net(torch.empty(2, 1, *size)).shape == (2, 3, *size)
        for era in ("2020", "2017"):
            DualGanDiscriminator(era, "map", 1, width=4)(torch.empty(2, 1, *size))


# --- Normalisation ---


def normalised(images: Tensor, axes: tuple[int, ...], eps: float, norm: Norm) -> Tensor:
    mean = images.mean(axes, keepdim=True)
    variance = ((images - mean) ** 2).mean(axes, keepdim=True)
    found = (images - mean) / (variance + eps).sqrt()
    return found * norm.weight[:, None, None] + norm.bias[:, None, None]


def a_norm(over: str, bottleneck: str = "erased", channels: int = 3) -> Norm:
    """One whose weights were trained."""
    norm = Norm(channels, over, bottleneck).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


@pytest.mark.parametrize(("over", "axes"), [("instance", (2, 3)), ("batch", (0, 2, 3))])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 3, 1, 2), (1, 3, 4, 1)])
def test_moments_are_of_each_image_or_of_the_batch(over, axes, size):
    norm, images = a_norm(over), torch.randn(size, dtype=torch.float64)
    expected = normalised(images, axes, 1e-6 if over == "instance" else 1e-5, norm)
    torch.testing.assert_close(norm(images), expected)


@pytest.mark.parametrize(("over", "eps"), [("instance", 1e-6), ("batch", 1e-5)])
def test_eps_is_added_to_the_variance(over, eps):
    images = sqrt(eps) * torch.tensor([-1.0, 1.0], dtype=torch.float64).reshape(1, 1, 1, 2)
    norm = Norm(1, over).double()
    nn.init.ones_(norm.weight)
    expected = torch.tensor([-sqrt(0.5), sqrt(0.5)]).double()  # sqrt(eps / (eps + eps))
    torch.testing.assert_close(norm(images).flatten(), expected)


@pytest.mark.parametrize("over", ["instance", "batch"])
def test_a_norm_keeps_no_moments_for_evaluation(over):
    norm = a_norm(over)
    images, others = torch.randn(2, 2, 3, 4, 4, dtype=torch.float64)
    expected = norm(images)
    norm(5 * others + 3)
    torch.testing.assert_close(norm.eval()(images), expected, rtol=0, atol=0)
    assert norm.state_dict().keys() == {"weight", "bias"}


# With instance norm, the second image doesn't help.
ALONE = [("instance", 2), ("instance", 1), ("batch", 1)]


@pytest.mark.parametrize(("over", "images"), ALONE)
def test_a_single_position_is_erased(over, images):
    norm = a_norm(over)
    x = torch.randn(images, 3, 1, 1, dtype=torch.float64, requires_grad=True)
    y = norm(x)
    assert torch.equal(y, norm.bias[:, None, None].expand(images, 3, 1, 1))
    (y * torch.randn_like(y)).sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))
    assert torch.equal(norm.weight.grad, torch.zeros(3))
    assert (norm.bias.grad != 0).all()


@pytest.mark.parametrize(("over", "images"), ALONE)
def test_a_single_position_is_kept_if_asked_for(over, images):
    norm, x = a_norm(over, "kept"), torch.randn(images, 3, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(
        norm(x), x * norm.weight[:, None, None] + norm.bias[:, None, None], rtol=0, atol=0
    )


@pytest.mark.parametrize("bottleneck", ["erased", "kept"])
def test_the_other_images_of_a_batch_are_positions_too(bottleneck):
    norm, images = a_norm("batch", bottleneck), torch.randn(2, 3, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(norm(images), normalised(images, (0, 2, 3), 1e-5, norm))


@pytest.mark.parametrize("bottleneck", ["erased", "kept"])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_the_innermost_map_is_the_same_for_all_images_if_erased(norm, bottleneck):
    net = DualGanGenerator(width=1, norm=norm, bottleneck=bottleneck)
    maps = [outputs(net, net.bn_e, torch.randn(1, 3, 256, 256))[-1] for _ in range(2)]
    assert maps[0].shape == (1, 8, 1, 1)
    assert torch.equal(*maps) == (bottleneck == "erased")


# --- Dropout ---


def net_of_ones(**options: float) -> DualGanGenerator:
    """All norms give ones, so that dropout alone decides what the decoder's maps are."""
    net = DualGanGenerator(width=16, **options)
    for norm in [*net.bn_e, *net.bn_d]:
        nn.init.zeros_(norm.weight)
        nn.init.ones_(norm.bias)
    return net


@pytest.mark.parametrize("training", [True, False])
def test_dropout_acts_on_the_three_innermost_maps_of_the_decoder(training):
    torch.manual_seed(0)
    net = net_of_ones(dropout=0.25).train(training)
    with torch.no_grad():
        joined = inputs(net, net.d, torch.randn(2, 3, 256, 256))[1:]
    for index, (each, conv) in enumerate(zip(joined, net.d[:-1], strict=True)):
        decoded, encoded = each[:, : conv.out_channels], each[:, conv.out_channels :]
        expected = [0, 4 / 3] if index < 3 else [1]
        assert decoded.unique().tolist() == pytest.approx(expected)
        if index < 6:  # e1 has no norm
            assert encoded.unique().tolist() == [1]
        if index == 2:  # 16384 numbers of deviation sqrt(1/3): their mean's is 0.0045
            assert decoded.mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("dropout", "same"), [(0.0, True), (0.5, False)])
def test_only_dropout_makes_a_translation_random(dropout, same):
    net, images = DualGanGenerator(width=1, dropout=dropout).eval(), torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        assert torch.equal(net(images), net(images)) == same


# --- Initial weights ---

# Of a normal distribution cut off at 2 deviations, 1 - 4 * pdf(2) / (cdf(2) - cdf(-2)) of the
# variance is left.
TRUNCATED = 0.02 * sqrt(1 - 4 * exp(-2) / sqrt(2 * pi) / 0.9544997)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_initial_weights_are_drawn_as_in_ops_py(norm):
    torch.manual_seed(0)
    nets = [
        DualGanGenerator(width=16, norm=norm),
        DualGanDiscriminator("2020", "scalar", width=16, norm=norm),
        DualGanDiscriminator("2017", "map", width=16, norm=norm),
    ]
    modules = [module for net in nets for module in net.modules()]
    for kind, std in ((SameConv2d, TRUNCATED), (SameConvTranspose2d, 0.02), (nn.Linear, 0.02)):
        layers = [module for module in modules if isinstance(module, kind)]
        weights = torch.cat([layer.weight.detach().flatten() for layer in layers])
        assert weights.mean() == pytest.approx(0, abs=0.001)
        assert weights.std() == pytest.approx(std, rel=0.02)
        assert (weights.abs().max() <= 0.04) == (kind is SameConv2d)
        assert all((layer.bias == 0).all() for layer in layers)
    norms = [module for module in modules if isinstance(module, Norm)]
    weights = torch.cat([each.weight.detach() for each in norms])
    assert weights.mean() == pytest.approx(1, abs=0.005)
    assert weights.std() == pytest.approx(0.02 if norm == "instance" else 0, rel=0.1)
    assert all((each.bias == 0).all() for each in norms)


@pytest.mark.parametrize("over", ["instance", "batch"])
def test_in_half_precision_a_flat_maps_slope_has_finite_gradients(over):
    """The second derivative has the cube of 1 / deviation: 50^3 is no number of float16."""
    norm = Norm(2, over)
    flat = (0.02 * torch.randn(2, 2, 4, 4)).half().requires_grad_()
    (slope,) = torch.autograd.grad(norm(flat).pow(3).sum(), flat, create_graph=True)
    (1e-3 * slope.float().square().sum()).backward()  # so that what is finite fits
    assert flat.grad.isfinite().all()
    assert norm.weight.grad.isfinite().all()
