"""Colours that stay: luma, colour maps, and translations that keep the content's colours."""

from typing import get_args

import numpy as np
import pytest
import torch

from gan_style.maths.colour import (
    COLOUR_MAPS,
    Colours,
    after,
    before,
    luma,
    match_colours,
    match_luma,
    with_luma,
)
from gan_style.maths.statistics import covariance, mean, mean_std


def image_of(seed, n=1, h=6, w=7, low=0.0, high=1.0):
    """Colours with correlated channels; float64."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(n, 3, h, w, generator=generator, dtype=torch.float64)
    mix = torch.tensor([[0.8, 0.1, 0.1], [0.4, 0.6, 0.0], [0.2, 0.3, 0.5]], dtype=torch.float64)
    return low + (high - low) * torch.einsum("ij,njhw->nihw", mix, pixels)


def constant(red, green, blue, dtype=torch.float64):
    return torch.tensor([red, green, blue], dtype=dtype).view(1, 3, 1, 1).expand(-1, -1, 4, 5)


def close(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def test_luma_weighs_green_most():
    for colour, weight in (((1, 0, 0), 0.299), ((0, 1, 0), 0.587), ((0, 0, 1), 0.114)):
        brightness = luma(constant(*map(float, colour)))
        assert brightness.shape == (1, 1, 4, 5)
        close(brightness, torch.full_like(brightness, weight))
    close(luma(constant(0.4, 0.4, 0.4)), torch.full((1, 1, 4, 5), 0.4, dtype=torch.float64))


def test_an_image_with_its_own_luma_is_itself():
    images = image_of(0, n=2)
    close(with_luma(images, luma(images)), images)


def test_another_luma_leaves_the_chroma_alone():
    images = image_of(1, low=0.3, high=0.7)
    wanted = luma(image_of(2, low=0.45, high=0.55))
    changed = with_luma(images, wanted)
    close(luma(changed), wanted)
    yiq = [[0.596, -0.274, -0.322], [0.211, -0.523, 0.312]]
    i_and_q = torch.tensor(yiq, dtype=torch.float64)
    before, after = (torch.einsum("ij,njhw->nihw", i_and_q, image) for image in (images, changed))
    close(after, before)


def test_with_luma_stays_in_range():
    red = constant(1.0, 0.0, 0.0)
    assert with_luma(red, torch.ones(1, 1, 4, 5))[0, :, 0, 0].tolist()[0] == 1
    assert with_luma(red, torch.zeros(1, 1, 4, 5)).min() == 0


def test_a_matched_luma_has_the_contents_mean_and_std():
    style, content = image_of(3, h=5, low=0.2, high=0.5), image_of(4, h=9)
    matched = match_luma(style, content)
    assert matched.shape == style.shape
    assert (matched[:, 0] == matched[:, 1]).all()
    assert (matched[:, 0] == matched[:, 2]).all()
    for actual, wanted in zip(
        mean_std(luma(matched), eps=0, unbiased=False),
        mean_std(luma(content), eps=0, unbiased=False),
        strict=True,
    ):
        close(actual, wanted)
    # It is the style's own pattern, in the same direction.
    both = np.corrcoef(luma(matched).flatten(), luma(style).flatten())
    assert both[0, 1] == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_style_of_one_brightness_becomes_the_contents_mean(dtype):
    content = image_of(5).to(dtype)
    matched = match_luma(constant(0.3, 0.1, 0.7, dtype), content)
    assert matched.dtype == dtype
    close(matched, luma(content).mean().expand_as(matched), 1e-6)


def test_a_content_of_one_brightness_leaves_no_contrast():
    close(match_luma(image_of(6), constant(0.4, 0.4, 0.4)).std(), torch.zeros(()).double())


@pytest.mark.parametrize("how", COLOUR_MAPS)
def test_mapped_colours_have_the_targets_mean_and_covariance(how):
    source, target = image_of(7, h=4, n=2, high=0.4), image_of(8, h=11, n=2).flip(1)
    mapped = match_colours(source, target, how, eps=0)
    assert mapped.shape == source.shape
    close(mean(mapped), mean(target))
    close(covariance(mapped), covariance(target), 1e-10)


@pytest.mark.parametrize("how", COLOUR_MAPS)
def test_the_size_of_the_target_has_no_say(how):
    # The CORAL of AdaIN's port makes the second twice as contrasty: four times the pixels.
    source, target = image_of(9), image_of(10)
    larger = torch.nn.functional.interpolate(target, scale_factor=2)
    close(match_colours(source, larger, how), match_colours(source, target, how))


@pytest.mark.parametrize("how", COLOUR_MAPS)
def test_colour_maps_are_their_formulas(how):
    source, target = image_of(11), image_of(12).flip(1)
    s, t = (image[0].flatten(1).numpy() for image in (source, target))
    cov_s, cov_t = (np.cov(x, bias=True) + 1e-5 * np.eye(3) for x in (s, t))

    def power(matrix, exponent):
        values, vectors = np.linalg.eigh(matrix)
        return vectors @ np.diag(values**exponent) @ vectors.T

    root, inverse = power(cov_s, 0.5), power(cov_s, -0.5)
    matrix = {
        "pca": power(cov_t, 0.5) @ inverse,
        "cholesky": np.linalg.cholesky(cov_t) @ np.linalg.inv(np.linalg.cholesky(cov_s)),
        "optimal_transport": inverse @ power(root @ cov_t @ root, 0.5) @ inverse,
    }[how]
    expected = matrix @ (s - s.mean(1, keepdims=True)) + t.mean(1, keepdims=True)
    actual = match_colours(source, target, how)[0].flatten(1)
    close(actual, torch.tensor(expected), 1e-10)


def test_pca_is_the_default():
    source, target = image_of(13), image_of(14)
    close(match_colours(source, target), match_colours(source, target, "pca"))


@pytest.mark.parametrize("how", COLOUR_MAPS)
def test_colours_matched_to_themselves_stay(how):
    source = image_of(15, n=2)
    close(match_colours(source, source, how), source, 1e-10)


def test_optimal_transport_moves_colours_least():
    source, target = image_of(16), image_of(17).flip(1)
    cost = {
        how: float((match_colours(source, target, how, eps=0) - source).square().mean())
        for how in COLOUR_MAPS
    }
    assert min(cost, key=cost.get) == "optimal_transport"
    assert cost["optimal_transport"] < min(cost["pca"], cost["cholesky"])


@pytest.mark.parametrize("how", COLOUR_MAPS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_grey_and_constant_images_can_be_matched(how, dtype):
    colourful = image_of(18).to(dtype)
    grey = luma(colourful).expand(-1, 3, -1, -1)
    flat = constant(0.2, 0.4, 0.6, dtype)
    for source in (colourful, grey, flat):
        for target in (colourful, grey, flat):
            mapped = match_colours(source, target, how)
            assert mapped.dtype == dtype
            assert mapped.isfinite().all()
            close(mean(mapped), mean(target), 1e-5)
            assert mapped.abs().max() < 3
    close(match_colours(flat, colourful, how), mean(colourful).expand(-1, -1, 4, 5), 1e-6)


def test_the_styles_colours_need_nothing_done():
    content, style, image = image_of(19), image_of(20), image_of(18)
    seen, (matched,) = before("style", content, [style])
    assert seen is content
    assert matched is style
    assert after("style", image, content) is image


def test_by_luma_brightness_is_translated_and_chroma_the_contents():
    content, style = image_of(21, low=0.45, high=0.55), image_of(22, h=3, low=0.3, high=0.6)
    seen, (matched,) = before("luma", content, [style])
    close(seen, luma(content).expand(-1, 3, -1, -1))
    close(matched, match_luma(style, content).clamp(0, 1))
    made = seen.flip(2) / 2  # upside down, half as bright
    result = after("luma", made, content)
    close(result, with_luma(content, luma(content).flip(2) / 2))
    close(luma(result), luma(content).flip(2) / 2)


def test_by_matching_the_style_takes_the_contents_colours():
    content, style, image = image_of(23), image_of(24, h=3), image_of(18)
    seen, (matched,) = before("match", content, [style])
    assert seen is content
    close(matched, match_colours(style, content).clamp(0, 1))
    assert after("match", image, content) is image


@pytest.mark.parametrize("how", get_args(Colours))
def test_of_several_styles_each_is_matched(how):
    content, styles = image_of(25), [image_of(26, h=3), image_of(27, w=4)]
    together = before(how, content, styles)[1]
    for style, matched in zip(styles, together, strict=True):
        close(matched, before(how, content, [style])[1][0])


@pytest.mark.parametrize("how", ["luma", "match"])
def test_matched_styles_stay_in_range(how):
    black_and_white = (image_of(28) > 0.5).double()
    spikes = torch.full((1, 3, 9, 9), 0.5, dtype=torch.float64)
    spikes[..., 2, 2], spikes[..., 4, 4] = 0, 1
    (matched,) = before(how, black_and_white, [spikes])[1]
    assert matched.min() == 0
    assert matched.max() == 1
