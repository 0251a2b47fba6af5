"""Each check finds what was planted, and nothing in sound data."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from planted_defects import PLANTED, blank, copy_image, deepen, edit, fill, halve, invert, labels, rewrite, tint

from vlseg.jobs.check import LOG, check_data, fix_annotations
from vlseg.jobs.datasets import open_dataset
from vlseg.records import Finding, InputError

MakeDataset = Callable[..., Path]


def findings(*roots: Path, **options: Any) -> list[Finding]:
    return check_data(roots, **options)[0]


def codes(*roots: Path) -> dict[str, tuple[str, int]]:
    return {finding.code: (finding.severity, finding.count) for finding in findings(*roots)}


def test_sound_data_has_no_errors_or_warnings(make_dataset: MakeDataset) -> None:
    assert findings(make_dataset()) == []


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


def test_entries_without_a_patient_are_told_where_others_have_one(make_dataset: MakeDataset) -> None:
    """Whoever names none at all says that groups are unknown; who names some may hide a leak in the rest."""
    root = make_dataset()
    assert "group_unknown" not in codes(root)
    edit(root, "train", lambda e: [x.update(group=x["img_name"]) for x in e[2:]] and None)
    found = {one.split: one for one in findings(root) if one.code == "group_unknown"}
    sizes = {split: len(json.loads((root / "anns" / f"{split}.json").read_text())) for split in ("val", "test")}
    assert {split: (one.severity, one.count) for split, one in found.items()} == {
        "train": ("warning", 2),
        **{split: ("warning", size) for split, size in sizes.items()},
    }
    assert found["train"].examples[0].startswith("train/")
    for split in ("train", "val", "test"):
        edit(root, split, lambda e: [x.update(group=x["img_name"]) for x in e] and None)
    assert "group_unknown" not in codes(root)


def test_words_of_which_nobody_says_where_they_come_from_are_told(make_dataset: MakeDataset) -> None:
    root = make_dataset()
    edit(root, "train", lambda e: e[0].update(prompt_sources={"p0": ["unknown"], "p1": ["class"], "p2": ["user"]}))
    assert "unknown_source" not in codes(root)  # p0 has no words
    edit(root, "train", lambda e: [x.update(prompt_sources={"p1": ["class", "unknown"]}) for x in e[:3]] and None)
    (found,) = [one for one in findings(root) if one.code == "unknown_source"]
    assert (found.severity, found.split, found.count) == ("note", "train", 3)
    assert "of prompt 'p1'" in found.message
    assert found.examples[0].endswith(': "bright disc"')


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
        findings(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name", [pytest.param("busi_sample", marks=pytest.mark.slow), "chest_xray_sample", "chase_db1"]
)
def test_real_samples_have_no_errors(shared: Path, name: str) -> None:
    assert not [finding for finding in findings(shared / "data" / name) if finding.severity == "error"]


@pytest.mark.parametrize("plant", [halve, tint, lambda root: labels(root, "train1_dark.png")])
@pytest.mark.parametrize("target", [None, "bright disc"])
def test_what_check_calls_an_error_no_run_reads(
    make_dataset: MakeDataset, plant: Callable[[Path], None], target: str | None
) -> None:
    root = make_dataset()
    open_dataset(root, target)
    plant(root)
    assert codes(root)["label_map"][0] == "error"
    with pytest.raises(InputError, match=r"train1_.*mask-map"):
        open_dataset(root, target)


def test_inverted_masks_are_hinted_at_once_for_the_set(make_dataset: MakeDataset) -> None:
    root = make_dataset()
    fill(root, "train1_dark.png")
    assert "inverted_masks" not in codes(root)
    invert(root)
    assert codes(root)["inverted_masks"] == ("warning", 1)


def test_mixed_bit_depth(make_dataset: MakeDataset) -> None:
    root = make_dataset()
    path = root / "images" / "train1.png"
    Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) * 200).save(path)
    assert codes(root)["mixed_bit_depth"][0] == "warning"


def test_declared_intensity_silences_the_bit_depth(make_dataset: MakeDataset) -> None:
    root = make_dataset()
    deepen(root)
    values = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(values | {"intensity": {"kind": "percentile"}}))
    assert "bit_depth" not in codes(root)


@pytest.mark.parametrize("place", ["left to right", "top to bottom", "180", "shifted"])
def test_masks_that_lie_elsewhere_are_hinted_at(make_dataset: MakeDataset, place: str) -> None:
    root = make_dataset(counts=(14, 2, 2), size=64)
    for path in (root / "masks").glob("train*.png"):
        mask = np.asarray(Image.open(path))
        moved = {
            "left to right": mask[:, ::-1],
            "top to bottom": np.roll(mask, 12, axis=0)[::-1],
            "180": mask[::-1, ::-1],
            "shifted": np.roll(mask, 5, axis=1),
        }[place]
        if place == "top to bottom":
            image = root / "images" / path.name.replace("_bright", "").replace("_dark", "")
            pixels = np.roll(np.asarray(Image.open(image)), 12, axis=0) if "_bright" in path.name else None
            if pixels is not None:
                Image.fromarray(pixels).save(image)
        Image.fromarray(np.ascontiguousarray(moved)).save(path)
    found = [f for f in findings(root) if f.code == "misaligned_masks" and f.split == "train"]
    assert len(found) == 1
    assert place in found[0].examples[0] or place == "180"


def test_class_imbalance(make_dataset: MakeDataset) -> None:
    root = make_dataset(counts=(50, 2, 2))
    for split in ("train", "val", "test"):
        edit(root, split, lambda e: [x for x in e if x["target"] == "bright disc"])
    edit(root, "train", lambda e: [e[0] | {"target": "rare disc"}, *e[1:]])
    assert codes(root)["class_imbalance"] == ("note", 1)


def test_datasets_used_together(make_dataset: MakeDataset) -> None:
    one, two = make_dataset("one"), make_dataset("two")
    found = {f.code: (f.severity, f.count) for f in findings(one, two) if f.dataset == "one + two"}
    assert found["same_annotations"] == ("error", 1)
    assert found["shared_image"] == ("warning", 11)
    (two / "images" / "test0.png").write_bytes((one / "images" / "train0.png").read_bytes())
    assert ("shared_image", "error") in {(f.code, f.severity) for f in findings(one, two)}


def test_statistics_count_what_is_there(make_dataset: MakeDataset) -> None:
    root = make_dataset()
    blank(root, "train1_dark.png")
    (one,) = check_data([root])[1]
    assert one.images == {"train": 6, "val": 2, "test": 3}
    assert one.entries == {"train": 12, "val": 4, "test": 6}
    assert one.absent == {"train": 1, "val": 0, "test": 0}
    assert one.areas is not None
    assert {split: sum(counts) for split, counts in one.areas.items()} == {"train": 11, "val": 4, "test": 6}
    assert one.targets["test"] == {"bright disc": 3, "dark disc": 3}


def test_the_page_shows_the_offenders(make_dataset: MakeDataset, vlseg: Callable[..., Any], tmp_path: Path) -> None:
    root = make_dataset()
    copy_image(root, "")
    done = vlseg("data", "check", root, "--html", tmp_path / "page.html", "--json")
    assert done.code == 1
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/webp;base64") >= 2
    assert "split_leak" in page
    assert "http" not in page.replace("http-equiv", "")
    assert done.json["errors"] == 1
    assert done.json["statistics"][0]["images"]["train"] == 6


PUBLISHED: list[tuple[str, str, str | None, int]] = [
    ("bkai_polyp", "split_leak", None, 3),
    ("isic", "split_leak", None, 3),
    ("bkai_polyp", "duplicate_entry", "train", 1),
    ("isic", "duplicate_entry", "train", 1),
    ("colondb_polyp", "empty_split", "val", 1),
    ("cvc300_polyp", "empty_split", "val", 1),
    ("etis_polyp", "empty_split", "val", 1),
    ("camus", "name_collision", None, 200),
    ("camus", "name_collision", None, 600),
    ("camus", "missing_split", "train", 1),
    ("kvasir_polyp", "redundant_file", None, 1),
    ("etis_polyp", "redundant_file", None, 1),
    ("busi", "prompt_type_mixture", "train", 5),
    ("bkai_polyp", "wording_count", "test", 3),
    ("busi", "degenerate_box", "train", 107),
    ("busi", "degenerate_box", "val", 13),
    ("busi", "degenerate_box", "test", 13),
    ("busi", "announces_absence", "train", 107),
    ("busi", "announces_absence", "val", 13),
    ("busi", "announces_absence", "test", 13),
    ("bkai_polyp", "announces_absence", "train", 2),
    ("bkai_polyp", "announces_absence", "val", 1),
    ("bkai_polyp", "announces_absence", "test", 3),
    ("chexlocalize", "stray_blank", "train", 1279),
    ("chexlocalize", "stray_blank", "val", 446),
    ("chexlocalize", "stray_blank", "test", 452),
    ("kvasir_polyp", "misspelling", "train", 800),
    ("dfu", "misspelling", "train", 1600),
]


@pytest.mark.parametrize(("name", "code", "split", "count"), PUBLISHED)
def test_known_defects_of_published_annotations(
    shared: Path, name: str, code: str, split: str | None, count: int
) -> None:
    found = published(shared / "data" / "medvlsm_annotations" / name)
    assert count in [finding.count for finding in found if finding.code == code and finding.split == split]


@functools.cache
def published(root: Path) -> list[Finding]:
    return findings(root, anns_only=True)


def test_two_published_lists_are_one(shared: Path) -> None:
    root = shared / "data" / "medvlsm_annotations"
    names = ("colondb_polyp", "cvc300_polyp", "cvc300_polyp_60_images", "kvasir_polyp")
    found = [f for f in findings(*(root / name for name in names), anns_only=True) if f.code == "same_annotations"]
    assert [finding.count for finding in found] == [1]
    assert found[0].examples[0] == "colondb_polyp and cvc300_polyp: byte-identical: test.json, train.json, val.json"


def test_fix_mends_a_copy_and_lists_every_change(make_dataset: MakeDataset, tmp_path: Path) -> None:
    root = make_dataset()
    rewrite(root, "bright bright disc ")
    edit(root, "train", lambda e: [*e, e[1]])
    edit(root, "train", lambda e: e[1].update(bbox=[9, 9, 0, 0]) and None)
    copy_image(root, "")
    before = {path: path.read_bytes() for path in root.rglob("*.json")}
    log = fix_annotations(root, tmp_path / "mended")
    assert {path: path.read_bytes() for path in root.rglob("*.json")} == before
    assert json.loads((tmp_path / "mended" / LOG).read_text()) == log
    assert sum("the image is in test" in line["change"] for line in log) == 3  # two entries and the repeated one
    after = codes(tmp_path / "mended")
    assert not {"duplicate_entry", "split_leak", "stray_blank", "repeated_word", "degenerate_box"} & after.keys()
    from vlseg.data import read_dataset

    mended = read_dataset(tmp_path / "mended")
    assert all(sample.image_path.exists() for sample in mended.samples)
    assert len(mended.split("test")) == 6
    assert len(mended.split("train")) == 10


@pytest.mark.slow
def test_fix_mends_the_published_lists(shared: Path, tmp_path: Path) -> None:
    log = fix_annotations(shared / "data" / "medvlsm_annotations" / "bkai_polyp", tmp_path / "bkai")
    found = {finding.code for finding in findings(tmp_path / "bkai", anns_only=True)}
    assert not {"split_leak", "duplicate_entry", "number_agreement", "misspelling"} & found
    assert sum("dropped" in line["change"] for line in log) == 4


def test_fix_needs_a_new_folder(make_dataset: MakeDataset) -> None:
    with pytest.raises(InputError, match="not empty"):
        fix_annotations(make_dataset("a"), make_dataset("b"))


def plain(root: Path, seed: int, count: int = 30) -> Path:
    """A folder as anybody makes one: case00.png, ... and the class's name as the only prompt."""
    for folder in ("images", "masks", "anns"):
        (root / folder).mkdir(parents=True)
    entries: dict[str, list[dict[str, Any]]] = {"train": [], "val": [], "test": []}
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        name = f"case{index:02d}.png"
        Image.fromarray(rng.integers(0, 255, (64, 64), dtype=np.uint8)).save(root / "images" / name)
        mask = np.zeros((64, 64), np.uint8)
        mask[9 : 20 + seed, 9:30] = 255
        Image.fromarray(mask).save(root / "masks" / name)
        split = "train" if index < count - 4 else "val" if index < count - 2 else "test"
        texts = {"class": "polyp"}
        entries[split].append({"img_name": name, "mask_name": name, "prompts": texts, "target": "polyp"})
    for split, inside in entries.items():
        (root / "anns" / f"{split}.json").write_text(json.dumps(inside))
    return root


