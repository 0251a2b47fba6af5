"""Runs that go on from another folder, after they or their data were moved, or beside another process."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from resuming import killed_after

import vlseg.training.loop as fit_module
from vlseg.jobs.fitting import open_run
from vlseg.jobs.lock import run_lock
from vlseg.jobs.run_folder import begin
from vlseg.jobs.train import train_run
from vlseg.models import as_module, load_model
from vlseg.records import InputError, RunConfig, RunRecord, read_config, read_record

MakeDataset = Callable[..., Path]


def config(data: str, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "model": "clipseg-tiny",
        "model_arguments": {"image_size": 32},
        "data": [data],
        "prompt": "p1",
        "threads": 1,
        "device": "cpu",
        "batch_size": 2,
        "epochs": 2,
    }
    return RunConfig(**(values | changes))


def killed(settings: RunConfig, out: Path, monkeypatch: pytest.MonkeyPatch, at: int = 1) -> None:
    monkeypatch.setattr(fit_module, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(fit_module, "SAVE_SHARE", 0.0)
    with killed_after(at, monkeypatch):
        train_run(settings, out)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return as_module(load_model(str(run))).state_dict()


def test_from_another_folder_after_data_run_and_weights_moved(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vlseg: Callable[..., Any]
) -> None:
    """Started with relative paths; ends with the weights of a run that stayed."""
    data = make_dataset("discs", counts=(4, 1, 1))
    monkeypatch.chdir(tmp_path)
    train_run(config("discs", max_steps=1, seed=9), Path("start"))
    settings = config("discs", weights="start/model", regime="decoder", feature_cache="kept")
    train_run(settings, Path("straight"))
    killed(settings, Path("run"), monkeypatch)
    assert read_config(tmp_path / "run" / "config.yaml").data == [str(data)]

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    done = vlseg("train", "--resume", "--out", tmp_path / "copy", "--json")  # nothing moved but the caller
    assert done.code == 0, done.err

    for old, new in (("discs", "elsewhere/discs"), ("run", "moved"), ("start", "elsewhere/start")):
        (tmp_path / old).rename(tmp_path / new)
    out = tmp_path / "moved"
    refused = vlseg("train", "--resume", "--out", out)
    assert refused.code == 2
    assert f"vlseg train --resume --out {out} --data FOLDER" in refused.err
    refused = vlseg("train", "--resume", "--out", out, "--data", "discs")
    assert refused.code == 2
    assert f"vlseg train --resume --out {out} --weights PATH" in refused.err
    done = vlseg("train", "--resume", "--out", out, "--data", "discs", "--weights", "start/model", "--cache", "new")
    assert done.code == 0, done.err
    now = read_config(out / "config.yaml")
    assert (now.data, now.weights) == ([str(elsewhere / "discs")], str(elsewhere / "start" / "model"))
    assert now.feature_cache == str(elsewhere / "new")
    one, two, three = (weights(tmp_path / run) for run in ("straight", "moved", "copy"))
    assert all(torch.equal(one[key], two[key]) and torch.equal(one[key], three[key]) for key in one)


def test_other_data_in_the_place_are_refused_in_one_line(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vlseg: Callable[..., Any]
) -> None:
    data, out = make_dataset("discs", counts=(4, 1, 1)), tmp_path / "run"
    killed(config(str(data)), out, monkeypatch)
    other = make_dataset("other", counts=(3, 1, 1))
    done = vlseg("train", "--resume", "--out", out, "--data", other)
    assert (done.code, "or is another set" in done.err) == (2, True)
    # The same content under another name: names take part in what is drawn.
    renamed = shutil.copytree(data, tmp_path / "renamed")
    text = (renamed / "dataset.json").read_text().replace('"name": "discs"', '"name": "renamed"')
    (renamed / "dataset.json").write_text(text)
    assert vlseg("train", "--resume", "--out", out, "--data", renamed).code == 2
    done = vlseg("train", "--resume", "--out", out, "--precision", "bf16")
    assert (done.code, "leave out precision" in done.err) == (2, True)
    assert read_record(out / "run.json").data_fingerprint
    done = vlseg("train", "--resume", "--out", out, "--data", shutil.copytree(data, tmp_path / "x" / "discs"))
    assert done.code == 0, done.err


def test_a_run_that_is_being_trained_is_left_alone(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vlseg: Callable[..., Any]
) -> None:
    data, out = make_dataset("discs", counts=(4, 1, 1)), tmp_path / "run"
    killed(config(str(data)), out, monkeypatch)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with run_lock(out):
        done = vlseg("train", "--resume", "--out", out)
        (out / ".lock").unlink()
    assert (done.code, "is being trained by process" in done.err) == (2, True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert vlseg("train", "--resume", "--out", out).code == 0
    assert not (out / ".lock").exists()


def test_two_that_start_one_run_at_once(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """Both found the folder empty: the later one neither writes into it nor trains."""
    settings, out = config(str(make_dataset(counts=(2, 1, 1)))), tmp_path / "run"
    with ExitStack() as one, ExitStack() as two:
        both = [begin(settings, out, held, places=None) for held in (one, two)]
        first, second = (started for started in both if not isinstance(started, RunRecord))
        open_run(first, one)
        written = (out / "run.json").read_bytes()
        with pytest.raises(InputError, match="is being trained by process"):
            open_run(second, two)
        one.close()
        with pytest.raises(InputError, match="was started by another process meanwhile"):
            open_run(second, two)
        assert (out / "run.json").read_bytes() == written


def test_wrong_input_leaves_no_lock_and_no_folder(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset(counts=(2, 1, 1))
    for wrong in ({"model": "no-such"}, {"prompt": "p77"}, {"weights": "nowhere"}):
        with pytest.raises(InputError):
            train_run(config(str(data), **wrong), tmp_path / "run")
    assert not (tmp_path / "run").exists()
