"""The same scenes in every layout of outlines: read, converted and prepared they are the same truth."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlseg.data import load_mask, read_dataset, with_mask_max
from vlseg.data.cards import find_card
from vlseg.data.croissant import CROISSANT, write_croissant
from vlseg.data.prepare import prepare
from vlseg.records import Dataset, InputError

SIZE = (20, 30)
"""(H, W)"""
SCENES: dict[str, dict[str, tuple[int, int, int, int]]] = {
    "train/a": {"polyp": (0, 0, 15, 20), "tool": (0, 0, 30, 10)},
    "train/b": {"polyp": (6, 4, 12, 8)},
    "val/c": {"tool": (3, 5, 9, 10)},
    "test/d": {"polyp": (15, 10, 30, 20)},
}
"""By image, the box (x0, y0, x1, y1) of each target."""
NONE = "test/none"
"""An image that shows nothing; in CVAT's and YOLO's layout nothing is said of it."""


def corners(box: tuple[int, int, int, int]) -> list[tuple[int, int]]:
    left, top, right, bottom = box
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def labelme(root: Path, image: str, boxes: dict[str, Any]) -> None:
    shapes = [{"label": key, "points": corners(box), "shape_type": "polygon"} for key, box in boxes.items()]
    name = Path(image).name
    values = {"imagePath": f"{name}.png", "imageHeight": SIZE[0], "imageWidth": SIZE[1], "shapes": shapes}
    (root / f"{image}.json").write_text(json.dumps(values))


def yolo(root: Path, image: str, boxes: dict[str, Any]) -> None:
    numbers = {"polyp": 0, "tool": 1}
    lines = [
        " ".join(map(str, [numbers[key], *(v for x, y in corners(box) for v in (x / SIZE[1], y / SIZE[0]))]))
        for key, box in boxes.items()
    ]
    if lines:
        (root / f"{image}.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text("train: train\nval: val\ntest: test\nnames: [polyp, tool]\n")


def cvat(root: Path, image: str, boxes: dict[str, Any]) -> None:
    shapes = "".join(
        f'<polygon label="{key}" points="{";".join(f"{x},{y}" for x, y in corners(box))}"/>'
        for key, box in boxes.items()
    )
    file = root / "annotations.xml"
    before = file.read_text().removesuffix("</annotations>") if file.exists() else "<annotations><version>1.1</version>"
    element = f'<image id="0" name="{image}.png" width="{SIZE[1]}" height="{SIZE[0]}">{shapes}</image>'
    file.write_text(f"{before}{element}</annotations>")


WRITERS: dict[str, Callable[[Path, str, dict[str, Any]], None]] = {"labelme": labelme, "yolo": yolo, "cvat": cvat}


@pytest.fixture(params=sorted(WRITERS))
def laid_out(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    root = tmp_path / str(request.param)
    for number, (image, boxes) in enumerate((SCENES | {NONE: {}}).items()):
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1], (30 * number, 90, 90)).save(root / f"{image}.png")
        WRITERS[str(request.param)](root, image, boxes)
    return root


def truth(dataset: Dataset) -> dict[tuple[str, str, str | None], bytes]:
    """The masks by split, image's stem and target."""
    dataset = with_mask_max(dataset)
    return {(s.split, s.image_path.stem, s.target): load_mask(s, dataset.info, SIZE).tobytes() for s in dataset.samples}


def expected(*, none: bool, absent: bool) -> dict[tuple[str, str, str | None], bytes]:
    """What is shown; with `none` the image that shows nothing, with `absent` also what others do not show."""
    found = {}
    for image, boxes in (SCENES | ({NONE: {}} if none or absent else {})).items():
        for target in ("polyp", "tool"):
            if target in boxes or absent or not boxes:
                mask = np.zeros(SIZE, bool)
                left, top, right, bottom = boxes.get(target, (0, 0, 0, 0))
                mask[top:bottom, left:right] = True
                split, name = image.split("/")
                found[(split, name, target)] = mask.tobytes()
    return found


