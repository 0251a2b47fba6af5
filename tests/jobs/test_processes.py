"""Two processes train what one does; what is wrong with one ends both; a run goes on with another number."""

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from tiny_models import TINY

from vlseg.jobs.methods import method_of
from vlseg.jobs.together import train_together
from vlseg.jobs.train import train_run
from vlseg.models import as_module, load_model
from vlseg.records import EvaluationSpec, InputError, LostProcessError, RunConfig, RunRecord, read_config, read_record

MakeDataset = Callable[..., Path]
CLOSE = 2e-5
"""Sums in another order, after some steps of Adam, whose steps do not shrink with the gradient."""


def config(data: Path, name: str = "clipseg-tiny", **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "model": name,
        "model_arguments": dict(TINY[name]),
        "data": [str(data)],
        "prompt": "p2",
        "device": "cpu",
        "threads": 1,
        "batch_size": 3,
        "epochs": 3,
    }
    return RunConfig(**(values | changes))


def curve(run: Path) -> list[tuple[int, float, float]]:
    """(step, loss or -1, val Dice or -1) of every row."""
    rows = csv.DictReader((run / "history.csv").read_text().splitlines())
    return [(int(row["step"]), float(row["loss"] or -1), float(row["val_dice"] or -1)) for row in rows]


def largest_difference(one: Path, two: Path) -> float:
    first, second = (as_module(load_model(str(run))).state_dict() for run in (one, two))
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in first)


def assert_alike(one: Path, two: Path) -> None:
    assert curve(two) == [pytest.approx(row, abs=CLOSE) for row in curve(one)]
    assert largest_difference(one, two) < CLOSE


def is_helper(process: psutil.Process) -> bool:
    try:
        return "vlseg.jobs.helper" in " ".join(process.cmdline())
    except psutil.Error:  # it has ended; another test's child may not be buried yet
        return False


def own_helpers() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if is_helper(one)]


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    assert not own_helpers()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("clipseg-tiny", {"presence_weight": 0.3, "class_prompt_share": 0.2}),
        ("clipseg-tiny", {"accumulate": 2, "clip_norm": 0.1, "prompts_per_image": 1, "threshold": "val"}),
        ("unet", {"loss": "present_dice"}),
        ("guide", {"regime": "decoder", "feature_precision": "fp32", "feature_cache": "features"}),
    ],
    ids=["clipseg-tiny", "accumulated", "unet", "guide"],
)
def test_two_processes_train_what_one_does(
    name: str, changes: dict[str, Any], make_dataset: MakeDataset, tmp_path: Path
) -> None:
    """Batches of three images, the last of one: one process then has an image, the other none."""
    data = make_dataset(counts=(7, 3, 1))

    def told(devices: int) -> RunConfig:
        place = {"feature_cache": str(tmp_path / f"features{devices}")} if "feature_cache" in changes else {}
        return config(data, name, devices=devices, **(changes | place))

    alone = train_run(told(1), tmp_path / "one")
    both = train_run(told(2), tmp_path / "two")
    assert (alone.processes, both.processes, both.batch_parts) == (1, 2, 1)
    assert_alike(tmp_path / "one", tmp_path / "two")
    assert both.threshold == alone.threshold
    assert both.summary["best_step"] == alone.summary["best_step"]
    assert read_record(tmp_path / "two" / "run.json") == both
    if "feature_cache" in changes:
        files = [{path.name for path in (tmp_path / f"features{n}").glob("*/*/*")} for n in (1, 2)]
        assert files[0] == files[1]


