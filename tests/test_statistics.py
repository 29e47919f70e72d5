"""Feature statistics: moments, weights of positions, AdaIN, distances of distributions."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from gan_style.errors import DataError
from gan_style.maths.statistics import (
    adain,
    covariance,
    gaussian_map,
    gaussian_mmd2,
    gaussian_wasserstein2,
    gram,
    guide,
    in_full_precision,
    mean,
    mean_std,
    sample_positions,
    symmetric_power,
)


def features_of(seed, n=2, c=3, h=4, w=5):
    """Non-negative with zeros, as after a ReLU; float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, c, h, w, generator=generator, dtype=torch.float64).relu() + 0.1


def weights_of(seed, n=2, h=4, w=5):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(n, 1, h, w, generator=generator, dtype=torch.float64)
    return weights / weights.sum((2, 3), keepdim=True)


def uniform(h=4, w=5):
    return torch.full((1, 1, h, w), 1 / (h * w), dtype=torch.float64)


def close(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(
        torch.as_tensor(actual), torch.as_tensor(expected), rtol=tolerance, atol=tolerance
    )


STATISTICS = {
    "mean": mean,
    "mean_std": lambda *args: torch.cat(mean_std(*args)),
    "mean_std_biased": lambda *args: torch.cat(mean_std(*args, unbiased=False)),
    "gram": lambda x, weights: gram(x, "chw", weights),
    "covariance": covariance,
}


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_gradients_of_channel_products_are_right_and_in_the_order_of_the_features(order):
    features = features_of(0).contiguous(memory_format=order).requires_grad_()
    assert gradcheck(lambda x: gram(x, "hw"), features)
    assert gradgradcheck(lambda x: gram(x, "hw"), features)
    gram(features, "hw").square().sum().backward()
    assert features.grad.is_contiguous(memory_format=order)


@pytest.mark.parametrize("name", STATISTICS)
def test_uniform_weights_change_nothing(name):
    features = features_of(0)
    close(STATISTICS[name](features, uniform()), STATISTICS[name](features, None))


@pytest.mark.parametrize("name", ["mean", "mean_std_biased", "covariance"])
def test_whole_number_weights_count_a_position_that_often(name):
    # Three positions of weights 1/4, 1/4 and 2/4 are four positions, the last one twice.
    features = features_of(1, h=1, w=3)
    weights = torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64).view(1, 1, 1, 3) / 4
    repeated = features[..., [0, 1, 2, 2]]
    close(STATISTICS[name](features, weights), STATISTICS[name](repeated, None))


@pytest.mark.parametrize("name", STATISTICS)
def test_positions_without_weight_have_no_say(name):
    features, other = features_of(2), features_of(3)
    weights = weights_of(4)
    weights[..., 3:] = 0
    weights /= weights.sum((2, 3), keepdim=True)
    other[..., :3] = features[..., :3]
    close(STATISTICS[name](features, weights), STATISTICS[name](other, weights))


@pytest.mark.parametrize("name", STATISTICS)
def test_images_of_a_batch_have_their_own_statistics(name):
    features, weights = features_of(5), weights_of(6)
    whole = STATISTICS[name](features, weights)
    alone = STATISTICS[name](features[1:], weights[1:])
    close(whole.chunk(2)[1] if name in ("mean", "gram", "covariance") else whole[1::2], alone)


def test_mean_and_std_are_numpys():
    features = features_of(7)
    means, stds = mean_std(features)
    assert means.shape == stds.shape == (2, 3, 1, 1)
    close(means.flatten(1), features.numpy().mean((2, 3)))
    close(stds.flatten(1), np.sqrt(features.numpy().var((2, 3), ddof=1) + 1e-5))
    stds = mean_std(features, eps=0.5, unbiased=False)[1]
    close(stds.flatten(1), np.sqrt(features.numpy().var((2, 3)) + 0.5))


def test_the_unbiased_weighted_variance_is_numpys():
    features, weights = features_of(8), weights_of(9)
    stds = mean_std(features, weights, eps=0)[1]
    for image, weighs, std in zip(features.numpy(), weights.numpy(), stds.numpy(), strict=True):
        expected = np.cov(image.reshape(3, -1), aweights=weighs.ravel(), ddof=1)
        close(std.ravel() ** 2, np.diag(expected).copy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_single_position_has_variance_zero(dtype):
    one = torch.full((1, 2, 1, 1), 7.0, dtype=dtype)
    close(mean_std(one)[1], torch.full_like(one, 1e-5).sqrt())
    corner = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=dtype).view(1, 1, 2, 2)
    stds = mean_std(features_of(10, h=2, w=2).to(dtype), corner)[1]
    close(stds, torch.full_like(stds, 1e-5).sqrt())


