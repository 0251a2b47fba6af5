"""A study on a Slurm cluster: an array of workers, asked for through submitit. They share the study's folder alone."""

import contextlib
import io
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vlseg.records.errors import InputError
from vlseg.records.study import Plan, Slurm
from vlseg.studies.grow import latest
from vlseg.studies.run import close
from vlseg.studies.show import duration
from vlseg.studies.slurm_queue import FOLDER, jobs_of, note_job, wait
from vlseg.studies.slurm_worker import ArrayWorker
from vlseg.studies.status import Status, status

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def sbatch_parameters(options: Slurm, name: str) -> dict[str, Any]:
    """What submitit is told; what is None is left to the cluster.

    Args:
        options: the study's.
        name: the study's, in the job's name.
    """
    memory = options.memory_gib
    return {
        "job_name": f"vlseg-{name}",
        "time": options.minutes,
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "nodes": options.nodes,
        "ntasks_per_node": options.tasks,
        "cpus_per_task": options.cpus,
        "gpus_per_node": options.gpus or None,
        "mem": None if memory is None else f"{round(memory * 1024)}M",
        "array_parallelism": options.at_once or options.workers,
        "signal_delay_s": options.notice,
        "setup": [*(f"export {name}={options.cpus}" for name in THREADS), *options.setup],
        "stderr_to_stdout": True,
        # Since Slurm 22.05 a step has one CPU for each task, whatever the job has. Processes that train together
        # cannot go on when one has died.
        "srun_args": [f"--cpus-per-task={options.cpus}", "--kill-on-bad-exit=1"],
        "wckey": None,  # submitit's own is unknown to clusters that look at it
        "additional_parameters": {"requeue": True} | {key: value for key, value in options.extra.items() if value},
    }


def check_slurm() -> None:
    """That workers can be asked for from here.

    Raises:
        InputError: submitit or Slurm is not there.
    """
    _executor_type()


def ask_for_workers(study: Path, plan: Plan, say: Callable[[str], None]) -> list[str]:
    """Ask for as many workers as the study wants, at most one for each run that is left; the numbers of their jobs.

    Raises:
        InputError: see `submit`.
    """
    found = status(study, plan)
    left = found.left - found.counts["running"] + sum(one.search.trials - len(one.runs) for one in plan.searches)
    if left == 0:
        say("nothing is left to do that nobody works on: no workers were asked for")
        return []
    return submit(study, plan.study.slurm, say, workers=min(plan.study.slurm.workers, left))


def wait_for_workers(study: Path, plan: Plan, say: Callable[[str], None]) -> Status:
    """Stay until no worker of the study waits or runs any more; how it stands then. Ctrl-C leaves them at work.

    Raises:
        InputError: Slurm does not answer any more.
    """
    jobs = jobs_of(study)
    try:
        wait(jobs, say)
    except KeyboardInterrupt:
        say(f"the workers go on; cancel them with scancel {' '.join(jobs)}")
        return status(study, latest(study, plan))
    plan = latest(study, plan)
    close(study, plan)
    return status(study, plan)


def submit(study: Path, options: Slurm, say: Callable[[str], None], *, workers: int | None = None) -> list[str]:
    """Ask the cluster for an array of workers; the numbers of its jobs.

    Args:
        study: its folder, with plan.json and the ledger; on a file system that the nodes share.
        options: what a worker gets.
        say: takes lines for people.
        workers: None = as many as `options` says.

    Raises:
        InputError: no submitit, no Slurm on this machine, or Slurm refuses what it is asked for.
    """
    executor_type = _executor_type()
    count = options.workers if workers is None else workers
    shown = shlex.quote(str(study))
    study = study.resolve()
    if study.is_relative_to(Path(tempfile.gettempdir()).resolve()):
        say(f"{study}: machines seldom share {tempfile.gettempdir()}; workers that do not see the folder end at once")
    parameters = sbatch_parameters(options, study.name)
    with _swept(study / FOLDER) as folder, _outside_of_jobs(), contextlib.redirect_stderr(io.StringIO()):
        executor = executor_type(folder, max_num_timeout=options.requeues)
        executor.update_parameters(**parameters)
        try:
            jobs = executor.map_array(ArrayWorker(), [str(study)] * count)
        except (RuntimeError, OSError) as error:  # sbatch's refusal; sbatch itself cannot be run
            raise _refused(error) from error
    asked = jobs[0].job_id.partition("_")[0]
    note_job(study, asked)
    say(f"Slurm: job {asked} with {_told(options, count)}; logs are in {folder}")
    say(f"watch: vlseg study status {shown} --watch; cancel: scancel {asked}")
    return [job.job_id for job in jobs]


