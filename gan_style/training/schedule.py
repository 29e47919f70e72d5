"""How far a training is, and what that makes of learning rates and averaged weights."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gan_style.config import TrainConfig

INVERSE_DECAY = 5e-5  # a step: `--lr_decay` of pytorch-AdaIN


@dataclass
class Progress:
    """How far a run is; part of its checkpoints."""

    images: int = 0
    steps: int = 0  # of the optimizers
    seconds: float = 0.0  # trained, without the time between interruption and resume


def learning_rate_factor(
    config: TrainConfig, images: int, seconds: float, epoch: int, steps: int = 0
) -> float:
    """What the initial learning rates are multiplied by after `images` images and `seconds`.

    - linear: 1, then straight to 0 over the last `decay` of the budget. In the first step of epoch
      e of 200 it is 1 - max(0, e - 101) / 100, the value of the Lua original (train.lua).
    - reference: 1 - max(0, e + 1 - n) / (n_decay + 1) throughout epoch e = 1, 2, ..., as the
      PyTorch reference since 2020 (models/networks.py with the scheduler stepped at the start of
      an epoch, train.py); 0 in the last epoch.
    - inverse: 1 / (1 + 5e-5 * steps), whatever the budget, as naoto0804/pytorch-AdaIN (train.py,
      adjust_learning_rate): 1 in the first step, 1/2 after 20,000 steps.
    - constant: 1.

    Args:
        config: budget, schedule and decay.
        images: seen before this step.
        seconds: trained before this step.
        epoch: images in one epoch.
        steps: of the optimizers before this one; only `inverse` reads them.
    """
    if config.schedule == "inverse":
        return 1 / (1 + INVERSE_DECAY * steps)
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "reference":
        decaying = round(config.decay * config.epochs_in_all)
        number = images // epoch + 1
        return 1 - max(0, number + 1 - (config.epochs_in_all - decaying)) / (decaying + 1)
    return min(1.0, (1 - spent(config, images, seconds, epoch)) / config.decay)


def spent(config: TrainConfig, images: int, seconds: float, epoch: int) -> float:
    """The share of the budget that is used up, in [0, 1]."""
    if config.minutes is not None:
        return min(1.0, seconds / (60 * config.minutes))
    return min(1.0, images / (config.images or config.epochs_in_all * epoch))


Tensors = tuple[Tensor, ...] | list[Tensor]


def averaging(ema: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """How the averaged weights follow: for `AveragedModel`, whose first update is a copy.

    The update after n others keeps the share min(ema, (1 + n) / (10 + n)) of the average, as
    TensorFlow's ExponentialMovingAverage with `num_updates`
    (https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage). So a short run's
    average is of its later weights; with a decay of 0.999 from the start, that of 500 steps would
    still be made of the first ones by 0.6.
    """

    @torch.no_grad()
    def follow(averages: Tensors, weights: Tensors, updates: Tensor | int) -> None:
        assert isinstance(updates, Tensor)  # it stays on its device, which needn't be waited for
        step = (9 / (10 + updates)).clamp(min=1 - ema)  # of the way
        ways = torch._foreach_sub(weights, averages)
        torch._foreach_mul_(ways, step)
        torch._foreach_add_(averages, ways)

    return follow
