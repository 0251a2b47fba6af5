"""What compare puts side by side: every field of the records is judged, and evaluations made by hand are held to it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlseg.jobs.comparable import RECORD, ROW, SPEC
from vlseg.jobs.compare import compare_runs, comparison_for_report
from vlseg.jobs.leak import IMAGE_BLIND, differences, mean_dice
from vlseg.jobs.methods import method_difference
from vlseg.jobs.results import compared, gather, left_out, paired
from vlseg.jobs.scoring import plain_rows, told_by
from vlseg.records import EvaluationSpec, InputError, RunRecord, SampleScore, write_record, write_scores, write_text

WHEN = datetime(2026, 1, 1, tzinfo=UTC)
ROW_VALUES: dict[str, Any] = {
    "dataset": "d", "split": "test", "sample_id": "s", "image_id": "i", "group": None, "site": None,
    "target": "polyp", "named_target": "polyp", "prompt": "class", "wording": "polyp", "prompt_sources": "class",
    "deployable": True, "condition": "clean", "condition_arguments": "{}", "model": "m", "run_id": "r", "seed": 0,
    "protocol": "corrected", "threshold": 0.5, "precision": "fp32", "dice": 0.5, "iou": 0.4, "hd95": 2.0, "hd": 3.0,
    "nsd": 0.5, "nsd_tolerance": 2.0, "assd": 1.0, "distance_unit": "px", "spacing": None, "image_diagonal": 50.0,
    "presence_score": 0.5, "area": 3, "area_error": 0, "empty_target": False, "empty_pred": False, "pixels": 900,
}  # fmt: skip
SPEC_VALUES: dict[str, Any] = {
    "id": "d-test-class", "model": "m", "run_id": "r", "dataset": "d", "data_fingerprint": "f1", "split": "test",
    "data_fingerprints": {"d": "f1"}, "prompt": "class", "prompt_sources": ["class"], "deployable": True,
    "protocol": "corrected",
}  # fmt: skip


def rows(dice: list[float], **changes: Any) -> list[SampleScore]:
    return [
        SampleScore(**(ROW_VALUES | {"sample_id": f"s{i}", "image_id": f"i{i}", "dice": value} | changes))
        for i, value in enumerate(dice)
    ]


def evaluation(folder: Path, scores: list[SampleScore], **changes: Any) -> Path:
    spec = EvaluationSpec(**(SPEC_VALUES | changes))
    write_scores(folder / "scores.parquet", scores)
    write_text(folder / "spec.json", spec.model_dump_json())
    return folder


def run(folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    values: dict[str, Any] = {
        "id": folder.name, "status": "done", "config": {"model": "m", "seed": seed, "data": ["d"]},
        "seeds": {"run": seed}, "protocol": "corrected", "device": "cpu", "precision": "fp32", "threads": 1,
        "started": WHEN, "dataset": "d",
        "prompt": "class",
    }  # fmt: skip
    write_record(folder / "run.json", RunRecord(**(values | changes)))
    return folder


DICE = np.random.default_rng(0).beta(6, 2, 24).tolist()


def test_every_field_of_the_records_is_judged() -> None:
    """A new field is nobody's until somebody says whether scores that differ in it may stand side by side."""
    assert set(EvaluationSpec.model_fields) <= SPEC.keys()
    assert {one.name for one in fields(SampleScore)} == ROW.keys()
    assert set(RunRecord.model_fields) == RECORD.keys()


OTHER: dict[str, Any] = {"precision": "bf16", "nsd_tolerance": 1.0, "condition_arguments": {"of": "x"},
    "data_fingerprint": "f2", "data_fingerprints": {"d": "f2"}, "protocol": "published", "threshold": 0.35,
    "model_arguments": {"size": 1}, "cached_features": True, "query_seed": 3, "answers": "b2"}  # fmt: skip


@pytest.mark.parametrize("name", [name for name, rule in SPEC.items() if rule == "same"])
def test_two_runs_that_were_measured_unlike_are_refused(name: str, tmp_path: Path) -> None:
    one = evaluation(tmp_path / "a", rows(DICE), run_id="a")
    changes: dict[str, Any] = {name: OTHER[name]}
    if name == "data_fingerprint":
        changes["data_fingerprints"] = {}  # a record that does not have it by dataset
    two = evaluation(tmp_path / "b", rows(DICE), run_id="b", **changes)
    with pytest.raises(InputError, match=name.rstrip("s")):
        compare_runs([one, two], metric="nsd")
    if name == "nsd_tolerance":
        assert compare_runs([one, two])["pairs"][0]["difference"] == 0  # Dice does not depend on it


