"""Which pictures are masks, and whose: layouts as people keep them; two candidates are an error."""

import unicodedata

import pytest

from vlseg.data.matching import match
from vlseg.data.names import patient_folder, split_named
from vlseg.records import InputError


def paired(*names: str, masks: str | None = None) -> dict[str, list[str]]:
    """Masks by image."""
    found: dict[str, list[str]] = {}
    for pair in match(names, "source", masks).pairs:
        found.setdefault(pair.image.path, []).append(pair.mask.path)
    return found


NFD = unicodedata.normalize("NFD", "Läsion1")
NFC = unicodedata.normalize("NFC", "Läsion1")

LAYOUTS: dict[str, list[tuple[str, str]]] = {
    "plain": [("images/a.png", "masks/a.png"), ("images/b.jpg", "masks/b.png")],
    "mixed affixes": [("images/a.png", "masks/a.png"), ("images/b.png", "masks/b_mask.png")],
    "both affixed": [("img/img_001.png", "gt/mask_001.png"), ("img/img_002.png", "gt/seg_002.png")],
    "glued numbers": [("x/image1.png", "x/mask1.png"), ("x/image10.png", "x/mask10.png")],
    "beside": [("a.png", "a_mask.png"), ("b.png", "b-seg.png")],
    "beside in images": [("images/a.png", "images/a_mask.png"), ("images/b.png", "images/b_mask.png")],
    "composed and decomposed": [(f"images/{NFC}.png", f"masks/{NFD}.png")],
    "decomposed folders": [(f"images/{NFD}/a.png", f"masks/{NFC}/a.png")],
    "case": [("Images/A.PNG", "Masks/a.png")],
    "jfif and ppm": [("images/a.jfif", "masks/a.png"), ("images/b.ppm", "masks/b.pgm")],
    "split folders": [("train/images/1.png", "train/masks/1.png"), ("test/images/1.png", "test/masks/1.png")],
    "splits inside": [("images/train/1.png", "masks/train/1.png"), ("images/val/1.png", "masks/val/1.png")],
    "collections": [(f"TestDataset/{s}/images/1.png", f"TestDataset/{s}/masks/1.png") for s in ("CVC-300", "ETIS")],
    "top says segmentation": [("polyp-segmentation/image/a.png", "polyp-segmentation/mask/a.png")],
    "two tops say it": [(f"seg-{k}/image/a.png", f"seg-{k}/mask/a.png") for k in "xy"],
    "top says mask": [("MaskData/a.png", "MaskData/a_mask.png")],
    "segmented images": [("segmented-images/images/a.jpg", "segmented-images/masks/a.jpg")],
    "other words": [("scans/a.png", "lesion masks/a_mask.png")],
    "ISIC": [(f"ISIC_{s}_Data/{n}.jpg", f"ISIC_{s}_GroundTruth/{n}_Segmentation.png") for s, n in ("T1", "V2")],
    "sites": [("images/s1/a.png", "masks/s1/a.png"), ("images/s2/a.png", "masks/s2/a.png")],
    "unlabelled is no mask": [("unlabeled/a.png", "labels/a.png")],
    "dots in names": [("images/p.1.2.png", "masks/p.1.2.png"), ("images/p.1.3.png", "masks/p.1.3.png")],
    "image folder of an odd name": [("images/manual_crop/a.png", "masks/manual_crop/a.png")],
    "one patient a folder": [(f"P{n}/images/1.png", f"P{n}/masks/1.png") for n in range(3)],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_mask_finds_its_image(layout: str) -> None:
    expected = LAYOUTS[layout]
    names = [name for pair in expected for name in pair]
    assert paired(*names) == {image: [mask] for image, mask in expected}
    assert match(names, "source").left_out() == []
    assert paired(*reversed(names)) == paired(*names)


def test_numbered_masks_are_parts_of_one() -> None:
    names = ("b/a (1).png", "b/a (1)_mask.png", "b/a (1)_mask_1.png")
    assert paired(*names) == {names[0]: list(names[1:])}


def test_folders_inside_the_masks_folder_are_targets_or_readers() -> None:
    names = ("images/a.png", "masks/left_kidney/a.png", "masks/reader1/a.png", "masks/train/a.png")
    told = {(pair.target, pair.reader) for pair in match(names[:3], "s").pairs}
    assert told == {("left kidney", None), (None, "reader1")}
    assert [pair.target for pair in match((names[0], names[3]), "s").pairs] == [None]


def test_what_has_no_partner_is_named_and_counted() -> None:
    names = [f"images/{n}.png" for n in "abcdef"] + ["masks/a.png", "masks/z.png"]
    lines = match(names, "source").left_out()
    assert lines[0] == "5 images without a mask, e.g. images/b.png, images/c.png, images/d.png"
    assert lines[1] == "1 masks without an image, e.g. masks/z.png"


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/site1/a.png", "masks/site2/a.png"),
        ("train/images/1.png", "test/masks/1.png"),
        ("train_images/1.png", "test_masks/1.png"),
        ("images/a.png", "masks/ab.png"),
        ("images/a.png", ".masks/a.png"),
    ],
)
def test_equal_names_in_other_places_are_no_pair(image: str, mask: str) -> None:
    assert paired(image, mask) == {}


