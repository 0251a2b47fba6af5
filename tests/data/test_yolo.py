"""YOLO's segmentation labels: each image gets the truth that its lines say, or one line."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlseg.data import load_image, load_mask, read_dataset, with_mask_max
from vlseg.data.formats.outlines import decode
from vlseg.data.formats.yolo import is_yolo, label_of
from vlseg.records import Dataset, InputError

SIZE = (20, 30)
"""(H, W)"""
LEFT = "0 0 0 0.5 0 0.5 1 0 1"
TOP = "1 0 0 1 0 1 0.5 0 0.5"
YAML = "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: polyp\n  1: tool\n"


def picture(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], (90, 90, 90)).save(path)


def folder(root: Path, labels: Mapping[str, str | None], yaml: str = YAML, name: str = "data.yaml") -> Path:
    """Images by their name with the text of their label file; None = no file."""
    for image, text in labels.items():
        picture(root / image)
        if text is not None:
            (root / label_of(image)).parent.mkdir(parents=True, exist_ok=True)
            (root / label_of(image)).write_text(text, encoding="utf-8")
    (root / name).write_text(yaml, encoding="utf-8")
    return root


def areas(dataset: Dataset) -> dict[tuple[str, str, str | None], int]:
    dataset = with_mask_max(dataset)
    return {
        (s.split, s.image_path.relative_to(dataset.info.files).as_posix(), s.target): int(
            load_mask(s, dataset.info, load_image(s, dataset.info).shape[:2]).sum()
        )
        for s in dataset.samples
    }


HALF = SIZE[0] * SIZE[1] // 2
TWO = {"images/train/a.png": f"{LEFT}\n{TOP}\n", "images/val/a.png": LEFT}
READ = {
    ("train", "images/train/a.png", "polyp"): HALF,
    ("train", "images/train/a.png", "tool"): HALF,
    ("val", "images/val/a.png", "polyp"): HALF,
}


def test_outlines_become_masks_by_class(tmp_path: Path) -> None:
    """Same stems in two folders, two outlines of a class united, the half plane that the numbers say."""
    text = f"{LEFT}\n0 0.5 0 1 0 1 0.5 0.5 0.5\n{TOP}\n"
    dataset = with_mask_max(read_dataset(folder(tmp_path, {"images/train/a.png": text, "images/val/a.png": TOP})))
    masks = {(s.split, s.target): load_mask(s, dataset.info, SIZE) for s in dataset.samples}
    polyp, tool = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    polyp[:, :15] = polyp[:10, 15:] = tool[:10] = True
    assert masks.keys() == {("train", "polyp"), ("train", "tool"), ("val", "tool")}
    np.testing.assert_array_equal(masks["train", "polyp"], polyp)
    np.testing.assert_array_equal(masks["train", "tool"], tool)
    np.testing.assert_array_equal(masks["val", "tool"], tool)
    assert len({s.id for s in dataset.samples}) == 3
    assert {source for s in dataset.samples for source in s.prompt_sources["class"]} == {"class"}


def test_slanted_outlines_are_those_of_coco_in_pixels(tmp_path: Path) -> None:
    corners = np.random.default_rng(3).random((7, 2))
    line = "0 " + " ".join(f"{value:.6f}" for value in corners.ravel())
    dataset = with_mask_max(read_dataset(folder(tmp_path, {"images/train/a.png": line})))
    expected = decode([(corners.round(6) * [SIZE[1], SIZE[0]]).ravel().tolist()], SIZE, "x")
    assert expected.any()
    np.testing.assert_array_equal(load_mask(dataset.samples[0], dataset.info, SIZE), expected)


@pytest.mark.parametrize(
    ("name", "yaml"),
    [
        ("data.yaml", YAML),
        ("my set.yml", YAML),
        ("data.yaml", "\ufeff" + YAML.replace("\n", "\r\n")),
        ("data.yaml", YAML.replace("images/", "images\\")),
        ("data.yaml", YAML.replace("path: .", "path: /home/somebody/datasets/polyps")),
        ("data.yaml", YAML.replace("path: .", "path: ../datasets/polyps")),
        ("data.yaml", YAML.replace("path: .\n", "").replace("images/", "../images/")),
        ("data.yaml", YAML.replace("path: .", "path: images").replace("images/", "")),
        ("data.yaml", YAML.replace("train: images/train", "train: [images/train/]")),
        ("data.yaml", YAML.replace("images/train", "lists/train.txt")),
        ("data.yaml", "train: images/train\nval: images/val\nnc: 2\nnames: ['polyp', 'tool']\n"),
        ("data.yaml", "\ufeffnames: [polyp, tool]\ntrain: images/train\nval: images/val\n"),
        ("data.yaml", '{\n"names": ["polyp", "tool"],\n"train": "images/train",\n"val": "images/val"\n}'),
        ("data.yaml", "train: images/train\nvalidation: images/val\ntest:\nnames: {'0': polyp, '1': ' tool '}\n"),
    ],
)
def test_ways_to_write_the_same_description(tmp_path: Path, name: str, yaml: str) -> None:
    root = folder(tmp_path / "a set", TWO, yaml, name)
    (root / "lists").mkdir()
    (root / "lists" / "train.txt").write_text("./images/train/a.png\r\n", encoding="utf-8")
    (root / "lists" / "train.txt").write_text(".\\..\\images\\train\\a.png\r\n\r\n", encoding="utf-8")
    assert areas(read_dataset(root)) == READ


def test_images_listed_below_the_dataset_or_the_list(tmp_path: Path) -> None:
    root = folder(tmp_path, TWO, YAML.replace("images/train", "train.txt"))
    for text in ("images/train/a.png", "./images/train/A.PNG", str(root / "images/train/a.png")):
        (root / "train.txt").write_text(text)
        assert areas(read_dataset(root)) == READ
    (root / "train.txt").write_text("images/train/a.png\n/content/data/b.png\n")
    with pytest.raises(InputError, match=r"train.txt: /content/data/b.png is not there \(1 of 2 images are missing\)"):
        read_dataset(root)


def test_roboflow_exports_and_labels_beside_images(tmp_path: Path) -> None:
    yaml = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 1\nnames: ['polyp']\n"
    labels = {"train/images/a_jpg.rf.0f.jpg": LEFT, "valid/images/b c.JPG": LEFT}
    root = folder(tmp_path / "set", labels, yaml)
    picture(tmp_path / "train" / "images" / "of another set.png")
    dataset = read_dataset(root)
    assert areas(dataset) == {
        ("train", "train/images/a_jpg.rf.0f.jpg", "polyp"): HALF,
        ("val", "valid/images/b c.JPG", "polyp"): HALF,
    }
    assert dataset.info.left_out == ("'test' of data.yaml: ../test/images is not there",)
    beside = folder(tmp_path / "beside", {"all/ä.png": LEFT}, "train: all\nnames: [polyp]")
    assert areas(read_dataset(beside)) == {("train", "all/ä.png", "polyp"): HALF}


def test_nothing_there_is_said_by_an_empty_file_and_by_a_missing_one_only_when_asked(tmp_path: Path) -> None:
    root = folder(tmp_path, {**TWO, "images/train/none.png": " \r\n", "images/val/what.png": None})
    dataset = read_dataset(root)
    nothing = {("train", "images/train/none.png", target): 0 for target in ("polyp", "tool")}
    assert areas(dataset) == READ | nothing
    (told,) = dataset.info.left_out
    assert told.startswith("1 images without a label file (not annotated, or nothing there?")
    assert told.endswith("e.g. images/val/what.png")
    lacking = {("val", f"images/val/{name}.png", target): 0 for name, target in (("a", "tool"), ("what", "polyp"))}
    lacking[("val", "images/val/what.png", "tool")] = 0
    assert areas(read_dataset(root, absent=True)) == READ | nothing | lacking
    (root / "dataset.json").write_text('{"absent": true}')
    assert areas(read_dataset(root)) == READ | nothing | lacking
    assert read_dataset(root).info.left_out == ()


def test_what_is_not_used_is_named_and_counted(tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    root = folder(tmp_path, TWO, YAML + "  2: vessel\n")
    picture(root / "images" / "extra" / "e.png")
    (root / "labels" / "train" / "gone.txt").write_text(LEFT)
    done = vlseg("data", "show", root, "--json")
    assert done.json["left_out"] == [
        "1 classes without any object, e.g. vessel",
        "1 images in no split of data.yaml, e.g. images/extra/e.png",
        "1 label files of no image in a split, e.g. labels/train/gone.txt",
    ]
    assert vlseg("data", "show", root, "--json").json["left_out"] == done.json["left_out"]  # drawn masks are no images
    found = vlseg("data", "check", root, "--no-near", "--json").json["findings"]
    assert next(one for one in found if one["code"] == "not_used")["count"] == 3


def test_an_image_in_two_splits_is_found_by_check(tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    root = folder(tmp_path, TWO, YAML.replace("images/val", "images/train"))
    found = vlseg("data", "check", root, "--no-near", "--json").json["findings"]
    assert "split_leak" in {one["code"] for one in found}


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_numbers_are_of_the_image_as_it_is_shown(tmp_path: Path, suffix: str) -> None:
    """Cameras store turned pictures; annotators, Ultralytics and our readers see them upright."""
    root = folder(tmp_path, {f"images/train/a{suffix}": LEFT})
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.new("RGB", SIZE[::-1]).save(root / f"images/train/a{suffix}", exif=tags)
    dataset = with_mask_max(read_dataset(root))
    upright = SIZE[::-1]
    assert load_image(dataset.samples[0], dataset.info).shape[:2] == upright
    expected = np.zeros(upright, bool)
    expected[:, : SIZE[0] // 2] = True
    np.testing.assert_array_equal(load_mask(dataset.samples[0], dataset.info, upright), expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{LEFT}\n0 0.5 0.5 0.2 0.2\n", r"a.txt: line 2: has a box .* \(1 of 2 lines do\)"),
        ("0 0.1 0.1", "line 1: 2 numbers after the class are no outline"),
        ("0 0.1 0.1 0.5 0.1 0.5 0.5 0.9", "7 numbers after the class"),
        ("5" + LEFT[1:], "class 5 is not among the 2 names of data.yaml"),
        ("-1" + LEFT[1:], "class -1 is not among"),
        ("0.5" + LEFT[1:], "class 0.5 is not among"),
        ("0 0 0 nan 0 0.5 1", r"nan is no coordinate in \[0, 1\]"),
        ("0 0 0 inf 0 0.5 1", "inf is no coordinate"),
        ("0 0 0 15 0 15 20", r"15 is no coordinate in \[0, 1\] \(3 such\); divide x"),
        ("0 0 0 -0.2 0 0.5 1", "-0.2 is no coordinate"),
        ("polyp 0 0 0.5 0 0.5 1", "holds something else than numbers"),
        ("0,0,0,0.5,0,0.5,1", "holds something else than numbers"),
        ("0 0.1 0.1 0.1001 0.1 0.1001 0.1001", "too small to cover a pixel"),
    ],
)
def test_odd_lines_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as told:
        read_dataset(folder(tmp_path, {"images/train/a.png": text}))
    assert "\n" not in str(told.value)


def test_a_corner_a_hair_outside_counts_inside(tmp_path: Path) -> None:
    dataset = read_dataset(folder(tmp_path, {"images/train/a.png": "0 -0.004 0 0.5 -0.001 0.5 1.009 0 1.0000001"}))
    assert next(iter(areas(dataset).values())) == pytest.approx(HALF, abs=12)


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("train: images/train\nnames: [no, polyp]", "'names' holds False, which is no name; put quotes around it"),
        ("train: images/train\nnames: [a, a]", "'names' holds 'a' twice"),
        ("train: images/train\nnames: {x: a}", "must be a list, or map the class numbers"),
        ("train: images/train\nnames: []", "'names' must list the classes"),
        ("train: images/train\nnc: 3\nnames: [a, b]", "'nc' is 3, 'names' holds 2"),
        ('train: "images\\train"\nnames: [a, b]', "in double quotes a backslash means something else"),
        ('train: "images\\other"\nnames: [a, b]', "in double quotes a backslash means something else"),
        ("train: {a: b}\nnames: [a, b]", "'train' must name a folder"),
        ("train: picture/train\nnames: [a, b]", "picture/train is not there; write where the images are"),
        ("train: /content/x/images/train\nnames: [a, b]", "/content/x/images/train is not there"),
        ("train: ../../images\nnames: [a, b]", "is not there; write"),
        ("train: labels\nnames: [a, b]", "its folders hold no images"),
        ("train: images\nnames: [a, b", "is no YAML that can be read"),
    ],
)
def test_wrong_descriptions_are_one_line(tmp_path: Path, yaml: str, message: str) -> None:
    picture(tmp_path / "images" / "of somebody else.png")
    with pytest.raises(InputError, match=message) as told:
        read_dataset(folder(tmp_path / "set", TWO, yaml))
    assert "\n" not in str(told.value)


def test_no_or_two_descriptions_or_no_labels_are_one_line(tmp_path: Path) -> None:
    root = folder(tmp_path, TWO)
    (root / "copy.yaml").write_text(YAML)
    with pytest.raises(InputError, match=r"copy.yaml and data.yaml; keep one"):
        read_dataset(root)
    (root / "copy.yaml").unlink()
    (root / "data.yaml").rename(root / "data.yaml.bak")
    (root / "labels" / "classes.txt").write_text("polyp\ntool\n")
    with pytest.raises(InputError, match=r"has YOLO's label files and no data.yaml; write one, e.g. names: \[polyp\]"):
        read_dataset(root)
    (root / "data.yaml.bak").rename(root / "data.yaml")
    (root / "labels" / "classes.txt").unlink()
    (root / "labels").rename(root / "label")
    with pytest.raises(
        InputError, match=r"none of 2 images has a label file; the one of .*train/a.png is labels/train/a.txt"
    ):
        read_dataset(root)


def test_two_images_of_one_label_file_are_an_error(tmp_path: Path) -> None:
    root = folder(tmp_path, TWO)
    picture(root / "images" / "train" / "a.jpg")
    with pytest.raises(InputError, match=r"train/a.jpg and images/train/a.png share the labels labels/train/a.txt"):
        read_dataset(root)


def test_plain_folders_are_not_taken_for_yolo(tmp_path: Path) -> None:
    """Masks in labels/, captions beside images, and a masks/ that says it is another layout's."""
    for name in ("images/a.png", "labels/a.png"):
        picture(tmp_path / "pairs" / name)
    (tmp_path / "pairs" / "data.yaml").write_text(YAML)
    assert not is_yolo(tmp_path / "pairs")
    picture(tmp_path / "texts" / "images" / "a.png")
    (tmp_path / "texts" / "images" / "a.txt").write_text("0 polyps in 3 of 4 pictures")
    assert not is_yolo(tmp_path / "texts")
    root = folder(tmp_path / "both", TWO)
    picture(root / "masks" / "train" / "a.png")
    assert not is_yolo(root)
    assert is_yolo(folder(tmp_path / "yolo", TWO))
    (tmp_path / "nothing").mkdir()
    assert not is_yolo(tmp_path / "nothing")


def test_corrected_labels_count_whatever_their_date(tmp_path: Path) -> None:
    root = folder(tmp_path, TWO)
    first = read_dataset(root)
    folder(tmp_path, {"images/val/a.png": "0 0 0 0.1 0 0.1 1 0 1"})
    second = read_dataset(root)
    assert areas(second)[("val", "images/val/a.png", "polyp")] == 60
    assert first.info.fingerprint != second.info.fingerprint
    assert [s.id for s in first.samples] == [s.id for s in second.samples]
