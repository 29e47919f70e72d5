"""One number for content and style: a product in the manner of ArtFID.

    (1 + LPIPS) (1 + FID)

with LPIPS (AlexNet) of each translation to its content, averaged, and FID of all translations to
the target collection. 1 at best, which no method reaches: an image left alone has LPIPS 0, but the
FID of its own collection. A low product is a good trade-off.

Wright and Ommer 2022, ArtFID: Quantitative evaluation of neural style transfer,
https://arxiv.org/abs/2207.12280. Difference: the FID's features are those of the usual Inception,
trained on photographs of things, not of their Inception trained on paintings, whose weights have no
package; so the numbers aren't those of papers. Their program extrapolates FID to infinitely many
images from 5000 upwards; this FID is of the images that there are, too high where they are few, and
so products compare only at equal counts.
"""

import math
from collections.abc import Mapping

from gan_style.evaluation.metric import DerivedMetric, Info

INFO = Info(
    title="ArtFID-style product (Inception, LPIPS-Alex)",
    better="lower",
    against="collection",
    source="Wright and Ommer 2022, https://arxiv.org/abs/2207.12280",
    weights=("lpips_alex", "inception"),
    range=(1, math.inf),
)


class Metric(DerivedMetric):
    """Products from 1 up."""

    of = ("lpips_alex", "fid")

    def value(self, values: Mapping[str, float]) -> float:  # noqa: D102
        return (1 + values["lpips_alex"]) * (1 + values["fid"])
