"""What a training tells whoever started it from Python."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Point:
    """Where a training is, at a point of its curves.

    Args:
        images: trained.
        expected: of the whole budget; None where minutes are the budget and it has just begun.
        seconds: trained.
        values: of TensorBoard's curves by their names, such as "generator/cycle_a" and
            "speed/images_per_second"; means of the terms since the last point.
        kid: the last KID of each direction; empty before the first.
    """

    images: int
    expected: int | None
    seconds: float
    values: Mapping[str, float]
    kid: Mapping[str, float]


Callback = Callable[[Point], bool | None]  # True ends the training, as if the budget was spent
