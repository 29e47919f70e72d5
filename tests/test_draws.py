"""What is drawn for an item of the stream: independently, evenly, and easily done again."""

import random
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from gan_style.config import DataConfig
from gan_style.data.images import to_tensor
from gan_style.data.stream import DomainPair, _pipeline, domain_from_folder

CROPPING = ("resize_and_crop", "crop", "scale_width_and_crop", "scale_shorter_and_crop")
WHOLE = ("resize", "scale_width", "none")
COUNT = 2048


@pytest.fixture(scope="module")
def draws(tmp_path_factory):
    """(COUNT, 2, 3): top, left and mirrored of COUNT items' a and b; crops of 32 out of 35."""

    @cache
    def make(preprocess):
        side = 35 if preprocess in CROPPING else 32
        folder = tmp_path_factory.mktemp(preprocess)
        rows, columns = np.mgrid[:side, :side].astype(np.uint8)
        for part in ("trainA", "trainB"):
            (folder / part).mkdir()
            for i in range(2):
                image = np.stack([rows, columns, columns], axis=-1)
                Image.fromarray(image).save(folder / part / f"{i}.png")
        config = DataConfig(preprocess=preprocess, size=32, load_size=side, workers=1)
        data = DomainPair(domain_from_folder(folder), config, seed=0)

        def drawn(crop):
            (top, _), (first, last) = (crop[:2, 0, [0, -1]] * 255).round().int().tolist()
            return top, min(first, last), int(first > last)

        return np.array([[drawn(crop) for crop in data.item(k)] for k in range(COUNT)])

    return make


def assert_even(cells, count):
    """Chi-square of `count` equally likely cells, within 5 standard deviations of its mean."""
    seen = np.bincount(cells, minlength=count)
    assert len(seen) == count
    expected = len(cells) / count
    statistic, freedom = ((seen - expected) ** 2 / expected).sum(), count - 1
    assert statistic < freedom + 5 * (2 * freedom) ** 0.5


def eighths(draws):
    """0..7 of (..., 3): upper or lower, left or right half of the places, mirrored or not."""
    top, left, mirrored = np.moveaxis(draws, -1, 0)
    return 4 * (top // 2) + 2 * (left // 2) + mirrored


@pytest.mark.parametrize("preprocess", [*CROPPING, *WHOLE])
def test_every_place_is_as_likely_mirrored_as_not(draws, preprocess):
    places = 4 if preprocess in CROPPING else 1  # 35 - 32 + 1
    for side in (0, 1):
        top, left, mirrored = draws(preprocess)[:, side].T
        assert_even((top * places + left) * 2 + mirrored, 2 * places**2)


@pytest.mark.parametrize("preprocess", [*CROPPING, *WHOLE])
def test_what_is_drawn_for_a_tells_nothing_of_b(draws, preprocess):
    a, b = draws(preprocess)[:, 0], draws(preprocess)[:, 1]
    if preprocess in CROPPING:
        assert_even(8 * eighths(a) + eighths(b), 64)
    else:
        assert_even(2 * a[:, 2] + b[:, 2], 4)


@pytest.mark.parametrize("preprocess", [*CROPPING, *WHOLE])
def test_what_is_drawn_for_an_item_tells_nothing_of_the_next(draws, preprocess):
    for side in (0, 1):
        each = draws(preprocess)[:, side]
        if preprocess in CROPPING:
            assert_even(8 * eighths(each[:-1]) + eighths(each[1:]), 64)
        else:
            assert_even(2 * each[:-1, 2] + each[1:, 2], 4)


def plainly(array, config, state):
    """The same in Python's slices, by one state: all that the library would have to be replaced by.

    The library's first number is whether to do anything at all.
    """
    state.random()
    if config.crop:
        height, width = config.crop
        top = int((array.shape[0] - height + 1) * state.random())
        left = int((array.shape[1] - width + 1) * state.random())
        array = array[top : top + height, left : left + width]
    if config.flip and state.random() < 0.5:
        array = array[:, ::-1]
    return array


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("preprocess", [*CROPPING, *WHOLE])
def test_both_transforms_are_plain_slicing_and_flipping(preprocess, flip):
    config = DataConfig(preprocess=preprocess, size=8, width=9, load_size=12, flip=flip)
    image = np.random.default_rng(0).integers(0, 256, (13, 15, 3), dtype=np.uint8)
    pipeline = _pipeline(config)
    for seed in range(1000):
        pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
        made = pipeline(image=image)["image"]
        assert np.array_equal(made, plainly(image, config, random.Random(seed)))


def test_an_item_is_drawn_from_the_runs_seed_its_position_and_its_side(toy):
    config = DataConfig(size=24, workers=1, serial_b=True)
    data = DomainPair(domain_from_folder(toy), config, seed=5)
    for k in range(20):
        for number, (path, crop) in enumerate(zip(data.files(k), data.item(k), strict=True)):
            (seed,) = np.random.SeedSequence((5, k, number)).generate_state(1)
            image = plainly(data.cache.read(path), config, random.Random(int(seed)))
            assert torch.equal(crop, to_tensor(image))
