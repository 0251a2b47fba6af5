"""From a study's file to its runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from vlseg.phantoms import write_phantoms
from vlseg.records import InputError
from vlseg.records.protocols import PROTOCOLS
from vlseg.records.study import Plan, Planned, parse_study
from vlseg.studies import naming
from vlseg.studies.expand import expand
from vlseg.studies.read import Changes, changed, datasets, read_study, schema

COUNTS = {"train": 2, "val": 1, "test": 2}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(("one", "two", "far")):
        write_phantoms(root / name, counts=COUNTS, size=32, seed=seed)
        card = json.loads((root / name / "dataset.json").read_text())
        (root / name / "dataset.json").write_text(json.dumps(card | {"name": name}))
    return {name: str(root / name) for name in ("one", "two", "far")}


def plan(places: dict[str, str], *parts: dict[str, Any], **more: Any) -> Plan:
    values = [{"name": f"part{number}", **part} for number, part in enumerate(parts)]
    return expand(parse_study({"name": "s", "data": places, "parts": values, **more}, "study.yaml"))


def labels(runs: list[Planned], *keys: str) -> list[tuple[str, ...]]:
    return [tuple(run.labels.get(key, "-") for key in keys) for run in runs]


def of(found: Plan, kind: str) -> list[Planned]:
    return [run for run in found.runs if run.kind == kind]


def test_every_combination_once(places: dict[str, str]) -> None:
    part = {
        "models": ["unet", "clipseg-tiny"],
        "data": ["one", "two"],
        "prompts": ["class", "class+attributes"],
        "seeds": [0, 1],
        "shares": [0.5, 1],
        "regimes": ["full", "decoder"],
        "folds": 2,
        "axes": {"learning_rate": [1e-3, 1e-4]},
    }
    found = plan(places, {**part, "folds": None, "evaluate": []})
    assert len(found.runs) == len({run.name for run in found.runs}) == 2**7
    keys = ("model", "trained_on", "prompt", "seed", "share", "regime", "learning_rate")
    assert len(set(labels(found.runs, *keys))) == 2**7
    assert len({run.identity for run in found.runs}) == 2**7
    (only,) = {run.config["fold"] for run in found.runs}
    assert only is None
    folded = plan(places, {"models": ["unet"], "data": ["one"], "folds": 3, "evaluate": []})
    assert [(run.config["folds"], run.config["fold"]) for run in folded.runs] == [(3, 0), (3, 1), (3, 2)]


def test_settings_over_each_other(places: dict[str, str]) -> None:
    """The study's, then the model's, then the part's, then the axes'; arguments one by one."""
    found = plan(
        places,
        {
            "models": ["small"],
            "data": ["one"],
            "set": {"batch_size": 3, "model_arguments.depth": 1},
            "axes": {"model_arguments.width": [8]},
        },
        models={"small": {"model": "unet", "set": {"epochs": 4, "batch_size": 2, "model_arguments": {"width": 4}}}},
        set={"epochs": 9, "batch_size": 1, "patience": 7},
    )
    config = of(found, "train")[0].config
    assert (config["epochs"], config["batch_size"], config["patience"]) == (4, 3, 7)
    assert config["model_arguments"] == {"width": 8, "depth": 1}
    assert config["model"] == "unet"
    assert labels(of(found, "train"), "model") == [("small",)]


def test_pools_are_trained_together_and_asked_apart(places: dict[str, str]) -> None:
    found = plan(
        places,
        {"models": ["unet"], "data": ["both"], "evaluate": [{}, {"data": ["far"]}]},
        pools={"both": ["one", "two"]},
    )
    (run,) = of(found, "train")
    assert list(run.data) == ["one", "two"]
    assert run.config["data"] == [places["one"], places["two"]]
    assert labels(of(found, "evaluate"), "trained_on", "data") == [("both", "one"), ("both", "two"), ("both", "far")]
    assert {tuple(one.needs) for one in of(found, "evaluate")} == {(run.name,)}


def test_patterns_stand_for_what_all_have(places: dict[str, str], make_dataset: Callable[..., Path]) -> None:
    discs = str(make_dataset(counts=(1, 1, 1)))
    found = plan({**places, "discs": discs}, {"models": ["unet"], "data": ["discs"], "prompts": ["p[0-9]"]})
    assert {run.labels["prompt"] for run in of(found, "train")} >= {"p1", "p2"}
    with pytest.raises(InputError, match=r"part 'part0': one: no prompt fits 'p\?' \(it has empty, class"):
        plan(places, {"models": ["unet"], "data": ["one"], "prompts": ["p?"]})
    with pytest.raises(InputError, match="part 'part0': unknown prompt of one 'clas'; did you mean 'class'"):
        plan(places, {"models": ["unet"], "data": ["one"], "prompts": ["clas"]})


def test_what_two_parts_want_is_run_once(places: dict[str, str]) -> None:
    found = plan(
        places,
        {"models": ["unet"], "data": ["one"], "seeds": [0]},
        {"models": ["unet"], "data": ["one"], "seeds": [0, 1], "evaluate": [{}, {"data": ["two"]}]},
    )
    assert [(run.labels["seed"], run.parts) for run in of(found, "train")] == [
        ("0", ["part0", "part1"]),
        ("1", ["part1"]),
    ]
    shared = [run.parts for run in of(found, "evaluate") if run.labels["seed"] == "0"]
    assert shared == [["part0", "part1"], ["part1"]]


def test_exclusions(places: dict[str, str]) -> None:
    part = {"models": ["unet", "clipseg-tiny"], "data": ["one", "two"], "prompts": ["class", "class+attributes"]}
    found = plan(places, {**part, "exclude": [{"model": "unet", "prompt": "class+attributes"}, {"data": ["two"]}]})
    assert labels(of(found, "train"), "model", "trained_on", "prompt") == [
        ("unet", "one", "class"),
        ("clipseg-tiny", "one", "class"),
        ("clipseg-tiny", "one", "class+attributes"),
    ]
    with pytest.raises(InputError, match="unknown label 'modell'"):
        plan(places, {**part, "exclude": [{"modell": "unet"}]})


def test_a_training_starts_from_another(places: dict[str, str]) -> None:
    found = plan(
        places,
        {"models": ["unet"], "data": ["one"], "seeds": [0, 1]},
        {"models": ["unet"], "data": ["two"], "seeds": [0, 1], "start_from": "part0", "start_data": "one"},
    )
    first, second = ([run for run in of(found, "train") if run.labels["trained_on"] == name] for name in ("one", "two"))
    assert [run.needs for run in second] == [[run.name] for run in first]
    assert [run.config["weights"] for run in second] == [f"run:{run.name}" for run in first]
    with pytest.raises(InputError, match="part 'part1': start_from: part 'part0' has no run of 'unet' on 'far'"):
        plan(
            places,
            {"models": ["unet"], "data": ["one"]},
            {"models": ["unet"], "data": ["two"], "start_from": "part0", "start_data": "far"},
        )
    with pytest.raises(InputError, match="start_from 'part7' is no part before it"):
        plan(places, {"models": ["unet"], "data": ["two"], "start_from": "part7"})


def test_a_training_starts_from_the_run_of_another_model_that_holds_a_part_of_it(places: dict[str, str]) -> None:
    small = {"set": {"model_arguments": {"width": 8}}}
    entries = {"models": {"cnn": {"model": "lvit-unet", **small}, "lvit": {}, "unet": {}}}
    first = {"models": ["cnn"], "data": ["one"], "seeds": [0, 1], "evaluate": []}
    second = {"models": ["lvit"], "data": ["one"], "seeds": [0, 1], "prompts": ["class"], "start_from": "part0"}
    found = of(plan(places, first, {**second, "start_model": "cnn"}, **entries), "train")
    by_name = {run.name: run for run in found}
    started = [run for run in found if run.labels["model"] == "lvit"]
    assert [run.labels["seed"] for run in started] == ["0", "1"]
    for run in started:
        (source,) = run.needs
        assert (by_name[source].labels["model"], by_name[source].labels["seed"]) == ("cnn", run.labels["seed"])
        assert run.config["weights"].endswith(source)
    with pytest.raises(InputError, match="'unet' starts from weights of no other model, not of 'lvit-unet'"):
        plan(places, first, {**second, "models": ["unet"], "start_model": "cnn"}, **entries)
    with pytest.raises(InputError, match="start_model is of the part that start_from names; give that, too"):
        plan(places, {**first, "start_model": "cnn"}, **entries)


def test_what_is_missing_is_told_all_at_once(places: dict[str, str], tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    values = {
        "name": "holes",
        "data": {"one": places["one"], "gone": "nowhere"},
        "models": {"unet": {"weights": "missing.safetensors"}, "other": {"model": "unet"}},
        "set": {"max_steps": 1, "device": "cpu"},
        "parts": [
            {"name": "a", "models": ["unet"], "data": ["one"]},
            {"name": "b", "models": ["other"], "data": ["one", "gone"]},
        ],
        "external": [{"name": "nnunet", "masks": "theirs/{data}", "data": ["one"]}],
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(values))
    done = vlseg("study", "run", tmp_path / "study.yaml", "--out", tmp_path / "s")
    lines = done.err.strip().splitlines()
    assert (done.code, len(lines)) == (2, 4), done.err
    assert "weights missing.safetensors" in lines[0]
    assert f"dataset gone: {tmp_path / 'nowhere'}: no such folder; say where it is: --data gone=FOLDER" in lines[1]
    assert "masks of nnunet on one" in lines[2]
    assert "--skip-missing" in lines[3]
    assert not (tmp_path / "s").exists()
    done = vlseg("study", "run", tmp_path / "study.yaml", "--out", tmp_path / "s", "--skip-missing", "--plan", "--json")
    assert (done.code, done.json["total"], done.json["planned"]) == (0, 2, 2), done.err
    assert done.err.count("left out") == 3
    mended = vlseg("study", "run", tmp_path / "study.yaml", "--out", tmp_path / "s", "--skip-missing", "--plan",
                   "--data", f"gone={places['two']}", "--json")  # fmt: skip
    assert mended.json["total"] == 4, mended.err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "a b"}, "study.yaml: field 'name'"),
        ({"parts": []}, "field 'parts'"),
        ({"partz": []}, "field 'partz'"),
        ({"parts": [{"name": "p", "models": ["unet"], "data": ["one"], "seeds": []}]}, r"field 'parts.0.seeds'"),
        ({"parts": [{"name": "p", "models": ["unett"], "data": ["one"]}]}, "part 'p': unknown model 'unett'"),
        ({"set": {"epoch": 3}}, "unknown configuration key 'epoch'; did you mean 'epochs'"),
        ({"set": {"epochs": 0}}, "model 'unet': field 'epochs'"),
        ({"parts": [{"name": "p", "models": ["unet"], "data": ["one"]}] * 2}, "two parts are called 'p'"),
    ],
)
def test_wrong_studies_are_refused(change: dict[str, Any], words: str, places: dict[str, str]) -> None:
    values = {"name": "s", "data": places, "parts": [{"name": "p", "models": ["unet"], "data": ["one"]}]}
    with pytest.raises(InputError, match=words):
        expand(parse_study(values | change, "study.yaml"))


def test_names_last_and_identities_tell(
    places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name follows from the configuration alone, the identity from data, weights and protocols as well."""
    part = {"models": ["unet"], "data": ["one"], "set": {"epochs": 2}}
    before = plan(places, part).runs
    moved = tmp_path / "moved"
    write_phantoms(moved, counts=COUNTS, size=32, seed=0)
    card = json.loads((moved / "dataset.json").read_text())
    (moved / "dataset.json").write_text(json.dumps(card | {"name": "one"}))
    again = plan({**places, "one": str(moved)}, part, set={"device": "cpu", "threads": 1}).runs
    assert [(run.name, run.identity) for run in again] == [(run.name, run.identity) for run in before]
    write_phantoms(tmp_path / "other", counts=COUNTS, size=32, seed=5)
    other = plan({**places, "one": str(tmp_path / "other")}, part).runs
    assert [run.name for run in other] == [run.name for run in before]
    assert not {run.identity for run in other} & {run.identity for run in before}
    longer = plan(places, part | {"set": {"epochs": 3}}).runs
    assert not {run.name for run in longer} & {run.name for run in before}
    monkeypatch.setattr(naming, "PROTOCOLS", {**PROTOCOLS, "metrics": PROTOCOLS["metrics"] + 1})
    later = plan(places, part).runs
    assert [run.name for run in later] == [run.name for run in before]
    assert [a.identity == b.identity for a, b in zip(later, before, strict=True)] == [True, False]
    monkeypatch.setattr(naming, "PROTOCOLS", {**PROTOCOLS, "losses": 2})
    trained = plan(places, part).runs
    assert not {run.identity for run in trained} & {run.identity for run in before}, "what reads it is outdated, too"