def test_gram_of_one_hot_channels_is_diagonal():
    features = torch.zeros(1, 2, 2, 2)
    features[0, 0, 0], features[0, 1, 1] = 1.0, 3.0  # channel 0 lives in row 0, channel 1 in row 1
    assert gram(features, "none")[0].tolist() == [[2.0, 0.0], [0.0, 18.0]]  # 2 * 1 and 2 * 9
    assert gram(features, "hw")[0].tolist() == [[0.5, 0.0], [0.0, 4.5]]  # over 4 positions
    assert gram(features, "chw")[0].tolist() == [[0.25, 0.0], [0.0, 2.25]]  # and 2 channels
    assert gram(features, "paper")[0].tolist() == [[0.125, 0.0], [0.0, 1.125]]  # and 2


def test_weighted_gram_is_the_gram_of_features_times_the_guide_of_mean_square_1():
    # Gatys et al. 2017: features times T, where mean(T^2) = 1.
    features = features_of(11, n=1)
    mask = torch.rand(1, 1, 4, 5, dtype=torch.float64)
    scaled = mask / mask.square().mean().sqrt()
    close(gram(features, "chw", guide(mask, (4, 5))), gram(features * scaled, "chw"))


@pytest.mark.parametrize("weights", [None, weights_of(12)])
def test_covariance_is_the_gram_without_the_means(weights):
    features = features_of(13)
    means = mean(features, weights).flatten(2)
    close(covariance(features, weights), gram(features, "hw", weights) - means @ means.mT)
    if weights is None:
        close(covariance(features)[0], np.cov(features[0].flatten(1).numpy(), bias=True))


def test_two_regions_act_independently():
    left = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    left[..., :2] = 1
    features, other = features_of(14, w=4), features_of(15, w=4)
    mixed = torch.where(left > 0, features, other)
    for statistic in STATISTICS.values():
        close(statistic(mixed, guide(left, (4, 4))), statistic(features, guide(left, (4, 4))))
        close(statistic(mixed, guide(1 - left, (4, 4))), statistic(other, guide(1 - left, (4, 4))))
        close(statistic(mixed, guide(left, (4, 4))), statistic(features[..., :2], None))


def test_a_guide_averages_the_mask_over_each_position_and_squares():
    mask = torch.tensor([[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]]).view(1, 1, 2, 4)
    # Means of the two 2x2 squares are 1 and 1/4: squares 1 and 1/16, so 16/17 and 1/17.
    close(guide(mask, (1, 2)).flatten(), torch.tensor([16 / 17, 1 / 17]), 1e-6)


def test_a_full_mask_guides_nowhere():
    close(guide(torch.ones(2, 1, 9, 7), (3, 2)), torch.full((2, 1, 3, 2), 1 / 6), 1e-6)


def test_each_mask_of_a_batch_sums_to_1():
    close(guide(torch.rand(3, 1, 8, 8), (3, 5)).sum((1, 2, 3)), torch.ones(3), 1e-6)


def test_an_empty_region_is_named_in_one_line():
    masks = torch.ones(3, 1, 8, 8)
    masks[1] = 0
    with pytest.raises(DataError, match=r"^region mask 1 is empty at 4x2 \(.*paint it larger$"):
        guide(masks, (4, 2))


def test_one_painted_pixel_is_a_region():
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 3, 6] = 1
    assert guide(mask, (2, 2)).flatten().tolist() == [0, 1, 0, 0]


def test_adain_gives_content_the_mean_and_std_of_the_style():
    content, style = features_of(16), 5 * features_of(17, h=6, w=2) + 2
    means, stds = mean_std(adain(content, *mean_std(style)), eps=0)
    close(means, mean(style))
    close(stds, mean_std(style, eps=0)[1], 1e-3)  # eps in both roots


def test_adain_is_the_ports_formula():
    content, style = features_of(18).numpy(), features_of(19).numpy()
    (mu_c, mu_s) = (x.mean((2, 3), keepdims=True) for x in (content, style))
    (sd_c, sd_s) = (np.sqrt(x.var((2, 3), ddof=1, keepdims=True) + 1e-5) for x in (content, style))
    expected = sd_s * (content - mu_c) / sd_c + mu_s
    close(adain(torch.tensor(content), *mean_std(torch.tensor(style))), expected)


