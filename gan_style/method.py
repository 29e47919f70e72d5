"""The contract between methods and everything that runs them."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, TypedDict

import torch
from torch import Tensor, nn


class Batch(TypedDict):
    """What a training step gets: unpaired images (N, 3, H, W), RGB in [0, 1]."""

    a: Tensor
    b: Tensor


@dataclass(frozen=True, kw_only=True)
class Paper:
    """Where a method comes from and what kind it is."""

    title: str
    year: int
    url: str
    family: Literal["collection", "optimisation", "feedforward", "transform"]
    style: Literal["collection", "fixed", "indexed", "image"]  # where the style comes from


class Method(nn.Module):
    """Turns content images into the target style."""

    multiple: int = 1  # heights and widths that the networks take are multiples of this ...
    smallest: int = 1  # ... and at least this, in training and in translate

    @abstractmethod
    def translate(self, content: Tensor, style: Tensor | None = None) -> Tensor:
        """Images (N, 3, H, W), RGB in [0, 1] -> the same."""


class TrainedMethod(Method):
    """A method with weights to learn.

    `players` names, for each optimizer, the attributes (networks) that it moves: the trainer puts
    the prepared, possibly distributed, network in the attribute's place. `averaged` names those
    networks that translate uses: the trainer keeps a running average of their weights too.
    """

    players: ClassVar[dict[str, tuple[str, ...]]]
    averaged: ClassVar[tuple[str, ...]]

    @property
    @abstractmethod
    def translators(self) -> tuple[str, ...]:
        """The networks that `translate` uses as configured: all that must be loaded for it."""

    @abstractmethod
    def optimizer(self, player: str, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer that the paper gives this player, at its initial learning rate."""

    @abstractmethod
    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Yield (player, weighted terms) in playing order; the trainer steps after each."""

    @abstractmethod
    def preview(self, batch: Batch) -> dict[str, dict[str, Tensor]]:
        """Grids to look at while training: name -> column title -> (N, 3, H, W) in [0, 1]."""

    def monitor(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars worth a curve that are no losses; called without gradients now and then."""
        return {}
