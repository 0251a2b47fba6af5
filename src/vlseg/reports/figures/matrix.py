"""Trained on one dataset, scored on others."""

from collections.abc import Collection, Mapping, Sequence

import matplotlib as mpl
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from vlseg.reports.figures.intervals import finite
from vlseg.reports.figures.labels import told_apart
from vlseg.reports.figures.style import (
    INK,
    SMALL,
    WIDTH,
    Figure,
    canvas,
    contrast,
    finish,
    heading,
    row_height,
    rows,
    styled,
)
from vlseg.reports.words.numbers import counted

MAP = "cividis"
"""Even steps of lightness, made for colour-blind eyes (Nunez, Anderton and Renslow 2018)."""
_CELL, _LABELS = 40.0, 120.0
_FEWEST = 5
"""Room for so many datasets at least: a single cell does not fill the page."""


@styled
def domain_shift(
    runs: Sequence[tuple[str, Mapping[str, float | None], Collection[str]]],
    *,
    name: str = "domain-shift",
    measured: str = "mean Dice",
) -> Figure | None:
    """A matrix with its numbers: runs down, the datasets they were scored on across; None without any number.

    Colours run from 0 to 1 in every such figure. What was not scored is struck through.

    Args:
        runs: label, value by dataset, and the datasets it was trained on, whose cells have a frame.
        name: of the files.
        measured: what the numbers are.
    """
    datasets = list(dict.fromkeys(one for _, row, _ in runs for one in row))
    known = [(run, one, row[one]) for run, row, _ in runs for one in row if finite(row[one])]
    if not known:
        return None
    labels = [run for run, _, _ in runs]
    width = max(WIDTH, _LABELS + _CELL * len(datasets))
    plot = canvas(max(24.0, row_height(labels, 22)) * len(runs) + 105, width)
    axes = plot.subplots()
    rows(axes, labels, 22)
    for y, (_, row, seen) in enumerate(runs):
        for x, dataset in enumerate(datasets):
            _cell(axes, x, y, row.get(dataset), dataset in seen)
    axes.set(xlim=(-0.5, max(len(datasets), _FEWEST) - 0.5), ylim=(len(runs) - 0.45, -0.55))
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(datasets)), [one[0] for one in told_apart(datasets, 20, 1)])
    axes.tick_params(axis="x", length=0, rotation=35)
    for tick in axes.get_xticklabels():
        tick.set(ha="left", rotation_mode="anchor")
    axes.spines[:].set_visible(False)
    heading(axes, f"{measured}, scored on")
    holes = len(runs) * len(datasets) - len(known)
    caption = "Frames: data the run was trained on. " if any(set(seen) & set(row) for _, row, seen in runs) else ""
    caption += f"Struck through: not scored ({holes})." if holes else ""
    best, worst = max(known, key=lambda one: one[2] or 0), min(known, key=lambda one: one[2] or 0)
    gist = f"{measured} of {counted(len(runs), 'run')} on {counted(len(datasets), 'dataset')}, from {worst[2]:.2f} "
    gist += f"({worst[0]} on {worst[1]}) to {best[2]:.2f} ({best[0]} on {best[1]})"
    return finish(plot, name, caption.strip() or measured, gist)


def _cell(axes: mpl.axes.Axes, x: int, y: int, value: float | None, own: bool) -> None:
    corner = (x - 0.48, y - 0.46)
    if value is None or not finite(value):
        axes.add_patch(Rectangle(corner, 0.96, 0.92, facecolor="none", edgecolor=INK, alpha=0.6, linewidth=0.6))
        axes.plot((x - 0.48, x + 0.48), (y + 0.46, y - 0.46), color=INK, alpha=0.6, linewidth=0.6)
        return
    colour = to_hex(mpl.colormaps[MAP](min(max(value, 0.0), 1.0)))
    axes.add_patch(Rectangle(corner, 0.96, 0.92, facecolor=colour, linewidth=0))
    if own:
        axes.add_patch(Rectangle(corner, 0.96, 0.92, facecolor="none", edgecolor=INK, linewidth=1.8))
    text = max(("#000000", "#ffffff"), key=lambda one: contrast(one, colour))
    axes.text(x, y, f"{value:.2f}", ha="center", va="center", color=text, fontsize=SMALL)
