"""`prepare` for each card from a miniature source in every structure the card claims; reruns, kills, own data."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlseg.data import read_dataset
from vlseg.data.cards import CARDS, card_names, find_card
from vlseg.data.prepare import prepare
from vlseg.jobs.check import check_data
from vlseg.records import SPLITS, InputError

SIDE = 24


def picture(seed: int, suffix: str = ".png") -> bytes:
    values = np.random.default_rng(seed).integers(0, 255, (SIDE, SIDE + 4, 3), dtype=np.uint8)
    return encoded(Image.fromarray(values), suffix)


def truth(seed: int) -> np.ndarray:
    values = np.zeros((SIDE, SIDE + 4), bool)
    row, column = np.random.default_rng(seed).integers(2, 10, 2)
    values[row : row + 8, column : column + 9] = True
    return values


def drawn(mask: np.ndarray, suffix: str = ".png", color: int | tuple[int, int, int] = 255) -> bytes:
    if isinstance(color, int):
        return encoded(Image.fromarray((mask * color).astype(np.uint8)), suffix)
    return encoded(Image.fromarray((mask[..., None] * np.array(color)).astype(np.uint8)), suffix)


def encoded(image: Image.Image, suffix: str) -> bytes:
    buffer = io.BytesIO()
    formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF"}
    image.save(buffer, formats[suffix], **({"quality": 100, "subsampling": 0} if formats[suffix] == "JPEG" else {}))
    return buffer.getvalue()


Files = dict[str, bytes]
Expected = dict[str, np.ndarray]
"""Mask name in the result: what it must hold."""


def pairs(image: str, mask: str, names: list[str], out: str = "{}.png", color: Any = 255) -> tuple[Files, Expected]:
    """Files by path templates and the masks that must come out."""
    files: Files = {}
    expected: Expected = {}
    for seed, name in enumerate(names):
        files[image.format(name)] = picture(seed, Path(image).suffix)
        files[mask.format(name)] = drawn(truth(seed), Path(mask).suffix, color)
        expected[out.format(name)] = truth(seed)
    return files, expected


def joined(*parts: tuple[Files, Expected]) -> tuple[Files, Expected]:
    return {k: v for files, _ in parts for k, v in files.items()}, {k: v for _, e in parts for k, v in e.items()}


TEN = [str(number) for number in range(1, 11)]


def from_collection(folder: str) -> tuple[Files, Expected]:
    return pairs(f"TestDataset/{folder}/images/{{}}.png", f"TestDataset/{folder}/masks/{{}}.png", TEN)


def bkai() -> tuple[Files, Expected]:
    red = pairs("train/train/{}.jpeg", "train_gt/train_gt/{}.jpeg", ["aa", "bb"], color=(255, 0, 0))
    green = pairs("train/train/{}.jpeg", "train_gt/train_gt/{}.jpeg", ["cc"], color=(0, 255, 0))
    files, expected = joined(red, green)
    return {**files, "test/test/zz.jpeg": picture(9, ".jpeg")}, expected


def isic() -> tuple[Files, Expected]:
    base = "ISBI2016_ISIC_Part1_"
    parts = [
        pairs(
            f"{base}{split}_Data/ISIC_{{}}.jpg",
            f"{base}{split}_GroundTruth/ISIC_{{}}_Segmentation.png",
            names,
            "ISIC_{}.png",
        )
        for split, names in (("Training", [f"00{n}" for n in TEN]), ("Test", ["0000077", "0000078"]))
    ]
    return joined(*parts)


def busi() -> tuple[Files, Expected]:
    base = "Dataset_BUSI_with_GT"
    files, expected = joined(
        pairs(f"{base}/benign/benign ({{}}).png", f"{base}/benign/benign ({{}})_mask.png", TEN, "{}_benign.png"),
        pairs(
            f"{base}/malignant/malignant ({{}}).png",
            f"{base}/malignant/malignant ({{}})_mask.png",
            ["1"],
            "{}_malignant.png",
        ),
    )
    second = np.zeros_like(truth(0))
    second[-4:, -4:] = True
    files[f"{base}/benign/benign (1)_mask_1.png"] = drawn(second)
    expected["1_benign.png"] = expected["1_benign.png"] | second
    for name, content in (("3", drawn(np.zeros_like(second))), ("4", None)):
        files[f"{base}/normal/normal ({name}).png"] = picture(30 + int(name))
        if content is not None:
            files[f"{base}/normal/normal ({name})_mask.png"] = content
        expected[f"{name}_normal.png"] = np.zeros_like(second)
    return files, expected


def camus(newer: bool) -> tuple[Files, Expected]:
    import tempfile

    import SimpleITK

    def volume(array: np.ndarray, name: str) -> Files:
        image = SimpleITK.GetImageFromArray(array[None].astype(np.uint8))
        image.SetSpacing((0.3, 0.15, 1.0))
        with tempfile.TemporaryDirectory() as folder:
            SimpleITK.WriteImage(image, str(Path(folder) / Path(name).name))
            return {str(Path(name).parent / f.name): f.read_bytes() for f in Path(folder).iterdir()}

    suffix = ".nii.gz" if newer else ".mhd"
    files: Files = {}
    expected: Expected = {}
    cases = [(f"patient{n:04d}", "train") for n in range(1, 10)] + [
        ("patient0001" if not newer else "patient0077", "test")
    ]
    for seed, (patient, split) in enumerate(cases):
        folder = f"database_nifti/{patient}" if newer else f"{'testing' if split == 'test' else 'training'}/{patient}"
        labels = np.zeros((SIDE, SIDE + 4), np.uint8)
        for value in (1, 2, 3):
            labels[4 * value : 4 * value + 3, 5 : 9 + seed] = value
            expected[f"{split}/mask_{value}/{patient}_2CH_ED_gt.png"] = labels == value
        for value in (1, 2, 3):
            expected[f"{split}/mask_{value}/{patient}_2CH_ED_gt.png"] = labels == value
        pixels = np.random.default_rng(seed).integers(0, 255, labels.shape)
        files |= volume(pixels, f"{folder}/{patient}_2CH_ED{suffix}")
        files |= volume(labels, f"{folder}/{patient}_2CH_ED_gt{suffix}")
        files[f"{folder}/Info_2CH.cfg"] = b"ED: 1\nES: 18\nSex: F\nAge: 56\nImageQuality: Good\nEF: 60\n"
    if newer:
        files["database_split/subgroup_testing.txt"] = b"patient0077\n"
    return files, expected


def chexlocalize() -> tuple[Files, Expected]:
    from pycocotools import mask as coco

    files: Files = {}
    expected: Expected = {}
    truths: dict[str, dict[str, dict[str, Any]]] = {"val": {}, "test": {}}
    for seed in range(10):
        split = "val" if seed % 2 else "test"
        name = f"patient6{seed}_study1_view1_frontal"
        files[f"CheXlocalize/CheXpert/{split}/patient6{seed}/study1/view1_frontal.jpg"] = picture(seed, ".jpg")
        found = {"Airspace Opacity": truth(seed), "Pleural Effusion": truth(seed + 50)}
        coded = {}
        for finding, mask in {**found, "Edema": np.zeros_like(truth(0))}.items():
            rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
            coded[finding] = {"size": rle["size"], "counts": rle["counts"].decode()}
        truths[split][name] = coded
        for finding, mask in found.items():
            expected[f"{name}_{finding.lower().replace(' ', '_')}.png"] = mask
    for split, values in truths.items():
        files[f"CheXlocalize/gt_segmentations_{split}.json"] = json.dumps(values).encode()
    return files, expected


def sheet(rows: dict[str, str]) -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["Image", "Description"])
    for row in rows.items():
        book.active.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def lvit(prefix: str = "", stem: str = "{}") -> tuple[Files, Expected]:
    """As given out: the sheet names masks; QaTa's masks bear a prefix, MoNuSeg's test images another suffix."""
    parts = []
    for split, names, image in (("Train", ["a1", "a2"], ".png"), ("Val", ["b1"], ".png"), ("Test", ["c1"], ".tif")):
        named = [stem.format(name) for name in names]
        files, expected = pairs(
            f"{split}_Folder/img/{{}}{image}",
            f"{split}_Folder/labelcol/{prefix}{{}}.png",
            named,
            split.lower() + "_{}.png",
        )
        files[f"{split}_Folder/{split}_text.xlsx"] = sheet({f"{prefix}{name}.png": f"text of {name}" for name in named})
        parts.append((files, expected))
    return joined(*parts)


def qata() -> tuple[Files, Expected]:
    base = "QaTa-COV19-v2"
    return joined(
        pairs(
            f"{base}/Train Set/Images/{{}}.png", f"{base}/Train Set/Ground-truths/mask_{{}}.png", [f"t{n}" for n in TEN]
        ),
        pairs(f"{base}/Test Set/Images/{{}}.png", f"{base}/Test Set/Ground-truths/mask_{{}}.png", ["u1", "u2"]),
    )


def qata_reports() -> tuple[Files, Expected]:
    """Names of both kinds: with BIMCV's subject, and without any; a mask, a report and an image that no split names."""
    names = {"train": ["covid_0001", "cxr_s00001-e1-r1", "cxr_s00001-e2-r1"], "val": ["cxr_s00002-e1-r1"]}
    names["test"] = ["cxr_s00003-e1-r1", "cxr_s00003-e2-r1"]
    stems = [name for inside in names.values() for name in inside]
    files, expected = pairs("data/QaTa/images/{}.png", "data/QaTa/masks/{}.png", stems)
    files |= {f"data/QaTa/reports/{name}.txt": f"report  of\n {name}\n".encode() for name in stems}
    files["data/QaTa/split.json"] = json.dumps({**names, "train": [*names["train"], "covid_0001"]}).encode()
    return files, expected


