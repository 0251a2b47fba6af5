"""Datasets opened for training and evaluation."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_models import TINY

from vlseg.jobs.datasets import open_dataset, open_pool
from vlseg.records import InputError, read_scores

MakeDataset = Callable[..., Path]


def unnamed(root: Path) -> Path:
    """Entries that name no target, with texts that name none either."""
    for path in (root / "anns").glob("*.json"):
        entries = [
            {"img_name": entry["img_name"], "mask_name": entry["mask_name"], "prompts": {"p0": ""}}
            for entry in json.loads(path.read_text())
        ]
        path.write_text(json.dumps(entries))
    return root


def test_target_names_what_entries_show_that_name_none(make_dataset: MakeDataset) -> None:
    dataset = open_dataset(unnamed(make_dataset()), "left ventricle")
    assert {sample.target for sample in dataset.samples} == {"left ventricle"}
    assert len(dataset.samples) == 22
    assert dataset.info.targets == ("left ventricle",)


def test_where_some_entries_name_a_target_it_chooses_among_those(make_dataset: MakeDataset) -> None:
    root = make_dataset()
    path = root / "anns" / "train.json"
    entries = json.loads(path.read_text())
    del entries[0]["target"], entries[0]["prompts"]["p1"], entries[0]["prompts"]["p2"]
    path.write_text(json.dumps(entries))
    kept = open_dataset(root, "dark disc")
    assert {sample.target for sample in kept.samples} == {"dark disc"}
    with pytest.raises(InputError, match="left ventricle"):
        open_dataset(root, "left ventricle")


def test_a_target_that_is_not_there_is_told_before_masks_are_read(make_dataset: MakeDataset) -> None:
    root = make_dataset()
    for mask in (root / "masks").iterdir():
        mask.write_bytes(b"no picture")
    with pytest.raises(InputError, match="left ventricle"):
        open_dataset(root, "left ventricle")
    with pytest.raises(InputError, match=r"bright\.png|dark\.png"):
        open_dataset(root, "dark disc")


def test_a_missing_target_is_told_before_masks_are_read(make_dataset: MakeDataset) -> None:
    root = unnamed(make_dataset())
    for mask in (root / "masks").iterdir():
        mask.write_bytes(b"no picture")
    with pytest.raises(InputError, match="give --target"):
        open_pool([str(root)], "p0", named=True)


def test_a_model_without_text_is_trained_where_target_names_what_no_entry_does(
    make_dataset: MakeDataset, tmp_path: Path, vlseg: Callable[..., Any]
) -> None:
    """The mend that the error gives works, whatever the name; the run knows it without being told again."""
    data, run = unnamed(make_dataset(counts=(2, 1, 1))), tmp_path / "run"
    for path in (data / "anns").glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text())[::2]))  # one mask per image
    arguments = yaml.safe_dump(dict(TINY["unet"]), default_flow_style=True, width=10**6).strip()
    settings = [flag for value in (f"model_arguments={arguments}", "max_steps=1") for flag in ("--set", value)]
    asked = ("train", "--model", "unet", "--data", data, "--out", run, "--device", "cpu", "--prompt", "p0", *settings)
    refused = vlseg(*asked)
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert "give --target" in refused.err
    assert not run.exists()
    done = vlseg(*asked, "--target", "left ventricle")
    assert done.code == 0, done.err
    done = vlseg("evaluate", run, "--data", data, "--device", "cpu", "--target", "left ventricle", "--json")
    assert done.code == 0, done.err
    assert {row.target for row in read_scores(Path(done.json["scores"]))} == {"left ventricle"}
