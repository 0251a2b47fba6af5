"""Worker processes of a study as forks of the test, so that nothing is imported again and what it patched holds."""

import os
import signal
import subprocess
import time
from typing import Any

from forking import fork

from vlseg.studies import worker


class ForkedWorker:
    """In place of `subprocess.Popen` of `python -m vlseg.studies.worker`."""

    def __init__(self, command: list[str], *, stderr: Any, **_: Any) -> None:
        log = stderr.name

        def run() -> int:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            return worker.main(command[3:])

        self.pid = fork(run, log)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float = 60.0) -> int:
        limit = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > limit:
                raise subprocess.TimeoutExpired("worker", timeout)
            time.sleep(0.01)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
