"""`vlseg data check` in the terminal: the page's words, 100 columns wide."""

import io
import shutil
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vlseg.records import DatasetStatistics, Finding, Looked
from vlseg.reports.check_groups import Group, count_groups, group_findings, numbers_of
from vlseg.reports.check_sentences import first_sentences

WIDTH = 100
_HEADINGS = {"error": ("Errors", "bold red"), "warning": ("Warnings", "bold yellow"), "note": ("Notes", "bold")}
_DATASETS = 12
"""Datasets whose numbers are printed, at most."""


def check_lines(findings: Sequence[Finding], statistics: Sequence[DatasetStatistics], looked: Looked) -> list[str]:
    """Numbers, sentences, then each group: errors, warnings, notes."""
    terminal = sys.stdout.isatty()
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns) if terminal else WIDTH
    page = io.StringIO()
    console = Console(file=page, width=width, force_terminal=terminal, highlight=False, markup=False, emoji=False)
    groups = group_findings(findings, statistics)
    for one in statistics[:_DATASETS]:
        console.print(Text(numbers_of(one), "bold"))
    if len(statistics) > _DATASETS:
        console.print(f"{len(statistics) - _DATASETS:,} datasets more")
    console.print()
    for sentence in first_sentences(findings, statistics, looked):
        console.print(Text(sentence))
    for severity, (heading, style) in _HEADINGS.items():
        inside = [group for group in groups if group.severity == severity]
        if inside:
            console.print()
            console.print(Text(heading, style))
            for group in inside:
                console.print(Padding(_table(group), (0, 0, 0, 2)))
    console.print()
    console.print(Text(f"In all: {count_groups(groups)}."))
    return [line.rstrip() for line in page.getvalue().splitlines()]


def _table(group: Group) -> Table:
    """The title with the count, where and the code; below it what it is, kinds, examples and what to do."""
    told, only = group.count, group.parts[0] if len(group.parts) == 1 else None
    rows = [] if only else [f"{part.message}: {part.count:,}{_bracketed(part.where)}" for part in group.parts]
    if only:
        told += _bracketed("; ".join(one for one in (only.where, only.prompts) if one))
        rows += [only.message] if group.severity != "note" else []
    rows += [f"{group.more:,} kinds more"] if group.more else []
    rows += group.shared
    together = f"e.g. {'; '.join(group.examples)}"
    rows += [together] if len(together) < WIDTH - 4 else [f"e.g. {example}" for example in group.examples]
    rows += [f"To do: {group.about.mend.replace('`', '')}"] if group.about.mend else []
    below = Table.grid()
    below.add_column(width=2)
    below.add_column(overflow="fold")
    for row in rows:
        below.add_row("", Text(row))
    table = Table.grid()
    table.add_column(overflow="fold")
    table.add_row(Text.assemble((group.about.title, "bold"), f": {told}  ", (group.key, "dim")))
    table.add_row(below)
    return table


def _bracketed(where: str) -> str:
    return f" ({where})" if where else ""
