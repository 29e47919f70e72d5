"""The one training loop: any TrainedMethod, on as many processes as accelerate started.

Progress is counted in images (pairs of an a and a b, where both are read) over all processes. Every
curve and grid is due when that count passes a multiple of its interval, so batch sizes that don't
divide the interval miss nothing.
"""

import os
import shutil
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from gan_style import checkpoint, memory, runs
from gan_style.config import TrainConfig
from gan_style.curves import Curves
from gan_style.data import DomainPair
from gan_style.errors import CheckpointError, ConfigError, Interrupted, TrainingError, WriteError
from gan_style.files import SHOWN, atomic_file, explained, sync, sync_files, write_json
from gan_style.images import from_tensor, grid, same, save_png
from gan_style.method import Batch, TrainedMethod
from gan_style.precision import Precision, memory_format
from gan_style.progress import STDERR, Bar, say
from gan_style.selection import ANEW, NoTestImage, Scorer, Scores
from gan_style.signals import postponed

INVERSE_DECAY = 5e-5  # a step: `--lr_decay` of pytorch-AdaIN


def learning_rate_factor(
    config: TrainConfig, images: int, seconds: float, epoch: int, steps: int = 0
) -> float:
    """What the initial learning rates are multiplied by after `images` images and `seconds`.

    - linear: 1, then straight to 0 over the last `decay` of the budget. In the first step of epoch
      e of 200 it is 1 - max(0, e - 101) / 100, the value of the Lua original (train.lua).
    - reference: 1 - max(0, e + 1 - n) / (n_decay + 1) throughout epoch e = 1, 2, ..., as the
      PyTorch reference since 2020 (models/networks.py with the scheduler stepped at the start of
      an epoch, train.py); 0 in the last epoch.
    - inverse: 1 / (1 + 5e-5 * steps), whatever the budget, as naoto0804/pytorch-AdaIN (train.py,
      adjust_learning_rate): 1 in the first step, 1/2 after 20,000 steps.
    - constant: 1.

    Args:
        config: budget, schedule and decay.
        images: seen before this step.
        seconds: trained before this step.
        epoch: images in one epoch.
        steps: of the optimizers before this one; only `inverse` reads them.
    """
    if config.schedule == "inverse":
        return 1 / (1 + INVERSE_DECAY * steps)
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "reference":
        decaying = round(config.decay * config.epochs_in_all)
        number = images // epoch + 1
        return 1 - max(0, number + 1 - (config.epochs_in_all - decaying)) / (decaying + 1)
    return min(1.0, (1 - spent(config, images, seconds, epoch)) / config.decay)


def spent(config: TrainConfig, images: int, seconds: float, epoch: int) -> float:
    """The share of the budget that is used up, in [0, 1]."""
    if config.minutes is not None:
        return min(1.0, seconds / (60 * config.minutes))
    return min(1.0, images / (config.images or config.epochs_in_all * epoch))


Tensors = tuple[Tensor, ...] | list[Tensor]


