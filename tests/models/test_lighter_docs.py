"""docs/export.md shows what was measured."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_of_weights_is_what_was_measured() -> None:
    measured = json.loads((ROOT / "benchmarks" / "results" / "lighter.json").read_text())
    page = (ROOT / "docs" / "export.md").read_text()
    rows = re.findall(r"^\| ((?:onnx|openvino) .*?) \| (\d+) ms \| (\d+) MiB \| ([\d.]+) \|$", page, re.MULTILINE)
    shown = {name: (int(ms), int(mib), float(dice)) for name, ms, mib, dice in rows}
    assert shown == {
        name: (round(row["milliseconds"]), round(row["mib"]), round(row["mask_dice"], 4))
        for name, row in measured["rows"].items()
    }
    assert f"{measured['images']} ultrasound images" in page
