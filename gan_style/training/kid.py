"""How good a training's translations are by now, in one number, and which weights made the best.

For each direction between two collections it is the KID, by Inception's features (metrics/kid.py):
translations of test images of one side against test images of the other. These are the same images
every time, spread over their folder, scaled as for training and cropped in the middle. They are
translated in fp32, whatever the precision of the training, rounded to 8 bits as in a PNG, by the
averaged weights, or, in a run that keeps no averages, the weights as trained.

Two other KIDs say what that is worth: of the same test images left alone, which need no training,
and of real ones, training images of the target, which is as close as one can come.

The lowest of many such numbers is lower than its weights deserve, because they were chosen by these
very images: what they are worth, other images tell.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gan_style.data.images import same, spread
from gan_style.data.stream import Domain, DomainPair, NoImage
from gan_style.evaluation.metrics import _features, kid
from gan_style.method import ENDS, Batch, Direction, Side, TrainedMethod

FEWEST = 4  # images a side, for `std`: halves of fewer have no pairs
PIXELS_A_BATCH = 2**20  # on an accelerator: 11 images, or fewer large ones
INCEPTION_PIXELS = 299**2  # that it makes of every image
ANEW = "other test images than before: KID and the best weights start anew"


class NoTestImage(NoImage):
    """KID can't be computed any more."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One KID of one direction."""

    kid: float
    std: float  # spread over halves of the test images
    test_images: int  # of the side that has fewer
    images: int  # trained before
    averaged: bool = False  # its weights; runs of before this was asked had those as trained


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """KIDs to the test images of a direction's target of what no training made."""

    unchanged: float  # of the other side's test images, as they are
    real: float | None = None  # of the target's training images; None where these are too few


