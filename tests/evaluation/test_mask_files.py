"""Which file answers for which image: nothing is guessed, nothing is left out unsaid."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlseg.evaluation import Query, clean_queries
from vlseg.evaluation.mask_files import MaskFiles, find_masks
from vlseg.prompts import Prompted
from vlseg.records import InputError, Sample

SIZE = (6, 8)


def picture(path: Path, column: int) -> Path:
    """A mask whose one foreground column says which file it is."""
    pixels = np.zeros(SIZE, np.uint8)
    pixels[:, column] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def queries(root: Path, entries: Sequence[tuple[str, str, str]]) -> list[Query]:
    """Of (image below images/, target, wording)."""
    items = []
    for image, target, wording in entries:
        path = picture(root / "images" / image, 0)
        truth = picture(root / "masks" / target / image, 0)
        sample = Sample(
            id=f"{image} {target}", image_id=image, image_path=path, mask_paths=(truth,), target=target,
            prompts={"p1": (wording,)}, attributes=(), dataset="d", split="test", group=None, site=None, spacing=None,
            mask_value=None,
        )  # fmt: skip
        items.append(Prompted(sample, (wording,), "p1", frozenset({"class"})))
    return clean_queries(items)


def columns(files: MaskFiles, asked: Sequence[Query]) -> list[int]:
    image = np.zeros((*SIZE, 3), np.float32)
    return [int(prediction.mask[0].argmax()) for prediction in files.answer(image, asked)]


SITES = [("siteA/img0.png", "polyp", "polyp"), ("siteB/img0.png", "polyp", "polyp")]


MIRRORED = ["{}/img0.png", "{}_img0.png", "{}__img0.tif", "masks/{}/img0.png", "polyp/{}/img0.png",
            "{}/polyp/img0.png", "{}/img0__polyp.png", "{}-img0.png"]  # fmt: skip


@pytest.mark.parametrize("name", MIRRORED)
def test_folders_of_masks_mirror_those_of_the_images(name: str, tmp_path: Path) -> None:
    asked = queries(tmp_path / "d", SITES)
    for number, site in enumerate(("siteA", "siteB")):
        picture(tmp_path / "m" / name.format(site), number + 1)
    files = find_masks(tmp_path / "m", asked)
    assert columns(files, asked) == [1, 2]
    assert files.unused == ()


def test_masks_in_folders_answer_for_images_whose_names_were_joined(tmp_path: Path) -> None:
    asked = queries(tmp_path / "d", [("siteA_img0.png", "polyp", "polyp"), ("siteB_img0.png", "polyp", "polyp")])
    picture(tmp_path / "m" / "siteA" / "img0.png", 1)
    picture(tmp_path / "m" / "siteB" / "img0.png", 2)
    assert columns(find_masks(tmp_path / "m", asked), asked) == [1, 2]


def test_one_file_does_not_answer_for_two_images(tmp_path: Path) -> None:
    asked = queries(tmp_path / "d", SITES)
    picture(tmp_path / "m" / "img0.png", 1)
    with pytest.raises(InputError, match=r"would answer for 2 images \(siteA/img0.png and siteB/img0.png\)"):
        find_masks(tmp_path / "m", asked)


def test_one_file_does_not_answer_for_two_targets(tmp_path: Path) -> None:
    asked = queries(tmp_path / "d", [("a.png", "Polyp!", "x"), ("a.png", "polyp", "y")])
    picture(tmp_path / "m" / "a__polyp.png", 1)
    with pytest.raises(InputError, match=r"would answer for 2 targets"):
        find_masks(tmp_path / "m", asked)


@pytest.mark.parametrize("other", ["img0.tif", "siteA_img0.png", "IMG0.png"])
def test_two_files_for_one_image_are_an_error(other: str, tmp_path: Path) -> None:
    asked = queries(tmp_path / "d", SITES[:1])
    picture(tmp_path / "m" / "img0.png", 1)
    picture(tmp_path / "m" / other, 2)
    with pytest.raises(InputError, match=r"both answer for siteA/img0\.png"):
        find_masks(tmp_path / "m", asked)


def test_missing_masks_and_files_left_over_are_named(tmp_path: Path) -> None:
    asked = queries(tmp_path / "d", SITES)
    picture(tmp_path / "m" / "siteA" / "img0.png", 1)
    with pytest.raises(InputError, match=r"no mask for 1 of 2 prompts, e.g. siteB/img0.png with \"polyp\""):
        find_masks(tmp_path / "m", asked)
    picture(tmp_path / "m" / "siteB" / "img0.png", 2)
    picture(tmp_path / "m" / "siteC" / "img0.png", 3)
    (tmp_path / "m" / "notes.txt").write_text("by R2")
    (tmp_path / "m" / ".DS_Store").write_text("")
    assert find_masks(tmp_path / "m", asked).unused == ("notes.txt", "siteC/img0.png")


def test_a_folder_for_each_target(tmp_path: Path) -> None:
    asked = queries(tmp_path / "d", [("a.png", "left lung", "x"), ("a.png", "heart", "y")])
    picture(tmp_path / "m" / "left_lung" / "a.png", 1)
    picture(tmp_path / "m" / "heart" / "a.png", 2)
    assert columns(find_masks(tmp_path / "m", asked), asked) == [1, 2]


def test_a_listed_prediction_stands_for_its_own_image_and_prompt(tmp_path: Path) -> None:
    asked = queries(tmp_path / "d", [*SITES, ("b.png", "polyp", "Polyp")])
    rows = []
    for number, query in enumerate(asked):
        image = query.prompted.sample.image_path
        file = f"x/{number}.png"
        picture(tmp_path / "m" / file, number + 1)
        rows.append(
            {"image": str(image), "prompt": query.wording, "mask": "gone", "file": file, "presence": float("nan")}
        )
    path = tmp_path / "m" / "predictions.json"
    path.write_text(json.dumps(rows))
    files = find_masks(tmp_path / "m", asked)
    assert columns(files, asked) == [1, 2, 3]
    assert {presence for _, presence in files.found.values()} == {None}  # NaN is no score
    first = files.digest()
    picture(tmp_path / "m" / "x/0.png", 5)
    assert find_masks(tmp_path / "m", asked).digest() != first
    path.write_text(json.dumps(rows[:1]))  # the other images' files are there, but theirs is not said
    with pytest.raises(InputError, match=r"would answer for 2 images|no mask for"):
        find_masks(tmp_path / "m", asked)


def labelled(root: Path, targets: dict[str, int], truth: str = "case.png") -> list[Query]:
    """Two images whose truths are label maps; each target has its label in them."""
    items = []
    for number in (0, 1):
        image, mask = root / "images" / f"{number}_{truth}", root / "labels" / f"{number}_{truth}"
        values(image, [0])
        values(mask, [0, *targets.values()])
        for target, value in targets.items():
            sample = Sample(
                id=f"{number} {target}", image_id=str(number), image_path=image, mask_paths=(mask,), target=target,
                prompts={"p1": (target,)}, attributes=(), dataset="d", split="test", group=None, site=None,
                spacing=None, mask_value=value,
            )  # fmt: skip
            items.append(Prompted(sample, (target,), "p1", frozenset({"class"})))
    return clean_queries(items)


def values(path: Path, columns: Sequence[int]) -> None:
    """A file whose first columns have these values, the others 0."""
    pixels = np.zeros(SIZE, np.uint8)
    pixels[:, : len(columns)] = columns
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def answered(folder: Path, asked: Sequence[Query], name: str) -> list[list[int]]:
    """The foreground columns of each answer about the first image, in the order of its targets."""
    files = find_masks(folder, asked)
    image = np.zeros((*SIZE, 3), np.float32)
    first = [query for query in asked if query.prompted.sample.image_path.name == name]
    return [np.flatnonzero(one.mask[0]).tolist() for one in files.answer(image, first)]


def test_one_label_map_answers_for_each_of_its_labels(tmp_path: Path) -> None:
    asked = labelled(tmp_path / "d", {"organ": 1, "lesion": 2})
    for number, columns in enumerate(([2, 1, 1, 2], [0, 0, 1])):
        values(tmp_path / "m" / "organ" / f"{number}_case.png", columns)
        values(tmp_path / "m" / "lesion" / f"{number}_case.png", columns)
    assert answered(tmp_path / "m", asked, "0_case.png") == [[1, 2], [0, 3]]


def test_a_label_map_of_more_than_was_asked_about(tmp_path: Path) -> None:
    asked = labelled(tmp_path / "d", {"lesion": 2})
    for number, columns in enumerate(([1, 1, 2], [1])):
        values(tmp_path / "m" / f"{number}_case.png", columns)
    assert answered(tmp_path / "m", asked, "0_case.png") == [[2]]


@pytest.mark.parametrize("full", [2, 255])
def test_binary_files_for_one_label(full: int, tmp_path: Path) -> None:
    asked = labelled(tmp_path / "d", {"lesion": 2})
    for number in (0, 1):
        values(tmp_path / "m" / f"{number}_case.png", [0, full])
    assert answered(tmp_path / "m", asked, "0_case.png") == [[1]]


def test_grey_borders_are_no_labels(tmp_path: Path) -> None:
    """Resized or compressed answers about a label map's structure are not compared with its label value by value."""
    asked = labelled(tmp_path / "d", {"lesion": 2})
    for number in (0, 1):
        values(tmp_path / "m" / f"{number}_case.png", [2, 90, 255, 255, 254, 160, 1])
    assert answered(tmp_path / "m", asked, "0_case.png") == [[2, 3, 4, 5]]


