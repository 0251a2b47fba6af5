"""LViT's layout, COCO and nnU-Net's: read directly, converted to and fro without losing what each can hold."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest
from PIL import Image

from vlseg.data import load_image, load_mask, read_dataset, with_mask_max
from vlseg.data.formats.convert import Layout, convert
from vlseg.data.formats.outlines import decode, encode
from vlseg.data.prepare import prepare
from vlseg.prompts import annotate
from vlseg.records import Dataset, InputError, Sample

MakeDataset = Callable[..., Path]


def opened(root: Path) -> Dataset:
    return with_mask_max(annotate(read_dataset(root)))


def rich(root: Path) -> Dataset:
    """The discs with all that an entry of ours can hold."""
    for split in ("train", "val", "test"):
        path = root / "anns" / f"{split}.json"
        entries = json.loads(path.read_text())
        for index, entry in enumerate(entries):
            entry |= {
                "group": f"patient {split} {index // 4}",
                "site": "Ghent",
                "spacing": [0.2, 0.1],
                "spacing_source": "file",
                "attributes": [{"name": "age", "value": "60", "source": "metadata", "referring": False}],
            }
        path.write_text(json.dumps(entries))
    return opened(root)


def told(dataset: Dataset, *fields: str) -> dict[tuple[str, str, str | None], Any]:
    """What the named fields say, by split, image and target."""
    return {
        (s.split, s.image_path.stem.removesuffix("_0000"), s.target): [getattr(s, field) for field in fields]
        for s in dataset.samples
    }


def same_pictures(first: Dataset, second: Dataset) -> None:
    def by_key(dataset: Dataset) -> dict[Any, Sample]:
        return {(s.split, s.image_path.stem.removesuffix("_0000"), s.target): s for s in dataset.samples}

    one, two = by_key(first), by_key(second)
    assert one.keys() == two.keys()
    for key, sample in one.items():
        other = two[key]
        np.testing.assert_array_equal(load_image(sample, first.info), load_image(other, second.info))
        np.testing.assert_array_equal(load_mask(sample, first.info, None), load_mask(other, second.info, None))


@pytest.mark.parametrize("to", ["coco", "medvlsm"])
def test_round_trip_keeps_everything(make_dataset: MakeDataset, tmp_path: Path, to: Layout) -> None:
    source = rich(make_dataset())
    done = convert(source, to, tmp_path / "there")
    assert done.dropped == ()
    there = opened(tmp_path / "there")
    convert(there, "medvlsm", tmp_path / "back")
    back = opened(tmp_path / "back")
    same_pictures(source, back)
    fields = ("id", "image_id", "prompts", "attributes", "group", "site", "spacing", "spacing_source", "target")
    assert told(source, *fields) == told(back, *fields)
    assert source.info.prompt_sources == back.info.prompt_sources
    assert (source.info.name, source.info.targets) == (back.info.name, back.info.targets)


def test_round_trip_through_nnunet(make_dataset: MakeDataset, tmp_path: Path) -> None:
    source = rich(make_dataset())
    done = convert(source, "nnunet", tmp_path / "there")
    assert set(done.dropped) == {"all prompts but the target's name", "groups", "sites", "spacings", "attributes"}
    same_pictures(source, opened(tmp_path / "there"))
    assert (tmp_path / "there" / "imagesTr" / "train0_0000.png").exists()
    description = json.loads((tmp_path / "there" / "dataset.json").read_text())
    assert description["numTraining"] == 8
    assert description["labels"] == {"background": 0, "bright_disc": 1, "dark_disc": 2}


def one_target(dataset: Dataset) -> Dataset:
    kept = tuple(sample for sample in dataset.samples if sample.target == "bright disc")
    return Dataset(replace(dataset.info, targets=("bright disc",)), kept)


def test_round_trip_through_lvit(make_dataset: MakeDataset, tmp_path: Path) -> None:
    source = one_target(rich(make_dataset()))
    done = convert(source, "lvit", tmp_path / "there", prompt="p2")
    assert "wordings of 'p2' after the first" in done.dropped
    there = opened(tmp_path / "there")
    same_pictures(source, there)
    assert {s.prompts["text"] for s in there.samples} == {("bright disc",)}
    assert there.info.prompt_sources["text"] == {"class", "user"}


@pytest.mark.slow
def test_the_real_lvit_sample_reads_and_returns(shared: Path, tmp_path: Path) -> None:
    source = opened(shared / "data" / "lvit_monuseg_sample")
    assert (len(source.split("train")), len(source.split("val"))) == (4, 2)
    texts = {s.image_path.stem: s.prompts["text"][0] for s in source.samples}
    assert all(len(text.split()) >= 4 and "EOF" not in text for text in texts.values())
    assert source.info.prompt_sources["text"] == {"unknown"}
    named = Dataset(
        replace(source.info, targets=("nuclei",)), tuple(replace(s, target="nuclei") for s in source.samples)
    )
    convert(named, "lvit", tmp_path / "again", prompt="text")
    again = opened(tmp_path / "again")
    same_pictures(named, again)
    assert {s.image_path.stem: s.prompts["text"][0] for s in again.samples} == texts
    for to in ("coco", "medvlsm", "nnunet"):
        convert(named, to, tmp_path / to)  # type: ignore[arg-type]
        same_pictures(named, opened(tmp_path / to))


def test_lvit_sheet_padding_and_qata_names(tmp_path: Path) -> None:
    root = lvit_folder(tmp_path, {"mask_a.png": "Two areas EOF XXX EOF XXX", "mask_b.png": "One area"}, "mask_")
    samples = read_dataset(root).samples
    assert [s.prompts["text"] for s in samples] == [("Two areas",), ("One area",)]


def lvit_folder(
    root: Path, rows: dict[str, str], prefix: str = "", header: tuple[str, str] = ("Image", "Description")
) -> Path:
    for folder in ("img", "labelcol"):
        (root / "Train_Folder" / folder).mkdir(parents=True)
    for name in ("a", "b"):
        Image.new("L", (8, 8), 90).save(root / "Train_Folder" / "img" / f"{name}.png")
        Image.new("L", (8, 8), 1).save(root / "Train_Folder" / "labelcol" / f"{prefix}{name}.png")
    book = openpyxl.Workbook()
    book.active.append(header)
    for row in rows.items():
        book.active.append(row)
    book.save(root / "Train_Folder" / "Train_text.xlsx")
    return root


def test_preparing_an_lvit_folder_keeps_its_sentences(tmp_path: Path) -> None:
    root = lvit_folder(tmp_path / "lvit", {"mask_a.png": "Two areas EOF XXX", "b.png": "One area"}, "mask_")
    lvit_folder(tmp_path / "other", {"a.png": "Another a"})
    (tmp_path / "other/Train_Folder").rename(root / "Test_Folder")
    (root / "Test_Folder/Train_text.xlsx").rename(root / "Test_Folder/Test_text.xlsx")
    done = prepare(None, root, tmp_path / "out", target="area")
    samples = read_dataset(tmp_path / "out").samples
    assert [(sample.split == "test", sample.image_path.name, sample.prompts.get("text")) for sample in samples] == [
        (False, "a.png", ("Two areas",)),
        (False, "b.png", ("One area",)),
        (True, "a.png", ("Another a",)),
        (True, "b.png", None),
    ]
    assert samples[0].prompt_sources["text"] == frozenset({"unknown"})
    assert [line for line in done.left_out if "Test_Folder/img/b.png" in line], done.left_out
    assert "xlsx" not in " ".join(done.left_out)
    for folder in ("Train", "Test"):  # without sheets, and with a table of patients, too
        (root / f"{folder}_Folder/{folder}_text.xlsx").unlink()
    book = openpyxl.Workbook()
    for row in (
        ("file", "patient"),
        *((f"{split}_Folder/img/{x}.png", x) for split in ("Train", "Test") for x in "ab"),
    ):
        book.active.append(row)
    book.save(root / "cases.xlsx")
    done = prepare(None, root, tmp_path / "plain", target="area")
    assert done.left_out == ()
    assert {sample.group for sample in read_dataset(tmp_path / "plain").samples} == {"a", "b"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "Train_Folder/labelcol/a.png").unlink(), "a.png: has no mask"),
        (lambda root: (root / "Train_Folder/Train_text.xlsx").unlink(), "has no Train_text.xlsx"),
        (lambda root: (root / "Train_Folder/Train_text.xlsx").write_bytes(b"x"), "cannot be read as an .xlsx"),
        (lambda root: Image.new("L", (8, 8)).save(root / "Train_Folder/img/c.png"), "c.png: has no mask"),
    ],
)
def test_broken_lvit_folders(tmp_path: Path, change: Callable[[Path], Any], message: str) -> None:
    root = lvit_folder(tmp_path, {"a.png": "x", "b.png": "y"})
    change(root)
    with pytest.raises(InputError, match=message):
        read_dataset(root)


def test_lvit_sheets_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no row for b.png"):
        read_dataset(lvit_folder(tmp_path / "1", {"a.png": "x"}))
    with pytest.raises(InputError, match="columns Image and Description"):
        read_dataset(lvit_folder(tmp_path / "2", {"a.png": "x"}, header=("File", "Text")))


def coco_folder(root: Path, **changes: Any) -> Path:
    """As other software writes it: polygons, two objects of one category, an image without objects."""
    (root / "images").mkdir(parents=True)
    for name in "abc":
        Image.new("RGB", (20, 16), (90, 90, 90)).save(root / "images" / f"{name}.jpg")
    square = [[2, 3, 8, 3, 8, 9, 2, 9]]
    values = {
        "images": [{"id": n, "file_name": f"{name}.jpg", "width": 20, "height": 16} for n, name in enumerate("abc", 1)],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "segmentation": square, "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 7, "segmentation": [[12, 3, 16, 3, 16, 9, 12, 9]]},
            {
                "id": 3,
                "image_id": 2,
                "category_id": 7,
                "segmentation": encode(np.eye(16, 20, dtype=bool)),
                "iscrowd": 1,
            },
        ],
        "categories": [{"id": 7, "name": "lesion"}],
    }
    values |= changes
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_test2017.json").write_text(json.dumps(values))
    return root


def test_coco_of_other_software(tmp_path: Path) -> None:
    root = coco_folder(tmp_path / "c")
    dataset = with_mask_max(read_dataset(root))
    masks = {s.image_path.stem: load_mask(s, dataset.info, (16, 20)) for s in dataset.samples}
    expected = np.zeros((16, 20), bool)
    expected[3:9, 2:8] = expected[3:9, 12:16] = True
    np.testing.assert_array_equal(masks["a"], expected)
    np.testing.assert_array_equal(masks["b"], np.eye(16, 20, dtype=bool))
    assert not masks["c"].any()
    assert {s.split for s in dataset.samples} == {"test"}
    assert {s.target for s in dataset.samples} == {"lesion"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": [{"image_id": 9, "category_id": 7, "segmentation": []}]}, "image 9 is not in 'images'"),
        ({"annotations": [{"image_id": 1, "category_id": 8, "segmentation": []}]}, "category 8 is not"),
        ({"annotations": [{"image_id": 1, "category_id": 7, "segmentation": [[1, 2]]}]}, "neither polygons"),
        (
            {"annotations": [{"image_id": 1, "category_id": 7, "segmentation": {"size": [2, 2], "counts": [4]}}]},
            "the image is",
        ),
        (
            {"annotations": [{"image_id": 1, "category_id": 7, "segmentation": {"size": [16, 20], "counts": [4]}}]},
            "covers 4 pixels",
        ),
        ({"images": [{"id": 1, "file_name": "../x.jpg", "width": 20, "height": 16}]}, "is not in 'images'|leads out"),
        ({"images": [{"id": n, "file_name": f"z{n}.jpg", "width": 20, "height": 16} for n in (1, 2)]}, "found neither"),
        ({"categories": [{"name": "x"}]}, "categories.0.id"),
    ],
)
def test_broken_coco_files_are_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        read_dataset(coco_folder(tmp_path / "c", **changes))
    assert "instances_test2017.json" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_run_length_codes_agree_with_pycocotools() -> None:
    from pycocotools import mask as coco

    rng = np.random.default_rng(0)
    for _ in range(50):
        mask = rng.random((9, 13)) > 0.5
        np.testing.assert_array_equal(decode(encode(mask), (9, 13), "x"), mask)
        flat = mask.T.ravel()
        edges = np.flatnonzero(np.diff(flat.astype(int))) + 1
        runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
        counts = runs if not flat[0] else [0, *runs]
        plain = decode({"size": [9, 13], "counts": counts}, (9, 13), "x")
        np.testing.assert_array_equal(plain, mask)
        theirs = coco.decode(coco.frPyObjects({"size": [9, 13], "counts": counts}, 9, 13))
        np.testing.assert_array_equal(plain, theirs.astype(bool))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "labelsTr/train0.png").unlink(), "needs its label file"),
        (lambda root: (root / "imagesTr/train0_0001.png").write_bytes(b""), "second channel file"),
        (lambda root: (root / "splits_final.json").write_text("[]"), "list of folds"),
        (lambda root: (root / "splits_final.json").write_text('[{"train": [], "val": []}]'), "does not name case"),
        (lambda root: edit(root, file_ending=".nii.gz"), "only 2-D images"),
        (lambda root: edit(root, labels={"background": 0, "whole": [0, 2]}), "must map names to numbers"),
    ],
)
def test_broken_nnunet_folders(
    make_dataset: MakeDataset, tmp_path: Path, change: Callable[[Path], Any], message: str
) -> None:
    convert(opened(make_dataset()), "nnunet", tmp_path / "n")
    change(tmp_path / "n")
    with pytest.raises(InputError, match=message):
        read_dataset(tmp_path / "n")


def edit(root: Path, **changes: Any) -> None:
    path = root / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_nnunet_without_folds_draws_val(make_dataset: MakeDataset, tmp_path: Path) -> None:
    convert(opened(make_dataset(counts=(18, 2, 2))), "nnunet", tmp_path / "n")
    (tmp_path / "n" / "splits_final.json").unlink()
    dataset = read_dataset(tmp_path / "n")
    assert len({s.image_id for s in dataset.split("val")}) == 2
    assert len({s.image_id for s in dataset.split("train")}) == 18


def awkward(root: Path) -> Dataset:
    """Masks that a careless writer changes: single pixels, touching structures, holes, borders, nothing at all."""
    ring = np.zeros((33, 41), bool)
    ring[2:12, 2:12] = True
    ring[4:10, 4:10] = False
    ring[6, 6] = True
    inside = np.zeros_like(ring)
    inside[4:10, 4:10] = True
    inside[6, 6] = False
    corner = np.zeros_like(ring)
    corner[0, 0] = corner[-1, -1] = corner[0, -1] = corner[32, 0] = True
    full = np.ones_like(ring)
    chess = np.indices(ring.shape).sum(axis=0) % 2 == 0
    empty = np.zeros_like(ring)
    pairs = {
        "a": (ring, inside),
        "a_2": (corner, ~corner),
        "A": (full, empty),
        "train_a": (chess, ~chess),
        "e": (empty, empty),
    }
    for folder in ("images", "masks", "anns"):
        (root / folder).mkdir(parents=True)
    entries = []
    for name, masks in pairs.items():
        Image.fromarray(np.arange(ring.size, dtype=np.uint8).reshape(ring.shape)).save(root / "images" / f"{name}.png")
        for target, mask in zip(("edge", "the rest"), masks, strict=True):
            file = f"{name} {target}.png"
            Image.fromarray(mask.astype(np.uint8) * 255).save(root / "masks" / file)
            entries.append(
                {"img_name": f"{name}.png", "mask_name": file, "prompts": {"class": target}, "target": target}
            )
    (root / "anns" / "train.json").write_text(json.dumps(entries))
    return opened(root)


@pytest.mark.parametrize("chain", [("coco", "medvlsm", "nnunet", "coco"), ("nnunet", "coco", "nnunet", "medvlsm")])
def test_chains_of_conversions_keep_every_pixel_and_every_absence(tmp_path: Path, chain: tuple[Layout, ...]) -> None:
    source = awkward(tmp_path / "source")
    truths = sorted(load_mask(s, source.info, None).tobytes() + str(s.target).encode() for s in source.samples)
    dataset = source
    for step, layout in enumerate(chain):
        done = convert(dataset, layout, tmp_path / str(step))
        assert not [line for line in done.dropped if "absence" in line]
        dataset = opened(tmp_path / str(step))
        found = [load_mask(s, dataset.info, None).tobytes() + str(s.target).encode() for s in dataset.samples]
        assert sorted(found) == truths
        assert len({s.image_path for s in dataset.samples}) == 5


def test_absence_that_nnunet_cannot_hold_is_told(tmp_path: Path) -> None:
    source = awkward(tmp_path / "source")
    partly = Dataset(source.info, tuple(s for s in source.samples if (s.image_path.stem, s.target) != ("a", "edge")))
    done = convert(partly, "nnunet", tmp_path / "n")
    assert done.dropped == ("absence: 1 entries with an empty mask",)


def test_masks_of_a_second_entry_do_not_overwrite_another_images(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """An image "a" with two masks, and an image "a_2": both would have written masks/a_2.png."""
    root = make_dataset(counts=(2, 0, 0))
    entries = json.loads((root / "anns" / "train.json").read_text())
    for entry in entries:
        entry["img_name"] = {"train0.png": "a.png", "train1.png": "a_2.png"}[entry["img_name"]]
    for old, new in (("train0.png", "a.png"), ("train1.png", "a_2.png")):
        (root / "images" / old).rename(root / "images" / new)
    (root / "anns" / "train.json").write_text(json.dumps(entries))
    source = opened(root)
    convert(source, "medvlsm", tmp_path / "m")
    same_pictures(source, opened(tmp_path / "m"))


def test_nnunet_cannot_name_every_target(make_dataset: MakeDataset, tmp_path: Path) -> None:
    source = opened(make_dataset(counts=(1, 0, 0)))
    for names, message in (({"bright disc": "ignore"}, "called 'ignore'"), ({"bright disc": "dark_disc"}, "rename it")):
        samples = tuple(replace(s, target=names.get(s.target or "", s.target)) for s in source.samples)
        with pytest.raises(InputError, match=message):
            convert(Dataset(source.info, samples), "nnunet", tmp_path / "n")


def test_absent_targets_are_an_option_of_convert(
    make_dataset: MakeDataset, vlseg: Callable[..., Any], tmp_path: Path
) -> None:
    source = opened(make_dataset(counts=(4, 2, 2)))
    shown = tuple(s for s in source.samples if (s.target == "dark disc") == (s.image_path.stem[-1] in "13"))
    convert(Dataset(source.info, shown), "nnunet", tmp_path / "n")
    plain = vlseg("data", "convert", tmp_path / "n", "--to", "coco", "--out", tmp_path / "c", "--json")
    assert plain.json["entries"] == {"train": 4, "val": 2, "test": 2}
    asked = vlseg("data", "convert", tmp_path / "n", "--to", "medvlsm", "--out", tmp_path / "m", "--absent", "--json")
    assert asked.json["entries"] == {"train": 8, "val": 4, "test": 4}
    dataset = opened(tmp_path / "m")
    areas = [int(load_mask(s, dataset.info, None).sum()) for s in dataset.samples]
    assert sum(area == 0 for area in areas) == 8
    refused = vlseg("data", "convert", tmp_path / "m", "--to", "coco", "--out", tmp_path / "x", "--absent")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert "'absent' is for COCO's, nnU-Net's, labelme's, YOLO's and CVAT's folders" in refused.err


def test_presence_can_be_learned_and_tested_where_absence_is_read(
    trained: Path, vlseg: Callable[..., Any], make_dataset: MakeDataset, tmp_path: Path
) -> None:
    source = opened(make_dataset(counts=(0, 0, 4)))
    shown = tuple(s for s in source.samples if (s.target == "dark disc") == (s.image_path.stem[-1] in "13"))
    convert(Dataset(source.info, shown), "coco", tmp_path / "c")
    path = tmp_path / "c" / "annotations" / "test.json"
    values = json.loads(path.read_text())
    for one in values["annotations"]:
        del one["vlseg"]  # as other software writes it
    path.write_text(json.dumps(values))
    arguments = (
        "evaluate",
        trained / "run",
        "--data",
        tmp_path / "c",
        "--prompt",
        "class",
        "--device",
        "cpu",
        "--json",
    )
    before = vlseg(*arguments, "--out", tmp_path / "1").json
    edit(tmp_path / "c", absent=True)
    after = vlseg(*arguments, "--out", tmp_path / "2").json
    assert (before["n"], after["n"]) == (4, 8)
    assert before["presence"]["auroc"] is None
    assert before["presence"]["specificity"] is None
    assert after["presence"]["auroc"] is not None
    assert after["presence"]["specificity"] is not None


def test_lvit_files_that_are_not_used_are_named_and_two_of_one_stem_refused(tmp_path: Path) -> None:
    root = lvit_folder(tmp_path / "1", {"a.png": "x", "b.png": "y", "c.png": "z"})
    Image.new("L", (8, 8), 1).save(root / "Train_Folder" / "labelcol" / "d.png")
    assert read_dataset(root).info.left_out == (
        "Train_Folder: 1 masks without an image, e.g. d",
        "Train_Folder: 1 rows of Train_text.xlsx without an image, e.g. c",
    )
    Image.new("L", (8, 8), 1).save(root / "Train_Folder" / "labelcol" / "a.bmp")
    with pytest.raises(InputError, match=r"a.png: has the same stem as a.bmp"):
        read_dataset(root)
    root = lvit_folder(tmp_path / "2", {"a.png": "x", "b.png": "y"})
    (root / "Train_Folder" / "Train_text_old.xlsx").write_bytes(b"")
    with pytest.raises(InputError, match=r"holds Train_text.xlsx and Train_text_old.xlsx"):
        read_dataset(root)


def test_what_a_layout_cannot_hold_is_refused(make_dataset: MakeDataset, tmp_path: Path) -> None:
    root = make_dataset()
    with pytest.raises(InputError, match="several entries"):
        convert(opened(root), "lvit", tmp_path / "a")
    Image.open(root / "masks" / "train1_bright.png").save(root / "masks" / "train1_dark.png")
    with pytest.raises(InputError, match=r"overlap in train1.png"):
        convert(opened(root), "nnunet", tmp_path / "b")
    with pytest.raises(InputError, match="not empty"):
        convert(opened(root), "coco", root)
    assert not [path for path in tmp_path.iterdir() if path.name in ("a", "b") or path.name.endswith(".partial")]


def test_same_names_in_two_splits_stay_apart(make_dataset: MakeDataset, tmp_path: Path) -> None:
    root = make_dataset()
    for split in ("train", "test"):
        (root / "images" / split).mkdir()
        (root / "images" / f"{split}0.png").rename(root / "images" / split / "same.png")
        path = root / "anns" / f"{split}.json"
        entries = json.loads(path.read_text())
        for entry in entries[:2]:
            entry["img_name"] = f"{split}/same.png"
        path.write_text(json.dumps(entries))
    source = opened(root)
    for to in ("coco", "nnunet", "medvlsm"):
        convert(source, to, tmp_path / to)  # type: ignore[arg-type]
        there = opened(tmp_path / to)
        names = {
            (s.split, s.image_path.name.replace("_0000", "")) for s in there.samples if "same" in s.image_path.name
        }
        assert names == {("train", "train_same.png"), ("test", "test_same.png")}


def test_convert_command(make_dataset: MakeDataset, vlseg: Callable[..., Any], tmp_path: Path) -> None:
    root = make_dataset()
    done = vlseg("data", "convert", root, "--to", "nnunet", "--out", tmp_path / "n", "--json")
    assert done.code == 0
    assert done.json["entries"] == {"train": 12, "val": 4, "test": 6}
    assert done.json["dropped"] == ["all prompts but the target's name"]
    refused = vlseg("data", "convert", root, "--to", "nnunet", "--out", tmp_path / "n")
    assert refused.code == 2
