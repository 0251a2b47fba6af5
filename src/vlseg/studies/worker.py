"""A worker: claims runs of a study and makes them, one after the other, until nothing is left to claim.

Any number may work on one study, in any process on any machine that sees its folder.
"""

import argparse
import gc
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from vlseg import __version__
from vlseg.jobs.environment import git_revision
from vlseg.records.ledger import At, record_at, state_of
from vlseg.records.study import LedgerRecord, Plan, Planned
from vlseg.studies import ledger
from vlseg.studies.execute import execute, note
from vlseg.studies.links import link

BEATS = 6
"""Signs of life in the time of a lease."""
PAUSE = 0.5
"""Seconds between two looks at a ledger in which others work."""


@dataclass
class Stopping:
    """Set when the worker was asked to end; it lays its run down first."""

    requested: bool = False


@dataclass
class Seen:
    """What a worker knows of a plan's runs, so that it looks again only at those that may have changed.

    Attributes:
        open: runs not known to be done or failed, in the plan's order.
        done: identities of those that are done, by name.
    """

    plan: Plan
    open: dict[str, Planned]
    done: dict[str, str] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    near: str = ""
    by_name: dict[str, Planned] = field(default_factory=dict)


def work(study: Path, *, wait: bool = True, until: float | None = None, stopping: Stopping | None = None) -> int:
    """Make runs until none is left that could be claimed; how many this worker closed.

    Args:
        study: its folder, with plan.json and the ledger.
        wait: stay while others work, for their runs may be laid down or left behind.
        until: `time.monotonic()` at which to lay down the run at hand and return.
        stopping: set from outside to end; SIGTERM and SIGINT set it, too.
    """
    stopping = stopping or Stopping()
    plan = Plan.read(study)
    runs = {run.name: run for run in plan.runs}
    seen = Seen(plan, dict(runs), by_name=runs)
    closed = 0
    with _thawed(), _signals(stopping):
        while not stopping.requested and (until is None or time.monotonic() < until):
            found = next_run(study, seen)
            if found is None:
                if not wait or not _others_work(study, seen):
                    break
                time.sleep(PAUSE)
                continue
            run, lease = found
            seen.near = run.near
            closed += make(study, run, lease, plan, stopping, until)
    return closed


def next_run(study: Path, seen: Seen) -> tuple[Planned, ledger.Lease] | None:
    """Claim a run: first one that shares features with the last, then one whose features nobody is at, then any."""
    now = ledger.clock(study)
    seconds = seen.plan.study.lease_seconds
    ready: list[tuple[Planned, At]] = []
    busy: set[str] = set()
    for run in list(seen.open.values()):
        at = state_of(study, run.name)
        if at is None or _closed(run, at, seen):
            continue
        if at.state == "running" and not ledger.expired(at, now, seconds):
            busy.add(run.near)
        elif at.state != "done" and _ready(run, seen):
            ready.append((run, at))
            if run.near == seen.near:  # in the plan's order: nothing goes before it
                break
    ready.sort(key=lambda one: (one[0].near != seen.near, one[0].near in busy))
    for run, at in ready:
        lease = ledger.claim(study, run, at, now, seconds)
        if lease is None:
            continue
        if lease.deaths >= seen.plan.study.deaths:
            error = f"its process died {lease.deaths} times without progress (out of memory? the system's log says)"
            _failed(study, run, lease, datetime.now(UTC), 0.0, error, error + "\n")
            continue
        return run, lease
    return None


def _closed(run: Planned, at: At, seen: Seen) -> bool:
    """Note a run that is done or failed: it needs no further look."""
    if at.state not in ("done", "failed"):
        return False
    record = record_at(at)
    if record is None:
        return False  # it is changing at this moment
    if at.state == "failed":
        seen.failed.add(run.name)
    elif record.identity == run.identity:
        seen.done[run.name] = record.identity
    del seen.open[run.name]
    return True


def _ready(run: Planned, seen: Seen) -> bool:
    return all(seen.done.get(need) == seen.by_name[need].identity for need in run.needs)


def _others_work(study: Path, seen: Seen) -> bool:
    return any((at := state_of(study, name)) is not None and at.state == "running" for name in seen.open)


