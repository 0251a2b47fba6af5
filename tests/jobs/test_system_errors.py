"""A disk that fills up while a run trains: one line, the record closed as failed, and it goes on from there."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import vlseg.training.loop as fit_module
from vlseg.jobs.train import train_run
from vlseg.models import as_module, build_model, load_model
from vlseg.models.features import FeatureStore
from vlseg.records import InputError, RunConfig, read_record

MakeDataset = Callable[..., Path]
SMALL = 20_000
"""Bytes that a file may have: enough for the record, not for weights."""


@contextmanager
def full_disk() -> Iterator[None]:
    """The system refuses to write more, as a full disk does, with another number of the error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def config(data: Path, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "model": "clipseg-tiny",
        "model_arguments": {"image_size": 32},
        "data": [str(data)],
        "prompt": "p1",
        "threads": 1,
        "device": "cpu",
        "max_steps": 2,
    }
    return RunConfig(**(values | changes))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return as_module(load_model(str(run))).state_dict()


@pytest.mark.parametrize("where", ["checkpoint", "best", "model", "features"])
def test_a_full_disk_ends_in_one_line_and_the_run_goes_on(
    where: str, make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = make_dataset(counts=(2, 1, 1)), tmp_path / "run"
    changes: dict[str, Any] = {}
    if where == "features":
        changes = {"regime": "decoder", "augment": False, "feature_precision": "fp32"}
        changes |= {"model_arguments": {"image_size": 64}}
        settings = [config(data, **changes, feature_cache=str(tmp_path / name)) for name in ("one", "two")]
    else:
        settings = [config(data, **changes)] * 2
    train_run(settings[0], tmp_path / "straight")
    owner, name = {
        "checkpoint": (fit_module.Fit, "_save"),
        "best": (fit_module, "save_checkpoint"),
        "model": (type(build_model("clipseg-tiny")), "save"),
        "features": (FeatureStore, "put"),
    }[where]
    monkeypatch.setattr(fit_module, "SAVE_SECONDS", 0.0 if where == "checkpoint" else 2.0)
    monkeypatch.setattr(fit_module, "SAVE_SHARE", 0.0)
    original = getattr(owner, name)

    def full(*values: Any, **named: Any) -> Any:
        with full_disk():
            return original(*values, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, full)
        with pytest.raises(InputError, match=r"cannot be written \(File too large\)") as caught:
            train_run(settings[1], out)
    assert "\n" not in str(caught.value)
    record = read_record(out / "run.json")
    assert (record.status, record.error) == ("failed", str(caught.value))
    assert not list(out.rglob("*.part"))
    assert train_run(None, out, resume=True).status == "done"
    assert read_record(out / "run.json").error is None
    one, two = weights(tmp_path / "straight"), weights(out)
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_where_not_even_the_record_can_be_closed_the_first_reason_is_told(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> float:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
        raise FloatingPointError("the loss is nan")

    monkeypatch.setattr(fit_module.Fit, "gradients", fail)
    try:
        with pytest.raises(FloatingPointError, match="the loss is nan"):
            train_run(config(make_dataset(counts=(2, 1, 1))), tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert "still says running" in capsys.readouterr().err
