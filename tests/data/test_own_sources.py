"""A user's own source in any shape: splits, groups, links, side files; nothing is used or left out in silence."""

import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlseg.data import read_dataset
from vlseg.data.prepare import Prepared, prepare
from vlseg.records import InputError, Sample


def draw(root: Path, *names: str, area: int = 25) -> Path:
    """An image for each name, and a mask (of `area` pixels) for one with "mask" or "gt" in it."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(len(name)).integers(0, 250, (16, 18)).astype(np.uint8)
        if "mask" in name or "gt" in name:
            values[:] = 0
            values.flat[:area] = 255
        Image.fromarray(values).save(path, "PNG")
    return root


def pairs(root: Path, image: str, mask: str, *names: str) -> Path:
    return draw(root, *(kind.format(name) for name in names for kind in (image, mask)))


def own(source: Path, **options: Any) -> tuple[Prepared, dict[str, Sample]]:
    out = source.with_name(f"{source.name}_out")
    done = prepare(None, source, out, target="polyp", **options)
    samples = read_dataset(out).samples
    return done, {s.image_path.relative_to(out / "images").as_posix(): s for s in samples}


def test_folders_of_splits_become_the_splits(tmp_path: Path) -> None:
    source = tmp_path / "in"
    for split, names in (("train", "abc"), ("val", "d"), ("test", "ef")):
        pairs(source, f"{split}/images/{{}}.png", f"{split}/masks/{{}}.png", *names)
    done, samples = own(source)
    assert {name[0]: sample.split for name, sample in samples.items()} == {
        **dict.fromkeys("abc", "train"), "d": "val", **dict.fromkeys("ef", "test")
    }  # fmt: skip
    assert "splits as the folders name them" in done.structure
    assert done.left_out == ()


def test_five_test_sets_of_one_names_stay_apart(tmp_path: Path) -> None:
    source = pairs(tmp_path / "in", "TrainDataset/image/{}.png", "TrainDataset/mask/{}.png", *map(str, range(20)))
    for place in ("CVC-300", "ETIS"):
        pairs(source, f"TestDataset/{place}/images/{{}}.png", f"TestDataset/{place}/masks/{{}}.png", "1", "2")
    done, samples = own(source)
    assert done.images == 24
    tested = [sample for sample in samples.values() if sample.split == "test"]
    assert len({sample.image_path for sample in tested}) == 4
    assert done.entries["val"] == 2  # of the training images


def test_splits_named_for_some_are_an_error(tmp_path: Path) -> None:
    source = pairs(tmp_path / "in", "test/images/{}.png", "test/masks/{}.png", "a", "b")
    pairs(source, "more/images/{}.png", "more/masks/{}.png", "c")
    with pytest.raises(InputError, match=r"test/images/a\.png name a split and those of more/images/c\.png none"):
        own(source)


def test_a_download_named_train_is_split(tmp_path: Path) -> None:
    done, _ = own(pairs(tmp_path / "in", "Train/images/{}.png", "Train/masks/{}.png", *map(str, range(10))))
    assert all(done.entries.values())


def test_in_place_folders_of_splits_are_the_splits(tmp_path: Path) -> None:
    source = pairs(tmp_path / "in", "images/train/{}.png", "masks/train/{}.png", "a", "b")
    pairs(source, "images/test/{}.png", "masks/test/{}.png", "c")
    samples = read_dataset(source, target="polyp", write=False).samples
    assert {s.image_path.stem: s.split for s in samples} == {"a": "train", "b": "train", "c": "test"} | {
        s.image_path.stem: "val" for s in samples if s.split == "val"
    }
    assert not (source / "anns").exists()


def test_whatever_is_not_used_is_told(tmp_path: Path, vlseg: Callable[..., Any]) -> None:
    source = pairs(tmp_path / "in", "images/{}.png", "masks/{}.png", "a", "b", "c")
    draw(source, "images/lone.png", "masks/lost.png", ".cache/a.png")
    for name in ("README.txt", "notes.pdf", "Thumbs.db", ".DS_Store", "images/._a.png", "__MACOSX/images/a.png"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(b"x")
    (source / "images" / "gone.png").symlink_to("nowhere.png")
    done, _ = own(source)
    told = "\n".join(done.left_out)
    for line in (
        "1 images without a mask, e.g. images/lone.png",
        "1 masks without an image, e.g. masks/lost.png",
        "3 other files (1 .png, 1 .txt, 1 .pdf), e.g. .cache/a.png, README.txt, notes.pdf",
        "1 files that cannot be read, e.g. images/gone.png is a link that leads nowhere",
    ):
        assert line in told
    assert len(done.left_out) == 4
    shown = vlseg("data", "prepare", "own", "--source", source, "--target", "polyp", "--out", tmp_path / "o", "--json")
    assert shown.json["left_out"] == list(done.left_out)
    assert (
        "lone.png"
        in vlseg("data", "prepare", "own", "--source", source, "--target", "polyp", "--out", tmp_path / "p").out
    )


def test_links_to_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    real = pairs(tmp_path / "real", "images/{}.png", "masks/{}.png", "a", "b", "c")
    source = tmp_path / "in"
    source.mkdir()
    (source / "images").symlink_to(real / "images")
    (source / "masks").symlink_to(real / "masks")
    (real / "images" / "again").symlink_to(real / "images")
    done, samples = own(source)
    assert sorted(samples) == ["a.png", "b.png", "c.png"]
    assert len(read_dataset(source, target="polyp", write=False).samples) == 3
    assert done.left_out == ()


def test_a_changed_file_behind_a_link_is_another_source(tmp_path: Path) -> None:
    real = pairs(tmp_path / "real", "images/{}.png", "masks/{}.png", "a", "b", "c")
    (tmp_path / "in").mkdir()
    for kind in ("images", "masks"):
        (tmp_path / "in" / kind).symlink_to(real / kind)
    own(tmp_path / "in")
    draw(real, "masks/a.png", area=30)
    with pytest.raises(InputError, match="not the result of this command on this source"):
        own(tmp_path / "in")


def test_annotations_and_files_may_be_written_in_other_forms_of_unicode(make_dataset: Callable[..., Path]) -> None:
    root = make_dataset()
    (root / "images" / "train0.png").rename(root / "images" / unicodedata.normalize("NFD", "Läsion.png"))
    path = root / "anns" / "train.json"
    path.write_text(path.read_text().replace("train0.png", unicodedata.normalize("NFC", "Läsion.png")))
    assert all(sample.image_path.exists() for sample in read_dataset(root).samples)


def test_masks_of_folders_of_other_names_are_told(tmp_path: Path) -> None:
    source = pairs(tmp_path / "in", "x/images/{}.png", "x/gt/{}.png", "a", "b")
    pairs(source, "y/images/{}.png", "y/mask/{}.png", "c")
    assert "masks in folders named gt, mask (2)" in own(source)[0].structure


def test_a_name_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    source = pairs(tmp_path / "in", "images/{}.png", "masks/{}.png", "a", "b", "c")
    (source / "images" / "a.png").rename(source / "images" / os.fsdecode(b"L\xe4sion.png"))
    for read in (lambda: own(source), lambda: read_dataset(source, target="polyp")):
        with pytest.raises(InputError, match=r"images/L\\xe4sion\.png is not UTF-8 text; rename"):
            read()


GROUPED: dict[str, tuple[str, str | None, str]] = {
    "patients by folder": ("P{0}/images/{1}.png", None, "P0"),
    "patients below images": ("images/patient_{0}/{1}.png", None, "patient_0"),
    "any folder, asked for": ("images/anna{0}/{1}.png", "folder", "anna0"),
    "a pattern": ("images/x{0}_{1}.png", r"(x\d+)_", "x0"),
}


@pytest.mark.parametrize("case", GROUPED)
def test_patients_known_by_folder_or_name_stay_together(tmp_path: Path, case: str) -> None:
    image, groups, first = GROUPED[case]
    source = tmp_path / "in"
    for patient in range(12):
        for number in range(3):
            name = image.format(patient, number)
            draw(source, name, name.replace("images", "masks"))
    done, samples = own(source, groups=groups)
    assert done.images == 36
    splits: dict[str | None, set[str]] = {}
    for sample in samples.values():
        splits.setdefault(sample.group, set()).add(sample.split)
    assert len(splits) == 12
    assert first in splits
    assert all(len(inside) == 1 for inside in splits.values())
    assert "groups" in done.structure
    if groups is None and (source / "images").is_dir():
        assert {s.group for s in read_dataset(source, target="polyp", write=False).samples} == splits.keys()


def test_folders_that_may_be_patients_are_pointed_out(tmp_path: Path) -> None:
    source = tmp_path / "in"
    for site in "xy":
        pairs(source, f"images/{site}/{{}}.png", f"masks/{site}/{{}}.png", "a", "b")
    done, samples = own(source)
    assert {sample.group for sample in samples.values()} == {None}
    assert "--groups folder" in done.structure


@pytest.mark.parametrize(("groups", "message"), [("(", "no regular expression"), (r"(zz\d)", "gives nothing for")])
def test_groups_that_cannot_be_told_are_an_error(tmp_path: Path, groups: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        own(pairs(tmp_path / "in", "images/{}.png", "masks/{}.png", "a", "b"), groups=groups)


def test_empty_masks_are_in_every_split(tmp_path: Path) -> None:
    """100 images of which 10 show nothing: one of them in val and one in test, as of the others nine."""
    source = draw(tmp_path / "in", *(f"{kind}/{n}.png" for n in range(90) for kind in ("images", "masks")))
    draw(source, *(f"{kind}/none{n}.png" for n in range(10) for kind in ("images", "masks")), area=0)
    for seed in range(2):
        prepare(None, source, tmp_path / f"out{seed}", target="polyp", seed=seed)
        for split in ("val", "test"):
            entries = json.loads((tmp_path / f"out{seed}" / "anns" / f"{split}.json").read_text())
            assert sum(entry["img_name"].startswith("none") for entry in entries) == 1
            assert len(entries) == 10


def test_tables_by_folder_and_of_excel(tmp_path: Path) -> None:
    import openpyxl

    source = pairs(tmp_path / "in", "scans/{}.png", "gt/{}.png", "a", "b", "c")
    draw(source, "scans/d.png")
    book = openpyxl.Workbook()
    for row in (["File", "Patient"], *([f"{name}.png", f"P{name}"] for name in "abcd")):
        book.active.append(row)
    book.save(source / "cases.xlsx")
    done, samples = own(source)
    assert {name: sample.group for name, sample in samples.items()} == {f"{n}.png": f"P{n}" for n in "abc"}
    assert done.left_out == ("1 images without a mask, e.g. scans/d.png",)
    (source / "cases.csv").write_text("file\na\n")
    with pytest.raises(InputError, match=r"cases\.csv and cases\.xlsx"):
        prepare(None, source, tmp_path / "other", target="polyp")