@pytest.mark.parametrize("name", [name for name, rule in SPEC.items() if rule in ("same_in_run", "own")])
def test_two_models_may_differ_in_what_is_theirs_but_one_run_may_not(name: str, tmp_path: Path) -> None:
    first, second = run(tmp_path / "r"), run(tmp_path / "q")
    evaluation(first / "evaluations" / "x", rows(DICE), run_id="r")
    evaluation(second / "evaluations" / "x", rows(DICE), run_id="q", **{name: OTHER[name]})
    told = compare_runs([first, second])["pairs"][0]["differs"]
    assert any(one.startswith(name) for one in told) == (SPEC[name] == "same_in_run")
    # The same run, in another folder.
    copy = tmp_path / "copy"
    shutil.copytree(first, copy)
    shutil.rmtree(copy / "evaluations")
    evaluation(copy / "evaluations" / "x", rows(DICE), run_id="r", **{name: OTHER[name]})
    with pytest.raises(InputError, match=f"are one run .*{name}"):
        compare_runs([first, copy])
    # Both in one run's folder: neither is taken silently.
    evaluation(first / "evaluations" / "y", rows(DICE), run_id="r", **{name: OTHER[name]})
    with pytest.raises(InputError, match=f"its evaluations differ in {name}"):
        compare_runs([first, second])
    assert name in str(comparison_for_report([first, second]))


def test_a_methods_name_tells_what_its_model_was_built_with(tmp_path: Path) -> None:
    """Twins are told apart by more than a mark; long values would hide the rest."""
    built = {"twin": {"text": "none", "encoder": "e" * 99}, "reads": {"text": "minilm"}}
    for name, arguments in built.items():
        config = {"model": "guide", "seed": 0, "data": ["d"], "model_arguments": arguments}
        evaluation(run(tmp_path / name, config=config) / "evaluations" / "x", rows(DICE), run_id=name)
    methods = [row["method"] for row in compare_runs([tmp_path / name for name in built])["methods"]]
    assert methods[0].startswith("model=guide, text=none [")
    assert methods[1].startswith("model=guide, text=minilm [")


def test_a_methods_name_tells_how_many_labels_it_had(tmp_path: Path) -> None:
    """Other labels make other methods, and no comparison of two of them is refused."""
    settings = [{"label_share": 0.25}, {"label_share": 0.25, "pseudo_labels": "epi", "lv_weight": 0.1}, {}]
    usual = {"model": "guide", "label_share": 1.0, "pseudo_labels": "none", "lv_weight": 0.0, "data": ["d"]}
    for number, changes in enumerate(settings):
        folder = run(tmp_path / str(number), config={**usual, "seed": 0, **changes})
        evaluation(folder / "evaluations" / "x", rows(DICE), run_id=str(number))
    found = compare_runs([tmp_path / str(number) for number in range(3)])
    names = [row["method"].partition(" [")[0] for row in found["methods"][:3]]
    assert names == [
        "model=guide, label_share=0.25",
        "model=guide, label_share=0.25, pseudo_labels=epi, lv_weight=0.1",
        "model=guide",
    ]
    assert [pair["differs"] for pair in found["pairs"]] == [
        ["pseudo_labels none, epi", "lv_weight 0.0, 0.1"],
        ["label_share 0.25, 1.0"],
        ["label_share 0.25, 1.0", "pseudo_labels epi, none", "lv_weight 0.1, 0.0"],
    ]


def test_a_methods_name_tells_how_it_was_attacked(tmp_path: Path) -> None:
    """Also beside a run of a version without these settings."""
    settings = [{}, {"adversarial": "pgd", "adversarial_epsilon": 0.5, "adversarial_steps": 3}]
    for number, changes in enumerate(settings):
        folder = run(tmp_path / str(number), config={"model": "guide", "data": ["d"], "seed": 0, **changes})
        evaluation(folder / "evaluations" / "x", rows(DICE), run_id=str(number))
    found = compare_runs([tmp_path / "0", tmp_path / "1"])
    names = [row["method"].partition(" [")[0] for row in found["methods"][:2]]
    assert names == ["model=guide", "model=guide, adversarial=pgd, adversarial_epsilon=0.5, adversarial_steps=3"]
    assert [pair["differs"] for pair in found["pairs"]] == [
        ["adversarial none, pgd", f"adversarial_epsilon {8 / 255}, 0.5", "adversarial_steps None, 3"]
    ]


