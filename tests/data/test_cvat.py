"""CVAT's XML of image tasks: each image gets the truth that its shapes say, or one line."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from vlseg.data import load_image, load_mask, read_dataset, with_mask_max
from vlseg.data.formats.cvat import is_cvat
from vlseg.data.formats.outlines import decode
from vlseg.data.safe_xml import parse_xml
from vlseg.records import Dataset, InputError

SIZE = (20, 30)
"""(H, W)"""
POLYGON = '<polygon label="polyp" source="manual" occluded="0" points="5.00,4.00;15.00,4.00;15.00,10.00;5.00,10.00"/>'
BOX = '<box label="tool" occluded="0" xtl="10.0" ytl="5.0" xbr="20.0" ybr="15.0" z_order="0"></box>'
MASK = '<mask label="polyp" occluded="0" rle="0, 1, 2, 3" left="27" top="18" width="3" height="2" z_order="0"></mask>'
META = (
    "<version>1.1</version><meta><task><id>4</id><name>ä</name><subset>{}</subset><labels><label><name>polyp</name>"
    "</label><label><name>tool</name></label></labels></task></meta>"
)


def image(name: str, *shapes: str, **changes: Any) -> str:
    values = {"id": 0, "name": name, "width": SIZE[1], "height": SIZE[0]} | changes
    told = " ".join(f'{key}="{value}"' for key, value in values.items())
    return f"<image {told}>{''.join(shapes)}</image>"


def write(root: Path, images: Mapping[str, str], *, file: str = "annotations.xml", subset: str = "") -> Path:
    """Pictures by their place, each with its element; None in the place = no picture."""
    for place in images:
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1], (90, 90, 90)).save(path, format="PNG")
    text = '<?xml version="1.0" encoding="utf-8"?>\n<annotations>' + META.format(subset) + "".join(images.values())
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(text + "</annotations>\n", encoding="utf-8")
    return root


def masks(dataset: Dataset) -> dict[tuple[str, str | None], np.ndarray]:
    dataset = with_mask_max(dataset)
    return {
        (s.image_path.relative_to(dataset.info.files).as_posix(), s.target): load_mask(s, dataset.info, SIZE)
        for s in dataset.samples
    }


def test_shapes_become_masks_by_label(tmp_path: Path) -> None:
    root = write(
        tmp_path, {"images/ä b.png": image("ä b.png", POLYGON, BOX, MASK), "images/c.png": image("c.png", BOX)}
    )
    found = masks(read_dataset(root))
    polyp, tool = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    polyp[4:10, 5:15] = tool[5:15, 10:20] = True
    polyp[18, 27] = polyp[19, 27:30] = True
    assert found.keys() == {("images/ä b.png", "polyp"), ("images/ä b.png", "tool"), ("images/c.png", "tool")}
    np.testing.assert_array_equal(found["images/ä b.png", "polyp"], polyp)
    np.testing.assert_array_equal(found["images/ä b.png", "tool"], tool)
    np.testing.assert_array_equal(found["images/c.png", "tool"], tool)


def test_the_mask_in_cvats_own_description_is_a_disc() -> None:
    """Read by columns, or from the wrong end, it is no disc."""
    runs = "3,5,7,7,5,9,3,11,2,11,2,12,1,12,1,26,1,12,1,12,2,11,3,9,5,7,7,5,3"
    code = {"rle": [int(run) for run in runs.split(",")], "left": 7, "top": 8, "width": 13, "height": 15}
    mask = decode(code, (40, 40), "x")[8:23, 7:20]
    for line in (*mask, *mask.T):
        assert ndimage.label(line)[1] == 1
    assert not mask[[0, 0, -1, -1], [0, -1, 0, -1]].any()


def test_turned_boxes_turn_clockwise_about_their_middle(tmp_path: Path) -> None:
    box = '<box label="tool" xtl="5" ytl="8" xbr="25" ybr="12" rotation="{}"/>'
    root = write(tmp_path, {"a.png": image("a.png", box.format(90)), "b.png": image("b.png", box.format("30.0"))})
    found = masks(read_dataset(root))
    upright = np.zeros(SIZE, bool)
    upright[:, 13:17] = True
    assert (found["a.png", "tool"] ^ upright).mean() < 0.01
    rows, columns = np.nonzero(found["b.png", "tool"])
    assert np.polyfit(columns, rows, 1)[0] == pytest.approx(np.tan(np.radians(30)), abs=0.08)
    assert (rows.mean(), columns.mean()) == (pytest.approx(9.5, abs=0.3), pytest.approx(14.5, abs=0.3))
    assert found["b.png", "tool"].sum() == pytest.approx(80, abs=8)


@pytest.mark.parametrize(
    ("places", "subsets", "told"),
    [
        (("images/Train/a.png", "images/Test/a.png"), ("Train", "Test"), {"train", "test"}),
        (("images/a.png", "images/b.png"), ("train", "Validation"), {"train", "val"}),
        (("train/a.png", "val/b.png"), ("", ""), {"train", "val"}),
        (("images/train/a.png", "images/test/b.png"), ("default", "default"), {"train", "test"}),
    ],
)
def test_subsets_or_folders_tell_the_split(
    tmp_path: Path, places: tuple[str, str], subsets: tuple[str, str], told: set[str]
) -> None:
    """A project's images lie in a folder of their subset; their names leave it out."""
    images = {}
    for place, subset in zip(places, subsets, strict=True):
        name = place.removeprefix("images/").removeprefix(f"{subset}/" if subset else "")
        images[place] = image(name, BOX, subset=subset, task_id=7)
    dataset = read_dataset(write(tmp_path, images))
    assert {s.split for s in dataset.samples} == told
    assert {key[0] for key in masks(dataset)} == set(places)


