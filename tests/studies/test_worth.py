"""What a leak is worth, trained and told by one command."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlseg.phantoms import write_phantoms
from vlseg.records import InputError
from vlseg.records.study import parse_study
from vlseg.studies.estimate import count
from vlseg.studies.expand import expand
from vlseg.studies.local import Resources


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_phantoms(tmp_path / "ph", counts={"train": 3, "val": 3, "test": 3}, size=32)
    return tmp_path / "ph"


def test_between_two_prompts(data: Path, tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    """The figures are those of the same command on the runs that it trained; a second call makes nothing again."""
    call = ["prompts", "worth", "--data", data, "--leaking", "class+attributes", "--honest", "class"]
    more = ["--model", "clipseg-tiny", "--set", "max_steps=2", "--set", "model_arguments={image_size: 32}"]
    more += ["--train-seed", 0, "--train-seed", 1, "--device", "cpu", "--out", tmp_path / "study", "--json"]
    done = vlseg(*call, *more)
    assert done.code == 0, done.err
    runs = {json.loads((run / "run.json").read_text())["prompt"]: [] for run in (tmp_path / "study" / "runs").glob("*")}
    for run in sorted((tmp_path / "study" / "runs").glob("*")):
        runs[json.loads((run / "run.json").read_text())["prompt"]].append(run)
    assert [len(found) for found in runs.values()] == [2, 2]
    sources = [flag for run in runs["class+attributes"] for flag in ("--leaking", run)]
    sources += [flag for run in runs["class"] for flag in ("--honest", run)]
    apart = vlseg("prompts", "worth", "--data", data, *sources, "--device", "cpu", "--json")
    assert apart.code == 0, apart.err
    assert done.json["worth"] == apart.json["worth"]
    assert done.json["differs"] == []
    again = vlseg(*call, *more)
    assert "begun" not in again.err
    assert again.json == done.json


def test_prompts_must_be_one_of_each(data: Path, vlseg: Callable[..., Any]) -> None:
    done = vlseg("prompts", "worth", "--data", data, "--leaking", "p1", "--leaking", "p2", "--honest", "class")
    assert (done.code, "one --leaking and one --honest prompt" in done.err) == (2, True)


def test_in_a_study_of_several_models(data: Path) -> None:
    """One for each model that is trained on both prompts; seeds in pairs."""
    part = {
        "name": "told",
        "models": ["clipseg-tiny", "unet"],
        "data": ["ph"],
        "prompts": ["class", "class+attributes"],
        "seeds": [0, 1],
        "exclude": [{"model": "unet", "prompt": "class+attributes"}],
        "worth": [{"leaking": "class+attributes"}],
    }
    plan = expand(parse_study({"name": "s", "data": {"ph": str(data)}, "parts": [part]}, "s"))
    (found,) = [run for run in plan.runs if run.kind == "worth"]
    assert found.labels["model"] == "clipseg-tiny"
    by_name = {run.name: run for run in plan.runs}
    assert [(by_name[n].labels["prompt"], by_name[n].labels["seed"]) for n in found.needs] == [
        ("class+attributes", "0"),
        ("class+attributes", "1"),
        ("class", "0"),
        ("class", "1"),
    ]
    part["worth"] = [{"leaking": "class+atributes"}]
    with pytest.raises(InputError, match="part 'told': worth: no model is trained on both 'class\\+atributes' and"):
        expand(parse_study({"name": "s", "data": {"ph": str(data)}, "parts": [part]}, "s"))
    part["worth"] = [{"leaking": "class+attributes"}]
    part["exclude"] = [{"prompt": "class", "seed": 1}]
    with pytest.raises(InputError, match="'class\\+attributes' and 'class' of 'clipseg-tiny' have other seeds"):
        expand(parse_study({"name": "s", "data": {"ph": str(data)}, "parts": [part]}, "s"))


def test_a_worth_is_estimated_as_the_evaluations_that_it_makes(data: Path) -> None:
    part = {
        "name": "told",
        "models": ["clipseg-tiny"],
        "data": ["ph"],
        "prompts": ["class", "class+attributes"],
        "seeds": [0, 1, 2],
        "worth": [{"leaking": "class+attributes"}],
    }
    plan = expand(parse_study({"name": "s", "data": {"ph": str(data)}, "parts": [part]}, "s"))
    counted = count(plan, Resources(1, 1))
    (worth,) = [one for one in counted if one.run.kind == "worth"]
    evaluation = next(one for one in counted if one.run.kind == "evaluate")
    assert (worth.kind, worth.why) == (evaluation.kind, None)
    # Each pair: both under their own prompt, the leaking one under the other's, and twice without the image.
    assert worth.amounts.parts["images"] == 3 * 5 * evaluation.amounts.parts["images"]