def test_every_layout_says_the_same(laid_out: Path) -> None:
    assert truth(read_dataset(laid_out)) == expected(none=laid_out.name == "labelme", absent=False)
    assert truth(read_dataset(laid_out, absent=True)) == expected(none=True, absent=True)


@pytest.mark.parametrize("to", ["medvlsm", "coco"])
def test_converted_it_is_the_same(laid_out: Path, to: str, tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    assert vlseg("data", "convert", laid_out, "--to", to, "--out", tmp_path / "plain").code == 0
    assert truth(read_dataset(tmp_path / "plain")) == expected(none=laid_out.name == "labelme", absent=False)
    assert vlseg("data", "convert", laid_out, "--to", to, "--absent", "--out", tmp_path / "absent").code == 0
    assert truth(read_dataset(tmp_path / "absent")) == expected(none=True, absent=True)


def test_prepared_it_is_the_same(laid_out: Path, tmp_path: Path) -> None:
    """The source stays as it is, and having read it where it lies changes nothing."""
    before = sorted(laid_out.rglob("*"))
    done = prepare(None, laid_out, tmp_path / "out")
    assert sorted(laid_out.rglob("*")) == before
    assert truth(read_dataset(tmp_path / "out")) == expected(none=laid_out.name == "labelme", absent=False)
    assert "splits as it tells them" in done.structure
    assert not done.seen
    if laid_out.name != "labelme":
        assert any("nothing there?" in line for line in done.left_out)
    read_dataset(laid_out)
    assert sorted(laid_out.rglob("*")) != before
    assert prepare(None, laid_out, tmp_path / "out").unchanged
    (laid_out / "dataset.json").write_text('{"absent": true}')
    prepare(None, laid_out, tmp_path / "absent")
    assert truth(read_dataset(tmp_path / "absent")) == expected(none=True, absent=True)


def test_prepared_with_a_table_of_patients_and_one_target(laid_out: Path, tmp_path: Path) -> None:
    lines = [f"{Path(image).name}.png,p-{Path(image).name},one|another" for image in SCENES]
    if laid_out.name == "labelme":
        lines.append("none.png,p-none,one|another")
    (tmp_path / "cases.csv").write_text("\n".join(["file,patient,prompt:user", *lines]))
    prepare(None, laid_out, tmp_path / "out", table=tmp_path / "cases.csv", target="polyp")
    samples = read_dataset(tmp_path / "out").samples
    found = {s.image_path.stem: (s.group, s.target, s.prompts["text"]) for s in samples if s.image_path.stem != "none"}
    assert found == {name: (f"p-{name}", "polyp", ("one", "another")) for name in "abd"}


def test_what_does_not_fit_a_layout_of_outlines_is_one_line(laid_out: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="polip"):
        prepare(None, laid_out, tmp_path / "1", target="polip")
    (tmp_path / "map.yaml").write_text("1: polyp\n")
    with pytest.raises(InputError, match=r"--mask-map: .* names its targets; leave the option out"):
        prepare(None, laid_out, tmp_path / "2", mask_map=tmp_path / "map.yaml")
    assert not (tmp_path / "1").exists()
    assert not (tmp_path / "2").exists()


def test_targets_of_alike_names_keep_masks_of_their_own(tmp_path: Path) -> None:
    for split, box in (("train", (0, 0, 15, 20)), ("val", (6, 4, 12, 8))):
        (tmp_path / "in" / split).mkdir(parents=True)
        Image.new("RGB", SIZE[::-1], (box[0], 9, 9)).save(tmp_path / "in" / split / f"{split}.png")
        yolo(tmp_path / "in", f"{split}/{split}", {"polyp": box, "tool": (20, 12, 30, 20)})
    (tmp_path / "in" / "data.yaml").write_text("train: train\nval: val\nnames: [left polyp, Left_Polyp]\n")
    done = prepare(None, tmp_path / "in", tmp_path / "out")
    assert done.left_out == ()
    assert truth(read_dataset(tmp_path / "out")) == truth(read_dataset(tmp_path / "in"))


def test_splits_that_no_layout_tells_are_drawn_by_patient(tmp_path: Path) -> None:
    """Not by the reader, which knows no patients: --seed and --groups decide."""
    for number in range(20):
        name = f"patient{number // 2:02d}/{number}"
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1], (9 * number, 9, 9)).save(tmp_path / "in" / f"{name}.png")
        labelme(tmp_path / "in", name, {"polyp": (0, 0, 15, 20)})
    done = prepare(None, tmp_path / "in", tmp_path / "out")
    assert "groups by folder: patient00" in done.structure
    splits: dict[str | None, set[str]] = {}
    for sample in read_dataset(tmp_path / "out").samples:
        splits.setdefault(sample.group, set()).add(sample.split)
    assert len(splits) == 10
    assert all(len(inside) == 1 for inside in splits.values())


