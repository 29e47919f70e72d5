"""Whether a precision harms a training: runs that differ in it alone, against those of other seeds.

small="--size 64 --generator resnet_6 --width_generator 16 --width_discriminator 16 --images 2000"
for run in fp32-0 fp32-1 fp32-2 bf16-0 bf16-1 bf16-2; do
  python train.py --domain monet2photo $small --precision ${run%-*} --seed ${run#*-} --run_dir $run
done
python experiments/precision_harm.py --folders fp32-0,fp32-1,fp32-2,bf16-0,bf16-1,bf16-2

Curves of the objectives over the images trained, a colour for each precision and a line for each
seed; printed are the means of the last fifth of each curve and the KIDs at the end.
"""

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gan_style import command, runs
from gan_style.io.files import atomic_file

mpl.use("Agg")
import matplotlib.pyplot as plt

SMOOTH = 20  # points of a curve that a point of the drawn one is the mean of
CURVES = {  # title -> the terms whose sum it is
    "cycle": ("generator/cycle_a", "generator/cycle_b"),
    "adversarial": ("generator/adversarial_ab", "generator/adversarial_ba"),
    "discriminators": tuple(
        f"discriminator/{kind}_{side}" for kind in ("real", "fake") for side in "ab"
    ),
}


def draw(folders: str, out: str = "curves.png") -> None:
    """Write the plot; print a line for each run, and for each precision what its seeds span."""
    figure, panels = plt.subplots(1, len(CURVES), figsize=(9, 3), dpi=100, layout="constrained")
    found: dict[str, list[list[float]]] = {}
    for folder in map(Path, folders.split(",")):
        precision = runs.read(folder)["launch"]["precision"]
        events = EventAccumulator(str(folder / "tensorboard")).Reload()
        first = precision not in found
        numbers = []
        for panel, (title, terms) in zip(panels, CURVES.items(), strict=True):
            images, values = _curve(events, terms)
            numbers.append(float(values[-len(values) // 5 :].mean()))
            panel.plot(
                _smooth(images),
                _smooth(values),
                color={"fp32": "C0"}.get(precision, "C1"),
                linewidth=1,
                label=precision if first else None,
            )
            panel.set(title=title, xlabel="images")
        kid = json.loads((folder / "progress.json").read_text(encoding="utf-8"))["kid"]
        numbers += [kid[direction]["last"] for direction in ("a2b", "b2a")]
        found.setdefault(precision, []).append(numbers)
        print(f"{folder.name:12}", _line(numbers))
    for precision, rows in found.items():
        print(f"{precision:12}", _line(np.mean(rows, axis=0)), " mean")
        print(f"{precision:12}", _line(np.ptp(rows, axis=0)), " highest less lowest")
    panels[0].legend(frameon=False)
    with atomic_file(Path(out)) as partial:
        figure.savefig(partial, format="png")


def _curve(events: EventAccumulator, terms: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Images trained, and the sum of the terms there."""
    points = [events.Scalars(term) for term in terms]
    values = np.sum([[point.value for point in each] for each in points], axis=0)
    return np.array([point.step for point in points[0]]), values


def _smooth(values: np.ndarray) -> np.ndarray:
    return np.convolve(values, np.ones(SMOOTH) / SMOOTH, mode="valid")


def _line(numbers: list[float] | np.ndarray) -> str:
    names = (*CURVES, "KID a2b", "KID b2a")
    return "  ".join(f"{name} {value:.3f}" for name, value in zip(names, numbers, strict=True))


if __name__ == "__main__":
    command.only("precision_harm.py", draw, lambda: __doc__ or "")
