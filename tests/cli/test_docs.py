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


PAGES = [DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]


def commands(page: Path) -> list[list[str]]:
    """The words of each vlseg command in the page's blocks, without comments."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    lines = "".join(text for language, text in fenced if language in ("", "sh")).replace("\\\n", " ").splitlines()
    typed = [line for line in lines if line.startswith(("vlseg ", ".venv/bin/vlseg "))]
    return [shlex.split(re.sub(r"[\[\]]", " ", line), comments=True)[1:] for line in typed]


def test_every_documented_command_is_known(vlseg: Callable[..., Any]) -> None:
    """Command and options of every line in README and docs exist."""
    pages = set()
    for page in PAGES:
        for words in commands(page):
            command = words[:2] if words[0] in ("data", "prompts", "cache") else words[:1]
            shown = vlseg(*command, "--help")
            assert shown.code == 0, f"{page.name}: {words}"
            for option in (word for word in words if word.startswith("--")):
                assert option in shown.out, f"{page.name}: {words}: {option}"
            pages.add(page.name)
    assert {"README.md", "your-own-data.md", "datasets.md", "data.md", "models.md", "speed.md"} <= pages


def test_files_that_the_pages_name_are_there() -> None:
    """Paths below the root, and modules named from their room on (`data/seeds.py`)."""
    root = DOCS.parent
    invented = ("/colour/", "/MODEL/")
    named = {
        (page.name, path)
        for page in PAGES
        for path in re.findall(r"`((?:[\w.]+/)+[\w.]+\.(?:py|json|md))`", page.read_text())
        if path.startswith(("src/", "tests/", "benchmarks/", "docs/")) or path.endswith(".py")
    }
    assert len(named) > 5
    for page, path in named:
        made = any(word in path for word in invented) or path == "benchmarks/results/latest.json"
        assert made or (root / path).exists() or (root / "src" / "vlseg" / path).exists(), f"{page}: {path}"
