"""The studies that come with vlseg: expanded as a whole, and run at tiny scale."""

import csv
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from vlseg.records.study import LEFT_OUT, Plan
from vlseg.reports.tables import check_specs
from vlseg.studies.expand import expand
from vlseg.studies.read import Changes, built_in, changed, read_study
from vlseg.studies.status import look
from vlseg.studies.tables import cells_of
from vlseg.studies.tiny import at_tiny_scale

SETS_WITH_TRAINING = (
    "kvasir-seg",
    "cvc-clinicdb",
    "bkai-igh",
    "isic-2016",
    "dfuc-2022",
    "camus",
    "busi",
    "chexlocalize",
)


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Plan]:
    """By study and protocol, at tiny scale."""
    out = tmp_path_factory.mktemp("tiny")
    return {
        (name, protocol): expand(at_tiny_scale(changed(read_study(name), Changes(protocol=protocol)), out))
        for name in built_in()
        for protocol in ("corrected", "published")
    }


def test_each_expands_under_each_protocol(plans: dict[tuple[str, str], Plan]) -> None:
    assert {name for name, _ in plans} == {
        "adversarial",
        "lvit",
        "medvlsm",
        "unet-transfer",
        "vlsm-adapter",
        "vlsm-ensemble",
        "what-is-the-sentence-worth",
    }
    for (name, protocol), plan in plans.items():
        assert plan.runs, name
        assert not [hole for hole in plan.holes if hole.what != LEFT_OUT], name
        assert plan.study.phantoms
        check_specs(plan.study.tables)
        losses = {run.config["loss"] for run in plan.runs if run.kind == "train"}
        if name == "medvlsm":
            assert losses == ({"dice_bce"} if protocol == "corrected" else {"published", "present_dice"})


def test_the_papers_grid_is_whole(plans: dict[tuple[str, str], Plan]) -> None:
    """What has a published number, by model, dataset and prompt, is a run, or is left out for a reason."""
    from vlseg.reports.published import published_table

    plan = plans["medvlsm", "corrected"]
    evaluations = [run for run in plan.runs if run.kind == "evaluate"]
    there = {
        (part, run.labels["model"], run.labels["trained_on"], run.labels["data"], run.labels["asked"])
        for run in evaluations
        for part in run.parts
    }
    left_out = {
        (part, hole.labels["model"], hole.labels["trained_on"], hole.labels.get("data", hole.labels["trained_on"]))
        for hole in plan.holes
        for part in hole.parts
    }
    for part, key in (("zero-shot", "medvlsm/prompts/zero-shot"), ("prompts", "medvlsm/prompts/finetuned")):
        cells = published_table(key).cells
        assert len(cells) > 100
        for cell in cells:
            data, model, asked = (cell.labels[name] for name in ("data", "model", "asked"))
            on = "" if part == "zero-shot" else data
            found = (part, model, on, data, asked) in there
            excluded = asked == "p0" and (part, model, on, data) in left_out
            assert found or excluded, (part, model, data, asked)
    trained = [run for run in plan.runs if run.kind == "train" and "prompts" in run.parts]
    assert len(trained) == 4 * (5 * 10 + 8 + 7 + 7) - 4 * 2  # without p0 on the two sets of several targets
    assert {run.labels["trained_on"] for run in trained} == set(SETS_WITH_TRAINING)
    for part, key, on in (
        ("individual", "medvlsm/table2/individual", None),
        ("pooled", "medvlsm/table2/pooled-all", "all"),
        ("pooled", "medvlsm/table2/pooled-endoscopy", "endoscopy"),
    ):
        for cell in published_table(key).cells:
            data, model = cell.labels["data"], cell.labels["model"]
            if model != "cited-sota":
                name = f"{part}-cnn" if model.startswith("smp-") else part
                assert any(one[:4] == (name, model, on or data, data) for one in there), (key, model, data)


def test_adapters_are_beside_their_published_numbers(plans: dict[tuple[str, str], Plan]) -> None:
    from vlseg.reports.published import published_table

    plan = plans["vlsm-adapter", "corrected"]
    runs = [run for run in plan.runs if run.kind == "train"]
    assert len(runs) == 9 * 8 * 2  # models, datasets, prompts; of three seeds the first
    there = {(run.labels["model"], run.labels["trained_on"]): run.config for run in runs}
    for metric in ("dice", "iou", "hd95"):
        for cell in published_table(f"vlsm-adapter/table1/{metric}").cells:
            if cell.labels["model"] != "san":
                assert (cell.labels["model"], cell.labels["data"]) in there
    trained = {model: (config["regime"], config["learning_rate"]) for (model, _), config in there.items()}
    assert trained["clipseg"] == ("decoder", 1e-3)  # what trained under the paper's "full"
    assert trained["clipseg-sa"] == ("shallow_vlc", 3e-4)  # of 4.2 million
    assert trained["clipseg-da"] == ("dense_vl", 1e-3)  # of 3 million
    published = [run for run in plans["vlsm-adapter", "published"].runs if run.kind == "train"]
    assert {run.config["protocol"] for run in published if run.labels["model"].startswith("clipseg-")} == {"corrected"}


