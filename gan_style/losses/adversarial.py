"""What a discriminator's scores are worth to it and to the generator that it judges.

With scores s of any shape, and means over all of them:

            discriminator's            generator's
            real         made
    lsgan   (s - 1)^2    s^2           (s - 1)^2     Mao et al. 2017 with a = 0, b = c = 1
    vanilla softplus(-s) softplus(s)   softplus(-s)  Goodfellow et al. 2014, logits, non-saturating
    hinge   max(0, 1-s)  max(0, 1+s)   -s            Lim and Ye 2017
    wgan    -s           s             -s            Arjovsky et al. 2017

A method weighs the terms: CycleGAN's reference halves the discriminator's two, DualGAN doesn't. The
Wasserstein form says nothing without a bound on the critic's slope: `clip_weights` after each of
its steps, or a penalty on `gradient_norms`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Term = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class GanLoss:
    """A row of the table above: scores of any shape to a scalar."""

    real: Term
    fake: Term
    fool: Term


def _squared_to_one(scores: Tensor) -> Tensor:
    return (scores - 1).square().mean()


def _squared(scores: Tensor) -> Tensor:
    return scores.square().mean()


def _softplus(scores: Tensor) -> Tensor:
    return F.softplus(scores).mean()


def _softplus_negative(scores: Tensor) -> Tensor:
    return F.softplus(-scores).mean()


def _below_one(scores: Tensor) -> Tensor:
    return F.relu(1 - scores).mean()


def _above_minus_one(scores: Tensor) -> Tensor:
    return F.relu(1 + scores).mean()


def _mean(scores: Tensor) -> Tensor:
    return scores.mean()


def _negative_mean(scores: Tensor) -> Tensor:
    return -scores.mean()


LOSSES = {
    "lsgan": GanLoss(_squared_to_one, _squared, _squared_to_one),
    "vanilla": GanLoss(_softplus_negative, _softplus, _softplus_negative),
    "hinge": GanLoss(_below_one, _above_minus_one, _negative_mean),
    "wgan": GanLoss(_negative_mean, _mean, _negative_mean),
}


def gradient_norms(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """How steep a critic is at a random point between each real and made image (N, C, H, W): (N,).

    Gulrajani et al. 2017 want (norm - 1)^2 to be small. The points are real + e (fake - real)
    with one e from U(0, 1) an image; the slope is sqrt(1e-8 + sum of the squared gradient of the
    image's scores), as in duxingren14/DualGAN (model.py). Gradients reach the critic's weights
    where they are enabled, never the images.
    """
    e = torch.rand(len(real), 1, 1, 1, dtype=real.dtype, device=real.device)
    between = (real + e * (fake - real)).detach().requires_grad_()
    training = torch.is_grad_enabled()
    with torch.enable_grad():
        scores = critic(between)
        (gradient,) = torch.autograd.grad(scores.sum(), between, create_graph=training)
    return (gradient.square().sum(dim=(1, 2, 3)) + 1e-8).sqrt()


@torch.no_grad()
def clip_weights(critics: Iterable[nn.Module], limit: float) -> None:
    """Cut all weights, biases and those of norms too, to [-limit, limit]: Arjovsky et al. 2017."""
    for critic in critics:
        for parameter in critic.parameters():
            parameter.clamp_(-limit, limit)


@torch.no_grad()
def clipped_share(critic: nn.Module, limit: float) -> Tensor:
    """The share of a critic's weights that lie at the limit."""
    weights = torch.cat([parameter.flatten() for parameter in critic.parameters()])
    return (weights.abs() >= limit).float().mean()
