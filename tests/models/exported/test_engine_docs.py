"""docs/speed.md shows what benchmarks/results/engines.json holds."""

import json
from pathlib import Path

from engine_table import COLUMNS, RESULTS, table


def test_the_docs_have_the_measured_figures() -> None:
    page = (Path(__file__).parents[3] / "docs" / "speed.md").read_text()
    assert table(json.loads(RESULTS.read_text())) in page


def test_every_engine_is_measured_in_everything() -> None:
    rows = json.loads(RESULTS.read_text())
    kinds = {row["work"].rsplit(", ", 1)[1] for row in rows}
    assert kinds >= {"torch fp32", "onnx fp32", "onnx int8", "openvino fp32", "openvino int8"}
    assert {row["work"] for row in rows} >= {f"{work}, {kind}" for work in COLUMNS.values() for kind in kinds}
    assert all(row["equality"]["dice_least"] > 0.99 for row in rows if "equality" in row)
