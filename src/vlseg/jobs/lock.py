"""One process at a time in a run's folder."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import psutil

from vlseg.records import InputError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK_NAME = ".lock"
START_TOLERANCE = 2.0
"""Seconds by which a process's start may be reported differently; a later process of the same number starts later."""


class Holder(NamedTuple):
    """The process that has, or had, the lock; `started` tells it from a later one of the same number."""

    pid: int
    host: str
    started: float


@contextmanager
def run_lock(folder: Path, doing: str = "trained") -> Iterator[None]:
    """Keep other processes from training the run in `folder`, or what else is being done there, within the block.

    The system gives the lock back when the process ends, however it ends, so that a killed one is in nobody's way. On
    file systems without such locks the process that is named in the file is looked for instead.

    Raises:
        InputError: another process holds it, or the folder cannot be written.
    """
    path = folder / LOCK_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _claimed(path, doing)
    except _TakenError:
        raise InputError(_taken_by(folder, _holder(path), doing)) from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error}); choose another folder") from error
    try:
        yield
    finally:
        if fcntl is None:  # Windows removes no open file
            os.close(file)
            path.unlink(missing_ok=True)
        else:  # still locked, so that nobody takes a file that is about to go
            path.unlink(missing_ok=True)
            os.close(file)


class _TakenError(Exception):
    """Another process holds the lock."""


def _claimed(path: Path, doing: str) -> int:
    """The open lock file, named as this process's."""
    while True:
        before = _holder(path)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            locked = _system_lock(file)
            if not locked and alive(before):
                raise _TakenError
            if not locked or _is_still(path, file):
                if locked and before and before.host != socket.gethostname():
                    _warn(path.parent, before, doing)
                told = Holder(os.getpid(), socket.gethostname(), psutil.Process().create_time())
                os.truncate(file, 0)
                os.write(file, json.dumps(told._asdict()).encode())
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # its holder has just ended and removed it: the next file of this name decides


def _is_still(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _warn(folder: Path, before: Holder, doing: str) -> None:
    # The lock is free, so that process has ended; unless this file system's locks do not reach other machines.
    print(
        f"{folder}: was being {doing} by process {before.pid} on {before.host}, which did not finish; "
        "if it still runs there, stop one of the two",
        file=sys.stderr,
    )


def _system_lock(file: int) -> bool:
    """Take the system's lock; False where this system or file system has none."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _TakenError from None
    except OSError:
        return False
    return True


def _holder(path: Path) -> Holder | None:
    """Who is named in the file."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Holder(int(told["pid"]), str(told["host"]), float(told["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # empty, or cut off by a full disk: names nobody


def alive(holder: Holder | None) -> bool:
    """Whether that process may still be there; on another machine nobody can tell."""
    if holder is None:
        return False
    if holder.host != socket.gethostname():
        return True
    try:
        process = psutil.Process(holder.pid)
        started = float(process.create_time())
        if process.status() == psutil.STATUS_ZOMBIE:  # ended; only whoever started it has not asked yet
            return False
    except psutil.Error:
        return False
    return abs(started - holder.started) < START_TOLERANCE


def _taken_by(folder: Path, holder: Holder | None, doing: str) -> str:
    if holder is None:
        return f"{folder}: is being {doing} by another process; wait for it, or stop it"
    who = f"{folder}: is being {doing} by process {holder.pid} on {holder.host}; wait for it, or stop it"
    if holder.host == socket.gethostname():
        return who
    return f"{who} (it cannot be checked from here: if it is gone, delete {folder / LOCK_NAME})"
