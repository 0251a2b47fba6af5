"""Asking for workers: against commands that answer as Slurm 22.05 does, and without any."""

import os
import pickle
import pickletools
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic
import pytest

from vlseg.jobs.processes import _deaf
from vlseg.records import InputError
from vlseg.records.ledger import lease_at, state_of
from vlseg.records.study import Plan, Slurm, parse_study
from vlseg.studies.choosing import Seen, next_run, worth_waiting
from vlseg.studies.ledger import claim, clock, enter
from vlseg.studies.read import Changes, changed
from vlseg.studies.run import RunOptions, prepare
from vlseg.studies.slurm import ask_for_workers, sbatch_parameters, submit
from vlseg.studies.slurm_queue import Queued, jobs_of, queue, slurm_lines, standing, wait
from vlseg.studies.slurm_worker import ArrayWorker, noting
from vlseg.studies.worker import work

SCRIPT = "#!/bin/sh\n"


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes shell scripts under the names of Slurm's commands, which are found before all others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def write(**scripts: str) -> Path:
        for name, text in scripts.items():
            (folder / name).write_text(SCRIPT + text)
            (folder / name).chmod(0o755)
        return folder

    write(srun="", sbatch='cp "$1" "$0.script"\necho Submitted batch job 12\n', squeue="exit 1\n", sinfo="echo main\n")
    return write


def few(data: Path, study: Path, **settings: Any) -> Path:
    """A study of one training."""
    values = {
        "name": "few",
        "data": {"discs": str(data)},
        "models": {"tiny": {"model": "clipseg-tiny", "set": {"model_arguments": {"image_size": 32}}}},
        "set": {"threads": 1, "device": "cpu", "batch_size": 3, "max_steps": 2, "epochs": 2, **settings},
        "parts": [{"name": "all", "models": ["tiny"], "data": ["discs"], "prompts": ["p1"], "evaluate": []}],
    }
    prepare(parse_study(values, "test"), study, RunOptions())
    return study


@pytest.fixture
def study(make_dataset: Callable[..., Path], tmp_path: Path) -> Path:
    return few(make_dataset(), tmp_path / "few")


