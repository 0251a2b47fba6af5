"""A study on a real Slurm cluster, whose workers are cancelled, killed and queued again."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from slurm_cluster import PATH, Cluster, NoClusterError, one_node_cluster

from vlseg.records import InputError, read_record, read_scores
from vlseg.records.ledger import At, lease_at, record_at, state_of, states
from vlseg.records.study import Plan, Slurm, StudySpec, parse_study
from vlseg.studies.run import RunOptions, prepare, run_alone
from vlseg.studies.slurm import submit
from vlseg.studies.slurm_queue import queue, wait

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STEPS = 300
"""Enough that a worker is met in the middle of a training on a fast machine, too: checkpoints are two seconds apart."""
LAST = Path("checkpoints") / "last.pt"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    try:
        with one_node_cluster() as cluster, pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", PATH)
            patch.setenv("SLURM_CONF", str(cluster.conf))
            yield cluster
    except NoClusterError as error:
        pytest.skip(f"no Slurm cluster, so that studies on one are untested: {error}")


def study_of(data: Path, seeds: int, **settings: Any) -> StudySpec:
    """Trainings and their evaluations."""
    size = {"model_arguments": {"image_size": 32}}
    fast = {"threads": 1, "device": "cpu", "batch_size": 4, "max_steps": STEPS, "validate_every": 5, "patience": None}
    part = {"name": "all", "models": ["tiny"], "data": ["discs"], "prompts": ["p1"], "seeds": list(range(seeds))}
    return parse_study(
        {
            "name": "few",
            "data": {"discs": str(data)},
            "models": {"tiny": {"model": "clipseg-tiny", "set": size}},
            "set": {**fast, "epochs": 10**6, **settings},
            "parts": [part],
        },
        "test",
    )


def until(what: str, true: Callable[[], Any], seconds: float = 120.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
    return found


def ledger_of(study: Path) -> list[At]:
    return list(states(study, [run.name for run in Plan.read(study).runs]))


def worker_of(at: At) -> str:
    """The Slurm job of a run's holder; "" where it is gone."""
    try:
        environment = psutil.Process(int(lease_at(at)["pid"])).environ()
    except (KeyError, psutil.Error):
        return ""
    array = environment.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{environment['SLURM_ARRAY_TASK_ID']}" if array else environment["SLURM_JOB_ID"]


def in_the_middle(study: Path, job: str) -> str:
    """Wait until a worker is in the middle of a training; the run's name."""

    def found() -> str | None:
        half_done = (at for at in ledger_of(study) if at.state == "running" and (at.work / LAST).exists())
        return next((at.name for at in half_done if worker_of(at) == job), None)

    return str(until(f"{job} trains", found))


def gone(study: Path, run: str, job: str) -> None:
    """Wait until a run is not in a worker's hands any more."""

    def found() -> bool:
        at = state_of(study, run)
        return at is not None and not (at.state == "running" and worker_of(at) == job)

    until(f"{job} leaves {run}", found)


def queued_again(cluster: Cluster, job: str) -> None:
    """Wait until a worker waits again, and have Slurm start it now instead of in two minutes."""
    until(f"{job} waits", lambda: state_and_restarts(cluster, job) == ("PENDING", "1"))
    time.sleep(2)  # slurmd counts in seconds: a job that is started in the second of its end is "already killed"
    cluster.ask("scontrol", "update", f"jobid={job}", "StartTime=now")


def state_and_restarts(cluster: Cluster, job: str) -> tuple[str, ...]:
    told = cluster.ask("scontrol", "show", "job", job)
    return tuple(re.search(f"{key}=(\\w+)", told)[1] for key in ("JobState", "Restarts"))  # type: ignore[index]


