"""What is said about work under way: progress bars, and lines beside them.

Saying never fails. A terminal that is gone, a pipe that nobody reads any more, a log on a full
disk, no output at all as under pythonw: what can't be said is dropped, and the work goes on.
"""

import os
import sys
import time
from contextlib import suppress
from typing import Any, Literal

from tqdm import tqdm

MINUTE = 60.0  # seconds between two lines of a bar in a file, at first ...
SHARE = 0.01  # ... and later this share of the time so far: some hundreds of lines for days
# What a stream raises that is closed, gone, full, or a None or another object in its place.
DEAF = (OSError, ValueError, AttributeError)


class Output:
    """stdout or stderr, whatever that is at the moment; writing never raises."""

    def __init__(self, name: Literal["stdout", "stderr"]) -> None:
        self.name = name

    @property
    def stream(self) -> Any:
        """The file itself; None where there is none."""
        return getattr(sys, self.name)

    @property
    def encoding(self) -> str:
        """That of the file, for tqdm to choose its characters by."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether somebody sees every change of a bar."""
        with suppress(*DEAF):
            return bool(self.stream.isatty())
        return False

    def fileno(self) -> int:
        """The file's number, for tqdm to ask a terminal's width; raises where there is none."""
        return int(self.stream.fileno())

    def write(self, text: str) -> None:
        """Write text, or drop it."""
        try:
            self.stream.write(text)
        except DEAF:
            self._drop()

    def flush(self) -> None:
        """Hand on what was written, or drop it."""
        try:
            self.stream.flush()
        except DEAF:
            self._drop()

    def _drop(self) -> None:
        """Empty the stream's buffer.

        Else it would be tried again when Python ends, whose exit code would then be 120.
        """
        with suppress(*DEAF):
            number = self.fileno()
            kept, nowhere = os.dup(number), os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(nowhere, number)
                self.stream.flush()
            finally:
                os.dup2(kept, number)
                os.close(kept)
                os.close(nowhere)


STDOUT, STDERR = Output("stdout"), Output("stderr")


def say(text: str, output: Output = STDOUT) -> None:
    """Write a line, above the bars where there are any."""
    with tqdm.external_write_mode(file=STDERR):  # where all bars are
        output.write(f"{text}\n")
        output.flush()


def let_go() -> None:
    """Hand on what was written, or drop it: the last thing before a process ends."""
    STDOUT.flush()
    STDERR.flush()


class Bar(tqdm):
    """tqdm's bar on a terminal's stderr; anywhere else a line a minute, and none at first.

    The arguments are tqdm's.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.seen = STDERR.isatty()  # else all that a bar draws would be kept
        self.began = self.said = time.monotonic()
        super().__init__(*arguments, **{"file": STDERR, "dynamic_ncols": True, **options})

    def display(self, msg: str | None = None, pos: int | None = None) -> Any:
        """Draw the bar; or say it, where a line is due."""
        if self.seen:
            return super().display(msg, pos)
        now = time.monotonic()
        if now - self.said >= max(MINUTE, SHARE * (now - self.began)):
            self._say(now)
        return None

    def clear(self, *arguments: Any, **options: Any) -> None:
        """Take the bar away for a while; lines stay where they are."""
        if self.seen:
            super().clear(*arguments, **options)

    def close(self) -> None:
        """Leave the bar as it is in the end, where it was said before."""
        if not self.seen and not self.disable:
            if self.leave and self.said > self.began:
                self._say(time.monotonic())
            self.delay = float("inf")  # tqdm ends a bar that was never drawn without a character
        super().close()

    def _say(self, now: float) -> None:
        self.said = now
        self.fp.write(f"{self}\n")
        self.fp.flush()
