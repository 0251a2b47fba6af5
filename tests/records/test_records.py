"""Round trips, versions, atomic writing, one-line errors."""

import dataclasses
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from vlseg.records import (
    InputError,
    RunConfig,
    RunRecord,
    SampleScore,
    is_deployable,
    parse_config,
    read_config,
    read_record,
    read_scores,
    replacing,
    score_columns,
    write_config,
    write_record,
    write_scores,
)


def score(**changes: Any) -> SampleScore:
    values: dict[str, Any] = {
        "dataset": "d", "split": "test", "sample_id": "s", "image_id": "i", "group": None, "site": None,
        "target": "polyp", "named_target": "polyp", "prompt": "class", "wording": "polyp",
        "prompt_sources": "class", "deployable": True, "condition": "clean", "condition_arguments": "{}",
        "model": "m", "run_id": "r", "seed": 0, "protocol": "corrected", "threshold": 0.5, "precision": "fp32",
        "dice": 0.1 + 0.2, "iou": 0.5, "hd95": None, "hd": None, "nsd": 0.0, "nsd_tolerance": 2.0, "assd": None,
        "distance_unit": "px", "spacing": None, "image_diagonal": 10.0, "presence_score": 0.7, "area": 3,
        "area_error": -1, "empty_target": False, "empty_pred": False,
    }  # fmt: skip
    return SampleScore(**(values | changes))


def test_scores_round_trip_to_the_last_digit(tmp_path: Path) -> None:
    rows = [score(), score(dice=None, iou=None, empty_target=None, area_error=None, nsd=None, group="p1", hd95=1 / 3)]
    write_scores(tmp_path / "scores.parquet", rows)
    assert read_scores(tmp_path / "scores.parquet") == rows
    table = pq.read_table(tmp_path / "scores.parquet")
    assert table.column_names == score_columns()
    assert table["hd95"].null_count == 1
    assert table.schema.metadata[b"vlseg_score_format"] == b"1"


def test_no_scores_still_have_all_columns(tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.parquet", [])
    assert pq.read_table(tmp_path / "scores.parquet").column_names == score_columns()


def record(**changes: Any) -> RunRecord:
    values: dict[str, Any] = {
        "id": "r", "status": "failed", "config": {}, "protocol": "corrected", "device": "cpu", "precision": "fp32",
        "threads": 2, "seeds": {"run": 0}, "started": datetime(2026, 1, 1, tzinfo=UTC), "error": "out of memory",
    }  # fmt: skip
    return RunRecord(**(values | changes))


def test_a_failed_run_is_a_record_too(tmp_path: Path) -> None:
    write_record(tmp_path / "run.json", record())
    assert read_record(tmp_path / "run.json") == record()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "not found"),
        ("{", "broken JSON"),
        ('{"format_version": 99}', "later vlseg"),
        ('{"id": "r"}', "field 'status'"),
    ],
)
def test_bad_run_records(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_record(tmp_path / "run.json")


def test_config_round_trip(tmp_path: Path) -> None:
    config = RunConfig(model="unet", data=["d"], threshold="val", model_arguments={"image_size": 64})
    write_config(tmp_path / "config.yaml", config)
    assert read_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rat": 1}, "did you mean 'learning_rate'"),
        ({"epochs": "many"}, "field 'epochs'"),
        ({"epochs": 0}, "field 'epochs'"),
        ({"loss": "focal"}, "field 'loss'"),
        ({"threshold": "test"}, "field 'threshold"),
        ({"device": "tpu"}, "field 'device'"),
    ],
)
def test_bad_configuration_is_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_config({"model": "unet", "data": ["d"], **values}, "--set")
    assert "\n" not in str(caught.value)


def test_failed_write_leaves_the_old_file_and_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("ne")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_file_is_nobody_elses_at_any_time(tmp_path: Path) -> None:
    path = tmp_path / "patient.png"
    path.write_text("old")
    path.chmod(0o644)
    with replacing(path, private=True) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
        temporary.write_text("new")
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o600)


def test_unwritable_place_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_scores(tmp_path / "file" / "scores.parquet", [score()])


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({"class"}, True), ({"class", "metadata", "user", "image"}, True), ({"none"}, True),
        ({"class", "label"}, False), ({"mask"}, False), ({"unknown"}, False),
    ],
)  # fmt: skip
def test_deployable_means_no_sight_of_the_truth(sources: set[Any], expected: bool) -> None:
    assert is_deployable(frozenset(sources)) is expected


def test_every_score_column_is_documented_in_design_order() -> None:
    assert [column.name for column in dataclasses.fields(SampleScore)] == score_columns()
    assert {"group", "site", "condition", "named_target", "protocol", "presence_score"} <= set(score_columns())
