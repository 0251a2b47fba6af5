"""Claiming, holding and closing the runs of a study: every change of state is one rename of one folder.

Whoever renames planned-0000 to running-0001 has the run; everybody else's rename fails, because its source is gone. The
holder shows that it lives by the dates of lease.json. A run whose holder is dead or silent is taken over by the next
rename, running-0001 to running-0002, and whatever the old holder still does meets paths that are not there: it cannot
publish, for that is a rename of running-0001 as well. Works wherever a rename is atomic, network file systems included.
"""

import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from vlseg.jobs.lock import LOCK_NAME, Holder, alive
from vlseg.records.errors import InputError
from vlseg.records.files import write_text
from vlseg.records.ledger import LEASE, LEDGER, At, lease_at, record_at, state_of
from vlseg.records.study import LedgerRecord, Planned, State

AFRESH = "afresh"
"""A file beside a run's results: they are outdated, whoever claims the run begins anew."""


class LostError(Exception):
    """Another worker has taken the run over: nothing of it may be written any more."""


@dataclass(frozen=True)
class Lease:
    """A claimed run. `since` is the file system's time of the claim."""

    at: At
    nonce: str
    since: float
    deaths: int


def enter(study: Path, name: str) -> None:
    """Make a run known to the ledger, as planned; one that it knows stays as it is."""
    place = study / LEDGER / name
    if place.exists():
        return
    new = study / LEDGER / f".{name}.{uuid.uuid4().hex[:8]}"
    (new / "planned-0000").mkdir(parents=True)
    try:
        new.rename(place)
    except OSError:  # somebody was faster
        shutil.rmtree(new, ignore_errors=True)


def clock(study: Path) -> float:
    """The time as the study's file system has it: machines that share it may differ in theirs."""
    place = study / LEDGER
    place.mkdir(parents=True, exist_ok=True)
    mark = place / f".clock-{socket.gethostname()}-{os.getpid()}"
    mark.touch()
    now = mark.stat().st_mtime
    mark.unlink(missing_ok=True)
    return now


def expired(at: At, now: float, seconds: float) -> bool:
    """Whether the holder of a running run is gone: its process has ended, or was silent for longer than `seconds`."""
    lease = lease_at(at)
    if lease.get("token") == at.token and lease.get("host") == socket.gethostname():
        holder = Holder(int(lease["pid"]), str(lease["host"]), float(lease["started"]))
        if not alive(holder):
            return True
    # A folder that was claimed this moment has no lease of its token yet, but a date of its own.
    return now - max(_date(at.folder / LEASE), _date(at.folder)) > seconds


