"""A study's tables as files: markdown and LaTeX to read, CSV with every number."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from vlseg.records import write_text
from vlseg.records.study import Cell, Hole, TableSpec
from vlseg.reports.tables.build import build_table
from vlseg.reports.tables.latex import to_latex
from vlseg.reports.tables.markdown import to_markdown
from vlseg.reports.tables.table import Entry, Table
from vlseg.reports.tables.values import check_specs

INDEX = "index.md"
NUMBERS = (
    *(
        "metric",
        "scale",
        "mean",
        "range",
        "half_width",
        "n",
        "published",
        "published_low",
        "published_high",
        "published_std",
    ),
    *("tag", "source", "difference", "flagged", "best", "leaks", "hole", "notes"),
)
"""Columns of the CSV between the place's labels and the seeds' values; all numbers are as shown (times `scale`)."""


def write_tables(
    cells: Sequence[Cell], specs: Sequence[TableSpec], holes: Sequence[Hole], folder: Path, *, phantoms: bool = False
) -> list[Path]:
    """Write NAME.md, NAME.csv and NAME.tex of every table, and index.md with all of them, one after another.

    Each file is replaced whole; where a table cannot be made, none is touched. Other tables that are there go:
    their numbers are of an earlier state of the study.

    Args:
        cells: of the whole study.
        specs: its tables.
        holes: what was not done, and why.
        folder: where they go, as a rule STUDY/report/tables.
        phantoms: the data are made up, see `build_table`.

    Returns:
        The files written, the index last.

    Raises:
        InputError: see `check_specs` and `build_table`, or the folder cannot be written.
    """
    return write_built(build_tables(cells, specs, holes, phantoms=phantoms), folder)


def build_tables(
    cells: Sequence[Cell], specs: Sequence[TableSpec], holes: Sequence[Hole], *, phantoms: bool = False
) -> list[Table]:
    """All tables of a study, see `write_tables`.

    Raises:
        InputError: see `check_specs` and `build_table`.
    """
    check_specs(specs)
    return [build_table(cells, spec, holes, phantoms=phantoms) for spec in specs]


def write_built(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write tables that are made, see `write_tables`.

    Raises:
        InputError: the folder cannot be written.
    """
    pages = [to_markdown(table) for table in tables]
    texts: dict[str, str] = {}
    for table, page in zip(tables, pages, strict=True):
        name = table.frame.spec.name
        texts |= {f"{name}.md": page, f"{name}.csv": to_csv(table), f"{name}.tex": to_latex(table)}
    texts[INDEX] = "\n".join(["# Tables\n", *pages]) if pages else "# Tables\n\nThe study has no tables.\n"
    for name, text in texts.items():
        write_text(folder / name, text)
    for old in folder.glob("*.md"):
        files = [old.with_suffix(suffix) for suffix in (".md", ".csv", ".tex")]
        if old.name not in texts and all(file.is_file() for file in files):
            for file in files:
                file.unlink(missing_ok=True)  # another process may write the same tables
    return [folder / name for name in texts]


def to_csv(table: Table) -> str:
    """One line for each place that has anything, with every number; a number that is not there is empty."""
    frame = table.frame
    seeds = list(dict.fromkeys(run.seed for entry in table.entries.values() for run in entry.runs))
    folds = dict.fromkeys(
        (run.seed, fold) for entry in table.entries.values() for run in entry.runs for fold, _ in run.folds
    )
    names = ["table", *frame.row_labels, *frame.column_labels, *NUMBERS]
    names += [_seed(seed) for seed in seeds] + [f"{_seed(seed)} fold {fold}" for seed, fold in folds]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    for row in table.rows:
        for column in table.columns:
            entry = table.entries.get((row, column))
            if entry is None:
                continue
            by_seed = {run.seed: run.value for run in entry.runs}
            by_fold = {(run.seed, fold): value for run in entry.runs for fold, value in run.folds}
            values: list[object] = [frame.spec.name, *row, *column, *_numbers(table, entry)]
            values += [_exact(by_seed.get(seed)) for seed in seeds] + [_exact(by_fold.get(fold)) for fold in folds]
            writer.writerow(values)
    return out.getvalue()


def _numbers(table: Table, entry: Entry) -> list[object]:
    beside = entry.published
    ends = beside.ci95 if beside is not None and beside.ci95 is not None else (None, None)
    std = beside.std if beside is not None else None
    factor = entry.beside / beside.value if beside is not None and entry.beside and beside.value else 1.0
    notes = [*entry.notes, *(f"published: {note}" for note in entry.beside_notes)]
    return [
        *(table.frame.spec.metric, _exact(table.frame.scale)),
        *map(_exact, (entry.mean, entry.spread, entry.half_width)),
        "" if entry.n is None else entry.n,
        *(_exact(entry.beside), *(_exact(None if one is None else one * factor) for one in (*ends, std))),
        *((beside.tag, beside.source) if beside is not None else ("", "")),
        _exact(entry.difference),
        _judgement(entry),
        _word(None if entry.mean is None else entry.best),
        _word(entry.leaks),
        entry.hole,
        "; ".join(notes),
    ]


def _judgement(entry: Entry) -> str:
    if entry.difference is None:
        return ""
    return "not judged" if entry.flagged is None else _word(entry.flagged)


def _seed(seed: str) -> str:
    return f"seed {seed}" if seed else "no seed"


def _exact(value: float | None) -> str:
    """Twelve digits: what is lost to the binary form of a number times a hundred is not shown."""
    return "" if value is None else f"{value:.12g}"


def _word(value: bool | None) -> str:
    return "" if value is None else ("yes" if value else "no")
