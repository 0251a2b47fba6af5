"""A study on this machine: worker processes, kept going until the plan is through."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import psutil

from vlseg.records import InputError
from vlseg.records.study import Plan
from vlseg.studies.status import Status, status

MEMORY_GIB = 4.0
"""Memory that a worker is reckoned to need where nothing else is known."""
POLL = 0.5
GRACE = 60.0
"""Seconds that workers have to lay their runs down."""


@dataclass(frozen=True)
class LocalOptions:
    """How to work here.

    Attributes:
        workers: processes; None = one for each GPU, else one for each core that has memory for it.
        threads: CPU threads of each; None = the cores shared out evenly.
        memory_gib: of each; a run that wants more fails.
    """

    workers: int | None = None
    threads: int | None = None
    memory_gib: float | None = None


@dataclass(frozen=True)
class Resources:
    """What workers are given.

    Attributes:
        workers: processes.
        threads: CPU threads of each.
        gpus: numbers of the GPUs that they share out; none = the CPU.
        memory_gib: of each.
    """

    workers: int
    threads: int
    gpus: tuple[str, ...] = ()
    memory_gib: float | None = None

    @property
    def device(self) -> str:
        """What a run finds by itself: "cuda" or "cpu"."""
        return "cuda" if self.gpus else "cpu"

    def environment(self, slot: int) -> Mapping[str, str]:
        """Of the worker process of a slot."""
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(self.threads))
        device = {"CUDA_VISIBLE_DEVICES": self.gpus[slot % len(self.gpus)]} if self.gpus else {}
        return {**os.environ, **threads, **device}


@lru_cache
def resources_for(options: LocalOptions) -> Resources:
    """What the workers of this machine are given, the same for as long as this process lives."""
    gpus = tuple(visible_gpus())
    count = options.workers or len(gpus) or _affordable()
    threads = options.threads or max(1, len(os.sched_getaffinity(0)) // count)
    return Resources(count, threads, gpus, options.memory_gib)


def run_here(study: Path, plan: Plan, options: LocalOptions, look: Callable[[Status], None]) -> bool:
    """Work through a study with processes of this machine; whether it was stopped before its end.

    Ctrl-C lays the runs at hand down. A worker that dies is started again; its run is taken over.

    Args:
        study: the folder.
        plan: what to do.
        options: see there.
        look: told the state of things, about twice a second.

    Raises:
        InputError: workers end at once, before they do anything.
    """
    resources = resources_for(options)
    crew = Crew(study, resources)
    stopped = False
    try:
        for slot in range(resources.workers):
            crew.start(slot)
        pause = POLL
        while crew.processes:
            time.sleep(pause)
            crew.look_after()
            begin = time.monotonic()
            look(status(study, plan))
            pause = max(POLL, 10 * (time.monotonic() - begin))  # of thousands of runs a look takes its time
    except KeyboardInterrupt:
        stopped = True
    finally:
        crew.end()
    return stopped


class Crew:
    """The worker processes of a study."""

    def __init__(self, study: Path, resources: Resources) -> None:
        self.study, self.resources = study, resources
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self._started: dict[int, deque[float]] = {}

    def start(self, slot: int) -> None:
        """A worker process, with its log in STUDY/log."""
        times = self._started.setdefault(slot, deque(maxlen=3))
        if len(times) == 3 and time.monotonic() - times[0] < 30.0:
            raise InputError(f"worker {slot} ends as soon as it is started: {self._last_line(slot)}")
        times.append(time.monotonic())
        log = self._log(slot)
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "vlseg.studies.worker", str(self.study)]
        if self.resources.memory_gib is not None:
            command += ["--memory-gib", str(self.resources.memory_gib)]
        with log.open("ab") as file:
            # Of their own session: Ctrl-C reaches this process alone, which then asks each of them once.
            self.processes[slot] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=self.resources.environment(slot),
                start_new_session=True,
            )

    def look_after(self) -> None:
        """Start those again that died; those that ended by themselves found nothing more to do."""
        for slot, process in list(self.processes.items()):
            code = process.poll()
            if code is None:
                continue
            del self.processes[slot]
            if code != 0:
                self.start(slot)

    def end(self) -> None:
        """Ask all that still work to lay their runs down; who does not in time is killed, and its run taken over."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        limit = time.monotonic() + GRACE
        for process in self.processes.values():
            try:
                process.wait(max(0.1, limit - time.monotonic()))
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                process.kill()
                process.wait()
        self.processes.clear()

    def _log(self, slot: int) -> Path:
        return self.study / "log" / f"worker-{slot}.log"

    def _last_line(self, slot: int) -> str:
        lines = self._log(slot).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"{lines[-1] if lines else 'without a word'} ({self._log(slot)})"


def visible_gpus() -> list[str]:
    """Numbers of the GPUs that this process may use."""
    from torch import cuda

    if not cuda.is_available():
        return []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",") if given else [str(index) for index in range(cuda.device_count())]


def _affordable() -> int:
    memory = psutil.virtual_memory().available / 2**30
    return max(1, min(len(os.sched_getaffinity(0)), int(memory / MEMORY_GIB)))
