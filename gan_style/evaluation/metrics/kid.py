"""Kernel Inception distance: how far apart the features of two collections are, without bias.

    MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y),    k(x, y) = (x.y / D + 1)^3,

the first two means over pairs of different images, of Inception's 2048 features, in float64.

Bińkowski et al. 2018, https://arxiv.org/abs/1801.01401. Around 0 for two samples of one collection,
and so sometimes below; symmetric. Its expectation does not depend on how many images there are,
which makes it the one to believe of a few hundred, where FID is too high.

`value` is of all images. Other programs average 100 random subsets of 1000 and come out at the same
number, but for what the draw adds: the average over all subsets is the value of the whole.

`std` is the spread over 100 random subsets of 1000, as elsewhere; but of half of a collection where
it has fewer than 2000 images, as subsets of nearly all images hardly differ, and of all of them not
at all. Halves also have a meaning: their spread estimates that of `value` itself, were the images
drawn anew (the delete-d jackknife of Shao and Wu 1989, whose factor (n - d) / d is 1 for halves;
https://doi.org/10.1214/aos/1176347263). Above 2000 images it is that of 1000, and so larger.

Own code. torchmetrics 1.9 has the same formula, but multiplies the features anew for every
subset, 100 times the work, draws from torch's global seed, and wants subsets of one size.
"""

import torch
from torch import Tensor

from gan_style.evaluation.metric import Info, SetMetric
from gan_style.evaluation.metrics._features import check

SUBSETS = 100
SUBSET = 1000  # images, at most

INFO = Info(
    title="KID",
    better="lower",
    against="collection",
    source="Bińkowski et al. 2018, https://arxiv.org/abs/1801.01401",
    weights=("inception",),
    features=("inception", "vgg16", "alex"),
)


class Metric(SetMetric):
    """`value`, `std`, and `images`, those of the smaller side. Takes 8 (M + K)^2 bytes."""

    def distance(self, translated: Tensor, real: Tensor, seed: int = 0) -> dict[str, float]:
        """Of features (M, D) and (K, D); the seed draws the subsets, of which only `std` is.

        Raises:
            DataError: fewer than four images on a side, so that halves have no pairs.
        """
        check(translated, real, fewest=4)
        a, b = translated.double(), real.double()
        aa, bb, ab = kernel(a, a), kernel(b, b), kernel(a, b)
        generator = torch.Generator().manual_seed(seed)
        spread = []
        for _ in range(SUBSETS):
            i, j = subset(len(a), generator), subset(len(b), generator)
            spread.append(unbiased(aa[i][:, i], bb[j][:, j], ab[i][:, j]))
        return {
            "value": unbiased(aa, bb, ab).item(),
            "std": torch.stack(spread).std().item(),
            "images": float(min(len(a), len(b))),
        }


def kernel(a: Tensor, b: Tensor) -> Tensor:
    """(M, K) of features (M, D) and (K, D)."""
    return (a @ b.mT / a.shape[1] + 1) ** 3


def unbiased(aa: Tensor, bb: Tensor, ab: Tensor) -> Tensor:
    """MMD^2 of kernels (M, M), (K, K) and (M, K); no image is compared with itself."""
    return _of_pairs(aa) + _of_pairs(bb) - 2 * ab.mean()


def _of_pairs(square: Tensor) -> Tensor:
    count = len(square)
    return (square.sum() - square.trace()) / (count * (count - 1))


def subset(count: int, generator: torch.Generator) -> Tensor:
    """Indices of a random half of a collection, or of SUBSET of its images."""
    return torch.randperm(count, generator=generator)[: min(SUBSET, count // 2)]
