"""COCO files as other software writes them: each image gets the truth that its file says now, or one line."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as official

from vlseg.data import load_mask, read_dataset, with_mask_max, write_view
from vlseg.data.formats import coco_files, drawn
from vlseg.data.formats.coco_files import split_of
from vlseg.data.formats.outlines import decode, encode
from vlseg.records import Dataset, InputError

SIZE = (16, 20)


def square(left: int, top: int, side: int) -> list[list[float]]:
    right, bottom = left + side, top + side
    return [[left, top, right, top, right, bottom, left, bottom]]


def write(
    root: Path,
    objects: list[tuple[str, str, Any]],
    names: tuple[str, ...] = ("a.png", "b.png", "c.png"),
    file: str = "annotations/instances_train.json",
    targets: tuple[str, ...] = ("polyp", "tool"),
    **changes: Any,
) -> Path:
    """Grey images and one annotation file; objects are (image, category, segmentation)."""
    for name in names:
        path = root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1], (90, 90, 90)).save(path)
    numbers = {name: number for number, name in enumerate(names, 1)}
    kinds = {name: number for number, name in enumerate(targets, 1)}
    values: dict[str, Any] = {
        "images": [{"id": n, "file_name": name, "width": SIZE[1], "height": SIZE[0]} for name, n in numbers.items()],
        "annotations": [
            {"id": n, "image_id": numbers.get(image, 99), "category_id": kinds.get(kind, 99), "segmentation": outline}
            for n, (image, kind, outline) in enumerate(objects, 1)
        ],
        "categories": [{"id": number, "name": name} for name, number in kinds.items()],
    }
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(json.dumps(values | changes))
    return root


def areas(dataset: Dataset) -> dict[tuple[str, str | None], int]:
    dataset = with_mask_max(dataset)
    return {
        (s.image_path.relative_to(dataset.info.files).as_posix(), s.target): int(load_mask(s, dataset.info, SIZE).sum())
        for s in dataset.samples
    }


def test_images_of_one_stem_have_masks_of_their_own(tmp_path: Path) -> None:
    names = ("x.png", "x.jpg", "left/y.png", "left_y.png", "right/y.png")
    objects = [(name, "polyp", square(1, 1, side)) for side, name in enumerate(names, 2)]
    found = areas(read_dataset(write(tmp_path, objects, names)))
    assert found == {(f"images/{name}", "polyp"): side**2 for side, name in enumerate(names, 2)}


def test_corrected_annotations_count_whatever_their_date(tmp_path: Path) -> None:
    write(tmp_path, [("a.png", "polyp", square(1, 1, 9))])
    first = read_dataset(tmp_path)
    assert areas(first)[("images/a.png", "polyp")] == 81
    write(tmp_path, [("a.png", "polyp", square(1, 1, 3))])
    os.utime(tmp_path / "annotations/instances_train.json", (1, 1))
    second = read_dataset(tmp_path)
    assert areas(second)[("images/a.png", "polyp")] == 9
    assert first.info.fingerprint != second.info.fingerprint
    assert [s.id for s in first.samples] == [s.id for s in second.samples]
    shutil.rmtree(tmp_path / "masks_from_coco")
    again = read_dataset(tmp_path)
    assert (areas(again), again.info.fingerprint) == (areas(second), second.info.fingerprint)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("instances_train2017", "train"),
        ("instances_val2017", "val"),
        ("trainImages", "train"),
        ("TEST", "test"),
        ("polyp-validation", "val"),
        ("latest_export", None),
        ("intestine", None),
        ("mitral_valve", None),
        ("muscle_strain", None),
        ("constrained", None),
        ("trainval", None),
        ("contest", None),
    ],
)
def test_only_whole_words_name_a_split(name: str, split: str | None) -> None:
    assert split_of(name) == split


def test_a_name_of_two_splits_and_files_that_disagree_are_errors(tmp_path: Path) -> None:
    write(tmp_path / "1", [("a.png", "polyp", square(1, 1, 3))], file="annotations/train_val.json")
    with pytest.raises(InputError, match=r"train_val: names several splits \(train, val\); rename"):
        read_dataset(tmp_path / "1")
    for file in ("annotations/train.json", "annotations/export.json"):
        write(tmp_path / "2", [("a.png", "polyp", square(1, 1, 3))], file=file)
    with pytest.raises(InputError, match=r"export.json: its name says no split, while annotations/train.json"):
        read_dataset(tmp_path / "2")


def test_two_files_about_one_image_and_category_are_an_error(tmp_path: Path) -> None:
    write(tmp_path, [("a.png", "polyp", square(1, 1, 3))], targets=("polyp",))
    write(tmp_path, [("b.png", "polyp", square(1, 1, 3))], file="annotations/more_train.json", targets=("polyp",))
    with pytest.raises(InputError, match=r"more_train.json: is about 'polyp' in images/a.png \(3 such images\)"):
        read_dataset(tmp_path)
    (tmp_path / "annotations/more_train.json").unlink()
    write(tmp_path, [("a.png", "tool", square(1, 1, 4))], file="annotations/tools_train.json", targets=("tool",))
    found = areas(read_dataset(tmp_path))
    assert (found[("images/a.png", "polyp")], found[("images/a.png", "tool")]) == (9, 16)


def test_a_folder_for_each_split_as_roboflow_exports(tmp_path: Path) -> None:
    for side, folder in enumerate(("train", "valid", "test"), 2):
        write(tmp_path, [("a.png", "polyp", square(1, 1, side))], ("a.png",), f"{folder}/_annotations.coco.json")
        (tmp_path / "images" / "a.png").rename(tmp_path / folder / "a.png")
    (tmp_path / "images").rmdir()
    dataset = with_mask_max(read_dataset(tmp_path))
    found = {s.split: (s.image_path.parent.name, load_mask(s, dataset.info, SIZE).sum()) for s in dataset.samples}
    assert found == {"train": ("train", 4), "val": ("valid", 9), "test": ("test", 16)}


def test_recognised_by_structure_and_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    padding = [{"id": n, "file_name": "none.png", "url": "x" * 2000} for n in range(600)]
    write(tmp_path / "big", [("a.png", "polyp", square(1, 1, 3))], info={"note": "y" * (2 << 20)})
    path = tmp_path / "big" / "annotations" / "instances_train.json"
    path.write_text(json.dumps(dict(reversed(json.loads(path.read_text()).items()))))
    parsed: list[Path] = []
    original = coco_files.read_json
    monkeypatch.setattr(coco_files, "read_json", lambda file, hint: (parsed.append(file), original(file, hint))[1])
    (tmp_path / "big" / "unrelated.json").write_text(json.dumps({"pictures": padding}))
    (tmp_path / "big" / "nested.json").write_text(json.dumps({"a": {"images": padding, "annotations": []}}))
    assert areas(read_dataset(tmp_path / "big"))[("images/a.png", "polyp")] == 9
    assert sorted(file.name for file in parsed) == ["instances_train.json", "nested.json"]


def test_what_is_not_used_is_named_and_counted(tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    write(tmp_path, [("a.png", "polyp", square(1, 1, 3))], ("a.png", "b.png"))
    Image.new("L", (4, 4)).save(tmp_path / "images" / "stray.png")
    images = [{"id": 1, "file_name": "a.png", "width": 20, "height": 16}]
    for name, values in (("captions", {"annotations": [{"caption": "x"}]}), ("image_info_test", {"categories": []})):
        (tmp_path / "annotations" / f"{name}.json").write_text(json.dumps({"images": images} | values))
    done = vlseg("data", "show", tmp_path, "--json")
    assert done.json["left_out"] == [
        "annotations/captions.json: has no 'categories' (captions?), not used",
        "annotations/image_info_test.json: has no annotations, its 1 images are not used",
        "1 categories without any object: tool",
        "1 images that no annotation file names, e.g. images/stray.png",
    ]
    assert "not used: 1 images that no annotation" in vlseg("data", "show", tmp_path).out
    found = vlseg("data", "check", tmp_path, "--no-near", "--json").json["findings"]
    assert next(one for one in found if one["code"] == "not_used")["count"] == 4


ODD_POLYGONS = [
    ([[float("nan"), 1, 9, 1, 9, 9]], "no numbers or far outside"),
    ([[0, 0, 1e9, 0, 1e9, 9, 0, 9]], "no numbers or far outside"),
    ([[0, 0, float("inf"), 0, 9, 9]], "no numbers or far outside"),
    ([[0, 0, 10**400, 0, 9, 9]], "no numbers or far outside"),
    ([[1, 1, 5, 1, 5, 5, 1]], "7 values"),
    ([[1, 1, 5, 1]], "4 values"),
    ([[1, 1, 5, "x", 5, 5]], "neither polygons"),
    ([1, 1, 5, 1, 5, 5], "neither polygons"),
    ([[21, 1, 25, 1, 25, 5]], "lies outside of the image"),
    ([[1, -9, 5, -9, 5, -1]], "lies outside of the image"),
    ([[3.2, 3.2, 3.21, 3.2, 3.21, 3.21]], "too small to cover a pixel"),
    ([], "1 of 1 annotations: image 1 has a box without an outline"),
    (None, "has a box without an outline"),
]


@pytest.mark.parametrize(("outline", "message"), ODD_POLYGONS)
def test_odd_polygons_are_one_line(tmp_path: Path, outline: Any, message: str, vlseg: Callable[..., Any]) -> None:
    done = vlseg("data", "show", write(tmp_path, [("a.png", "polyp", outline)]))
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert message in done.err
    assert not list(tmp_path.glob("masks_from_coco/*a.png*"))


def broken_codes() -> list[tuple[Any, str]]:
    whole = encode(np.eye(*SIZE, dtype=bool))["counts"]
    short = encode(np.ones((4, 4), bool))["counts"]
    return [
        ({"size": [16, 20], "counts": short}, "covers 16 pixels, not 320"),
        ({"size": [16, 20], "counts": whole[:-1]}, "run-length code"),
        ({"size": [16, 20], "counts": whole + "1"}, "run-length code covers"),
        ({"size": [16, 20], "counts": ""}, "cut off"),
        ({"size": [16, 20], "counts": "é" + whole}, "characters that no code has"),
        ({"size": [16, 20], "counts": "o" * 20 + "1"}, "number that no image has"),
        ({"size": [20, 16], "counts": whole}, "is for [20, 16]"),
        ({"size": [16, 20], "counts": [-5, 325]}, "neither numbers in the image"),
        ({"size": [16, 20], "counts": [10, 20]}, "covers 30 pixels"),
        ({"size": [16, 20], "counts": [320.0]}, "neither numbers in the image"),
        ({"size": [16, 20]}, "neither numbers in the image"),
    ]


@pytest.mark.parametrize(("code", "message"), broken_codes())
def test_broken_codes_are_one_line(code: Any, message: str) -> None:
    with pytest.raises(InputError) as raised:
        decode(code, SIZE, "x")
    assert message in str(raised.value)


def test_compressed_codes_agree_with_the_official_reader() -> None:
    rng = np.random.default_rng(0)
    for density in (0.0, 0.01, 0.3, 0.5, 0.99, 1.0):
        for size in ((1, 1), (1, 50), (37, 1), (40, 60), (300, 200)):
            mask = rng.random(size) < density
            code = encode(mask)
            np.testing.assert_array_equal(decode(code, size, "x"), official.decode(code).astype(bool))


def test_polygons_that_reach_out_count_inside(tmp_path: Path) -> None:
    mask = decode([[-5, -5, 6, -5, 6, 4, -5, 4]], SIZE, "x")
    expected = np.zeros(SIZE, bool)
    expected[:4, :6] = True
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"images": [{"id": 1, "file_name": n, "width": 20, "height": 16} for n in ("a.png", "b.png")]},
            "image id '1'",
        ),
        ({"images": [{"id": n, "file_name": "a.png", "width": 20, "height": 16} for n in (1, 2)]}, "file_name 'a.png'"),
        ({"categories": [{"id": 1, "name": "polyp"}, {"id": 1, "name": "tool"}]}, "category id '1'"),
        ({"categories": [{"id": 1, "name": "polyp"}, {"id": 2, "name": "polyp"}]}, "category name 'polyp'"),
        (
            {"images": [{"id": 1, "file_name": "a.png", "width": 16, "height": 18}]},
            "is 20x16 on disk, 16x18 in the file",
        ),
        ({"images": [{"id": 1, "file_name": "a.png", "width": 90000, "height": 90000}]}, "too large"),
        (
            {"images": [{"id": n, "file_name": f"{n}.png", "width": 20, "height": 16} for n in range(1, 4)]},
            r"\(3 of 3 images are missing\)",
        ),
    ],
)
def test_files_that_contradict_themselves_are_one_line(tmp_path: Path, changes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        read_dataset(write(tmp_path, [("a.png", "polyp", square(1, 1, 3))], **changes))
    assert "\n" not in str(raised.value)


def test_an_image_in_two_places_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, [("a.png", "polyp", square(1, 1, 3))], ("a.png",))
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"file_name 'a.png' is found as a.png and as images/a.png"):
        read_dataset(tmp_path)


def test_images_without_objects_stay_and_absent_targets_are_entries_when_asked(tmp_path: Path) -> None:
    write(tmp_path, [("a.png", "polyp", square(1, 1, 3)), ("b.png", "tool", square(1, 1, 4))])
    shown = {("images/a.png", "polyp"): 9, ("images/b.png", "tool"): 16}
    nothing = {("images/c.png", "polyp"): 0, ("images/c.png", "tool"): 0}
    assert areas(read_dataset(tmp_path)) == shown | nothing
    lacking = {("images/a.png", "tool"): 0, ("images/b.png", "polyp"): 0}
    assert areas(read_dataset(tmp_path, absent=True)) == shown | nothing | lacking
    (tmp_path / "dataset.json").write_text('{"absent": true}')
    dataset = read_dataset(tmp_path)
    assert areas(dataset) == shown | nothing | lacking
    assert {sources for s in dataset.samples for sources in s.prompt_sources["class"]} == {"class"}
    assert len({s.id for s in dataset.samples}) == 6


def test_a_folder_that_cannot_be_written_is_read_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "data", [("a.png", "polyp", square(1, 1, 3))], ("a.png",))
    free = read_dataset(root)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(drawn, "_writable", lambda root, folder: False)
    dataset = read_dataset(root)
    assert areas(dataset) == {("images/a.png", "polyp"): 9}
    assert dataset.samples[0].mask_paths[0].is_relative_to(tmp_path / "cache" / "vlseg" / "masks")
    assert dataset.info.fingerprint == free.info.fingerprint
    write_view(dataset, tmp_path / "view")
    assert areas(read_dataset(tmp_path / "view")) == {("images/a.png", "polyp"): 9}
    (tmp_path / "cache" / "vlseg").rename(tmp_path / "gone")
    with pytest.raises(InputError, match=r"view/dataset.json: 'masks' points to .* make this dataset anew"):
        read_dataset(tmp_path / "view")
    (tmp_path / "cache" / "vlseg").write_text("in the way")
    with pytest.raises(InputError, match=r"data: its masks must be drawn to files.*copy the dataset to a folder"):
        read_dataset(root)
