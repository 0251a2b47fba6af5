"""`vlseg study run` as a user has it: processes, failures, Ctrl-C."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from forking import until
from safetensors.torch import load_file, save_file

from vlseg.records.ledger import lease_at, state_of
from vlseg.records.study import Plan

MakeDataset = Callable[..., Path]

SET = {"max_steps": 4, "batch_size": 2, "device": "cpu"}
SMALL = {"model_arguments": {"image_size": 32}}


def write(folder: Path, data: Path, models: dict[str, Any], **more: Any) -> Path:
    part = {"name": "p", "models": list(models), "data": ["a"], "prompts": ["p1"]}
    values = {"name": "s", "data": {"a": str(data)}, "models": models, "set": SET, "parts": [part], **more}
    file = folder / "s.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "vlseg", "study", *map(str, arguments)]


def go(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True)


def tokens(study: Path) -> dict[str, tuple[str, int]]:
    found = [state_of(study, run.name) for run in Plan.read(study).runs]
    return {at.name: (at.state, at.token) for at in found if at is not None}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_three_runs_that_must_fail_do_so_and_the_others_are_done(
    make_dataset: MakeDataset, trained: Path, tmp_path: Path
) -> None:
    """Weights that do not fit, a loss that is no number, more memory than a worker may have."""
    cut = tmp_path / "cut"
    shutil.copytree(trained / "run" / "model", cut)
    weights = load_file(cut / "model.safetensors")
    key = max(weights, key=lambda name: weights[name].numel())
    save_file({**weights, key: weights[key][:1].clone()}, cut / "model.safetensors")
    models = {
        "large": {"model": "clipseg-tiny", "set": {"model_arguments": {"image_size": 8192}}},
        "cut": {"model": "clipseg-tiny", "weights": str(cut), "set": SMALL},
        "wild": {"model": "clipseg-tiny", "set": {**SMALL, "learning_rate": 1e30, "warmup_steps": 0}},
        "unet": {"set": SMALL},
        "clipseg-tiny": {"set": SMALL},
    }
    file = write(tmp_path, make_dataset(counts=(6, 2, 2)), models)
    study = tmp_path / "study"
    options = ["--out", study, "--workers", 1, "--threads", 1, "--memory", 4]
    done = go("run", file, *options, "--json")
    assert done.returncode == 1, done.stderr
    values = json.loads(done.stdout.splitlines()[-1])
    assert (values["done"], values["failed"], len(values["blocked"])) == (4, 3, 3)
    reasons = {one["run"].partition("_")[0]: one["error"] for one in values["failures"]}
    assert set(reasons) == {"large", "cut", "wild"}
    assert re.search("(?i)memory", reasons["large"])
    assert str(cut) in reasons["cut"]
    assert re.search("shape|size|fit", reasons["cut"])
    assert re.search("(?i)nan|finite|diverge", reasons["wild"])
    for text in (go("status", study).stdout, go("status", study, "--runs").stdout):
        assert all(f"failed: {one['run']}: {one['error']}" in text for one in values["failures"])
        assert "3 wait for runs that failed" in text
        assert text.startswith("4 of 10 runs done, 3 failed")

    options.append("--no-estimate")
    before = tokens(study)
    again = go("run", file, *options)
    assert again.returncode == 1
    assert tokens(study) == before  # failed runs are left alone
    retried = go("run", file, *options, "--retry")
    assert retried.returncode == 1
    assert all(f"failed: {one['run']}: " in retried.stdout for one in values["failures"])
    after = tokens(study)
    assert {name for name in after if after[name] != before[name]} == {one["run"] for one in values["failures"]}

    shutil.copyfile(
        trained / "run" / "model" / "model.safetensors", cut / "model.safetensors"
    )  # mended: another identity, tried without being asked
    mended = go("run", file, *options)
    assert mended.returncode == 1
    assert sum(state == "done" for state, _ in tokens(study).values()) == 6
    assert [name.partition("_")[0] for name, (state, _) in tokens(study).items() if state == "failed"] == [
        "large",
        "wild",
    ]


@pytest.mark.long  # on a fast machine the training may end before it is killed
@pytest.mark.timeout(1200)
def test_ctrl_c_lays_down_and_the_same_command_goes_on(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """Exit code 130 and how to go on; then SIGKILL of the main process, whose workers end by themselves."""
    settings = {**SET, "max_steps": 2000, "validate_every": 500}
    models = {"clipseg-tiny": {"set": {"model_arguments": {"image_size": 64}}}}
    data = make_dataset(counts=(8, 2, 2), size=64)
    file = write(tmp_path, data, models, set=settings)
    arguments = command("run", file, "--workers", 1, "--threads", 1, "--no-estimate")
    subprocess.run([*arguments, "--out", str(tmp_path / "straight")], check=True, capture_output=True)
    study = tmp_path / "study"

    def begin() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*arguments, "--out", str(study)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def saved() -> list[int]:
        return [path.stat().st_mtime_ns for path in study.glob("ledger/*/running-*/*/checkpoints/last.pt")]

    main = begin()
    until(saved, 200)
    main.send_signal(signal.SIGINT)
    out, err = main.communicate(timeout=120)
    assert main.returncode == 130, err
    assert f"stopped; go on with: vlseg study run {study}" in out
    [train] = [run for run in Plan.read(study).runs if run.kind == "train"]
    at = state_of(study, train.name)
    assert at is not None
    assert (at.state, at.token) == ("interrupted", 1)

    main = begin()
    until(saved, 200)
    then = saved()
    until(lambda: saved() != then, 200)
    at = state_of(study, train.name)
    assert at is not None
    worker = lease_at(at)["pid"]
    main.kill()
    main.communicate()
    until(lambda: not _there(worker), 60)
    at = state_of(study, train.name)
    assert at is not None
    assert (at.state, at.token) == ("interrupted", 2)

    main = begin()
    out, err = main.communicate(timeout=280)
    assert main.returncode == 0, err
    for run in Plan.read(study).runs:
        one, two = (state_of(place, run.name) for place in (tmp_path / "straight", study))
        assert one is not None
        assert two is not None
        name = "model/model.safetensors" if run.kind == "train" else "scores.parquet"
        assert (one.work / name).read_bytes() == (two.work / name).read_bytes()


def _there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
