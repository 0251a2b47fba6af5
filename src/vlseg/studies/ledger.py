"""Claiming, holding and closing the runs of a study: every change of state is one rename of one folder.

Whoever renames planned-0000 to running-0001 has the run; everybody else's rename fails, because its source is gone. The
holder shows that it lives by the dates of lease.json. A run whose holder is dead or silent is taken over by the next
rename, running-0001 to running-0002, and whatever the old holder still does meets paths that are not there: it cannot
publish, for that is a rename of running-0001 as well. Works wherever a rename is atomic, network file systems included.

A run that is to begin anew gets a new folder of the next token; the results that were there stay until others are done.
"""

import errno
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from vlseg.jobs.lock import LOCK_NAME
from vlseg.records.errors import InputError, from_system
from vlseg.records.ledger import LEASE, LEDGER, At, all_of, lease_at, record_at, state_of
from vlseg.records.study import LedgerRecord, Planned, State

CLOCK = ".clock"


class LostError(Exception):
    """Another worker has taken the run over: nothing of it may be written any more."""


@dataclass(frozen=True)
class Lease:
    """A claimed run. `since` is the file system's time of the claim, `deaths` of holders before without progress."""

    at: At
    nonce: str
    since: float
    deaths: int


def enter(study: Path, name: str) -> None:
    """Make a run known to the ledger, as planned; one that it knows stays as it is."""
    if state_of(study, name) is None:
        # Where somebody was faster this is a folder of a lower token, which counts for nothing.
        (study / LEDGER / name / "planned-0000").mkdir(parents=True, exist_ok=True)


def clock(study: Path) -> float:
    """The time as the study's file system has it: machines that share it may differ in theirs."""
    mark = study / LEDGER / CLOCK
    try:
        mark.touch()
        return mark.stat().st_mtime
    except OSError:  # nothing may be written here, so that only this machine's can be asked
        return time.time()


@cache
def here() -> str:
    """This machine since it was started, and its set of process numbers: containers have their own under one name."""
    try:
        started = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        numbers = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        started = numbers = ""
    return f"{socket.gethostname()} {started} {numbers}"


def expired(at: At, now: float, seconds: float) -> bool:
    """Whether the holder of a running run is gone: its process has ended, or was silent for longer than `seconds`.

    Of a process elsewhere only its silence tells, and of one here whose number another process has got meanwhile.
    """
    lease = lease_at(at)
    if lease.get("token") == at.token and lease["where"] == here() and _ended(lease["pid"]):
        return True
    # A folder that was claimed this moment has no lease of its token yet, but a date of its own.
    return now - max(_date(at.folder / LEASE), _date(at.folder)) > seconds


def _ended(pid: int) -> bool:
    try:
        # A zombie has ended; only whoever started it has not asked yet.
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def _date(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def claim(study: Path, run: Planned, at: At, now: float, seconds: float) -> Lease | None:
    """Take a run that is planned, interrupted, or running under an expired lease; None where somebody was faster.

    A training of the same identity goes on where it stopped; what else is there is removed.
    """
    if at.state not in ("planned", "interrupted") and not (at.state == "running" and expired(at, now, seconds)):
        return None
    before = lease_at(at)
    died = at.state == "running" and not _progress(at, before.get("since", 0.0))
    deaths = before.get("deaths", 0) + 1 if died else 0
    nonce = uuid.uuid4().hex
    new = At(at.name, "running", at.token + 1, at.folder.with_name(f"running-{at.token + 1:04d}"))
    note = f".{LEASE}.{nonce}"
    lease = {
        "token": new.token,
        "nonce": nonce,
        "host": socket.gethostname(),
        "where": here(),
        "pid": os.getpid(),
        "identity": run.identity,
        "since": now,
        "deaths": deaths,
    }
    try:
        (at.folder / note).write_text(json.dumps(lease), encoding="utf-8")  # gives the folder a new date
        at.folder.rename(new.folder)
        if all_of(study, at.name)[-1:] != [new]:
            # Not the folder that was read: the run has gone on, and who lost it made this one again by writing into it.
            shutil.rmtree(new.folder, ignore_errors=True)
            return None
        if run.kind != "train" or before.get("identity") != run.identity:
            _clear(new, keep=(LEASE, note))
        (new.work / LOCK_NAME).unlink(missing_ok=True)  # a holder that was stopped keeps it, and has no say any more
        # Last: as long as the lease before is there, what is there is known to be of its identity.
        (new.folder / note).rename(new.folder / LEASE)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST):
            return None
        raise
    return Lease(new, nonce, now, deaths)


def _progress(at: At, since: float) -> bool:
    """Whether the attempt that ended left a checkpoint of its own."""
    return _date(at.work / "checkpoints" / "last.pt") > since


def _clear(at: At, keep: Sequence[str]) -> None:
    for path in at.folder.iterdir():
        if path.name not in keep:
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _tidy(at: At) -> None:
    """Remove what killed or failed attempts left beside the results."""
    only_to_go_on = [at.folder / "error.txt", at.work / "checkpoints"]
    for path in [*at.folder.glob(".*"), *at.work.rglob(".*.part"), *only_to_go_on]:
        _remove(path)


def own(lease: Lease) -> bool:
    """Whether the run is still the holder's."""
    return lease_at(lease.at).get("nonce") == lease.nonce


