"""A table as markdown (GitHub's)."""

import re
from collections.abc import Sequence

from vlseg.reports.tables.layout import Layout, Text, lay_out
from vlseg.reports.tables.table import Table


def to_markdown(table: Table) -> str:
    """The title, what must be read first, the table, footnotes and notes."""
    layout = lay_out(table)
    spec = table.frame.spec
    parts = [f"## {escape(spec.title or spec.name)}", *(f"**{escape(line)}**" for line in layout.above)]
    if layout.lines:
        parts.append(_grid(layout))
    if layout.footnotes:
        parts.append("\n".join(f"- [{mark}] {escape(note)}" for mark, note in layout.footnotes))
    if layout.notes:
        parts.append("\n".join(f"- {escape(note)}" for note in layout.notes))
    return "\n\n".join(parts) + "\n"


def _grid(layout: Layout) -> str:
    heads = [escape(head) or " " for head in layout.heads]
    rows = [
        _row([*heads, *map(escape, layout.columns)]),
        _row([*["---"] * len(heads), *["---:"] * len(layout.columns)]),
    ]
    for line in layout.lines:
        what = [line.what] if len(layout.heads) > len(line.labels) else []
        rows.append(_row([*map(escape, line.labels), *what, *map(_cell, line.texts)]))
    return "\n".join(rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: Text) -> str:
    words = escape(text.words)
    words = f"**{words}**" if text.bold and words else words
    marks = "".join(f"[{mark}]" for mark in text.marks)
    return " ".join(filter(None, [words, text.sign, marks]))


def escape(text: str) -> str:
    """As it is meant, on one line: what markdown would take for its own is marked."""
    return re.sub(r"([\\`*_\[\]<>|~#])", r"\\\1", " ".join(text.split()))
