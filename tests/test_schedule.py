"""Learning-rate factors against the published schedules, computed by hand."""

from itertools import pairwise

import pytest

from gan_style.config import TrainConfig
from gan_style.training.schedule import learning_rate_factor

EPOCH = 7  # images


def in_epoch(config: TrainConfig, number: int, image: int = 0) -> float:
    """The factor at an image of an epoch, counted from 1 as in the published code."""
    return learning_rate_factor(config, (number - 1) * EPOCH + image, 1e3, EPOCH)


@pytest.mark.parametrize(
    ("number", "factor"),
    # 1 - max(0, e + 1 - 100) / 101 of junyanz/pytorch-CycleGAN-and-pix2pix since 2020, 200 epochs
    [
        (1, 1.0),
        (99, 1.0),
        (100, 0.990099),  # 100 / 101
        (101, 0.980198),  # 99 / 101
        (150, 0.495050),  # 50 / 101
        (199, 0.009901),  # 1 / 101
        (200, 0.0),
    ],
)
def test_the_reference_schedule_is_the_pytorch_codes_throughout_an_epoch(number, factor):
    config = TrainConfig(schedule="reference")
    for image in (0, EPOCH - 1):
        assert in_epoch(config, number, image) == pytest.approx(factor, abs=1e-6)


def test_the_reference_schedule_decays_over_its_share_of_any_number_of_epochs():
    config = TrainConfig(schedule="reference", epochs=5, decay=0.4)  # 3 epochs and then 2
    factors = [in_epoch(config, number) for number in range(1, 6)]
    assert factors == pytest.approx([1, 1, 2 / 3, 1 / 3, 0])  # 1 - max(0, e + 1 - 3) / 3


@pytest.mark.parametrize(
    ("number", "factor"),
    # Lua's train.lua: 1 up to epoch 101 of 200, then 1 - (e - 101) / 100
    [(1, 1.0), (100, 1.0), (101, 1.0), (102, 0.99), (150, 0.51), (200, 0.01)],
)
def test_the_linear_schedule_starts_an_epoch_with_the_lua_codes_factor(number, factor):
    assert in_epoch(TrainConfig(), number) == pytest.approx(factor, abs=1e-6)  # the default


def test_the_linear_schedule_falls_within_an_epoch_too():
    # Half of epoch 150 on top of 0.51: half a hundredth less.
    factor = learning_rate_factor(TrainConfig(), 149 * 10 + 5, 0, 10)
    assert factor == pytest.approx(0.505, abs=1e-6)


BUDGETS = {
    "epochs": (TrainConfig(epochs=4), lambda share: (round(share * 4 * 250), 1e9)),
    "images": (TrainConfig(images=1000), lambda share: (round(share * 1000), 1e9)),
    "minutes": (TrainConfig(minutes=2.0), lambda share: (10**9, share * 120)),
}


@pytest.mark.parametrize("budget", BUDGETS)
def test_the_linear_schedule_goes_from_1_to_0_over_the_last_half_of_any_budget(budget):
    config, used = BUDGETS[budget]
    shares = [step / 1000 for step in range(1001)]
    factors = [learning_rate_factor(config, *used(share), 250) for share in shares]
    assert factors[:501] == [1.0] * 501
    assert all(before > after for before, after in pairwise(factors[500:]))
    assert factors[750] == pytest.approx(0.5)
    assert factors[-1] == 0
    assert learning_rate_factor(config, *used(1.5), 250) == 0  # never negative


@pytest.mark.parametrize(
    ("decay", "expected"),
    [(1.0, [1, 0.75, 0.5, 0.25, 0]), (0.25, [1, 1, 1, 1, 0]), (0.75, [1, 1, 2 / 3, 1 / 3, 0])],
)
def test_decay_is_the_share_of_the_budget_over_which_the_rate_falls(decay, expected):
    config = TrainConfig(images=1000, decay=decay)
    factors = [learning_rate_factor(config, images, 0, 1) for images in range(0, 1001, 250)]
    assert factors == pytest.approx(expected)


@pytest.mark.parametrize(
    ("steps", "factor"),
    # lr / (1 + 5e-5 * i) of naoto0804/pytorch-AdaIN, i = 0, 1, ...
    [(0, 1.0), (1, 0.999950), (20_000, 0.5), (100_000, 1 / 6), (160_000, 1 / 9)],
)
@pytest.mark.parametrize("options", [{}, {"images": 10}, {"minutes": 1.0}])
def test_the_inverse_schedule_is_the_adain_codes_whatever_the_budget(steps, factor, options):
    config = TrainConfig(schedule="inverse", **options)
    found = [learning_rate_factor(config, images, 9, EPOCH, steps) for images in (0, steps, 10**7)]
    assert found == pytest.approx([factor] * 3, abs=1e-6)


@pytest.mark.parametrize("options", [{}, {"images": 10}, {"minutes": 1.0}])
def test_the_constant_schedule_is_1_to_the_end(options):
    config = TrainConfig(schedule="constant", **options)
    points = [(0, 0.0), (5, 30.0), (10, 60.0), (10**6, 1e6)]
    assert [learning_rate_factor(config, *point, EPOCH) for point in points] == [1.0] * 4