def flags(script: str) -> dict[str, str]:
    lines = [line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH --")]
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def test_the_script_asks_for_what_the_study_wants(commands: Callable[..., Path], tmp_path: Path) -> None:
    options = Slurm(
        workers=3, at_once=2, minutes=600, notice=90, partition="gpu", account="lab", qos="long", cpus=8, gpus=2,
        memory_gib=30.5, setup=["module load cuda"], extra={"constraint": "a100", "exclusive": True, "mail-type": None},
    )  # fmt: skip
    said: list[str] = []
    jobs = submit(tmp_path / "a study", options, said.append)
    script = (commands() / "sbatch.script").read_text()
    found = flags(script)
    wanted = {
        "array": "0-2%2", "time": "600", "signal": "USR2@90", "partition": "gpu", "account": "lab", "qos": "long",
        "cpus-per-task": "8", "gpus-per-node": "2", "mem": "31232M", "nodes": "1", "ntasks-per-node": "1",
        "requeue": "", "constraint": "a100", "exclusive": "", "open-mode": "append", "job-name": "'vlseg-a study'",
    }  # fmt: skip
    assert found.pop("output").strip("'").startswith(f"{tmp_path}/a study/slurm/")
    assert found == wanted
    assert "module load cuda" in script.splitlines()
    assert "export OMP_NUM_THREADS=8" in script.splitlines()
    assert " --cpus-per-task=8 " in next(line for line in script.splitlines() if line.startswith("srun "))
    assert jobs == ["12_0", "12_1", "12_2"]
    assert jobs_of(tmp_path / "a study") == ["12"]
    assert any(
        "job 12 with 3 workers in partition gpu, 8 CPUs and 2 GPUs and 30.5 GiB each, 10 h" in line for line in said
    )
    assert said[-1] == f"watch: vlseg study status '{tmp_path}/a study' --watch; cancel: scancel 12"


def test_what_is_not_said_is_left_to_the_cluster() -> None:
    given = {key for key, value in sbatch_parameters(Slurm(), "few").items() if value is not None}
    assert not given & {"partition", "account", "qos", "gpus_per_node", "mem", "wckey", "gres"}


def test_a_single_worker_is_no_array(commands: Callable[..., Path], tmp_path: Path) -> None:
    assert submit(tmp_path / "few", Slurm(workers=1), lambda line: None) == ["12"]
    assert "array" not in flags((commands() / "sbatch.script").read_text())


def test_what_is_pickled_is_a_name_and_a_path(commands: Callable[..., Path], tmp_path: Path) -> None:
    submit(tmp_path / "few", Slurm(workers=1), lambda line: None)
    content = (tmp_path / "few" / "slurm" / "12_submitted.pkl").read_bytes()
    words = [value for _, value, _ in pickletools.genops(content) if isinstance(value, str)]
    assert {"vlseg.studies.slurm_worker", "ArrayWorker"} <= set(words)
    assert [word for word in words if "cloudpickle" in word or "code" in word] == []
    delayed = pickle.loads(content)
    assert type(delayed.function) is ArrayWorker
    assert vars(delayed.function) == {}
    assert (delayed.args, delayed.kwargs) == ((str(tmp_path / "few"),), {})
    again = delayed._checkpoint_function()
    assert (type(again.function), again.args) == (ArrayWorker, delayed.args)


def test_no_more_workers_than_runs_are_asked_for(commands: Callable[..., Path], study: Path) -> None:
    plan = Plan.read(study)
    assert len(plan.runs) == 1
    assert ask_for_workers(study, plan, lambda line: None) == ["12"]
    work(study, wait=False)
    said: list[str] = []
    assert ask_for_workers(study, plan, said.append) == []
    assert said == ["nothing is left to do that nobody works on: no workers were asked for"]


REFUSALS = {
    "sbatch: error: invalid partition specified: nix\n"
    "sbatch: error: Batch job submission failed: Invalid partition name specified": (
        "Slurm refuses the workers: invalid partition specified: nix; Batch job submission failed: Invalid partition "
        "name specified; --slurm partition=NAME (here: main)"
    ),
    "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified": (
        "Slurm refuses the workers: Batch job submission failed: Invalid account or account/partition combination "
        "specified; name yours: --slurm account=NAME (sacctmgr show associations user=$USER lists them)"
    ),
    "sbatch: unrecognized option '--frobnicate=1'\nTry \"sbatch --help\" for more information": (
        "Slurm refuses the workers: unrecognized option '--frobnicate=1'; correct `extra` in the study's `slurm`, or "
        "--slurm extra.NAME=VALUE"
    ),
    "sbatch: fatal: Could not establish a configuration source": (
        "Slurm refuses the workers: fatal: Could not establish a configuration source; this machine belongs to no "
        "cluster: start the study on a login node"
    ),
}


@pytest.mark.parametrize("said", REFUSALS)
def test_a_refusal_is_one_line_with_the_mend_and_leaves_no_file(
    commands: Callable[..., Path], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    commands(sbatch=f"cat >&2 <<'END'\n{said}\nEND\nexit 1\n")
    with pytest.raises(InputError) as caught:
        submit(tmp_path / "few", Slurm(), lambda line: None)
    assert str(caught.value) == REFUSALS[said]
    assert list((tmp_path / "few").iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_what_an_earlier_submission_left_survives_a_refusal(commands: Callable[..., Path], tmp_path: Path) -> None:
    submit(tmp_path / "few", Slurm(workers=1), lambda line: None)
    before = sorted((tmp_path / "few" / "slurm").iterdir())
    commands(sbatch="exit 1\n")
    with pytest.raises(InputError, match="Slurm refuses the workers"):
        submit(tmp_path / "few", Slurm(workers=1), lambda line: None)
    assert sorted((tmp_path / "few" / "slurm").iterdir()) == before


def test_without_submitit_or_slurm_nothing_is_written(
    vlseg: Callable[..., Any], study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = study.with_name("other")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "submitit", None)
        told = vlseg("study", "run", study / "study.yaml", "--out", out, "--executor", "slurm")
        assert (told.code, told.err) == (
            2,
            "vlseg: --executor slurm: needs submitit, which is not installed; pip install 'vlseg[slurm]'\n",
        )
    monkeypatch.setenv("PATH", str(study))
    told = vlseg("study", "run", study / "study.yaml", "--out", out, "--executor", "slurm")
    assert told.code == 2
    assert told.err.startswith("vlseg: --executor slurm: there is no Slurm on this machine")
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--slurm", "gpus=1"), "--slurm: is of a cluster; add --executor slurm"),
        (("--wait",), "--wait: is of a cluster; add --executor slurm"),
        (("--executor", "slurm", "--threads", 2), "--threads: is of --executor local"),
        (("--executor", "slurm", "--slurm", "partion=gpu"), "'partion'; did you mean 'partition'"),
        (("--executor", "slurm", "--slurm", "gpus=many"), "--slurm: field 'gpus'"),
        (("--executor", "slurm", "--slurm", "extra.time=10"), "'time' is set by a field of slurm, or by vlseg itself"),
        (("--executor", "slurm", "--slurm", "minutes=3"), "give more minutes"),
    ],
)  # fmt: skip
def test_wrong_options_are_told(
    vlseg: Callable[..., Any], commands: Callable[..., Path], study: Path, arguments: tuple[Any, ...], error: str
) -> None:
    told = vlseg("study", "run", study, *arguments)
    assert told.code == 2
    assert error in told.err
    assert told.err.count("\n") == 1


def test_the_command_asks_and_returns(vlseg: Callable[..., Any], commands: Callable[..., Path], study: Path) -> None:
    told = vlseg("study", "run", study, "--executor", "slurm", "--slurm", "extra.gres=gpu:a100:1", "--json")
    assert (told.code, told.json["jobs"]) == (0, ["12"])
    assert flags((commands() / "sbatch.script").read_text())["gres"] == "gpu:a100:1"
    commands(squeue="echo '12|12|PENDING|Resources'\necho '13|13_1|RUNNING|None'\n")
    assert "  Slurm: workers: 1 pending (Resources)" in vlseg("study", "status", study).out.splitlines()


def test_settings_lie_over_those_of_the_study(study: Path) -> None:
    spec = Plan.read(study).study
    spec = spec.model_copy(update={"slurm": Slurm(partition="cpu", cpus=4, extra={"gres": "gpu:1", "comment": "x"})})
    found = changed(spec, Changes(slurm={"partition": "gpu", "extra.gres": "gpu:a100:1"})).slurm
    assert found == Slurm(partition="gpu", cpus=4, extra={"gres": "gpu:a100:1", "comment": "x"})


def test_a_worker_has_time_to_work_before_it_is_told_to_stop() -> None:
    with pytest.raises(pydantic.ValidationError, match="give more minutes"):
        Slurm(minutes=3)
    assert Slurm(minutes=3, notice=90).notice == 90


@pytest.mark.parametrize("name", ["array", "signal", "cpus_per_task", "ntasks-per-node"])
def test_what_vlseg_sets_itself_is_no_extra(name: str) -> None:
    with pytest.raises(pydantic.ValidationError, match="leave it out"):
        Slurm(extra={name: 1})


def test_within_a_job_its_settings_are_not_taken_over(
    commands: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands(sbatch='env > "$0.environment"\necho Submitted batch job 12\n')
    for key, value in {
        "SLURM_JOB_ID": "7",
        "SLURM_MEM_PER_NODE": "9",
        "SBATCH_ACCOUNT": "lab",
        "SLURM_CONF": "c",
    }.items():
        monkeypatch.setenv(key, value)
    submit(tmp_path / "few", Slurm(), lambda line: None)
    seen = dict(
        line.split("=", 1) for line in (commands() / "sbatch.environment").read_text().splitlines() if "=" in line
    )
    assert (seen["SBATCH_ACCOUNT"], seen["SLURM_CONF"]) == ("lab", "c")
    assert not {"SLURM_JOB_ID", "SLURM_MEM_PER_NODE"} & seen.keys()
    assert os.environ["SLURM_JOB_ID"] == "7"


def test_the_queue_is_that_of_the_study(commands: Callable[..., Path]) -> None:
    rows = ["12|12_0|RUNNING|None", "12|12_1|PENDING|Priority", "121|121_0|RUNNING|None", "12|12_2|PENDING|Priority"]
    commands(squeue="".join(f"echo '{row}'\n" for row in rows))
    found = queue(["12"])
    assert found == [
        Queued("12_0", "RUNNING", "None"),
        Queued("12_1", "PENDING", "Priority"),
        Queued("12_2", "PENDING", "Priority"),
    ]
    assert standing(found) == "2 pending (Priority), 1 running"


def test_waiting_outlasts_a_controller_that_is_restarted(commands: Callable[..., Path]) -> None:
    answers = 'echo x >> "$0.asked"\ncase $(wc -l < "$0.asked") in 1) echo "12|12|RUNNING|None";; [23]) exit 1;; esac\n'
    commands(squeue=answers)
    said: list[str] = []
    wait(["12"], said.append, seconds=0.01)
    assert said == ["Slurm: workers: 1 running"]
    commands(squeue="exit 1\n")
    with pytest.raises(InputError, match="squeue: does not answer; the workers go on"):
        wait(["12"], said.append, seconds=0.001)


def test_a_study_that_was_never_on_a_cluster_says_nothing_of_one(study: Path) -> None:
    assert slurm_lines(study) == []


def test_a_notice_asks_the_worker_to_stop_once_and_then_is_another_s_again() -> None:
    seen: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: seen.append(number))
        for number in (signal.SIGTERM, signal.SIGUSR2)
    }
    try:
        with noting(signal.SIGUSR2) as stopping:
            assert not stopping.requested
            signal.raise_signal(signal.SIGUSR2)
            signal.raise_signal(signal.SIGUSR2)
            assert stopping.requested
            assert stopping.noticed
            assert seen == [signal.SIGTERM]
        signal.raise_signal(signal.SIGUSR2)
        assert seen == [signal.SIGTERM, signal.SIGUSR2]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.slow
