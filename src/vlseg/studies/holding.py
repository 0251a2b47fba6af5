"""Holding a run: signs of life while it is made, and how a worker is asked to lay it down."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from vlseg.studies import ledger
from vlseg.studies.execute import note

GRACE = 60.0
"""Seconds that a worker has to lay its run down."""
BEATS = 6
"""Signs of life in the time of a lease."""


@dataclass
class Stopping:
    """Set when the worker was asked to end; it lays its run down first."""

    requested: bool = False


@dataclass
class Beat:
    """What the thread that shows signs of life found: the run may have been lost meanwhile."""

    lost: bool = False


@contextmanager
def beating(leases: Sequence[ledger.Lease], seconds: float, until: float | None, beat: Beat) -> Iterator[None]:
    """Show signs of life from a thread; where the run was lost, or time is up, end it as Ctrl-C would."""
    over = threading.Event()

    def show() -> None:
        while not over.wait(min(seconds / BEATS, 5.0)):
            try:
                for lease in leases:
                    ledger.beat(lease)
            except ledger.LostError:
                beat.lost = not over.is_set()  # else it has just been closed here
            except OSError as error:  # if it lasts, the lease expires
                note(f"{error}: no sign of life could be given")
            late = until is not None and time.monotonic() > until
            if (beat.lost or late) and not over.is_set():
                os.kill(os.getpid(), signal.SIGINT)
                return

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def signals(stopping: Stopping) -> Iterator[None]:
    """SIGTERM and SIGINT lay the run at hand down and end the worker; a training handles them at a step's border."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _told_of_sigterm(stopping):
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        except KeyboardInterrupt:
            stopping.requested = True
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _told_of_sigterm(stopping: Stopping) -> Iterator[None]:
    """Note SIGTERM whoever handles it: a training that ends by itself in that moment says nothing of it."""
    there, here = socket.socketpair()
    here.setblocking(False)
    before = signal.set_wakeup_fd(here.fileno(), warn_on_full_buffer=False)

    def listen() -> None:
        while numbers := there.recv(64):
            stopping.requested |= signal.SIGTERM in numbers

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        here.close()
        thread.join()
        there.close()


def end_with(parent: int, stopping: Stopping) -> None:
    """End, as by Ctrl-C, when the process that started this one has ended, however it did."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        stopping.requested = True
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(GRACE)
        os._exit(130)

    threading.Thread(target=watch, daemon=True).start()


def limit_memory(gib: float) -> None:
    """A run that wants more fails by itself, instead of the system ending whatever it chooses."""
    import resource

    size = int(gib * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