def test_adain_to_its_own_statistics_changes_nothing():
    content = features_of(20)
    close(adain(content, *mean_std(content)), content)


def test_adain_of_a_region_matches_that_region():
    content, style, weights = features_of(21), features_of(22, h=6), weights_of(23)
    mapped = adain(content, *mean_std(style), weights)
    close(mean(mapped, weights), mean(style))
    close(mean_std(mapped, weights)[1], mean_std(style)[1], 1e-3)


def positive_definite(seed, c=4, n=2):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(n, c, c + 2, generator=generator, dtype=torch.float64)
    return root @ root.mT / c


def test_powers_of_a_matrix_multiply_to_it():
    matrix = positive_definite(0)
    root, inverse = symmetric_power(matrix, 0.5), symmetric_power(matrix, -0.5)
    close(root @ root, matrix)
    close(root, root.mT)
    close(inverse @ root, torch.eye(4, dtype=torch.float64).expand(2, -1, -1), 1e-10)


def test_the_root_of_a_singular_matrix_is_no_nan():
    ones = torch.ones(1, 3, 3)  # rank 1; its eigenvalues are 3, 0, 0, up to rounding
    root = symmetric_power(ones, 0.5)
    assert root.dtype == torch.float32
    close(root, ones / 3**0.5, 1e-6)


def test_powers_are_computed_in_float64():
    matrix = torch.diag(torch.tensor([1e4, 1.0, 1e-3])) + torch.ones(3, 3)
    exact = symmetric_power(matrix.double(), -0.5).float()
    assert (symmetric_power(matrix, -0.5) == exact).all()


def test_a_covariance_is_at_wasserstein_distance_zero_from_itself():
    features = features_of(24, c=6)
    # 6 channels of 20 positions, and of 4: a covariance without full rank
    for x in (features, features[..., :2, :2]):
        distance = gaussian_wasserstein2(mean(x), covariance(x), mean(x), covariance(x))
        close(distance, torch.zeros(2, dtype=torch.float64))


def test_the_wasserstein_distance_of_a_shift_is_its_square():
    x = features_of(25)
    shift = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64).view(3, 1, 1)
    distance = gaussian_wasserstein2(mean(x), covariance(x), mean(x + shift), covariance(x + shift))
    close(distance, torch.full((2,), 14.0, dtype=torch.float64))


def test_the_wasserstein_distance_is_computed_in_float64():
    # Close to each other: the difference of traces of 1e4 is about 1.
    means, cov = torch.zeros(1, 4), 1e4 * positive_definite(3, n=1).float()
    moments = means, cov, means, 1.01 * cov
    exact = gaussian_wasserstein2(*(moment.double() for moment in moments)).float()
    assert (gaussian_wasserstein2(*moments) == exact).all()


def test_the_wasserstein_distance_of_independent_channels_compares_standard_deviations():
    zero, first, second = torch.zeros(1, 2), torch.diag(torch.tensor([4.0, 9.0])), torch.eye(2)
    distance = gaussian_wasserstein2(zero, first[None], zero, second[None], eps=0)
    assert distance.dtype == torch.float32
    close(distance, torch.tensor([5.0]), 1e-6)  # (2 - 1)^2 + (3 - 1)^2


def test_the_wasserstein_distance_is_the_formula_with_eps_on_both_diagonals():
    covs = positive_definite(1, n=1), positive_definite(2, n=1)
    means = torch.zeros(1, 4, dtype=torch.float64), torch.ones(1, 4, dtype=torch.float64)
    for eps in (1e-4, 0.5):
        s1, s2 = (cov[0].numpy() + eps * np.eye(4) for cov in covs)
        # The eigenvalues of S1^1/2 S2 S1^1/2 are those of S1 S2.
        cross = np.sqrt(np.linalg.eigvals(s1 @ s2).real).sum()
        expected = 4 + np.trace(s1) + np.trace(s2) - 2 * cross
        distance = gaussian_wasserstein2(means[0], covs[0], means[1], covs[1], eps)
        close(distance, torch.tensor([expected]), 1e-10)
    default = gaussian_wasserstein2(means[0], 0 * covs[0], means[0], covs[1])
    same = gaussian_wasserstein2(means[0], 0 * covs[0], means[0], covs[1], eps=1e-4)
    assert default == same