def test_a_worker_whose_time_is_up_lays_its_run_down_and_goes_on_when_it_is_started_again(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    """As on a cluster, with submitit's own process in the place of Slurm."""
    from submitit import LocalExecutor

    study = few(make_dataset(), tmp_path / "few", max_steps=800, epochs=10**6, patience=None, validate_every=5)
    executor = LocalExecutor(tmp_path / "jobs")
    executor.update_parameters(timeout_min=10)
    job = executor.submit(ArrayWorker(), str(study))
    (run,) = Plan.read(study).runs

    end = time.monotonic() + 120
    while not ((at := state_of(study, run.name)) and (at.work / "checkpoints" / "last.pt").exists()):
        assert time.monotonic() < end, job.stderr()
        time.sleep(0.05)
    os.kill(lease_at(at)["pid"], signal.SIGUSR2)
    assert job.result() == 1
    at = state_of(study, run.name)
    assert at is not None
    assert (at.state, at.token) == ("done", 2)
    log = job.stdout() + job.stderr()
    assert log.count(f"{run.name}: laid down") == 1
    assert log.count(f"{run.name}: done in") == 1


def test_a_thrifty_worker_stays_only_for_trainings_to_come(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    """Another one trains: what follows from its run is its own work, unless that is a training."""
    study = few(make_dataset(), tmp_path / "few")
    plan = Plan.read(study)
    (first,) = plan.runs
    later = first.model_copy(update={"name": "later", "needs": [first.name]})
    for kind, stays in (("evaluate", False), ("train", True)):
        seen = Seen(plan, {first.name: first, "later": later.model_copy(update={"kind": kind})})
        seen.by_name = seen.open
        enter(study, "later")
        if not stays:
            at = state_of(study, first.name)
            assert at is not None
            assert claim(study, first, at, clock(study), 60.0) is not None
        assert next_run(study, seen) is None
        assert worth_waiting(study, seen, thrifty=True) is stays
        assert worth_waiting(study, seen, thrifty=False)
        seen.failed = {first.name}
        assert not worth_waiting(study, seen, thrifty=True)


def test_processes_that_train_along_are_not_ended_by_slurms_notice() -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGUSR2); print('lives')"
    with _deaf():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "lives\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGUSR2, "")
