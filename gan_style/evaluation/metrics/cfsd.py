"""Content feature structural distance: whether the same parts of the image still look alike.

With features F (C, M) of relu3_1 of VGG-19, S = softmax of each row of F^T F / C^2 says how similar
every position is to every other, and

    CFSD = sum_i KL(S_i(content) || S_i(translation)),  KL(p || q) = sum_j p_j log(p_j / q_j)

over the M rows. That is StyleID's code, to which its published numbers belong: it divides both
factors by C, and sums over the rows, so that an image of twice the side has about four times the
distance. Give all methods images of one size (StyleID: 512x512).

StyleID's VGG-19 is torchvision's, with zeros around the image. This one is the normalised VGG-19,
which comes through pip, and whose features have another scale: the numbers are not those of
papers. They also lie close together: with mean activation 1, divided by C twice, similarities are
small and rows of S nearly uniform, so that a method is hardly told from another (five of them on
forty photographs: 0.0164 to 0.0182, with intervals as wide). `Metric(family="torchvision")` is
StyleID's.

Images of 8 pixels and more on a side; rows are made in blocks, as M^2 numbers of an image of 512
pixels are 2 GB. No library but torch.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from gan_style.evaluation.metric import Info, PairMetric
from gan_style.evaluation.metrics._checks import at_least
from gan_style.maths.statistics import in_full_precision
from gan_style.nn.vgg import VGG, Family

INFO = Info(
    title="CFSD (sum over positions, relu3_1 of normalised VGG-19)",
    better="lower",
    against="content",
    source=(
        "Chung et al. 2024, Style injection in diffusion, https://arxiv.org/abs/2312.09008, "
        "evaluation/image_metrics.py of https://github.com/jiwoogit/StyleID"
    ),
    weights=("vgg19_normalised",),
)
LAYER = "relu3_1"
BLOCK = 2**22  # similarities that are in memory at once, 32 MB for each image


class Metric(PairMetric):
    """Distances from 0 up, on the VGG-19 of a family in `nn.vgg`."""

    def __init__(self, family: Family = "normalised") -> None:
        super().__init__()
        self.vgg = VGG([LAYER], family=family)

    @torch.no_grad()
    def forward(self, translated: Tensor, other: Tensor) -> Tensor:  # noqa: D102
        at_least(self.vgg.smallest, translated, other)
        pairs = zip(self.vgg(other)[LAYER], self.vgg(translated)[LAYER], strict=True)
        return torch.stack([distance(content, ours) for content, ours in pairs])


@in_full_precision
def distance(content: Tensor, translated: Tensor, block: int = BLOCK) -> Tensor:
    """CFSD of two feature maps (C, H, W), a scalar.

    In float64 from the similarities on: rows of thousands of nearly equal probabilities differ in
    digits that float32 doesn't have.
    """
    maps = [each.flatten(1).mT / len(each) for each in (content, translated)]  # (M, C)
    rows = max(1, block // len(maps[0]))
    blocks = zip(*(each.split(rows) for each in maps), strict=True)
    total = torch.zeros((), dtype=torch.float64, device=content.device)
    for some in blocks:
        wanted, met = (
            (part @ each.mT).double().log_softmax(1) for part, each in zip(some, maps, strict=True)
        )
        total += F.kl_div(met, wanted, log_target=True, reduction="sum")
    return total.to(content.dtype)
