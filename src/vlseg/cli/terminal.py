"""Sentences and tables on stdout: at most 100 columns, plain in a pipe.

Tables have no lines, so that a row can be searched for and cut; a row breaks only where the terminal is too narrow.
"""

from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

WIDTH = 100
"""Where stdout is no terminal, and at most."""


class Notes:
    """Why cells of a table lack something: each reason once, below the table."""

    def __init__(self) -> None:
        self._marks: dict[str, str] = {}

    def __call__(self, reason: str) -> str:
        """The mark of a reason, e.g. " (a)"; empty for none."""
        return f" ({self._marks.setdefault(reason, chr(ord('a') + len(self._marks)))})" if reason else ""

    def __str__(self) -> str:
        return "\n".join(f"({mark}) {reason}" for reason, mark in self._marks.items())


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Cells as they are given, below bold headings; columns without any text are left out."""
    used = [place for place in range(len(columns)) if any(row[place] for row in rows)]
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place in used:
        made.add_column(Text(columns[place]), overflow="fold")
    for row in rows:
        made.add_row(*(Text(row[place]) for place in used))
    return made


def shown(*parts: str | Table, then: Sequence[str] = ()) -> list[str]:
    """The lines of sentences and tables, a blank one between them; empty parts are left out.

    Args:
        parts: sentences, which break at words, and tables.
        then: lines that stay whole, e.g. a path that somebody will copy.
    """
    console = Console(highlight=False, markup=False, emoji=False)
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    blocks: list[list[str]] = []
    for part in parts:
        if part if isinstance(part, str) else part.row_count:
            blocks.append(_rendered(console, part))
    blocks += [list(then)] if then else []
    return [line for place, block in enumerate(blocks) for line in ([""] if place else []) + block]


def _rendered(console: Console, part: str | Table) -> list[str]:
    what: RenderableType = Text(part) if isinstance(part, str) else Padding(part, (0, 0, 0, 2))
    with console.capture() as captured:
        console.print(what)
    return [line.rstrip() for line in captured.get().rstrip("\n").split("\n")]
