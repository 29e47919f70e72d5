"""The one training loop: any TrainedMethod, on as many processes as accelerate started.

Progress is counted in images (pairs of an a and a b, where both are read) over all processes. Every
curve and grid is due when that count passes a multiple of its interval, so batch sizes that don't
divide the interval miss nothing.
"""

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from gan_style import checkpoint, runs
from gan_style.config import TrainConfig
from gan_style.data.stream import DomainPair
from gan_style.errors import ConfigError, Interrupted, TrainingError, WriteError
from gan_style.method import Batch, TrainedMethod
from gan_style.progress import STDERR, Bar, say
from gan_style.signals import postponed
from gan_style.training.callbacks import Callback, Point
from gan_style.training.kid import ANEW, NoTestImage, Scorer, Scores
from gan_style.training.log import Log
from gan_style.training.reader import Reader
from gan_style.training.schedule import learning_rate_factor, spent
from gan_style.training.state import State
from gan_style.training.step import Players

ENOUGH = 1000  # in place of a signal: a callback has seen enough


class Trainer:
    """A method that learns from data, until its budget is spent.

    Args:
        method: its networks are moved to the device.
        data: the training stream and the samples.
        config: budget and intervals.
        run: folder to write to.
        record: content of its config.json, for the exported weights.
        accelerator: where and how to run.
        scorer: computes KID; in the main process alone, and not in every run.
        callbacks: are told of every point of the curves, in the main process, and may end it.
    """

    def __init__(
        self,
        method: TrainedMethod,
        data: DomainPair,
        config: TrainConfig,
        run: Path,
        record: dict[str, Any],
        accelerator: Accelerator,
        scorer: Scorer | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        if config.recompute:
            _recompute(method, config.method)
        self.method, self.data, self.config = method, data, config
        self.run, self.record, self.accelerator = run, record, accelerator
        self.scorer, self.callbacks = scorer, callbacks
        self.players = Players(method, accelerator, config.ema)
        self.state = State(self.players, data, run, record, config.keep)
        loaded = config.batch_size * method.batches_a_step  # images at once, a process
        self.reader = Reader(data, self.players, run, loaded)
        self.size = (  # images of a step
            loaded * config.gradient_accumulation_steps * accelerator.num_processes
        )
        self.log = Log(self.state, self.size)
        self.stop_signal = 0
        # Optimizer steps between two looks at clock and signals: several processes have to talk
        # about it, which would make an accelerator wait for them; a CPU's step takes long anyway.
        waits = accelerator.num_processes > 1 and accelerator.device.type != "cpu"
        self._agree_every = 10 if waits else 1
        self.samples = data.samples(config.samples)  # now: one may vanish while it trains

    def train(self) -> None:
        """Train until the budget is spent, with a last checkpoint, export and grid."""
        config, progress, log = self.config, self.state.progress, self.log
        self.reader.begin(progress.images)
        last_checkpoint = started = time.monotonic()
        trained_before = progress.seconds
        log.begin()
        with (
            closing(self.reader), log.shown(), self._bar() as bar, postponed(self._on_signal),
            self._rescued(),
        ):  # fmt: skip
            if self._score_every and not self.state.scores.yardsticks:
                started += self._without_training(bar, self.measure)
            if progress.images == 0 and config.sample_every:
                log.samples(self.samples)
            while self.spent() < 1:
                if _passed(self.state.scores.images, progress.images, self._score_every):
                    started += self._without_training(bar, self.score)
                self.players.set_rates(self._rate())
                batches = self.reader.next(config.gradient_accumulation_steps)
                turns = self.players.step(batches)
                before = progress.images
                progress.images += self.size
                progress.steps += 1
                log.add(turns, self.reader.waited)
                bar.update(self.size)

                if _passed(before, progress.images, config.log_every):
                    self._point(batches[-1], bar)
                if _passed(before, progress.images, config.sample_every):
                    log.samples(self.samples)
                if progress.steps % self._agree_every:
                    continue
                now = time.monotonic()
                progress.seconds, checkpoint_due, stop = self._agree(
                    seconds=trained_before + now - started,
                    checkpoint_due=now - last_checkpoint >= 60 * config.checkpoint_minutes,
                )
                if checkpoint_due and not stop:
                    self._try_to_save()
                    last_checkpoint = time.monotonic()
                if stop == ENOUGH:
                    break
                if stop:
                    self.save()
                    raise Interrupted(
                        f"stopped by signal {stop} after {progress.images} images, everything is "
                        f"saved; go on with: {runs.again(self.run)}"
                    )
            if log.history.images:
                self._point(batches[-1], bar)
            if self._score_every and self.state.scores.images != progress.images:
                self._without_training(bar, self.score)
            self.reader.note_left_out()
            self.save()
            if config.sample_every and log.drawn_after != progress.images:
                log.samples(self.samples)

    def save(self) -> None:
        """Write a checkpoint of all processes and export the networks, unless they are broken.

        Raises:
            WriteError, TrainingError: as `State.save` and `Log.refuse_broken`.
        """
        self.log.refuse_broken()
        self.state.save(self.reader.left_out())

    def spent(self) -> float:
        """The share of the budget that is used up, in [0, 1]."""
        progress = self.state.progress
        return spent(self.config, progress.images, progress.seconds, len(self.data))

    def bytes_needed(self) -> tuple[int, int]:
        """What the run is going to write: checkpoints and weights, TensorBoard's pictures; about.

        A PNG of photographs is 0.6 of its pixels.
        """
        every, images = self.config.sample_every, self._expected_images() or 0
        cells = 4 * max(1, len(self.method.directions)) * self.config.samples
        side = self.data.config.size
        pictures = (images // every + 1) * cells * round(0.6 * 3 * side * side) if every else 0
        return self.state.bytes_needed(best=self.scorer is not None), pictures

    @property
    def _score_every(self) -> int:
        """Images between two KIDs; 0 where there are none."""
        return self.config.kid_every * len(self.data) if self.scorer else 0

    def _rate(self) -> float:
        progress, epoch = self.state.progress, len(self.data)
        return learning_rate_factor(
            self.config, progress.images, progress.seconds, epoch, progress.steps
        )

    @contextmanager
    def _rescued(self) -> Iterator[None]:
        """Save before an error ends the loop, and say in a note of it what is saved.

        Only whole steps are saved: a run must go on from there as if nothing had happened. A step
        that an optimizer has begun to make can't be taken back without a copy of the weights, so
        then the last checkpoint stands. So it does where several processes train, as the others may
        be anywhere, waiting for this one.
        """
        began = self.state.progress.images
        try:
            yield
        except (TrainingError, Interrupted, WriteError):
            raise  # broken numbers; saved already; can't be saved
        except Exception as error:
            if self.state.progress.images > began:
                traceback.clear_frames(error.__traceback__)  # which hold the memory of a step
                error.add_note(self._rescue())
            raise

    def _rescue(self) -> str:
        """Save the last whole step, if that can be; what there is to go on from."""
        again = f"go on with: {runs.again(self.run)}"
        saved = checkpoint.checkpoints(self.run)
        last = f"the last checkpoint is {saved[-1]}; {again}" if saved else "there is no checkpoint"
        if self.accelerator.num_processes > 1:
            return f"several processes can't save where one of them fails: {last}"
        if self.players.moved:
            return f"it failed in the middle of a step: {last}"
        try:
            self.players.take_back()
            self.save()
        except Exception as error:  # whatever it is, the first one is what ended the run
            reason = " ".join(str(error).split()) or type(error).__name__
            return f"nothing could be saved ({reason}): {last}"
        return f"after {self.state.progress.images} images everything is saved; {again}"

    def _on_signal(self, number: int) -> None:
        self.stop_signal = number

    def _agree(self, seconds: float, checkpoint_due: bool) -> tuple[float, bool, int]:
        """The main process's clock and decision, and anybody's signal, for all processes."""
        accelerator = self.accelerator
        if accelerator.num_processes == 1:
            return seconds, checkpoint_due, self.stop_signal
        mine = torch.tensor(
            [seconds, float(checkpoint_due), float(self.stop_signal)],
            dtype=torch.float64,
            device=accelerator.device,
        )
        everybodys = accelerator.gather(mine[None])
        return float(everybodys[0, 0]), bool(everybodys[0, 1]), int(everybodys[:, 2].max())

    def _bar(self) -> Bar:
        return Bar(
            total=self._expected_images(),
            initial=self.state.progress.images,
            unit=" images",
            smoothing=0.05,
            mininterval=0.5,
            disable=not self.accelerator.is_main_process,
        )

    def _expected_images(self) -> int | None:
        """The budget in images; one in minutes is estimated, once there is something to go by."""
        config = self.config
        if config.minutes is None:
            return config.images or config.epochs_in_all * len(self.data)
        share = self.spent()
        return round(self.state.progress.images / share) if share else None

    def _point(self, batch: Batch, bar: Bar) -> None:
        """A point of every curve, and beside the bar what the players' losses are."""
        values = self.log.point(batch)
        bar.total = expected = self._expected_images()
        bar.set_postfix(
            {
                player: f"{sum(v for k, v in values.items() if k.startswith(f'{player}/')):.3f}"
                for player in self.method.players
            },
            refresh=False,
        )
        progress, last = self.state.progress, self.state.scores.last
        point = Point(
            images=progress.images, expected=expected, seconds=progress.seconds, values=values,
            kid={direction: score.kid for direction, score in last.items()},
        )  # fmt: skip
        if self.accelerator.is_main_process:
            for callback in self.callbacks:  # each is told, whatever another says
                if callback(point):
                    self.stop_signal = self.stop_signal or ENOUGH

    def _without_training(self, bar: Bar, look: Callable[[], str]) -> float:
        """Have KID computed, by a function that returns what there is to say of it.

        Where no test image is left that is said, once; what is known of KID stays as it was.

        Returns:
            The seconds that it took, which are none of the training's: what is computed about a
            run must not change what `--minutes` makes of it.
        """
        if self.accelerator.device.type == "cuda":
            torch.cuda.synchronize(self.accelerator.device)  # until here it is training
        started, before = time.monotonic(), self.state.scores
        bar.set_description("computing KID")
        try:
            with self.players.looking():
                said = look()
        except NoTestImage as error:
            said, self.scorer, self.state.scores = f"no KID: {error}", None, before
        bar.set_description()
        say(said)
        seconds = time.monotonic() - started
        self.log.history.since += seconds
        return seconds

    def measure(self) -> str:
        """Compute what KID is to be compared with; once for the same test images."""
        assert self.scorer
        assert self.log.curves
        scores = self.state.scores
        scores.yardsticks = self.scorer.yardsticks(self.accelerator.device)
        scores.files = self.scorer.files  # after they were read: one may have been lost
        self.log.curves.together("KID", scores.charts())
        return scores.yardsticks_line()

    def score(self) -> str:
        """Compute KID in all directions and remember the weights of the lowest.

        They are the averages where the run keeps some: these are calmer, and what one would take.
        KIDs of different images can't be compared: where a test image was lost, all begins anew.
        """
        assert self.scorer
        nets, averages = self.method.directions.values(), self.players.averages
        averaged = all(name in averages for name in nets)
        weights = {
            name: (averages[name].module if averaged else self.players.net(name)).state_dict()
            for name in nets
        }
        made = weights, self.state.progress.images, self.accelerator.device, averaged
        found, said = self.scorer.score(*made), []
        while self.scorer.files != self.state.scores.files:
            self.state.scores = Scores()
            said = [ANEW, self.measure()]
            found = self.scorer.score(*made)
        scores = self.state.scores
        for direction, score in found.items():
            scores.add(direction, score, weights[self.method.directions[direction]])
        # Last: a run that ends amid this computes it again.
        scores.images = self.state.progress.images
        assert self.log.curves
        self.log.curves.scalars(scores.curves(), scores.images)
        return "\n".join([*said, scores.line()])

    def _try_to_save(self) -> None:
        """A checkpoint on the way: where there is no room for it, there may be for the next."""
        try:
            self.save()
        except WriteError as error:
            if self.accelerator.is_main_process:
                say(
                    f"no checkpoint after {self.state.progress.images} images: {error}; the "
                    "training goes on, the next is tried in "
                    f"{self.config.checkpoint_minutes:g} minutes",
                    STDERR,
                )


def _recompute(method: TrainedMethod, name: str) -> None:
    nets = [net for net in method.modules() if hasattr(net, "recompute")]
    if not nets:
        raise ConfigError(f"--recompute is True, but no network of {name} can")
    for net in nets:
        net.recompute = True  # type: ignore[assignment]  # a bool


def _passed(before: int, after: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (before, after]; never for 0."""
    return bool(every) and before // every != after // every
