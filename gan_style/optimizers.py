"""Optimizers that torch hasn't got."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


class TensorFlowRMSprop(torch.optim.Optimizer):
    """RMSprop as tf.train.RMSPropOptimizer has it, without momentum.

        square <- decay * square + (1 - decay) * gradient^2,  1 before the first step
        weight <- weight - lr * gradient / sqrt(square + eps)

    torch.optim.RMSprop starts the squares at 0 and adds eps to the root. Starting at 1 is a gentle
    beginning: the first steps are of lr times the gradient, not of about 3 lr whatever its size.

    Args:
        parameters: what to move.
        lr: learning rate.
        decay: of the mean square (`rho` there).
        eps: inside of the root.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        decay: float = 0.9,
        eps: float = 1e-10,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "decay": decay, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step on the gradients that are there; `closure` is none of ours."""
        assert closure is None
        for group in self.param_groups:
            moved = [each for each in group["params"] if each.grad is not None]
            if not moved:
                continue
            for each in moved:
                if not self.state[each]:
                    self.state[each]["square"] = torch.ones_like(each)
            gradients = [each.grad for each in moved]
            squares = [self.state[each]["square"] for each in moved]
            torch._foreach_mul_(squares, group["decay"])
            torch._foreach_addcmul_(squares, gradients, gradients, 1 - group["decay"])
            # One by one: the roots of all at once are as much memory again as the weights.
            for each, gradient, square in zip(moved, gradients, squares, strict=True):
                each.addcdiv_(gradient, (square + group["eps"]).sqrt_(), value=-group["lr"])
