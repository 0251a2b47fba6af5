"""A table as HTML for a page: each block fits a screen and a sheet of paper."""

from collections.abc import Collection, Iterator, Sequence
from html import escape as quoted

from vlseg.reports.published import TAGS
from vlseg.reports.tables.layout import Layout, Line, Text, lay_out
from vlseg.reports.tables.table import Table

MOST_COLUMNS = 11
"""Columns of numbers side by side; a table of more is cut into blocks of about as many each."""
UPRIGHT = 8
"""Columns up to which a table fits a sheet of paper upright."""


def is_wide(table: Table) -> bool:
    """Whether it wants a sheet of paper on its side."""
    return len(table.columns) > UPRIGHT


def to_html(table: Table, *, said: Collection[str] = ()) -> str:
    """What must be read first, the table with its row labels as heads, footnotes and notes; no title.

    A published value has its source as its title, which the notes below name, too.

    Args:
        table: what to write.
        said: notes that stand elsewhere on the page.
    """
    layout = lay_out(table)
    name = quoted(table.frame.spec.name)
    title = quoted(table.frame.spec.title or table.frame.spec.name)
    parts = [f'<p class="warn">{escape(line)}</p>' for line in layout.above if line not in said]
    groups = _groups(layout.lines)
    for place, block in enumerate(_blocks(len(layout.columns)) if layout.lines else []):
        rows = [group for group in groups if any(_has(line, block) for line in group)]
        parts.append(
            f'<div class="scroll" role="region" aria-label="{title}, table {place + 1}" tabindex="0">'
            f'<table class="study-table">{_head(layout, block)}'
            + "".join(_body(group, block, name) for group in rows)
            + "</table></div>"
        )
    if layout.footnotes:
        notes = "".join(
            f'<li id="note-{name}-{mark}"><b>{mark}</b> {escape(note)}</li>' for mark, note in layout.footnotes
        )
        parts.append(f'<ul class="footnotes">{notes}</ul>')
    if notes := "".join(f"<li>{escape(note)}</li>" for note in layout.notes if note not in said):
        parts.append(f'<details><summary>Notes</summary><ul class="footnotes">{notes}</ul></details>')
    return "\n".join(parts)


def _blocks(columns: int) -> list[slice]:
    """Cuts of about equal width."""
    count = -(-columns // MOST_COLUMNS) or 1
    width = -(-columns // count) or 1
    return [slice(begin, begin + width) for begin in range(0, max(columns, 1), width)]


def _groups(lines: Sequence[Line]) -> list[list[Line]]:
    """The lines of each row of the table; those after the first have no labels."""
    groups: list[list[Line]] = []
    for line in lines:
        if groups and line.what and line.what != groups[-1][0].what and not any(line.labels):
            groups[-1].append(line)
        else:
            groups.append([line])
    return groups


def _has(line: Line, block: slice) -> bool:
    return any(text.words for text in line.texts[block])


def _head(layout: Layout, block: slice) -> str:
    heads = "".join(f'<th scope="col">{escape(head)}</th>' if head else "<td></td>" for head in layout.heads)
    columns = "".join(f'<th scope="col" class="number">{escape(one)}</th>' for one in layout.columns[block])
    return f"<thead><tr>{heads}{columns}</tr></thead>"


def _body(group: Sequence[Line], block: slice, name: str) -> str:
    rows = []
    for place, line in enumerate(group):
        labels = ""
        if place == 0:
            span = f' rowspan="{len(group)}"' if len(group) > 1 else ""
            labels = "".join(
                f'<th scope="row"{span}>{escape(label)}</th>' if label else f"<td{span}></td>" for label in line.labels
            )
        what = f'<td class="what">{escape(line.what)}</td>' if line.what else ""
        cells = "".join(f'<td class="number">{_cell(text, name)}</td>' for text in line.texts[block])
        rows.append(f'<tr class="{line.what or "ours"}">{labels}{what}{cells}</tr>')
    return f"<tbody>{''.join(rows)}</tbody>"


def _cell(text: Text, name: str) -> str:
    return " ".join(filter(None, _pieces(text, name)))


def _pieces(text: Text, name: str) -> Iterator[str]:
    if text.tag:
        value = escape(text.words.removesuffix(f" {text.tag}"))
        yield f'<span title="{quoted(text.source)}">{value}</span>'
        yield f'<abbr title="{quoted(TAGS[text.tag])}">{text.tag}</abbr>'  # type: ignore[index]
    elif text.words:
        words = escape(text.words)
        yield f"<b>{words}</b>" if text.bold else f'<span class="hole">{words}</span>' if text.hole else words
    if text.sign:
        yield f'<span class="sign">{text.sign}</span>'
    if text.marks:
        links = ",".join(f'<a href="#note-{name}-{mark}">{mark}</a>' for mark in text.marks)
        yield f"<sup>{links}</sup>"


def escape(text: str) -> str:
    """As it is meant, on one line."""
    return quoted(" ".join(text.split()))
