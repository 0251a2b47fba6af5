"""Ctrl-C, or the system's polite request to end, ends a run at the next step's border; a second one at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Stop:
    """Set by the first Ctrl-C or SIGTERM."""

    requested: bool = False


@contextmanager
def stop_on_interrupt() -> Iterator[Stop]:
    """Within the block the first SIGINT or SIGTERM (a cluster that takes its machine back) only sets `requested`.

    Signals reach the main thread alone.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
