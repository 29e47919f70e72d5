"""Everything that a training is gone on from: written whole, or not at all, and taken back.

A checkpoint is a folder: `state.safetensors` with what all processes share, and for each one a file
with its random state and pools. Beside the checkpoints the run folder has every network as a file.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gan_style import checkpoint, devices, runs
from gan_style.data.images import same
from gan_style.data.stream import DomainPair
from gan_style.errors import CheckpointError, WriteError
from gan_style.io.files import atomic_file, explained, sync, sync_files, write_json
from gan_style.training.kid import Scorer, Scores
from gan_style.training.schedule import Progress
from gan_style.training.step import Players


class State:
    """Where a training is, and the run folder that keeps it.

    Args:
        players: networks, optimizers and averages.
        data: the images that it learns from; a run goes on with these alone.
        run: folder to write to.
        record: content of its config.json, for the exported weights.
        keep: checkpoints that are kept.
    """

    def __init__(
        self, players: Players, data: DomainPair, run: Path, record: dict[str, Any], keep: int
    ) -> None:
        self.players, self.data = players, data
        self.run, self.record, self.keep = run, record, keep
        self.progress, self.scores = Progress(), Scores()
        self.scores_anew = False  # earlier ones were of other test images

    def bytes_needed(self, best: bool) -> int:
        """What checkpoints and weights are going to take on the disk, about.

        One checkpoint more than are kept, as the oldest goes when the newest is there. An optimizer
        has two numbers for each weight, as Adam.

        Args:
            best: whether the weights of the lowest KID are kept, too.
        """
        players = self.players
        nets = {name: _bytes(players.net(name)) for name in players.names}
        weights = sum(nets.values()) + sum(nets[name] for name in players.averages)
        if best:
            weights += sum(nets[name] for name in players.method.directions.values())
        return (self.keep + 1) * (weights + 2 * sum(nets.values())) + weights

    def save(self, left_out: int = 0) -> None:
        """Write a checkpoint of all processes and export the networks.

        Args:
            left_out: images that the training goes on without, for progress.json.

        Raises:
            WriteError: in all processes, when one can't write; checkpoints of before are as they
                were.
        """
        main = self._accelerator.is_main_process
        folder = self.run / "checkpoints" / f"{self.progress.images:09}"
        partial = folder.with_name(f".partial-{folder.name}")
        new = not folder.exists()

        def write() -> None:
            own = partial / f"process_{self._accelerator.process_index}.safetensors"
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
            checkpoint.remove_old(self.run, self.keep)
            self.export(
                left_out
            )  # also when an earlier run was stopped between checkpoint and export

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
        failed = torch.tensor([problem is not None], device=self._accelerator.device)
        anywhere = bool(self._accelerator.gather(failed).any())
        if problem:
            raise problem
        if anywhere:
            raise WriteError(f"can't write {path}: another process failed to")

    def export(self, left_out: int = 0) -> None:
        """Write every network, the averages and the best as files of their own, and progress.json.

        The best are in the checkpoint too, so that after a crash there are no others than it knows.
        """
        for name in self.players.names:
            path = checkpoint.weights_file(self.run, name, "raw")
            checkpoint.save_network(self.players.net(name), path, self.record)
        for name, average in self.players.averages.items():
            path = checkpoint.weights_file(self.run, name, "ema")
            checkpoint.save_network(average.module, path, self.record)
        for direction, score in self.scores.best.items():
            path = checkpoint.weights_file(
                self.run, self.players.method.directions[direction], "best"
            )
            of = "averaged (ema)" if score.averaged else "as trained (raw)"
            note = {"direction": direction, "weights": of, **asdict(score)}
            note |= self.scores.references(direction)
            checkpoint.save_weights(
                self.scores.weights[direction], path, config=self.record, kid=note
            )
        write_json(self.run / "progress.json", self._summary(left_out))

    def _summary(self, left_out: int) -> dict[str, Any]:
        """What the training has cost, and its KIDs, for other programs."""
        return {
            **vars(self.progress),
            "device": devices.name(self._accelerator.device),
            "processes": self._accelerator.num_processes,
            "precision": self.players.precision,
            "left_out": left_out,
            "kid": self.scores.summary(),
        }

    @property
    def _accelerator(self) -> Accelerator:
        return self.players.accelerator

    @property
    def _on_cuda(self) -> bool:
        return self._accelerator.device.type == "cuda"

    def _shared_state(self) -> dict[str, Any]:
        players, scaler = self.players, self._accelerator.scaler
        return {
            "progress": vars(self.progress),
            "processes": self._accelerator.num_processes,
            "scores": self.scores.state(),
            "identity": self._fingerprint(),
            "nets": {name: players.net(name).state_dict() for name in players.names},
            "averages": {name: average.state_dict() for name, average in players.averages.items()},
            "optimizers": {name: value.state_dict() for name, value in players.optimizers.items()},
            "scaler": scaler.state_dict() if scaler else None,
        }

    def _process_state(self) -> dict[str, Any]:
        return {
            "extra": {
                key: value
                for key, value in self.players.method.state_dict().items()
                if key.endswith("_extra_state")
            },
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if self._on_cuda else None,
        }

    def _fingerprint(self) -> list[str]:
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
            for path, image in zip(files, self._fingerprint(), strict=True):
                # What can't be read now and was left out before: names alone are compared.
                content = contents.get(image.partition(" ")[2], "")
                self.data.digests.setdefault(path, content)
            now = self._fingerprint()
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

    def resume(self, folder: Path, scorer: Scorer | None = None) -> None:
        """Take everything back from a checkpoint; nothing is written before that is done.

        Args:
            folder: the checkpoint.
            scorer: of the KIDs to come: those that the checkpoint has of other images are dropped.

        Raises:
            CheckpointError: it is broken, or of another training.
        """
        with checkpoint.fitting(folder):
            self._resume(folder, scorer)

    def _resume(self, folder: Path, scorer: Scorer | None) -> None:
        accelerator = self._accelerator
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
            wanted = self.players.net(self.players.method.directions[direction]).state_dict()
            checkpoint.check_form(weights, wanted, f"best {direction}")
        # Checkpoints of before have the names alone.
        known = (scorer.files, scorer.names) if scorer else ()
        if scorer and self.scores.files and not scorer.lost:
            if [same(image) for image in self.scores.files] not in known:
                self.scores, self.scores_anew = Scores(), True
            self.scores.files = scorer.files
        for name in self.players.names:
            self.players.net(name).load_state_dict(shared["nets"][name])
        for name, average in self.players.averages.items():
            average.load_state_dict(shared["averages"][name])
        for name, optimizer in self.players.optimizers.items():
            checkpoint.load_optimizer(optimizer, shared["optimizers"][name])
        if accelerator.scaler:
            accelerator.scaler.load_state_dict(shared["scaler"])
        device = accelerator.device
        self.players.method.load_state_dict(_on(process["extra"], device), strict=False)
        torch.set_rng_state(process["cpu"])
        if self._on_cuda and process["cuda"] is not None:
            torch.cuda.set_rng_state(process["cuda"])


def _bytes(net: nn.Module) -> int:
    return sum(value.nbytes for value in net.state_dict().values() if isinstance(value, Tensor))


def _on(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _on(item, device) for key, item in value.items()}
    return [_on(item, device) for item in value] if isinstance(value, list) else value