def test_vlsm_ensembles_networks_stand_beside_what_they_are_made_of(plans: dict[tuple[str, str], Plan]) -> None:
    """On the paper's five sets; encoders are frozen, and UNet-D, which has none of theirs, is not."""
    sets = ("kvasir-seg", "cvc-clinicdb", "bkai-igh", "busi", "chexlocalize")
    readers = ("clipseg", "biomedclipseg", "vlsm-ensemble-a", "vlsm-ensemble-b", "vlsm-ensemble-c")
    expected = {(model, data, prompt, "decoder") for model in readers for data in sets for prompt in ("p6", "class")}
    expected |= {("unet-d", data, "class", "full") for data in sets}
    for protocol in ("corrected", "published"):
        plan = plans["vlsm-ensemble", protocol]
        labels = [run.labels for run in plan.runs if run.kind == "train"]
        assert {(one["model"], one["trained_on"], one["prompt"], one["regime"]) for one in labels} == expected
    biomed = read_study("vlsm-ensemble").models["vlsm-ensemble-c"]
    assert biomed.set == {"model_arguments": {"clipseg": read_study("vlsm-ensemble").models["clipseg"].weights}}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["what-is-the-sentence-worth", "unet-transfer"])
def test_tiny_fills_every_table(name: str, tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    done = vlseg("study", "run", name, "--scale", "tiny", "--out", tmp_path / "s", "--workers", 1, "--json")
    assert done.code == 0, done.err
    assert done.json["done"] == done.json["total"]
    plan = Plan.read(tmp_path / "s")
    cells, holes = cells_of(plan, look(tmp_path / "s", plan))
    assert holes == []
    assert {cell.labels["part"] for cell in cells} == {part.name for part in plan.study.parts}
    for table in plan.study.tables:
        text = (tmp_path / "s" / "report" / "tables" / f"{table.name}.csv").read_text()
        rows = list(csv.DictReader(text.splitlines()))
        assert rows, table.name
        if table.name not in ("presence", "changed-words", "transfer-distances"):  # six images may hold too little
            assert all(row["mean"] and not row["hole"] for row in rows), table.name
        assert not any(row["difference"] for row in rows)
    index = (tmp_path / "s" / "report" / "tables" / "index.md").read_text()
    assert "Made-up data" in index
    again = vlseg("report", tmp_path / "s", "--json")
    assert again.code == 0
    assert (tmp_path / "s" / "report" / "tables" / "index.md").read_text() == index


def test_lvits_shares_of_labels_are_whole(plans: dict[tuple[str, str], Plan]) -> None:
    """What has a published number is a run of the part that trains as the paper did, and each has its control."""
    from vlseg.reports.published import published_table

    plan = plans["lvit", "corrected"]
    trained = [run for run in plan.runs if run.kind == "train"]
    there = {
        (run.labels["model"], run.labels["trained_on"], float(run.labels["label_share"]), part): run.config
        for run in trained
        for part in run.parts
    }
    assert len(there) == len(trained)
    for cell in published_table("lvit/shares/dice").cells:
        model, data, share = cell.labels["model"], cell.labels["data"], float(cell.labels["label_share"])
        part = "text" if model == "lvit" else "no-text"
        config = there[model, data, share, part if share == 1 else f"{part}-fewer"]
        lv_weight = 0.1 if share < 1 and model == "lvit" else 0.0
        assert (config["label_share"], config["lv_weight"]) == (share, lv_weight)
        assert config["pseudo_labels"] == ("epi" if share < 1 else "none")
        if share < 1:
            assert there[model, data, share, f"{part}-labelled-alone"]["pseudo_labels"] == "none"
    sets = {"qata-cov19", "mosmeddata-plus", "monuseg"}
    assert {data for _, data, share, _ in there if share == 1} == sets
    asked = {(run.labels["model"], run.labels["asked"]) for run in plan.runs if run.kind == "evaluate"}
    assert asked == {("lvit", "text"), ("lvit", "class"), ("lvit-tw", "class")}


def part_of(name: str, file: Path, models: Collection[str], data: str) -> Path:
    """The built-in study with some of its models, one dataset, the first of its axes' values, and all of its tables."""
    values = yaml.safe_load(built_in()[name].read_text())
    for part in values["parts"]:
        part["models"] = [model for model in part["models"] if model in models]
        part |= {"data": [data]} | ({"prompts": part["prompts"][:1]} if "prompts" in part else {})
        part["axes"] = {key: listed[:1] for key, listed in part.get("axes", {}).items()}
    values["parts"] = [part for part in values["parts"] if part["models"]]
    left = [part["name"] for part in values["parts"]]
    for table in values["tables"]:
        if "part" in table.get("where", {}):
            table["where"]["part"] = [name for name in table["where"]["part"] if name in left]
    file.write_text(yaml.safe_dump(values))
    return file


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "models", "data"),
    [
        ("vlsm-ensemble", ("biomedclipseg", "vlsm-ensemble-c", "unet-d"), "bkai-igh"),
        ("lvit", ("lvit",), "qata-cov19"),
    ],
)
def test_tiny_of_a_part_fills_every_table(
    name: str, models: tuple[str, ...], data: str, tmp_path: Path, vlseg: Callable[..., Any]
) -> None:
    study = part_of(name, tmp_path / "study.yaml", models, data)
    done = vlseg("study", "run", study, "--scale", "tiny", "--out", tmp_path / "s", "--workers", 1, "--json")
    assert done.code == 0, done.err
    assert done.json["done"] == done.json["total"]
    for table in Plan.read(tmp_path / "s").study.tables:
        text = (tmp_path / "s" / "report" / "tables" / f"{table.name}.csv").read_text()
        rows = [row for row in csv.DictReader(text.splitlines()) if row["n"] or row["hole"]]  # others are published
        assert rows, table.name
        if table.kind != "probe":  # three images may hold too little
            assert all(row["mean"] and not row["hole"] for row in rows), table.name


