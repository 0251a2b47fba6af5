"""Child processes of a test, cheap because nothing is imported again; they never come back into it."""

import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path


def fork(function: Callable[[], int | None], log: Path | None = None) -> int:
    """Run `function` in a child; its process number. The child's exit code is what it returns, or 99."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the child uses none of them
        child = os.fork()
    if child:
        return child
    code = 99
    try:
        if log is not None:
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            sys.stderr = os.fdopen(2, "w", buffering=1)
        code = function() or 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def ended(child: int, seconds: float = 60.0) -> int:
    """Wait for a child; its exit code, or minus the number of the signal that ended it."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError(f"the child did not end within {seconds} s")


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until something is so."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not come about"
        time.sleep(0.005)


CRASH = 17


def crashing(function: Callable[[], object], at: int, below: Path) -> bool:
    """Run `function` in a child that is killed before its `at`-th call (from 0) that changes or opens something there.

    Whether it was killed; otherwise it came to its end.
    """

    def run() -> None:
        left = [at]
        calls = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.utime", "os.symlink", "os.scandir")

        def hook(event: str, values: tuple[object, ...]) -> None:
            if event not in calls or not values:
                return
            place = values[0] if isinstance(values[0], str | os.PathLike) else ""
            relative = not Path(os.fspath(place)).is_absolute()  # rmtree names them by the folder they lie in
            if (event == "open" and relative) or not (relative or str(place).startswith(str(below))):
                return
            if left[0] == 0:
                os._exit(CRASH)
            left[0] -= 1

        sys.addaudithook(hook)
        function()

    code = ended(fork(run))
    assert code in (0, CRASH)
    return code == CRASH