def beat(lease: Lease) -> None:
    """Show that the holder lives.

    Raises:
        LostError: somebody else has the run.
        OSError: the file system cannot be reached now.
    """
    try:
        os.utime(lease.at.folder / LEASE)
    except FileNotFoundError:
        raise LostError(lease.at.name) from None


def publish(lease: Lease, record: LedgerRecord) -> At:
    """The run is done: its results, as they lie in its folder, count from here on.

    Raises:
        LostError: somebody else has the run; nothing is published.
        InputError: the folder cannot be written.
    """
    return _close(lease, "done", {"record.json": _text(record)})


def fail(lease: Lease, record: LedgerRecord, trace: str) -> At:
    """The run failed; its record says why, and what it had learned stays for another try.

    Raises:
        LostError: somebody else has the run.
        InputError: the folder cannot be written.
    """
    return _close(lease, "failed", {"error.txt": trace, "record.json": _text(record)})


def release(lease: Lease) -> At:
    """Lay the run down, so that anybody may go on with it.

    Raises:
        LostError: somebody else has the run.
        InputError: the folder cannot be written.
    """
    return _close(lease, "interrupted", {})


def _text(record: LedgerRecord) -> str:
    return json.dumps(record.model_dump(mode="json")) + "\n"


def _close(lease: Lease, state: State, files: Mapping[str, str]) -> At:
    at = lease.at
    new = At(at.name, state, at.token, at.folder.with_name(f"{state}-{at.token:04d}"))
    try:
        if own(lease):
            if state == "done":
                _tidy(at)
            for name, text in files.items():
                _write(at.folder / name, text)
            at.folder.rename(new.folder)
            return new
    except OSError as error:
        if own(lease):  # a full disk, not another worker
            raise InputError(from_system(error, str(at.folder))) from error
    drop_lower(at.folder.parent)  # what the holder wrote after it had lost the run
    raise LostError(at.name)


def _write(path: Path, text: str) -> None:
    """Into a folder that is there: it is never made again when it was renamed meanwhile."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def drop_lower(place: Path) -> None:
    """Remove a run's folders of lower tokens than the one that holds; results stay until newer ones are done."""
    found = all_of(place.parent.parent, place.name)
    for one in found[:-1]:
        if found[-1].state == "done" or one.state != "done":
            shutil.rmtree(one.folder, ignore_errors=True)


def renew(at: At, *, afresh: bool) -> bool:
    """Plan a run again that nobody works on; False where it changed meanwhile.

    Args:
        at: the state as it was read.
        afresh: begin anew, in a new folder; else go on with what is there.
    """
    planned = at.folder.with_name(f"planned-{at.token + 1:04d}")
    try:
        if not afresh:
            at.folder.rename(planned)
            return True
        if at.state not in ("done", "failed"):
            at.folder.rename(at.folder.with_name(f"failed-{at.token:04d}"))  # from here on nobody claims it
        planned.mkdir()
    except (FileNotFoundError, FileExistsError):
        return False
    return True


def refresh(study: Path, runs: Sequence[Planned], *, retry: bool, redo: frozenset[str]) -> dict[str, str]:
    """Bring the ledger to what is wanted: new runs entered, outdated ones planned again; why, by the runs' names.

    A run is outdated when the identity of its result is not the wanted one: data, weights or a room's protocol changed,
    or a run that it reads. The version of the code never counts. Runs at work are left to who works on them.

    Args:
        study: its folder.
        runs: those wanted.
        retry: plan failed runs again.
        redo: names to begin anew whatever they are; what reads them follows.
    """
    again = _with_readers(runs, redo)
    told: dict[str, str] = {}
    for run in runs:
        at = state_of(study, run.name)
        if at is None:
            enter(study, run.name)
            continue
        why = _why_anew(run, at, again)
        if why is not None and renew(at, afresh=True):
            told[run.name] = why
        elif why is None and at.state == "failed" and retry and renew(at, afresh=False):
            told[run.name] = "failed before"
    return told


def _why_anew(run: Planned, at: At, again: set[str]) -> str | None:
    if at.state == "running":
        return None
    if run.name in again and (at.state != "planned" or at.work.exists()):
        return "on request"
    if at.state not in ("done", "failed"):
        return None
    record = record_at(at)
    if record is None or (at.state == "done" and not at.work.exists()):
        return "its result cannot be read"
    return "what it depends on has changed" if record.identity != run.identity else None


def _with_readers(runs: Iterable[Planned], names: Iterable[str]) -> set[str]:
    """The runs of these names and all that read them; in the plan a run may stand before one that it needs."""
    readers: dict[str, list[str]] = {}
    for run in runs:
        for need in run.needs:
            readers.setdefault(need, []).append(run.name)
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += readers.get(name, [])
    return found


def sweep(study: Path, names: Iterable[str]) -> None:
    """Remove what killed workers left: folders of lower tokens, runs that were half removed."""
    place = study / LEDGER
    if not place.is_dir():
        return
    for name in names:
        drop_lower(place / name)
    for one in place.glob(".*"):
        if one.is_dir():
            shutil.rmtree(one, ignore_errors=True)


def remove(study: Path, name: str) -> None:
    """Forget a run and its results."""
    going = study / LEDGER / f".{name}"
    shutil.rmtree(going, ignore_errors=True)
    with suppress(FileNotFoundError):
        (study / LEDGER / name).rename(going)
    shutil.rmtree(going, ignore_errors=True)
