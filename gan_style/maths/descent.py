"""Descent over the pixels of one image, from coarse to fine, that can be gone on with bit for bit.

Every method that optimises pixels says what is to become small, as named terms of an image; this
says how: L-BFGS (Liu, Nocedal 1989) with a strong Wolfe line search, so that the loss doesn't rise,
or Adam (Kingma, Ba 2015), whose images are clipped to [0, 1] after every iteration.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from gan_style.errors import TrainingError
from gan_style.maths.pyramid import resized

Objective = Callable[[Tensor], dict[str, Tensor]]  # an image -> its weighted terms, scalars

FIRST_STEP = 0.01  # of L-BFGS: mean change of a value, of 1


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where an optimisation of pixels is after one iteration."""

    image: Tensor  # (1, 3, h, w) of the current scale; the next step may change it in place
    done: int  # iterations over all scales
    total: int
    terms: dict[str, float]  # weighted losses
    # What `descend` goes on from; checkpoint.save_state takes it.
    state: dict[str, Any]
    note: str = ""  # something the user should know


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Which optimizer moves the pixels, and how."""

    name: Literal["lbfgs", "adam"] = "lbfgs"
    history: int = 50  # steps that L-BFGS remembers: each takes two images
    learning_rate: float = 0.02  # Adam's; pixels are in [0, 1]
    learning_rate_decay: float = 1.0  # Adam's, every 50 iterations
    advice: str = "try a lower --learning_rate"  # for a loss that Adam makes NaN


@dataclass(frozen=True, kw_only=True)
class Scale:
    """One size at which an image is optimised."""

    size: tuple[int, int]  # (height, width)
    iterations: int


def descend(
    start: Tensor,
    scales: Sequence[Scale],
    objective_at: Callable[[tuple[int, int]], Objective],
    optimizer: Optimizer,
    state: dict[str, Any] | None = None,
) -> Iterator[Step]:
    """Yield after every iteration; each scale begins with the result of the one before.

    Args:
        start: (1, 3, H, W), RGB in [0, 1], of any size.
        scales: from coarse to fine.
        objective_at: makes the objective of a (height, width), with what is fixed worked out.
        optimizer: the same for every scale, each of which begins anew.
        state: of an earlier step of the same descent, to go on from instead of `start`: what
            follows is bit for bit what would have followed then.

    Raises:
        TrainingError: the loss of Adam is NaN or infinite. L-BFGS hands over to Adam first.
    """
    first = state["scale"] if state else 0
    image = state["image"].to(start.device) if state else start
    total = sum(scale.iterations for scale in scales)
    for index in range(first, len(scales)):
        scale = scales[index]
        before = sum(coarser.iterations for coarser in scales[:index])
        image = resized(image, scale.size)
        objective = objective_at(scale.size)
        descent = Descent(image, objective, optimizer, state if index == first else None)
        for iteration in range(descent.iteration, scale.iterations):
            terms, note = descent.step()
            yield Step(
                image=descent.image.detach(),
                done=before + iteration + 1,
                total=total,
                terms=terms,
                state={"scale": index, **descent.state()},
                note=note,
            )
            if descent.converged:
                break
        image = descent.image.detach()


@dataclass(frozen=True, kw_only=True)
class _Evaluation:
    image: Tensor
    loss: Tensor
    gradient: Tensor
    terms: dict[str, float]


class Descent:
    """An image on its way down, one iteration at a time; what it is can be saved between two.

    L-BFGS runs with `max_iter=1`, so that it can be looked at and saved after every iteration. It
    would evaluate the accepted point of the line search again then; recent points are remembered
    instead.
    """

    def __init__(
        self,
        image: Tensor,
        objective: Objective,
        optimizer: Optimizer,
        state: dict[str, Any] | None,
    ) -> None:
        self.objective, self.chosen = objective, optimizer
        self.image = image.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
        self.kind = state["kind"] if state else optimizer.name
        self.iteration = state["iteration"] if state else 0
        self.converged = False
        self.recent: deque[_Evaluation] = deque(maxlen=4)
        self.unit = state["unit"] if state else self._unit()
        self.optimizer = self._optimizer()
        if state:
            self.optimizer.load_state_dict(state["optimizer"])

    def _unit(self) -> float:
        """What makes the first loss 10,000, for the optimizers only.

        Their thresholds are absolute (L-BFGS drops steps whose change of gradient along them is
        below 1e-10, Adam adds 1e-8), but only the ratio of the weights should matter.
        """
        with torch.no_grad():
            loss = float(sum(self.objective(self.image).values()))
        return 1e4 / loss if math.isfinite(loss) and loss > 0 else 1.0

    def _optimizer(self) -> torch.optim.Optimizer:
        if self.kind == "adam":
            return torch.optim.Adam([self.image], lr=self.chosen.learning_rate)
        return torch.optim.LBFGS(
            [self.image],
            max_iter=1,
            max_eval=26,  # the first is remembered, the others are the line search's
            history_size=self.chosen.history,
            tolerance_grad=0,
            tolerance_change=0,
            line_search_fn="strong_wolfe",
        )

    def state(self) -> dict[str, Any]:
        """What the next iteration needs, beside the images."""
        return {
            "kind": self.kind,
            "iteration": self.iteration,
            "unit": self.unit,
            "image": self.image.detach(),
            "optimizer": self.optimizer.state_dict(),
        }

    def step(self) -> tuple[dict[str, float], str]:
        """One iteration: terms of the image that it leaves (Adam: that it found), and a note."""
        before = self.image.detach().clone()
        self.iteration += 1
        if self.kind == "adam":
            self.recent.clear()  # it never comes back to a point
        with torch.enable_grad():
            self._set_learning_rate()
            self.optimizer.step(self._evaluate)  # type: ignore[arg-type]  # a scalar tensor
        terms = self._terms()
        if not (self.image.isfinite().all() and math.isfinite(sum(terms.values()))):
            return self._fall_back(before, terms)
        if self.kind == "adam":
            with torch.no_grad():
                self.image.clamp_(0, 1)
        self.converged = torch.equal(self.image, before)
        return terms, "nothing more to gain at this scale" if self.converged else ""

    def _set_learning_rate(self) -> None:
        rate = 1.0
        if self.kind == "adam":
            decay = self.chosen.learning_rate_decay ** ((self.iteration - 1) // 50)
            rate = self.chosen.learning_rate * decay
        elif self.iteration == 1:
            # torch's first step is one unit of the gradient's sum; an average pixel shall move
            # by FIRST_STEP, whatever the size of the image.
            self._evaluate()
            size = float(self.recent[-1].gradient.abs().mean())
            rate = FIRST_STEP / size * max(1, size * self.image.numel()) if size > 0 else 1.0
        self.optimizer.param_groups[0]["lr"] = rate

    def _evaluate(self) -> Tensor:
        """Loss and gradient of the image, remembered."""
        for evaluation in self.recent:
            if torch.equal(evaluation.image, self.image):
                self.image.grad = evaluation.gradient.clone()
                return evaluation.loss
        terms = self.objective(self.image)
        loss = self.unit * torch.stack(list(terms.values())).sum()
        (gradient,) = torch.autograd.grad(loss, self.image)
        self.image.grad = gradient.contiguous()  # L-BFGS takes views of it
        self.recent.append(
            _Evaluation(
                image=self.image.detach().clone(),
                loss=loss.detach(),
                gradient=self.image.grad.clone(),
                terms={name: float(value.detach()) for name, value in terms.items()},
            )
        )
        return loss.detach()

    def _terms(self) -> dict[str, float]:
        for evaluation in self.recent:
            if torch.equal(evaluation.image, self.image):
                return evaluation.terms
        return self.recent[-1].terms

    def _fall_back(self, before: Tensor, terms: dict[str, float]) -> tuple[dict[str, float], str]:
        """Go on with Adam from the last good image; Adam itself has nothing to fall back to."""
        shown = ", ".join(f"{name} {value:g}" for name, value in terms.items())
        if self.kind == "adam":
            raise TrainingError(
                f"the loss is no number any more in iteration {self.iteration} of Adam ({shown}): "
                f"{self.chosen.advice}, or --precision fp32"
            )
        self.kind = "adam"
        with torch.no_grad():
            self.image.copy_(before.clamp(0, 1))
        self.recent.clear()
        self.optimizer = self._optimizer()
        return terms, (
            f"L-BFGS left the numbers in iteration {self.iteration} ({shown}): going on with Adam "
            "from the image before it"
        )
