"""What a task of a Slurm array runs. submitit pickles its name alone, so that vlseg may be updated while tasks wait."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from vlseg.records.study import Plan
from vlseg.studies.holding import Stopping
from vlseg.studies.report import write_study_report
from vlseg.studies.run import close
from vlseg.studies.status import status
from vlseg.studies.team import work_together


class ArrayWorker:
    """A worker of a study that is queued again when its time is up."""

    def __call__(self, study: str) -> int:
        """Make runs until none is left or time is up; how many were closed."""
        from submitit import JobEnvironment

        here = JobEnvironment()
        notice = getattr(signal, f"SIG{here.USR_SIG}")
        with noting(notice) as stopping:
            closed = work_together(Path(study), thrifty=True, stopping=stopping)
        if stopping.noticed:
            # submitit's handler: counts the time-outs, has Slurm queue the task again, and ends the process.
            signal.raise_signal(notice)
        if here.global_rank == 0:
            _close_finished(Path(study), here.job_id)
        return closed

    def checkpoint(self, study: str) -> Any:
        """What the task does when it runs again: the same, for the ledger knows how far the study is."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, study)


def _close_finished(study: Path, job: str) -> None:
    """When nothing is left to do: order in the folder, tables, and no worker of this job that still waits."""
    plan = Plan.read(study)
    if status(study, plan).left:
        return
    close(study, plan)
    write_study_report(study, plan)
    command = ["scancel", "--state=PENDING", job.partition("_")[0]]
    with suppress(OSError, subprocess.SubprocessError):  # they would find nothing to do, and end
        subprocess.run(command, capture_output=True, timeout=60, check=False)


class Noticed(Stopping):
    """Set when Slurm wants the machine back soon: before the time limit, or where a job is preempted."""

    noticed: bool = False


@contextmanager
def noting(notice: int) -> Iterator[Noticed]:
    """Within the block Slurm's notice lays the run at hand down, as SIGTERM does.

    submitit's own handler, which stands again after the block, would leave in the middle of a step.

    Args:
        notice: the signal.
    """
    stopping = Noticed()

    def note(number: int, frame: FrameType | None) -> None:
        if not stopping.noticed:
            stopping.noticed = stopping.requested = True
            signal.raise_signal(signal.SIGTERM)

    before = signal.signal(notice, note)
    try:
        yield stopping
    finally:
        signal.signal(notice, before)
