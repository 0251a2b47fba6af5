"""Prompt names, provenance, and the truth of a prompt."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlseg.data import read_dataset
from vlseg.prompts import annotate, describe, resolve_name, select, sources_of, texts_of
from vlseg.records import Attribute, Dataset, DatasetInfo, InputError, Sample

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


def thing(number: int, **changes: Any) -> Sample:
    values: dict[str, Any] = {
        "id": f"s{number}", "image_id": "i", "image_path": Path("i.png"), "mask_paths": (Path(f"{number}.png"),),
        "target": "cyst", "prompts": {"p": ("cyst",), "q": ("cyst in the kidney",)}, "dataset": "d", "split": "test",
    }  # fmt: skip
    return Sample(**(values | changes))


def united(*samples: Sample, prompt: str = "p") -> Sample:
    (item,) = select(Dataset(DatasetInfo("d", Path(), Path()), samples), prompt, "test")
    return item.sample


def test_what_describes_one_of_several_objects_does_not_describe_their_union() -> None:
    size, kind = Attribute("size", "small", "mask"), Attribute("kind", "cyst", "user")
    first = thing(
        1, attributes=(size, kind, Attribute("side", "left", "mask"), Attribute("grade", "2", "metadata")),
        group="a", site="x", spacing=(1.0, 1.0), spacing_source="file",
    )  # fmt: skip
    second = thing(
        2, attributes=(Attribute("grade", "2", "mask"), kind, Attribute("size", "large", "mask")),
        group="a", site="y", spacing=(2.0, 2.0), spacing_source="file", prompts={"p": ("cyst",), "q": ("big cyst",)},
    )  # fmt: skip
    for pair in ((first, second), (second, first)):
        both = united(*pair)
        assert {(one.name, one.value, one.source) for one in both.attributes} == {
            ("kind", "cyst", "user"),
            ("grade", "2", "mask"),  # that the value agrees was seen in a mask
        }
        assert (both.group, both.site, both.spacing, both.spacing_source) == ("a", None, None, None)
        assert both.prompts == {"p": ("cyst",)}
        assert set(both.mask_paths) == {Path("1.png"), Path("2.png")}
    assert united(first).attributes == first.attributes


def test_two_labels_of_one_mask_are_not_one_truth() -> None:
    labels = [thing(n, mask_paths=(Path("map.png"),), mask_value=n) for n in (1, 2)]
    with pytest.raises(InputError, match=r"s1 and s2 have the same prompt 'cyst' but other labels \(1, 2\)"):
        united(*labels)
    assert united(*labels, prompt="empty").mask_paths == ()
    alike = [thing(n, mask_value=3) for n in (1, 2)]
    assert (united(*alike).mask_value, len(united(*alike).mask_paths)) == (3, 2)


def test_empty_prompt_has_a_truth_where_there_is_one_target(shared: Path) -> None:
    dataset = annotate(read_dataset(shared / "data" / "busi_sample"))
    assert all(len(item.sample.mask_paths) == 1 for item in select(dataset, "p0", "test"))
    assert len(select(dataset, "p1", "test")) == 20


def test_describe(make_dataset: MakeDataset) -> None:
    rows = {row.name: row for row in describe(annotate(read_dataset(make_dataset())))}
    assert (rows["p2"].wordings, rows["p2"].max_words, rows["p2"].missing) == (4, 4, 0)
    assert rows["p1"].deployable


def test_texts_of_all_splits_and_wordings(make_dataset: MakeDataset) -> None:
    root = make_dataset()
    file = root / "anns" / "train.json"
    entries = json.loads(file.read_text())
    entries[0]["prompts"]["p2"] = ["bright disc", "one bright thing"]
    del entries[1]["prompts"]["p2"]  # an entry without it is no fault here
    file.write_text(json.dumps(entries))
    dataset = annotate(read_dataset(root))
    usual = {"bright disc", "a bright round disc", "dark disc", "a dark round disc"}
    assert set(texts_of(dataset, "p2")) == usual | {"one bright thing"}
    assert len(texts_of(dataset, "p2")) == 5
    assert set(texts_of(dataset, "class")) == {"bright disc", "dark disc"}
    assert set(texts_of(dataset, "empty")) | set(texts_of(dataset, "p0")) == {""}
    with pytest.raises(InputError, match="p9"):
        texts_of(dataset, "p9")
