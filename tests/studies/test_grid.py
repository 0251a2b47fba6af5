"""`vlseg train --grid`: a study of one part."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlseg.records import InputError
from vlseg.records.study import Planned
from vlseg.studies.expand import expand
from vlseg.studies.grid import grid_study

MakeDataset = Callable[..., Path]


def runs(options: dict[str, Any], axes: list[str], recipe: str | None = None) -> list[Planned]:
    return expand(grid_study(options, axes, recipe)).runs


def test_axes_are_combined(make_dataset: MakeDataset) -> None:
    data = make_dataset(counts=(1, 1, 1))
    found = runs({"data": [str(data)], "model": "unet"}, ["prompt=[p1, p2]", "seed=[0, 1, 2]", "epochs=[1, 2]"])
    assert [(r.config["prompt"], r.config["epochs"], r.config["seed"]) for r in found] == [
        (p, e, s) for p in ("p1", "p2") for e in (1, 2) for s in (0, 1, 2)
    ]
    assert len({run.name for run in found}) == 12
    assert all("p2" in run.name and "epochs-1" in run.name and "_s2" not in run.name for run in found[6:8])


def test_label_shares_are_an_axis(make_dataset: MakeDataset) -> None:
    data = make_dataset(counts=(4, 1, 1))
    options = {"data": [str(data)], "model": "unet", "pseudo_labels": "epi"}
    found = runs(options, ["label_share=[0.25, 0.5, 1.0]"])
    assert [(r.config["label_share"], r.config["pseudo_labels"]) for r in found] == [
        (share, "epi") for share in (0.25, 0.5, 1.0)
    ]
    assert [run.labels["label_share"] for run in found] == ["0.25", "0.5", "1.0"]
    assert len({run.name for run in found}) == 3


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        (["seed=3"], "gives no list"),
        (["seed=[]"], "gives no list"),
        (["seed=[0]", "seed=[1]"], "given twice"),
        (["seed=[0, 0]"], "holds a value twice"),
        (["sed=[0]"], "sed"),
        (["seed=[x]"], "seed"),
        (["seed"], "--grid"),
        (["epochs=[0]"], "epochs"),
        (["model=[unett]"], "unknown model 'unett'"),
    ],
)
def test_wrong_axes_are_refused(axes: list[str], words: str, make_dataset: MakeDataset) -> None:
    data = make_dataset(counts=(1, 1, 1))
    with pytest.raises(InputError, match=words):
        runs({"data": [str(data)], "model": "unet"}, axes)


def test_every_run_has_its_own_models_recipe(make_dataset: MakeDataset) -> None:
    """Also where the grid is of models, or of arguments that the recipe sets in part."""
    data = [str(make_dataset(counts=(1, 1, 1)))]
    found = [run.config for run in runs({"data": data}, ["model=[guide, unet]"])]
    assert [run["model_arguments"] for run in found] == [{"encoder_weights": "lite0", "text": "minilm"}, {}]
    assert [run["regime"] for run in found] == ["freeze_encoders", "full"]
    twins = runs({"data": data}, ["model_arguments=[{text: none}, {text: target}]"])
    assert [run.config["model_arguments"] for run in twins] == [
        {"encoder_weights": "lite0", "text": "none"},
        {"encoder_weights": "lite0", "text": "target"},
    ]


def test_places_may_be_axes(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """Data, pools of data, and what gives a run no other name, such as its device."""
    one, two = make_dataset(counts=(1, 1, 1)), tmp_path / "elsewhere" / "data"
    shutil.copytree(one, two)
    found = runs({"model": "unet"}, [f"data=['{one}', '{two}']", "device=[cpu, auto]"])
    assert len({run.name for run in found}) == 4
    assert {tuple(run.data.values()) for run in found} == {(str(one),), (str(two),)}


@pytest.mark.parametrize("together", [1, 8])
def test_from_the_command_line_and_again(
    together: int,
    make_dataset: MakeDataset,
    tmp_path: Path,
    vlseg: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One by one, as on a CPU, or in one pass, as on a GPU; a run that was lost is made again, the others are not."""
    monkeypatch.setattr("vlseg.studies.choosing.AT_ONCE", together)
    monkeypatch.setattr("vlseg.studies.choosing._on_gpu", lambda run: True)
    data = make_dataset(counts=(2, 1, 1))
    call = ["train", "--model", "clipseg-tiny", "--data", data, "--device", "cpu", "--set", "max_steps=2"]
    call += ["--grid", "prompt=[p1, p2]", "--grid", "seed=[0, 1]", "--out", tmp_path / "runs", "--json"]
    done = vlseg(*call)
    assert done.code == 0, done.err
    assert (done.json["status"], len(done.json["runs"])) == ("done", 4)
    assert ("trainings of one shape" in done.err) == (together > 1)
    assert [Path(run["run"]).name for run in done.json["runs"]] == [
        f"prompt-{prompt}_seed-{seed}" for prompt in ("p1", "p2") for seed in (0, 1)
    ]
    first = Path(done.json["runs"][0]["run"]).resolve()
    assert "_p1_s0-" in first.name
    first = tmp_path / "runs" / "runs" / first.name
    assert (first / "model" / "model.safetensors").exists()
    kept = (Path(done.json["runs"][1]["run"]) / "run.json").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "runs" / "ledger" / first.name)
    again = vlseg(*call, "--resume")
    assert again.code == 0, again.err
    assert (first / "model" / "model.safetensors").exists()
    assert (Path(done.json["runs"][1]["run"]) / "run.json").stat().st_mtime_ns == kept
    assert vlseg(*call).code == 2  # the folder is there
    more = vlseg(*call[:-5], "--grid", "seed=[0, 1, 2]", *call[-3:], "--resume")
    assert (more.code, len(more.json["runs"])) == (0, 6), more.err
    assert (Path(done.json["runs"][1]["run"]) / "run.json").stat().st_mtime_ns == kept