def _date(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def claim(study: Path, run: Planned, at: At, now: float, seconds: float) -> Lease | None:
    """Take a run that is planned, interrupted, or running under an expired lease; None where somebody was faster.

    Results of another identity, or marked as outdated, are removed; else the run goes on where it stopped.
    """
    before = lease_at(at)
    if at.state not in ("planned", "interrupted") and not (at.state == "running" and expired(at, now, seconds)):
        return None
    nonce = uuid.uuid4().hex
    new = At(at.name, "running", at.token + 1, at.folder.with_name(f"running-{at.token + 1:04d}"))
    note = f".{LEASE}.{nonce}"
    deaths = int(before.get("deaths", 0)) + 1 if at.state == "running" and not _progress(at, before) else 0
    lease = {
        "token": new.token,
        "nonce": nonce,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
        "identity": run.identity,
        "since": now,
        "deaths": deaths,
    }
    try:
        (at.folder / note).write_text(json.dumps(lease), encoding="utf-8")  # gives the folder a new date
        at.folder.rename(new.folder)
        (new.folder / note).rename(new.folder / LEASE)
        outdated = (new.folder / AFRESH).exists() or before.get("identity", run.identity) != run.identity
        if outdated or run.kind != "train":  # only a training goes on where it stopped
            _clear(new)
        (new.work / LOCK_NAME).unlink(missing_ok=True)  # a holder that was stopped keeps it, and has no say any more
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Lease(new, nonce, now, deaths)


def _progress(at: At, lease: dict[str, Any]) -> bool:
    """Whether the attempt that ended left a checkpoint of its own."""
    return _date(at.work / "checkpoints" / "last.pt") > float(lease.get("since", 0.0))


def _clear(at: At) -> None:
    """Remove everything but the lease; the mark that says so last."""
    for path in at.folder.iterdir():
        if path.name in (LEASE, AFRESH):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (at.folder / AFRESH).unlink(missing_ok=True)


def _tidy(at: At) -> None:
    """Remove what killed attempts had begun to write."""
    for path in [*at.folder.glob(".*"), *at.work.rglob(".*.part")]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def own(lease: Lease) -> bool:
    """Whether the run is still the holder's."""
    return lease_at(lease.at).get("nonce") == lease.nonce


def beat(lease: Lease) -> None:
    """Show that the holder lives.

    Raises:
        LostError: somebody else has the run.
    """
    try:
        os.utime(lease.at.folder / LEASE)
    except FileNotFoundError:
        raise LostError(lease.at.name) from None


def publish(lease: Lease, record: LedgerRecord) -> At:
    """The run is done: its results, as they lie in its folder, count from here on.

    Raises:
        LostError: somebody else has the run; nothing is published.
    """
    return _close(lease, "done", record)


def fail(lease: Lease, record: LedgerRecord, trace: str) -> At:
    """The run failed; its record says why, and what it had learned stays for another try.

    Raises:
        LostError: somebody else has the run.
    """
    if own(lease):
        write_text(lease.at.folder / "error.txt", trace)
    return _close(lease, "failed", record)


def release(lease: Lease) -> At:
    """Lay the run down, so that anybody may go on with it.

    Raises:
        LostError: somebody else has the run.
    """
    return _close(lease, "interrupted", None)


def _close(lease: Lease, state: State, record: LedgerRecord | None) -> At:
    at = lease.at
    if not own(lease):
        _sweep_stray(at)
        raise LostError(at.name)
    if state == "done":
        _tidy(at)
    new = At(at.name, state, at.token, at.folder.with_name(f"{state}-{at.token:04d}"))
    try:
        if record is not None:
            record.write(at.folder)
        at.folder.rename(new.folder)
    except (FileNotFoundError, InputError):
        if own(lease):  # a full disk, not another worker
            raise
        _sweep_stray(at)
        raise LostError(at.name) from None
    if state != "interrupted":  # there the next holder wants to know of what identity the checkpoints are
        (new.folder / LEASE).unlink(missing_ok=True)
    return new


def _sweep_stray(at: At) -> None:
    """Remove what was written under a token that had been lost: never the folder that holds the run."""
    place = at.folder.parent
    current = state_of(place.parent.parent, at.name)
    if current is not None and current.token > at.token:
        shutil.rmtree(at.folder, ignore_errors=True)


def renew(study: Path, at: At, *, afresh: bool) -> bool:
    """Plan a done, failed or interrupted run again; False where it changed meanwhile.

    Args:
        study: its folder.
        at: the state as it was read.
        afresh: begin anew; else go on with what is there.
    """
    try:
        if afresh:
            (at.folder / AFRESH).touch()
        at.folder.rename(at.folder.with_name(f"planned-{at.token + 1:04d}"))
    except FileNotFoundError:
        return False
    return True


def refresh(study: Path, runs: Iterable[Planned], *, retry: bool, redo: frozenset[str]) -> dict[str, str]:
    """Bring the ledger to what is wanted: new runs entered, outdated ones planned again; why, by the runs' names.

    A done run is outdated when its identity is not the wanted one: data, weights or a room's protocol changed, or a run
    that it reads. The version of the code never counts.

    Args:
        study: its folder.
        runs: those wanted.
        retry: plan failed runs again.
        redo: names to begin anew whatever they are; what reads them follows.
    """
    again = set(redo)
    told: dict[str, str] = {}
    for run in runs:
        enter(study, run.name)
        at = state_of(study, run.name)
        again |= {run.name} if again & set(run.needs) else set()
        if at is None or at.state in ("planned", "running"):
            continue
        record = record_at(at)
        outdated = record is not None and record.identity != run.identity
        if run.name in again or (outdated and at.state == "done"):
            if renew(study, at, afresh=True):
                told[run.name] = "on request" if run.name in again else "what it depends on has changed"
        elif at.state == "failed" and (retry or outdated) and renew(study, at, afresh=outdated):
            told[run.name] = "failed before"
    return told


def sweep(study: Path, names: Iterable[str]) -> None:
    """Remove what killed workers left: lower tokens, half-entered runs, leases of runs that are done."""
    place = study / LEDGER
    if not place.is_dir():
        return
    old = time.time() - 3600
    for one in os.scandir(place):
        if one.name.startswith(".") and one.stat().st_mtime < old:
            shutil.rmtree(one.path, ignore_errors=True) if one.is_dir() else Path(one.path).unlink(missing_ok=True)
    for name in names:
        at = state_of(study, name)
        if at is None:
            continue
        for other in [entry.name for entry in os.scandir(place / name)]:
            token = other.rpartition("-")[2]
            if token.isdecimal() and int(token) < at.token:
                shutil.rmtree(place / name / other, ignore_errors=True)
        if at.state in ("done", "failed"):
            for left in [at.folder / LEASE, *at.folder.glob(f".{LEASE}.*")]:
                left.unlink(missing_ok=True)


def remove(study: Path, name: str) -> None:
    """Forget a run and its results."""
    shutil.rmtree(study / LEDGER / name, ignore_errors=True)