def monuseg() -> tuple[Files, Expected]:
    files: Files = {}
    expected: Expected = {}
    for index, name in enumerate([f"TCGA-A{n}-1234-01Z-00-DX1" for n in range(8)] + ["TCGA-ZZ-9999-01Z-00-DX1"]):
        test = name.startswith("TCGA-ZZ")
        image = f"MoNuSegTestData/{name}.tif" if test else f"MoNuSeg 2018 Training Data/Tissue Images/{name}.tif"
        xml = f"MoNuSegTestData/{name}.xml" if test else f"MoNuSeg 2018 Training Data/Annotations/{name}.xml"
        files[image] = picture(index, ".tif")
        corners = [(4, 5), (12, 5), (12, 14), (4, 14)]
        vertices = "".join(f'<Vertex X="{x}.0" Y="{y}.0" Z="0"/>' for x, y in corners)
        files[xml] = (
            f"<Annotations><Annotation><Regions><Region><Vertices>{vertices}</Vertices></Region></Regions>"
            "</Annotation></Annotations>"
        ).encode()
        mask = np.zeros((SIDE, SIDE + 4), bool)
        mask[5:15, 4:13] = True
        expected[f"{name}.png"] = mask
    return files, expected


def chase() -> tuple[Files, Expected]:
    files: Files = {}
    expected: Expected = {}
    for index in range(1, 11):
        for side in "LR":
            stem = f"Image_{index:02d}{side}"
            files[f"CHASEDB1/{stem}.jpg"] = picture(index, ".jpg")
            for reader, order in ((1, "1st"), (2, "2nd")):
                mask = truth(index + reader)
                files[f"CHASEDB1/{stem}_{order}HO.png"] = encoded(Image.fromarray(mask), ".png")
                expected[f"reader{reader}/{stem}.png"] = mask
    return files, expected