def test_the_map_between_gaussians_gives_the_other_mean_and_covariance_by_the_shortest_way():
    (s1, s2), eps = (2 * positive_definite(seed, n=1)[0] for seed in (1, 2)), 0.1
    mean1, mean2 = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).double()
    matrix, offset = gaussian_map(mean1, s1, mean2, s2, eps)
    spread = eps * torch.eye(4, dtype=torch.float64)
    close(matrix @ (s1 + spread) @ matrix.T, s2 + spread)
    close(matrix @ mean1 + offset, mean2)
    close(matrix, matrix.T)  # the gradient of a convex function: no other map is shorter
    assert torch.linalg.eigvalsh(matrix).min() > 0
    away = matrix - torch.eye(4)
    way = (away @ (s1 + spread) @ away).trace() + (mean1 - mean2).square().sum()
    close(way[None], gaussian_wasserstein2(mean1[None], s1[None], mean2[None], s2[None], eps))
    nowhere = gaussian_map(mean1, 0 * s1, mean1, 0 * s1, eps)
    close(nowhere[0], torch.eye(4).double())
    close(nowhere[1], torch.zeros(4).double())


def test_wasserstein_gradients_are_right_where_channels_outnumber_positions():
    x = features_of(26, n=1, c=4, h=1, w=2).requires_grad_()
    y = features_of(27, n=1, c=4, h=1, w=3)

    def loss(features, other):
        return gaussian_wasserstein2(
            mean(features), covariance(features), mean(other), covariance(other), 1e-2
        )

    assert gradcheck(lambda features: loss(features, y), [x])
    assert gradcheck(lambda features: loss(y, features), [x])


def test_wasserstein_gradients_vanish_between_equals_of_deficient_rank():
    x = features_of(28, n=1, c=4, h=1, w=2).requires_grad_()
    target = mean(x).detach(), covariance(x).detach()
    gaussian_wasserstein2(mean(x), covariance(x), *target).sum().backward()
    close(x.grad, torch.zeros_like(x), 1e-10)


def brute_mmd2(x, y, kernel, wx=None, wy=None):
    """The definition, pair by pair; x (C, H, W) and y with weights (1, H, W)."""
    x, y = (value.flatten(1).T.numpy() for value in (x, y))
    wx = np.full(len(x), 1 / len(x)) if wx is None else wx.numpy().ravel()
    wy = np.full(len(y), 1 / len(y)) if wy is None else wy.numpy().ravel()

    def expected(a, wa, b, wb):
        return sum(p * q * kernel(u, v) for p, u in zip(wa, a) for q, v in zip(wb, b))  # noqa: B905

    return expected(x, wx, x, wx) - 2 * expected(x, wx, y, wy) + expected(y, wy, y, wy)


@pytest.mark.parametrize("weights", [(None, None), (weights_of(29)[0], weights_of(30)[0])])
def test_linear_and_polynomial_mmd_are_differences_of_moments(weights):
    x, y = features_of(31)[0], features_of(32)[0]
    wx, wy = (None if weight is None else weight[None] for weight in weights)
    linear = (mean(x[None], wx) - mean(y[None], wy)).square().sum()
    close(linear, brute_mmd2(x, y, lambda u, v: u @ v, *weights))
    polynomial = (gram(x[None], "hw", wx) - gram(y[None], "hw", wy)).square().sum()
    close(polynomial, brute_mmd2(x, y, lambda u, v: (u @ v) ** 2, *weights))


@pytest.mark.parametrize("weights", [(None, None), (weights_of(33), weights_of(34))])
def test_gaussian_mmd_is_its_definition_with_the_targets_mean_squared_distance(weights):
    x, y = features_of(35), features_of(36) + 0.3
    wx, wy = weights
    actual = gaussian_mmd2(*sample_positions(x, wx), *sample_positions(y, wy))
    for i in range(2):
        wxi, wyi = (None if weight is None else weight[i] for weight in weights)
        flat = y[i].flatten(1).T.numpy()
        weighs = np.full(20, 1 / 20) if wyi is None else wyi.numpy().ravel()
        squares = ((flat[:, None] - flat[None]) ** 2).sum(-1)
        bandwidth = weighs @ squares @ weighs
        expected = brute_mmd2(
            x[i],
            y[i],
            lambda u, v, scale=bandwidth: np.exp(-((u - v) ** 2).sum() / scale),
            wxi,
            wyi,
        )
        close(actual[i], expected, 1e-10)