def test_an_archive_of_such_a_layout_says_what_to_do(laid_out: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "export"), "zip", laid_out)
    with pytest.raises(InputError, match=r"an export of COCO, YOLO, CVAT or labelme is read .* unpack it"):
        prepare(None, Path(archive), tmp_path / "out", target="polyp")


def test_pictures_of_masks_come_before_outlines(laid_out: Path, tmp_path: Path) -> None:
    """A folder that was prepared from its mask pictures is so still, whatever annotation files lie beside."""
    for image in SCENES:
        path = laid_out / "gt" / f"{image}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(SIZE, 255, np.uint8)).save(path)
    done = prepare(None, laid_out, tmp_path / "out", target="whole")
    assert set(read_dataset(tmp_path / "out").info.targets) == {"whole"}
    assert done.images == len(SCENES)


def test_croissant_points_to_every_entry_and_names_no_place(laid_out: Path, tmp_path: Path) -> None:
    """Followed by hand, its sources give each entry's values; it holds none of them itself."""
    for name in ("one", "two"):
        prepare(None, laid_out, tmp_path / name / "polyps")
    text = (tmp_path / "one/polyps" / CROISSANT).read_text(encoding="utf-8")
    assert (tmp_path / "two/polyps" / CROISSANT).read_text(encoding="utf-8") == text
    assert str(tmp_path) not in text
    values = json.loads(text)
    assert values["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert values["name"] == "polyps"
    assert not values.keys() & {"license", "url", "citeAs"}  # nobody has said them
    root = tmp_path / "one/polyps"
    sets = {one["@id"]: one for one in values["distribution"]}
    for one in sets.values():
        if one["@type"] == "cr:FileObject":
            assert hashlib.sha256((root / one["contentUrl"]).read_bytes()).hexdigest() == one["sha256"]
            assert one["contentSize"] == f"{(root / one['contentUrl']).stat().st_size} B"
    listed = {
        kind: sorted(p for glob in _globs(sets[f"{kind}-files"]) for p in root.glob(glob))
        for kind in ("images", "masks", "anns")
    }
    assert listed["images"] == sorted(p for p in (root / "images").rglob("*") if p.is_file())
    assert listed["masks"] == sorted(p for p in (root / "masks").rglob("*") if p.is_file())
    entries = [entry for file in listed["anns"] for entry in json.loads(file.read_text())]
    records = {one["@id"]: one for one in values["recordSet"]}
    names = [one["@id"] for one in values["distribution"]] + list(records)
    names += [field["@id"] for one in records.values() for field in one["field"]]
    assert len(names) == len(set(names))
    for record in records.values():
        for field in record["field"]:
            _follow(field, names, entries)
    assert {field["name"] for field in records["samples"]["field"]} >= {"image", "mask", "split", "target"}
    assert [field["name"] for field in records["samples"]["field"] if field["name"].startswith("prompt_")] == [
        "prompt_class",
        "prompt_empty",
    ]


def _globs(files: dict[str, Any]) -> list[str]:
    return [files["includes"]] if isinstance(files["includes"], str) else list(files["includes"])


def _follow(field: dict[str, Any], names: list[str], entries: list[dict[str, Any]]) -> None:
    source = field.get("source", {})
    for one in (source, field.get("references", {})):
        for key in one.keys() & {"fileSet", "field"}:
            assert one[key]["@id"] in names
    path = source.get("extract", {}).get("jsonPath")
    if path is not None:
        head, *keys = path.split(".")
        assert head == "$[*]"
        for entry in entries:
            value: Any = entry
            for key in keys:
                value = value[key]
            assert isinstance(value, str)


def test_croissant_says_licence_and_groups_where_they_are_known(tmp_path: Path) -> None:
    entry = {"img_name": "a/b.JPG", "mask_name": "a/b.png", "target": "polyp", "group": "Jane Doe"}
    entries = {
        "train": [entry | {"prompts": {"class": "polyp", "p1": ["x", "y"], "odd name": "z", "some": "t"}}],
        "val": [entry | {"prompts": {"class": "polyp", "p1": ["u"], "odd name": "z"}}],
        "test": [],
    }
    for file in ("anns/train.json", "anns/val.json", "anns/test.json"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("[]")
    card = find_card("kvasir-seg")
    write_croissant(tmp_path, "x", card, entries, 2)
    text = (tmp_path / CROISSANT).read_text()
    values = json.loads(text)
    assert (values["license"], values["url"], values["citeAs"]) == (card.licence, card.page, card.citation)
    assert "Jane" not in text
    fields = {field["name"]: field for field in values["recordSet"][-1]["field"]}
    assert [name for name in fields if name.startswith("prompt_")] == ["prompt_class", "prompt_p1"]
    assert fields["prompt_p1"]["repeated"]
    assert "repeated" not in fields["prompt_class"]
    assert "group" in fields
    assert values["distribution"][0]["includes"] == ["images/*/*.JPG"]
    assert values["distribution"][0]["encodingFormat"] == "image/jpeg"
    del entries["val"][0]["group"]
    write_croissant(tmp_path, "x", None, entries, 2)
    assert "samples/group" not in (tmp_path / CROISSANT).read_text()


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning")  # rdflib's, under mlcroissant
def test_mlcroissant_reads_every_sample(laid_out: Path, tmp_path: Path) -> None:
    """Where MLCommons' own reader is installed."""
    reader = pytest.importorskip("mlcroissant")
    prepare(None, laid_out, tmp_path / "out")
    dataset = reader.Dataset(jsonld=tmp_path / "out" / CROISSANT)
    found = [{key.split("/")[1]: value for key, value in one.items()} for one in dataset.records("samples")]
    named = {(one["split"].decode(), Path(one["image_name"].decode()).stem, one["target"].decode()) for one in found}
    assert named == truth(read_dataset(tmp_path / "out")).keys()
    assert all(one["image"].size == one["mask"].size == SIZE[::-1] for one in found)


@pytest.mark.parametrize("to", ["coco", "nnunet"])
def test_prepared_from_coco_and_nnunet_it_is_the_same(to: str, tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    """Boxes that do not overlap, which a label map can hold."""
    boxes = {"train/a": (0, 0, 15, 20), "train/b": (6, 4, 12, 8), "val/c": (3, 5, 9, 10), "test/d": (1, 2, 9, 9)}
    for image, box in boxes.items():
        (tmp_path / "in" / image).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1], (len(image), box[0], 90)).save(tmp_path / "in" / f"{image}.png")
        yolo(tmp_path / "in", image, {"polyp": box, "tool": (20, 12, 30, 20)})
    expected = truth(read_dataset(tmp_path / "in"))
    done = vlseg("data", "convert", tmp_path / "in", "--to", to, "--out", tmp_path / to)
    assert done.code == 0, done.err
    done = vlseg("data", "prepare", "own", "--source", tmp_path / to, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "not taken for patients" not in done.out
    found = truth(read_dataset(tmp_path / "out"))
    assert sorted(found.values()) == sorted(expected.values())
    assert {key[0] for key in found} == {"train", "val", "test"}
    if to == "coco":
        assert found == expected
