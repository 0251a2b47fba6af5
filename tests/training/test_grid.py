"""Several runs in one process: what each would have become alone."""

from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import TINY

from vlseg.jobs.together import train_together
from vlseg.jobs.train import train_run
from vlseg.models import as_module, load_model
from vlseg.records import RunConfig, RunRecord, read_record
from vlseg.training import grid as grid_module
from vlseg.training.loop import Fit

MakeDataset = Callable[..., Path]


def base(data: Path, cache: Path, name: str = "clipseg", **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "model": name,
        "model_arguments": dict(TINY[name]),
        "data": [str(data)],
        "prompt": "p1",
        "regime": "decoder",
        "device": "cpu",
        "threads": 1,
        "batch_size": 2,
        "epochs": 4,
        "patience": 1,
        "augment": False,
        "feature_cache": str(cache),
        "feature_precision": "fp32",
    }
    return RunConfig(**(values | changes))


def combined(start: RunConfig, **axes: list[Any]) -> dict[str, RunConfig]:
    """Configurations by a name, the last axis fastest."""
    return {
        "_".join(f"{key}-{value}" for key, value in zip(axes, values, strict=True)): start.model_copy(
            update=dict(zip(axes, values, strict=True))
        )
        for values in product(*axes.values())
    }


def together(runs: Mapping[str, RunConfig], out: Path) -> list[RunRecord]:
    return train_together({out / name: config for name, config in runs.items()})


def apart(runs: Mapping[str, RunConfig], out: Path) -> list[RunRecord]:
    return [train_run(config, out / name) for name, config in runs.items()]


def weights(run: Path) -> Mapping[str, torch.Tensor]:
    return as_module(load_model(str(run))).state_dict()


@pytest.mark.slow
def test_together_ends_where_one_by_one_does(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other prompts, seeds and ends; the joint pass is really taken, and the last runs go on alone."""
    data = make_dataset(counts=(4, 1, 1))
    starts = train_run(base(data, tmp_path / "cache", epochs=1), tmp_path / "start")
    assert starts.status == "done"
    start = base(data, tmp_path / "cache", weights=str(tmp_path / "start"))
    runs = combined(start, prompt=["p1", "p2"], learning_rate=[1e-3, 0.1])
    members = []
    joint = grid_module._joint_losses
    monkeypatch.setattr(grid_module, "_joint_losses", lambda *a: members.append(len(a[0])) or joint(*a))
    records = together(runs, tmp_path / "together")
    assert members[0] == len(runs)
    alone = apart(runs, tmp_path / "apart")
    keys = ("steps", "epochs", "best_step")
    assert [[r.summary[key] for key in keys] for r in records] == [[r.summary[key] for key in keys] for r in alone]
    assert len({r.summary["steps"] for r in records}) > 1, "all ended at the same step: nothing about ends was tested"
    for one, other in zip(records, alone, strict=True):
        assert one.summary["best_val_dice"] == pytest.approx(other.summary["best_val_dice"], abs=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arguments"), [("clipseg", {}), ("guide", {"text": "target"})])
def test_joint_gradients_are_each_runs_own(
    name: str,
    arguments: dict[str, str],
    make_dataset: MakeDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the first step: later ones differ by what Adam makes of rounding where a gradient is 0 but for that."""
    data = make_dataset(counts=(4, 1, 1))
    begun = {"model_arguments": {**TINY[name], **arguments}, "epochs": 1}
    train_run(base(data, tmp_path / "cache", name, **begun), tmp_path / "start")
    found: dict[str, list[dict[str, torch.Tensor]]] = {}
    begin = Fit._end_step

    def kept(self: Fit, loss: float, rate: float) -> None:
        named = as_module(self.model).named_parameters()
        grads = {name: p.grad.clone() for name, p in named if p.grad is not None}
        found.setdefault(self.folder.name, []).append(grads | {"loss": torch.tensor(loss)})
        begin(self, loss, rate)

    monkeypatch.setattr(Fit, "_end_step", kept)
    step = {"max_steps": 1, "batch_size": 1, "accumulate": 2, "model_arguments": {}}
    start = base(data, tmp_path / "cache", name, weights=str(tmp_path / "start"), **step)
    members = []
    joint = grid_module._joint_losses
    monkeypatch.setattr(grid_module, "_joint_losses", lambda *a: members.append(len(a[0])) or joint(*a))
    runs = combined(start, prompt=["p1", "p2"], seed=[0, 3])
    together(runs, tmp_path / "together")
    apart(runs, tmp_path / "apart")
    assert set(members) == {len(runs)}
    for run in runs:
        one, alone = found[run]
        assert len(one) > 10
        assert one.keys() == alone.keys()
        for key, gradient in alone.items():
            assert (one[key] - gradient).abs().max() <= 1e-4 * gradient.abs().max() + 1e-7, f"{run} {key}"
    losses = {float(found[run][0]["loss"]) for run in runs}
    assert len(losses) > 1


def test_what_cannot_be_joined_is_trained_in_turn(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """CRIS has batch norm and dropout in its decoder: bit by bit what each run is alone."""
    data = make_dataset(counts=(4, 1, 1))
    runs = combined(base(data, tmp_path / "cache", "cris", max_steps=2), seed=[0, 1])
    together(runs, tmp_path / "together")
    apart(runs, tmp_path / "apart")
    for name in runs:
        one, other = weights(tmp_path / "together" / name), weights(tmp_path / "apart" / name)
        assert all(torch.equal(one[key], other[key]) for key in one), name


def test_frozen_weights_are_kept_once(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_dataset(counts=(2, 1, 1))
    train_run(base(data, tmp_path / "cache", epochs=1), tmp_path / "start")
    seen: list[list[Fit]] = []
    monkeypatch.setattr(
        "vlseg.jobs.together.fit_together", lambda runs: seen.append(list(runs)) or grid_module.fit_together(runs)
    )
    runs = combined(base(data, tmp_path / "cache", weights=str(tmp_path / "start"), max_steps=1), seed=[0, 1])
    together(runs, tmp_path / "runs")
    one, two = (dict(as_module(fit.model).named_parameters()) for fit in seen[0])
    shared = {name for name in one if one[name].data_ptr() == two[name].data_ptr()}
    assert {name for name in one if not one[name].requires_grad} == shared
    assert shared


def test_a_failure_is_in_every_record(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_dataset(counts=(2, 1, 1))

    def fail(*_: object) -> list[float]:
        raise FloatingPointError("the loss is nan")

    monkeypatch.setattr(grid_module, "_gradients", fail)
    runs = combined(base(data, tmp_path / "cache"), seed=[0, 1])
    with pytest.raises(FloatingPointError):
        together(runs, tmp_path / "runs")
    for name in runs:
        record = read_record(tmp_path / "runs" / name / "run.json")
        assert (record.status, record.error) == ("failed", "the loss is nan")
