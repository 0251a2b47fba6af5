"""A study's figures from what they show to their files."""

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vlseg.records import write_text
from vlseg.reports.figures import Figure, critical_difference, domain_shift, intervals, language_slopes, prompt_curves


@dataclass(frozen=True)
class Drawing:
    """A figure before it is drawn.

    Attributes:
        kind: what draws it.
        title: what it is of, among those of its kind.
        name: of its files.
        caption: what stands before the figure's own.
        rows: what it is drawn from, as its CSV has it.
        values: what `kind` takes.
    """

    kind: str
    title: str
    name: str
    caption: str
    rows: Sequence[Mapping[str, Any]]
    values: Mapping[str, Any] = field(default_factory=dict)


def write_figures(found: Sequence[Drawing], folder: Path) -> list[tuple[Drawing, Figure]]:
    """Draw those that have anything to show, each as svg, png and csv; files of an earlier state of the study go.

    Raises:
        InputError: the folder cannot be written.
    """
    figures: list[tuple[Drawing, Figure]] = []
    taken: set[str] = set()
    for drawing in found:
        figure = drawn(drawing)
        if figure is not None:
            figure = replace(figure, name=_free(figure.name, taken))
            taken.add(figure.name.lower())
            figure.write(folder)
            write_text(folder / f"{figure.name}.csv", to_csv(drawing.rows))
            figures.append((drawing, figure))
    kept = {figure.name for _, figure in figures}
    for old in folder.glob("*.csv"):
        files = [old.with_suffix(suffix) for suffix in (".svg", ".png", ".csv")]
        if old.stem not in kept and all(file.is_file() for file in files):
            for file in files:
                file.unlink(missing_ok=True)  # another process may write the same report
    return figures


def _free(name: str, taken: Collection[str]) -> str:
    """Another name where two labels become one file's."""
    found, number = name, 2
    while found.lower() in taken:
        found, number = f"{name}-{number}", number + 1
    return found


def drawn(one: Drawing) -> Figure | None:
    """The figure; None where there is nothing to show."""
    figure: Figure | None = DRAW[one.kind](**one.values, name=one.name)
    if figure is None:
        return None
    return replace(figure, caption=f"{one.caption} {figure.caption}".strip())


DRAW: Mapping[str, Any] = {
    "intervals": intervals,
    "ranks": critical_difference,
    "matrix": domain_shift,
    "prompts": prompt_curves,
    "slopes": language_slopes,
}


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The numbers of a figure; what is not there is empty."""
    out = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
