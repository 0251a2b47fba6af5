"""A table as LaTeX with booktabs."""

import re
from collections.abc import Sequence

from vlseg.reports.tables.layout import Layout, Line, Text, lay_out
from vlseg.reports.tables.table import Table

LONG = 45
"""Lines beyond which a table runs over pages (longtable)."""
WIDE = 75
"""Letters in a line, three more for each column, beyond which a table is made to fit the page."""

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\textasciigrave{}",
    "−": r"\ensuremath{-}",
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
    "≤": r"\ensuremath{\leq}",
    "≥": r"\ensuremath{\geq}",
    "–": "--",
    "—": "---",
}
"""What LaTeX would take for its own, or pdfLaTeX would not set. Other letters are left as they are."""


def to_latex(table: Table) -> str:
    """A floating table, or one that runs over pages where it is long; labelled tab:NAME.

    Letters outside the Latin alphabet need LuaLaTeX or XeLaTeX and a font that has them.
    """
    layout = lay_out(table)
    name = re.sub(r"[^A-Za-z0-9.-]", "-", table.frame.spec.name)
    caption = escape(table.frame.spec.title or table.frame.spec.name)
    body = (_long if len(layout.lines) > LONG else _short)(layout, caption, name)
    packages = {"booktabs": "toprule", "longtable": "{longtable}", "graphicx": "resizebox"}
    head = "".join(f"% \\usepackage{{{package}}}\n" for package, sign in packages.items() if sign in body)
    return head + body


def _short(layout: Layout, caption: str, name: str) -> str:
    rows = [r"\toprule", _heads(layout), r"\midrule", *_rows(layout), r"\bottomrule"]
    tabular = [f"\\begin{{tabular}}{{{_columns(layout)}}}", *rows, r"\end{tabular}"]
    if _is_wide(layout):
        tabular = [r"\resizebox{\linewidth}{!}{%", *tabular, "}"]
    parts = [r"\begin{table}[htbp]", r"\centering", f"\\caption{{{caption}}}\\label{{tab:{name}}}", r"\small"]
    parts += [f"\\textbf{{{escape(line)}}}\\par\\smallskip" for line in layout.above]
    return "\n".join([*parts, *tabular, *_notes(layout), r"\end{table}"]) + "\n"


def _long(layout: Layout, caption: str, name: str) -> str:
    parts = [
        "{" + (r"\tiny\setlength{\tabcolsep}{2pt}" if _is_wide(layout) else r"\small"),
        *(f"\\textbf{{{escape(line)}}}\\par" for line in layout.above),
        f"\\begin{{longtable}}{{{_columns(layout)}}}",
        f"\\caption{{{caption}}}\\label{{tab:{name}}}\\\\",
        *[r"\toprule", _heads(layout), r"\midrule", r"\endfirsthead"],
        *[r"\toprule", _heads(layout), r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot"],
        *_rows(layout),
        r"\end{longtable}",
    ]
    return "\n".join([*parts, *_notes(layout), "}"]) + "\n"


def _columns(layout: Layout) -> str:
    return "l" * len(layout.heads) + "r" * len(layout.columns)


def _is_wide(layout: Layout) -> bool:
    columns = zip(*(line.texts for line in layout.lines), strict=True)
    texts = [
        max([len(head), *(len(text.words) + len(text.marks) for text in inside)])
        for head, inside in zip(layout.columns, columns, strict=True)
    ]
    labels = [max(map(len, inside)) for inside in zip(*(line.labels for line in layout.lines), strict=True)]
    return sum(texts) + sum(labels) + 3 * (len(texts) + len(layout.heads)) > WIDE


def _heads(layout: Layout) -> str:
    return _row([*map(escape, layout.heads), *map(escape, layout.columns)])


def _rows(layout: Layout) -> list[str]:
    return [_row(_cells(layout, line)) for line in layout.lines]


def _cells(layout: Layout, line: Line) -> list[str]:
    what = [line.what] if len(layout.heads) > len(line.labels) else []
    return [*map(escape, line.labels), *what, *map(_cell, line.texts)]


def _row(cells: Sequence[str]) -> str:
    # A "[" right after "\\" would be taken for its argument.
    return " & ".join(f"{{{cell}}}" if cell.startswith("[") else cell for cell in cells) + r" \\"


def _cell(text: Text) -> str:
    words = escape(text.words)
    words = f"\\textbf{{{words}}}" if text.bold and words else words
    words = " ".join(filter(None, [words, text.sign]))
    marks = ",".join(text.marks)
    return f"{words}\\textsuperscript{{{marks}}}" if marks else words


def _notes(layout: Layout) -> list[str]:
    notes = [f"\\textsuperscript{{{mark}}} {escape(note)}" for mark, note in layout.footnotes]
    notes += map(escape, layout.notes)
    if not notes:
        return []
    return [
        r"\par\smallskip\noindent",
        r"\begin{minipage}{\linewidth}\raggedright\footnotesize",
        *_ended(notes),
        r"\end{minipage}",
    ]


def _ended(notes: Sequence[str]) -> list[str]:
    return [f"{note}\\par" for note in notes]


def escape(text: str) -> str:
    """As it is meant, on one line."""
    return "".join(SPECIAL.get(letter, letter) for letter in " ".join(text.split()))