DRIVE = [
    name
    for n in (21, 22)
    for name in (
        f"training/images/{n}_training.tif",
        f"training/1st_manual/{n}_manual1.gif",
        f"training/mask/{n}_training_mask.gif",
    )
]
TWO: dict[str, tuple[list[str], str]] = {
    "two folders": (DRIVE, "--masks 1st_manual or --masks mask"),
    "two readers beside": (["Image_01L.jpg", "Image_01L_1stHO.png", "Image_01L_2ndHO.png"], "two sorts.*1stho"),
    "plain and affixed": (["images/a.png", "masks/a.png", "masks/a_mask.png"], r"a\.png and masks/a_mask\.png"),
    "two suffixes": (["images/a.png", "masks/a.png", "masks/a.tif"], "keep one"),
    "two images": (["images/a.png", "images/a.jpg", "masks/a.png"], "same stem"),
    "flat masks": (["images/s1/a.png", "images/s2/a.png", "masks/a.png"], "fits images/s1/a.png and images/s2/a.png"),
    "both forms of a name": ([f"images/{NFC}.png", f"images/{NFD}.png", f"masks/{NFC}.png"], "same stem"),
    "nothing of that name": (["images/a.png", "masks/a.png"], "no pictures in 'gt'.*masks"),
}


@pytest.mark.parametrize("case", TWO)
def test_two_candidates_are_an_error_that_names_both(case: str) -> None:
    names, message = TWO[case]
    with pytest.raises(InputError, match=message):
        match(names, "source", "gt" if case.startswith("nothing") else None)


@pytest.mark.parametrize(
    ("masks", "chosen"),
    [("1st_manual", "manual1"), ("mask", "mask"), ("training/mask", "mask"), ("*_manual1.*", "manual1")],
)
def test_the_mend_of_two_sorts_works(masks: str, chosen: str) -> None:
    found = match(DRIVE, "DRIVE", masks)
    assert [pair.image.path for pair in found.pairs] == DRIVE[::3]
    assert all(chosen in pair.mask.path for pair in found.pairs)
    assert len(found.not_chosen) == 2
    assert found.images_alone == ()


@pytest.mark.parametrize(
    ("folders", "split"),
    [
        (("TestDataset", "CVC-300"), "test"),
        (("TrainDataset",), "train"),
        (("data", "validation"), "val"),
        (("val_images",), "val"),
        (("testset2",), "test"),
        (("train", "test"), "test"),
        (("latest",), None),
        (("Test Hospital",), None),
        (("contest",), None),
        (("train_val",), None),
        (("images",), None),
        ((), None),
    ],
)
def test_split_of_a_folders_name(folders: tuple[str, ...], split: str | None) -> None:
    assert split_named(folders) == split


@pytest.mark.parametrize(
    ("folders", "group"),
    [
        (("patient07", "study1"), "patient07"),
        (("P12",), "P12"),
        (("site", "video_3"), "video_3"),
        (("site1",), None),
        (("P",), None),
        (("CVC-300",), None),
    ],
)
def test_patient_of_a_folders_name(folders: tuple[str, ...], group: str | None) -> None:
    assert patient_folder(folders) == group