def dsb() -> tuple[Files, Expected]:
    files: Files = {}
    expected: Expected = {}
    for index in range(10):
        name = f"id{index}"
        files[f"stage1_train/{name}/images/{name}.png"] = picture(index)
        first, second = truth(index), np.zeros_like(truth(0))
        second[-3:, :4] = True
        files[f"stage1_train/{name}/masks/m1.png"] = drawn(first)
        files[f"stage1_train/{name}/masks/m2.png"] = drawn(second)
        expected[f"{name}.png"] = first | second
    return files, expected


def fuseg() -> tuple[Files, Expected]:
    base = "wound-segmentation-master/data/Foot Ulcer Segmentation Challenge"
    files, expected = joined(
        *(
            pairs(f"{base}/{split}/images/{{}}.png", f"{base}/{split}/labels/{{}}.png", names, f"{split}_{{}}.png")
            for split, names in (("train", TEN), ("validation", ["1", "2"]))
        )
    )
    return {**files, f"{base}/test/images/0.png": picture(5)}, expected


MINIATURES: dict[str, list[Callable[[], tuple[Files, Expected]]]] = {
    "kvasir-seg": [lambda: pairs("Kvasir-SEG/images/{}.jpg", "Kvasir-SEG/masks/{}.jpg", TEN)],
    "cvc-clinicdb": [
        lambda: joined(
            pairs("CVC/PNG/Original/{}.png", "CVC/PNG/Ground Truth/{}.png", TEN),
            ({f"CVC/TIF/Original/{n}.tif": picture(int(n), ".tif") for n in TEN}, {}),
        ),
        lambda: pairs("CVC-ClinicDB/Original/{}.tif", "CVC-ClinicDB/Ground Truth/{}.tif", TEN),
        lambda: from_collection("CVC-ClinicDB"),
    ],
    "bkai-igh": [bkai],
    "cvc-300": [lambda: from_collection("CVC-300"), lambda: pairs("images/{}.png", "masks/{}.png", TEN)],
    "cvc-colondb": [lambda: from_collection("CVC-ColonDB"), lambda: pairs("images/{}.tif", "masks/p{}.tif", TEN)],
    "etis": [
        lambda: from_collection("ETIS-LaribPolypDB"),
        lambda: pairs("ETIS-LaribPolypDB/{}.tif", "Ground Truth/p{}.tif", TEN),
    ],
    "isic-2016": [isic],
    "dfuc-2022": [lambda: pairs("DFUC2022_train_images/{}.jpg", "DFUC2022_train_masks/{}.png", TEN)],
    "camus": [lambda: camus(newer=True)],
    "busi": [busi, lambda: pairs("b/images/{}_benign.png", "b/masks/{}_benign.png", TEN, "{}_benign.png")],
    "chexlocalize": [chexlocalize],
    "qata-cov19": [lambda: lvit("mask_"), qata_reports, qata],
    "mosmeddata-plus": [lvit, lambda: pairs("frames/{}.png", "masks/{}.png", TEN)],
    "monuseg": [lambda: lvit(stem="TCGA-18-55{}-01Z"), monuseg],
    "chase-db1": [
        chase,
        lambda: pairs("c/images/Image_0{}L.jpg", "c/masks/Image_0{}L.png", ["1", "2", "3"], "Image_0{}L.png"),
    ],
    "dsb2018": [dsb],
    "fuseg": [fuseg],
}
CASES = [(name, index) for name, makes in MINIATURES.items() for index in range(len(makes))]


