"""The losses on features: their normalisations, and the identities between them."""

from typing import get_args

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from gan_style.losses.perceptual import (
    STYLE_LOSSES,
    ContentNorm,
    StyleLossName,
    content_loss,
    total_variation,
)
from gan_style.maths.statistics import (
    covariance,
    gaussian_mmd2,
    gaussian_wasserstein2,
    guide,
    mean,
    sample_positions,
)


def features_of(seed, n=2, c=3, h=4, w=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, c, h, w, generator=generator, dtype=torch.float64).relu() + 0.1


def loss_of(name, features, style, weights=None, style_weights=None):
    statistic = STYLE_LOSSES[name]
    return float(
        statistic.distance(statistic.of(features, weights), statistic.of(style, style_weights))
    )


def test_style_losses_go_by_their_names():
    assert set(STYLE_LOSSES) == set(get_args(StyleLossName))


def test_content_losses_are_half_the_sum_and_the_mean():
    features, target = torch.zeros(1, 2, 1, 2), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    target = target.view(1, 2, 1, 2)
    assert content_loss(features, target, "paper") == 15  # (1 + 4 + 9 + 16) / 2
    assert content_loss(features, target, "mean") == 7.5
    assert content_loss(features, target, "chw") == 7.5


@pytest.mark.parametrize("norm", get_args(ContentNorm))
def test_content_losses_are_averaged_over_the_batch(norm):
    features, target = features_of(0), features_of(1)
    each = [float(content_loss(features[i : i + 1], target[i : i + 1], norm)) for i in (0, 1)]
    assert float(content_loss(features, target, norm)) == pytest.approx(sum(each) / 2)


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_style_losses_are_averaged_over_the_batch(name):
    features, style = features_of(2), features_of(3, n=1, h=6)
    each = [loss_of(name, features[i : i + 1], style) for i in (0, 1)]
    assert loss_of(name, features, style) == pytest.approx(sum(each) / 2)
    # A style for each image is the same as the same style for all.
    assert loss_of(name, features, style.expand(2, -1, -1, -1)) == pytest.approx(sum(each) / 2)


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_style_losses_are_zero_for_the_style_itself_and_not_for_another(name):
    style = features_of(4)
    assert loss_of(name, style, style) == pytest.approx(0, abs=1e-12)
    assert loss_of(name, features_of(5), style) > 1e-6


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_style_losses_ignore_where_things_are(name):
    features, style = features_of(6), features_of(7)
    moved = features.flip(3).mT
    assert loss_of(name, moved, style) == pytest.approx(loss_of(name, features, style))


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_a_full_mask_is_no_mask(name):
    features, style = features_of(8), features_of(9, h=6)
    full = torch.ones(1, 1, 24, 20, dtype=torch.float64)
    guided = loss_of(name, features, style, guide(full, (4, 5)), guide(full, (6, 5)))
    assert guided == pytest.approx(loss_of(name, features, style))


@pytest.mark.parametrize("name", sorted(set(STYLE_LOSSES) - {"gram_none"}))
def test_a_hard_region_is_its_cut_out(name):
    # Not for "gram_none", a sum over all positions of the map.
    features, style = features_of(10, w=4), features_of(11)
    left = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    left[..., :2] = 1
    guided = loss_of(name, features, style, guide(left, (4, 4)))
    assert guided == pytest.approx(loss_of(name, features[..., :2], style))


def test_paper_gram_loss_is_gatys_formula():
    features, style = features_of(12, n=1), features_of(13, n=1)
    f, a = (x[0].flatten(1).numpy() for x in (features, style))
    expected = ((f @ f.T - a @ a.T) ** 2).sum() / (4 * 3**2 * 20**2)
    assert loss_of("gram_paper", features, style) == pytest.approx(expected)


def test_gram_losses_differ_by_the_factors_of_the_table():
    features, style = features_of(14, c=8), features_of(15, c=8)
    paper = loss_of("gram_paper", features, style)
    assert loss_of("gram_hw", features, style) == pytest.approx(4 * paper)
    assert loss_of("gram_chw", features, style) == pytest.approx(4 / 8**2 * paper)
    assert loss_of("gram_none", features, style) == pytest.approx(4 * 20**2 * paper)