def test_each_run_is_made_once_whatever_happens_to_its_workers(
    cluster: Cluster, make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    spec = study_of(make_dataset(), seeds=4)
    there, alone = tmp_path / "a study", tmp_path / "alone"
    prepare(spec, there, RunOptions())
    jobs = submit(there, Slurm(workers=4, at_once=2), print)
    hit = []

    cancelled, requeued, noticed, killed = jobs
    hit.append(in_the_middle(there, cancelled))
    cluster.ask("scancel", cancelled)
    gone(there, hit[-1], cancelled)

    hit.append(in_the_middle(there, requeued))
    cluster.ask("scontrol", "requeue", requeued)
    gone(there, hit[-1], requeued)
    queued_again(cluster, requeued)

    hit.append(in_the_middle(there, noticed))
    cluster.ask("scancel", "--signal=USR2", noticed)  # what Slurm sends before a time limit
    gone(there, hit[-1], noticed)
    queued_again(cluster, noticed)

    hit.append(in_the_middle(there, killed))
    cluster.ask("scancel", "--signal=KILL", killed)
    gone(there, hit[-1], killed)

    wait(jobs, print, seconds=0.5)

    plan = Plan.read(there)
    assert queue(jobs) == []
    ends = ledger_of(there)
    assert [at.state for at in ends] == ["done"] * len(plan.runs)
    assert {at.name for at in ends if at.token > 1} == set(hit)
    logs = "".join(log.read_text() for log in (there / "slurm").glob("*.out"))
    assert Counter(re.findall(r"^(\S+): done in", logs, re.MULTILINE)) == dict.fromkeys(
        [run.name for run in plan.runs], 1
    )
    begun = Counter(re.findall(r"^(\S+): begun", logs, re.MULTILINE))
    assert {name for name, count in begun.items() if count > 1} == set(hit)
    for at in ends:
        assert [place.name for place in at.folder.parent.iterdir()] == [at.folder.name]
        assert record_at(at).token == at.token

    prepare(spec, alone, RunOptions())
    run_alone(alone, plan)
    assert results(there) == results(alone)


@pytest.mark.parametrize(
    "options",
    [pytest.param({"tasks": 2}, id="by srun"), pytest.param({"cpus": 2}, id="by vlseg", marks=pytest.mark.long)],
)
def test_two_processes_train_one_run_and_lay_it_down_together(
    cluster: Cluster, make_dataset: Callable[..., Path], tmp_path: Path, options: dict[str, Any]
) -> None:
    """srun starts them, or the one that srun started does, as the runs' own settings say."""
    there, alone = tmp_path / "there", tmp_path / "alone"
    data = make_dataset()
    spec = study_of(data, 1, max_steps=STEPS, **({} if "tasks" in options else {"devices": 2}))
    plan = prepare(spec, there, RunOptions())
    jobs = submit(there, Slurm(workers=1, **options), print)
    noticed = in_the_middle(there, jobs[0])
    cluster.ask("scancel", "--signal=USR2", jobs[0])
    gone(there, noticed, jobs[0])
    queued_again(cluster, jobs[0])
    wait(jobs, print, seconds=0.5)
    assert {at.name: (at.state, at.token) for at in ledger_of(there)} == {
        run.name: ("done", 2 if run.name == noticed else 1) for run in plan.runs
    }
    records = [read_record(folder / "run.json") for folder in (there / "runs").iterdir()]
    assert [record.processes for record in records] == [2]

    prepare(study_of(data, 1, max_steps=STEPS, devices=2), alone, RunOptions())
    run_alone(alone, plan)
    assert results(there) == results(alone)


def test_a_team_that_lost_a_process_leaves_its_run_to_others(
    cluster: Cluster, make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    study = tmp_path / "few"
    plan = prepare(study_of(make_dataset(), 1, max_steps=STEPS), study, RunOptions())
    (job,) = submit(study, Slurm(workers=1, tasks=2), print)
    run = in_the_middle(study, job)
    rows = [line.split() for line in cluster.ask("scontrol", "listpids", job).splitlines()[1:]]
    (second,) = (int(pid) for pid, _, step, _, rank in rows if (step, rank) == ("0", "1"))
    psutil.Process(second).kill()
    wait([job], print, seconds=0.2)
    at = state_of(study, run)
    assert at is not None
    assert (at.state, at.token) == ("running", 1)
    run_alone(study, plan)
    assert [(one.state, one.token) for one in ledger_of(study)] == [("done", 2), ("done", 1)]


def results(study: Path) -> dict[str, Any]:
    """What must not depend on where and by whom a run was made."""
    values = {}
    for at in ledger_of(study):
        record = record_at(at)
        if record.kind == "train":
            values[at.name] = {key: value for key, value in record.values[""].items() if key != "seconds"}
        else:
            values[at.name] = read_scores(at.work / "scores.parquet")
    return values


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"partition": "nix"}, "invalid partition specified: nix.*--slurm partition=NAME .here: main."),
        ({"gpus": 1}, "[Gg]eneric resource.*--slurm gpus=0 --slurm extra.gres=gpu:TYPE:1"),
        ({"memory_gib": 9999.0}, "[Mm]emory.*--slurm memory_gib=N"),
        ({"extra": {"frobnicate": "much"}}, "unrecognized option '--frobnicate=much'; correct `extra`"),
    ],
)
def test_what_slurm_refuses_is_told_in_one_line_and_leaves_nothing(
    cluster: Cluster, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        submit(tmp_path, Slurm(**options), print)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert cluster.ask("squeue", "--noheader") == ""
