"""What the first sentences count: images with their like in an earlier split, and entries that texts give away."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from planted_defects import PLANTED, blank, edit, invert
from scipy import ndimage

from vlseg.jobs.check import check_data, fix_annotations
from vlseg.jobs.convert import convert_dataset
from vlseg.records import SPLITS, Finding, Looked
from vlseg.reports.check_codes import CODES
from vlseg.reports.check_sentences import first_sentences

MakeDataset = Callable[..., Path]
SIDE = 96


def texture(seed: int) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(SIDE, SIDE)), 2)
    return np.clip(128 + 60 * noise / noise.std(), 0, 255).astype(np.uint8)


def near(pixels: np.ndarray) -> np.ndarray:
    """A copy: brighter and recompressed to another size."""
    small = Image.fromarray(pixels).resize((88, 88), Image.Resampling.BICUBIC).resize((SIDE, SIDE))
    return np.clip(np.asarray(small).astype(int) + 9, 0, 255).astype(np.uint8)


def written(root: Path, images: dict[str, np.ndarray], groups: dict[str, str] | None = None) -> Path:
    """Images named SPLIT_NAME with a mask each, two entries an image."""
    for folder in ("images", "masks", "anns"):
        (root / folder).mkdir(parents=True)
    entries: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[20:50, 30:70] = 255
    for name, pixels in images.items():
        Image.fromarray(pixels).save(root / "images" / f"{name}.png")
        for target in ("left", "right"):
            Image.fromarray(mask).save(root / "masks" / f"{name}_{target}.png")
            entry = {"img_name": f"{name}.png", "mask_name": f"{name}_{target}.png", "target": target}
            group = {"group": groups[name]} if groups else {}
            entries[name.split("_")[0]].append(entry | {"prompts": {"p1": target}} | group)
    for split, inside in entries.items():
        (root / "anns" / f"{split}.json").write_text(json.dumps(inside))
    return root


def shared(found: list[Finding]) -> dict[str, dict[tuple[str, str], int]]:
    return {one.code: {(s.split, s.other): s.images for s in one.shared} for one in found if one.shared}


def test_images_with_a_copy_in_an_earlier_split_are_counted_once_each(tmp_path: Path) -> None:
    """Planted: which image of which split has what for a copy; entries, pairs and the copied images do not count."""
    base = {f"train_{n}": texture(n) for n in range(5)}
    base |= {f"val_{n}": texture(10 + n) for n in range(3)} | {f"test_{n}": texture(20 + n) for n in range(4)}
    base["test_0"] = base["train_0"]  # the same bytes
    base["test_1"], base["test_2"] = near(base["train_1"]), near(near(base["train_1"]))  # both of one training image
    base["train_4"] = near(base["train_3"])  # within a split: nobody is tested on it
    base["test_3"] = near(base["val_1"])
    base["val_2"] = near(base["train_2"])
    found, statistics = check_data([written(tmp_path / "a", base)])
    assert shared(found) == {
        "split_leak": {("test", "train"): 1},
        "near_duplicate": {("test", "train"): 2, ("test", "val"): 1, ("val", "train"): 1},
    }
    told = first_sentences(found, statistics, Looked())
    assert "1 of 4 test images is also a training image: its score says little of new images." in told
    words = "2 of 4 test images look like copies of training images: if so, scores on them say little of new images."
    assert words in told


def test_pairs_of_tested_and_trained_images_are_shown_before_others(tmp_path: Path) -> None:
    base = {f"{split}_{n}": texture(n + 9 * len(split)) for split in SPLITS for n in range(4)}
    for n in range(3):
        base[f"val_{n}"] = near(base[f"train_{n}"])
    base["test_3"] = near(base["train_3"])
    found = {
        one.severity: one for one in check_data([written(tmp_path / "a", base)])[0] if one.code == "near_duplicate"
    }
    assert found["warning"].count == 4
    assert [view.name for view in found["warning"].cases[0].views] == ["train: train_3.png", "test: test_3.png"]


def test_patients_on_both_sides_count_by_their_tested_images(tmp_path: Path) -> None:
    base = {f"{split}_{n}": texture(n + 9 * len(split)) for split in SPLITS for n in range(4)}
    groups = {name: name for name in base}
    groups |= dict.fromkeys(("train_0", "train_1", "test_0", "test_1", "test_2"), "ann")
    groups |= dict.fromkeys(("val_0", "test_3"), "bob")
    found = check_data([written(tmp_path / "a", base, groups)], near=False)[0]
    assert shared(found) == {"group_leak": {("test", "train"): 3, ("test", "val"): 1}}
    (one,) = [one for one in found if one.code == "group_leak"]
    assert one.count == 2
    assert [view.name for view in one.cases[0].views] == ["train: train_0.png", "test: test_0.png"]


def test_images_of_another_dataset_count_by_the_split_they_are_tested_in(tmp_path: Path) -> None:
    """Both datasets are called the same, and one image lies there twice."""
    one = {f"{split}_{n}": texture(n + 9 * len(split)) for split in SPLITS for n in range(3)}
    two = {f"{split}_{n}": texture(100 + n + 9 * len(split)) for split in SPLITS for n in range(3)}
    two["test_0"] = two["test_1"] = one["train_0"]
    two["train_2"] = one["train_2"]
    folders = [written(tmp_path / name / "data", images) for name, images in (("one", one), ("two", two))]
    found, statistics = check_data(folders)
    assert shared([f for f in found if f.code == "shared_image"]) == {"shared_image": {("test", "train"): 2}}
    told = "\n".join(first_sentences(found, statistics, Looked()))
    assert "2 of 6 test images are also training images of another dataset" in told


def test_the_same_file_in_two_datasets_does_not_look_like_a_copy_as_well(tmp_path: Path) -> None:
    one = {f"{split}_{n}": texture(n + 9 * len(split)) for split in SPLITS for n in range(3)}
    two = {f"{split}_{n}": texture(100 + n + 9 * len(split)) for split in SPLITS for n in range(3)}
    two["test_0"] = one["train_0"]
    found, statistics = check_data([written(tmp_path / "one", one), written(tmp_path / "two", two)])
    told = "\n".join(first_sentences(found, statistics, Looked()))
    assert "1 of 6 test images is also a training image of another dataset" in told
    assert "like" not in told


def test_names_alone_count_where_files_are_not_read(tmp_path: Path) -> None:
    root = written(tmp_path / "a", {f"{split}_{n}": texture(n) for split in SPLITS for n in range(6)})
    edit(root, "test", lambda e: [*e, e[0] | {"img_name": "train_0.png"}, e[0] | {"img_name": "train_1.png"}])
    found = check_data([root], anns_only=True)[0]
    assert shared(found) == {"split_leak": {("test", "train"): 2}}


@pytest.mark.parametrize("anns_only", [False, True])
def test_announcements_are_counted_by_prompt_where_the_mask_is_empty(
    make_dataset: MakeDataset, anns_only: bool
) -> None:
    """p1 tells of both empty masks, p2 of one; p1 says the same of a disc that is there, and of one nobody drew."""
    root = make_dataset()
    blank(root, "train0_bright.png")
    blank(root, "train1_bright.png")

    def change(entries: list[dict[str, Any]]) -> None:
        bright = [entry for entry in entries if entry["target"] == "bright disc"]
        for entry in bright[:4]:
            entry["prompts"]["p1"] = "no bright disc"
        bright[0]["prompts"]["p2"] = ["no bright disc", "without any bright disc"]
        bright[3]["mask"] = None

    edit(root, "train", change)
    found, statistics = check_data([root], anns_only=anns_only)
    texts = {
        one.code: (one.count, dict(one.prompts))
        for one in found
        if one.code in ("announces_absence", "contradicts_mask")
    }
    told = "\n".join(first_sentences(found, statistics, Looked(files=not anns_only)))
    if anns_only:
        assert texts == {"announces_absence": (4, {"p1": 4, "p2": 1})}
        assert "The words of prompts p1 and p2 say of up to 4 entries that nothing is there." in told
        return
    assert texts == {"announces_absence": (3, {"p1": 2, "p2": 1}), "contradicts_mask": (1, {"p1": 1})}
    assert "tell whether" not in told
    assert "The words of prompts p1 and p2 give away up to 2 of 2 empty masks." in told
    edit(root, "train", lambda e: e[4]["prompts"].update(p1="bright disc") and None)
    found, statistics = check_data([root])
    told = "\n".join(first_sentences(found, statistics, Looked()))
    assert "The words of prompt p1 tell whether the target is there: they give away all 2 empty masks." in told


MENDED = ["repeated_word", "number_agreement", "misspelling", "stray_blank"]


def planted(code: str) -> list[Callable[[Path], Any]]:
    return [plant for name, _, plant in PLANTED if name == code]


@pytest.mark.parametrize("code", [*(code for code, about in CODES.items() if "--fix" in about.mend), *MENDED])
def test_fix_mends_what_a_page_says_it_mends(make_dataset: MakeDataset, tmp_path: Path, code: str) -> None:
    root = make_dataset()
    planted(code)[0](root)
    assert code in {one.code for one in check_data([root])[0]}
    fix_annotations(root, tmp_path / "mended")
    assert code not in {one.code for one in check_data([tmp_path / "mended"])[0]}


def test_inverted_masks_are_read_by_the_value_that_a_page_names(make_dataset: MakeDataset) -> None:
    root = make_dataset()
    before = check_data([root])[1][0].areas
    invert(root)
    assert "inverted_masks" in {one.code for one in check_data([root])[0]}
    values = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(values | {"mask_value": 0}))
    found, (statistics,) = check_data([root])
    assert not found
    assert statistics.areas == before


def test_sources_that_dataset_json_gives_are_known_in_other_layouts(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """As training has it; who says "unknown" in dataset.json has said nothing."""
    root = tmp_path / "lvit"
    convert_dataset(make_dataset(counts=(4, 2, 0)), "lvit", root, target="dark disc", prompt="p1")
    for said, told in (({}, True), ({"text": ["class", "unknown"]}, True), ({"text": ["class", "user"]}, False)):
        (root / "dataset.json").write_text(json.dumps({"name": "lvit", "prompt_sources": said}))
        assert ("unknown_source" in {one.code for one in check_data([root])[0]}) is told
