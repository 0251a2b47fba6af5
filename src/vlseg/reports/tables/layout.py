"""A table as lines of cells, before markdown or LaTeX: up to three lines a row, footnotes by letter."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vlseg.reports.tables.entries import SHORT
from vlseg.reports.tables.table import Entry, Place, Table

OURS, PUBLISHED, DIFFERENCE = "ours", "published", "difference"
EMPTY_PLACE = "An empty place is no part of the study, or was not published."
SIGNS = {True: "(!)", False: "", None: "(?)"}


@dataclass(frozen=True)
class Text:
    """What stands in one place: words, their footnotes, and how they are set; `sign` is (!) or (?).

    `tag` and `source` are those of a published value; `hole` says that a result is missing.
    """

    words: str
    marks: tuple[str, ...] = ()
    bold: bool = False
    sign: str = ""
    tag: str = ""
    source: str = ""
    hole: bool = False


@dataclass(frozen=True)
class Line:
    """One line: the row's labels (empty where they stand above), what it is (or ""), and a text a column."""

    labels: Place
    what: str
    texts: tuple[Text, ...]


@dataclass(frozen=True)
class Layout:
    """`heads`: of the label columns, and of the column that says ours or published, where there is one."""

    above: tuple[str, ...]
    heads: tuple[str, ...]
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    footnotes: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


class _Footnotes:
    """Letters by note, in order of first use; what every cell has is a note of the table instead."""

    def __init__(self, table: Table) -> None:
        ours = [entry.notes for entry in table.entries.values() if entry.mean is not None]
        theirs = [entry.beside_notes for entry in table.entries.values() if entry.published is not None]
        self.common = [f"Every cell: {note}." for note in _shared(ours)]
        self.common += [f"Every published value: {note}." for note in _shared(theirs)]
        self._hidden = {*((OURS, note) for note in _shared(ours)), *((PUBLISHED, note) for note in _shared(theirs))}
        self.letters: dict[str, str] = {}

    def marks(self, notes: Iterable[str], whose: str) -> tuple[str, ...]:
        return tuple(
            self.letters.setdefault(note, letter(len(self.letters)))
            for note in dict.fromkeys(notes)
            if (whose, note) not in self._hidden
        )


def _shared(notes: Sequence[tuple[str, ...]]) -> list[str]:
    """What all of several have."""
    return [] if len(notes) < 2 else [note for note in notes[0] if all(note in others for others in notes)]


def letter(index: int) -> str:
    """A to z, then aa, ab and so on."""
    return (letter(index // 26 - 1) if index >= 26 else "") + chr(ord("a") + index % 26)


def lay_out(table: Table) -> Layout:
    """The table's lines with their footnotes."""
    footnotes = _Footnotes(table)
    frame = table.frame
    beside = any(entry.published is not None for entry in table.entries.values())
    lines = [line for row in table.rows for line in _lines(table, row, footnotes, beside)]
    notes = [*footnotes.common, *_legend(table)]
    if any(not text.words for line in lines for text in line.texts):
        notes.append(EMPTY_PLACE)
    return Layout(
        table.above,
        (*frame.row_labels, *(("",) if beside else ())),
        tuple(" / ".join(column) or " " for column in table.columns),
        tuple(lines),
        tuple((mark, note) for note, mark in footnotes.letters.items()),
        (*notes, *table.notes),
    )


def _legend(table: Table) -> list[str]:
    frame = table.frame
    spread = " In brackets the range over seeds, largest minus smallest."
    several = any(entry.spread is not None for entry in table.entries.values())
    times = "" if frame.scale == 1 else f", times {frame.scale:g}"
    return [f"Numbers: {frame.spec.metric}{times}, mean over seeds.{spread if several else ''}"]


def _lines(table: Table, row: Place, footnotes: _Footnotes, beside: bool) -> list[Line]:
    entries = [table.entries.get((row, column)) for column in table.columns]
    decimals = table.frame.decimals
    lines = [Line(row, OURS if beside else "", tuple(_ours(entry, decimals, footnotes) for entry in entries))]
    if not any(entry is not None and entry.published is not None for entry in entries):
        return lines
    blank = ("",) * len(row)
    lines.append(Line(blank, PUBLISHED, tuple(_published(entry, decimals, footnotes) for entry in entries)))
    if any(entry is not None and entry.difference is not None for entry in entries):
        lines.append(Line(blank, DIFFERENCE, tuple(_difference(entry, decimals) for entry in entries)))
    return lines


def _ours(entry: Entry | None, decimals: int, footnotes: _Footnotes) -> Text:
    if entry is None or (entry.mean is None and not entry.hole):
        return Text("")
    if entry.mean is None:
        if len(entry.hole) <= SHORT:
            return Text(entry.hole, footnotes.marks(entry.notes, ""), hole=True)
        return Text("hole", footnotes.marks([entry.hole, *entry.notes], ""), hole=True)
    spread = "" if entry.spread is None else f" ({number(entry.spread, decimals)})"
    return Text(number(entry.mean, decimals) + spread, footnotes.marks(entry.notes, OURS), bold=entry.best)


def _published(entry: Entry | None, decimals: int, footnotes: _Footnotes) -> Text:
    if entry is None or entry.published is None:
        return Text("")
    marks = footnotes.marks(entry.beside_notes, PUBLISHED)
    value = "?" if entry.beside is None else number(entry.beside, decimals)
    return Text(f"{value} {entry.published.tag}", marks, tag=entry.published.tag, source=entry.published.source)


def _difference(entry: Entry | None, decimals: int) -> Text:
    if entry is None or entry.difference is None:
        return Text("")
    return Text(number(entry.difference, decimals, sign=True), sign=SIGNS[entry.flagged])


def number(value: float, decimals: int, *, sign: bool = False) -> str:
    """With a true minus sign, and none before a zero."""
    text = f"{value:{'+' if sign else ''}.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")
