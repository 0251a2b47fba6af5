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
from vlseg.records.errors import WRITING, InputError, LostProcessError, from_system
from vlseg.records.ledger import At, record_at, state_of
from vlseg.records.processes import started_place
from vlseg.records.study import LedgerRecord, Plan, Planned
from vlseg.studies import ledger
from vlseg.studies.execute import execute, execute_together, note
from vlseg.studies.grow import BusyError, grow
from vlseg.studies.links import link

BEGUN = ": begun"
"""How a worker's log says that a run was claimed."""
GRACE = 60.0
"""Seconds that a worker has to lay its run down."""
BEATS = 6
"""Signs of life in the time of a lease."""
PAUSE = 0.5
"""Seconds between two looks at a ledger in which others work."""
LONG_BUSY = 60.0
"""Seconds that another worker may take to let a search go on, before it is told and looked at less often."""


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
        looked: all were looked at once; from then on those alone that could be made.
        missed: after the last look more may be ready: runs turned out to be closed, or somebody was faster.
    """

    plan: Plan
    open: dict[str, Planned]
    done: dict[str, str] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    near: str = ""
    missed: bool = False
    looked: bool = False
    by_name: dict[str, Planned] = field(default_factory=dict)


def work(
    study: Path,
    *,
    wait: bool = True,
    thrifty: bool = False,
    until: float | None = None,
    stopping: Stopping | None = None,
) -> int:
    """Make runs until none is left that could be claimed; how many this worker closed.

    Args:
        study: its folder, with plan.json and the ledger.
        wait: stay while others work, for their runs may be laid down or left behind.
        thrifty: of these, stay only for trainings to come that wait for one of others: waiting costs something.
        until: `time.monotonic()` at which to lay down the run at hand and return.
        stopping: set from outside to end; SIGTERM and SIGINT set it, too.
    """
    stopping = stopping or Stopping()
    plan = Plan.read(study)
    runs = {run.name: run for run in plan.runs}
    seen = Seen(plan, dict(runs), by_name=runs)
    closed = 0
    with _signals(stopping), _unfrozen():
        while not stopping.requested and (until is None or time.monotonic() < until):
            found = next_run(study, seen)
            if found is None:
                if _grew(study, seen):
                    continue
                if not seen.missed and not (wait and _worth_waiting(study, seen, thrifty=thrifty)):
                    break
                time.sleep(PAUSE)
                continue
            run, lease = found
            seen.near = run.near
            more = companions(study, seen, run)
            if more:
                closed += make_together(study, [found, *more], plan, stopping, until)
            else:
                closed += make(study, run, lease, plan, stopping, until)
    return closed


def _grew(study: Path, seen: Seen) -> bool:
    """Whether there may be more to do than was known: a search has gone on, here or with another worker."""
    try:
        plan = grow(study, seen.plan)
    except BusyError as busy:
        if busy.seconds > LONG_BUSY:  # the line says what to do where nobody can tell whether that process lives
            note(str(busy))
        time.sleep(PAUSE if busy.seconds <= LONG_BUSY else LONG_BUSY)
        return True
    if plan is None:
        return False
    new = {run.name: run for run in plan.runs if run.name not in seen.by_name}
    seen.plan = plan
    seen.open |= new
    seen.by_name |= new
    return True


def next_run(study: Path, seen: Seen) -> tuple[Planned, ledger.Lease] | None:
    """Claim a run: first one that shares features with the last, then one whose features nobody is at, then any."""
    now = ledger.clock(study)
    seconds = seen.plan.study.lease_seconds
    count = len(seen.open)
    ready: list[tuple[Planned, At]] = []
    busy: set[str] = set()
    for run in list(seen.open.values()):
        if seen.looked and not _ready(run, seen):
            continue
        at = state_of(study, run.name)
        if at is None or _closed(run, at, seen):
            continue
        if at.state == "running" and not ledger.expired(at, now, seconds):
            busy.add(run.near)
        elif at.state in ("planned", "interrupted", "running") and _ready(run, seen):
            ready.append((run, at))
            if run.near == seen.near:  # in the plan's order: nothing goes before it
                break
    else:
        seen.looked = True
    seen.missed = bool(ready) or len(seen.open) < count
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


@contextmanager
def _unfrozen() -> Iterator[None]:
    """Give back in the end what was kept from the search for garbage."""
    try:
        yield
    finally:
        gc.unfreeze()


APART = frozenset(
    {"seed", "prompt", "learning_rate", "encoder_rate", "weight_decay", "schedule", "warmup_steps", "clip_norm"}
    | {"bce_weight", "positive_weight", "presence_weight", "class_prompt_share", "attribute_dropout", "patience"}
)
"""Settings in which trainings may differ that are made in one pass."""
AT_ONCE = 8


def companions(study: Path, seen: Seen, first: Planned) -> list[tuple[Planned, ledger.Lease]]:
    """Claim trainings of the same shape as a claimed one, to be made with it in one pass."""
    if first.kind != "train" or first.config["devices"] * first.config["nodes"] > 1 or started_place() is not None:
        return []
    most = seen.plan.study.together or (AT_ONCE if _on_gpu(first) else 1)
    found: list[tuple[Planned, ledger.Lease]] = []
    now, seconds = ledger.clock(study), seen.plan.study.lease_seconds
    for run in list(seen.open.values()) if most > 1 else []:
        if len(found) + 1 >= most:
            break
        if run.kind != "train" or _shape(run) != _shape(first) or not _ready(run, seen):
            continue
        at = state_of(study, run.name)
        lease = ledger.claim(study, run, at, now, seconds) if at is not None else None
        if lease is not None:
            found.append((run, lease))
    return found


def _shape(run: Planned) -> tuple[object, ...]:
    return {key: value for key, value in run.config.items() if key not in APART}, run.data, run.needs


def _on_gpu(run: Planned) -> bool:
    from vlseg.models.device import resolve_device

    return resolve_device(run.config["device"]).type == "cuda"


def make_together(
    study: Path,
    claimed: Sequence[tuple[Planned, ledger.Lease]],
    plan: Plan,
    stopping: Stopping,
    until: float | None = None,
) -> int:
    """Make claimed trainings in one pass; where that fails, each for itself. How many were closed."""
    begin, started = time.monotonic(), datetime.now(UTC)
    beat = Beat()
    note(f"{len(claimed)} trainings of one shape: {', '.join(run.name for run, _ in claimed)}{BEGUN}")
    try:
        with _beating([lease for _, lease in claimed], plan.study.lease_seconds, until, beat):
            values = execute_together(study, [(run, lease.at) for run, lease in claimed])
    except KeyboardInterrupt:
        values = dict.fromkeys(run.name for run, _ in claimed)
    except Exception as error:
        note(f"one of them failed ({_line(error)}): now each for itself")
        return sum(
            _released(run, lease) if stopping.requested else make(study, run, lease, plan, stopping, until)
            for run, lease in claimed
        )
    stopping.requested |= not beat.lost and None in values.values()
    seconds = (time.monotonic() - begin) / len(claimed)
    closed = 0
    for run, lease in claimed:
        found = values[run.name]
        if found is None:
            _released(run, lease)
            continue
        try:
            _published(study, run, lease, _record(run, lease, started, seconds, values=found))
            closed += 1
        except ledger.LostError:
            note(f"{run.name}: was taken over by another worker; what was done here is dropped")
    return closed


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


def _worth_waiting(study: Path, seen: Seen, *, thrifty: bool) -> bool:
    return _others_work(study, seen) and (not thrifty or _trainings_to_come(study, seen))


def _trainings_to_come(study: Path, seen: Seen) -> bool:
    waiting = (run for run in seen.open.values() if run.kind == "train" and not seen.failed.intersection(run.needs))
    return any((at := state_of(study, run.name)) is not None and at.state != "running" for run in waiting)


def make(
    study: Path, run: Planned, lease: ledger.Lease, plan: Plan, stopping: Stopping, until: float | None = None
) -> bool:
    """Make a claimed run and close it; whether it is done or failed."""
    begin, started = time.monotonic(), datetime.now(UTC)
    note(f"{run.name}{BEGUN}")
    beat = Beat()
    try:
        ledger.beat(lease)  # it may have waited for others that it was claimed with
        with _beating([lease], plan.study.lease_seconds, until, beat):
            values = execute(study, run, lease.at)
        if values is None:  # the training was asked to end
            stopping.requested |= not beat.lost
            return _released(run, lease)
        record = _record(run, lease, started, time.monotonic() - begin, values=values)
        _published(study, run, lease, record)
        note(f"{run.name}: done in {record.seconds:.1f} s")
        return True
    except ledger.LostError:
        note(f"{run.name}: was taken over by another worker; what was done here is dropped")
        return False
    except KeyboardInterrupt:
        stopping.requested |= not beat.lost
        return _released(run, lease)
    except Exception as error:
        if isinstance(error, LostProcessError) and error.silent:
            raise  # a machine may have gone: the run is no more to blame than where a worker of one process dies
        if not ledger.own(lease) or _no_fault_of_the_run(error):
            # Where its folder has gone, whatever is said of it is a consequence; on a full disk all others fail, too.
            _released(run, lease)
            if _no_fault_of_the_run(error):
                raise InputError(f"{run.name}: {_line(error)}; the run is laid down") from error
            return False
        seconds = time.monotonic() - begin
        return _failed(study, run, lease, started, seconds, _line(error), traceback.format_exc())
    finally:
        gc.collect()  # models and what they hold
        gc.freeze()  # what libraries keep for good is not looked through after each run; see `work`


def _published(study: Path, run: Planned, lease: ledger.Lease, record: LedgerRecord) -> None:
    at = ledger.publish(lease, record)
    link(study, run, at)
    ledger.drop_lower(at.folder.parent)


def _no_fault_of_the_run(error: BaseException | None) -> bool:
    """Whether nothing can be written any more: a full disk, an exhausted quota."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in WRITING:
            return True
        error = error.__cause__ or error.__context__
    return False


