"""Phantoms: the same seed gives the same files, prompts are true to the attributes, shares are as promised."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlseg.phantoms.dataset import Phantom, make_phantom, satisfying, write_phantoms
from vlseg.phantoms.scene import LEVELS, Level
from vlseg.records import InputError

LEVEL_NAMES: tuple[Level, ...] = ("easy", "hard")
COUNTS = {"train": 12, "val": 3, "test": 6}


def phantoms(level: Level, number: int, split: str = "train", seed: int = 0) -> list[Phantom]:
    return [make_phantom(split, index, level=level, size=32, seed=seed) for index in range(number)]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def entries(folder: Path, split: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "anns" / f"{split}.json").read_text())
    return rows


@pytest.mark.parametrize("level", LEVEL_NAMES)
def test_same_seed_same_files_and_other_seed_other_files(level: Level, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_phantoms(tmp_path / name, level, COUNTS, size=32, seed=seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    images = [(tmp_path / name / "images" / "train-00000.png").read_bytes() for name in "ac"]
    assert images[0] != images[1]
    assert not list(tmp_path.glob(".*"))


def test_counts_do_not_change_other_images(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "few", "easy", {"train": 2, "test": 1}, size=32)
    write_phantoms(tmp_path / "many", "easy", COUNTS, size=32)
    many = contents(tmp_path / "many")
    pictures = {name: data for name, data in contents(tmp_path / "few").items() if name.endswith(".png")}
    assert pictures
    assert all(many[name] == data for name, data in pictures.items())
    assert (
        entries(tmp_path / "few", "train")
        == entries(tmp_path / "many", "train")[: len(entries(tmp_path / "few", "train"))]
    )


@pytest.mark.parametrize("level", LEVEL_NAMES)
def test_truth_is_the_union_of_all_objects_that_satisfy_the_prompt(level: Level) -> None:
    for phantom in phantoms(level, 120):
        scene = phantom.scene
        assert scene.masks.sum(axis=0).max() == 1
        assert scene.masks.any(axis=(1, 2)).all()
        for entry in phantom.entries:
            union = np.zeros_like(entry.mask)
            for thing, mask in zip(scene.objects, scene.masks, strict=True):
                if set(entry.named.items()) <= set(thing.items()):
                    union |= mask
            assert np.array_equal(entry.mask, union)
            assert len(satisfying(scene.objects, entry.named)) == 1 or entry.kind != "object"
            assert entry.mask.any() == (entry.kind != "absent")
            words = {word for value in entry.named.values() for word in value.split()}
            assert all(words <= set(text.replace(",", "").split()) for text in entry.wordings)


@pytest.mark.parametrize("level", LEVEL_NAMES)
@pytest.mark.parametrize("seed", [0, 1])
def test_fifteen_percent_are_absent(level: Level, seed: int) -> None:
    kinds = [entry.kind for phantom in phantoms(level, 150, seed=seed) for entry in phantom.entries]
    assert kinds.count("absent") / len(kinds) == pytest.approx(0.15, abs=0.03)


def test_hard_absent_prompts_miss_by_one_attribute_and_easy_ones_by_more() -> None:
    for level, fewest in (("easy", 2), ("hard", 1)):
        for phantom in phantoms(level, 60):  # type: ignore[arg-type]
            for entry in phantom.entries:
                if entry.kind == "absent" and len(entry.named) > 1:
                    things = phantom.scene.objects
                    misses = min(sum(t[k] != v for k, v in entry.named.items()) for t in things)
                    assert misses == 1 if level == "hard" else misses >= fewest


def test_class_alone_is_often_not_enough() -> None:
    shared = [
        len({thing["class"] for thing in phantom.scene.objects}) < len(phantom.scene.objects)
        for phantom in phantoms("easy", 100)
    ]
    assert np.mean(shared) > 0.6


def test_layout_on_disk(tmp_path: Path) -> None:
    summary = write_phantoms(tmp_path / "set", "hard", COUNTS, size=48)
    card = json.loads((tmp_path / "set" / "dataset.json").read_text())
    assert card["targets"] == list(LEVELS["hard"].values["class"])
    assert card["licence"] == "CC0-1.0"
    assert card["text_blind_ceiling"] == {split: one.text_blind for split, one in summary.ceilings.items()}
    assert card["class_ceiling"] == {split: one.by_class for split, one in summary.ceilings.items()}
    for one in summary.ceilings.values():
        assert one.text_blind is not None
        assert one.by_class is not None
        assert 0 < one.text_blind <= one.by_class < 1
    groups = {split: {row["group"] for row in entries(tmp_path / "set", split)} for split in COUNTS}
    assert not groups["train"] & groups["test"]
    assert not groups["train"] & groups["val"]
    assert len(groups["train"]) == 4
    for split in COUNTS:
        rows = entries(tmp_path / "set", split)
        assert len(rows) == summary.entries[split]
        assert len({row["id"] for row in rows}) == len(rows)
        for row in rows:
            assert read(tmp_path / "set" / "images" / row["img_name"]).shape == (48, 48)
            mask = read(tmp_path / "set" / "masks" / row["mask_name"])
            assert set(np.unique(mask)) <= {0, 255}
            assert row["prompts"]["empty"] == ""
            assert row["prompts"]["class"] == row["target"]
            assert {a["source"] for a in row["attributes"]} <= {"class", "mask"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"level": "medium"}, "unknown level 'medium'"),
        ({"counts": {"train": -1}}, "counts: train is -1"),
        ({"counts": {"holdout": 1}}, "unknown split 'holdout'"),
        ({"counts": {}}, "counts: no images"),
        ({"size": 8}, "size: 8"),
        ({"seed": -1}, "seed: -1"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        write_phantoms(**({"out": tmp_path / "set", "counts": COUNTS} | change))
    assert not list(tmp_path.iterdir())


def test_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not an empty folder"):
        write_phantoms(tmp_path, counts=COUNTS)
    with pytest.raises(InputError, match="cannot be written"):
        write_phantoms(tmp_path / "mine.txt" / "set", counts=COUNTS)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_the_page_says_of_the_levels() -> None:
    """docs/phantoms.md: objects an image, kinds, patients of three images, and what hard ones' brightness tells."""
    things = {level: [phantom.scene.objects for phantom in phantoms(level, 60)] for level in LEVEL_NAMES}
    assert {len(one) for one in things["easy"]} == {2, 3}
    assert max(len(one) for one in things["hard"]) == 4
    flat = {level: [thing for one in things[level] for thing in one] for level in LEVEL_NAMES}
    kinds = {level: {name: len({one[name] for one in flat[level]}) for name in ("shape", "size")} for level in flat}
    assert kinds == {"easy": {"shape": 2, "size": 2}, "hard": {"shape": 4, "size": 3}}
    dark = {
        kind: [one["brightness"] == "dark" for one in flat["hard"] if one["class"] == kind]
        for kind in ("cyst", "nodule")
    }
    assert abs(np.mean(dark["cyst"]) - np.mean(dark["nodule"])) < 3 * (2 * 0.25 / 80) ** 0.5
    patients = [phantom.patient for phantom in phantoms("easy", 9)]
    assert [patients.count(name) for name in dict.fromkeys(patients)] == [3, 3, 3]


