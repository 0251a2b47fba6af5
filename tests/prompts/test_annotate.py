"""Prompt names, provenance, and the truth of a prompt."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vlseg.data import read_dataset
from vlseg.prompts import annotate, describe, resolve_name, select, sources_of
from vlseg.records import Dataset, InputError

MakeDataset = Callable[..., Path]


def published(shared: Path, name: str) -> Dataset:
    return annotate(read_dataset(shared / "data" / "medvlsm_annotations" / name))


@pytest.mark.parametrize(
    ("name", "scheme", "targets"),
    [
        ("kvasir_polyp", "medvlsm-photo", {"polyp"}),
        ("bkai_polyp", "medvlsm-photo", {"polyp"}),
        ("isic", "medvlsm-photo", {"skin melanoma"}),
        ("dfu", "medvlsm-photo", {"foot ulcer"}),
        ("busi", "medvlsm-busi", {"breast tumor"}),
        ("camus", "medvlsm-camus", {"left ventricular cavity", "myocardium", "left atrium cavity"}),
    ],
)
def test_published_schemes_are_recognised(shared: Path, name: str, scheme: str, targets: set[str]) -> None:
    dataset = published(shared, name)
    assert dataset.info.scheme == scheme
    assert len(set(dataset.info.targets)) == len(targets)
    if name != "camus":
        assert set(dataset.info.targets) == targets


@pytest.mark.parametrize(
    ("name", "prompt", "sources"),
    [
        ("kvasir_polyp", "p1", {"class"}),
        ("kvasir_polyp", "class+shape+color+size+number+location", {"class", "mask"}),
        ("kvasir_polyp", "p7", {"class"}),
        ("bkai_polyp", "p1", {"class", "label"}),  # "no polyp" tells that the mask is empty
        ("busi", "class+presence", {"class", "label"}),
        ("busi", "p4", {"class", "label", "mask"}),
        ("camus", "p5", {"class", "metadata"}),
        ("camus", "p7", {"class", "metadata", "mask"}),
        ("chexlocalize", "p2", {"class", "metadata"}),
        ("chexlocalize", "p6", {"class", "label"}),
        ("dfu", "empty", {"none"}),
    ],
)
def test_published_provenance(shared: Path, name: str, prompt: str, sources: set[str]) -> None:
    assert sources_of(published(shared, name), prompt) == sources


def test_a_folder_called_busi_is_not_busi(make_dataset: MakeDataset) -> None:
    root = make_dataset("busi")
    (root / "dataset.json").unlink()
    dataset = annotate(read_dataset(root))
    assert dataset.info.scheme is None
    assert sources_of(dataset, "p1") == {"unknown"}
    assert sources_of(dataset, "p0") == {"none"}


def test_declared_sources_win(make_dataset: MakeDataset) -> None:
    dataset = annotate(read_dataset(make_dataset()))
    assert sources_of(dataset, "p2") == {"class", "user"}
    assert sources_of(dataset, "class") == {"class"}


def test_unknown_name_lists_the_known(make_dataset: MakeDataset) -> None:
    dataset = annotate(read_dataset(make_dataset()))
    with pytest.raises(InputError, match=r"known: class, empty, p0, p1, p2"):
        resolve_name(dataset, "p9")


def test_truth_of_a_prompt_is_the_union_of_what_satisfies_it(make_dataset: MakeDataset) -> None:
    root = make_dataset()
    path = root / "anns" / "test.json"
    entries = json.loads(path.read_text())
    for entry in entries:
        entry["prompts"]["p1"] = "disc"
        entry["target"] = "disc"
    path.write_text(json.dumps([*entries, entries[0]]))
    dataset = annotate(read_dataset(root))
    united = select(dataset, "p1", "test")
    assert len(united) == 3
    assert [len(item.sample.mask_paths) for item in united] == [2, 2, 2]
    assert united[0].sample.target == "disc"
    apart = select(dataset, "p2", "test")
    assert [len(item.sample.mask_paths) for item in apart] == [1] * 6
    nothing = select(dataset, "empty", "test")
    assert [item.sample.mask_paths for item in nothing] == [()] * 3
    assert nothing[0].wordings == ("",)


def test_empty_prompt_has_a_truth_where_there_is_one_target(shared: Path) -> None:
    dataset = annotate(read_dataset(shared / "data" / "busi_sample"))
    assert all(len(item.sample.mask_paths) == 1 for item in select(dataset, "p0", "test"))
    assert len(select(dataset, "p1", "test")) == 20


def test_describe(make_dataset: MakeDataset) -> None:
    rows = {row.name: row for row in describe(annotate(read_dataset(make_dataset())))}
    assert (rows["p2"].wordings, rows["p2"].max_words, rows["p2"].missing) == (4, 4, 0)
    assert rows["p1"].deployable