def _released(run: Planned, lease: ledger.Lease) -> bool:
    try:
        ledger.release(lease)
        note(f"{run.name}: laid down")
    except ledger.LostError:
        note(f"{run.name}: was taken over by another worker; what was done here is dropped")
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
def _beating(leases: Sequence[ledger.Lease], seconds: float, until: float | None, beat: Beat) -> Iterator[None]:
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
def _signals(stopping: Stopping) -> Iterator[None]:
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


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m vlseg.studies.worker STUDY`: one worker process."""
    parser = argparse.ArgumentParser(prog="vlseg.studies.worker")
    parser.add_argument("study", type=Path)
    parser.add_argument("--memory-gib", type=float, default=None)
    parser.add_argument("--parent", type=int, default=None, help="end when this process does, which started the worker")
    given = parser.parse_args(arguments)
    if given.memory_gib is not None:
        limit_memory(given.memory_gib)
    stopping = Stopping()
    try:
        if given.parent is not None:
            end_with(given.parent, stopping)
        work(given.study, stopping=stopping)
    except KeyboardInterrupt:  # before it could be laid down
        return 130
    except (InputError, OSError) as error:
        note(str(error) if isinstance(error, InputError) else from_system(error, str(given.study)))
        # Others may come off better, where it is not that nothing can be written.
        return 2 if isinstance(error, InputError) or error.errno in WRITING else 1
    return 130 if stopping.requested else 0


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


if __name__ == "__main__":
    sys.exit(main())
