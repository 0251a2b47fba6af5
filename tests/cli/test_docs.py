"""docs/your-own-data.md runs as it stands, from two folders to a trained and evaluated model."""

import csv
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

DOCS = Path(__file__).resolve().parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), flags=re.DOTALL)


def write_scans(root: Path, names: list[str]) -> None:
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    yy, xx = np.mgrid[:48, :48]
    for index, name in enumerate(names):
        rng = np.random.default_rng(index)
        mask = np.hypot(yy - rng.uniform(14, 34), xx - rng.uniform(14, 34)) < rng.uniform(6, 11)
        pixels = np.clip(rng.normal(100, 10, (48, 48)) + 80 * mask, 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(root / "images" / name)
        Image.fromarray(mask.astype(np.uint8) * 255).save(root / "masks" / name)


def test_your_own_data(vlseg: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (table,) = blocks("your-own-data.md", "csv")
    rows = list(csv.DictReader(table.splitlines()))
    write_scans(Path("scans"), [row["file"] for row in rows])
    Path("scans/cases.csv").write_text(table)
    for block in blocks("your-own-data.md", "sh"):
        for line in block.splitlines():
            command = shlex.split(line)
            assert command[0] == "vlseg"
            done = vlseg(*command[1:])
            assert done.code == 0, f"{line}\n{done.err}"
    record = json.loads(Path("runs/polyp/run.json").read_text())
    assert record["status"] == "done"
    assert record["prompt_sources"] == ["class", "mask"]
    assert Path("runs/polyp/report.html").exists()
    dataset = json.loads(Path("data/polyp/dataset.json").read_text())
    assert dataset["groups_known"]
    splits = {
        split: json.loads(Path(f"data/polyp/anns/{split}.json").read_text()) for split in ("train", "val", "test")
    }
    patients = {split: {entry["group"] for entry in entries} for split, entries in splits.items()}
    assert all(splits.values())
    assert not patients["train"] & (patients["val"] | patients["test"])


def test_every_documented_data_command_is_known(vlseg: Callable[..., Any]) -> None:
    """Command and options of every line in the pages on data exist."""
    for page in ("your-own-data.md", "datasets.md", "data.md"):
        for block in blocks(page, "sh"):
            for line in filter(None, block.splitlines()):
                words = re.sub(r"[\[\]]", " ", line).split()
                command = [word for word in words[1:3] if not word.startswith("-")]
                command = command if command[0] in ("data", "prompts") else command[:1]
                shown = vlseg(*command, "--help")
                assert shown.code == 0, line
                for option in (word for word in words if word.startswith("--")):
                    assert option in shown.out, f"{line}: {option}"