def test_a_file_for_each_split_a_tasks_subset_and_half_a_split(tmp_path: Path) -> None:
    write(tmp_path / "1", {"images/a.png": image("a.png", BOX)}, file="train.xml")
    dataset = read_dataset(write(tmp_path / "1", {"images/b.png": image("b.png", BOX)}, file="test.xml"))
    assert {s.split for s in dataset.samples} == {"train", "test"}
    for split in ("train", "val"):
        write(tmp_path / "4", {f"{split}/images/default/0001.png": image("0001.png", BOX)}, file=f"{split}/{split}.xml")
    assert {s.split: s.image_path.parts[-4] for s in read_dataset(tmp_path / "4").samples} == {
        "train": "train",
        "val": "val",
    }
    dataset = read_dataset(write(tmp_path / "2", {"a.png": image("a.png", BOX)}, subset="Validation"))
    assert {s.split for s in dataset.samples} == {"val"}
    images = {"a.png": image("a.png", BOX, subset="Train"), "b.png": image("b.png", BOX, subset="batch 2")}
    with pytest.raises(InputError, match=r"b.png is in no split, others are \(1 of 2 images are in none\)"):
        read_dataset(write(tmp_path / "3", images))


def test_images_without_a_shape_are_absent_only_when_asked(tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    """CVAT lists every image of a task, looked at or not."""
    root = write(
        tmp_path,
        {
            "images/a.png": image("a.png", BOX, '<tag label="blurred" source="manual"></tag>'),
            "images/b.png": image("b.png", POLYGON.replace("polyp", "vessel")),
            "images/c.png": image("c.png"),
        },
    )
    Image.new("L", (4, 4)).save(root / "images" / "stray.png")
    shown = {("images/a.png", "tool"): 100, ("images/b.png", "vessel"): 60}
    assert {key: mask.sum() for key, mask in masks(read_dataset(root)).items()} == shown
    done = vlseg("data", "show", root, "--json")
    lines = done.json["left_out"]
    assert lines[0].startswith("1 images without a shape (not annotated, or nothing there?")
    assert lines[1:] == [
        "1 labels without any shape, e.g. polyp",
        "1 tags, which outline nothing, e.g. 'blurred' of images/a.png",
        "1 images that no annotation file names, e.g. images/stray.png",
    ]
    found = {key: mask.sum() for key, mask in masks(read_dataset(root, absent=True)).items()}
    lacking = [
        ("images/a.png", "vessel"),
        ("images/b.png", "tool"),
        ("images/c.png", "tool"),
        ("images/c.png", "vessel"),
    ]
    assert found == shown | dict.fromkeys(lacking, 0)


def test_attributes_on_which_shapes_agree_become_the_entrys(tmp_path: Path) -> None:
    shape = BOX.replace("</box>", '<attribute name="grade">{}</attribute><attribute name="size">big</attribute></box>')
    images = {
        "a.png": image("a.png", shape.format("G1"), shape.format("G2"), POLYGON),
        "b.png": image("b.png", shape.format("G1")),
        "c.png": image("c.png", shape.format("__undefined__")),
    }
    dataset = read_dataset(write(tmp_path, images))
    found = {
        (s.image_path.name, s.target): [(a.name, a.value, a.source) for a in s.attributes] for s in dataset.samples
    }
    assert found == {
        ("a.png", "tool"): [("size", "big", "label")],
        ("a.png", "polyp"): [],
        ("b.png", "tool"): [("grade", "G1", "label"), ("size", "big", "label")],
        ("c.png", "tool"): [("size", "big", "label")],
    }


def test_names_that_other_systems_wrote(tmp_path: Path) -> None:
    """Backslashes, decomposed umlauts, other capitals, and frames of a video without their suffix."""
    images = {
        "images/one/a.png": image("one\\a.png", BOX),
        "images/ä.png": image("ä.png", BOX),
        "images/B.PNG": image("b.png", BOX),
        "images/frame_000001.PNG": image("frame_000001", BOX),
    }
    assert {key[0] for key in masks(read_dataset(write(tmp_path, images)))} == set(images)


def test_sizes_are_of_the_image_as_it_is_shown(tmp_path: Path) -> None:
    """Cameras store turned pictures; CVAT and our readers see them upright."""
    root = write(tmp_path, {"a.png": image("a.png", POLYGON)})
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.new("RGB", SIZE).save(root / "a.png", exif=tags)
    dataset = with_mask_max(read_dataset(root))
    assert load_image(dataset.samples[0], dataset.info).shape[:2] == SIZE
    assert load_mask(dataset.samples[0], dataset.info, SIZE).sum() == 60


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            '<polyline label="tool" points="1,1;5,5"/>',
            r"image 'a.png': a 'tool' is drawn as polyline; .* \(1 of 2 shapes",
        ),
        ('<points label="tool" points="1,1"/>', r"drawn as points; .* masks are read \(1 of"),
        (
            '<ellipse label="tool" cx="5" cy="5" rx="2" ry="2"/>',
            "drawn as ellipse; polygons, rectangles and masks are read",
        ),
        ('<cuboid label="tool"/>', "drawn as cuboid"),
        ('<skeleton label="tool"><points label="1" points="1,1"/></skeleton>', "drawn as skeleton"),
        ('<blob label="tool"/>', "drawn as 'blob'"),
        ('<polygon label="tool" points="1,1;5,5"/>', "4 values; correct or delete it"),
        ('<polygon label="tool" points="1,1;5,nan;5,9"/>', "'points' holds 'nan'; numbers must be finite"),
        ('<polygon label="tool" points="1,1;5,x;5,9"/>', "'points' holds 'x', which is no number"),
        ('<polygon label="tool" points=""/>', "a polygon has no 'points'"),
        ('<polygon points="1,1;5,1;5,9"/>', "a polygon has no 'label'"),
        ('<polygon label="tool" points="41,1;45,1;45,9"/>', "lies outside of the image"),
        ('<polygon label="tool" points="1.1,1.1;1.2,1.1;1.2,1.2"/>', "too small to cover a pixel"),
        ('<box label="tool" xtl="1" ytl="1" xbr="9"/>', "a box has no 'ybr'"),
        (MASK.replace("0, 1, 2, 3", "0, 1, 2"), "rle covers 3 pixels, not 3x2"),
        (MASK.replace("0, 1, 2, 3", "0, -1, 4, 3"), "rle covers 6 pixels"),
        (MASK.replace("0, 1, 2, 3", "0, 1.5, 2, 3"), "must be whole numbers"),
        (MASK.replace('rle="0, 1, 2, 3"', ""), "a mask has no 'rle'"),
        (MASK.replace('left="27"', 'left="28"'), "at 28, 18 reaches out of the image"),
    ],
)
def test_odd_shapes_are_one_line(tmp_path: Path, shape: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as told:
        read_dataset(write(tmp_path, {"a.png": image("a.png", POLYGON, shape)}))
    assert "\n" not in str(told.value)
    assert not list(tmp_path.glob("masks_from_cvat/a.png_tool*"))


@pytest.mark.parametrize(
    ("element", "message"),
    [
        (image("a.png", BOX, height=21), "is 30x20 on disk, 30x21 in the file"),
        (image("a.png", BOX, height=0), "has the size 30x0"),
        (image("a.png", BOX, width="wide"), "'width' holds 'wide'"),
        (image("a.png", BOX) + image("a.png", BOX), "which stands twice"),
        (image("a.png", BOX) + image("b.png", BOX), r"'b.png' is found neither .* \(1 of 2 images are missing\)"),
        (image("../a.png", BOX), "leads out of the dataset folder"),
        (image("a.png"), "none of 1 images has a shape"),
        ('<track id="0" label="polyp"></track>', "export it from CVAT as 'CVAT for images 1.1'"),
        ('<image id="0"', "is no XML that can be read"),
    ],
)
def test_files_that_cannot_be_used_are_one_line(tmp_path: Path, element: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as told:
        read_dataset(write(tmp_path, {"a.png": element}))
    assert "\n" not in str(told.value)


def test_an_image_in_two_places_is_an_error(tmp_path: Path) -> None:
    root = write(tmp_path, {"a.png": image("a.png", BOX)})
    write(root, {"images/a.png": image("a.png", BOX)})
    with pytest.raises(InputError, match=r"is found as images/a.png and as a.png; keep one"):
        read_dataset(root)


LAYERS = [("&x;" if n == 0 else f"&x{n - 1};") * 10 for n in range(9)]
BOMB = '<!DOCTYPE a [<!ENTITY x "ha">' + "".join(f'<!ENTITY x{n} "{text}">' for n, text in enumerate(LAYERS))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("head", [BOMB + "]>", '<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/hostname">]>'])
def test_document_types_are_refused_before_anything_is_expanded(tmp_path: Path, head: str, encoding: str) -> None:
    text = f"{head}<annotations>{META}&x8;</annotations>".encode(encoding)
    with pytest.raises(InputError, match="declares a document type"):
        parse_xml(text, "x")
    (tmp_path / "annotations.xml").write_bytes(text)
    assert not is_cvat(tmp_path)


def test_other_xml_is_not_taken_for_cvats(tmp_path: Path) -> None:
    (tmp_path / "voc.xml").write_text("<annotation><folder>a</folder></annotation>")
    (tmp_path / "aperio.xml").write_text('<Annotations MicronsPerPixel="0.25"><Annotation/></Annotations>')
    (tmp_path / "empty.xml").write_text("")
    (tmp_path / "no.xml").write_text("annotations")
    assert not is_cvat(tmp_path)
    root = write(tmp_path / "set", {"a.png": image("a.png", BOX)})
    assert is_cvat(root)
    (root / "masks").mkdir()
    assert not is_cvat(root)
