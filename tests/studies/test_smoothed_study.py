"""Condition smoothed in a study: planned, run, and read by tables."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from vlseg.phantoms import write_phantoms
from vlseg.records import InputError
from vlseg.records.study import Plan, parse_study
from vlseg.studies.expand import expand

TINY = {"max_steps": 2, "model_arguments": {"image_size": 32}, "device": "cpu", "threads": 1}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_phantoms(tmp_path / "ph", counts={"train": 3, "val": 3, "test": 3}, size=32)
    return tmp_path / "ph"


def study(data: Path, **asked: Any) -> dict[str, Any]:
    part = {"name": "p", "models": ["clipseg-tiny"], "data": ["ph"], "evaluate": [asked]}
    where = {"condition": "smoothed"}
    table = {"name": "sure", "metric": "certificates.{sigma}.certified_dice", "rows": "sigma", "where": where}
    return {"name": "s", "data": {"ph": str(data)}, "set": TINY, "parts": [part], "tables": [table]}


def plan_of(values: dict[str, Any]) -> Plan:
    return expand(parse_study(values, "s"))


def test_smoothing_is_of_its_own_runs_alone(data: Path) -> None:
    both = ["clean", "smoothed"]
    usual = plan_of(study(data, conditions=both))
    other = plan_of(study(data, conditions=both, smoothing={"sigmas": [0.1, 0.5]}, limit=2))
    found = [{run.labels["condition"]: run for run in plan.runs if run.kind == "evaluate"} for plan in (usual, other)]
    assert found[0]["clean"].name == found[1]["clean"].name
    assert "smoothing" not in found[1]["clean"].config
    assert found[0]["smoothed"].name != found[1]["smoothed"].name
    assert found[1]["smoothed"].config["smoothing"]["sigmas"] == [0.1, 0.5]
    assert found[1]["smoothed"].config["limit"] == 2


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"conditions": ["smoothed"], "smoothing": {"tau": 0.3}}, "--tau: 0.3 certifies nothing"),
        ({"smoothing": {"draws": 80}}, "are for the condition smoothed"),
        ({"limit": 3}, "are for the condition smoothed"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(data: Path, asked: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        plan_of(study(data, **asked))


@pytest.mark.slow
def test_a_table_has_a_row_a_sigma(data: Path, tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    file = tmp_path / "s.yaml"
    asked = {"conditions": ["smoothed"], "smoothing": {"sigmas": [0.1, 0.5], "draws": 60}, "limit": 2}
    file.write_text(yaml.safe_dump(study(data, **asked)))
    done = vlseg("study", "run", file, "--out", tmp_path / "study", "--json")
    assert done.code == 0, done.err
    (table,) = (tmp_path / "study" / "report" / "tables").glob("sure.csv")
    text = table.read_text()
    assert all(f"{sigma}," in text for sigma in ("0.1", "0.5")), text