def test_another_structures_label_is_not_taken_for_foreground(tmp_path: Path) -> None:
    """A model that found organs (1) and no lesion (2) at all: its files are not those of lesions saved as 0 and 1."""
    asked = labelled(tmp_path / "d", {"lesion": 2})
    for number in (0, 1):
        values(tmp_path / "m" / f"{number}_case.png", [0, 1, 1])
    with pytest.raises(InputError, match=r"hold 1 where the truth's label is 2: .* save them as 0 and 255"):
        find_masks(tmp_path / "m", asked)


def test_a_binary_file_does_not_answer_for_several_labels(tmp_path: Path) -> None:
    """Read by value, 0 and 255 would be two empty answers."""
    asked = labelled(tmp_path / "d", {"organ": 1, "lesion": 2}, "case_0000.png")
    for query in asked:  # nnU-Net's names: the image has a channel's number, the truth has not
        sample = query.prompted.sample
        object.__setattr__(sample, "mask_paths", (sample.mask_paths[0].with_name(f"{sample.image_id}_case.png"),))
    for number in (0, 1):
        values(tmp_path / "m" / f"{number}_case.png", [255, 255])
    with pytest.raises(InputError, match="hold 255, the truth's labels are 1, 2; write"):
        find_masks(tmp_path / "m", asked)


