"""What trainings of CycleGAN and DualGAN have in common, from their TensorBoard files, as one plot.

python experiments/gan_curves.py --folders RUN,RUN,RUN --out curves.png

Two panels over the minutes trained: how far images are from themselves after both generators (mean
absolute difference of values in [-1, 1]), and by how much the scores of real images exceed those of
translations, as a share of the largest excess, since the scores of different losses have no common
unit. Solid is for images of A (left: a -> b -> a; right: real A against made A), dotted for B.
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gan_style import command, runs
from gan_style.errors import DataError
from gan_style.io.files import atomic_file

mpl.use("Agg")
import matplotlib.pyplot as plt

SMOOTH = 5  # points of a long curve that a point of the drawn one is the mean of


def draw(folders: str, out: str) -> None:
    """Write the plot and print where each run ended."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), dpi=100, layout="constrained")
    for number, folder in enumerate(map(Path, folders.split(","))):
        record = runs.read(folder)
        name = f"{record['train']['method']} {record.get('preset', '')}".strip()
        events = EventAccumulator(str(folder / "tensorboard")).Reload()
        for side, line in (("a", "-"), ("b", ":")):
            minutes, distance = _distance(events, record, side)
            minutes, gap = _gap(events, record, side)
            style = {"linestyle": line, "color": f"C{number}", "linewidth": 1.2}
            label = {"label": name} if side == "a" else {}
            left.plot(_smooth(minutes), _smooth(distance), **style, **label)
            right.plot(_smooth(minutes), _smooth(gap) / abs(_smooth(gap)).max(), **style)
            print(
                f"{name:24} {side}: reconstruction {distance[:3].mean():.3f} -> "
                f"{distance[-3:].mean():.3f}, gap {gap[:3].mean():.3g} -> {gap[-3:].mean():.3g}"
            )
    left.set(title="distance from itself, there and back", xlabel="minutes", ylim=(0, None))
    right.set(title="scores: real less made, share of the largest", xlabel="minutes")
    right.axhline(0, color="grey", linewidth=0.6)
    left.legend(frameon=False, fontsize=8)
    with atomic_file(Path(out)) as partial:
        figure.savefig(partial, format="png")


def _distance(events: EventAccumulator, record: dict, side: str) -> tuple[np.ndarray, np.ndarray]:
    """The weighted term, which is a mean over all steps, by its weight."""
    options = record["method"]
    weight = options.get(f"lambda_{side}", options.get("lambda_cycle"))
    minutes, term = _curve(events, f"generator/cycle_{side}")
    return minutes, term / weight


def _gap(events: EventAccumulator, record: dict, side: str) -> tuple[np.ndarray, np.ndarray]:
    if record["method"]["gan_loss"].startswith("wgan"):  # the terms are the scores, of all steps
        minutes, real = _curve(events, f"discriminator/real_{side}")
        return minutes, -real - _curve(events, f"discriminator/fake_{side}")[1]
    if f"critic/gap_{side}" in events.Tags()["scalars"]:
        return _curve(events, f"critic/gap_{side}")
    minutes, real = _curve(events, f"score/real_{side}")
    return minutes, real - _curve(events, f"score/fake_{side}")[1]


def _curve(events: EventAccumulator, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Minutes since the first point, and values."""
    try:
        points = events.Scalars(name)
    except KeyError as error:
        raise DataError(f"{events.path} has no curve {name}") from error
    times = np.array([point.wall_time for point in points])
    return (times - times[0]) / 60, np.array([point.value for point in points])


def _smooth(values: np.ndarray) -> np.ndarray:
    width = max(1, min(SMOOTH, len(values) // 5))
    return np.convolve(values, np.ones(width) / width, mode="valid")


if __name__ == "__main__":
    command.only("gan_curves", draw, lambda: __doc__)