def averaging(ema: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """How the averaged weights follow: for `AveragedModel`, whose first update is a copy.

    The update after n others keeps the share min(ema, (1 + n) / (10 + n)) of the average, as
    TensorFlow's ExponentialMovingAverage with `num_updates`
    (https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage). So a short run's
    average is of its later weights; with a decay of 0.999 from the start, that of 500 steps would
    still be made of the first ones by 0.6.
    """

    @torch.no_grad()
    def follow(averages: Tensors, weights: Tensors, updates: Tensor | int) -> None:
        assert isinstance(updates, Tensor)  # it stays on its device, which needn't be waited for
        step = (9 / (10 + updates)).clamp(min=1 - ema)  # of the way
        ways = torch._foreach_sub(weights, averages)
        torch._foreach_mul_(ways, step)
        torch._foreach_add_(averages, ways)

    return follow


@dataclass
class Progress:
    """How far a run is; part of its checkpoints."""

    images: int = 0
    steps: int = 0  # of the optimizers
    seconds: float = 0.0  # trained, without the time between interruption and resume


@dataclass
class Beginning:
    """What a step changes before an optimizer moves a weight, as it was when the step began."""

    cpu: Tensor  # random states
    cuda: Tensor | None
    extra: list[tuple[nn.Module, Any]]  # such as image pools
    buffers: list[tuple[Tensor, Tensor]]  # such as the means of batch norm, and copies


@dataclass
class History:
    """Terms of the steps since the last point of the curves, still on the device."""

    values: dict[str, list[Tensor]] = field(default_factory=dict)
    images: list[int] = field(default_factory=list)
    waiting: float = 0.0  # seconds without a batch
    since: float = field(default_factory=time.monotonic)

    def add(self, player: str, terms: dict[str, Tensor]) -> None:
        """Remember the terms of one step of one player."""
        for name, value in terms.items():
            self.values.setdefault(f"{player}/{name}", []).append(value.detach().float())


class Trainer:
    """A method, its data, and everything that a checkpoint holds.

    Args:
        method: its networks are replaced by their prepared selves.
        data: the training stream and the samples.
        config: budget and intervals.
        run: folder to write to.
        record: content of its config.json, for the exported weights.
        accelerator: where and how to run.
        scorer: computes KID; in the main process alone, and not in every run.
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
    ) -> None:
        self.method, self.data, self.config = method, data, config
        self.run, self.record, self.accelerator = run, record, accelerator
        self.scorer = scorer
        self.progress, self.history, self.scores = Progress(), History(), Scores()
        self.scores_anew = False  # earlier ones were of other test images
        self.stop_signal = 0
        self.drawn_after = -1  # images when samples were drawn last
        self._loaded = config.batch_size * method.batches_a_step  # images at once, a process
        self._size = (  # images a step
            self._loaded * config.gradient_accumulation_steps * accelerator.num_processes
        )
        # Optimizer steps between two looks at clock and signals: several processes have to talk
        # about it, which would make an accelerator wait for them; a CPU's step takes long anyway.
        waits = accelerator.num_processes > 1 and accelerator.device.type != "cpu"
        self._agree_every = 10 if waits else 1
        self.precision = cast("Precision", accelerator.mixed_precision.replace("no", "fp32"))
        self.names = [name for nets in method.players.values() for name in nets]

        method.to(accelerator.device)
        if config.recompute:
            _recompute(method, config.method)
        optimizers = {}
        for player, nets in method.players.items():
            modules = [getattr(method, name) for name in nets]
            parameters = [parameter for net in modules for parameter in net.parameters()]
            optimizers[player] = method.optimizer(player, parameters)
        self.averages = {
            name: AveragedModel(getattr(method, name), multi_avg_fn=averaging(config.ema))
            for name in (method.averaged if config.ema else ())
        }
        self.initial_rates = {
            player: [group["lr"] for group in optimizer.param_groups]
            for player, optimizer in optimizers.items()
        }
        # Each network by itself: their gradients are ready at different times.
        for name in self.names:
            setattr(method, name, accelerator.prepare(getattr(method, name)))
        self.optimizers = {
            player: accelerator.prepare(optimizer) for player, optimizer in optimizers.items()
        }
        modules = list(method.modules())
        # Those that keep a state beside tensors, and what a forward pass may change.
        self._keepers = [m for m in modules if type(m).get_extra_state != nn.Module.get_extra_state]
        self._buffers = [buffer for name in self.names for buffer in self.net(name).buffers()]
        self._beginning: Beginning | None = None  # of a step that is under way
        self._moved = False  # an optimizer has, in the step that is under way
        self._earlier = runs.left_out(run)
        self._noted, self._told = len(data.left_out), 0  # images left out
        self.samples = data.samples(config.samples)  # after that: one may have vanished by now
        self.curves: Curves | None = None  # the main process's, while it trains

    def bytes_needed(self) -> tuple[int, int]:
        """What the run is going to write: checkpoints and weights, TensorBoard's pictures; about.

        One checkpoint more than are kept, as the oldest goes when the newest is there. An optimizer
        has two numbers for each weight, as Adam; a PNG of photographs is 0.6 of its pixels.
        """
        nets = {name: _bytes(self.net(name)) for name in self.names}
        averages = sum(nets[name] for name in self.averages)
        best = sum(nets[name] for name in self.method.directions.values()) if self.scorer else 0
        weights = sum(nets.values()) + averages + best
        checkpoints = (self.config.keep + 1) * (weights + 2 * sum(nets.values()))
        every, images = self.config.sample_every, self._expected_images() or 0
        cells = 4 * max(1, len(self.method.directions)) * self.config.samples
        side = self.data.config.size
        pictures = (images // every + 1) * cells * round(0.6 * 3 * side * side) if every else 0
        return checkpoints + weights, pictures

    @property
    def _on_cuda(self) -> bool:
        return self.accelerator.device.type == "cuda"

    def net(self, name: str) -> nn.Module:
        """A network without what distributed training and compilation wrap around it."""
        wrapped = getattr(self.method, name)
        return self.accelerator.unwrap_model(wrapped, keep_torch_compile=False)

    def train(self) -> None:
        """Train until the budget is spent, with a last checkpoint, export and grid."""
        config, accelerator, progress = self.config, self.accelerator, self.progress
        batches = self.data.batches(
            progress.images, self._loaded, accelerator.process_index, accelerator.num_processes,
            pinned=self._on_cuda,
        )  # fmt: skip
        last_checkpoint = started = time.monotonic()
        trained_before = progress.seconds
        self.history = History()
        with (
            closing(batches), self._shown(), self._bar() as bar, postponed(self._on_signal),
            self._rescued(),
        ):  # fmt: skip
            if self._score_every and not self.scores.yardsticks:
                started += self._without_training(bar, self.measure)
            if progress.images == 0:
                self.draw_samples()
            while self.spent() < 1:
                if _passed(self.scores.images, progress.images, self._score_every):
                    started += self._without_training(bar, self.score)
                self._set_learning_rates()
                gathered = [self._next(batches) for _ in range(config.gradient_accumulation_steps)]
                before = progress.images
                self._train_on(gathered)
                bar.update(self._size)

                if _passed(before, progress.images, config.log_every):
                    self._log(gathered[-1], bar)
                if _passed(before, progress.images, config.sample_every):
                    self.draw_samples()
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
                if stop:
                    self.save()
                    raise Interrupted(
                        f"stopped by signal {stop} after {progress.images} images, everything is "
                        f"saved; go on with: {runs.again(self.run)}"
                    )
            if self.history.images:
                self._log(gathered[-1], bar)
            if self._score_every and self.scores.images != progress.images:
                self._without_training(bar, self.score)
            self._note_left_out()
            self.save()
            if self.drawn_after != progress.images:
                self.draw_samples()

    @contextmanager
    def _rescued(self) -> Iterator[None]:
        """Save before an error ends the loop, and say in a note of it what is saved.

        Only whole steps are saved: a run must go on from there as if nothing had happened. A step
        that an optimizer has begun to make can't be taken back without a copy of the weights, so
        then the last checkpoint stands. So it does where several processes train, as the others may
        be anywhere, waiting for this one.
        """
        began = self.progress.images
        try:
            yield
        except (TrainingError, Interrupted, WriteError):
            raise  # broken numbers; saved already; can't be saved
        except Exception as error:
            if self.progress.images > began:
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
        if self._moved:
            return f"it failed in the middle of a step: {last}"
        try:
            if self._beginning:
                self._take_back(self._beginning)
            self.save()
        except Exception as error:  # whatever it is, the first one is what ended the run
            reason = " ".join(str(error).split()) or type(error).__name__
            return f"nothing could be saved ({reason}): {last}"
        return f"after {self.progress.images} images everything is saved; {again}"

    def _begin(self) -> Beginning:
        return Beginning(
            cpu=torch.get_rng_state(),
            cuda=torch.cuda.get_rng_state() if self._on_cuda else None,
            extra=[(module, module.get_extra_state()) for module in self._keepers],
            buffers=[(buffer, buffer.clone()) for buffer in self._buffers],
        )

    def _take_back(self, beginning: Beginning) -> None:
        torch.set_rng_state(beginning.cpu)
        if beginning.cuda is not None:
            torch.cuda.set_rng_state(beginning.cuda)
        for module, state in beginning.extra:
            module.set_extra_state(state)
        for buffer, value in beginning.buffers:
            buffer.copy_(value)

    @contextmanager
    def _shown(self) -> Iterator[None]:
        """What is trained here is shown in TensorBoard."""
        if not self.accelerator.is_main_process:
            yield
            return
        images = self.progress.images
        # What was shown after the checkpoint that this run goes on from is shown again.
        self.curves = Curves(self.run / "tensorboard", purge_step=images + 1 if images else None)
        with closing(self.curves):
            if not images:
                self.curves.options(runs.options(self.record) | self.record["launch"])
            yield

    @property
    def _score_every(self) -> int:
        """Images between two KIDs; 0 where there are none."""
        return self.config.kid_every * len(self.data) if self.scorer else 0

    def _train_on(self, batches: Sequence[Batch]) -> None:
        """One step, counted when it is whole."""
        self._beginning = self._begin()
        turns = list(self._step(batches))
        self.progress.images += self._size
        self._beginning, self._moved = None, False
        for player, terms in turns:
            self.history.add(player, terms)
        self.history.images.append(self.progress.images)

    def _step(self, batches: Sequence[Batch]) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Every player's steps on the gathered batches; yields what the players saw.

        The batches advance together, turn by turn: each step is on the gradients of all of them,
        as if they were one, also where a player has several turns.
        """
        plays = [self.method.losses(batch) for batch in batches]
        while turns := list(self._turns(plays)):
            player = turns[0][0]
            assert [name for name, _ in turns] == [player] * len(plays)  # the same turn of each
            self._moved = True
            self.optimizers[player].step()
            self.optimizers[player].zero_grad()
            yield from turns
        self.progress.steps += 1
        for name, average in self.averages.items():
            average.update_parameters(self.net(name))

    def _turns(
        self, plays: Sequence[Iterator[tuple[str, dict[str, Tensor]]]]
    ) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """The next turn on each batch, with its gradients; processes exchange them at the last."""
        accelerator = self.accelerator
        moved: Collection[str] = self.names if len(plays) == 1 else ()
        for play in plays:
            with ExitStack() as stack:
                # Networks that only judge exchange nothing in this turn, but left expecting it they
                # would do so at the first of the next turn's batches.
                for name in self.names:
                    if play is not plays[-1] or name not in moved:
                        stack.enter_context(accelerator.no_sync(getattr(self.method, name)))
                # Prepared networks are in the launch's precision by themselves; this is for those
                # that only judge, as VGG.
                with accelerator.autocast():
                    turn = next(play, None)
                if turn:
                    moved = self.method.players[turn[0]]
                    loss = torch.stack(list(turn[1].values())).sum()
                    accelerator.backward(loss / len(plays))
                    yield turn

    def spent(self) -> float:
        """The share of the budget that is used up."""
        return spent(self.config, self.progress.images, self.progress.seconds, len(self.data))

    def _next(self, batches: Iterator[Batch]) -> Batch:
        started = time.monotonic()
        try:
            batch = next(batches)
        finally:
            self._note_left_out()
        self.history.waiting += time.monotonic() - started
        return self._to_device(batch)

    def _note_left_out(self) -> None:
        """Say which images can't be read any more, in one process, and keep that with the run."""
        if len(self.data.left_out) == self._noted:
            return
        found = list(self.data.left_out.items())[self._noted :]  # at once: threads add to it
        self._noted += len(found)
        others = runs.left_out(self.run) - self._earlier  # have been said by another process
        name_of = self.data.domain.name_of
        images = [(part, name_of(part, path), reason) for (part, path), reason in found]
        images = [image for image in images if image[:2] not in others]
        runs.leave_out(self.run, images)
        for _, _, reason in images:
            self._told += 1
            if self._told <= SHOWN:
                say(f"left out from now on: {reason}", STDERR)
            elif self._told == SHOWN + 1:
                say(f"more are left out: see {self.run / runs.LEFT_OUT}", STDERR)

    def left_out(self) -> int:
        """Images that the run goes on without now, whichever process found out."""
        here = {
            (part, self.data.domain.name_of(part, path)) for part, path in list(self.data.left_out)
        }
        return len(here | (runs.left_out(self.run) - self._earlier))

    def _to_device(self, batch: Batch) -> Batch:
        device, order = self.accelerator.device, memory_format(self.precision)
        moved = Batch()
        for side in self.data.sides:
            moved[side] = batch[side].to(device, non_blocking=True, memory_format=order)
        return moved

    def _set_learning_rates(self) -> None:
        progress, epoch = self.progress, len(self.data)
        factor = learning_rate_factor(
            self.config, progress.images, progress.seconds, epoch, progress.steps
        )
        for player, optimizer in self.optimizers.items():
            for group, rate in zip(optimizer.param_groups, self.initial_rates[player], strict=True):
                group["lr"] = rate * factor

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
            initial=self.progress.images,
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
        return round(self.progress.images / share) if share else None

    def _log(self, batch: Batch, bar: Bar) -> None:
        """A point of every curve; stops the run where a term is no number any more."""
        values, history = self._collect(), self.history
        self.history = History()
        if not self.accelerator.is_main_process:
            return
        with self._looking():
            values |= {name: float(value) for name, value in self.method.monitor(batch).items()}
        for player, optimizer in self.optimizers.items():
            values[f"learning_rate/{player}"] = optimizer.param_groups[0]["lr"]
        seconds, images = time.monotonic() - history.since, len(history.images)
        values["speed/images_per_second"] = images * self._size / seconds
        values["speed/seconds_waiting_for_data"] = history.waiting / images
        values["memory/peak_gb"] = memory.peak(self.accelerator.device) / 1e9
        assert self.curves
        self.curves.scalars(values, self.progress.images)
        bar.total = self._expected_images()
        bar.set_postfix(
            {
                player: f"{sum(v for k, v in values.items() if k.startswith(f'{player}/')):.3f}"
                for player in self.method.players
            },
            refresh=False,
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
        step = self.progress.images // self._size - steps + position + 1
        images = self.history.images[position]
        raise TrainingError(
            f"term {term} of player {player} is {value} in step {step} (image {images}): "
            f"{self._kept(images)}"
        )

    def _kept(self, images: int) -> str:
        """What there is to find out why the step that ended after `images` went wrong."""
        saved = checkpoint.checkpoints(self.run)
        last = f"the last good checkpoint is {saved[-1]}" if saved else "there is no checkpoint yet"
        folder = self.run / "broken" / f"{images:09}"
        batch = f"the images of that step are in {folder}"
        if self.accelerator.is_main_process:
            try:
                self._keep_images(folder, range(images - self._size, images))
            except WriteError as error:
                batch = str(error)
        remedy = "start a new run with a lower --learning_rate (leave --resume and --run_dir out)"
        if saved:
            remedy = (
                "begin a new run from its weights at a lower rate, as with: "
                f"{runs.start_from(self.run)} --learning_rate {self._lower_rate():g}"
            )
        return f"{batch}; {last}; {remedy}"

    def _lower_rate(self) -> float:
        return min(rate for rates in self.initial_rates.values() for rate in rates) / 2

    def _keep_images(self, folder: Path, positions: Sequence[int]) -> None:
        """Write items of the stream, all processes', as they were shown: crops are of 8 bits."""
        files = {}
        for position in positions:
            crops, paths = self.data.item(position), self.data.files(position)
            for side, path, crop in zip(self.data.sides, paths, crops, strict=True):
                name = f"{position:09}_{side}.png"
                save_png(from_tensor(crop), folder / name)
                files[name] = os.fsencode(path).decode("utf-8", "backslashreplace")
        write_json(folder / "files.json", files)

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """Look at the networks without changing the run.

        No gradients, no draw from the training's random state; and no distributed wrappers, which
        may expect the other processes to come along.
        """
        device = self.accelerator.device
        wrapped = {name: getattr(self.method, name) for name in self.names}
        for name in self.names:
            setattr(self.method, name, self.net(name))
        try:
            with torch.no_grad(), torch.random.fork_rng([device] if self._on_cuda else []):
                yield
        finally:
            for name, net in wrapped.items():
                setattr(self.method, name, net)

    def draw_samples(self) -> None:
        """Grids of the fixed samples to TensorBoard."""
        if not (self.accelerator.is_main_process and self.config.sample_every):
            return
        with self._looking():
            grids = self.method.preview(self._to_device(self.samples))
        images = self.drawn_after = self.progress.images
        for name, columns in grids.items():
            rows = [[from_tensor(x) for x in row] for row in zip(*columns.values(), strict=True)]
            side = max(rows[0][0].shape[:2])
            picture = grid(rows, titles=tuple(columns) if side >= 64 else (), cell=side)
            assert self.curves
            self.curves.picture(f"samples/{name}", picture, images)

    def _without_training(self, bar: Bar, look: Callable[[], str]) -> float:
        """Have KID computed, by a function that returns what there is to say of it.

        Where no test image is left that is said, once; what is known of KID stays as it was.

        Returns:
            The seconds that it took, which are none of the training's: what is computed about a
            run must not change what `--minutes` makes of it.
        """
        if self._on_cuda:
            torch.cuda.synchronize(self.accelerator.device)  # until here it is training
        started, before = time.monotonic(), self.scores
        bar.set_description("computing KID")
        try:
            with self._looking():
                said = look()
        except NoTestImage as error:
            said, self.scorer, self.scores = f"no KID: {error}", None, before
        bar.set_description()
        say(said)
        seconds = time.monotonic() - started
        self.history.since += seconds
        return seconds

    def measure(self) -> str:
        """Compute what KID is to be compared with; once for the same test images."""
        assert self.scorer
        self.scores.yardsticks = self.scorer.yardsticks(self.accelerator.device)
        self.scores.files = self.scorer.files  # after they were read: one may have been lost
        assert self.curves
        self.curves.together("KID", self.scores.charts())
        return self.scores.yardsticks_line()

    def score(self) -> str:
        """Compute KID in all directions and remember the weights of the lowest.

        They are the averages where the run keeps some: these are calmer, and what one would take.
        KIDs of different images can't be compared: where a test image was lost, all begins anew.
        """
        assert self.scorer
        nets = self.method.directions.values()
        averaged = all(name in self.averages for name in nets)
        weights = {
            name: (self.averages[name].module if averaged else self.net(name)).state_dict()
            for name in nets
        }
        made = weights, self.progress.images, self.accelerator.device, averaged
        found, said = self.scorer.score(*made), []
        while self.scorer.files != self.scores.files:
            self.scores = Scores()
            said = [ANEW, self.measure()]
            found = self.scorer.score(*made)
        scores = self.scores
        for direction, score in found.items():
            scores.add(direction, score, weights[self.method.directions[direction]])
        # Last: a run that ends amid this computes it again.
        scores.images = self.progress.images
        assert self.curves
        self.curves.scalars(scores.curves(), scores.images)
        return "\n".join([*said, scores.line()])

    def save(self) -> None:
        """Write a checkpoint of all processes and export the networks.

        Raises:
            WriteError: in all processes, when one can't write; checkpoints of before are as they
                were.
            TrainingError: what would be saved is broken.
        """
        self._refuse_broken()
        main = self.accelerator.is_main_process
        folder = self.run / "checkpoints" / f"{self.progress.images:09}"
        partial = folder.with_name(f".partial-{folder.name}")
        new = not folder.exists()

        def write() -> None:
            own = partial / f"process_{self.accelerator.process_index}.safetensors"
            if new:
                partial.mkdir(parents=True, exist_ok=True)
                checkpoint.save_state(self._process_state(), own)
            if new and main:
                checkpoint.save_state(self._shared_state(), partial / "state.safetensors")

        def publish() -> None:
            if not main:
                return
            if new:
                sync_files(partial)
                partial.rename(folder)
                sync(folder.parent)
            else:  # KID may have been computed since then
                with atomic_file(folder / "state.safetensors") as state:
                    checkpoint.save_state(self._shared_state(), state)
            checkpoint.remove_old(self.run, self.config.keep)
            self.export()  # also when an earlier run was stopped between checkpoint and export

        try:
            self._in_all(write, folder)
            self._in_all(publish, folder)
        except WriteError:
            if main:
                shutil.rmtree(partial, ignore_errors=True)
            raise

    def _in_all(self, action: Callable[[], None], path: Path) -> None:
        """Do what may fail to write `path`; every process learns of it, and waits for the others.

        Raises:
            WriteError: in all processes, when it failed in one.
        """
        problem = None
        try:
            with explained(path):
                action()
        except WriteError as error:
            problem = error
        failed = torch.tensor([problem is not None], device=self.accelerator.device)
        anywhere = bool(self.accelerator.gather(failed).any())
        if problem:
            raise problem
        if anywhere:
            raise WriteError(f"can't write {path}: another process failed to")

    def _try_to_save(self) -> None:
        """A checkpoint on the way: where there is no room for it, there may be for the next."""
        try:
            self.save()
        except WriteError as error:
            if self.accelerator.is_main_process:
                say(
                    f"no checkpoint after {self.progress.images} images: {error}; the training "
                    f"goes on, the next is tried in {self.config.checkpoint_minutes:g} minutes",
                    STDERR,
                )

    def _refuse_broken(self) -> None:
        """Stop before a broken state replaces a good one."""
        if self.history.values:
            self._collect()
        for name in self.names:
            if not all(value.isfinite().all() for value in self.net(name).parameters()):
                images = self.progress.images
                raise TrainingError(
                    f"weights of {name} are no numbers any more after image {images}: "
                    f"{self._kept(images)}"
                )

    def export(self) -> None:
        """Write every network, the averages and the best as files of their own, and progress.json.

        The best are in the checkpoint too, so that after a crash there are no others than it knows.
        """
        for name in self.names:
            path = checkpoint.weights_file(self.run, name, "raw")
            checkpoint.save_network(self.net(name), path, self.record)
        for name, average in self.averages.items():
            path = checkpoint.weights_file(self.run, name, "ema")
            checkpoint.save_network(average.module, path, self.record)
        for direction, score in self.scores.best.items():
            path = checkpoint.weights_file(self.run, self.method.directions[direction], "best")
            of = "averaged (ema)" if score.averaged else "as trained (raw)"
            note = {"direction": direction, "weights": of, **asdict(score)}
            note |= self.scores.references(direction)
            checkpoint.save_weights(
                self.scores.weights[direction], path, config=self.record, kid=note
            )
        write_json(self.run / "progress.json", self._summary())

    def _summary(self) -> dict[str, Any]:
        """What the training has cost, and its KIDs, for other programs."""
        return {
            **vars(self.progress),
            "device": device_name(self.accelerator.device),
            "processes": self.accelerator.num_processes,
            "precision": self.precision,
            "left_out": self.left_out(),
            "kid": self.scores.summary(),
        }

    def _shared_state(self) -> dict[str, Any]:
        return {
            "progress": vars(self.progress),
            "processes": self.accelerator.num_processes,
            "scores": self.scores.state(),
            "identity": self._identity(),
            "nets": {name: self.net(name).state_dict() for name in self.names},
            "averages": {name: average.state_dict() for name, average in self.averages.items()},
            "optimizers": {name: value.state_dict() for name, value in self.optimizers.items()},
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else None,
        }

    def _process_state(self) -> dict[str, Any]:
        return {
            "extra": {
                key: value
                for key, value in self.method.state_dict().items()
                if key.endswith("_extra_state")
            },
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if self._on_cuda else None,
        }

    def _identity(self) -> list[str]:
        parts = (self.data.identity(f"train{side.upper()}") for side in self.data.sides)
        return [image for part in parts for image in part]

    def _refuse_other_images(self, shared: dict[str, Any], folder: Path) -> None:
        """A run goes on with the images that it began with, wherever they lie now.

        In the order that they had then: where accents are stored otherwise, a folder may have
        another one.
        """
        files = [path for side in self.data.sides for path in self.data.domain.train(side)]
        if "identity" in shared:
            then = [same(image) for image in shared["identity"]]
            contents = {name: content for content, _, name in (i.partition(" ") for i in then)}
            for path, image in zip(files, self._identity(), strict=True):
                # What can't be read now and was left out before: names alone are compared.
                content = contents.get(image.partition(" ")[2], "")
                self.data.digests.setdefault(path, content)
            now = self._identity()
        else:  # of before: names alone, with those of their folders
            then = [same(image) for image in shared["images"]]
            now = [same(f"{path.parent.name}/{path.name}") for path in files]
        if then == now or self._put_in_order(then, now):
            return
        names = [{image.split(" ", 1)[-1] for image in images} for images in (then, now)]
        alike = names[0] == names[1]
        other = sorted(set(now) - set(then) if alike else names[0] ^ names[1])
        what = "have other content than then" if alike else "are new or gone"
        such = f": {len(other)} {what}, such as {other[0]}" if other else ""
        raise CheckpointError(
            f"the training images are no longer those of {folder} ({len(then)} then, {len(now)} "
            f"now){such}; put them back, or begin a new run from its weights, with: "
            f"{runs.start_from(self.run)}"
        )

    def _put_in_order(self, then: Sequence[str], now: Sequence[str]) -> bool:
        """Have the training images in the order of then; False where these are others."""
        order: dict[str, Any] = {}
        for side in self.data.sides:
            files = self.data.domain.train(side)
            wanted, then = then[: len(files)], then[len(files) :]
            names, now = now[: len(files)], now[len(files) :]
            if sorted(wanted) != sorted(names):
                return False
            places: dict[str, list[Path]] = {}
            for name, path in zip(names, files, strict=True):
                places.setdefault(name, []).append(path)
            order[f"train{side.upper()}"] = tuple(places[name].pop(0) for name in wanted)
        if then:
            return False
        self.data.domain = replace(self.data.domain, **order)
        return True

    def resume(self, folder: Path) -> None:
        """Take everything back from a checkpoint; nothing is written before that is done.

        Raises:
            CheckpointError: it is broken, or of another training.
        """
        with checkpoint.fitting(folder):
            self._resume(folder)

    def _resume(self, folder: Path) -> None:
        accelerator = self.accelerator
        shared = checkpoint.load_state(folder / "state.safetensors")
        if shared["processes"] != accelerator.num_processes:
            raise CheckpointError(
                f"{folder} is of {shared['processes']} processes, but {accelerator.num_processes} "
                "are running"
            )
        own = folder / f"process_{accelerator.process_index}.safetensors"
        process = checkpoint.load_state(own)
        self._refuse_other_images(shared, folder)
        like = self._shared_state()
        parts = ["progress", "nets", "averages", *(["scaler"] if accelerator.scaler else [])]
        for part in parts:
            checkpoint.check_form(shared[part], like[part], part)
        checkpoint.check_form(process["extra"], self._process_state()["extra"], "extra")
        self.progress = Progress(**shared["progress"])
        self.scores = Scores.from_state(shared["scores"])
        for direction, weights in self.scores.weights.items():
            wanted = self.net(self.method.directions[direction]).state_dict()
            checkpoint.check_form(weights, wanted, f"best {direction}")
        # Checkpoints of before have the names alone.
        known = (self.scorer.files, self.scorer.names) if self.scorer else ()
        if self.scorer and self.scores.files and not self.scorer.lost:
            if [same(image) for image in self.scores.files] not in known:
                self.scores, self.scores_anew = Scores(), True
            self.scores.files = self.scorer.files
        for name in self.names:
            self.net(name).load_state_dict(shared["nets"][name])
        for name, average in self.averages.items():
            average.load_state_dict(shared["averages"][name])
        for name, optimizer in self.optimizers.items():
            checkpoint.load_optimizer(optimizer, shared["optimizers"][name])
        if accelerator.scaler:
            accelerator.scaler.load_state_dict(shared["scaler"])
        device = accelerator.device
        self.method.load_state_dict(_on(process["extra"], device), strict=False)
        torch.set_rng_state(process["cpu"])
        if self._on_cuda and process["cuda"] is not None:
            torch.cuda.set_rng_state(process["cuda"])


def _recompute(method: TrainedMethod, name: str) -> None:
    nets = [net for net in method.modules() if hasattr(net, "recompute")]
    if not nets:
        raise ConfigError(f"--recompute is True, but no network of {name} can")
    for net in nets:
        net.recompute = True  # type: ignore[assignment]  # a bool


def _bytes(net: nn.Module) -> int:
    return sum(value.nbytes for value in net.state_dict().values() if isinstance(value, Tensor))


def _on(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _on(item, device) for key, item in value.items()}
    return [_on(item, device) for item in value] if isinstance(value, list) else value


def _passed(before: int, after: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (before, after]; never for 0."""
    return bool(every) and before // every != after // every


def device_name(device: torch.device) -> str:
    """cpu, or what the accelerator calls itself."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