def test_polynomial_mmd_is_the_gram_loss():
    features, style = features_of(16), features_of(17, h=3)
    gram = loss_of("gram_hw", features, style)
    assert loss_of("mmd_polynomial", features, style) == pytest.approx(3**2 * gram)


def test_linear_mmd_compares_means_only():
    features, style = features_of(18), features_of(19)
    expected = (mean(features) - mean(style)).square().sum(1).mean()
    assert loss_of("mmd_linear", features, style) == pytest.approx(float(expected))


def test_mean_std_loss_is_adains():
    features, style = features_of(20).numpy(), features_of(21).numpy()
    means = [x.mean((2, 3)) for x in (features, style)]
    stds = [np.sqrt(x.var((2, 3), ddof=1) + 1e-5) for x in (features, style)]
    expected = ((means[0] - means[1]) ** 2).mean() + ((stds[0] - stds[1]) ** 2).mean()
    actual = loss_of("mean_std", torch.tensor(features), torch.tensor(style))
    assert actual == pytest.approx(expected)


def test_covariance_loss_adds_that_of_the_means():
    features, style = features_of(22, n=1), features_of(23, n=1)
    f, s = (x[0].flatten(1).numpy() for x in (features, style))
    covariances = ((np.cov(f, bias=True) - np.cov(s, bias=True)) ** 2).mean()
    means = ((f.mean(1) - s.mean(1)) ** 2).mean()
    assert loss_of("covariance", features, style) == pytest.approx(covariances + means)


def test_wasserstein_loss_is_the_squared_distance():
    features, style = features_of(24), features_of(25)
    expected = gaussian_wasserstein2(
        mean(features), covariance(features), mean(style), covariance(style)
    )
    assert loss_of("wasserstein", features, style) == pytest.approx(float(expected.mean()))


def test_wasserstein_loss_takes_large_features_of_few_positions_in_float32():
    # 64 channels of 16 positions and values in the thousands: 48 eigenvalues of 0, which float32
    # rounds to about -0.1.
    features, style = (5000 * features_of(seed, c=64, h=4, w=4).float() for seed in (26, 27))
    features.requires_grad_()
    statistic = STYLE_LOSSES["wasserstein"]
    loss = statistic.distance(statistic.of(features, None), statistic.of(style, None))
    loss.backward()
    assert loss.dtype == torch.float32
    assert features.grad.isfinite().all()
    exact = loss_of("wasserstein", features.detach().double(), style.double())
    assert float(loss.detach()) == pytest.approx(exact, rel=1e-5)


def test_gaussian_mmd_loss_takes_the_bandwidth_of_the_target():
    features, style = features_of(37), 3 * features_of(38)
    expected = gaussian_mmd2(*sample_positions(features), *sample_positions(style)).mean()
    assert loss_of("mmd_gaussian", features, style) == pytest.approx(float(expected))
    assert loss_of("mmd_gaussian", style, features) != pytest.approx(float(expected))


def test_gaussian_mmd_loss_samples_large_maps():
    style = STYLE_LOSSES["mmd_gaussian"].of(torch.rand(1, 2, 40, 40), None)
    assert style[0].shape == (1, 1024, 2)


@pytest.mark.parametrize("name", STYLE_LOSSES)
@pytest.mark.parametrize("size", [(2, 3), (1, 2)])  # (1, 2): fewer positions than channels
def test_style_losses_have_right_gradients(name, size):
    features = features_of(28, n=1, h=size[0], w=size[1]).requires_grad_()
    statistic = STYLE_LOSSES[name]
    target = statistic.of(features_of(29, n=1), None)
    assert gradcheck(lambda x: statistic.distance(statistic.of(x, None), target), [features])


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_style_losses_have_finite_gradients_at_constant_features(name):
    features = torch.ones(1, 3, 2, 2, requires_grad=True)
    statistic = STYLE_LOSSES[name]
    target = statistic.of(features_of(30, n=1).float(), None)
    statistic.distance(statistic.of(features, None), target).backward()
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("name", STYLE_LOSSES)
def test_style_losses_of_bfloat16_under_autocast_are_those_of_float32(name):
    features, style = (features_of(seed).bfloat16() for seed in (31, 32))
    with torch.autocast("cpu", torch.bfloat16):
        actual = loss_of(name, features, style)
    assert actual == pytest.approx(loss_of(name, features.float(), style.float()), rel=1e-6)


