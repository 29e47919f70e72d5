"""Ctrl-C, SIGTERM and a closed terminal as a request that is honoured between two steps."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def postponed(handle: Callable[[int], None]) -> Iterator[None]:
    """Hand the number of a SIGINT, SIGTERM or SIGHUP to `handle`; a second one ends us as usual.

    What is ignored, as SIGHUP is under nohup, or handled by a host that isn't Python stays so. Only
    the main thread hears of signals: elsewhere nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}

    def once(number: int, frame: object) -> None:
        handle(number)
        signal.signal(number, before[number])

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is None or signal.getsignal(number) in (signal.SIG_IGN, None):
            continue
        before[int(number)] = signal.signal(number, once)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