def packed(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def content_of(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def check_result(out: Path, expected: Expected) -> None:
    dataset = read_dataset(out)
    written = {sample.mask_paths[0].relative_to(out / "masks").as_posix(): sample for sample in dataset.samples}
    assert written.keys() == expected.keys()
    for name, mask in expected.items():
        values = np.asarray(Image.open(out / "masks" / name))
        assert set(np.unique(values)) <= {0, 255}
        np.testing.assert_array_equal(values == 255, mask, err_msg=name)
        assert written[name].image_path.exists()


def test_every_card_has_a_miniature_of_each_structure() -> None:
    assert MINIATURES.keys() == CARDS.keys()
    for name, makes in MINIATURES.items():
        assert len(makes) == len(find_card(name).structures), name


UNUSED = {
    ("cvc-clinicdb", 0): ["10 pictures that are not used"],  # the same images once more, as TIFF
    ("bkai-igh", 0): ["1 pictures that are not used"],  # test images without masks
    ("fuseg", 0): ["1 pictures that are not used"],
}


@pytest.mark.parametrize(("name", "index"), CASES)
def test_prepare_from_the_claimed_structure(tmp_path: Path, name: str, index: int) -> None:
    files, expected = MINIATURES[name][index]()
    source = packed(tmp_path / "download.zip", files)
    card = find_card(name)
    done = prepare(card, source, tmp_path / "out")
    assert done.structure == card.structures[index].about
    assert [line.split(",")[0] for line in done.left_out] == UNUSED.get((name, index), [])
    check_result(tmp_path / "out", expected)
    targets = {sample.target for sample in read_dataset(tmp_path / "out").samples}
    assert targets <= set(card.targets)
    before = content_of(tmp_path / "out")
    assert prepare(card, source, tmp_path / "out").unchanged
    prepare(card, source, tmp_path / "again")
    again = content_of(tmp_path / "again")
    for file in ("dataset.json", "croissant.json"):
        again[file] = again[file].replace(b'"again"', b'"out"')
    assert again == before


@pytest.mark.parametrize("name", list(CARDS))
def test_cards_say_all_that_is_asked(name: str) -> None:
    card = find_card(name)
    assert card.name == name
    for value in (card.title, card.modality, card.licence, card.page, card.registration, card.groups, card.citation):
        assert value
    assert card.files
    assert card.counts
    assert card.prompts
    if card.modality in ("echocardiography", "chest X-ray"):
        assert not card.symmetries


def test_official_splits_groups_and_attributes(tmp_path: Path) -> None:
    files, _ = camus(newer=True)
    prepare(find_card("camus"), packed(tmp_path / "c.zip", files), tmp_path / "camus")
    dataset = read_dataset(tmp_path / "camus")
    test = dataset.split("test")
    assert {sample.group for sample in test} == {"test/patient0077"}
    assert all(sample.spacing == pytest.approx((0.15, 0.3)) for sample in dataset.samples)
    found = {attribute.name: (attribute.value, attribute.source) for attribute in test[0].attributes}
    assert found == {
        "view": ("two-chamber view", "metadata"),
        "phase": ("end of the diastole cycle", "metadata"),
        "sex": ("female", "metadata"),
        "age": ("56", "metadata"),
        "quality": ("good", "metadata"),
    }
    assert len({s.group for s in dataset.split("val")}) == 1
    files, _ = chexlocalize()
    prepare(find_card("chexlocalize"), packed(tmp_path / "x.zip", files), tmp_path / "chex")
    dataset = read_dataset(tmp_path / "chex")
    by_group = {sample.group: sample.split for sample in dataset.samples}
    assert all(by_group[sample.group] == sample.split for sample in dataset.samples)
    assert dataset.info.groups_known


def test_the_older_camus_release(tmp_path: Path) -> None:
    files, expected = camus(newer=False)
    prepare(find_card("camus"), packed(tmp_path / "c.zip", files), tmp_path / "out")
    check_result(tmp_path / "out", expected)


def published(path: Path, lists: dict[str, list[tuple[str, str]]]) -> Path:
    for split, names in lists.items():
        path.mkdir(exist_ok=True)
        entries = [
            {"img_name": image, "mask_name": mask, "bbox": [1, 2, 3, 4], "prompts": {"p0": "", "p1": f"polyp {image}"}}
            for image, mask in names
        ]
        (path / f"{split}.json").write_text(json.dumps(entries))
    return path


def test_published_splits_and_prompts_are_kept(tmp_path: Path) -> None:
    files, _ = pairs("K/images/{}.jpg", "K/masks/{}.jpg", TEN)
    anns = published(
        tmp_path / "anns",
        {"train": [("1.jpg", "1.jpg"), ("2.png", "2.png"), ("1.jpg", "1.jpg")], "test": [("3.jpg", "3.jpg")]},
    )
    done = prepare(find_card("kvasir-seg"), packed(tmp_path / "k.zip", files), tmp_path / "out", anns=anns)
    assert done.entries == {"train": 3, "val": 0, "test": 1}
    assert "7 images that no published list names" in done.left_out[0]
    entries = json.loads((tmp_path / "out" / "anns" / "train.json").read_text())
    assert sorted(e["img_name"] for e in entries) == ["1.jpg", "1.jpg", "2.jpg"]
    assert {e["mask_name"] for e in entries} == {"1.png", "2.png"}
    assert entries[0]["bbox"] == [1, 2, 3, 4]
    assert entries[0]["prompts"]["p1"] == "polyp 1.jpg"


def test_annotations_of_another_dataset_are_refused(tmp_path: Path) -> None:
    files, _ = pairs("K/images/{}.jpg", "K/masks/{}.jpg", TEN)
    anns = published(tmp_path / "anns", {"test": [("77.jpg", "77.jpg"), ("1.jpg", "1.jpg")]})
    with pytest.raises(InputError, match="1 of 2 entries have no image"):
        prepare(find_card("kvasir-seg"), packed(tmp_path / "k.zip", files), tmp_path / "out", anns=anns)
    assert not (tmp_path / "out").exists()


def test_published_camus_lists_tell_val_from_test(tmp_path: Path) -> None:
    files, _ = camus(newer=False)
    names = [("patient0001_2CH_ED.png", f"mask_{value}/patient0001_2CH_ED_gt.png") for value in (1, 2, 3)]
    anns = published(tmp_path / "anns", {"val": names, "test": names})
    prepare(find_card("camus"), packed(tmp_path / "c.zip", files), tmp_path / "out", anns=anns)
    dataset = read_dataset(tmp_path / "out")
    assert {s.image_path.parent.name for s in dataset.split("val")} == {"train"}
    assert {s.image_path.parent.name for s in dataset.split("test")} == {"test"}
    assert [s.target for s in dataset.split("val")] == ["left ventricular cavity", "myocardium", "left atrium cavity"]
    assert len({s.group for s in dataset.samples}) == 2


def test_real_busi_sample_with_its_published_lists(shared: Path, tmp_path: Path) -> None:
    sample = shared / "data" / "busi_sample"
    done = prepare(find_card("busi"), sample, tmp_path / "out", anns=sample / "anns")
    assert done.entries == {"train": 80, "val": 20, "test": 20}
    ours, theirs = read_dataset(tmp_path / "out"), read_dataset(sample)
    assert {s.image_path.name: s.prompts for s in ours.samples} == {
        s.image_path.name: s.prompts for s in theirs.samples
    }
    for one in ours.samples[::7]:
        truth_ = np.asarray(Image.open(sample / "masks" / one.mask_paths[0].name).convert("L")) > 127
        np.testing.assert_array_equal(np.asarray(Image.open(one.mask_paths[0])) == 255, truth_)


def test_an_unknown_layout_is_found_by_names_or_explained(tmp_path: Path) -> None:
    files, expected = pairs("x/photos/{}.jpg", "x/ground_truth/{}_mask.png", TEN)
    done = prepare(find_card("dfuc-2022"), packed(tmp_path / "a.zip", files), tmp_path / "out")
    assert "does not know" in done.structure
    assert not done.seen
    check_result(tmp_path / "out", expected)
    with pytest.raises(InputError, match=r"no images and masks of CheXlocalize.*Get CheXlocalize.zip.*from https"):
        prepare(find_card("chexlocalize"), packed(tmp_path / "b.zip", files), tmp_path / "none")


def test_sentences_lie_beside_the_official_archive(tmp_path: Path) -> None:
    files, _ = qata()
    files["Train_Val_text.xlsx"] = sheet({"mask_t1.png": "Bilateral infection EOF XXX", "mask_t2.png": "One area"})
    files["Metadata.xlsx"] = b"another table"
    prepare(find_card("qata-cov19"), packed(tmp_path / "q.zip", files), tmp_path / "out")
    texts = {
        s.image_path.stem: s.prompts["text"] for s in read_dataset(tmp_path / "out").samples if "text" in s.prompts
    }
    assert texts == {"t1": ("Bilateral infection",), "t2": ("One area",)}


def test_a_changed_source_is_not_taken_for_the_same(tmp_path: Path) -> None:
    files, _ = pairs("K/images/{}.jpg", "K/masks/{}.jpg", TEN)
    source = tmp_path / "folder"
    for name, content in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    prepare(find_card("kvasir-seg"), source, tmp_path / "out")
    (source / ".DS_Store").write_bytes(b"x")
    assert prepare(find_card("kvasir-seg"), source, tmp_path / "out").unchanged
    (source / "K/masks/1.jpg").write_bytes(files["K/masks/2.jpg"])
    with pytest.raises(InputError, match="not the result of this command"):
        prepare(find_card("kvasir-seg"), source, tmp_path / "out")
    with pytest.raises(InputError, match="lies in the source"):
        prepare(find_card("kvasir-seg"), source, source / "prepared")


def test_broken_files_are_left_out_and_named(tmp_path: Path) -> None:
    files, expected = pairs("K/images/{}.jpg", "K/masks/{}.jpg", TEN)
    files["K/images/3.jpg"] = files["K/images/3.jpg"][:200]
    done = prepare(find_card("kvasir-seg"), packed(tmp_path / "k.zip", files), tmp_path / "out")
    assert done.images == 9
    assert "3.jpg" in done.left_out[0]
    expected.pop("3.png")
    check_result(tmp_path / "out", expected)


def test_a_folder_in_use_is_kept(tmp_path: Path) -> None:
    files, _ = pairs("K/images/{}.jpg", "K/masks/{}.jpg", TEN)
    source = packed(tmp_path / "k.zip", files)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="choose another folder"):
        prepare(find_card("kvasir-seg"), source, tmp_path / "out")
    assert content_of(tmp_path / "out") == {"mine.txt": b"x"}


def test_killed_in_the_middle_and_rerun_gives_the_identical_result(tmp_path: Path) -> None:
    files, _ = pairs("K/images/{}.jpg", "K/masks/{}.jpg", [str(n) for n in range(60)])
    source = packed(tmp_path / "k.zip", files)
    prepare(find_card("kvasir-seg"), source, tmp_path / "whole")
    code = (
        "import sys, time; from pathlib import Path; from vlseg.data.cards import find_card; "
        "from vlseg.data.prepare import prepare\n"
        "def slow(items):\n    for item in items:\n        time.sleep(0.02); yield item\n"
        "prepare(find_card('kvasir-seg'), Path(sys.argv[1]), Path(sys.argv[2]), progress=slow)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(source), str(tmp_path / "killed")])
    partial = tmp_path / ".killed.partial"
    for _ in range(600):
        if len(list(partial.rglob("*.png"))) > 5:
            break
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert partial.exists()
    assert not (tmp_path / "killed").exists()
    prepare(find_card("kvasir-seg"), source, tmp_path / "killed")
    assert not partial.exists()
    one, two = content_of(tmp_path / "whole"), content_of(tmp_path / "killed")
    for file in ("dataset.json", "croissant.json"):
        two[file] = two[file].replace(b'"killed"', b'"whole"')
    assert one == two


def test_a_card_of_another_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Entry points are read only when the name is not ours."""
    from importlib.metadata import EntryPoint

    from vlseg.data import cards

    point = EntryPoint("theirs", "vlseg.data.cards.kvasir_seg:CARD", "vlseg.datasets")
    monkeypatch.setattr(cards, "entry_points", lambda group: [point])
    assert "theirs" in card_names()
    assert find_card("theirs").title == "Kvasir-SEG"
    with pytest.raises(InputError, match="theirs"):
        find_card("nobody's")


def test_qata_reports_give_subjects_splits_and_texts(tmp_path: Path) -> None:
    files, _ = qata_reports()
    prepare(find_card("qata-cov19"), packed(tmp_path / "q.zip", files), tmp_path / "out")
    told = {
        sample.image_path.stem: (sample.split, sample.group, sample.prompts["text"])
        for sample in read_dataset(tmp_path / "out").samples
    }
    assert told == {
        "covid_0001": ("train", None, ("report of covid_0001",)),
        "cxr_s00001-e1-r1": ("train", "s00001", ("report of cxr_s00001-e1-r1",)),
        "cxr_s00001-e2-r1": ("train", "s00001", ("report of cxr_s00001-e2-r1",)),
        "cxr_s00002-e1-r1": ("val", "s00002", ("report of cxr_s00002-e1-r1",)),
        "cxr_s00003-e1-r1": ("test", "s00003", ("report of cxr_s00003-e1-r1",)),
        "cxr_s00003-e2-r1": ("test", "s00003", ("report of cxr_s00003-e2-r1",)),
    }


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": ["covid_0001"], "test": ["covid_0001"]}, "is in train and test"),
        ({"train": "covid_0001"}, "train must be a list of names"),
        (["covid_0001"], "must hold lists of names"),
        ({"training": ["covid_0001"]}, "must hold lists of names"),
        ({"train": ["other"]}, "names none of the images"),
    ],
)
def test_a_split_file_that_does_not_fit_is_refused(tmp_path: Path, splits: Any, message: str) -> None:
    files, _ = qata_reports()
    files["data/QaTa/split.json"] = json.dumps(splits).encode()
    with pytest.raises(InputError, match=message):
        prepare(find_card("qata-cov19"), packed(tmp_path / "q.zip", files), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_mosmed_studies_torn_by_slice_are_told_and_drawn_whole(tmp_path: Path) -> None:
    """Ten studies of six slices, LViT's split by slice: every study on both sides."""
    studies = [f"Morozov_study_{n:04d}" for n in range(8)] + ["Jun_coronacases_case1", "Jun_radiopaedia_1_8_case2"]
    files: Files = {}
    for number, split in enumerate(["Train"] * 4 + ["Val", "Test"]):
        names = [f"{study}_{number}" for study in studies]
        made, _ = pairs(f"{split}_Folder/img/{{}}.png", f"{split}_Folder/labelcol/{{}}.png", names)
        files |= made
    for split in ("Train", "Val", "Test"):
        stems = [PurePosixPath(name).stem for name in files if name.startswith(f"{split}_Folder/img")]
        files[f"{split}_Folder/{split}_text.xlsx"] = sheet({f"{stem}.png": f"text of {stem}" for stem in stems})
    source = packed(tmp_path / "m.zip", files)
    card = find_card("mosmeddata-plus")
    prepare(card, source, tmp_path / "published")
    found = {finding.code: finding for finding in check_data([tmp_path / "published"], near=False)[0]}
    assert found["group_leak"].count == 10
    done = prepare(card, source, tmp_path / "honest", copies=lambda files: [])
    assert "10 of 10 test images had one of their group in train" in done.regrouped[1]
    dataset = read_dataset(tmp_path / "honest")
    assert {sample.group for sample in dataset.samples} == {study.lower() for study in studies}
    splits: dict[str | None, set[str]] = {}
    for sample in dataset.samples:
        splits.setdefault(sample.group, set()).add(sample.split)
    assert all(len(inside) == 1 for inside in splits.values())
    assert all(dataset.split(split) for split in SPLITS)
    was = {s.image_path.stem: s.split for s in read_dataset(tmp_path / "published").samples}
    moved = sum(was[sample.image_path.stem] != sample.split for sample in dataset.samples)
    assert done.regrouped[0].startswith(f"{moved} of 60 images moved")
    assert "group_leak" not in {f.code for f in check_data([tmp_path / "honest"], near=False)[0]}
    assert prepare(card, source, tmp_path / "honest", copies=lambda files: []).regrouped == done.regrouped
    with pytest.raises(InputError, match="not the result of this command"):
        prepare(card, source, tmp_path / "honest")