def test_changes_of_the_command_line(places: dict[str, str], tmp_path: Path) -> None:
    values = {
        "name": "s",
        "pools": {"both": ["one", "two"]},
        "parts": [{"name": "p", "models": ["unet"], "data": ["both"], "evaluate": [{"data": ["far"]}]}],
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(values))
    spec = read_study(str(tmp_path / "study.yaml"))
    assert datasets(spec) == ["one", "two", "far"]
    root = Path(places["one"]).parent
    moved = changed(spec, Changes(data_root=root, data={"far": "elsewhere"}, seeds=(3, 4), set={"epochs": 2}))
    assert moved.data == {"one": places["one"], "two": places["two"], "far": str(Path("elsewhere").absolute())}
    assert moved.parts[0].seeds == [3, 4]
    assert moved.set == {"epochs": 2}
    assert changed(spec, Changes(weights={"unet": "here"})).models["unet"].weights == "here"
    for wrong in (Changes(data={"on": "x"}), Changes(weights={"unett": "x"})):
        with pytest.raises(InputError, match=r"did you mean '(one|unet)'"):
            changed(spec, wrong)


def test_the_schema_knows_every_field() -> None:
    """An editor that follows it accepts a study file and refuses a wrong field."""
    values = json.loads(schema())
    assert {"name", "parts", "data", "models", "tables"} <= values["properties"].keys()
    assert values["additionalProperties"] is False
    assert (Path(__file__).parents[2] / "docs" / "study.schema.json").read_text() == schema()


def test_a_table_that_could_not_be_made_is_refused_before_anything_runs(
    places: dict[str, str], tmp_path: Path, vlseg: Callable[..., Any]
) -> None:
    """Two conditions in one place, or a label that no cell has: not after hours of work."""
    values = {
        "name": "s",
        "data": {"one": places["one"]},
        "parts": [
            {"name": "p", "models": ["unet"], "data": ["one"], "evaluate": [{"conditions": ["clean", "swapped"]}]}
        ],
    }
    for table, words in (
        ({"name": "t"}, "table 't': one place holds cells whose condition is 'clean' and 'swapped'"),
        ({"name": "t", "where": {"condition": "clean", "promt": "p1"}}, "promt"),
    ):
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(values | {"tables": [table]}))
        done = vlseg("study", "run", tmp_path / "study.yaml", "--out", tmp_path / "s")
        assert (done.code, words in done.err) == (2, True), done.err
        assert not (tmp_path / "s").exists()
