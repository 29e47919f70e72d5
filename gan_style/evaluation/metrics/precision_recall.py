"""Improved precision and recall: are translations like real images, and as varied?

A collection's manifold is taken to be the balls around the features of its images, each reaching to
the third nearest other image. Precision is the share of translations in a ball of the real images,
recall the share of real images in a ball of the translations; swapped collections swap them.

Kynkäänniemi et al. 2019, https://arxiv.org/abs/1904.06991. Both are in [0, 1]. `value` is their
harmonic mean, 0 where one of them is, as each is easily had alone: precision by one good image
over and over, recall by translations far from each other, whose balls are large. Figures compare
at equal counts only; take as many real images as translations.

Difference from the paper: of VGG-16 it takes the second layer of the classifier, we the average of
relu5_3 (see `_features.py`), so that figures differ from published ones.

Own code, as no library that is kept up takes given features. Distances are not taken from products
of matrices, as is quicker: their rounding is that of the features' lengths, not of the distances.
"""

import torch
from torch import Tensor

from gan_style.evaluation.metric import Info, SetMetric
from gan_style.evaluation.metrics._features import check

NEIGHBOURS = 3
ROWS = 1024  # of distances at a time

INFO = Info(
    title="precision and recall (F1, VGG-16)",
    better="higher",
    against="collection",
    source="Kynkäänniemi et al. 2019, https://arxiv.org/abs/1904.06991",
    weights=("vgg16_torchvision",),
    features=("vgg16",),
    range=(0, 1),
)


class Metric(SetMetric):
    """`value`, their harmonic mean; `precision` and `recall`."""

    def distance(self, translated: Tensor, real: Tensor, seed: int = 0) -> dict[str, float]:
        """Of features (M, D) and (K, D); nothing is drawn.

        Raises:
            DataError: fewer than four images on a side, so that one has no third neighbour.
        """
        check(translated, real, fewest=NEIGHBOURS + 1)
        a, b = translated.double(), real.double()
        precision, recall = _covered(a, b), _covered(b, a)
        both = precision + recall
        return {
            "value": 2 * precision * recall / both if both else 0.0,
            "precision": precision,
            "recall": recall,
        }


def _covered(points: Tensor, centres: Tensor) -> float:
    """Share of points (M, D) in a ball around one of centres (K, D)."""
    # The nearest is the centre itself, at 0.
    radii = [rows.kthvalue(NEIGHBOURS + 1).values for rows in _distances(centres, centres)]
    radius = torch.cat(radii)
    inside = [(rows <= radius).any(dim=1) for rows in _distances(points, centres)]
    return torch.cat(inside).double().mean().item()


def _distances(a: Tensor, b: Tensor) -> list[Tensor]:
    mode = "donot_use_mm_for_euclid_dist"
    return [torch.cdist(rows, b, compute_mode=mode) for rows in a.split(ROWS)]