def _told(options: Slurm, count: int) -> str:
    """The request in words."""
    parts = [f"{options.cpus * options.tasks} CPU{'s' * (options.cpus * options.tasks > 1)}"]
    parts += [f"{options.gpus} GPU{'s' * (options.gpus > 1)}"] if options.gpus else []
    parts += [f"{options.memory_gib:g} GiB"] if options.memory_gib else []
    each = f"{' and '.join(parts)} {'on each of ' + str(options.nodes) + ' nodes' if options.nodes > 1 else 'each'}"
    where = f" in partition {options.partition}" if options.partition else ""
    return f"{count} worker{'s' * (count > 1)}{where}, {each}, {duration(options.minutes * 60)} at a time"


def _executor_type() -> Any:
    try:
        from submitit import SlurmExecutor
    except ImportError:
        raise InputError(
            "--executor slurm: needs submitit, which is not installed; pip install 'vlseg[slurm]'"
        ) from None
    if SlurmExecutor.affinity() < 0:
        raise InputError(
            "--executor slurm: there is no Slurm on this machine (no srun); start it on a login node of a cluster, "
            "or leave --executor slurm out"
        )
    return SlurmExecutor


@contextlib.contextmanager
def _swept(folder: Path) -> Iterator[Path]:
    """The folder; what was written into it goes again where the block fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = set(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error
    try:
        yield folder
    except Exception:  # not Ctrl-C, which may come when the workers have been granted
        for path in set(folder.iterdir()) - before:
            path.unlink()
        if not before:
            folder.rmdir()
        raise


@contextlib.contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Within a job, sbatch would take over that job's own settings; what people set for all their jobs stays."""
    from submitit.helpers import clean_env

    kept = {key: value for key, value in os.environ.items() if key.startswith("SBATCH_") or key == "SLURM_CONF"}
    if "SLURM_JOB_ID" not in os.environ:
        yield
        return
    with clean_env():
        os.environ.update(kept)
        yield


PARTITION = "--slurm partition=NAME"
MENDS: Mapping[str, str] = {
    "account": "name yours: --slurm account=NAME (sacctmgr show associations user=$USER lists them)",
    "partition": PARTITION,
    "qos": "--slurm qos=NAME (sacctmgr show qos lists them)",
    "generic resource": "ask for the GPUs as this cluster names them: --slurm gpus=0 --slurm extra.gres=gpu:TYPE:1",
    "unrecognized option": "correct `extra` in the study's `slurm`, or --slurm extra.NAME=VALUE",
    "contact slurm": "Slurm itself is not running or not reachable from here; try again",
    "configuration source": "this machine belongs to no cluster: start the study on a login node",
    "time limit": "--slurm minutes=N",
    "memory": "--slurm memory_gib=N",
}
"""By a word of sbatch's message; the first that fits."""


def _refused(error: Exception) -> InputError:
    """What sbatch said as one line, with the mend."""
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ").strip() for line in str(error).splitlines()]
    said = "; ".join(dict.fromkeys(line for line in lines if line and not line.startswith("Try ")))
    mend = next(
        (mend for word, mend in MENDS.items() if word in said.lower()), "change `slurm` in the study, or --slurm"
    )
    if mend == PARTITION and (known := _partitions()):
        mend += f" (here: {', '.join(known)})"
    return InputError(f"Slurm refuses the workers: {said or type(error).__name__}; {mend}")


def _partitions() -> list[str]:
    try:
        done = subprocess.run(
            ["sinfo", "--noheader", "--format=%R"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return sorted(set(done.stdout.split()))
