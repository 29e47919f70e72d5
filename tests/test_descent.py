"""Descent over pixels, on functions whose minimum is known; nothing here is of one method."""

import math
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from gan_style.errors import TrainingError
from gan_style.maths.descent import Optimizer, Scale, Step, descend
from gan_style.maths.pyramid import pyramid, resized

SIZES = [(6, 8), (12, 16), (24, 32)]
SHIFTS = {6: 0.0, 12: 0.1, 24: 0.2}  # each scale has a minimum of its own


def pixels(seed: int, size: tuple[int, int] = SIZES[-1]) -> Tensor:
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed))


def minimum(size: tuple[int, int]) -> Tensor:
    return 0.8 * resized(pixels(0), size) + SHIFTS[size[0]]


def quadratic(size: tuple[int, int]):
    """Two terms, (image - minimum)^2 with curvatures of 1 to 4 and again with 1."""
    target, curvature = minimum(size), 1 + 3 * pixels(1, size)

    def objective(image: Tensor) -> dict[str, Tensor]:
        squares = (image - target).square()
        return {"curved": (curvature * squares).sum(), "round": squares.sum()}

    return objective


def run(iterations: int, objective_at=quadratic, state=None, start=None, **optimizer) -> list[Step]:
    """The steps, each with an image and a state of its own."""
    start = pixels(2, (5, 7)) if start is None else start
    scales = [Scale(size=size, iterations=iterations) for size in SIZES]
    steps = descend(start, scales, objective_at, Optimizer(**optimizer), state)
    with torch.no_grad():
        return [deepcopy(step) for step in steps]


@pytest.mark.parametrize(
    ("optimizer", "iterations", "tolerance"),
    [
        ({"name": "lbfgs"}, 40, 1e-5),
        ({"name": "adam", "learning_rate": 0.05, "learning_rate_decay": 0.3}, 400, 1e-3),
    ],
)
def test_a_quadratic_is_descended_to_its_minimum_at_every_scale(optimizer, iterations, tolerance):
    steps = run(iterations, **optimizer)
    last = {tuple(step.image.shape[-2:]): step for step in steps}
    assert list(last) == SIZES
    for size, step in last.items():
        torch.testing.assert_close(step.image, minimum(size), atol=tolerance, rtol=0)
        assert sum(step.terms.values()) < 1e-4 * sum(steps[0].terms.values())


def test_steps_are_counted_over_all_scales():
    steps = run(3)
    assert [step.done for step in steps] == [*range(1, 10)]
    assert {step.total for step in steps} == {9}


def test_a_scale_ends_where_nothing_is_to_be_gained():
    # At its minimum the gradient is 0 and no image moves.
    steps = run(50, lambda size: lambda image: {"none": 0 * image.sum()})
    assert [step.done for step in steps] == [1, 51, 101]
    assert "nothing more to gain" in steps[0].note
    assert torch.equal(steps[0].image, resized(pixels(2, (5, 7)), SIZES[0]))


@pytest.mark.parametrize("name", ["lbfgs", "adam"])
def test_from_every_saved_state_the_same_images_follow_bit_for_bit(name):
    steps = run(4, name=name)
    assert len(steps) == 12
    for index, step in enumerate(steps):
        again = run(4, state=deepcopy(step.state), start=torch.zeros(1, 3, 5, 7), name=name)
        assert [each.done for each in again] == [each.done for each in steps[index + 1 :]]
        for one, other in zip(again, steps[index + 1 :], strict=True):
            assert torch.equal(one.image, other.image)
            assert one.terms == other.terms


@pytest.mark.parametrize("name", ["lbfgs", "adam"])
def test_only_the_ratio_of_the_terms_matters(name):
    def scaled(size):
        objective = quadratic(size)
        return lambda image: {key: 2.0**-30 * term for key, term in objective(image).items()}

    one, other = (run(3, each, name=name)[-1].image for each in (quadratic, scaled))
    assert torch.equal(one, other)  # a power of two changes no rounding


def breaking(broken: range):
    """A quadratic whose second term is NaN at these evaluations, counted from 1 over all scales."""
    count = 0

    def objective_at(size):
        objective = quadratic(size)

        def terms(image: Tensor) -> dict[str, Tensor]:
            nonlocal count
            count += 1
            found = objective(image)
            return {**found, "round": found["round"] * (math.nan if count in broken else 1)}

        return terms

    return objective_at


def test_a_nan_stops_adam_with_every_term_and_what_to_try():
    # The first evaluation is the one that the loss is scaled by.
    message = r"iteration 3 of Adam \(curved [\d.]+, round nan\): take fewer, or --precision"
    with pytest.raises(TrainingError, match=message):
        run(9, breaking(range(4, 99)), name="adam", advice="take fewer")


def test_a_nan_makes_lbfgs_hand_over_to_adam_from_the_last_good_image():
    steps = run(9, breaking(range(3, 29)))  # a whole line search, which it can't get out of
    (note,) = {step.note for step in steps if step.note}
    assert "L-BFGS left the numbers in iteration 1 (curved" in note
    assert "round nan): going on with Adam from the image before it" in note
    assert torch.equal(steps[0].image, resized(pixels(2, (5, 7)), SIZES[0]))
    # The next scale begins anew.
    assert [step.state["kind"] for step in steps] == 9 * ["adam"] + 18 * ["lbfgs"]
    assert all(step.image.isfinite().all() for step in steps)


def test_every_scale_has_twice_the_sides_of_the_one_before():
    assert pyramid((100, 150), coarsest=40) == [(25, 38), (50, 75), (100, 150)]
    assert pyramid((100, 150), coarsest=40, smallest=32) == [(50, 75), (100, 150)]
    assert pyramid((16, 150), coarsest=40, smallest=32) == [(16, 150)]  # the last one stays
    assert pyramid((100, 150), coarsest=0) == [(100, 150)]
    assert pyramid((100, 150), coarsest=512) == [(100, 150)]


def test_a_resized_image_keeps_its_colour_and_range():
    grey = torch.full((1, 3, 20, 30), 0.25)
    torch.testing.assert_close(resized(grey, (7, 40)), torch.full((1, 3, 7, 40), 0.25))
    checks = (torch.arange(20).view(-1, 1) + torch.arange(30)).remainder(2).expand(1, 3, -1, -1)
    made = resized(checks.float(), (33, 50))  # a cubic overshoots
    assert made.min() == 0
    assert made.max() == 1
    assert resized(grey, (20, 30)) is grey