@pytest.mark.parametrize("level", LEVEL_NAMES)
def test_the_prompt_of_an_object_fits_it_alone(level: Level) -> None:
    for phantom in phantoms(level, 60):
        for entry in phantom.entries:
            fitting = satisfying(phantom.scene.objects, entry.named)
            assert entry.kind != "object" or len(fitting) == 1
            assert entry.kind != "absent" or not entry.mask.any()


@pytest.mark.slow
def test_the_demos_ceilings_are_those_in_the_page() -> None:
    """By sorting the pixels of each image, not the kinds of pixels: another way than the library's."""
    images: dict[tuple[object, ...], list[np.ndarray]] = {}
    for index in range(200):
        phantom = make_phantom("test", index, level="easy", size=96, seed=0)
        for entry in phantom.entries:
            if entry.mask.any():
                images.setdefault((index,), []).append(entry.mask.ravel())
                images.setdefault((index, entry.named["class"]), []).append(entry.mask.ravel())
    page = (Path(__file__).parents[2] / "docs" / "phantoms.md").read_text()
    for length, words in ((1, "| text-blind | the image |"), (2, "| class | the image and the class that is named |")):
        found = [np.stack(masks) for key, masks in images.items() if len(key) == length]
        ceiling = sum(_best_sum(masks) for masks in found) / sum(len(masks) for masks in found)
        assert f"{words} {ceiling:.3f} |" in page


def _best_sum(masks: np.ndarray) -> float:
    """The largest sum of Dice of one mask with (K, pixels) truths: for each area the pixels of most weight."""
    masks = masks[:, masks.any(axis=0)]
    areas = masks.sum(axis=1)
    best = 0.0
    for area in range(1, masks.shape[1] + 1):
        weights = (2 / (area + areas)) @ masks
        best = max(best, float(np.sort(weights)[::-1][:area].sum()))
    return best
