"""TensorBoard's curves and pictures: a disk that can't take them pauses them, never what they show.

Needs nothing of accelerate's tracker, which lets the writer's errors end a run.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gan_style.progress import STDERR, say

RETRY = 60.0  # seconds until a writer that failed is tried again
WAITING = 10_000  # points kept until then: days of a run's, megabytes of memory
ROOM = 1 << 20  # bytes that a disk must take before it is trusted again


class Curves:
    """What a run shows in TensorBoard.

    A writer that fails is told of once and given up. A minute later, or after, a new one goes on in
    the same folder with the points of the curves since then; pictures of that time are lost.

    Args:
        folder: for TensorBoard's files; made with the first of them.
        purge_step: what an earlier part of the run has written from this step on is hidden.
    """

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        self.folder, self._purge_step = folder, purge_step
        self._writer: Any = None
        self._waiting: deque[tuple[float, int, Mapping[str, float]]] = deque(maxlen=WAITING)
        self._failed = False
        self._again = 0.0  # when a writer that failed is tried again, by the monotonic clock

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """One point of each of some curves."""
        self._waiting.append((time.time(), step, values))
        self._write(lambda writer: None)

    def picture(self, name: str, picture: np.ndarray, step: int) -> None:
        """An image uint8 (H, W, 3)."""
        self._write(lambda writer: writer.add_image(name, picture, step, dataformats="HWC"))

    def together(self, title: str, charts: Mapping[str, Sequence[str]]) -> None:
        """Curves of one chart each, by its name, under Custom Scalars."""
        layout = {title: {name: ["Multiline", list(tags)] for name, tags in charts.items()}}
        self._write(lambda writer: writer.add_custom_scalars(layout))

    def options(self, options: Mapping[str, Any]) -> None:
        """What a run was started with: for TensorBoard's table of runs, and as a text."""

        def write(writer: Any) -> None:
            from torch.utils.tensorboard.summary import hparams

            shown = {key: "" if value is None else value for key, value in options.items()}
            for summary in hparams(shown, {}):  # add_hparams would open a folder of its own
                writer.file_writer.add_summary(summary)
            rows = [f"| {key} | {value} |" for key, value in shown.items()]
            table = "\n".join(["| option | value |", "|---|---|", *rows])
            writer.add_text("config", table, 0)

        self._write(write)

    def close(self) -> None:
        """Write what is still waiting."""
        self._again = 0.0  # the last chance doesn't wait
        if self._waiting:
            self._write(lambda writer: None)
        with contextlib.suppress(Exception), _silent_thread():
            if self._writer:
                self._writer.close()
        self._writer = None

    def _write(self, action: Callable[[Any], None]) -> None:
        """What is waiting and `action`, out to the disk; or nothing, where it takes nothing."""
        if time.monotonic() < self._again:
            return
        with _silent_thread():
            try:
                writer = self._writer or self._open()
                for when, step, values in self._waiting:
                    for name, value in values.items():
                        writer.add_scalar(name, value, step, walltime=when)
                action(writer)
                writer.flush()  # here it fails, if it fails
            except Exception as error:  # whatever it is, the run matters more
                self._give_up(error)
                return
        self._waiting.clear()
        if self._failed:
            self._failed = False
            say("TensorBoard's curves go on", STDERR)

    def _open(self) -> Any:
        from torch.utils.tensorboard import SummaryWriter  # takes seconds

        if self._failed:  # each try would leave an empty file behind
            probe = self.folder / ".partial-probe"
            try:
                probe.write_bytes(bytes(ROOM))
            finally:
                probe.unlink(missing_ok=True)
        self._writer = SummaryWriter(self.folder, purge_step=self._purge_step)
        self._purge_step = None
        return self._writer

    def _give_up(self, error: Exception) -> None:
        writer, self._writer = self._writer, None
        with contextlib.suppress(Exception):
            if writer:
                writer.close()
        if not self._failed:
            say(
                f"{self.folder} can't be written ({error}): the training goes on, TensorBoard's "
                "curves do so when they can",
                STDERR,
            )
        self._failed, self._again = True, time.monotonic() + RETRY


@contextlib.contextmanager
def _silent_thread():  # type: ignore[no-untyped-def]
    """No traceback from TensorBoard's own thread: it hands its error to whoever writes next."""
    before = threading.excepthook

    def hook(given: threading.ExceptHookArgs) -> None:
        if type(given.thread).__name__ != "_AsyncWriterThread":
            before(given)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before
