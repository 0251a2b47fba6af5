"""The data file against the notes that it was made from, read again: every number, both ways."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from papers_notes import DATA, READERS, Expected, Labels, Notes, Numbers, cells, key, number

from vlseg.data.cards import card_names
from vlseg.models.registry import known_models
from vlseg.records import InputError
from vlseg.reports.published import TAGS, PublishedTable, parse_published, published_keys, published_table


@pytest.fixture(scope="session")
def notes(shared: Path) -> Notes:
    path = shared / "reference" / "papers.md"
    if not path.exists():
        pytest.skip(f"{path.name}, which the data file was made from, is not in the reference data")
    return Notes(path.read_text(encoding="utf-8"))


def as_numbers(table: PublishedTable) -> dict[Labels, Numbers]:
    return {key(**c.labels): (c.value, c.std, c.ci95, c.others, c.tag) for c in table.cells}


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_every_number_is_that_of_the_notes_and_there_is_none_beside(
    notes: Notes, reader: Callable[[Notes], Expected]
) -> None:
    for name, expected in reader(notes).items():
        assert as_numbers(published_table(name)) == expected, name


def test_every_table_is_read_again(notes: Notes) -> None:
    assert sorted(name for reader in READERS for name in reader(notes)) == published_keys()


def test_what_measures_something_else_is_marked(notes: Notes) -> None:
    """By the names of the rows: test sets without their normal images, and which plot a row is of."""
    rows = [row for line in notes.lines if len(row := cells(line)) > 9 and re.search(r" (zs|ft)", row[1])]
    without = {DATA[row[0]] for row in rows if "no normals" in row[0]}
    assert without
    for name in ("zero-shot", "finetuned", "finetuned-rerun"):
        for cell in published_table(f"medvlsm/prompts/{name}").cells:
            assert (cell.differs is not None) == (cell.labels["data"] in without), cell
    assert sum("contradicted" in (c.note or "") for c in published_table("medvlsm/prompts/finetuned").cells) == 8


def test_the_numbers_that_the_notes_call_best_are_all_here(notes: Notes) -> None:
    """Section 6.3 repeats numbers of the other sections: what it has and they have not would be missing here."""
    known = {abs(cell.value) for name in published_keys() for cell in published_table(name).cells if cell.value}
    for row in notes.table("Set", "Best text-guided")[1:]:
        for text in re.findall(r"\d\d\.\d{1,2}\b", " ".join(row[1:])):
            assert number(text) in known, (row, text)


def test_names_are_those_of_vlseg() -> None:
    for name in published_keys():
        if name.startswith("medvlsm/"):
            for cell in published_table(name).cells:
                assert cell.labels["model"] in {*known_models(), "cited-sota"}
                assert cell.labels["data"] in card_names()


@pytest.mark.parametrize(
    ("key", "trained_on", "regime", "there"),
    [
        ("medvlsm/table2/individual", "kvasir-seg", "full", True),
        ("medvlsm/table2/individual", "busi", "full", False),
        ("medvlsm/table2/individual", "", "zero_shot", False),
        ("medvlsm/table2/pooled-all", "all", "full", True),
        ("medvlsm/table2/pooled-all", "kvasir-seg", "full", False),
        ("medvlsm/table2/pooled-all", "cvc-clinicdb", "full", False),
        ("medvlsm/prompts/zero-shot", "", "zero_shot", True),
        ("medvlsm/prompts/zero-shot", "kvasir-seg", "full", False),
    ],
)
def test_a_number_of_other_training_is_not_found(key: str, trained_on: str, regime: str, there: bool) -> None:
    labels = {"model": "cris", "data": "kvasir-seg", "asked": "p6", "trained_on": trained_on, "regime": regime}
    assert (published_table(key).find(labels) is not None) == there


def test_a_number_of_one_prompt_stands_beside_no_other_question() -> None:
    """Published models were asked with the prompt that they were trained with."""
    table = published_table("medvlsm/table2/individual")
    labels = {"model": "cris", "data": "kvasir-seg", "trained_on": "kvasir-seg", "regime": "full", "asked": "p6"}
    assert table.find({**labels, "prompt": "p6"}) is not None
    assert table.find({**labels, "prompt": "class"}) is None


def test_shares_are_found_as_numbers() -> None:
    table = published_table("lvit/shares/dice")
    labels = {"model": "lvit", "data": "qata-cov19"}
    whole, half = table.find({**labels, "label_share": "1.0"}), table.find({**labels, "label_share": "0.50"})
    assert whole is not None
    assert half is not None
    assert (whole.tag, half.tag) == ("README", "3RD")
    assert table.find({**labels, "label_share": "0.3"}) is None
    results = published_table("lvit/results/dice")  # of all labels
    assert results.find({**labels, "trained_on": "qata-cov19"}) is not None
    assert results.find({**labels, "trained_on": "qata-cov19", "label_share": "0.5"}) is None


def test_an_unknown_key_lists_near_ones_in_one_line() -> None:
    with pytest.raises(
        InputError, match=r"did you mean 'medvlsm/table2/individual'\?.*vlsm-adapter/table1/dice"
    ) as error:
        published_table("medvlsm/tabel2/individual")
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="unknown published table 'nobody/x'"):
        published_table("nobody/x")


def test_a_share_of_labels_is_not_a_share_of_images() -> None:
    """LViT's other images were there without a mask."""
    labels = {"model": "lvit", "data": "qata-cov19"}
    assert published_table("lvit/shares/dice").find({**labels, "label_share": "0.5", "share": "0.5"}) is None


SMALL = """
paper: P
tables:
  - {key: t, title: T, source: S, tag: IMG, metric: dice, unit: percent,
     columns: {data: [a, b]}, rows: [{labels: {model: m}, values: [1, 2]}]}
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("unit: percent", "unit: permille", "unit"),
        ("tag: IMG", "tag: SEEN", "tag"),
        ("values: [1, 2]", "values: [1, two]", "values"),
        ("values: [1, 2]", "values: [1, .nan]", "values"),
        ("values: [1, 2]", "values: [1, {value: null}]", "null with a reason"),
        ("values: [1, 2]", "values: [1, {value: 2, reason: x}]", "null with a reason"),
        ("values: [1, 2]", "values: [1, 2, 3]", "3 values in 2 columns"),
        ("data: [a, b]", "data: [a, a]", "two cells have the labels"),
        ("data: [a, b]", "data: [a, b], asked: [p1]", "different number"),
        ("title: T", "titel: T", "titel"),
        ("paper: P", "paper: [", "broken YAML"),
    ],
)
def test_a_wrong_data_file_is_refused(old: str, new: str, words: str) -> None:
    assert [cell.value for cell in parse_published(SMALL, "p")["p/t"].cells] == [1, 2]
    with pytest.raises(InputError, match=words):
        parse_published(SMALL.replace(old, new), "p")


def test_every_tag_is_explained_and_every_value_has_its_source() -> None:
    for name in published_keys():
        for cell in published_table(name).cells:
            assert cell.tag in TAGS
            assert ", " in cell.source
            assert not cell.source.startswith("several")