def test_a_run_scored_otherwise_on_another_dataset_is_compared_on_one(tmp_path: Path) -> None:
    first, second = run(tmp_path / "r"), run(tmp_path / "q")
    for folder, name in ((first, "r"), (second, "q")):
        evaluation(folder / "evaluations" / "x", rows(DICE), run_id=name)
    here = {row.dataset for row in rows(DICE)}
    elsewhere = [replace(row, dataset="elsewhere") for row in rows(DICE)]
    evaluation(first / "evaluations" / "y", elsewhere, run_id="r", dataset="elsewhere", cached_features=True)
    with pytest.raises(InputError, match=r"differ in cached_features .*; give one dataset with --data, or one"):
        compare_runs([first, second])
    assert compare_runs([first, second], data=list(here))["pairs"][0]["difference"] == 0


@pytest.mark.parametrize("name", [name for name, rule in ROW.items() if rule == "same" and name != "precision"])
def test_one_sample_that_is_not_the_same_on_both_sides_is_refused(name: str, tmp_path: Path) -> None:
    other: Any = {"image_id": "z", "group": "g", "target": "vessel", "pixels": 7, "nsd_tolerance": 1.0,
        "distance_unit": "mm", "spacing": "1,1", "image_diagonal": 9.0}[name]  # fmt: skip
    changed = rows(DICE)
    changed[-1] = replace(changed[-1], **{name: other})
    if name == "distance_unit":
        changed = rows(DICE, distance_unit="mm")
    one = evaluation(tmp_path / "a", rows(DICE), run_id="a")
    two = evaluation(tmp_path / "b", changed, run_id="b")
    metric = {"image_diagonal": "hd95_penalised", "nsd_tolerance": "nsd", "distance_unit": "nsd"}.get(name, "hd95")
    with pytest.raises(InputError, match=f"different {name}"):
        compare_runs([one, two], metric=metric)


@pytest.mark.parametrize("metric", ["nsd", "hd95"])
def test_px_and_mm_have_no_common_mean(metric: str, tmp_path: Path) -> None:
    mixed = rows(DICE) + rows(DICE, dataset="e", distance_unit="mm", spacing="1,1")
    one, two = evaluation(tmp_path / "a", mixed, run_id="a"), evaluation(tmp_path / "b", mixed, run_id="b")
    with pytest.raises(InputError, match=f"{metric} in mm and px has no common mean; choose datasets with --data"):
        compare_runs([one, two], metric=metric)
    assert compare_runs([one, two], metric=metric, data=["e"])["pairs"][0]["n"] == 24
    assert compare_runs([one, two])["pairs"][0]["n"] == 48


def test_mask_files_have_no_precision_to_differ_in(tmp_path: Path) -> None:
    one = evaluation(tmp_path / "a", rows(DICE), run_id="a", precision="bf16")
    two = evaluation(tmp_path / "b", rows(DICE), run_id="b", model="masks", protocol="given")
    assert compare_runs([one, two])["pairs"][0]["n"] == 24


def test_evaluations_that_say_the_same_count_once_and_others_are_refused(tmp_path: Path) -> None:
    first, second = run(tmp_path / "r"), evaluation(tmp_path / "b", rows(DICE), run_id="b")
    evaluation(first / "evaluations" / "x", rows(DICE), run_id="r")
    evaluation(first / "evaluations" / "y", rows(DICE[:10]), run_id="r")  # again, or a part of it
    assert compare_runs([first, second])["pairs"][0]["difference"] == 0
    evaluation(first / "evaluations" / "y", rows([0.0] * 10), run_id="r")
    with pytest.raises(InputError, match="d was scored in x and in y with different results"):
        compare_runs([first, second])
    evaluation(first / "evaluations" / "y", rows(DICE), run_id="r", data_fingerprints={"d": "f2"})
    with pytest.raises(InputError, match="d was scored in x and in y on different data"):
        compare_runs([first, second])


