"""A worker: claims runs of a study and makes them, one after the other, until nothing is left to claim.

Any number may work on one study, in any process on any machine that sees its folder.
"""

import argparse
import gc
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from vlseg import __version__
from vlseg.jobs.environment import git_revision
from vlseg.records.errors import WRITING, InputError, LostProcessError, from_system
from vlseg.records.study import LedgerRecord, Plan, Planned
from vlseg.studies import ledger
from vlseg.studies.choosing import Seen, companions, next_run, worth_waiting
from vlseg.studies.execute import execute, execute_together, note
from vlseg.studies.grow import BusyError, grow
from vlseg.studies.holding import Beat, Stopping, beating, end_with, limit_memory, signals
from vlseg.studies.links import link

BEGUN = ": begun"
"""How a worker's log says that a run was claimed."""
PAUSE = 0.5
"""Seconds between two looks at a ledger in which others work."""
LONG_BUSY = 60.0
"""Seconds that another worker may take to let a search go on, before it is told and looked at less often."""


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
    with signals(stopping), _unfrozen():
        while not stopping.requested and (until is None or time.monotonic() < until):
            found = next_run(study, seen)
            if found is None:
                if _grew(study, seen):
                    continue
                if not seen.missed and not (wait and worth_waiting(study, seen, thrifty=thrifty)):
                    break
                time.sleep(PAUSE)
                continue
            run, lease = found
            seen.near = run.near
            if lease.deaths >= plan.study.deaths:
                _died(study, run, lease)
                continue
            more = companions(study, seen, run)
            if more:
                closed += make_together(study, [found, *more], plan, stopping, until)
            else:
                closed += make(study, run, lease, plan, stopping, until)
    return closed


def _died(study: Path, run: Planned, lease: ledger.Lease) -> None:
    """Close a run whose process dies again and again."""
    error = f"its process died {lease.deaths} times without progress (out of memory? the system's log says)"
    _failed(study, run, lease, datetime.now(UTC), 0.0, error, error + "\n")


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


@contextmanager
def _unfrozen() -> Iterator[None]:
    """Give back in the end what was kept from the search for garbage."""
    try:
        yield
    finally:
        gc.unfreeze()


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
        with beating([lease for _, lease in claimed], plan.study.lease_seconds, until, beat):
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


def make(
    study: Path, run: Planned, lease: ledger.Lease, plan: Plan, stopping: Stopping, until: float | None = None
) -> bool:
    """Make a claimed run and close it; whether it is done or failed."""
    begin, started = time.monotonic(), datetime.now(UTC)
    note(f"{run.name}{BEGUN}")
    beat = Beat()
    try:
        ledger.beat(lease)  # it may have waited for others that it was claimed with
        with beating([lease], plan.study.lease_seconds, until, beat):
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


if __name__ == "__main__":
    sys.exit(main())