def across(one: Path, two: Path, **options: Any) -> list[str]:
    return [f.message for f in findings(one, two, **options) if f.code == "same_annotations"]


def test_equal_names_are_not_another_datasets_annotations(tmp_path: Path) -> None:
    one, two = plain(tmp_path / "one", 1), plain(tmp_path / "two", 2)
    assert across(one, two, near=False) == []
    assert across(one, two, anns_only=True) == []


def test_texts_that_tell_images_apart_are(tmp_path: Path) -> None:
    one, two = plain(tmp_path / "one", 1), plain(tmp_path / "two", 2)
    for root in (one, two):
        for split in ("train", "val", "test"):
            edit(root, split, lambda e: [x | {"prompts": {"p1": f"polyp of {i * 7 % 11} mm"}} for i, x in enumerate(e)])
    assert len(across(one, two, anns_only=True)) == 1


def test_annotations_that_name_the_other_datasets_images_are(tmp_path: Path) -> None:
    one, two = plain(tmp_path / "one", 1), plain(tmp_path / "two", 2)
    for file in (two / "images").iterdir():
        file.rename(file.with_name(f"scan_{file.name}"))
    assert across(one, two, near=False) == [
        "annotations name images that are not in their dataset, but in the other one"
    ]


def test_files_that_no_annotation_names_are_counted(make_dataset: MakeDataset) -> None:
    root = make_dataset()
    assert "unused_file" not in codes(root)
    edit(root, "train", lambda e: e[2:])
    assert codes(root)["unused_file"] == ("note", 3)


def test_check_writes_nothing(tmp_path: Path) -> None:
    root = plain(tmp_path / "one", 1, 6)
    for file in (root / "anns").iterdir():
        file.unlink()
    (root / "anns").rmdir()
    before = sorted(root.rglob("*"))
    check_data([root], target="polyp")
    assert sorted(root.rglob("*")) == before
