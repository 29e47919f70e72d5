"""Style images among each other: whose share of a position is how large, and reading them."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gan_style.errors import ConfigError, DataError
from gan_style.styles import (
    Style,
    of_content,
    position_weights,
    read_style,
    shares,
    style_files,
    styles_of,
)

IMAGE = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
FEATURES = torch.zeros(2, 5, 4, 4)  # of two contents


def half(side: str) -> Tensor:
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., slice(4) if side == "left" else slice(4, None)] = 1
    return mask


# Blending


def test_a_tensor_is_one_style_that_goes_everywhere():
    (style,) = styles_of(IMAGE)
    assert style.image is IMAGE
    assert (style.weight, style.content_mask, style.style_mask) == (1, None, None)


def test_weights_are_relative_and_sum_to_1():
    styles = [Style(image=IMAGE, weight=weight) for weight in (3.0, 0.0, 1.0)]
    assert [each.weight for each in styles_of(styles)] == [0.75, 0, 0.25]


@pytest.mark.parametrize("none", [None, []])
def test_no_style_is_asked_for(none):
    with pytest.raises(ConfigError, match="takes its style from an image: give one as --style"):
        styles_of(none)


@pytest.mark.parametrize("weights", [[0.0], [1.0, -0.5], [math.nan, 1.0], [math.inf, 1.0]])
def test_weights_that_cannot_be_shared_out_are_refused(weights):
    with pytest.raises(ConfigError, match=r"--style_weights is '.*', but must be at least 0, not"):
        styles_of([Style(image=IMAGE, weight=weight) for weight in weights])


def test_masks_for_some_styles_alone_are_refused():
    styles = [Style(image=IMAGE), Style(image=IMAGE, content_mask=half("left"))]
    with pytest.raises(ConfigError, match="either every style has a mask in the content or none"):
        styles_of(styles)


def test_without_masks_a_share_is_the_weight_and_the_content_has_none():
    styles = styles_of([Style(image=IMAGE, weight=3), Style(image=IMAGE, weight=1)])
    content, (one, other) = shares(styles, FEATURES)
    assert (float(content), float(one), float(other)) == (0, 0.75, 0.25)


def test_what_no_mask_covers_is_the_contents():
    styles = styles_of([Style(image=IMAGE, content_mask=half("left"), weight=9)])
    content, (style,) = shares(styles, FEATURES)
    assert content[0, 0, 0].tolist() == [0, 0, 1, 1]
    assert style[0, 0, 0].tolist() == [1, 1, 0, 0]


def test_where_masks_overlap_weights_decide():
    whole = torch.ones(1, 1, 8, 8)
    styles = styles_of(
        [
            Style(image=IMAGE, content_mask=half("left"), weight=3),
            Style(image=IMAGE, content_mask=whole, weight=1),
        ]
    )
    content, (left, everywhere) = shares(styles, FEATURES)
    assert not content.any()
    assert left[0, 0, 0].tolist() == [0.75, 0.75, 0, 0]
    assert everywhere[0, 0, 0].tolist() == [0.25, 0.25, 1, 1]


@pytest.mark.parametrize("count", [1, 2])  # of masks: one for all contents, one for each
def test_shares_are_never_negative_and_add_up_to_1(count):
    random = torch.Generator().manual_seed(1)
    masks = torch.rand(3, count, 1, 8, 8, generator=random) * half("left")
    weights = (0.0, 1.0, 5.0)
    styles = styles_of(
        [
            Style(image=IMAGE, weight=weight, content_mask=mask)
            for weight, mask in zip(weights, masks, strict=True)
        ]
    )
    content, of_styles = shares(styles, FEATURES)
    assert all((share >= 0).all() for share in (content, *of_styles))
    total = content + torch.stack(of_styles).sum(0)
    torch.testing.assert_close(total, torch.ones(count, 1, 4, 4))


def test_a_content_of_a_batch_has_its_own_masks_and_the_styles_of_all():
    masks = torch.cat([half("left"), half("right")])
    (style,) = of_content([Style(image=IMAGE, content_mask=masks, weight=7)], 1)
    assert style.image is IMAGE
    assert torch.equal(style.content_mask, half("right"))
    assert style.style_mask is None
    assert style.weight == 1


def test_a_mask_weighs_positions_and_none_weighs_all_alike():
    weights = position_weights(half("right"), FEATURES)
    assert weights[0, 0, 0].tolist() == [0, 0, 1 / 8, 1 / 8]
    assert position_weights(None, FEATURES) is None


def test_a_style_takes_its_masks_to_another_type():
    style = Style(image=IMAGE, weight=2, content_mask=half("left")).to(torch.zeros(1).double())
    assert style.image.dtype == style.content_mask.dtype == torch.float64
    assert (style.weight, style.style_mask) == (2, None)


# Files


def save(name: str, array: np.ndarray) -> Path:
    Image.fromarray(array).save(name)
    return Path(name)


def test_a_style_is_read_with_its_masks_padded_as_their_images():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    left = np.zeros((40, 50), np.uint8)
    left[:, :25] = 255
    file = Style(save("style.png", pixels), weight=2.0, content_mask=save("content_mask.png", left))
    style = read_style(file, (40, 50), "white", multiple=16, smallest=24)
    assert style.weight == 2
    # The style is only brought to the smallest side, the content's mask to the multiple.
    assert style.image.shape == (1, 3, 24, 30)
    assert style.content_mask.shape == (1, 1, 48, 64)
    assert style.style_mask is None
    np.testing.assert_array_equal((style.image[0, :, :20] * 255).round(), pixels.transpose(2, 0, 1))
    # 25 columns, and those of the mirrored edge are black as it is.
    assert style.content_mask[0, 0, 0].tolist() == [1] * 25 + [0] * 39


def test_what_is_transparent_counts_as_little_as_what_is_masked():
    pixels = np.full((20, 30, 4), 255, np.uint8)
    pixels[:10, :, 3] = 0
    left = np.zeros((20, 30), np.uint8)
    left[:, :15] = 255
    file = Style(save("glass.png", pixels), style_mask=save("mask.png", left))
    mask = read_style(file, (20, 30), "white", multiple=1, smallest=1).style_mask
    assert mask.sum() == 10 * 15
    assert mask[0, 0, 10:, :15].all()


def test_files_and_numbers_become_styles_in_their_order():
    files = [str(save(f"{name}.png", np.zeros((4, 4, 3), np.uint8))) for name in "abc"]
    styles = style_files(files, "1,2,3", "", ",".join(reversed(files)))
    assert [str(each.image) for each in styles] == files
    assert [each.weight for each in styles] == [1, 2, 3]
    assert [str(each.style_mask) for each in styles] == files[::-1]
    assert {each.content_mask for each in styles} == {None}
    with pytest.raises(DataError, match=r"--style nope\.png: no such file"):
        style_files(["nope.png"], "", "", "")
