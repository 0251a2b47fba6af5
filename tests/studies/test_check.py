"""Mistakes that people make in a study's file: each is one line before anything runs."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from vlseg.phantoms import write_phantoms
from vlseg.records import InputError
from vlseg.records.study import Plan, parse_study
from vlseg.studies.expand import expand
from vlseg.studies.read import Changes, built_in, changed, read_study
from vlseg.studies.run import MissingError, RunOptions, prepare
from vlseg.studies.tables import check_tables, default_tables
from vlseg.studies.tiny import at_tiny_scale

PART = {"name": "p", "models": ["u"], "data": ["one"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("data")
    write_phantoms(root / "one", counts={"train": 2, "val": 1, "test": 2}, size=32)
    write_phantoms(root / "untested", counts={"train": 2, "val": 1}, size=32)
    return {"one": str(root / "one"), "untested": str(root / "untested")}


def planned(data: dict[str, str], *parts: dict[str, Any], **more: Any) -> Plan:
    values = {"name": "s", "data": data, "models": {"u": {"model": "unet"}}, "parts": [{**PART, **p} for p in parts]}
    return expand(parse_study(values | more, "study.yaml"))


def refused(words: str, call: Callable[[], object]) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        call()


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"prompts": "class"}, "field 'parts.0.prompts': Input should be a valid list; write [class]"),
        ({"evaluate": [{"data": "far"}]}, "field 'parts.0.evaluate.0.data': Input should be a valid list; write [far]"),
        ({"seed": [0]}, "field 'parts.0.seed': there is no field of this name here"),
        ({"set": {"seed": 3}}, "part 'p': set: 'seed' is listed by each part; give it under seeds"),
        ({"axes": {"prompt": ["class"]}}, "axes: 'prompt' is listed by each part; give it under prompts"),
        ({"regimes": ["full"], "set": {"regime": "decoder"}}, "regimes: the regime is set, too"),
        ({"evaluate": [{"models": ["unet"]}]}, "evaluate: unknown model of the part 'unet'"),
        ({"probe": [{"models": ["v"]}]}, "probe: unknown model of the part 'v'"),
        ({"exclude": [{"model": ["u", "v"]}]}, "exclude: unknown model of the part 'v'"),
        ({"folds": 2, "evaluate": [{"split": "val"}]}, "folds: split 'test' alone can be asked about"),
        ({"worth": [{"leaking": "class", "honest": "class"}]}, "worth: compares 'class' with itself"),
        (
            {"prompts": ["class", "class+attributes"], "worth": [{"leaking": "class", "honest": "class+attributes"}]},
            "worth: 'class+attributes' of one is not deployable (class, mask)",
        ),
        ({"train": False, "seeds": [0, 1], "probe": [{}]}, "train: false: takes no seeds, probe"),
        ({"train": False, "evaluate": [{"prompts": ["class"]}]}, "train: false: asks about the part's own"),
    ],
)
def test_parts_that_contradict_themselves(part: dict[str, Any], words: str, data: dict[str, str]) -> None:
    refused(words, lambda: planned(data, part))


@pytest.mark.parametrize(
    ("pools", "words"),
    [
        ({"one": ["one", "untested"]}, "'one' is a dataset, too"),
        ({"a": ["one", "untested"], "b": ["a"]}, "'b' holds the pool 'a'"),
        ({"a": ["one", "one"]}, "'a' names a dataset twice"),
        ({"a": ["one", "again"]}, "'a' holds one folder under two names"),
    ],
)
def test_pools_that_cannot_be_meant(pools: dict[str, Any], words: str, data: dict[str, str]) -> None:
    refused(words, lambda: planned({**data, "again": data["one"]}, {}, pools=pools))


def test_a_table_of_a_part_that_is_not_there(data: dict[str, str]) -> None:
    table = {"name": "t", "where": {"part": ["p", "q"]}}
    refused("table 't': where: unknown part 'q'", lambda: planned(data, {}, tables=[table]))


def test_a_part_alone_has_tables_of_itself(data: dict[str, str], tmp_path: Path) -> None:
    tables = [{"name": "both", "where": {"part": ["p", "q"]}}, {"name": "other", "where": {"part": "q"}}]
    values = {"name": "s", "data": data, "parts": [{**PART, "name": name, "models": ["unet"]} for name in "pq"]}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({**values, "tables": tables}))
    spec = changed(read_study(str(tmp_path / "s.yaml")), Changes(parts=("p",)))
    assert [(table.name, table.where) for table in spec.tables] == [("both", {"part": ["p"]})]
    expand(spec)


def test_a_key_that_is_given_twice(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("name: s\nset: {epochs: 1}\nparts: []\nset: {batch_size: 1}\n")
    refused("s.yaml: broken YAML ('set' is given twice, again in line 4", lambda: read_study(str(tmp_path / "s.yaml")))


def test_exponents_are_numbers(tmp_path: Path) -> None:
    part = "{name: p, models: [u], data: [one], axes: {learning_rate: [1e-3, '1e-4', 2.E-4, -1e5]}}"
    (tmp_path / "s.yaml").write_text(f"name: s\nparts:\n  - {part}\n")
    assert read_study(str(tmp_path / "s.yaml")).parts[0].axes["learning_rate"] == [1e-3, "1e-4", 2e-4, -1e5]


def test_a_split_without_images_is_told_before_anything_is_trained(data: dict[str, str], tmp_path: Path) -> None:
    values = {"name": "s", "data": data, "parts": [{**PART, "models": ["unet"], "data": ["one", "untested"]}]}
    with pytest.raises(MissingError) as error:
        prepare(parse_study(values, "s"), tmp_path / "s", RunOptions())
    (line,) = error.value.lines
    assert line.startswith(f"split 'test' of untested: {data['untested']}: has no images in it (it has train, val)")
    plan = prepare(parse_study(values, "s"), tmp_path / "s", RunOptions(skip_missing=True))
    assert sorted((run.kind, run.labels["trained_on"]) for run in plan.runs) == [
        ("evaluate", "one"),
        ("train", "one"),
        ("train", "untested"),
    ]


def test_the_command_line_is_over_the_file(data: dict[str, str], tmp_path: Path) -> None:
    values = {
        "name": "s",
        "data": data,
        "set": {"epochs": 3, "model_arguments": {"image_size": 32}},
        "models": {"u": {"model": "unet", "set": {"epochs": 7}}},
        "parts": [{**PART, "set": {"epochs": 9}}],
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(values))
    plan = expand(changed(read_study(str(tmp_path / "s.yaml")), Changes(set={"epochs": 2})))
    config = next(run.config for run in plan.runs if run.kind == "train")
    assert (config["epochs"], config["model_arguments"]) == (2, {"image_size": 32})


def test_labels_tell_the_protocol_that_was_trained_under(data: dict[str, str]) -> None:
    """guide has no published recipe, smp-unet has."""
    plan = planned(data, {"models": ["guide", "smp-unet"], "evaluate": []}, protocol="published")
    assert {run.labels["model"]: run.labels["protocol"] for run in plan.runs} == {
        "guide": "corrected",
        "smp-unet": "published",
    }


def test_weights_of_another_model(data: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"vlseg": {"model": "clipseg-tiny"}}')
    weights = str(tmp_path)
    for train in (True, False):
        refused(
            f"part 'p': weights of 'u': {weights} holds a 'clipseg-tiny', not a 'unet'",
            lambda train=train: planned(data, {"train": train}, models={"u": {"model": "unet", "weights": weights}}),
        )


def test_a_plan_that_is_only_looked_at_changes_nothing(
    data: dict[str, str], tmp_path: Path, vlseg: Callable[..., Any]
) -> None:
    (tmp_path / "s.yaml").write_text(
        yaml.safe_dump({"name": "s", "data": data, "parts": [{**PART, "models": ["unet"]}]})
    )
    command = ["study", "run", tmp_path / "s.yaml", "--out", tmp_path / "s", "--no-estimate", "--plan"]
    assert vlseg(*command).code == 0
    before = {file: file.read_bytes() for file in (tmp_path / "s").rglob("*") if file.is_file()}
    done = vlseg(*command, "--set", "epochs=2", "--seed", 1, "--redo", "*", "--json")
    assert (done.code, done.json["total"]) == (0, 2), done.err
    assert {file: file.read_bytes() for file in (tmp_path / "s").rglob("*") if file.is_file()} == before


def test_a_study_s_folder_is_not_cut_down_to_a_part(
    data: dict[str, str], tmp_path: Path, vlseg: Callable[..., Any]
) -> None:
    """Its study.yaml may be the only one there is."""
    prepare(
        parse_study({"name": "s", "data": data, "parts": [{**PART, "models": ["unet"]}]}, "s"), tmp_path, RunOptions()
    )
    done = vlseg("study", "run", tmp_path, "--part", "p", "--plan")
    assert done.code == 2
    assert "--part: give the study's file or name" in done.err


def test_a_built_in_study_goes_on_from_any_folder() -> None:
    spec = changed(read_study("what-is-the-sentence-worth"), Changes())
    assert spec.data == {"busi": str(Path("data/busi").absolute())}


def test_folds_and_shares_hold_back_what_the_run_before_has_seen(data: dict[str, str]) -> None:
    first = {"name": "a"}
    for apart in ({"folds": 2}, {"shares": [0.5]}, {"set": {"label_share": 0.5}}, {"axes": {"label_share": [0.5]}}):
        second = {"name": "b", "start_from": "a", **apart}
        refused("have seen images of 'one'", lambda second=second: planned(data, first, second))
        planned(data, {**first, **apart}, second)


def test_untrained_models_and_mask_files_are_asked_with_the_study_s_settings(
    data: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vlseg.studies.places.Places.weights", lambda self, source, revision: "digest")
    (tmp_path / "masks").mkdir()
    models = {"u": {"model": "unet", "weights": "x", "set": {"model_arguments.image_size": 64}}}
    external = [{"name": "theirs", "masks": str(tmp_path / "masks"), "data": ["one"]}]
    settings = {"target": "dark cyst", "model_arguments": {"width": 8}}
    plan = planned(data, {"train": False}, models=models, external=external, set=settings)
    ours, theirs = plan.runs
    assert ours.config["model_arguments"] == {"width": 8, "image_size": 64}
    assert (ours.config["target"], theirs.config["target"]) == ("dark cyst", "dark cyst")


def test_tables_that_nobody_named_tell_apart_what_differs(data: dict[str, str]) -> None:
    plan = planned(
        data,
        {
            "name": "my part/1",
            "regimes": ["full", "decoder"],
            "shares": [0.5, 1.0],
            "axes": {"epochs": [1, 2]},
            "evaluate": [{}, {"split": "val"}, {"conditions": ["blind"]}],
        },
        {"name": "index"},
    )
    check_tables(plan)
    first, second = default_tables(plan)
    assert (first.name, second.name) == ("my-part-1", "index-2")
    assert set(first.rows) == {"model", "trained_on", "asked", "regime", "share", "epochs", "split"}
    assert second.rows == ["model", "trained_on", "asked"]


@pytest.mark.parametrize("page", ["studies", "studies-search", "studies-tables"])
def test_the_files_of_the_docs_are_studies(page: str, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / f"{page}.md").read_text()
    values = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0])
    if "parts" not in values:  # tables alone, of the paper's study
        values = {**yaml.safe_load(built_in()["medvlsm"].read_text()), **values}
    spec = at_tiny_scale(changed(parse_study(values, page), Changes()), tmp_path)
    plan = expand(spec)
    assert plan.runs or plan.searches
    check_tables(plan)
