"""A study on this machine: worker processes, kept going until the plan is through."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import psutil

from vlseg.records import InputError
from vlseg.records.study import Plan
from vlseg.studies.grow import latest, searching
from vlseg.studies.holding import GRACE
from vlseg.studies.status import Status, status
from vlseg.studies.worker import BEGUN

MEMORY_GIB = 4.0
"""Memory that a worker is reckoned to need where nothing else is known."""
POLL = 0.5
PATIENCE = 10.0
"""Seconds that workers have to see that nothing is left to do."""
IDLE_DEATHS = 3
"""So often in a row a worker may end before it claims a run."""


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


def run_here(study: Path, plan: Plan, options: LocalOptions, look: Callable[[Status], None]) -> None:
    """Work through a study with processes of this machine.

    Ctrl-C lays the runs at hand down. A worker that dies is started again; its run is taken over.

    Args:
        study: the folder.
        plan: what to do.
        options: see there.
        look: told the state of things, about twice a second.

    Raises:
        InputError: workers end at once, before they do anything, or because nothing can be written.
    """
    resources = resources_for(options)
    crew = Crew(study, resources)
    try:
        for slot in range(resources.workers):
            crew.start(slot)
        pause, through = POLL, 0.0
        while crew.processes and through < PATIENCE:  # one that hangs, its run made by another, is not waited for
            time.sleep(pause)
            crew.look_after()
            begin = time.monotonic()
            plan = latest(study, plan)
            found = status(study, plan)
            look(found)
            through = through + pause if not found.left and not searching(plan) else 0.0
            pause = max(POLL, 10 * (time.monotonic() - begin))  # of thousands of runs a look takes its time
    except KeyboardInterrupt:
        pass  # the runs at hand are laid down, and the state says that some are left
    finally:
        crew.end()


class Crew:
    """The worker processes of a study."""

    def __init__(self, study: Path, resources: Resources) -> None:
        self.study, self.resources = study, resources
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self._idle_deaths: dict[int, int] = {}
        self._begin: dict[int, int] = {}

    def start(self, slot: int) -> None:
        """A worker process, with its log in STUDY/log."""
        log = self._log(slot)
        log.parent.mkdir(parents=True, exist_ok=True)
        self._begin[slot] = log.stat().st_size if log.exists() else 0
        command = [sys.executable, "-m", "vlseg.studies.worker", str(self.study), "--parent", str(os.getpid())]
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
            if code == 2:
                raise InputError(self._said(slot)[-1])
            if code != 0:
                self._start_again(slot, code)

    def _start_again(self, slot: int, code: int) -> None:
        said = self._said(slot)
        claimed = any(line.endswith(BEGUN) for line in said)  # then the run's own count of deaths sets an end to it
        self._idle_deaths[slot] = 0 if claimed else self._idle_deaths.get(slot, 0) + 1
        if self._idle_deaths[slot] == IDLE_DEATHS:
            why = said[-1] if code > 0 else f"signal {-code} ended it"
            raise InputError(f"worker {slot} ends before it makes anything: {why} ({self._log(slot)})")
        self.start(slot)

    def end(self) -> None:
        """Ask all that still work to lay their runs down; who does not in time is killed, and its run taken over."""
        limit = time.monotonic() + GRACE
        try:
            for process in self.processes.values():
                process.terminate()
            for process in self.processes.values():
                process.wait(max(0.1, limit - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):  # a second Ctrl-C ends them at once
            pass
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.processes.clear()

    def _log(self, slot: int) -> Path:
        return self.study / "log" / f"worker-{slot}.log"

    def _said(self, slot: int) -> list[str]:
        """What the worker wrote into its log since it was started, without empty lines."""
        with self._log(slot).open("rb") as file:
            file.seek(self._begin[slot])
            text = file.read().decode(errors="replace")
        return [line for line in text.splitlines() if line.strip()] or ["without a word"]


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
