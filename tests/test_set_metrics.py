"""Metrics of collections, and the features that they compare."""

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import linalg, ndimage, stats
from torch import Tensor, nn

from gan_style import weights
from gan_style.data.images import spread, to_array, to_tensor
from gan_style.errors import ConfigError, DataError
from gan_style.evaluation import metrics
from gan_style.evaluation.metric import Info, SetMetric
from gan_style.evaluation.metrics import _features, fid, kid, precision_recall, sliced_wasserstein

SETS = ("fid", "kid", "precision_recall", "sliced_wasserstein")
BEST = {"fid": 0.0, "precision_recall": 1.0, "sliced_wasserstein": 0.0}
LEVEL = 3 * 49  # numbers in a patch
PHOTOS = Path(__file__).parents[2] / "shared" / "data" / "monet2photo.zip"


def distance(name: str, a: Tensor, b: Tensor, seed: int = 0) -> dict[str, float]:
    metric: SetMetric = metrics.load(name).Metric()
    return metric.distance(a, b, seed)


def value(name: str, a: Tensor, b: Tensor) -> float:
    return distance(name, a, b)["value"]


def normal(*shape: int, seed: int = 0, mean: float = 0.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + mean


def skewed(count: int, seed: int, dimensions: int = 8) -> Tensor:
    """No Gaussian, and correlated: features as rows of a network after a ReLU might be."""
    mixture = normal(dimensions, dimensions, seed=99)
    return (normal(count, dimensions, seed=seed) @ mixture).relu()


def patches(count: int, seed: int, roughness: float = 1.0) -> Tensor:
    """Two levels of patches: noise on a gradient of random strength."""
    ramp = torch.linspace(-1, 1, 49).expand(2, 3, 49)
    strength = normal(count, 2, 3, 1, seed=seed + 1)
    return (roughness * normal(count, 2, 3, 49, seed=seed) + strength * ramp).flatten(1)


def sample(name: str, count: int, seed: int) -> Tensor:
    return patches(count, seed) if name == "sliced_wasserstein" else skewed(count, seed)


# Laws of all of them


@pytest.mark.parametrize("name", SETS)
def test_a_metric_of_collections_says_what_it_is(name: str):
    module = metrics.load(name)
    assert isinstance(module.INFO, Info)
    assert isinstance(module.Metric(), SetMetric)
    assert module.INFO.against == "collection"
    assert module.INFO.features
    assert set(module.INFO.features) <= set(_features.names())
    assert module.INFO.weights == _features.needs(module.INFO.features[0])
    assert all(part in module.__doc__ for part in module.INFO.source.split(", "))
    assert all(isinstance(v, float) for v in distance(name, *[sample(name, 8, 0)] * 2).values())


@pytest.mark.parametrize("name", BEST)
@pytest.mark.parametrize("count", [7, 40])  # fewer and more images than dimensions
def test_equal_collections_in_another_order_have_the_best_value(name: str, count: int):
    features = sample(name, count, seed=1)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    assert value(name, features, features[order]) == pytest.approx(BEST[name], abs=1e-4)


@pytest.mark.parametrize("name", SETS)
def test_the_order_of_images_changes_nothing(name: str):
    a, b = sample(name, 30, seed=1), sample(name, 20, seed=5)
    shuffled = distance(name, a.flip(0), b.roll(3, dims=0))
    expected = distance(name, a, b)
    assert shuffled.keys() == expected.keys()
    for key in expected.keys() - {"std"}:  # of subsets, which are drawn by place
        assert shuffled[key] == pytest.approx(expected[key], rel=1e-5), key


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("counts", [(24, 24), (30, 21)])
def test_swapped_collections_have_the_same_value(name: str, counts: tuple[int, int]):
    a, b = sample(name, counts[0], seed=1), sample(name, counts[1], seed=5)
    assert value(name, a, b) == pytest.approx(value(name, b, a), rel=1e-9)


@pytest.mark.parametrize("name", SETS)
def test_a_collection_that_drifts_away_gets_worse(name: str):
    if name == "sliced_wasserstein":
        drifted = [patches(60, seed=5, roughness=1 + step) for step in range(4)]
    else:
        drifted = [skewed(60, seed=5) + step / 2 for step in range(4)]
    values = [value(name, each, sample(name, 60, seed=1)) for each in drifted]
    lower = metrics.load(name).INFO.better == "lower"
    assert values == sorted(values, reverse=not lower)
    assert len(set(values)) == 4


@pytest.mark.parametrize("name", SETS)
def test_the_global_seed_is_neither_read_nor_moved(name: str):
    a, b = sample(name, 12, seed=1), sample(name, 12, seed=5)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = distance(name, a, b)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert distance(name, a, b) == first


@pytest.mark.parametrize("name", SETS)
def test_features_are_left_as_they_were(name: str):
    a, b = sample(name, 12, seed=1), sample(name, 12, seed=5)
    copies = a.clone(), b.clone()
    distance(name, a, b)
    assert torch.equal(a, copies[0])
    assert torch.equal(b, copies[1])


@pytest.mark.parametrize(
    ("name", "fewest"),
    [("fid", 2), ("kid", 4), ("precision_recall", 4), ("sliced_wasserstein", 1)],
)
def test_too_few_images_are_refused_and_enough_have_a_number(name: str, fewest: int):
    many, few = sample(name, 9, seed=1), sample(name, fewest, seed=5)
    assert all(math.isfinite(number) for number in distance(name, many, few).values())
    assert all(math.isfinite(number) for number in distance(name, few, few).values())
    for a, b in ((many, few[1:]), (few[1:], many)):
        with pytest.raises(DataError, match=rf"too few.*at least {fewest} of each"):
            distance(name, a, b)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("side", ["translated", "real"])
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_is_no_number_is_refused(name: str, side: str, number: float):
    features = {"translated": sample(name, 8, seed=1), "real": sample(name, 8, seed=5)}
    features[side][3, 2] = number
    with pytest.raises(DataError, match=f"{side} images hold NaN"):
        distance(name, features["translated"], features["real"])


@pytest.mark.parametrize("name", SETS)
def test_features_of_images_of_two_sizes_are_refused(name: str):
    with pytest.raises(DataError, match=f"{LEVEL} features and real ones {2 * LEVEL}: .*one size"):
        distance(name, normal(8, LEVEL), normal(8, 2 * LEVEL))


# FID


def fid_by_root(a: Tensor, b: Tensor) -> float:
    """The formula as it stands, with scipy's root of a matrix."""
    x, y = a.double().numpy(), b.double().numpy()
    c, d = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = linalg.sqrtm(c @ d).real
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(c + d - 2 * root))


