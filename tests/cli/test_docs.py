"""The walks in docs run as they stand: from two folders, and from LViT's layout, to an evaluated model."""

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
from weights_here import installed

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


def typed(page: str, **places: str) -> list[list[str]]:
    """The words of each line of the page's sh blocks, with what a reader puts in the place of a path."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    for named, place in places.items():
        lines = [line.replace(named, place) for line in lines]
    words = [shlex.split(line, comments=True) for line in lines]
    assert all(line[0] == "vlseg" for line in words)
    return [line[1:] for line in words]


def packaged_weights() -> None:
    for name in ("lite0", "minilm"):
        installed(name)


def test_images_without_a_mask_join_by_hand(
    vlseg: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_scans(Path("scans"), [f"{number}.png" for number in range(18)])
    for number in range(6):
        Path(f"scans/masks/{number}.png").unlink()
    assert (
        "left out: 6 images without a mask"
        in vlseg("data", "prepare", "own", "--source", "scans", "--target", "tumour", "--out", "data/tumour").out
    )
    snippet, _ = blocks("runs.md", "python")  # tests/jobs/test_predicted_and_scored.py runs the other
    exec(snippet, {})
    assert vlseg("data", "check", "data/tumour").code == 0
    shown = vlseg("data", "show", "data/tumour")
    assert "; 6 entries without a mask" in shown.out
    assert "prompt class: class," in shown.out
    small = ["--set", "model_arguments={image_size: 32}", "--set", "epochs=2", "--set", "pseudo_labels=epi"]
    done = vlseg("train", "--data", "data/tumour", "--model", "clipseg-tiny", *small, "--out", "run")
    assert done.code == 0
    assert "6 samples of 6 images without a mask given pseudo-labels after 1 of 2 epochs" in done.err
    assert "not deployable" not in done.err
    assert vlseg("evaluate", "run", "--data", "data/tumour").code == 0


@pytest.mark.slow
def test_your_own_data(vlseg: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged_weights()
    monkeypatch.chdir(tmp_path)
    (table,) = blocks("your-own-data.md", "csv")
    rows = list(csv.DictReader(table.splitlines()))
    write_scans(Path("scans"), [row["file"] for row in rows])
    Path("scans/cases.csv").write_text(table)
    for words in typed("your-own-data.md"):
        done = vlseg(*words)
        assert done.code == 0, f"{words}\n{done.err}"
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


def write_breasts(root: Path) -> None:
    """Discs with sentences of BUSI's form, one image of a split without any."""
    counts = {"train": 6, "val": 2, "test": 4}
    write_scans(root, [f"{split}{index}.png" for split, count in counts.items() for index in range(count)])
    (root / "anns").mkdir()
    for split, count in counts.items():
        names = [f"{split}{index}.png" for index in range(count)]
        Image.new("L", (48, 48)).save(root / "masks" / names[-1])
        texts = dict.fromkeys(names[-1:], "No tumor in the breast ultrasound image.")
        entries = []
        for index, name in enumerate(names):
            size = ("small", "medium", "large")[index % 3]
            p1 = texts.get(name, "Tumor in the breast ultrasound image.")
            p6 = texts.get(name, f"One {size} circle-shaped benign tumor at the top in the breast ultrasound image.")
            prompts = {"p0": "", "p1": p1, "p6": [p6]}
            entries.append({"img_name": name, "mask_name": name, "prompts": prompts, "target": "breast tumor"})
        (root / "anns" / f"{split}.json").write_text(json.dumps(entries))


@pytest.mark.slow
def test_the_tutorial(vlseg: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command of it, in order, on made-up images; trainings are one epoch long."""
    packaged_weights()
    monkeypatch.chdir(tmp_path)
    write_breasts(Path("busi_sample"))
    lines = typed("tutorial.md", **{"../shared/data/busi_sample": "busi_sample"})
    kinds = {words[0] for words in lines}
    assert kinds >= {"data", "prompts", "train", "evaluate", "compare", "probe", "report", "predict"}
    for words in lines:
        done = vlseg(*words, *(("--set", "epochs=1", "--threads", "1") if words[0] == "train" else ()))
        assert done.code == 0, f"{words}\n{done.err}"
    runs = {folder.name: json.loads((folder / "run.json").read_text()) for folder in Path("runs").iterdir()}
    assert {name: run["config"]["model"] for name, run in runs.items()} == dict.fromkeys(
        ("class", "p6", "none", "target"), "guide"
    )
    assert {name: run["deployable"] for name, run in runs.items()} == {
        "class": True, "p6": False, "none": True, "target": True
    }  # fmt: skip
    assert Path("report.html").exists()
    assert len(json.loads(Path("masks/predictions.json").read_text())) == 12


@pytest.mark.slow
def test_lvits_layout_in_three_commands(
    vlseg: Callable[..., Any], make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged_weights()
    monkeypatch.chdir(tmp_path)
    data, lvit = make_dataset(counts=(4, 2, 0)), tmp_path / "lvit"
    (data / "anns" / "test.json").unlink()
    made = vlseg("data", "convert", data, "--to", "lvit", "--out", lvit, "--target", "dark disc", "--prompt", "p1")
    assert made.code == 0, made.err
    (lvit / "dataset.json").unlink()  # as published: nobody says what the masks show
    lines = [words for words in typed("datasets.md", MoNuSeg=str(lvit)) if str(lvit) in words]
    assert [" ".join(words[: 2 if words[0] == "data" else 1]) for words in lines] == ["data check", "train", "evaluate"]
    for words in lines:
        done = vlseg(*words, *(("--set", "epochs=1", "--threads", "1") if words[0] == "train" else ()))
        assert done.code == 0, f"{words}\n{done.err}"
    assert json.loads(Path("runs/nuclei/run.json").read_text())["prompt_sources"] == ["unknown"]


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
            command = words[:2] if words[0] in ("data", "prompts", "cache", "study") else words[:1]
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


def test_every_picture_of_the_docs_is_there() -> None:
    missing = [
        f"{page.name}: {name}"
        for page in DOCS.glob("*.md")
        for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text())
        if not (page.parent / name).is_file()
    ]
    assert missing == []