def test_gaussian_mmd_of_equals_is_zero_and_of_constants_finite():
    x = sample_positions(features_of(37))
    assert gaussian_mmd2(*x, *x).tolist() == [0, 0]
    flat = sample_positions(torch.ones(1, 3, 2, 2))
    # The bandwidth of a constant target is 1e-5: anything else is at distance 1 + 1.
    assert gaussian_mmd2(*flat, *flat).item() == 0
    close(gaussian_mmd2(*sample_positions(torch.zeros(1, 3, 2, 2)), *flat), torch.tensor([2.0]))


def test_gaussian_mmd_to_a_constant_is_no_more_than_2_after_rounding():
    # Self-distances of vectors of squared length 1e6 round to +-0.1, 1e4 bandwidths.
    x = sample_positions(1000 * features_of(46, n=1, c=16).float())
    distance = gaussian_mmd2(*x, *sample_positions(torch.zeros(1, 16, 2, 2)))
    assert 1 < float(distance) <= 2


def test_gaussian_mmd_survives_large_means_in_float32():
    x, y = features_of(38), features_of(39)
    exact = gaussian_mmd2(*sample_positions(x), *sample_positions(y))
    shifted = ((value + 1000).float() for value in (x, y))
    x, y = (sample_positions(value) for value in shifted)
    close(gaussian_mmd2(*x, *y).double(), exact, 1e-3)


def test_gaussian_mmd_has_right_gradients():
    x, y = features_of(40, n=1, h=2, w=2).requires_grad_(), features_of(41, n=1, h=2, w=3)
    assert gradcheck(lambda z: gaussian_mmd2(*sample_positions(z), *sample_positions(y)), [x])
    assert gradcheck(lambda z: gaussian_mmd2(*sample_positions(y), *sample_positions(z)), [x])


def test_small_maps_are_sampled_whole():
    features, weights = features_of(42), weights_of(43)
    vectors, weighs = sample_positions(features, weights, samples=20)
    close(vectors, features.flatten(2).mT)
    close(weighs, weights.flatten(1))
    close(sample_positions(features)[1], torch.full((1, 20), 1 / 20, dtype=torch.float64))


def test_samples_spread_over_rows_and_columns():
    row = torch.arange(64.0).view(1, 1, 64, 1).expand(1, 1, 64, 64)
    vectors, weighs = sample_positions(torch.cat((row, row.mT), dim=1), samples=256)
    assert vectors.shape == (1, 256, 2)
    assert weighs.tolist() == [[1 / 256] * 256]
    for coordinate in vectors[0].T:
        counts = torch.histc(coordinate, 8, 0, 63)
        assert counts.min() > 16  # of 256 / 8 = 32 each
    assert len(vectors[0].unique(dim=0)) > 230


def test_samples_follow_the_weights():
    features = torch.arange(100.0).view(1, 1, 10, 10).expand(2, 1, 10, 10)
    weights = torch.zeros(2, 1, 10, 10)
    weights[0, 0, 0, 3], weights[0, 0, 7, 2] = 0.75, 0.25
    weights[1, 0, 9, 9] = 1
    vectors, _ = sample_positions(features, weights, samples=64)
    values, counts = vectors[0].unique(return_counts=True)
    assert values.tolist() == [3, 72]
    assert abs(int(counts[0]) - 48) <= 1
    assert vectors[1].unique().tolist() == [99]


def test_one_guide_serves_a_batch_that_is_sampled():
    features = features_of(44, n=3)
    vectors, weighs = sample_positions(features, uniform(), samples=7)
    assert vectors.shape == (3, 7, 3)
    assert weighs.shape == (1, 7)
    close(vectors[2:], sample_positions(features[2:], None, samples=7)[0])


def test_half_precision_is_widened_and_autocast_left():
    @in_full_precision
    def square(matrix, other):
        return matrix @ other

    value = torch.full((2, 2), 1.001)  # bfloat16 would make it 1
    with torch.autocast("cpu", torch.bfloat16):
        assert square(value, other=value).dtype == torch.float32
        assert square(value, other=value)[0, 0] > 2.003
    assert square(value.bfloat16(), other=value.bfloat16()).dtype == torch.float32
    assert square(value.half(), value.half()).dtype == torch.float32
    assert square(value.double(), value.double()).dtype == torch.float64


@pytest.mark.parametrize("name", STATISTICS)
def test_statistics_of_bfloat16_under_autocast_are_those_of_float32(name):
    features = features_of(45).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        statistic = STATISTICS[name](features, None)
    assert statistic.dtype == torch.float32
    close(statistic, STATISTICS[name](features.float(), None))
