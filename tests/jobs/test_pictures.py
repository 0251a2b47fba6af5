"""Evaluations keep pictures unless told not to; scores and identity are the same either way."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlseg.jobs.evaluate import EvaluateOptions, evaluate_masks, evaluate_on
from vlseg.jobs.probe import probe_on
from vlseg.jobs.scoring import Evaluated
from vlseg.records import read_scores
from vlseg.records.pictures import PICTURES, Pictures, read_pictures
from vlseg.records.study import parse_study
from vlseg.studies.expand import expand

SETTINGS: dict[str, Any] = {"device": "cpu", "threads": 1}


def kept(folder: Path) -> Pictures:
    rows = read_scores(folder / "scores.parquet")
    pictures = read_pictures(folder, len(rows))
    assert pictures is not None
    assert {(row.dataset, row.image_id) for row in rows} == set(pictures.images)
    return pictures


def evaluated(trained: Path, out: Path, kind: str, *, pictures: bool) -> Evaluated:
    source, data = str(trained / "run"), [str(trained / "data")]
    if kind == "probe":
        return probe_on(source, data, EvaluateOptions(**SETTINGS, pictures=pictures), out).evaluated
    if kind == "masks":
        return evaluate_masks(trained / "data" / "masks", data, EvaluateOptions(prompt="p1", pictures=pictures), out)
    return evaluate_on(source, data, EvaluateOptions(**SETTINGS, condition=kind, pictures=pictures), out)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["clean", "swapped", "corrupted", "probe", "masks"])
def test_scores_and_identity_are_the_same_without_pictures(kind: str, trained: Path, tmp_path: Path) -> None:
    with_them = evaluated(trained, tmp_path / "with", kind, pictures=True)
    without = evaluated(trained, tmp_path / "without", kind, pictures=False)
    assert with_them.scores == without.scores
    one, two = (tmp_path / name / "scores.parquet" for name in ("with", "without"))
    assert one.read_bytes() == two.read_bytes()
    assert with_them.spec.identity == without.spec.identity
    assert len(kept(tmp_path / "with").outlines) == len(with_them.scores)
    assert not (tmp_path / "without" / PICTURES).exists()
    assert read_pictures(tmp_path / "without", len(without.scores)) is None


def test_given_masks_are_shown_as_the_truth_that_they_are(trained: Path, tmp_path: Path) -> None:
    evaluated(trained, tmp_path / "o", "masks", pictures=True)
    for lines in kept(tmp_path / "o").outlines:
        assert lines.truth
        assert lines.answer == lines.truth


def test_an_evaluation_that_takes_the_place_of_another_keeps_none_of_its_pictures(
    trained: Path, tmp_path: Path, vlseg: Callable[..., Any]
) -> None:
    """Nor the overlays of an earlier version; what is not an evaluation's stays."""
    out = tmp_path / "e"
    call = ["evaluate", trained / "run", "--data", trained / "data", "--device", "cpu", "--threads", 1, "--out", out]
    assert vlseg(*call).code == 0
    assert kept(out).images
    (out / "overlays").mkdir()
    (out / "overlays" / "000.png").write_bytes(b"a patient")
    (out / "notes.txt").write_text("mine")
    (out / PICTURES / "left.png").write_bytes(b"a patient")
    assert vlseg(*call, "--no-images").code == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "calibration.json",
        "notes.txt",
        "scores.parquet",
        "spec.json",
    ]
    assert vlseg(*call).code == 0
    assert kept(out).images
    assert sorted(path.name for path in (out / PICTURES).iterdir()) == ["images.parquet", "outlines.parquet"]


@pytest.mark.parametrize("command", ["evaluate", "probe"])
def test_the_option_keeps_none(command: str, trained: Path, tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    call = [command, trained / "run", "--data", trained / "data", "--device", "cpu", "--threads", 1]
    assert vlseg(*call, "--out", tmp_path / "e", "--no-images").code == 0
    assert not list((tmp_path / "e").rglob("*.parquet*/*"))
    assert {path.name for path in (tmp_path / "e").iterdir()} == {"spec.json", "scores.parquet", "calibration.json"}


def test_a_worth_keeps_none_where_it_is_told_so(trained: Path, tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    run = shutil.copytree(trained / "run", tmp_path / "run")
    call = ["prompts", "worth", "--data", trained / "data", "--leaking", run, "--honest", run, "--device", "cpu"]
    assert vlseg(*call, "--no-images").code == 0
    assert list(run.glob("evaluations/*/scores.parquet"))
    assert not list(run.glob(f"evaluations/*/{PICTURES}"))


def test_a_study_tells_its_evaluations_and_no_run_gets_another_name(trained: Path) -> None:
    part = {"name": "one", "models": ["unet"], "data": ["discs"], "prompts": ["p1"], "probe": [{}]}
    values = {"name": "s", "data": {"discs": str(trained / "data")}, "parts": [part]}
    plain, without = (expand(parse_study(values | more, "s")) for more in ({}, {"pictures": False}))
    assert [(run.name, run.identity) for run in plain.runs] == [(run.name, run.identity) for run in without.runs]
    assert {run.kind for run in plain.runs} == {"train", "evaluate", "probe"}
    assert all("pictures" not in run.config for run in plain.runs)
    assert {run.kind: run.config.get("pictures") for run in without.runs} == {
        "train": None, "evaluate": False, "probe": False,
    }  # fmt: skip


@pytest.mark.slow
def test_a_study_without_pictures_has_none(
    make_dataset: Callable[..., Path], tmp_path: Path, vlseg: Callable[..., Any]
) -> None:
    settings = {"model_arguments": {"image_size": 32}, "max_steps": 1, "batch_size": 3, "threads": 1, "device": "cpu"}
    part = {"name": "one", "models": ["unet"], "data": ["discs"], "prompts": ["p1"]}
    values = {"name": "s", "data": {"discs": str(make_dataset())}, "set": settings, "parts": [part]}
    (tmp_path / "s.yaml").write_text(json.dumps(values))
    call = ["study", "run", tmp_path / "s.yaml", "--no-estimate", "--workers", 1]
    for name, more in (("with", []), ("without", ["--no-images"])):
        assert vlseg(*call, "--out", tmp_path / name, *more).code == 0
        assert len(list((tmp_path / name).rglob("scores.parquet"))) > 0
    assert list((tmp_path / "with").rglob(PICTURES))
    assert not list((tmp_path / "without").rglob(PICTURES))