def test_the_data_are_named_or_given_as_their_folder(tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    one = evaluation(tmp_path / "a", rows(DICE), run_id="a")
    two = evaluation(tmp_path / "b", rows(DICE), run_id="b")
    data, other = tmp_path / "folder", tmp_path / "other"
    data.mkdir()
    other.mkdir()
    (data / "dataset.json").write_text(json.dumps({"name": "d"}))
    assert vlseg("compare", one, two, "--data", data).code == 0
    assert vlseg("compare", one, two, "--data", "d").code == 0
    for wrong in (other, "other"):
        refused = vlseg("compare", one, two, "--data", wrong)
        assert refused.code == 2
        assert "no scores on a dataset called 'other' (it has d)" in refused.err


def test_what_is_not_compared_is_counted_by_reason(tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    first = rows([0.5] * 20)
    second = rows([0.6] * 22)[3:]
    second[0] = replace(second[0], dice=None)
    second[1] = replace(second[1], area=30)
    one, two = evaluation(tmp_path / "a", first, run_id="a"), evaluation(tmp_path / "b", second, run_id="b")
    pair = compare_runs([one, two])["pairs"][0]
    assert pair["left_out"] == {"only_first": 3, "only_second": 2, "undefined": 1, "other_truth": 1}
    assert pair["n"] + 3 + 1 + 1 == 20
    shown = " ".join(vlseg("compare", one, two).out.split())
    assert "not compared: 3 scored in the first alone, 2 scored in the second alone, 1 without a value" in shown


def test_identical_runs_show_nothing(tmp_path: Path) -> None:
    one, two = evaluation(tmp_path / "a", rows(DICE), run_id="a"), evaluation(tmp_path / "b", rows(DICE), run_id="b")
    other = evaluation(tmp_path / "c", rows((np.array(DICE) - 0.01).tolist()), run_id="c")
    pairs = compare_runs([one, two, other])["pairs"]
    assert (pairs[0]["difference"], pairs[0]["p"], pairs[0]["p_holm"], pairs[0]["ci95"]) == (0.0, 1.0, 1.0, None)
    assert pairs[1]["p_holm"] == pytest.approx(3 * pairs[1]["p"])  # the pair that is alike belongs to the family
    assert [pair["family"] for pair in pairs] == [3, 3, 3]


def test_a_plus_in_a_name_is_no_pool(tmp_path: Path) -> None:
    record = RunRecord.model_validate_json((run(tmp_path / "r", dataset="MosMedData+") / "run.json").read_text())
    assert record.trained_on == ("MosMedData+",)
    pool = record.model_copy(update={"dataset": "MosMedData++d", "datasets": ["MosMedData+", "d"]})
    assert pool.trained_on == ("MosMedData+", "d")
    old = record.model_copy(update={"dataset": "c+d", "config": {"data": ["x", "y"]}})
    assert old.trained_on == ("c", "d")
    source = run(tmp_path / "q", dataset="MosMedData+", config={"model": "m", "data": ["x"]})
    scores = rows(DICE, dataset="MosMedData+") + rows(DICE, dataset="e")
    evaluation(source / "evaluations" / "x", scores, run_id="q")
    two = evaluation(tmp_path / "b", scores, run_id="b")
    crossed = compare_runs([source, two])["cross_dataset"][0]
    assert (crossed["in_domain"], crossed["cross_dataset"]) == (pytest.approx(np.mean(DICE)),) * 2


def test_copies_of_one_seed_are_no_seeds(tmp_path: Path) -> None:
    sources = []
    for number in range(5):
        source = run(tmp_path / f"r{number}", seed=0)
        evaluation(source / "evaluations" / "x", rows((np.array(DICE) - 0.01 * number).tolist()), run_id=source.name)
        sources.append(source)
    method = compare_runs(sources)["methods"][0]
    assert (method["seeds"], method["ci95"], method["reason"]) == ([0] * 5, None, "a seed occurs more than once")


def test_runs_without_a_partner_are_counted() -> None:
    results = [replace(gather("r", "dice", rows(DICE)), seed=seed) for seed in range(5)]
    found = method_difference(results[:3], results)
    assert (found["runs_without_partner"], found["mean"], found["reason"]) == (2, 0.0, "3 seeds, fewer than 5")


def test_the_worth_and_its_columns_are_over_the_same_samples() -> None:
    """The same scores on both sides, one of them without some truths, of which one is another: no worth at all."""
    leaking = rows([0.9, 0.8, 0.1, 0.2, 0.7])
    honest = [*leaking[:2], replace(leaking[2], dice=None), replace(leaking[3], area=99), leaking[4]]
    pair = gather("honest", "dice", honest), gather("leaking", "dice", leaking)
    keys = compared(*pair)
    assert paired(*pair).difference == 0
    assert mean_dice(leaking, keys) == mean_dice(honest, keys) == pytest.approx((0.9 + 0.8 + 0.7) / 3)
    assert left_out(*pair) == {"only_first": 0, "only_second": 0, "undefined": 1, "other_truth": 1}


def test_each_row_resamples_with_its_own_group() -> None:
    """Two sets pooled, the patients of one known: those stay together."""
    known = [replace(row, group=f"p{index // 6}") for index, row in enumerate(rows(DICE))]
    result = gather("r", "dice", [*known, *rows(DICE, dataset="e")])
    assert len(set(result.groups.values())) == 4 + 24


def test_folders_of_masks_that_are_called_alike_are_two_readers(tmp_path: Path) -> None:
    """a/pred and b/pred, or one architecture zero-shot with two weights: neither one run nor seeds of one method."""
    shared: dict[str, Any] = {"run_id": "pred", "model": "masks", "protocol": "given"}
    one = evaluation(tmp_path / "a" / "pred", rows(DICE), answers="aaaaaaaa", **shared)
    two = evaluation(tmp_path / "b" / "pred", rows((np.array(DICE) - 0.1).tolist()), answers="bbbbbbbb", **shared)
    found = compare_runs([one, two])
    assert found["pairs"][0]["difference"] == pytest.approx(-0.1)
    methods = [one for one in found["methods"] if "minus" not in one["method"]]
    assert [len(one["means"]) for one in methods] == [1, 1]


def test_an_uncertainty_beside_the_scores_changes_none_of_them(tmp_path: Path) -> None:
    first, second = run(tmp_path / "r"), evaluation(tmp_path / "b", rows(DICE), run_id="b")
    evaluation(first / "evaluations" / "x", rows(DICE), run_id="r")
    evaluation(first / "evaluations" / "y", rows(DICE, uncertainty=0.3), run_id="r", uncertainty="flip")
    assert compare_runs([first, second])["pairs"][0]["n"] == len(DICE)


def test_two_states_of_a_set_are_not_joined_where_they_share_no_sample(tmp_path: Path) -> None:
    first, second = run(tmp_path / "r"), evaluation(tmp_path / "b", rows(DICE), run_id="b")
    new = [replace(row, sample_id=f"new{row.sample_id}") for row in rows(DICE)]
    evaluation(first / "evaluations" / "x", rows(DICE), run_id="r")
    evaluation(first / "evaluations" / "y", new, run_id="r", data_fingerprints={"d": "f2"})
    with pytest.raises(InputError, match="d was scored in x and in y on different data"):
        compare_runs([first, second])


@pytest.mark.parametrize("asked", [{"model_arguments": {"size": 64}}, {"cached_features": True}])
def test_seeds_that_were_asked_in_two_ways_are_two_methods(asked: dict[str, Any], tmp_path: Path) -> None:
    sources = [run(tmp_path / f"r{seed}", seed=seed) for seed in (0, 1)]
    evaluation(sources[0] / "evaluations" / "x", rows(DICE), run_id="r0")
    evaluation(sources[1] / "evaluations" / "x", rows(DICE), run_id="r1", seed=1, **asked)
    methods = [one for one in compare_runs(sources)["methods"] if "minus" not in one["method"]]
    assert [one["seeds"] for one in methods] == [[0], [1]]


def test_what_else_the_runs_of_a_worth_differ_in_is_told(tmp_path: Path) -> None:
    """A leak is worth what the prompt changes: other epochs, another model or other data would be counted with it."""
    leaking = [run(tmp_path / "a", config={"model": "m", "prompt": "p6", "epochs": 5, "seed": 0, "data": ["here"]})]
    honest = [run(tmp_path / "b", config={"model": "m", "prompt": "p1", "epochs": 5, "seed": 1, "data": ["there"]})]
    assert differences([str(one) for one in leaking], [str(one) for one in honest]) == []
    other = run(tmp_path / "c", config={"model": "n", "prompt": "p1", "epochs": 9, "seed": 0}, dataset="e")
    told = differences([str(leaking[0])], [str(other)])
    assert told == ["model m, n", "epochs 5, 9", "data ['d'], ['e']"]


def test_swapped_prompts_are_not_averaged_over_both_truths() -> None:
    """A model that follows the words: 0 on the own target, 1 on the named one, and 0.5 on nothing."""
    against = [json.dumps({"against": kind}) for kind in ("original", "named")]
    scores = [
        replace(row, condition="swapped", condition_arguments=kind, dice=float("named" in kind))
        for row in rows(DICE)
        for kind in against
    ]
    assert {row.dice for row in plain_rows(scores)} == {0.0}
    assert {row.dice for row in plain_rows(scores, "named")} == {1.0}
    corrupted = [*rows([0.9]), *rows([0.1], condition="blur", condition_arguments=json.dumps({"severity": 5}))]
    assert [row.dice for row in plain_rows(corrupted)] == [0.9]


def test_a_prompt_without_its_image_is_not_told_nothing() -> None:
    assert (told_by(None, "blind"), told_by(None, IMAGE_BLIND)) == ("nothing", "unknown")
