"""The batches of a training as its step takes them, and the images that it goes on without."""

import time
from collections.abc import Iterator
from pathlib import Path

from gan_style import runs
from gan_style.data.stream import DomainPair
from gan_style.io.files import SHOWN
from gan_style.method import Batch
from gan_style.progress import STDERR, say
from gan_style.training.step import Players


class Reader:
    """Batches on the device, from where a training is.

    Args:
        data: the stream.
        players: say where the batches go.
        run: folder that keeps which images are left out.
        size: images of a batch, of one process.
    """

    def __init__(self, data: DomainPair, players: Players, run: Path, size: int) -> None:
        self.data, self.players, self.run, self.size = data, players, run, size
        self.waited = 0.0  # seconds for the last batches
        self._earlier = runs.left_out(run)
        self._noted, self._told = len(data.left_out), 0
        self._stream: Iterator[Batch] = iter(())

    def begin(self, images: int) -> None:
        """Go on after as many images of the stream."""
        accelerator = self.players.accelerator
        self._stream = self.data.batches(
            images, self.size, accelerator.process_index, accelerator.num_processes,
            pinned=accelerator.device.type == "cuda",
        )  # fmt: skip

    def close(self) -> None:
        """Stop the threads that read ahead."""
        self._stream.close()  # type: ignore[attr-defined]  # a generator's

    def next(self, count: int) -> list[Batch]:
        """The next batches."""
        batches = []
        self.waited = 0.0
        for _ in range(count):
            started = time.monotonic()
            try:
                batch = next(self._stream)
            finally:
                self.note_left_out()
            self.waited += time.monotonic() - started
            batches.append(self.players.to_device(batch))
        return batches

    def note_left_out(self) -> None:
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
