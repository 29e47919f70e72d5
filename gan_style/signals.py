"""Ctrl-C and SIGTERM as a request that is honoured between two steps."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def postponed(handle: Callable[[int], None]) -> Iterator[None]:
    """Hand the number of a SIGINT or SIGTERM to `handle`; a second one has its usual effect.

    Only the main thread hears of signals: elsewhere nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}

    def once(number: int, frame: object) -> None:
        handle(number)
        signal.signal(number, before[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        before[int(number)] = signal.signal(number, once)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
