"""A study's workers in Slurm's queue: which were asked for, which wait and why, and waiting for their end."""

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from vlseg.records.errors import InputError
from vlseg.records.files import read_json, write_text

FOLDER = "slurm"
"""Of the study: what submitit writes, the workers' logs, and which jobs were asked for."""
JOBS = "jobs.json"
PATIENCE = 10
"""So many times in a row Slurm may fail to answer before `wait` gives up."""


class Queued(NamedTuple):
    """A worker that waits or runs, in Slurm's words."""

    job: str
    state: str
    reason: str


def jobs_of(study: Path) -> list[str]:
    """The jobs that workers of a study were ever asked for with, by number; an array is one."""
    path = study / FOLDER / JOBS
    return list(read_json(path, "")) if path.exists() else []


def note_job(study: Path, job: str) -> None:
    """Keep the number of a job that was asked for."""
    jobs = dict.fromkeys([*jobs_of(study), job])
    write_text(study / FOLDER / JOBS, "[" + ", ".join(f'"{one}"' for one in jobs) + "]\n")


def queue(jobs: Sequence[str]) -> list[Queued] | None:
    """The workers of these jobs that wait or run; None where Slurm does not answer."""
    wanted = {job.partition("_")[0] for job in jobs}
    command = ["squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%F|%i|%T|%r"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    rows = [line.strip().split("|", 3) for line in done.stdout.splitlines() if line.count("|") >= 3]
    return [Queued(job, state, reason) for base, job, state, reason in rows if base in wanted]


def standing(queued: Sequence[Queued]) -> str:
    """How many workers run, and why the others do not: "2 running, 1 pending (Resources)"."""
    words = [
        one.state.lower() + (f" ({one.reason})" if one.state == "PENDING" and one.reason != "None" else "")
        for one in queued
    ]
    return ", ".join(f"{count} {word}" for word, count in Counter(words).most_common())


def slurm_lines(study: Path) -> list[str]:
    """For `vlseg study status`: the workers in the queue; nothing where a study was never on a cluster."""
    jobs = jobs_of(study)
    if not jobs:
        return []
    queued = queue(jobs)
    if queued is None:
        return ["  Slurm: squeue does not answer here"]
    return [f"  Slurm: workers: {standing(queued) or 'none in the queue'}"]


def wait(jobs: Sequence[str], say: Callable[[str], None], *, seconds: float = 10.0) -> None:
    """Return when none of the jobs waits or runs any more; a line for every change.

    Raises:
        InputError: Slurm does not answer any more; the jobs go on.
    """
    told, silent = "", 0
    while True:
        queued = queue(jobs)
        silent = silent + 1 if queued is None else 0
        if silent >= PATIENCE:
            raise InputError("squeue: does not answer; the workers go on, see vlseg study status")
        if queued == []:
            return
        if queued and (line := standing(queued)) != told:
            say(f"Slurm: workers: {line}")
            told = line
        time.sleep(seconds)