@pytest.mark.slow
def test_batch_norm_sees_parts_and_the_record_says_so(
    make_dataset: MakeDataset, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    record = train_run(config(make_dataset(), "smp-unet", devices=2, max_steps=2), tmp_path / "run")
    assert (record.status, record.batch_parts) == ("done", 2)
    assert capfd.readouterr().err.count("batch norms that train") == 1


@pytest.mark.slow
def test_interrupted_and_resumed_by_one_process(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """Ctrl-C reaches the first process alone; all stop at one step, and no image is lost or seen twice."""
    data, out = make_dataset(counts=(7, 2, 1)), tmp_path / "two"
    settings = config(data, epochs=10, patience=None)
    train_run(settings, tmp_path / "one")
    stopped = threading.Thread(target=interrupt_once_validated, args=(out,))
    stopped.start()
    record = train_run(settings.model_copy(update={"devices": 2}), out)
    stopped.join()
    assert record.status == "interrupted"
    assert 0 < record.summary["steps"] < 30
    done = train_run(None, out, resume=True, places={"devices": 1})
    assert (done.status, done.processes) == ("done", 1)
    assert read_config(out / "config.yaml").devices == 1
    assert curve(out)[-1][0] == curve(tmp_path / "one")[-1][0] == 30
    assert [row[0] for row in curve(out)] == [row[0] for row in curve(tmp_path / "one")]
    assert largest_difference(tmp_path / "one", out) < 1e-3  # thirty steps of Adam
    assert curve(out) == [pytest.approx(row, abs=1e-3) for row in curve(tmp_path / "one")]


def interrupt_once_validated(run: Path) -> None:
    wait_for(run / "history.csv")
    os.kill(os.getpid(), signal.SIGINT)


def wait_for(path: Path) -> None:
    for _ in range(1000):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} never came")


@pytest.mark.slow
def test_image_that_only_the_other_process_reads(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """The first process tells what the second could not read, and the run is resumed once it is mended."""
    data = make_dataset(counts=(2, 1, 1))
    settings = config(data, devices=2, batch_size=2, max_steps=2, augment=False)
    image = data / "images" / second_of_the_first_batch(settings, data)
    sound = image.read_bytes()
    image.write_bytes(sound[:100])
    with pytest.raises(InputError, match=image.name):
        train_run(settings, tmp_path / "run")
    record = read_record(tmp_path / "run" / "run.json")
    assert record.status == "failed"
    assert image.name in str(record.error)
    image.write_bytes(sound)
    assert train_run(settings, tmp_path / "run", resume=True).status == "done"


def second_of_the_first_batch(settings: RunConfig, data: Path) -> str:
    from vlseg.jobs.datasets import open_pool
    from vlseg.training.batches import group_by_image, plan_epoch

    groups = group_by_image(open_pool([str(data)], settings.prompt).split("train"))
    plan = plan_epoch(groups, seed=0, epoch=0, batch_size=2, prompts_per_image=4)
    return Path(plan[0][1].group.prompted[0].sample.image_path).name


@pytest.mark.slow
def test_killed_helper_ends_the_run(make_dataset: MakeDataset, tmp_path: Path) -> None:
    out = tmp_path / "run"

    def kill() -> None:
        wait_for(out / "history.csv")
        own_helpers()[0].kill()

    killing = threading.Thread(target=kill)
    killing.start()
    with pytest.raises(LostProcessError, match="rank 1 of 2 was ended by SIGKILL"):
        train_run(config(make_dataset(), devices=2, epochs=100_000, patience=None), out)
    killing.join()
    record = read_record(out / "run.json")
    assert (record.status, "SIGKILL" in str(record.error)) == ("failed", True)


COMMAND = [sys.executable, "-m", "vlseg", "train", "--prompt", "p2", "--device", "cpu", "--threads", "1"]
COMMAND += ["--model", "clipseg-tiny", "--set", "model_arguments={image_size: 32}", "--set", "batch_size=3"]


def command(data: Path, out: Path, *more: str) -> list[str]:
    return [*COMMAND, "--data", str(data), "--out", str(out), *more]


@pytest.mark.slow
def test_helpers_end_with_a_killed_first_process(make_dataset: MakeDataset, tmp_path: Path) -> None:
    out = tmp_path / "run"
    settings = ["--set", "devices=2", "--set", "epochs=100000", "--set", "patience=null"]
    first = subprocess.Popen(command(make_dataset(), out, *settings), stderr=subprocess.PIPE, text=True)
    wait_for(out / "history.csv")
    (helper,) = [one for one in psutil.Process(first.pid).children() if is_helper(one)]
    first.kill()
    _, told = first.communicate(timeout=60)  # ends when the last process that could write has ended
    assert not helper.is_running() or helper.status() == psutil.STATUS_ZOMBIE  # nobody may be there to bury it
    assert told.splitlines()[-1] == "vlseg: rank 0 of 2 has ended without a word; go on with --resume"
    assert "Traceback" not in told


def srun(*commands: list[str]) -> list[tuple[int, str, str]]:
    """What srun does on one machine: (exit code, stdout, stderr) of each task."""
    steps = {"SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "localhost"}
    steps |= {"SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_JOB_ID": str(os.getpid()), "GLOO_SOCKET_IFNAME": "lo"}
    tasks = []
    for rank, one in enumerate(commands):
        environment = {**os.environ, **steps, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}
        task = subprocess.Popen(one, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        tasks.append(task)
    ended = [task.communicate(timeout=200) for task in tasks]
    return [(task.returncode, out, err) for task, (out, err) in zip(tasks, ended, strict=True)]


@pytest.mark.slow
def test_tasks_of_srun_join(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset(counts=(7, 2, 1))
    told = command(data, tmp_path / "two", "--set", "epochs=3", "--json")
    first, second = srun(told, told)
    assert (first[0], second[0]) == (0, 0), (first, second)
    assert '"status": "done"' in first[1]
    assert second[1:] == ("", "")  # one of them tells
    assert read_record(tmp_path / "two" / "run.json").processes == 2
    train_run(read_config(tmp_path / "two" / "config.yaml"), tmp_path / "one")
    assert_alike(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--set", "devices=3"], "vlseg: devices: 3 on 1 nodes were asked for, and 2 processes were started"),
        (["--data", "/nowhere"], "vlseg: /nowhere: no such folder"),
        (["--grid", "seed=[0, 1]"], "vlseg: --grid: trains on one device"),
    ],
)
def test_wrong_input_is_told_once(more: list[str], line: str, make_dataset: MakeDataset, tmp_path: Path) -> None:
    told = command(make_dataset(), tmp_path / "run", *more)
    first, second = srun(told, told)
    assert (first[0], second[0]) == (2, 2), (first, second)
    (only,) = first[2].splitlines()
    assert only.startswith(line)
    assert second[2] == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_processes_of_torchrun_join(make_dataset: MakeDataset, tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    told = command(make_dataset(), tmp_path / "run", "--set", "epochs=1")[1:]
    done = subprocess.run([*launcher, *told], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert read_record(tmp_path / "run" / "run.json").processes == 2


def test_more_devices_than_there_are(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match=r"devices: 3 were asked for, and 2 \(cuda\) are here; take --set devices=2"):
        train_run(config(make_dataset(), device="cuda", devices=3), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_several_machines_need_a_launcher(make_dataset: MakeDataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nodes: 2 machines need srun or torchrun"):
        train_run(config(make_dataset(), nodes=2), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_runs_trained_together_take_one_device(make_dataset: MakeDataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="trained together on one device"):
        train_together({tmp_path / "runs" / "a": config(make_dataset(), devices=2)})
    assert not (tmp_path / "runs").exists()


def test_devices_of_a_resumed_run_are_looked_at(trained: Path) -> None:
    with pytest.raises(InputError, match="--set: field 'devices'"):
        train_run(None, trained / "run", resume=True, places={"devices": 0})


SPEC = EvaluationSpec(
    id="e", model="m", run_id="run", dataset="d", data_fingerprint="f", split="test", prompt="p1",
    prompt_sources=[], deployable=True, protocol="corrected",
)  # fmt: skip


def test_a_methods_name_tells_the_regimes_arguments(trained: Path) -> None:
    record = read_record(trained / "run" / "run.json")
    for rank in (4, 8):
        config = {**record.config, "regime": "lora", "regime_arguments": {"rank": rank}}
        assert f", regime=lora, rank={rank}, " in method_of(record.model_copy(update={"config": config}), SPEC)


def test_devices_make_no_other_method_but_parted_batch_norm_does(trained: Path) -> None:
    record = read_record(trained / "run" / "run.json")

    def method(devices: int, parts: int) -> str:
        changes = {"config": {**record.config, "devices": devices}, "processes": devices, "batch_parts": parts}
        return method_of(RunRecord(**{**record.model_dump(), **changes}), SPEC)

    earlier = {key: value for key, value in record.config.items() if key not in ("devices", "nodes")}
    assert method(1, 1) == method(2, 1) == method_of(record.model_copy(update={"config": earlier}), SPEC)
    assert method(2, 2) != method(1, 1)