@pytest.mark.parametrize("norm", get_args(ContentNorm))
def test_content_losses_have_right_gradients_and_take_bfloat16(norm):
    features, target = features_of(33).requires_grad_(), features_of(34)
    assert gradcheck(lambda x: content_loss(x, target, norm), [features])
    half = content_loss(features.detach().bfloat16(), target.bfloat16(), norm)
    assert half.dtype == torch.float32
    exact = content_loss(features.detach().bfloat16().double(), target.bfloat16().double(), norm)
    assert float(half) == pytest.approx(float(exact), rel=1e-6)


# dx are 1 and 4, -3 and 0 in the two rows; dy are 2, -2, -6.
SQUARES = torch.tensor([[0.0, 1.0, 5.0], [2.0, -1.0, -1.0]]).view(1, 1, 2, 3)


def test_total_variations_are_the_four_of_the_table():
    assert total_variation(SQUARES, "l2", "sum") == 35  # (1 + 16 + 9 + 0 + 4 + 4 + 36) / 2
    assert total_variation(SQUARES, "l1", "sum") == 18  # 1 + 4 + 3 + 0 + 2 + 2 + 6
    l1 = total_variation(SQUARES, "l1", "mean")
    assert float(l1) == pytest.approx((8 / 4 + 10 / 3) / 2)
    l2 = total_variation(SQUARES, "l2", "mean")
    assert float(l2) == pytest.approx((26 / 4 + 44 / 3) / 2)


VARIATIONS = [(kind, reduction) for kind in ("l1", "l2") for reduction in ("sum", "mean")]


@pytest.mark.parametrize(("kind", "reduction"), VARIATIONS)
def test_total_variation_is_averaged_over_the_batch(kind, reduction):
    batch = torch.cat((SQUARES, 3 * SQUARES))
    each = [float(total_variation(image[None], kind, reduction)) for image in batch]
    assert float(total_variation(batch, kind, reduction)) == pytest.approx(sum(each) / 2)


@pytest.mark.parametrize(("kind", "reduction"), VARIATIONS)
def test_one_pixel_varies_by_zero_and_a_line_along_itself_only(kind, reduction):
    assert total_variation(torch.ones(1, 3, 1, 1), kind, reduction) == 0
    line = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    expected = 1 if (kind, reduction) == ("l1", "sum") else 0.5
    assert total_variation(line, kind, reduction) == expected
    assert total_variation(line.mT, kind, reduction) == expected


@pytest.mark.parametrize(("kind", "reduction"), VARIATIONS)
def test_total_variation_has_right_gradients(kind, reduction):
    images = torch.tensor([[0.0, 1.0, 5.0], [2.0, -1.0, -2.5]], dtype=torch.float64)
    images = images.view(1, 1, 2, 3).requires_grad_()  # no two neighbours equal: l1 has a kink
    assert gradcheck(lambda x: total_variation(x, kind, reduction), [images])


def test_the_gradient_of_the_squared_sum_is_that_of_neural_style():
    # Inside an image: 4 x minus its four neighbours.
    images = features_of(35, n=1, c=1, h=3, w=3).requires_grad_()
    total_variation(images, "l2", "sum").backward()
    x = images.detach()[0, 0]
    laplace = 4 * x[1, 1] - x[0, 1] - x[2, 1] - x[1, 0] - x[1, 2]
    assert float(images.grad[0, 0, 1, 1]) == pytest.approx(float(laplace))


def test_total_variation_of_bfloat16_is_summed_in_float32():
    images = features_of(36, h=20, w=20).bfloat16()
    total = total_variation(images, "l1", "sum")
    assert total.dtype == torch.float32
    assert float(total) == pytest.approx(float(total_variation(images.double(), "l1", "sum")))
