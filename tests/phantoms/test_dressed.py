"""Phantoms dressed as real datasets have the real ones' structure, and words that are true to their masks."""

import json
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlseg.data import load_mask, read_dataset, with_mask_max
from vlseg.data.cards import find_card
from vlseg.data.measure import components, location_words, size_words
from vlseg.phantoms import dressed_names, write_dressed
from vlseg.phantoms.dressed import draw
from vlseg.phantoms.dresses import DRESSES
from vlseg.phantoms.painting import canvas_of
from vlseg.phantoms.wording import in_words
from vlseg.prompts import annotate, select
from vlseg.records import SPLITS, Dataset, EvaluationSpec, InputError, read_record

NAMES = dressed_names()
ENOUGH = {"train": 24, "val": 12, "test": 12}
PUBLISHED = {
    "kvasir-seg": "kvasir_polyp",
    "cvc-clinicdb": "clinicdb_polyp",
    "bkai-igh": "bkai_polyp",
    "cvc-300": "cvc300_polyp_60_images",  # the folder cvc300_polyp holds CVC-ColonDB's lists
    "cvc-colondb": "colondb_polyp",
    "etis": "etis_polyp",
    "isic-2016": "isic",
    "dfuc-2022": "dfu",
    "camus": "camus",
    "busi": "busi",
    "chexlocalize": "chexlocalize",
}


@pytest.fixture(scope="module")
def dressed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    base = tmp_path_factory.mktemp("dressed")

    def made(name: str) -> Path:
        if not (base / name).exists():
            write_dressed(base / name, name, ENOUGH, size=48)
        return base / name

    return made


@pytest.fixture(scope="module")
def published(shared: Path) -> Callable[[str], Dataset]:
    folder = shared / "data" / "medvlsm_annotations"
    if not folder.is_dir():
        pytest.skip(f"{folder}: the published annotations are not there")
    return lambda name: annotate(read_dataset(folder / PUBLISHED[name]))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def says_absent(texts: tuple[str, ...]) -> bool:
    return texts[0].lower().startswith("no ")


