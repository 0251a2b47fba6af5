"""labelme's files beside images."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vlseg.data import load_mask, read_dataset
from vlseg.records import InputError


def page(image: str, *shapes: tuple[str, Any], **changes: Any) -> str:
    drawn = [{"label": label, "points": points, "shape_type": "polygon"} for label, points in shapes]
    values = {"version": "5.4", "flags": {}, "imagePath": image, "imageData": None, "imageHeight": 20, "imageWidth": 30}
    return json.dumps(values | {"shapes": drawn} | changes)


BOX = [(5, 4), (15, 4), (15, 10), (5, 10)]


def folder(root: Path, pages: dict[str, str]) -> Path:
    root.mkdir()
    for name, content in pages.items():
        (root / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((20, 30), 90, np.uint8)).save(root / f"{name}.png")
        (root / f"{name}.json").write_text(content)
    return root


def test_shapes_become_masks_by_label(tmp_path: Path) -> None:
    rectangle = {"shapes": [{"label": "polyp", "points": [[20, 15], [10, 5]], "shape_type": "rectangle"}]}
    root = folder(
        tmp_path / "set",
        {
            "train/a": page("a.png", ("polyp", BOX), ("polyp", [(20, 0), (30, 0), (30, 20), (20, 20)]), ("tool", BOX)),
            "val/b": page("C:\\data\\b.png", **rectangle),
            "test/c": page("c.png"),
        },
    )
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(root / "train" / "alone.png")
    (root / "train" / "other.json").write_text("{}")
    dataset = read_dataset(root)
    masks = {(s.split, s.target): load_mask(s, dataset.info, (20, 30)) for s in dataset.samples}
    expected = {key: np.zeros((20, 30), bool) for key in masks}
    expected["train", "polyp"][4:10, 5:15] = expected["train", "tool"][4:10, 5:15] = True
    expected["train", "polyp"][:, 20:] = True
    expected["val", "polyp"][5:15, 10:20] = True
    assert masks.keys() == {
        ("train", "polyp"),
        ("train", "tool"),
        ("val", "polyp"),
        ("test", "polyp"),
        ("test", "tool"),
    }
    for key, mask in masks.items():
        np.testing.assert_array_equal(mask, expected[key], err_msg=str(key))
    assert dataset.info.left_out == (
        "1 images without a labelme file, e.g. train/alone.png",
        "1 JSON files that are not labelme's, e.g. train/other.json",
    )
    assert read_dataset(root).info.left_out == dataset.info.left_out  # drawn masks are no images


def cut_out(inside: NDArray[np.bool_], left: int, top: int, **changes: Any) -> dict[str, Any]:
    """As labelme writes what its AI-Mask finds: a PNG of the box, both corners inside of it."""
    stream = io.BytesIO()
    Image.fromarray(inside).save(stream, format="PNG")
    corners = [[float(left), float(top)], [float(left + inside.shape[1] - 1), float(top + inside.shape[0] - 1)]]
    picture = base64.b64encode(stream.getvalue()).decode()
    return {"label": "polyp", "points": corners, "shape_type": "mask", "mask": picture} | changes


def test_masks_of_its_model_keep_every_pixel(tmp_path: Path) -> None:
    inside = np.random.default_rng(0).random((5, 8)) > 0.5
    pages = {f"{name}/{name}": page(f"{name}.png", ("polyp", BOX)) for name in ("train", "val")}
    root = folder(tmp_path / "set", pages | {"test/a": page("a.png", shapes=[cut_out(inside, 22, 15)])})
    dataset = read_dataset(root)
    expected = np.zeros((20, 30), bool)
    expected[15:20, 22:30] = inside
    np.testing.assert_array_equal(load_mask(dataset.samples[-1], dataset.info, (20, 30)), expected)
    whole = folder(tmp_path / "full", {"a": page("a.png", shapes=[cut_out(np.ones((20, 30), bool), 0, 0)])})
    dataset = read_dataset(whole)
    assert load_mask(dataset.samples[0], dataset.info, (20, 30)).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": "iVBO"}, "is a mask that cannot be read"),
        ({"mask": "ä"}, "is a mask that cannot be read"),
        ({"mask": None}, "is a mask of 2 points; draw it as a polygon"),
        ({"points": [[2, 2]]}, "is a mask that cannot be read"),
        ({"points": [[2, 2], [9, 9]]}, "is a mask of 8x5, its corners are of another size"),
        ({"points": [[23, 15], [30, 19]]}, "8x5 at 23, 15 reaches out of the image"),
    ],
)
def test_wrong_masks_are_refused_in_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    shape = cut_out(np.ones((5, 8), bool), 22, 15, **changes)
    with pytest.raises(InputError, match=message):
        read_dataset(folder(tmp_path / "set", {"a": page("a.png", shapes=[shape])}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (page("a.png", ("polyp", BOX[:2])), "three points or more"),
        (page("a.png", ("polyp", [(500, 4), (600, 4), (600, 10)])), "outside of the image"),
        (page("a.png", ("polyp", [(float("nan"), 4), (9, 4), (9, 10)])), "a.json"),
        (page("a.png", ("polyp", [(1.1, 1.1), (1.2, 1.1), (1.2, 1.2)])), "too small"),
        (page("a.png", ("", BOX)), "label"),
        (page("b.png", ("polyp", BOX)), "is not there"),
        (page("../../a.png", ("polyp", BOX), imageHeight=0), "imageHeight"),
        (page("a.png", shapes=[{"label": "x", "points": [[1, 2], [3, 4]], "shape_type": "circle"}]), "as a polygon"),
        ('{"shapes": [', "JSON"),
    ],
)
def test_broken_files_are_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    root = folder(tmp_path / "set", {"a": content})
    with pytest.raises(InputError, match=message) as told:
        read_dataset(root)
    assert "\n" not in str(told.value)


def test_two_files_about_one_image_and_half_a_split_are_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", {"a": page("a.png", ("polyp", BOX))})
    (root / "b.json").write_text(page("a.png", ("polyp", BOX)))
    with pytest.raises(InputError, match="keep one of the files"):
        read_dataset(root)
    half = folder(tmp_path / "half", {"train/a": page("a.png", ("polyp", BOX)), "b": page("b.png", ("polyp", BOX))})
    with pytest.raises(InputError, match=r"b\.png is in no split"):
        read_dataset(half)


def test_an_image_of_another_size_than_its_file_says_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", {"a": page("a.png", ("polyp", BOX), imageHeight=40, imageWidth=60)})
    with pytest.raises(InputError, match="30x20 on disk, 60x40 in the file"):
        read_dataset(root)