@pytest.mark.slow
def test_adapters_run_at_tiny_scale(tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    """The whole grid is 144 trainings: here one dataset and one prompt of it."""
    spec = read_study("vlsm-adapter").model_dump(mode="json", exclude_none=True)
    spec["parts"] = [{**spec["parts"][0], "data": ["busi"], "prompts": ["class"]}]
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(spec))
    place = tmp_path / "s"
    done = vlseg("study", "run", tmp_path / "study.yaml", "--scale", "tiny", "--out", place, "--workers", 1, "--json")
    assert done.code == 0, done.err
    assert done.json["done"] == done.json["total"] == 9 * 3  # trained, evaluated, probed
    rows = list(csv.DictReader((place / "report" / "tables" / "table1-dice.csv").read_text().splitlines()))
    assert sum(bool(row["mean"]) for row in rows) == 9
    stored = {
        run.config["regime"]: place / "runs" / run.name / "model"
        for run in Plan.read(place).runs
        if run.kind == "train"
    }
    held = load_file(stored["dense_vl"] / "added.safetensors")
    assert {name.partition(".")[0] for name in held} == {"image_additions", "text_additions"}
    assert not (stored["dense_vl"] / "base").exists()  # it lies with the study's weights


@pytest.mark.slow
def test_a_study_without_tables_gets_one_a_part(tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    """Holes are told with their reasons: not run yet, failed, and what waits for it."""
    from vlseg.phantoms import write_phantoms

    write_phantoms(tmp_path / "ph", counts={"train": 2, "val": 1, "test": 2}, size=32)
    text = """
name: small
data: {ph: ph}
set: {max_steps: 1, device: cpu}
parts:
  - {name: one, models: [unet], data: [ph]}
  - {name: two, models: [clipseg-tiny], data: [ph], prompts: [class], set: {model_arguments: {image_size: 31}}}
"""
    (tmp_path / "study.yaml").write_text(text)
    planned = vlseg("study", "run", tmp_path / "study.yaml", "--out", tmp_path / "s", "--plan")
    assert planned.code == 0, planned.err
    assert vlseg("report", tmp_path / "s").code == 0
    page = (tmp_path / "s" / "report" / "tables" / "one.md").read_text()
    assert "planned" in page
    done = vlseg("study", "run", tmp_path / "study.yaml", "--out", tmp_path / "s", "--workers", 1, "--json")
    assert (done.code, done.json["failed"], len(done.json["blocked"])) == (1, 1, 1), done.err
    (failure,) = done.json["failures"]
    assert failure["run"].startswith("clipseg-tiny_ph_class")
    page = (tmp_path / "s" / "report" / "tables" / "two.md").read_text().replace("\\_", "_")
    assert f"waits for {failure['run']}, which failed" in page
    assert "planned" not in (tmp_path / "s" / "report" / "tables" / "one.md").read_text()