def forms(dataset: Dataset, split: str) -> set[tuple[tuple[str, int], ...]]:
    """The kinds of entries that a split has: its prompt names, each with the number of its wordings."""
    return {tuple((key, len(texts)) for key, texts in one.prompts.items()) for one in dataset.split(split)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_structure_is_that_of_the_published_annotations(
    name: str, dressed: Callable[[str], Path], published: Callable[[str], Dataset]
) -> None:
    ours, theirs = annotate(read_dataset(dressed(name))), published(name)
    assert ours.info.scheme == theirs.info.scheme is not None
    assert ours.info.aliases == theirs.info.aliases
    assert ours.info.prompt_sources == theirs.info.prompt_sources
    absent_somewhere = False
    for split in SPLITS:
        if name == "camus" and split == "train":  # that list was never published
            continue
        own, real = ours.split(split), theirs.split(split)
        assert bool(own) == bool(real)
        assert forms(ours, split) == forms(theirs, split)
        assert {one.prompts["p1"] for one in own} <= {one.prompts["p1"] for one in real}
        absent = any(says_absent(one.prompts["p1"]) for one in own)
        assert absent == any(says_absent(one.prompts["p1"]) for one in real)
        absent_somewhere |= absent
        if own:
            several = [len(many) > 1.5 * len({one.image_id for one in many}) for many in (own, real)]
            assert several[0] == several[1] == (name in ("camus", "chexlocalize"))
    texts = [{one.prompts["p1"] for one in found.samples} for found in (ours, theirs)]
    assert texts[0] == texts[1]
    assert absent_somewhere == (name in ("busi", "bkai-igh"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_prompts_without_a_truth_are_those_of_the_published_annotations(
    name: str, dressed: Callable[[str], Path], published: Callable[[str], Dataset]
) -> None:
    """The empty prompt names none of an image's structures: a heart shows three, few chests show one finding alone."""

    def untold(dataset: Dataset) -> set[str]:
        return {
            key
            for key in dataset.info.aliases
            if not any(item.sample.mask_paths for item in select(dataset, key, "test"))
        }

    ours = untold(annotate(read_dataset(dressed(name))))
    assert ours == untold(published(name)) == ({"p0"} if name == "camus" else set())


@pytest.mark.parametrize("name", PUBLISHED)
def test_free_texts_are_not_those_of_the_published_annotations(
    name: str, dressed: Callable[[str], Path], published: Callable[[str], Dataset]
) -> None:
    def descriptions(dataset: Dataset) -> set[str]:
        texts = (text for one in dataset.samples for text in one.prompts.get("p7", ()))
        return {text.split(" which ")[1] for text in texts if " which " in text}

    ours, theirs = descriptions(read_dataset(dressed(name))), descriptions(published(name))
    assert len(ours) == len(theirs)
    assert not ours & theirs


@pytest.mark.parametrize("name", NAMES)
def test_the_structure_is_that_of_the_card(name: str, dressed: Callable[[str], Path]) -> None:
    card, dataset = find_card(name), annotate(read_dataset(dressed(name)))
    assert dataset.info.name == name
    assert dataset.info.targets == card.targets
    assert {one.target for one in dataset.samples} == set(card.targets)
    assert dataset.info.symmetries == card.symmetries
    assert [split for split in SPLITS if dataset.split(split)] == [s for s in SPLITS if card.counts.get(s)]
    groups = {split: {one.group for one in dataset.split(split)} - {None} for split in SPLITS}
    assert any(groups.values()) == ("unknown" not in card.groups)
    assert not groups["train"] & groups["test"]
    assert not groups["train"] & groups["val"]
    assert dataset.info.groups_known == (any(groups.values()) and name != "qata-cov19")
    keys = {key for one in dataset.samples for key in one.prompts}
    assert keys == (set(dataset.info.aliases) if name in PUBLISHED else {"empty", "class", "text"})
    if name not in PUBLISHED:
        assert dataset.info.prompt_sources["text"] == frozenset({"unknown"})


@pytest.mark.parametrize("name", NAMES)
def test_masks_and_words_agree(name: str, dressed: Callable[[str], Path]) -> None:
    dataset = with_mask_max(read_dataset(dressed(name)))
    assert dataset.info.mask_max == 255
    shapes = set()
    for one in dataset.samples:
        with Image.open(one.image_path) as picture:
            shapes.add(picture.size)
            size = (picture.height, picture.width)
        mask = load_mask(one, dataset.info, size)
        regions = len(components(mask))
        texts = {key: found[0] for key, found in one.prompts.items()}
        absent = "p1" in texts and texts["p1"].lower().startswith("no ")
        assert mask.any() != absent
        assert bool(absent) == any(a.value == "absent" for a in one.attributes) or name == "bkai-igh"
        longest = texts.get("text") or texts["p5" if name == "chexlocalize" else "p6"]
        if not absent and name != "camus":
            assert str(location_words(mask)) in longest
        if not absent and name not in ("camus", "chexlocalize"):
            said = longest.lower()
            assert re.search(rf"\b{in_words(regions)}\b", said)
            assert str(size_words(mask)) in said
    canvases = [canvas_of(48, ratio) for ratio in DRESSES[name].ratios]
    assert shapes == {(canvas.width, canvas.height) for canvas in canvases}


def test_the_sets_differ_and_so_do_their_images() -> None:
    pictures = [draw(name, "test", index).image.tobytes() for name in NAMES for index in range(3)]
    assert len(set(pictures)) == len(pictures)


@pytest.mark.parametrize("name", ["kvasir-seg", "camus", "chexlocalize", "busi", "qata-cov19"])
def test_same_seed_same_files_and_counts_change_no_image(name: str, tmp_path: Path) -> None:
    few, many = {"train": 2, "test": 1}, {"train": 5, "val": 2, "test": 3}
    for folder, counts, seed in (("a", many, 0), ("b", many, 0), ("c", few, 0), ("d", many, 1)):
        write_dressed(tmp_path / folder, name, counts, size=32, seed=seed)
    a, b, c, d = (contents(tmp_path / folder) for folder in "abcd")
    assert a == b
    pictures = {key: data for key, data in c.items() if key.startswith(("images", "masks"))}
    assert pictures
    assert all(a[key] == data for key, data in pictures.items())
    assert not {data for key, data in a.items() if key.startswith("images")} & set(d.values())


def test_the_heart_is_three_structures_that_do_not_overlap() -> None:
    for index in range(12):
        masks = np.stack([entry.mask for entry in draw("camus", "train", index, size=32).entries])
        assert masks.any(axis=(1, 2)).all()
        assert masks.sum(axis=0).max() == 1


def test_ten_findings_show_in_few_images_and_several_in_each() -> None:
    for split in SPLITS:
        for seed, start in product(range(5), range(4)):
            found = [
                [e.target for e in draw("chexlocalize", split, i, size=32, seed=seed).entries]
                for i in range(start, start + 6)
            ]
            assert {name for names in found for name in names} == set(find_card("chexlocalize").targets)
            assert [len(names) for names in found].count(1) in (1, 2)  # p0 has a truth on such images alone
            assert max(map(len, found)) <= 5
    masks = [e.mask for i in range(60) for e in draw("chexlocalize", "train", i, size=32).entries]
    assert all(mask.any() for mask in masks)


def test_wrong_requests(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown dataset to dress a phantom as 'kvasir'; did you mean"):
        write_dressed(tmp_path / "a", "kvasir")
    with pytest.raises(InputError, match="test: is 0, and cvc-300 has no other split"):
        write_dressed(tmp_path / "a", "cvc-300", {"train": 3, "test": 0})
    with pytest.raises(InputError, match="size: 16"):
        write_dressed(tmp_path / "a", "busi", size=16)
    assert not (tmp_path / "a").exists()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine").touch()
    with pytest.raises(InputError, match="not an empty folder"):
        write_dressed(tmp_path / "a", "busi")


def test_from_the_command_line_and_every_record_tells_that_it_is_made_up(
    tmp_path: Path, vlseg: Callable[..., Any]
) -> None:
    sets = {name: tmp_path / name for name in ("busi", "cvc-300")}
    for name, folder in sets.items():
        done = vlseg("data", "phantom", "--as", name, "--out", folder, "--size", 32, "--json")
        assert done.code == 0, done.err
        assert done.json["as"] == name
    assert done.json["entries"] == {"train": 0, "val": 0, "test": 6}
    shown = vlseg("data", "show", sets["busi"], "--json").json
    assert shown["generator"]["dressed"] == "busi"
    assert vlseg("data", "check", sets["busi"]).code == 0
    made = tmp_path / "texts"
    assert vlseg("prompts", "make", sets["busi"], "--out", made).code == 0
    assert json.loads((made / "dataset.json").read_text())["generator"] == shown["generator"]
    run = tmp_path / "run"
    flags = ("--set", "max_steps=1", "--set", "model_arguments={image_size: 32}", "--device", "cpu")
    done = vlseg("train", "--model", "clipseg-tiny", "--data", sets["busi"], "--prompt", "p6", "--out", run, *flags)
    assert done.code == 0, done.err
    done = vlseg("evaluate", run, "--data", sets["busi"], "--data", sets["cvc-300"], "--device", "cpu", "--json")
    assert done.code == 0, done.err
    assert read_record(run / "run.json").phantoms == ["busi"]
    spec = EvaluationSpec.read(Path(done.json["scores"]).parent / "spec.json")
    assert spec.phantoms == ["busi", "cvc-300"]
    page = tmp_path / "report.html"
    assert vlseg("report", run, "--out", page).code == 0
    text = page.read_text()
    assert "No score on them is one on a real dataset" in text
    assert "made up: busi, cvc-300<" in text
    assert text.count('<span class="small">made up</span>') == 2
    done = vlseg("data", "phantom", "--as", "busi", "--level", "hard", "--out", tmp_path / "x")
    assert (done.code, "--level" in done.err) == (2, True)
