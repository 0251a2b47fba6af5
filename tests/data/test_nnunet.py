"""nnU-Net folders: what the label files hold is what dataset.json declares, or one line says what to do."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlseg.data import load_mask, read_dataset, with_mask_max
from vlseg.data.prepare import prepare
from vlseg.records import InputError

LABELS = {"background": 0, "polyp": 1}


def label_map(*boxes: tuple[int, int]) -> np.ndarray:
    """16 x 20 zeros with, for each (value, side), a square of that value; squares touch."""
    result = np.zeros((16, 20), np.uint8)
    left = 0
    for value, side in boxes:
        result[2 : 2 + side, left : left + side] = value
        left += side
    return result


def write(root: Path, maps: Mapping[str, np.ndarray], labels: Mapping[str, Any] = LABELS, **keys: Any) -> Path:
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for case, pixels in maps.items():
        Image.new("RGB", (20, 16), (90, 90, 90)).save(root / "imagesTr" / f"{case}_0000.png")
        Image.fromarray(pixels).save(root / "labelsTr" / f"{case}.png")
    values = {"channel_names": {"0": "R"}, "labels": labels, "numTraining": len(maps), "file_ending": ".png"}
    (root / "dataset.json").write_text(json.dumps(values | keys))
    return root


def areas(root: Path, **options: Any) -> dict[tuple[str, str | None], int]:
    dataset = with_mask_max(read_dataset(root, **options))
    assert len({s.id for s in dataset.samples}) == len(dataset.samples)
    return {
        (s.image_path.name.removesuffix("_0000.png"), s.target): int(load_mask(s, dataset.info, (16, 20)).sum())
        for s in dataset.samples
    }


@pytest.mark.parametrize(
    ("maps", "labels", "message"),
    [
        ({"a": label_map((255, 5)), "b": label_map()}, LABELS, r"a.png: holds 255, .*\(1 of 2 label files do\); where"),
        ({"a": label_map((1, 5)), "b": label_map((1, 3), (4, 3))}, LABELS, r"b.png: holds 4, .*add it to 'labels'"),
        ({"a": label_map((2, 5))}, LABELS | {"tool": 3}, "a.png: holds 2, which"),
        ({"a": label_map((1, 5), (2, 1))}, LABELS | {"ignore": 2}, r"pixels to ignore \(2; 1 of 1 label files"),
        ({"a": label_map()}, {"background": 0, "polyp": True}, "'polyp' does not"),
        ({"a": label_map()}, {"background": 0, "polyp": []}, "'polyp' does not"),
        ({"a": label_map()}, {"background": 0, "polyp": 1, "tumour": 1}, "'polyp' and 'tumour' the same number"),
        ({"a": label_map()}, {"background": 0}, "nothing but the background"),
        ({"a": label_map()}, {"left kidney": 1, "left_kidney": 2}, "names 'left kidney' twice"),
        ({"a": label_map()}, {"0": "background", "1": "polyp", "2": "polyp"}, "names two numbers alike"),
        ({"a": np.stack([label_map((1, 5)), label_map((0, 6), (1, 4)), label_map()], 2)}, LABELS, "several colours"),
    ],
)
def test_labels_that_are_not_declared_are_one_line(
    tmp_path: Path, maps: Any, labels: Any, message: str, vlseg: Callable[..., Any]
) -> None:
    done = vlseg("data", "show", write(tmp_path, maps, labels))
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    with pytest.raises(InputError, match=message):
        read_dataset(tmp_path)


def test_the_mend_for_0_and_255_works(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="where that is 'polyp', write 1 instead of 255 into the files"):
        read_dataset(write(tmp_path, {"a": label_map((255, 5))}))
    pixels = np.asarray(Image.open(tmp_path / "labelsTr" / "a.png"))
    write(tmp_path, {"a": np.where(pixels == 255, 1, pixels).astype(np.uint8)})
    assert areas(tmp_path) == {("a", "polyp"): 25}


def test_an_ignore_label_that_no_file_holds_is_no_target(tmp_path: Path) -> None:
    write(tmp_path, {"a": label_map((1, 5)), "b": label_map()}, LABELS | {"ignore": 2})
    assert areas(tmp_path) == {("a", "polyp"): 25, ("b", "polyp"): 0}
    assert read_dataset(tmp_path).info.targets == ("polyp",)


def test_regions_are_unions_of_their_labels(tmp_path: Path) -> None:
    labels = {"background": 0, "whole_tumor": [1, 2, 3], "core": [2, 3], "enhancing": 3}
    write(tmp_path, {"a": label_map((1, 5), (2, 4), (3, 2)), "b": label_map((1, 3)), "c": label_map()}, labels)
    one = {("a", "whole tumor"): 45, ("a", "core"): 20, ("a", "enhancing"): 4, ("b", "whole tumor"): 9}
    none = {("c", name): 0 for name in ("whole tumor", "core", "enhancing")}
    assert areas(tmp_path) == one | none
    assert areas(tmp_path, absent=True) == one | none | {("b", "core"): 0, ("b", "enhancing"): 0}
    write(tmp_path, {"a": label_map((1, 5), (2, 3), (3, 2))}, labels)
    assert areas(tmp_path)[("a", "whole tumor")] == 25 + 9 + 4


def test_cases_without_a_label_stay_and_absent_is_kept_by_dataset_json(tmp_path: Path) -> None:
    maps = {"a": label_map((1, 5)), "b": label_map((2, 3)), "c": label_map()}
    labels = LABELS | {"surgical_tool": 2}
    shown = {("a", "polyp"): 25, ("b", "surgical tool"): 9, ("c", "polyp"): 0, ("c", "surgical tool"): 0}
    assert areas(write(tmp_path, maps, labels)) == shown
    lacking = {("a", "surgical tool"): 0, ("b", "polyp"): 0}
    assert areas(write(tmp_path, maps, labels, absent=True)) == shown | lacking


def test_the_first_versions_labels_are_read(tmp_path: Path) -> None:
    write(tmp_path, {"a": label_map((1, 5))}, {"0": "background", "1": "polyp"})
    assert areas(tmp_path) == {("a", "polyp"): 25}


def test_what_is_not_used_is_named_and_counted(tmp_path: Path) -> None:
    write(tmp_path, {"a": label_map((1, 5))})
    (tmp_path / "imagesTs").mkdir()
    Image.new("RGB", (20, 16)).save(tmp_path / "imagesTs" / "t_0000.png")
    Image.fromarray(label_map()).save(tmp_path / "labelsTr" / "lone.png")
    (tmp_path / "imagesTr" / "notes.txt").write_text("x")
    (tmp_path / "splits_final.json").write_text(json.dumps([{"train": ["a", "gone"], "val": []}]))
    assert read_dataset(tmp_path).info.left_out == (
        "1 cases of splits_final.json without an image, e.g. gone",
        "1 test images without labels, e.g. imagesTs/t_0000.png",
        "1 label files without an image, e.g. labelsTr/lone.png",
        "1 files that do not end in .png, e.g. imagesTr/notes.txt",
    )
    (tmp_path / "splits_final.json").write_text(json.dumps([{"train": ["a"], "val": ["a"]}]))
    with pytest.raises(InputError, match="names case 'a' in train and in val"):
        read_dataset(tmp_path)


def test_prepared_without_folds_it_is_split_by_the_seed_with_a_test_set(tmp_path: Path) -> None:
    root = write(tmp_path / "in", {f"c{number:02d}": label_map((1, 5)) for number in range(20)})
    done = prepare(None, root, tmp_path / "out")
    assert (done.structure, done.entries) == ("nnU-Net's raw layout", {"train": 16, "val": 2, "test": 2})
    (root / "splits_final.json").write_text(
        json.dumps([{"train": [f"c{n:02d}" for n in range(15)], "val": [f"c{n}" for n in range(15, 20)]}])
    )
    assert prepare(None, root, tmp_path / "told").entries == {"train": 15, "val": 5, "test": 0}
