"""docs/export.md shows what benchmarks/results/export_cost.json holds, and says of it what is so."""

import json
from pathlib import Path

import pytest
from export_cost import KINDS, RESULTS, Row, table

PAGE = Path(__file__).parents[3] / "docs" / "export.md"
ROWS: dict[str, Row] = {row["model"]: row for row in json.loads(RESULTS.read_text())["rows"]}


def test_the_docs_have_the_measured_figures() -> None:
    assert table(json.loads(RESULTS.read_text())) in PAGE.read_text()


@pytest.mark.parametrize("model", ["clipseg", "guide"])
def test_every_kind_is_measured_on_a_model_that_has_learned(model: str) -> None:
    row = ROWS[model]
    assert list(row["kinds"]) == list(KINDS)
    assert row["dice"] > 0.6
    for found in row["kinds"].values():
        low, high = found["ci95"]
        assert low <= found["difference"] <= high
        assert found["difference"] == pytest.approx(found["dice"] - row["dice"], abs=1e-9)
        assert 0 <= found["masks_dice_least"] <= found["masks_dice_mean"] <= 1


def test_what_the_docs_say_of_guide_is_so() -> None:
    kinds = ROWS["guide"]["kinds"]
    for kind in ("onnx int8", "openvino int8"):
        assert kinds[kind]["convolutions_in_single_precision"]
        assert -0.007 < kinds[kind]["difference"] < -0.004  # half a point
        assert kinds[kind]["ci95"][0] < -0.01
    low, high = kinds["openvino bf16"]["ci95"]
    assert low < 0 < kinds["openvino bf16"]["difference"] < high
    assert round(kinds["openvino bf16"]["masks_dice_least"], 2) == 0.74
