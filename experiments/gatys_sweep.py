"""What the style weight of Gatys does: several weights on one image, as curves and pictures.

python experiments/gatys_sweep.py --content photo.jpg --style painting.jpg --out sweep.jpg

Law (and exit code 1 where it doesn't hold): more style weight leaves a higher content loss and a
lower style loss.
"""

import io
import itertools
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from PIL import Image

from gan_style import command
from gan_style.data import images
from gan_style.io.files import atomic_file
from gan_style.methods import gatys
from gan_style.progress import Bar

mpl.use("Agg")
import matplotlib.pyplot as plt


def sweep(
    content: str,
    style: str,
    out: str,
    side: int = 256,
    iterations: int = 150,
    ratios: str = "1e3,5e3,1e4,5e4,1e5,1e6,1e7",
) -> int:
    """Draw the sweep; the ratios are style weight over content weight by the paper's formulas."""
    photo, painting = (_tensor(Path(name), side) for name in (content, style))
    numbers = [float(word) for word in ratios.split(",")]
    ends, pictures = [], []
    for ratio in Bar(numbers, unit=" weights"):
        config = gatys.Config(style_weight=ratio, iterations=iterations, first_scale=0)
        with torch.no_grad():
            *_, last = gatys.Method(config).optimise(photo, painting)
        ends.append((last.terms["content"], last.terms["style"] / ratio))
        pictures.append(images.from_tensor(last.image[0]))
        print(f"{ratio:8.0e}  content {ends[-1][0]:10.4g}  style {ends[-1][1]:10.4g}", flush=True)
    below = images.grid(
        [[images.from_tensor(photo[0]), *pictures]],
        titles=["content", *(f"{ratio:.0e}" for ratio in numbers)],
        cell=192,
    )
    above = _curves(numbers, ends, below.shape[1])
    with atomic_file(Path(out)) as partial:
        Image.fromarray(np.concatenate([above, below])).save(partial, quality=88)
    pairs = list(itertools.pairwise(ends))
    holds = all(a[0] < b[0] and a[1] > b[1] for a, b in pairs)
    print(f"{out}: content loss rises and style loss falls: {'yes' if holds else 'NO'}")
    return 0 if holds else 1


def _tensor(path: Path, side: int) -> torch.Tensor:
    array = images.to_array(images.load_image(path))
    scale = side / max(array.shape[:2])
    size = (round(array.shape[0] * scale), round(array.shape[1] * scale))
    return images.to_tensor(images.resize(array, size))[None]


def _curves(ratios: list[float], ends: list[tuple[float, float]], width: int) -> np.ndarray:
    """The two losses over the ratio as a picture (H, width, 3)."""
    content, style = zip(*ends, strict=True)
    figure, left = plt.subplots(figsize=(width / 100, 2.6), dpi=100, layout="constrained")
    left.loglog(ratios, content, "o-", color="tab:blue")
    left.set_xlabel("style weight / content weight")
    left.set_ylabel("content loss", color="tab:blue")
    right = left.twinx()
    right.loglog(ratios, style, "s-", color="tab:red")
    right.set_ylabel("style loss", color="tab:red")
    buffer = io.BytesIO()
    figure.savefig(buffer)
    plt.close(figure)
    return np.asarray(Image.open(buffer).convert("RGB").resize((width, 260)))


if __name__ == "__main__":
    command.only("gatys_sweep.py", sweep, lambda: __doc__ or "")