@pytest.mark.parametrize("counts", [(60, 60), (60, 25), (25, 90), (6, 60), (60, 6), (5, 7)])
def test_fid_is_the_formula(counts: tuple[int, int]):
    a, b = skewed(counts[0], seed=1), skewed(counts[1], seed=2) + 0.3
    # Of fewer images than dimensions the product has eigenvalues 0, whose roots scipy has to 1e-8.
    assert value("fid", a, b) == pytest.approx(fid_by_root(a, b), rel=1e-6)


def whitened(count: int, dimensions: int, seed: int = 0) -> Tensor:
    """Mean 0 and covariance 1, exactly."""
    x = normal(count, dimensions, seed=seed).double()
    x -= x.mean(0)
    return torch.linalg.qr(x).Q * (count - 1) ** 0.5


def test_fid_of_gaussians_with_one_covariance_is_the_squared_shift():
    x = whitened(50, 6)
    shift = torch.arange(6.0)
    assert value("fid", x + shift, x) == pytest.approx(0 + 1 + 4 + 9 + 16 + 25)


def test_fid_of_gaussians_with_other_deviations_is_their_squared_difference():
    x, y = whitened(50, 3), whitened(70, 3, seed=1)
    # (1 - 2)^2 + (5 - 2)^2 + (0 - 2)^2, dimensions being independent
    assert value("fid", x * torch.tensor([1.0, 5, 0]), y * 2) == pytest.approx(1 + 9 + 4)


def test_fid_far_from_the_origin_keeps_its_digits():
    a, b = skewed(40, seed=1).double(), skewed(40, seed=2).double()
    near, far = value("fid", a, b), value("fid", a + 1e5, b + 1e5)
    assert far == pytest.approx(near, rel=1e-6)


def test_fid_takes_no_more_room_than_a_square_of_features():
    assert fid._factor(normal(300, 4)).shape == (4, 4)
    assert fid._factor(normal(3, 4)).shape == (3, 4)


