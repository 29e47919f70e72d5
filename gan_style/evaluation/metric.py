"""The contract between metrics and everything that evaluates with them.

Images are (N, 3, H, W), RGB in [0, 1], as everywhere. A metric of pairs gives every image a number;
one of collections compares two sets of features; a derived one is made of others' values. None of
them knows folders, files or reports.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

Against = Literal["collection", "content", "style", "reconstruction", "truth"]


@dataclass(frozen=True, kw_only=True)
class Info:
    """What a metric says of itself.

    Args:
        title: heading of its column, with the convention that its numbers hang on.
        better: which way.
        against: what a translation is compared with: the image that it was made from, the style
            image of its pair, all images of the target collection, or the true translation; or, of
            a reconstruction, that it is compared with the content that it started from.
        also: what else it is compared with, each a column of its own.
        source: where the definition comes from, with an address.
        weights: names in `weights/table.toml` that it needs.
        features: of a metric of collections: the extractors that it can be of.
        range: of collections: the least and the greatest value that there can be.
    """

    title: str
    better: Literal["lower", "higher"]
    against: Against
    source: str
    also: tuple[Against, ...] = ()
    weights: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    range: tuple[float, float] = (-math.inf, math.inf)


class PairMetric(nn.Module):
    """A number for each image and its counterpart."""

    @abstractmethod
    def forward(self, translated: Tensor, other: Tensor) -> Tensor:
        """Images (N, 3, H, W) and as many counterparts -> (N,), each pair by itself.

        Counterparts are of the same size, unless they are styles.
        """


class SetMetric:
    """Numbers for two sets of features; stateless."""

    @abstractmethod
    def distance(self, translated: Tensor, real: Tensor, seed: int = 0) -> dict[str, float]:
        """Features (M, D) and (K, D) -> named numbers; the one called `value` is the metric."""


class DerivedMetric:
    """A number made of the values of other metrics; stateless."""

    of: ClassVar[tuple[str, ...]]  # their names

    @abstractmethod
    def value(self, values: Mapping[str, float]) -> float:
        """The number, of the values of all metrics in `of`."""
