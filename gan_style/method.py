"""The contract between methods and everything that runs them."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypedDict

import torch
from torch import Tensor, nn

from gan_style.maths.descent import Step
from gan_style.styles import Styles, of_content

Side = Literal["a", "b"]
Direction = Literal["a2b", "b2a"]
ENDS: dict[Direction, tuple[Side, Side]] = {"a2b": ("a", "b"), "b2a": ("b", "a")}  # from, to
BACK: dict[Direction, Direction] = {"a2b": "b2a", "b2a": "a2b"}


class Batch(TypedDict, total=False):
    """Unpaired images (N, 3, H, W), RGB in [0, 1], of the sides that the method reads."""

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
    bytes_per_pixel: float = 0.0  # of a content, at the peak of translate in fp32; 0 is unknown
    longest_side: int | None = None  # that larger contents are scaled to unless --side is given

    @property
    def grey(self) -> bool:
        """Whether translate reads contents as their luma, taken before they are scaled."""
        return False

    def bytes_for(self, content: tuple[int, int], styles: Sequence[tuple[int, int]] = ()) -> float:
        """Bytes at the peak of translate in fp32; 0 is unknown.

        Args:
            content: (height, width).
            styles: (height, width) of each as it is given to translate, not as it is scaled there.
        """
        return content[0] * content[1] * self.bytes_per_pixel

    @abstractmethod
    def translate(self, content: Tensor, style: Styles = None) -> Tensor:
        """Images (N, 3, H, W), RGB in [0, 1] -> the same.

        Raises:
            ConfigError: the style comes from an image (`PAPER.style`) and there is none.
        """


class OptimisedMethod(Method):
    """A method that makes every image by an optimisation of its pixels."""

    @abstractmethod
    def optimise(
        self, content: Tensor, style: Styles, state: dict[str, Any] | None = None
    ) -> Iterator[Step]:
        """Yield after every iteration on one content (1, 3, H, W); the last image is the result.

        Args:
            content: RGB in [0, 1].
            style: as for `translate`.
            state: of an earlier step with the same images, to go on from.
        """

    def translate(self, content: Tensor, style: Styles = None) -> Tensor:
        """Images (N, 3, H, W), RGB in [0, 1] -> the same, one after the other."""
        images = []
        for index in range(len(content)):
            for step in self.optimise(content[index : index + 1], of_content(style, index)):
                image = step.image
            images.append(image)
        return torch.cat(images).clamp(0, 1)


class TrainedMethod(Method):
    """A method with weights to learn.

    `players` names, for each optimizer, the attributes (networks) that it moves. `averaged` names
    those networks that translate uses: the trainer keeps a running average of their weights too.
    """

    players: Mapping[str, tuple[str, ...]]
    averaged: tuple[str, ...]
    pretrained: ClassVar[dict[str, str]] = {}  # network -> the published weights that fill it
    inference_options: ClassVar[tuple[str, ...]] = ()  # that may be changed after training
    # Of a method that translates between two collections: the network of each way that it goes.
    directions: Mapping[Direction, str] = {}

    @property
    def batches_a_step(self) -> int:
        """How many batches one of `losses` is made of, for players who see several in a step."""
        return 1

    def build_for_crop(
        self, crop: tuple[int, int] | None
    ) -> None:  # most methods have nothing to do
        """Build what depends on the (height, width) of the training images; None: they differ.

        Called once, before the training starts, and not for `translate`: no network that
        translates may depend on it.

        Raises:
            ConfigError: these networks need images of one size.
        """

    def begin(self) -> None:  # most methods begin with random weights
        """Fill the networks of a new run with published weights; not where --start_from has some.

        Raises:
            WeightsError, Interrupted: as `weights.fetch`.
        """

    @property
    def looks(self) -> int:
        """How many images of each collection `look` wants to see."""
        return 0

    def look(self, batches: Iterable[Batch], fresh: bool) -> None:  # most methods don't
        """See `looks` batches of one image a side, cut as those to train on, before training.

        Every process sees the same ones, and so does a run that is gone on with. Only where the run
        is `fresh` may networks be changed: it has just begun, not with another's weights.
        """

    @property
    def sides(self) -> tuple[Side, ...]:
        """The collections that training reads: the keys of its batches."""
        return ("a", "b")

    @property
    def grey_sides(self) -> tuple[Side, ...]:
        """Those of them that are read as their luma, taken before they are scaled."""
        return ()

    def prefetch(self) -> None:  # most methods have nothing to do
        """Fetch and read what training needs, so that what is missing is known before it starts.

        Without it the first step does the same.
        """

    @property
    @abstractmethod
    def inference_networks(self) -> tuple[str, ...]:
        """The networks that `translate` uses as configured: all that must be loaded for it."""

    @abstractmethod
    def optimizer(self, player: str, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer that the paper gives this player, at its initial learning rate."""

    @abstractmethod
    def losses(self, batch: Batch) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Yield (player, weighted terms) in playing order; the trainer steps after each.

        Which players, and how often, is the same for every batch.
        """

    @abstractmethod
    def preview(self, batch: Batch) -> dict[str, dict[str, Tensor]]:
        """Grids to look at while training: name -> column title -> (N, 3, H, W) in [0, 1]."""

    def translate_in(self, direction: Direction, content: Tensor) -> Tensor:
        """As `translate`, in one of `directions`, whichever is configured."""
        raise NotImplementedError

    def monitor(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars worth a curve that are no losses; called without gradients now and then."""
        return {}
