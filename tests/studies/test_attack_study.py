"""Attacks in a study: planned, run, and read by tables."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from vlseg.phantoms import write_phantoms
from vlseg.records import InputError
from vlseg.records.study import Plan, StudySpec, parse_study
from vlseg.studies.expand import expand

TINY = {"max_steps": 2, "model_arguments": {"image_size": 32}, "device": "cpu", "threads": 1}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_phantoms(tmp_path / "ph", counts={"train": 3, "val": 3, "test": 3}, size=32)
    return tmp_path / "ph"


def study(data: Path, *attacks: dict[str, Any], **more: Any) -> dict[str, Any]:
    part = {"name": "attacked", "models": ["clipseg-tiny"], "data": ["ph"], "attack": list(attacks), **more}
    table = {"name": "robust", "kind": "attack", "metric": "attacks.{budget}.dice", "rows": "budget"}
    return {"name": "s", "data": {"ph": str(data)}, "set": TINY, "parts": [part], "tables": [table]}


def plan_of(values: dict[str, Any]) -> Plan:
    spec: StudySpec = parse_study(values, "s")
    return expand(spec)


def test_each_attack_is_a_run_of_its_own(data: Path) -> None:
    plan = plan_of(study(data, {"preset": "published"}, {"method": "fgsm", "epsilons": ["2/255", 0.01]}, {"limit": 2}))
    runs = [run for run in plan.runs if run.kind == "attack"]
    assert [run.labels["attack"] for run in runs] == ["published", "fgsm", "pgd"]
    assert len({run.name for run in runs}) == 3
    assert all(run.config["pictures"] is False for run in runs), "no image is kept unless somebody asks for it"
    (trained,) = [run.name for run in plan.runs if run.kind == "train"]
    assert {tuple(run.needs) for run in runs} == {(trained,)}


def test_attacks_on_sentences_are_runs_and_the_others_keep_their_names(data: Path) -> None:
    pgd, asked = {"method": "pgd", "limit": 2}, {"words": ["typos", "suffix"], "sizes": [1], "limit": 2}
    alone, beside = (plan_of(study(data, *attacks)) for attacks in ([pgd], [pgd, asked]))
    (before,) = [run for run in alone.runs if run.kind == "attack"]
    first, second = [run for run in beside.runs if run.kind == "attack"]
    assert first == before
    assert not {"words", "sizes", "candidates"} & first.config["attack"].keys()
    assert second.labels["attack"] == "words"
    assert second.config["attack"]["words"] == ["typos", "suffix"]


@pytest.mark.parametrize(
    ("attack", "line"),
    [
        ({"epsilons": ["8"]}, "for grey levels of 8 bits write 8/255"),
        ({"method": "fgsm", "steps": 3}, "steps: fgsm takes one step, not 3"),
        ({"preset": "published", "norm": "l2"}, "--norm: is set by --preset published"),
        ({"models": ["other"]}, "attack: unknown model of the part 'other'"),
        ({"words": ["typos"], "method": "pgd"}, "--method: pgd changes images; with --words take"),
        ({"words": ["typos"], "epsilons": ["8/255"]}, "--epsilon: is for attacks on images"),
        ({"method": "greedy"}, "--method: greedy changes sentences; give --words as well"),
        ({"sizes": [2]}, "--size: is for attacks on sentences"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(data: Path, attack: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line):
        plan_of(study(data, attack))


def test_untrained_models_take_none(data: Path) -> None:
    with pytest.raises(InputError, match="train: false: takes no attack"):
        plan_of(study(data, {}, train=False))


@pytest.mark.slow
def test_a_study_attacks_and_its_table_has_a_row_a_budget(
    data: Path, tmp_path: Path, vlseg: Callable[..., Any]
) -> None:
    file = tmp_path / "s.yaml"
    asked = {"method": "fgsm", "epsilons": ["2/255", "8/255"], "limit": 3}
    file.write_text(yaml.safe_dump(study(data, asked)))
    done = vlseg("study", "run", file, "--out", tmp_path / "study", "--json")
    assert done.code == 0, done.err
    (run,) = (tmp_path / "study" / "runs").glob("*")
    assert [folder.name for folder in (run / "evaluations").glob("*attack*")]
    assert not list(tmp_path.rglob("attacked.parquet"))
    (table,) = (tmp_path / "study" / "report" / "tables").glob("robust.csv")
    text = table.read_text()
    assert all(f",{name}," in text for name in ("fgsm 2/255", "fgsm 8/255")), text


@pytest.mark.slow
def test_a_study_attacks_sentences(data: Path, tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    file = tmp_path / "s.yaml"
    asked = {"words": ["typos", "suffix"], "sizes": [1], "candidates": 3, "limit": 3}
    file.write_text(yaml.safe_dump(study(data, asked)))
    done = vlseg("study", "run", file, "--out", tmp_path / "study", "--json")
    assert done.code == 0, done.err
    text = (tmp_path / "study" / "report" / "tables" / "robust.csv").read_text()
    assert all(f",{name}," in text for name in ("greedy 1 typo", "greedy 1 word appended (meaning not kept)")), text
