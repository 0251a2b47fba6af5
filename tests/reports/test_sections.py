"""Tables that join several evaluations, from records made by hand."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from vlseg.records import EvaluationSpec, RunRecord, SampleScore
from vlseg.reports.load import EvaluationOnDisk, RunOnDisk, alike
from vlseg.reports.results import result_rows, worst
from vlseg.reports.sections import by_prompt, cross_dataset, leak_worths
from vlseg.reports.words import first_screen

SCENE = "from the made-up scene, as someone who sees it would say it"


def scored(dataset: str, dice: float, state: str = "f", name: str = "", **changes: Any) -> EvaluationOnDisk:
    spec = EvaluationSpec(
        id="x", model="m", run_id="r", dataset=dataset, data_fingerprint=state, split="test", prompt="class",
        prompt_sources=["class"], deployable=True, protocol="corrected",
        **changes,
    )  # fmt: skip
    rows = [
        SampleScore(
            dataset=dataset, split="test", sample_id=f"s{i}", image_id=f"i{i}", group=None, site=None, target="t",
            named_target="t", prompt="class", wording="t", prompt_sources="class", deployable=True, condition="clean",
            condition_arguments="{}", model="m", run_id="r", seed=0, protocol="corrected", threshold=0.5,
            precision="fp32", dice=dice, iou=dice, hd95=1.0, hd=1.0, nsd=dice, nsd_tolerance=2.0, assd=1.0,
            distance_unit="px", spacing=None, image_diagonal=9.0, presence_score=None, area=1, area_error=0,
            empty_target=False, empty_pred=False,
        )
        for i in range(3)
    ]  # fmt: skip
    return EvaluationOnDisk(Path(name), spec, rows)


def a_run(evaluations: list[EvaluationOnDisk], dataset: str = "MosMedData+") -> RunOnDisk:
    record = RunRecord(
        id="r", status="done", config={"data": ["x"]}, protocol="corrected", device="cpu", precision="fp32", threads=1,
        seeds={"run": 0}, started=datetime(2026, 1, 1, tzinfo=UTC), dataset=dataset, prompt="class",
    )  # fmt: skip
    return RunOnDisk(Path("r"), record, [], evaluations)


def test_the_matrix_holds_one_way_of_scoring_and_one_state_of_the_data() -> None:
    evaluations = [
        scored("MosMedData+", 0.1, threshold=0.9, threshold_origin="fixed"),
        scored("MosMedData+", 0.8),
        scored("other", 0.6),
        scored("other", 0.0, state="another"),
    ]
    matrix = cross_dataset([a_run(evaluations)])
    assert matrix is not None
    row = matrix["rows"][0]
    assert {name: cell["mean"] for name, cell in row["means"].items()} == pytest.approx(
        {"MosMedData+": 0.8, "other": 0.6}
    )
    assert row["means"]["MosMedData+"]["seen"]
    assert not row["means"]["other"]["seen"]
    assert row["crossing"].drop == pytest.approx(0.2)
    assert row["unused"] == 1
    assert row["spec"].threshold == 0.5


def test_evaluations_are_alike_in_what_was_measured_alone() -> None:
    one = scored("d", 0.5).spec
    assert alike(one, scored("d", 0.5, condition="swapped", seconds=3.0).spec)
    ways: list[dict[str, Any]] = [
        {"threshold": 0.3}, {"precision": "bf16"}, {"nsd_tolerance": 1.0}, {"answers": "x"},
        {"model_arguments": {"size": 64}}, {"cached_features": True},
    ]  # fmt: skip
    for changes in ways:
        assert not alike(one, scored("d", 0.5, **changes).spec)
    assert not alike(one, scored("d", 0.5, state="g").spec)


def test_two_evaluations_of_one_split_are_told_apart() -> None:
    two = [scored("d", 0.5, name="d-test-class"), scored("d", 0.4, name="d-test-class-threshold-0.9", threshold=0.9)]
    run = a_run(two, "d")
    assert [row.evaluation.name for row in result_rows([run])] == [one.name for one in two]
    assert [row.beside for row in result_rows([run])] == [one.name for one in two]
    assert [(name, row.dice) for _, name, row in worst([run])[2:4]] == [(two[1].name, 0.4), (two[0].name, 0.5)]


def test_a_pools_ceilings_are_not_those_of_its_parts() -> None:
    """A part may lie above the ceiling of the whole and read nothing."""
    both = scored("d", 0.9, text_blind_ceiling=0.7, class_ceiling=0.8, ceiling_reason="why")
    both.scores.extend(scored("e", 0.5).scores)
    table = result_rows([a_run([both], "d")])
    assert [(row.dataset, row.ceilings) for row in table] == [
        ("d", (0.7, 0.8, "why")),
        ("d", (None, None, None)),
        ("e", (None, None, None)),
    ]


def test_a_part_of_a_pool_has_its_own_words_and_real_images_are_not_of_a_scene() -> None:
    pool = scored("d", 0.9)
    pool.scores.extend(replace(row, prompt_sources="class,mask") for row in scored("e", 0.5).scores)
    changes = {"dataset": "d+e", "data_fingerprints": {"d": "f", "e": "g"}, "prompt_sources": ["class", "mask"]}
    for phantoms, told in (
        ([], ["from the mask", "a user has it", "from the mask"]),
        (["d"], ["from the mask", "a user has it", "from the mask"]),
        (["e"], ["from the mask", "a user has it", SCENE]),
        (["d", "e"], [SCENE, "a user has it", SCENE]),
    ):
        spec = pool.spec.model_copy(update={**changes, "phantoms": phantoms})
        rows = result_rows([a_run([replace(pool, spec=spec)], "d")])
        assert [row.origin for row in rows] == told


def test_the_worth_of_an_earlier_version_is_not_shown(tmp_path: Path) -> None:
    """Its columns were over other samples than its difference."""
    (tmp_path / "leak_worth.json").write_text('{"dataset": "d", "seeds": []}')
    run = RunOnDisk(tmp_path, a_run([]).record)
    assert [one["outdated"] for one in leak_worths([run])] == [True]


def test_the_words_without_the_image_are_no_control_that_is_told_nothing() -> None:
    """Two evaluations that were both called blind: one sees the image alone, one reads a leaking prompt alone."""
    control = scored("d", 0.3, name="control", condition="blind", told="nothing", condition_arguments={"rule": "t"})
    leak = scored("d", 0.9, name="leak", condition="blind", told="nothing")
    assert [row.evaluation.name for row in result_rows([a_run([control, leak], "d")])] == ["control"]


def test_curves_of_one_structure_are_named_by_it_and_have_files_of_their_own() -> None:
    def asked(**changes: Any) -> list[EvaluationOnDisk]:
        plain = scored("d", 0.5, **changes)
        return [
            replace(plain, spec=plain.spec.model_copy(update={"prompt": prompt}), folder=Path(f"{prompt}{changes}"))
            for prompt in ("p1", "p2", "p3")
        ]

    found = by_prompt([a_run([*asked(), *asked(target="liver"), *asked(state="g")], "d")])
    assert len({one.name for one in found}) == 3
    assert [one.caption.partition(".")[0] for one in found] == [
        "d, test split",
        "d, test split, liver alone",
        "d, test split, another state of its data",
    ]


def test_phantoms_that_bear_a_real_sets_name_are_not_that_set() -> None:
    real, made = scored("busi", 0.3), scored("busi", 0.9, phantoms=["busi"])
    run = a_run([real, scored("other", 0.2)], "busi")
    assert (matrix := cross_dataset([run])) is not None
    assert matrix["rows"][0]["means"]["busi"]["seen"]
    run = replace(run, record=run.record.model_copy(update={"phantoms": ["busi"]}))
    assert (matrix := cross_dataset([run])) is not None
    assert not matrix["rows"][0]["means"]["busi"]["seen"]
    assert any("It was not trained on this data." in one for one in first_screen([replace(run, evaluations=[real])]))
    own = first_screen([replace(run, evaluations=[made])])
    assert not any("It was not trained on this data." in one for one in own)