@pytest.mark.parametrize("written", [(1, 2), (2, 2), (1, 0), (0, 0)])
def test_label_maps_hold_the_truths_labels(written: tuple[int, int], tmp_path: Path) -> None:
    asked = labels(tmp_path, written)
    files = find_masks(tmp_path / "m", asked)
    found = [int(one.mask[0].sum()) for one in files.answer(np.zeros((*SIZE, 3), np.float32), asked)]
    assert (files.labelled, found) == (True, [written.count(1), written.count(2)])


@pytest.mark.parametrize("written", [(100, 200), (255, 255), (3, 0)])
def test_label_maps_of_other_labels_are_an_error_and_no_score_of_zero(written: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the truth's labels are 1, 2; write the truth's labels into them") as error:
        find_masks(tmp_path / "m", labels(tmp_path, written))
    assert "\n" not in str(error.value)


def labels(folder: Path, written: tuple[int, int]) -> list[Query]:
    """Queries for labels 1 and 2 of one image, and a file that holds two values for an answer."""
    truth = picture(folder / "d" / "labels" / "case_a.png", 0)
    asked = []
    for query, value in zip(queries(folder / "d", [("a.png", t, t) for t in ("liver", "spleen")]), (1, 2), strict=True):
        sample = replace(query.prompted.sample, mask_value=value, mask_paths=(truth,))
        asked.append(replace(query, prompted=replace(query.prompted, sample=sample)))
    pixels = np.zeros(SIZE, np.uint8)
    pixels[0, :2] = written
    (folder / "m").mkdir()
    Image.fromarray(pixels).save(folder / "m" / "case_a.png")
    return asked