def make(
    study: Path, run: Planned, lease: ledger.Lease, plan: Plan, stopping: Stopping, until: float | None = None
) -> bool:
    """Make a claimed run and close it; whether it is done or failed."""
    begin, started = time.monotonic(), datetime.now(UTC)
    note(f"{run.name}: begun")
    beat = Beat()
    try:
        with _beating(lease, plan.study.lease_seconds, until, beat):
            values = execute(study, run, lease.at)
        if values is None:  # the training was asked to end
            stopping.requested = not beat.lost
            return _released(run, lease)
        record = _record(run, lease, started, time.monotonic() - begin, values=values)
        link(study, run, ledger.publish(lease, record))
        note(f"{run.name}: done in {record.seconds:.1f} s")
        return True
    except ledger.LostError:
        note(f"{run.name}: was taken over by another worker; what was done here is dropped")
        return False
    except KeyboardInterrupt:
        stopping.requested = not beat.lost
        return _released(run, lease)
    except Exception as error:
        if not ledger.own(lease):  # its folder has gone: whatever is said of it is a consequence
            note(f"{run.name}: was taken over by another worker; what was done here is dropped")
            return False
        seconds = time.monotonic() - begin
        return _failed(study, run, lease, started, seconds, _line(error), traceback.format_exc())
    finally:
        gc.collect()
        # What outlives a run, imported code above all, is not looked through again after each: a quarter of a second.
        gc.freeze()


def _released(run: Planned, lease: ledger.Lease) -> bool:
    try:
        ledger.release(lease)
        note(f"{run.name}: laid down")
    except ledger.LostError:
        note(f"{run.name}: was taken over by another worker")
    return False


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _failed(
    study: Path, run: Planned, lease: ledger.Lease, started: datetime, seconds: float, error: str, trace: str
) -> bool:
    note(f"{run.name}: failed: {error}")
    try:
        ledger.fail(lease, _record(run, lease, started, seconds, error=error), trace)
    except ledger.LostError:
        return False
    return True


def _record(
    run: Planned,
    lease: ledger.Lease,
    started: datetime,
    seconds: float,
    *,
    values: dict[str, dict[str, object]] | None = None,
    error: str | None = None,
) -> LedgerRecord:
    return LedgerRecord(
        name=run.name,
        kind=run.kind,
        identity=run.identity,
        status="failed" if error is not None else "done",
        token=lease.at.token,
        host=socket.gethostname(),
        started=started.isoformat(timespec="seconds"),
        ended=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 2),
        version=__version__,
        git_revision=git_revision(),
        values=values or {},
        error=error,
    )


@dataclass
class Beat:
    """What the thread that shows signs of life found: the run may have been lost meanwhile."""

    lost: bool = False


@contextmanager
def _beating(lease: ledger.Lease, seconds: float, until: float | None, beat: Beat) -> Iterator[None]:
    """Show signs of life from a thread; where the run was lost, or time is up, end it as Ctrl-C would."""
    over = threading.Event()

    def show() -> None:
        while not over.wait(min(seconds / BEATS, 5.0)):
            try:
                ledger.beat(lease)
            except ledger.LostError:
                beat.lost = not over.is_set()  # else it has just been closed here
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
def _thawed() -> Iterator[None]:
    """What `make` exempted from being collected is collected again afterwards."""
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def _signals(stopping: Stopping) -> Iterator[None]:
    """SIGTERM and SIGINT lay the run at hand down and end the worker; a training handles them at a step's border."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        stopping.requested = True
        raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        stopping.requested = True
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m vlseg.studies.worker STUDY`: one worker process."""
    parser = argparse.ArgumentParser(prog="vlseg.studies.worker")
    parser.add_argument("study", type=Path)
    parser.add_argument("--memory-gib", type=float, default=None)
    given = parser.parse_args(arguments)
    if given.memory_gib is not None:
        limit_memory(given.memory_gib)
    end_with(os.getppid())
    stopping = Stopping()
    work(given.study, stopping=stopping)
    return 130 if stopping.requested else 0


def end_with(parent: int) -> None:
    """End, as by Ctrl-C, when the process that started this one has ended, however it did."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


def limit_memory(gib: float) -> None:
    """A run that wants more fails by itself, instead of the system ending whatever it chooses."""
    import resource

    size = int(gib * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


if __name__ == "__main__":
    sys.exit(main())
