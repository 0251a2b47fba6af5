"""`vlseg data check` in the terminal and as JSON: what a reader sees first, and what programs rely on."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from planted_defects import copy_image, edit

from vlseg.jobs.check import check_data
from vlseg.records import Looked
from vlseg.reports.check_sentences import first_sentences

MakeDataset = Callable[..., Path]
Command = Callable[..., Any]


@pytest.fixture
def spoiled(make_dataset: MakeDataset) -> Path:
    """One error, texts that announce, wording in two splits."""
    root = make_dataset()
    copy_image(root, "")
    for split in ("train", "test"):
        edit(root, split, lambda e: e[2]["prompts"].update(p1="bright bright disc ") and None)
    edit(root, "train", lambda e: e[4]["prompts"].update(p1="no bright disc") and None)
    return root


def test_sentences_then_errors_warnings_notes_in_100_columns_without_colour(vlseg: Command, spoiled: Path) -> None:
    long = "a_very_long_name_" * 12 + ".png"
    (spoiled / "images" / "train3.png").rename(spoiled / "images" / long[-200:])
    edit(spoiled, "train", lambda e: [x | {"img_name": x["img_name"].replace("train3.png", long[-200:])} for x in e])
    done = vlseg("data", "check", spoiled)
    assert done.code == 1
    assert "\x1b" not in done.out
    assert max(map(len, done.out.splitlines())) <= 100
    findings, statistics = check_data([spoiled])
    flowing = " ".join(done.out.split())
    places = [flowing.index(sentence) for sentence in first_sentences(findings, statistics, Looked())]
    places += [flowing.index(f" {word} ") for word in ("Errors", "Warnings", "Notes")]
    places.append(flowing.index("In all: 1 error, 1 warning, "))
    assert places == sorted(places)
    assert "a word or place stands twice: 2 (train 1, test 1)" in flowing


def test_page_and_terminal_use_the_same_words(vlseg: Command, spoiled: Path, tmp_path: Path) -> None:
    done = vlseg("data", "check", spoiled, "--html", tmp_path / "page.html")
    page = " ".join(re.sub(r"<[^>]+>", " ", (tmp_path / "page.html").read_text()).split())
    flowing = " ".join(done.out.split())
    findings, statistics = check_data([spoiled])
    for words in first_sentences(findings, statistics, Looked()):
        assert words in page
        assert words in flowing
    total = re.search(r"In all: [^.]+\.", flowing)
    assert total
    assert total[0] in page


def test_json_keeps_its_keys_and_counts_findings(vlseg: Command, spoiled: Path) -> None:
    done = vlseg("data", "check", spoiled, "--json")
    findings, _ = check_data([spoiled])
    assert done.code == 1
    assert {"command", "errors", "warnings", "findings", "statistics"} <= done.json.keys()
    assert (done.json["command"], done.json["errors"]) == ("data check", 1)
    assert len(done.json["findings"]) == len(findings)
    assert all(
        {"code", "severity", "dataset", "split", "count", "examples", "message", "files"} <= one.keys()
        for one in done.json["findings"]
    )
    assert json.loads(json.dumps(done.json)) == done.json


def test_a_page_without_pictures(vlseg: Command, spoiled: Path, tmp_path: Path) -> None:
    for option, expected in (("--images", True), ("--no-images", False)):
        vlseg("data", "check", spoiled, "--html", tmp_path / "page.html", option)
        assert ("data:image" in (tmp_path / "page.html").read_text()) is expected


def test_sound_data_say_what_was_looked_for(vlseg: Command, make_dataset: MakeDataset) -> None:
    done = vlseg("data", "check", make_dataset(), "--no-near")
    flowing = " ".join(done.out.split())
    assert done.code == 0
    assert "Images were not compared with each other. Nothing was found. Looked for: " in flowing
    assert "In all: no error, no warning, no note." in flowing


def test_what_prepare_counts_is_what_check_lists(vlseg: Command, make_dataset: MakeDataset, tmp_path: Path) -> None:
    made, source, out = make_dataset(), tmp_path / "scans", tmp_path / "own"
    for kind in ("images", "masks"):
        (source / kind).mkdir(parents=True)
    for index in range(6):
        shutil.copy(made / "images" / f"train{index}.png", source / "images" / f"case{index}.png")
        shutil.copy(made / "masks" / f"train{index}_dark.png", source / "masks" / f"case{index}.png")
    shutil.copy(source / "images" / "case0.png", source / "images" / "case5.png")
    prepared = vlseg("data", "prepare", "own", "--source", source, "--out", out, "--target", "disc")
    assert prepared.code == 0, prepared.err
    line = next(line for line in prepared.out.splitlines() if line.startswith("  check: "))
    checked = vlseg("data", "check", out)
    total = checked.out.splitlines()[-1].removeprefix("In all: ").rstrip(".")
    assert line == f"  check: {total}; see vlseg data check {out}"