@dataclass(kw_only=True)
class Scores:
    """The last and the lowest KID of each direction; part of a run's checkpoints."""

    files: list[str] = field(default_factory=list)  # the test images that all of it is of
    images: int = 0  # trained when KID was computed last
    last: dict[Direction, Score] = field(default_factory=dict)
    best: dict[Direction, Score] = field(default_factory=dict)
    weights: dict[Direction, dict[str, Tensor]] = field(default_factory=dict)  # of the best
    yardsticks: dict[Direction, Yardstick] = field(default_factory=dict)

    def add(self, direction: Direction, score: Score, weights: Mapping[str, Tensor]) -> None:
        """Take note of a score; of equal ones the first stays the best.

        KIDs of averaged weights and of those as trained aren't compared: with another kind the best
        starts anew.
        """
        self.last[direction] = score
        best = self.best.get(direction)
        if best is None or score.averaged != best.averaged or score.kid < best.kid:
            self.best[direction] = score
            self.weights[direction] = {
                key: value.detach().to("cpu", copy=True) for key, value in weights.items()
            }

    def state(self) -> dict[str, Any]:
        """For `checkpoint.save_state`."""
        return {
            **vars(self),
            "last": {direction: asdict(each) for direction, each in self.last.items()},
            "best": {direction: asdict(each) for direction, each in self.best.items()},
            "yardsticks": {direction: asdict(each) for direction, each in self.yardsticks.items()},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Scores":
        """What `state` was made of; one of before there were yardsticks has none."""
        last, best = (
            {direction: Score(**each) for direction, each in state[name].items()}
            for name in ("last", "best")
        )
        yardsticks = {
            direction: Yardstick(**each) for direction, each in state.get("yardsticks", {}).items()
        }
        if not last.keys() == best.keys() == state["weights"].keys():
            raise ValueError("its last and lowest KIDs aren't of the same directions")
        numbers = [
            each for score in (*last.values(), *best.values()) for each in vars(score).values()
        ]
        for known in yardsticks.values():
            numbers += [known.unchanged, *([] if known.real is None else [known.real])]
        if not all(isinstance(value, int | float) for value in numbers):
            raise TypeError("a KID of it is no number")
        return cls(**{**state, "last": last, "best": best, "yardsticks": yardsticks})

    def references(self, direction: Direction) -> dict[str, float]:
        """The KIDs that a direction's are to be compared with, by their names, as far as known."""
        known = self.yardsticks.get(direction)
        numbers = asdict(known) if known else {}
        return {key: value for key, value in numbers.items() if value is not None}

    def curves(self) -> dict[str, float]:
        """Tag -> number of TensorBoard: the KIDs computed last, and what to compare them with."""
        values = {}
        for direction, score in self.last.items():
            if score.images == self.images:
                values[f"kid/{direction}"] = score.kid
                values[f"kid_std/{direction}"] = score.std
        for direction in self.yardsticks:
            for key, value in self.references(direction).items():
                values[f"kid_{key}/{direction}"] = value
        return values

    def charts(self) -> dict[str, list[str]]:
        """Direction -> the tags of `curves` that are to be compared."""
        return {
            direction: [
                f"kid/{direction}",
                *(f"kid_{k}/{direction}" for k in self.references(direction)),
            ]
            for direction in self.yardsticks
        }

    def yardsticks_line(self) -> str:
        """What KID is to be compared with."""
        words = []
        for direction in self.yardsticks:
            known = self.references(direction)
            real = f", real: {known['real']:.4f}" if "real" in known else ""
            words.append(f"{direction} unchanged: {known['unchanged']:.4f}{real}")
        return f"KID of images that nothing translated: {'; '.join(words)}"

    def line(self) -> str:
        """The KIDs that were computed last, each beside the lowest so far and the unchanged."""
        words = []
        for direction, score in self.last.items():
            best = self.best[direction]
            known = f"lowest {best.kid:.4f} at {best.images}"
            if best is score:
                known = "the lowest so far" if self._useless(direction, score) else "the lowest"
            if score.images == self.images:
                beside = self._beside(direction, score)
                words.append(f"{direction} {_shown(score)} ({'; '.join([known, *beside])})")
        return f"KID after {self.images} images: {', '.join(words) or 'translations hold NaN'}"

    def best_line(self) -> str:
        """The lowest KIDs; empty where there are none."""
        words = []
        for direction, best in self.best.items():
            beside = "".join(f" ({text})" for text in self._beside(direction, best))
            words.append(f"{direction} {_shown(best)} after {best.images} images{beside}")
        useful = not all(self._useless(*each) for each in self.best.items())
        use = ": translate --weights best" if useful else ""
        return f"lowest KID: {', '.join(words)}{use}" if words else ""

    def _useless(self, direction: Direction, score: Score) -> bool:
        """Whether images left alone are as good."""
        unchanged = self.references(direction).get("unchanged")
        return unchanged is not None and score.kid >= unchanged

    def _beside(self, direction: Direction, score: Score) -> list[str]:
        unchanged = self.references(direction).get("unchanged")
        if unchanged is None:
            return []
        worse = ", worse than leaving the images alone" * self._useless(direction, score)
        return [f"unchanged: {unchanged:.4f}{worse}"]

    def summary(self) -> dict[Direction, dict[str, float]]:
        """Direction -> numbers, for progress.json."""
        return {
            direction: {
                "best": best.kid,
                "best_images": best.images,
                "last": self.last[direction].kid,
                "last_images": self.last[direction].images,
                "test_images": best.test_images,
                **self.references(direction),
            }
            for direction, best in self.best.items()
        }


def _shown(score: Score) -> str:
    return f"{score.kid:.4f} ± {score.std:.4f}"


class Scorer:
    """KID of every direction of a method.

    Args:
        method: its networks as they were built: copies of those that translate are taken, which
            no precision or compilation is wrapped around.
        data: whose test images, at least FEWEST a side.
        count: of these.
        features: those of `load_features`.
    """

    def __init__(
        self, method: TrainedMethod, data: DomainPair, count: int, features: nn.Module
    ) -> None:
        self.method = deepcopy(method).eval().requires_grad_(False)
        for nets in method.players.values():
            for net in set(nets) - set(method.directions.values()):
                delattr(self.method, net)
        self.data, self.count, self.features = data, count, features
        self.metric = kid.Metric()
        self.real: dict[Side, Tensor] = {}  # features of test images ...
        self.real_files: list[str] = []  # ... which are these

    @property
    def files(self) -> list[str]:
        """What the test images are, see `DomainPair.identity`.

        Of one that was lost on the way the content is empty, as after a resume without it.
        """
        images = []
        for side in self.data.sides:
            part = f"test{side.upper()}"
            both = list(zip(self.data.domain.test(side), self.data.identity(part), strict=True))
            for path, image in spread(both, self.count):
                lost = (part, path) in self.data.left_out
                images.append(image[image.index(" ") :] if lost else image)
        return images

    @property
    def names(self) -> list[str]:
        """The same as checkpoints of before have it: their folders' names and their own."""
        chosen = (spread(self.data.domain.test(side), self.count) for side in self.data.sides)
        return [same(f"{path.parent.name}/{path.name}") for paths in chosen for path in paths]

    @property
    def lost(self) -> bool:
        """Whether a side has no test image any more that can be read."""
        return any(self.data.lost(f"test{side.upper()}") for side in self.data.sides)

    def score(
        self,
        weights: Mapping[str, Mapping[str, Tensor]],
        images: int,
        device: torch.device,
        averaged: bool = False,
    ) -> dict[Direction, Score]:
        """Direction -> KID; without those whose translations are no numbers.

        Args:
            weights: network -> its state.
            images: that it was trained on.
            device: to compute on.
            averaged: whether the weights are.

        Raises:
            NoTestImage: a side has none any more.
        """
        self.method.to(device)
        self.features.to(device)
        for net, state in weights.items():
            getattr(self.method, net).load_state_dict(state)
        batch = self._samples()
        scores: dict[Direction, Score] = {}
        for direction in self.method.directions:
            source, target = ENDS[direction]
            real = self._real(target, batch, device)
            made = self._features(batch[source], device, direction)
            if made.isfinite().all():
                found = self.metric.distance(made, real)
                scores[direction] = Score(
                    kid=found["value"],
                    std=found["std"],
                    test_images=int(found["images"]),
                    images=images,
                    averaged=averaged,
                )
        return scores

    def yardsticks(self, device: torch.device) -> dict[Direction, Yardstick]:
        """Direction -> KIDs of images that nothing translated; raises as `score`."""
        self.features.to(device)
        batch, known = self._samples(), self.data.samples(self.count, "train")
        found: dict[Direction, Yardstick] = {}
        for direction in self.method.directions:
            source, target = ENDS[direction]
            real, kid_to = self._real(target, batch, device), self.metric.distance
            others = None
            if len(known[target]) >= FEWEST:
                others = kid_to(self._features(known[target], device), real)["value"]
            unchanged = kid_to(self._real(source, batch, device), real)["value"]
            found[direction] = Yardstick(unchanged=unchanged, real=others)
        return found

    def _samples(self) -> Batch:
        """The test images; features of others, before one was lost, are forgotten."""
        batch = self.data.samples(self.count)
        if self.lost:  # these are training images
            raise NoTestImage("no test image is left that can be read")
        if self.files != self.real_files:
            self.real, self.real_files = {}, self.files
        return batch

    def _real(self, side: Side, batch: Batch, device: torch.device) -> Tensor:
        """Features of the test images of a side, computed once for the same ones."""
        if side not in self.real:
            self.real[side] = self._features(batch[side], device)
        return self.real[side]

    @torch.inference_mode()
    def _features(
        self, images: Tensor, device: torch.device, direction: Direction | None = None
    ) -> Tensor:
        """(N, D) of images (N, 3, H, W), or of their translations; on the CPU."""
        height, width = images.shape[-2:]
        pixels = max(height * width, INCEPTION_PIXELS)
        most = 1 if device.type == "cpu" else max(1, PIXELS_A_BATCH // pixels)
        rows = []
        for some in images.split(most):
            shown = some.to(device)
            if direction:
                made = self.method.translate_in(direction, shown)
                shown = (made * 255).round() / 255  # as in a PNG
            rows.append(self.features(shown).cpu())
        return torch.cat(rows)


def obstacle(method: TrainedMethod, domain: Domain) -> str:
    """Why there can be no KID; empty where there can be."""
    if not method.directions:
        return "this method doesn't translate between two collections"
    for side in method.sides:
        count = len(domain.test(side))
        if count < FEWEST:
            return f"{count} test images of {side.upper()}, but it needs {FEWEST} a side"
    return ""


def load_features() -> nn.Module:
    """Inception, fetched where it isn't here.

    Raises:
        WeightsError, Interrupted: as `weights.fetch`.
    """
    with _impatient():
        return _features.extractor("inception")


@contextmanager
def _impatient() -> Iterator[None]:
    """Have pip try twice only: without a network its six tries can take minutes."""
    name = "PIP_RETRIES"
    if name in os.environ:
        yield
        return
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]
