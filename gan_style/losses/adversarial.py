"""How a discriminator's scores become a loss for it or for the generator that it judges."""

import torch
from torch import Tensor
from torch.nn import functional as F


def lsgan(scores: Tensor, real: bool) -> Tensor:
    """Mean squared distance of scores (any shape) to 1 (`real`) or 0: Mao et al. 2017, a=0, b=c=1.

    CycleGAN's choice. Mao et al. put 1/2 before both; the reference puts it before the
    discriminator's only, and so does `gan_style.methods.cyclegan`.
    """
    return F.mse_loss(scores, _target(scores, real))


def vanilla(scores: Tensor, real: bool) -> Tensor:
    """Binary cross-entropy of the scores (any shape) taken as logits: Goodfellow et al. 2014.

    For a generator call it with real=True: the non-saturating form.
    """
    return F.binary_cross_entropy_with_logits(scores, _target(scores, real))


def _target(scores: Tensor, real: bool) -> Tensor:
    return torch.ones_like(scores) if real else torch.zeros_like(scores)


LOSSES = {"lsgan": lsgan, "vanilla": vanilla}
