"""Tables as spreadsheets save them are read rightly, or refused in one line."""

import io
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest

from vlseg.data.table import fit_rows, parse_table
from vlseg.records import Attribute, InputError

ROWS = [["file", "Patient", "Age:metadata", "split"], ["a.png", "P1", "61", "train"], ["b", "P2", "7", "Test"]]


def text(delimiter: str = ",", end: str = "\n") -> str:
    return end.join(delimiter.join(row) for row in ROWS) + end


def sheet(rows: list[list[object]]) -> bytes:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


SAVED: dict[str, Callable[[], bytes]] = {
    "plain": lambda: text().encode(),
    "byte order mark": lambda: text().encode("utf-8-sig"),
    "UTF-16": lambda: text("\t").encode("utf-16"),
    "semicolons, Windows lines": lambda: text(";", "\r\n").encode(),
    "tabs": lambda: text("\t").encode(),
    "Excel's sep": lambda: ("sep=;\n" + text(";")).encode(),
    "upper case": lambda: text().replace("file", "FILE").encode(),
    "filename": lambda: text().replace("file", "Filename").encode(),
    "trailing blanks": lambda: ("\n".join(", ".join([*row, "", ""]) for row in ROWS) + "\n,,,,,\n \n\n").encode(),
    "line numbers of pandas": lambda: "\n".join(
        ",".join([str(n) if n else "", *r]) for n, r in enumerate(ROWS)
    ).encode(),
    "xlsx": lambda: sheet([*ROWS, [None, None]]),
    "xlsx with numbers": lambda: sheet([ROWS[0], ["a.png", "P1", 61, "train"], ["b", "P2", 7.0, "test"]]),
}


@pytest.mark.parametrize("saved", SAVED)
def test_however_it_was_saved_it_says_the_same(saved: str) -> None:
    rows = parse_table(SAVED[saved](), "cases")
    assert [(name, row.group, row.split, row.attributes) for name, row in rows.items()] == [
        ("a", "P1", "train", (Attribute("age", "61", "metadata"),)),
        ("b", "P2", "test", (Attribute("age", "7", "metadata"),)),
    ]


REFUSED: dict[str, tuple[bytes, str]] = {
    "Latin-1": ("file,site\na,Malmö\n".encode("latin-1"), "UTF-8"),
    "two groups": (b"file,group,patient\na,1,2\n", "'group' and 'patient' mean the same"),
    "a column twice": (b"file,age,Age\na,1,2\n", "'age' and 'Age' mean the same"),
    "a line for Excel alone": (b"sep=", "no column 'file'"),
    "spacing nan": (b"file,spacing\na,0.5 nan\n", "spacing '0.5 nan' is not"),
    "spacing without end": (b"file,spacing\na,inf\n", "spacing 'inf' is not"),
    "name twice": (b"file\na.png\na.jpg\n", "line 3: 'a.jpg' stands there twice"),
    "no name": (b"file,site\n,x\n", "line 2: the column 'file' is empty"),
    "empty": (b"", "has no column 'file'"),
    "broken workbook": (b"PK\x03\x04nothing", "cannot be read as an Excel sheet"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_understood_is_one_line(case: str) -> None:
    content, message = REFUSED[case]
    with pytest.raises(InputError, match=message) as raised:
        parse_table(content, "cases.csv")
    assert "\n" not in str(raised.value)


def test_what_programs_write_for_nothing_is_an_empty_cell() -> None:
    """Patients called "nan" would all be one."""
    rows = parse_table(b"file,patient,spacing,age\na,nan,NaN,#N/A\nb,P1,0.5,61\n", "t")
    assert (rows["a"].group, rows["a"].spacing, rows["a"].attributes) == (None, None, ())
    with pytest.raises(InputError, match="'group' is empty for 'a'"):
        fit_rows("t", rows, {"a": "a.png", "b": "b.png"}, ())


def test_cells_may_hold_lines_and_delimiters() -> None:
    rows = parse_table(b'file,prompt:user\na,"a spot,\nbright"\nb,dark\n', "cases.csv")
    assert rows["a"].prompts == ("a spot,\nbright",)
    assert rows["b"].prompts == ("dark",)


def test_dots_belong_to_names() -> None:
    assert list(parse_table(b"file\nP1.2\nP1.3.png\n", "cases.csv")) == ["P1.2", "P1.3"]


IMAGES = {"1": "train/images/1.png", "x": "test/images/1.png", "2": "test/images/2.png"}


def fit(*names: str, others: tuple[str, ...] = ()) -> dict[str, str | None]:
    table = parse_table(("file,group\n" + "".join(f"{name},{name}\n" for name in names)).encode(), "t")
    return {key: row.group for key, row in fit_rows(Path("t"), table, IMAGES, others).items()}


def test_a_row_finds_its_image_by_the_end_of_its_path() -> None:
    found = fit("train/images/1.png", "test/images/1", "2")
    assert found == {"1": "train/images/1.png", "x": "test/images/1", "2": "2"}


def test_rows_of_images_that_are_not_used_are_passed_over() -> None:
    assert len(fit("train/images/1", "test/images/1", "2", "9", others=("test/images/9.png",))) == 3


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("images/1", "2"), "fits train/images/1.png and test/images/1.png"),
        (("train/images/1", "2"), "no line for image 'test/images/1'"),
        (("train/images/1", "test/images/1", "2", "images/2"), "test/images/2.png' stands there twice"),
        (("train/images/1", "test/images/1", "2", "3"), "'3' has no image"),
    ],
)
def test_rows_that_do_not_fit_are_one_line(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit(*names)
