"""Each check finds what was planted, and nothing in sound data."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlseg.data import check_dataset
from vlseg.records import InputError

MakeDataset = Callable[..., Path]


def edit(root: Path, split: str, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    path = root / "anns" / f"{split}.json"
    entries = json.loads(path.read_text())
    changed = change(entries)
    path.write_text(json.dumps(entries if changed is None else changed))


def codes(root: Path) -> dict[str, tuple[str, int]]:
    return {finding.code: (finding.severity, finding.count) for finding in check_dataset([root])}


def test_sound_data_has_no_errors_or_warnings(make_dataset: MakeDataset) -> None:
    assert all(finding.severity == "note" for finding in check_dataset([make_dataset()]))


def small(root: Path, name: str) -> None:
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(root / "masks" / name)


def rescale(root: Path, name: str) -> None:
    path = root / "masks" / name
    Image.fromarray((np.asarray(Image.open(path)) > 0).astype(np.uint8)).save(path)


def blank(root: Path, name: str) -> None:
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(root / "masks" / name)


def labels(root: Path, name: str) -> None:
    values = np.zeros((32, 32), np.uint8)
    values[4:12], values[16:24] = 120, 255
    Image.fromarray(values).save(root / "masks" / name)


def blur(root: Path, name: str) -> None:
    path = root / "masks" / name
    Image.open(path).resize((16, 16)).resize((32, 32), Image.Resampling.BILINEAR).save(path)


def copy_image(root: Path, _: str) -> None:
    (root / "images" / "test0.png").write_bytes((root / "images" / "train0.png").read_bytes())


PLANTED: list[tuple[str, str, Callable[[Path], Any]]] = [
    ("missing_file", "error", lambda root: (root / "images" / "train1.png").unlink()),
    ("undecodable", "error", lambda root: (root / "masks" / "train1_dark.png").write_bytes(b"")),
    ("size_mismatch", "error", lambda root: small(root, "train1_dark.png")),
    ("odd_mask_values", "error", lambda root: rescale(root, "train1_dark.png")),
    ("label_map", "error", lambda root: labels(root, "train1_dark.png")),
    ("non_binary_mask", "note", lambda root: blur(root, "train1_dark.png")),
    ("empty_mask", "note", lambda root: blank(root, "train1_dark.png")),
    ("split_leak", "error", lambda root: copy_image(root, "")),
    ("duplicate_entry", "warning", lambda root: edit(root, "train", lambda e: [*e, e[0]])),
    ("empty_split", "warning", lambda root: edit(root, "val", lambda e: [])),
    ("missing_split", "warning", lambda root: (root / "anns" / "val.json").unlink()),
    ("missing_prompt_key", "warning", lambda root: edit(root, "train", lambda e: e[0]["prompts"].pop("p2") and None)),
    ("ambiguous_prompt", "note", lambda root: edit(root, "train", lambda e: e[0]["prompts"].update(p1="dark disc"))),
    ("prompt_type_mixture", "note", lambda root: edit(root, "train", lambda e: e[0]["prompts"].update(p2="x"))),
    ("broken_json", "error", lambda root: (root / "anns" / "val.json").write_text("[{")),
    ("bad_path", "error", lambda root: edit(root, "val", lambda e: e[0].update(img_name="../x.png"))),
]


@pytest.mark.parametrize(("code", "severity", "plant"), PLANTED, ids=[code for code, _, _ in PLANTED])
def test_planted_defect_is_found_alone(
    make_dataset: MakeDataset, code: str, severity: str, plant: Callable[[Path], Any]
) -> None:
    root = make_dataset()
    before = codes(root)
    plant(root)
    found = codes(root)
    assert found[code][0] == severity
    assert found[code][1] >= 1
    worse = {c for c, (s, _) in found.items() if s != "note"} - before.keys() - {code}
    assert worse <= {"empty_split"}


def test_group_in_two_splits(make_dataset: MakeDataset) -> None:
    root = make_dataset()
    for split in ("train", "test"):
        edit(root, split, lambda e: e[0].update(group="patient7") and None)
    assert codes(root)["group_leak"] == ("error", 1)


def test_same_name_other_content_is_a_collision_not_a_leak(make_dataset: MakeDataset) -> None:
    root = make_dataset()
    (root / "images" / "train").mkdir()
    (root / "images" / "test").mkdir()
    for split in ("train", "test"):
        (root / "images" / f"{split}0.png").rename(root / "images" / split / "same.png")
        edit(root, split, lambda e: [x.update(img_name="same.png") for x in e[:2]] and None)
    found = codes(root)
    assert found["name_collision"] == ("warning", 1)
    assert "split_leak" not in found


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        check_dataset([tmp_path / "nowhere"])


@pytest.mark.parametrize("name", ["busi_sample", "chest_xray_sample", "chase_db1"])
def test_real_samples_have_no_errors(shared: Path, name: str) -> None:
    assert not [finding for finding in check_dataset([shared / "data" / name]) if finding.severity == "error"]


@pytest.mark.parametrize(
    ("name", "code", "split", "count"),
    [
        ("bkai_polyp", "split_leak", None, 3),
        ("isic", "split_leak", None, 3),
        ("bkai_polyp", "duplicate_entry", "train", 1),
        ("isic", "duplicate_entry", "train", 1),
        ("colondb_polyp", "empty_split", "val", 1),
        ("cvc300_polyp", "empty_split", "val", 1),
        ("etis_polyp", "empty_split", "val", 1),
        ("camus", "name_collision", None, 200),
        ("camus", "missing_split", "train", 1),
    ],
)
def test_known_defects_of_published_annotations(
    shared: Path, name: str, code: str, split: str | None, count: int
) -> None:
    findings = check_dataset([shared / "data" / "medvlsm_annotations" / name], anns_only=True)
    assert count in [finding.count for finding in findings if finding.code == code and finding.split == split]