def test_fid_of_few_images_is_too_high():
    few = [value("fid", normal(16, 8, seed=i), normal(16, 8, seed=100 + i)) for i in range(20)]
    many = [value("fid", normal(256, 8, seed=i), normal(256, 8, seed=100 + i)) for i in range(20)]
    assert np.mean(few) > 8 * np.mean(many) > 0  # the bias goes with 1 / count: 16 times


def test_fid_says_where_there_are_few_images():
    few, enough = normal(2047, 2), normal(2048, 2, seed=1)
    found = distance("fid", enough, few)
    assert (found["images"], found["few"]) == (2047, 1)
    found = distance("fid", enough, enough)
    assert (found["images"], found["few"]) == (2048, 0)


# KID


def kid_of(a: Tensor, b: Tensor) -> float:
    a, b = a.double(), b.double()
    return kid.unbiased(kid.kernel(a, a), kid.kernel(b, b), kid.kernel(a, b)).item()


def kid_pair_by_pair(a: Tensor, b: Tensor) -> float:
    def k(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    x, y = a.double().numpy(), b.double().numpy()
    same = [
        np.mean([k(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j])
        for z in (x, y)
    ]
    return float(sum(same) - 2 * np.mean([k(u, v) for u in x for v in y]))


@pytest.mark.parametrize("counts", [(12, 12), (9, 17)])
def test_kid_is_the_formula(counts: tuple[int, int]):
    a, b = skewed(counts[0], seed=1), skewed(counts[1], seed=2)
    assert value("kid", a, b) == pytest.approx(kid_pair_by_pair(a, b), rel=1e-9)


def test_kid_of_two_samples_of_one_collection_is_0_on_average():
    values = np.array([
        kid_of(skewed(20, seed=i), skewed(20, seed=1000 + i)) for i in range(150)
    ])  # fmt: skip
    error = values.std() / len(values) ** 0.5
    assert abs(values.mean()) < 3 * error
    assert (values < 0).any()
    # With each image compared with itself too, the mean would be this far off.
    x = skewed(2000, seed=5).double()
    own = ((x.square().mean(1) + 1) ** 3).mean() - kid.kernel(x, x).mean()
    assert 2 * own / 20 > 10 * error


def test_kid_does_not_depend_on_how_many_images_there_are():
    few = [kid_of(skewed(8, seed=i), skewed(8, seed=500 + i) + 0.5) for i in range(100)]
    many = kid_of(skewed(2000, seed=1), skewed(2000, seed=2) + 0.5)
    assert abs(np.mean(few) - many) < 3 * np.std(few) / 10


def test_the_value_of_kid_is_the_mean_over_subsets():
    a, b = skewed(40, seed=1), skewed(40, seed=2) + 0.3
    generator = torch.Generator().manual_seed(0)
    subsets = [
        kid_of(a[torch.randperm(40, generator=generator)[:20]], b) for _ in range(400)
    ]  # one side is enough to draw
    error = np.std(subsets) / 20
    assert abs(np.mean(subsets) - value("kid", a, b)) < 3 * error


def test_the_seed_of_kid_draws_subsets_only():
    a, b = skewed(30, seed=1), skewed(30, seed=2)
    first, again, other = (distance("kid", a, b, seed) for seed in (0, 0, 1))
    assert first == again
    assert first["value"] == other["value"]
    assert first["std"] != other["std"]


def test_the_std_of_kid_is_how_much_other_images_would_change_it():
    found = [distance("kid", skewed(40, seed=i), skewed(60, seed=500 + i) + 0.5) for i in range(60)]
    redrawn = np.std([each["value"] for each in found])
    assert np.median([each["std"] for each in found]) == pytest.approx(redrawn, rel=0.3)


def test_the_std_of_kid_is_of_subsets_of_1000_where_there_are_more(monkeypatch: Any):
    asked = []
    real = torch.randperm

    def randperm(count: int, generator: torch.Generator) -> Tensor:
        asked.append(real(count, generator=generator))
        return asked[-1]

    monkeypatch.setattr(torch, "randperm", randperm)
    generator = torch.Generator().manual_seed(0)
    sizes = {count: len(kid.subset(count, generator)) for count in (4, 9, 1072, 2000, 6287)}
    assert sizes == {4: 2, 9: 4, 1072: 536, 2000: 1000, 6287: 1000}
    asked.clear()
    a, b = skewed(10, seed=1), skewed(13, seed=2)
    found = distance("kid", a, b)["std"]
    assert [len(each) for each in asked] == [10, 13] * 100
    pairs = zip(asked[::2], asked[1::2], strict=True)
    expected = [kid_of(a[i[:5]], b[j[:6]]) for i, j in pairs]
    assert found == pytest.approx(np.std(expected, ddof=1))


# Precision and recall


def modes(*centres: float, count: int = 30, seed: int = 0) -> Tensor:
    """`count` points around each centre on a diagonal, much closer to each other than centres."""
    return torch.cat([normal(count, 3, seed=seed + i) + 100 * c for i, c in enumerate(centres)])


def test_a_collection_that_lacks_a_mode_loses_recall_and_one_too_many_precision():
    complete, lacking = modes(0, 1, 2, 3), modes(0, 1, 2, seed=50)
    found = distance("precision_recall", lacking, complete)
    assert found["precision"] > 0.7
    assert found["recall"] <= 0.75  # three of four modes
    assert found["recall"] > 0.5
    swapped = distance("precision_recall", complete, lacking)
    assert swapped["precision"] == found["recall"]
    assert swapped["recall"] == found["precision"]


def test_collections_far_apart_have_neither():
    found = distance("precision_recall", modes(0), modes(5))
    assert found == {"value": 0.0, "precision": 0.0, "recall": 0.0}


def test_one_good_image_over_and_over_is_precise_but_recalls_nothing():
    real = modes(0)
    found = distance("precision_recall", real[:1].expand(30, 3), real)
    assert found["precision"] == 1
    assert found["recall"] == pytest.approx(1 / 30)  # itself
    assert found["value"] == pytest.approx(2 / 31)  # harmonic mean of 1 and 1/30


def test_a_ball_reaches_to_the_third_nearest_other_image():
    real = torch.tensor([[0.0], [1], [3], [7], [100], [1000]])
    # Third nearest: of 0 at 7, of 1 at 6, of 3 at 4 (7 - 3; 0 and 1 are nearer), of 7 at 7 (0),
    # of 100 at 99 (1), of 1000 at 997 (3). Balls: up to 14, from 1 to 199, from 3.
    translated = torch.tensor([[-7.0], [-7.1], [199], [3.0], [1997], [1997.5], [-50], [-0.5]])
    inside = [1, 0, 1, 1, 1, 0, 0, 1]
    found = distance("precision_recall", translated, real)
    assert found["precision"] == sum(inside) / 8


def test_copies_of_equal_images_are_inside_their_ball_of_radius_0():
    one, others = 100 + normal(1, 301), 200 + normal(50, 301, seed=1)
    translated = torch.cat([one, 300 + normal(49, 301, seed=2)])
    found = distance("precision_recall", translated, torch.cat([one.expand(4, 301), others]))
    assert found["precision"] == 1 / 50


def test_precision_and_recall_far_from_the_origin_are_the_same():
    a, b = skewed(40, seed=1).double(), skewed(40, seed=2).double() + 0.3
    expected = distance("precision_recall", a, b)
    assert 0 < expected["precision"] < 1
    assert distance("precision_recall", a + 1e9, b + 1e9) == expected


def test_distances_in_blocks_are_the_same(monkeypatch: pytest.MonkeyPatch):
    a, b = skewed(31, seed=1), skewed(23, seed=2)
    expected = distance("precision_recall", a, b)
    monkeypatch.setattr(precision_recall, "ROWS", 5)
    assert distance("precision_recall", a, b) == expected


# Sliced Wasserstein distance


@pytest.mark.parametrize("counts", [(20, 20), (20, 30), (7, 13), (1, 9)])
def test_the_sliced_distance_is_scipys_along_each_direction(counts: tuple[int, int]):
    a, b = normal(counts[0], 5), normal(counts[1], 5, seed=1).exp()
    directions = normal(5, 100, seed=2)
    expected = [
        stats.wasserstein_distance((a @ along).numpy(), (b @ along).numpy())
        for along in directions.unbind(1)
    ]
    found = sliced_wasserstein.sliced(a, b, directions)
    assert found == pytest.approx(np.mean(expected), rel=1e-5)


def test_swd_is_the_mean_over_levels_each_normalised_by_itself_times_1000():
    a, b = patches(20, seed=1), patches(30, seed=7, roughness=2)
    found = distance("sliced_wasserstein", a, b, seed=3)
    directions = sliced_wasserstein._directions(3)
    torch.testing.assert_close(directions.norm(dim=0), torch.ones(512))
    levels = []
    for level in (0, 1):
        sides = []
        for each in (a, b):
            x = each.view(-1, 2, 3, 49)[:, level].numpy()
            x = (x - x.mean((0, 2), keepdims=True)) / x.std((0, 2), keepdims=True)
            sides.append(torch.from_numpy(x).flatten(1))
        levels.append(1000 * sliced_wasserstein.sliced(*sides, directions))
    assert [found["level_0"], found["level_1"]] == pytest.approx(levels, rel=1e-5)
    assert found["value"] == pytest.approx(sum(levels) / 2, rel=1e-5)
    assert found.keys() == {"value", "level_0", "level_1"}


def test_swd_does_not_see_brightness_contrast_and_colour_cast():
    a, b = patches(20, seed=1), patches(20, seed=7)
    cast = torch.tensor([0.5, 2.0, 3.0])[:, None] * b.view(-1, 2, 3, 49) + torch.ones(3, 1)
    expected = value("sliced_wasserstein", a, b)
    assert value("sliced_wasserstein", a, cast.flatten(1)) == pytest.approx(expected, rel=1e-4)


def test_the_rounding_of_flat_images_is_not_blown_up():
    flat = normal(20, 2 * LEVEL) * 1e-7 + 0.5
    a = patches(20, seed=1)
    noise = value("sliced_wasserstein", a, flat)
    assert noise == pytest.approx(value("sliced_wasserstein", a, torch.zeros_like(a)), rel=1e-3)


def test_the_seed_of_swd_draws_directions():
    a, b = patches(20, seed=1), patches(20, seed=7)
    first, again, other = (distance("sliced_wasserstein", a, b, seed) for seed in (0, 0, 1))
    assert first == again
    assert first["value"] != other["value"]
    assert first["value"] == pytest.approx(other["value"], rel=0.1)


# Features


def images(count: int, height: int = 36, width: int = 40, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, height, width, generator=generator)


@pytest.fixture
def without_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small stand-ins for the published networks, of the same input and output."""

    class Program(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)  # in training mode it would mix images of a batch

        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[1:] == (3, 299, 299)
            return self.norm(x)[:, :, ::13, ::13].flatten(1)

    real = _features.VGG
    monkeypatch.setattr(weights, "load_program", lambda _: Program())
    monkeypatch.setattr(
        _features, "VGG", lambda layers, depth, family: real(layers, depth, "random")
    )


def test_extractors_have_the_weights_that_they_say():
    assert _features.names() == ["alex", "inception", "patches", "vgg16"]
    found = {name: _features.needs(name) for name in _features.names()}
    assert found == {
        "alex": ("lpips_alex",),
        "inception": ("inception",),
        "patches": (),
        "vgg16": ("vgg16_torchvision",),
    }
    assert {name for each in found.values() for name in each} <= set(weights.known())


@pytest.mark.parametrize("function", [_features.extractor, _features.needs])
def test_unknown_features_are_a_question(function: Any):
    with pytest.raises(ConfigError, match="no features 'inceptoin': did you mean 'inception'"):
        function("inceptoin")


@pytest.mark.usefixtures("without_files")
@pytest.mark.parametrize("name", _features.names())
def test_features_of_an_image_do_not_depend_on_its_batch(name: str):
    extractor = _features.extractor(name)
    batch = images(5)
    rows = _features.PATCHES if name == "patches" else 1
    together = extractor(batch)
    assert together.dtype == torch.float32
    assert len(together) == 5 * rows
    assert not together.requires_grad
    alone = torch.cat([extractor(image[None]) for image in batch])
    torch.testing.assert_close(together, alone)
    reverse = extractor(batch.flip(0)).view(5, rows, -1).flip(0).flatten(0, 1)
    torch.testing.assert_close(together, reverse)


@pytest.mark.usefixtures("without_files")
@pytest.mark.parametrize("name", _features.names())
def test_an_extractor_neither_reads_nor_moves_the_global_seed(name: str):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = _features.extractor(name)(images(1))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(_features.extractor(name)(images(1)), first)


@pytest.mark.usefixtures("without_files")
@pytest.mark.parametrize(("name", "side"), [("vgg16", 32), ("patches", 16)])
def test_images_that_are_too_small_are_refused(name: str, side: int):
    extractor = _features.extractor(name)
    assert extractor(images(1, side, side)).isfinite().all()
    with pytest.raises(DataError, match=rf"40x{side - 1} pixels .*{name}, which need {side}"):
        extractor(images(1, side - 1, 40))


def test_inception_gets_what_pytorch_fid_gives_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weights, "load_program", lambda _: nn.Identity())
    extractor = _features.extractor("inception")
    flat = torch.tensor([0.0, 128 / 255, 1]).view(3, 1, 1, 1).expand(3, 3, 20, 30)
    levels = extractor(flat)
    assert levels.shape == (3, 3, 299, 299)
    torch.testing.assert_close(levels.amin((1, 2, 3)), torch.tensor([-1, 0, 127 / 128]))
    torch.testing.assert_close(levels.amax((1, 2, 3)), torch.tensor([-1, 0, 127 / 128]))
    # Bilinear with half-pixel centres: of twice the size, pixel i lies between 2 i and 2 i + 1.
    large = images(1, 598, 598)
    between = (large[..., ::2, ::2] + large[..., 1::2, ::2]) / 4
    between += (large[..., ::2, 1::2] + large[..., 1::2, 1::2]) / 4
    torch.testing.assert_close(extractor(large), (between * 255 - 128) / 128)
    huge = images(1, 299 * 4, 299 * 4)  # of 4x4 pixels the inner four count, as nothing is blurred
    inner = sum(huge[..., y::4, x::4] for y in (1, 2) for x in (1, 2)) / 4
    torch.testing.assert_close(extractor(huge), (inner * 255 - 128) / 128)


@pytest.mark.usefixtures("without_files")
def test_vgg16_is_relu5_3_averaged_over_positions():
    extractor = _features.extractor("vgg16")
    (whole,) = extractor.net(images(1, 64, 48)).values()
    assert list(extractor.net(images(1))) == ["relu5_3"]
    assert whole.shape == (1, 512, 4, 3)
    found = extractor(images(1, 64, 48))
    torch.testing.assert_close(found[0], whole[0].flatten(1).sum(1) / 12)


def test_the_pyramid_is_burt_and_adelsons():
    picture = images(1, 40, 67)[0]
    levels = _features._laplacian(picture[None])
    assert [tuple(level.shape[2:]) for level in levels] == [(40, 67), (20, 34)]
    line = np.array([1, 4, 6, 4, 1]) / 16

    def blurred(x: np.ndarray) -> np.ndarray:
        return ndimage.convolve(x, line[None, :, None] * line, mode="mirror")

    source = picture.double().numpy()
    smaller = blurred(source)[:, ::2, ::2]
    spread = np.zeros_like(source)
    spread[:, ::2, ::2] = smaller
    np.testing.assert_allclose(levels[1][0], smaller, atol=1e-6)
    np.testing.assert_allclose(levels[0][0], source - 4 * blurred(spread), atol=1e-6)


@pytest.mark.parametrize(
    ("height", "width", "levels"), [(256, 256, 5), (31, 99, 2), (30, 30, 1), (16, 900, 1)]
)
def test_levels_go_down_to_16_pixels(height: int, width: int, levels: int):
    found = _features._laplacian(images(1, height, width))
    assert len(found) == levels
    assert min(found[-1].shape[2:]) >= 16
    rows = _features.extractor("patches")(images(1, height, width))
    assert rows.shape == (128, levels * LEVEL)


def test_patches_are_cut_out_of_their_level():
    picture = images(1, 36, 40)
    coarse = _features._laplacian(picture)[1][0]
    rows = _features.extractor("patches")(picture)[:, LEVEL:].view(128, 3, 7, 7)
    places = set()
    for patch in rows:
        every = coarse.unfold(1, 7, 1).unfold(2, 7, 1)
        distances = (every - patch[:, None, None]).abs().amax(dim=(0, 3, 4))
        assert distances.min() == 0
        places.add(divmod(int(distances.argmin()), distances.shape[1]))
    assert {y for y, _ in places} == set(range(18 - 6))
    assert {x for _, x in places} == set(range(20 - 6))


def test_other_images_have_patches_at_other_places():
    rows = _features.extractor("patches")(torch.cat([images(1), images(1) + 1e-6]))
    one, other = rows.view(2, 128, -1)
    assert (one - other).abs().max() > 0.1


def test_swd_of_images_sees_what_blurs_them_at_the_finest_level_first():
    sharp, others = images(12, 64, 64, seed=1), images(12, 64, 64, seed=2)
    extractor = _features.extractor("patches")
    found = distance("sliced_wasserstein", extractor(_features._blur(sharp)), extractor(others))
    same = distance("sliced_wasserstein", extractor(sharp), extractor(others))
    excess = {level: found[level] - same[level] for level in same}
    assert list(same) == ["value", "level_0", "level_1", "level_2"]
    assert excess["level_0"] > 4 * abs(excess["level_2"])
    assert found["value"] > 1.2 * same["value"]


# The published network, and the library


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`:UserWarning")
def test_torchmetrics_agrees():
    theirs = [pytest.importorskip(f"torchmetrics.image.{name}") for name in ("fid", "kid")]
    frechet, kernel = theirs[0].FrechetInceptionDistance, theirs[1].KernelInceptionDistance

    def library(metric: Any) -> Any:
        metric.update(a.double(), real=False)
        metric.update(b.double(), real=True)
        return metric.compute()

    a, b = skewed(60, seed=1, dimensions=64), skewed(60, seed=2, dimensions=64) + 0.1
    net = nn.Identity()
    net.num_features = 64
    assert value("fid", a, b) == pytest.approx(library(frechet(feature=net)).item(), rel=1e-5)
    whole, _ = library(kernel(feature=net, subsets=1, subset_size=60))
    assert value("kid", a, b) == pytest.approx(whole.item(), rel=1e-9)
    torch.manual_seed(0)
    _, std = library(kernel(feature=net, subsets=500, subset_size=30))
    assert distance("kid", a, b)["std"] == pytest.approx(std.item(), rel=0.25)


@pytest.mark.weights
def test_inception_gives_an_image_2048_numbers_whatever_its_batch():
    extractor = _features.extractor("inception")
    with torch.inference_mode():
        together = extractor(images(3, 100, 80))
        alone = torch.cat([extractor(each[None]) for each in images(3, 100, 80)])
    assert together.shape == (3, 2048)
    assert not any(parameter.requires_grad for parameter in extractor.parameters())
    assert together.min() >= 0  # after a ReLU
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


@pytest.mark.weights
def test_vgg16_gives_an_image_512_numbers():
    assert _features.extractor("vgg16")(images(2)).shape == (2, 512)


@pytest.mark.weights
def test_alex_gives_an_image_256_numbers_whatever_its_batch():
    extractor = _features.extractor("alex")
    together = extractor(images(3, 100, 80))
    assert together.shape == (3, 256)
    assert together.min() >= 0
    alone = torch.cat([extractor(each[None]) for each in images(3, 100, 80)])
    torch.testing.assert_close(together, alone)
    with pytest.raises(DataError, match="too small for the features alex, which need 31"):
        extractor(images(1, 30, 30))


@pytest.mark.weights
def test_monets_and_photographs_are_as_far_apart_as_measured_before():
    if not PHOTOS.is_file():
        pytest.skip("needs monet2photo.zip")
    extractor = _features.extractor("inception")
    monets, photographs = (features_of(extractor, side) for side in ("trainA", "trainB"))
    # 163 was measured with another program, 173 to 181 here of four choices of 150 images a side.
    found = distance("fid", monets, photographs)
    assert found["value"] == pytest.approx(172, abs=15)
    assert (found["images"], found["few"]) == (150, 1)
    # Two halves of one side are alike: KID says so, FID of 75 images doesn't.
    assert value("fid", monets[::2], monets[1::2]) > 100
    apart, same = distance("kid", monets, photographs), distance("kid", monets[::2], monets[1::2])
    assert apart["value"] > 5 * apart["std"]
    assert abs(same["value"]) < 3 * same["std"]


def features_of(extractor: nn.Module, side: str, count: int = 150, batch: int = 10) -> Tensor:
    """Of `count` images at even distances."""
    features = []
    with zipfile.ZipFile(PHOTOS) as archive, torch.inference_mode():
        members = sorted(name for name in archive.namelist() if f"/{side}/" in name)
        members = spread([name for name in members if name.endswith(".jpg")], count)
        for i in range(0, count, batch):
            opened = [Image.open(archive.open(name)) for name in members[i : i + batch]]
            arrays = [to_array(each.convert("RGB")) for each in opened]
            features.append(extractor(torch.stack([to_tensor(each) for each in arrays])))
    return torch.cat(features)
