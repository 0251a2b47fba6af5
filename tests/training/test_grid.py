"""Several runs in one process: what each would have become alone."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import TINY

from vlseg.jobs.grid import expand, train_grid
from vlseg.jobs.train import train_run
from vlseg.models import as_module, load_model
from vlseg.records import InputError, RunConfig, read_record
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


def common(data: Path, cache: Path, name: str = "clipseg", **changes: Any) -> dict[str, Any]:
    return dict(base(data, cache, name, **changes))


def test_axes_are_combined(tmp_path: Path) -> None:
    runs = expand(common(tmp_path, tmp_path), ["prompt=[p1, p2]", "seed=[0, 1, 2]"])
    assert list(runs)[:2] == ["prompt-p1_seed-0", "prompt-p1_seed-1"]
    assert [(run.prompt, run.seed) for run in runs.values()] == [(p, s) for p in ("p1", "p2") for s in (0, 1, 2)]


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        (["seed=3"], "gives no list"),
        (["seed=[]"], "gives no list"),
        (["seed=[0]", "seed=[1]"], "given twice"),
        (["seed=[0, 0]"], "two runs would be called seed-0"),
        (["sed=[0]"], "sed"),
        (["seed=[x]"], "seed"),
        (["seed"], "--grid"),
    ],
)
def test_wrong_axes_are_refused(axes: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        expand(common(tmp_path, tmp_path), axes)


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
    runs = expand(
        common(data, tmp_path / "cache", weights=str(tmp_path / "start")),
        ["prompt=[p1, p2]", "learning_rate=[1e-3, 0.1]"],
    )
    members = []
    joint = grid_module._joint_losses
    monkeypatch.setattr(grid_module, "_joint_losses", lambda *a: members.append(len(a[0])) or joint(*a))
    records = train_grid(runs, tmp_path / "together", together=True)
    assert members[0] == len(runs)
    apart = train_grid(runs, tmp_path / "apart", together=False)
    keys = ("steps", "epochs", "best_step")
    assert [[r.summary[key] for key in keys] for r in records] == [[r.summary[key] for key in keys] for r in apart]
    assert len({r.summary["steps"] for r in records}) > 1, "all ended at the same step: nothing about ends was tested"
    for one, other in zip(records, apart, strict=True):
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
    runs = expand(dict(start), ["prompt=[p1, p2]", "seed=[0, 3]"])
    train_grid(runs, tmp_path / "together", together=True)
    train_grid(runs, tmp_path / "apart", together=False)
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
    runs = expand(common(data, tmp_path / "cache", "cris", max_steps=2), ["seed=[0, 1]"])
    train_grid(runs, tmp_path / "together", together=True)
    train_grid(runs, tmp_path / "apart", together=False)
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
        "vlseg.jobs.grid.fit_together", lambda runs: seen.append(list(runs)) or grid_module.fit_together(runs)
    )
    runs = expand(common(data, tmp_path / "cache", weights=str(tmp_path / "start"), max_steps=1), ["seed=[0, 1]"])
    train_grid(runs, tmp_path / "runs", together=True)
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
    runs = expand(common(data, tmp_path / "cache"), ["seed=[0, 1]"])
    with pytest.raises(FloatingPointError):
        train_grid(runs, tmp_path / "runs", together=True)
    for name in runs:
        record = read_record(tmp_path / "runs" / name / "run.json")
        assert (record.status, record.error) == ("failed", "the loss is nan")


def test_from_the_command_line_and_again(make_dataset: MakeDataset, tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    data = make_dataset(counts=(2, 1, 1))
    call = ["train", "--model", "clipseg-tiny", "--data", data, "--device", "cpu", "--set", "max_steps=2"]
    call += ["--grid", "prompt=[p1, p2]", "--grid", "seed=[0, 1]", "--out", tmp_path / "runs", "--json"]
    done = vlseg(*call)
    assert done.code == 0, done.err
    assert Path(done.json["runs"][0]["run"]).name == "prompt-p1_seed-0"
    assert (done.json["status"], len(done.json["runs"])) == ("done", 4)
    shutil.rmtree(tmp_path / "runs" / "prompt-p2_seed-1")
    again = vlseg(*call, "--resume")
    assert again.code == 0, again.err
    assert vlseg(*call).code == 2  # the folders are there
