"""A table in a page: the same numbers as in its other forms, whatever its labels hold."""

import html
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from study_cells import evaluated

from vlseg.records.study import Cell, Hole, TableSpec
from vlseg.reports.published import published_table
from vlseg.reports.tables import Table, build_table, to_html
from vlseg.reports.tables.html import MOST_COLUMNS

INDIVIDUAL = "medvlsm/table2/individual"
ODD = ["a|b", "<i>&amp;", "é − ü", "\"q\" 'r'", "</table><script>x</script>"]
VOID = {"br", "meta"}


class Read(HTMLParser):
    """Rows of all tables by text; every tag must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.titles: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.titles += [value or "" for name, value in attrs if name == "title"]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data


def table(cells: list[Cell], holes: list[Hole] | None = None, **fields: Any) -> Table:
    return build_table(cells, TableSpec(**{"name": "t", **fields}), holes or [])


def seeded(mean: float, **own: Any) -> list[Cell]:
    return [evaluated(mean + shift, 0.01, seed=seed, **own) for seed, shift in enumerate((-0.005, 0.0, 0.005))]


def test_ours_published_and_difference_stand_under_each_other_with_the_source() -> None:
    text = to_html(table([*seeded(0.93), *seeded(0.7, data="busi")], published=INDIVIDUAL))
    (rows,) = Read(text).tables
    assert rows[0] == ["model", "", "busi", "kvasir-seg"]
    assert [row[-1] for row in rows[1:]] == ["93.00 (1.00)", "91.39 IMG", "+1.61"]
    assert rows[1][:2] == ["cris", "ours"]
    assert rows[2][0] == "published"
    published = published_table(INDIVIDUAL).find({"model": "cris", "data": "kvasir-seg"})
    assert published is not None
    assert published.source in Read(text).titles
    flagged = to_html(table(seeded(0.5), published=INDIVIDUAL))
    assert '<span class="sign">(!)</span>' in flagged
    assert '<span class="sign">(?)</span>' in to_html(table([evaluated(0.5)], published=INDIVIDUAL))


@pytest.mark.parametrize("odd", ODD)
def test_odd_words_stay_what_they_are(odd: str) -> None:
    hole = Hole(what=odd, why=f"{odd} is not there", labels={"model": odd, "data": "busi"})
    text = to_html(table([evaluated(0.5, model=odd)], [hole], title=odd, note=odd))
    read = Read(text)
    assert read.tables[0][1][0] == odd
    assert "<script>" not in text
    assert html.unescape(text).count(f"{odd} is not there") == 1


def test_a_hole_stands_in_its_place_with_its_reason() -> None:
    holes = [
        Hole(
            what="r", why="failed: out of memory in step 12 of the training", labels={"model": "cris", "data": "busi"}
        ),
        Hole(what="q", why="planned", labels={"model": "cris", "data": "camus"}),
    ]
    text = to_html(table([evaluated(0.5)], holes))
    (rows,) = Read(text).tables
    place = dict(zip(rows[0], rows[1], strict=True))
    assert place["camus"] == "planned"
    assert re.fullmatch(r"hole [a-z]", place["busi"])
    mark = place["busi"][-1]
    assert f'id="note-t-{mark}"' in text
    assert "failed: out of memory in step 12 of the training (r)" in text


def test_a_wide_table_is_cut_into_blocks_that_hold_every_number_once() -> None:
    count = 2 * MOST_COLUMNS + 1
    cells = [evaluated(i / 100, None, data=f"d{i:02}", model="early" if i < 5 else "late") for i in range(count)]
    tables = Read(to_html(table(cells))).tables
    assert len(tables) == 3
    assert max(len(rows[0]) for rows in tables) <= MOST_COLUMNS + 1
    found = {
        head: cell.split()[0] for rows in tables for row in rows[1:] for head, cell in zip(rows[0], row, strict=True)
        if head != "model" and cell
    }  # fmt: skip
    assert found == {f"d{i:02}": f"{i:.2f}" for i in range(count)}
    assert [row[0] for row in tables[1][1:]] == ["late"], "a block leaves out rows that have nothing in it"
    assert len(Read(to_html(table(cells[:MOST_COLUMNS]))).tables) == 1


def test_notes_that_the_page_has_said_are_left_out() -> None:
    made = table([evaluated(0.5)], note="Said already.")
    assert "Said already." in to_html(made)
    assert "Said already." not in to_html(made, said=["Said already."])


def test_a_table_without_a_cell_says_so() -> None:
    assert "No cell of the study belongs to this table." in to_html(table([]))
