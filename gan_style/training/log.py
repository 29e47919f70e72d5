"""What a training shows of itself: curves, grids of samples, and the term that is not a number.

Every point of the curves is the mean of the terms since the last one, over all processes. They stay
on the device until then, so that nothing waits for a step.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from gan_style import checkpoint, devices, runs
from gan_style.curves import Curves
from gan_style.data.images import from_tensor, grid, save_png
from gan_style.errors import TrainingError, WriteError
from gan_style.io.files import write_json
from gan_style.method import Batch
from gan_style.training.state import State
from gan_style.training.step import Turn


@dataclass
class History:
    """Terms of the steps since the last point of the curves, still on the device."""

    values: dict[str, list[Tensor]] = field(default_factory=dict)
    images: list[int] = field(default_factory=list)
    waiting: float = 0.0  # seconds without a batch
    since: float = field(default_factory=time.monotonic)


class Log:
    """Curves and pictures of a training, and its last look at the numbers.

    Args:
        state: of the training.
        size: images of a step, over all processes.
    """

    def __init__(self, state: State, size: int) -> None:
        self.state, self.size = state, size
        self.players, self.accelerator = state.players, state.players.accelerator
        self.history = History()
        self.drawn_after = -1  # images when samples were drawn last
        self.curves: Curves | None = None  # the main process's, while it trains

    def begin(self) -> None:
        """The first point is of what is trained from now on."""
        self.history = History()

    def add(self, turns: Sequence[Turn], waited: float) -> None:
        """Take note of a step: what the players saw, and the seconds without a batch."""
        for player, terms in turns:
            for name, value in terms.items():
                seen = self.history.values.setdefault(f"{player}/{name}", [])
                seen.append(value.float())
        self.history.images.append(self.state.progress.images)
        self.history.waiting += waited

    @contextmanager
    def shown(self) -> Iterator[None]:
        """What is trained here is shown in TensorBoard."""
        if not self.accelerator.is_main_process:
            yield
            return
        images = self.state.progress.images
        # What was shown after the checkpoint that this run goes on from is shown again.
        self.curves = Curves(
            self.state.run / "tensorboard", purge_step=images + 1 if images else None
        )
        with closing(self.curves):
            if not images:
                self.curves.options(runs.options(self.state.record) | self.state.record["launch"])
            yield

    def samples(self, samples: Batch) -> None:
        """Grids of the fixed samples."""
        if not self.accelerator.is_main_process:
            return
        with self.players.looking():
            grids = self.players.method.preview(self.players.to_device(samples))
        images = self.drawn_after = self.state.progress.images
        for name, columns in grids.items():
            rows = [[from_tensor(x) for x in row] for row in zip(*columns.values(), strict=True)]
            side = max(rows[0][0].shape[:2])
            picture = grid(rows, titles=tuple(columns) if side >= 64 else (), cell=side)
            assert self.curves
            self.curves.picture(f"samples/{name}", picture, images)

    def point(self, batch: Batch) -> dict[str, float]:
        """A point of every curve, and its values: of all in the main process alone.

        Raises:
            TrainingError: a term is not a number.
        """
        values, history = self._collect(), self.history
        self.history = History()
        if not self.accelerator.is_main_process:
            return values
        with self.players.looking():
            seen = self.players.method.monitor(batch)
            values |= {name: float(value) for name, value in seen.items()}
        for player, optimizer in self.players.optimizers.items():
            values[f"learning_rate/{player}"] = optimizer.param_groups[0]["lr"]
        seconds, images = time.monotonic() - history.since, len(history.images)
        values["speed/images_per_second"] = images * self.size / seconds
        values["speed/seconds_waiting_for_data"] = history.waiting / images
        values["memory/peak_gb"] = devices.peak(self.accelerator.device) / 1e9
        assert self.curves
        self.curves.scalars(values, self.state.progress.images)
        return values

    def refuse_broken(self) -> None:
        """Stop before a broken state replaces a good one.

        Raises:
            TrainingError: a term or a weight is not a number.
        """
        if self.history.values:
            self._collect()
        for name in self.players.names:
            if not all(value.isfinite().all() for value in self.players.net(name).parameters()):
                images = self.state.progress.images
                raise TrainingError(
                    f"weights of {name} are no numbers any more after image {images}: "
                    f"{self._kept(images)}"
                )

    def _collect(self) -> dict[str, float]:
        """Means of the terms since the last point, over all processes."""
        names = list(self.history.values)
        table = [torch.stack(self.history.values[name]) for name in names]
        means = {}
        for name, row in zip(names, table, strict=True):
            values = self.accelerator.reduce(row, reduction="mean").cpu()
            bad = (~values.isfinite()).nonzero().flatten()
            if len(bad):
                self._stop_on_nan(name, float(values[bad[0]]), int(bad[0]), len(values))
            means[name] = float(values.mean())
        return means

    def _stop_on_nan(self, name: str, value: float, index: int, count: int) -> None:
        player, term = name.split("/")
        steps = len(self.history.images)
        position = index * steps // count  # a player may play several times a step
        step = self.state.progress.images // self.size - steps + position + 1
        images = self.history.images[position]
        raise TrainingError(
            f"term {term} of player {player} is {value} in step {step} (image {images}): "
            f"{self._kept(images)}"
        )

    def _kept(self, images: int) -> str:
        """What there is to find out why the step that ended after `images` went wrong."""
        saved = checkpoint.checkpoints(self.state.run)
        last = f"the last good checkpoint is {saved[-1]}" if saved else "there is no checkpoint yet"
        folder = self.state.run / "broken" / f"{images:09}"
        batch = f"the images of that step are in {folder}"
        if self.accelerator.is_main_process:
            try:
                self._keep_images(folder, range(images - self.size, images))
            except WriteError as error:
                batch = str(error)
        remedy = "start a new run with a lower --learning_rate (leave --resume and --run_dir out)"
        if saved:
            remedy = (
                "begin a new run from its weights at a lower rate, as with: "
                f"{runs.start_from(self.state.run)} --learning_rate {self._lower_rate():g}"
            )
        return f"{batch}; {last}; {remedy}"

    def _lower_rate(self) -> float:
        return min(rate for rates in self.players.initial_rates.values() for rate in rates) / 2

    def _keep_images(self, folder: Path, positions: Sequence[int]) -> None:
        """Write items of the stream, all processes', as they were shown: crops are of 8 bits."""
        files = {}
        for position in positions:
            crops, paths = self.state.data.item(position), self.state.data.files(position)
            for side, path, crop in zip(self.state.data.sides, paths, crops, strict=True):
                name = f"{position:09}_{side}.png"
                save_png(from_tensor(crop), folder / name)
                files[name] = os.fsencode(path).decode("utf-8", "backslashreplace")
        write_json(folder / "files.json", files)
