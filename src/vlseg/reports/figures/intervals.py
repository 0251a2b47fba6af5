"""Values and differences as dots on lines, one row each."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from matplotlib.axes import Axes

from vlseg.metrics import Comparison, Estimate
from vlseg.reports.figures.style import (
    BLUE,
    INK,
    PAPER,
    Figure,
    beside,
    canvas,
    finish,
    grid,
    legend_below,
    row_height,
    rows,
    styled,
    unit,
)
from vlseg.reports.words.numbers import counted

MOST_ROWS = 60
"""More rows than that are cut: nobody reads them in a figure, and the table has them all."""

FAINT: dict[str, Any] = {"facecolor": (INK, 0.12), "edgecolor": (INK, 0.6), "linewidth": 0.6}

Span = tuple[float, float]


@styled
def intervals(
    values: Sequence[tuple[str, Estimate]],
    *,
    name: str = "intervals",
    measured: str = "mean Dice over present targets",
    lines: Mapping[str, float | None] | None = None,
    caption: str = "",
) -> Figure | None:
    """One row a value in [0, 1]: a dot with its 95 % interval; None without any value.

    Args:
        values: label and estimate, top to bottom. Of more than 60 the 30 highest and the 30 lowest are shown.
        name: of the files.
        measured: what the values are, on the axis.
        lines: upright lines to hold the values against, e.g. a ceiling, by what they are.
        caption: what stands before the reading aid.
    """
    known = [(label, one) for label, one in values if finite(one.mean)]
    if not known:
        return None
    shown, gap, cut = _ends(values)
    height = row_height([label for label, _ in shown])
    plot = canvas(height * len(shown) + 62)
    axes = plot.subplots()
    rows(axes, [label for label, _ in shown])
    if gap:
        axes.axhline(gap - 0.5, color=INK, alpha=0.5, linewidth=0.8)
    for row, (_, one) in enumerate(shown):
        dot(axes, row, one.mean, one.ci95, f"{one.mean:.3f}" if finite(one.mean) else "no value")
    axes.set_xlabel(measured)
    unit(axes, "x")
    grid(axes, "x")
    for index, (label, value) in enumerate((lines or {}).items()):
        if finite(value):
            style = (0, ((4, 2), (1, 1.5), (6, 2, 1, 2))[index % 3])
            axes.axvline(value, color=INK, linewidth=1, linestyle=style, label=f"{label}: {value:.3f}")
    legend_below(plot)
    best, worst = max(known, key=_mean), min(known, key=_mean)
    gist = f"{measured} of {counted(len(known), 'row')}, highest {best[0]} {_mean(best):.3f}"
    gist += f", lowest {worst[0]} {_mean(worst):.3f}" if len(known) > 1 else ""
    return finish(plot, name, " ".join(filter(None, [caption, _aid([one for _, one in shown]), cut])), gist)


@styled
def differences(
    values: Sequence[tuple[str, Comparison]],
    *,
    name: str = "differences",
    measured: str = "change of Dice in points",
    caption: str = "",
) -> Figure | None:
    """One row a paired difference, in points: a dot with its 95 % interval; behind it what was too small to be found.

    The grey bar reaches as far from zero as a difference must be to be found with 80 % power, after Holm's correction
    where the comparison belongs to a family. None without any difference.

    Args:
        values: label and comparison, top to bottom. Of more than 60 the 60 largest differences are shown.
        name: of the files.
        measured: on the axis.
        caption: what stands before the reading aid.
    """
    known = [one for one in values if finite(one[1].difference)]
    if not known:
        return None
    shown, cut = _largest(values)
    plot = canvas(row_height([label for label, _ in shown]) * len(shown) + 62)
    axes = plot.subplots()
    rows(axes, [label for label, _ in shown])
    reached = [0.0]
    for row, (_, one) in enumerate(shown):
        found = _detectable(one)
        if found is not None:
            axes.barh(row, 2 * found, left=-found, height=0.62, **FAINT)
        value = 100 * one.difference if finite(one.difference) else None
        ends = (100 * one.ci95[0], 100 * one.ci95[1]) if one.ci95 and value is not None else None
        dot(axes, row, value, ends, "no value" if value is None else signed(value))
        reached += [found or 0.0, -(found or 0.0), value or 0.0, *(ends or ())]
    axes.axvline(0, color=INK, linewidth=1)
    margin = 0.05 * (max(reached) - min(reached)) or 1.0
    axes.set(xlim=(min(reached) - margin, max(reached) + margin), xlabel=measured)
    axes.locator_params(axis="x", nbins=5)
    grid(axes, "x")
    if any(_detectable(one) is not None for _, one in shown):
        axes.barh(0, 0, **FAINT, label="too small to be found with 80 % power")
    legend_below(plot)
    most = max(known, key=lambda found: abs(found[1].difference or 0))
    gist = f"{measured} of {counted(len(known), 'row')}, largest {most[0]} {signed(100 * (most[1].difference or 0))}"
    return finish(
        plot, name, " ".join(filter(None, [caption, _aid([one for _, one in shown]), _grey(shown), cut])), gist
    )


def finite(value: float | None) -> TypeGuard[float]:
    """A number that can be drawn."""
    return value is not None and math.isfinite(value)


def signed(value: float) -> str:
    """One decimal with its sign; what rounds to nothing has none."""
    text = f"{value:+.1f}".replace("-", "−")
    return "0.0" if text[1:] == "0.0" else text


def dot(axes: Axes, row: float, value: float | None, ends: Span | None, text: str = "", colour: str = BLUE) -> None:
    """A value on its interval, filled where there is one, open where not; its text right of the axes."""
    if ends is not None:
        axes.plot(ends, (row, row), color=colour, linewidth=2, solid_capstyle="butt")
    if finite(value):
        face = colour if ends is not None else PAPER
        axes.plot(value, row, "o", markersize=6, color=face, markeredgecolor=colour, markeredgewidth=1.2)
    if text:
        beside(axes, row, text)


def _mean(one: tuple[str, Estimate]) -> float:
    return one[1].mean or 0.0


def _detectable(one: Comparison) -> float | None:
    """In points; after the correction where there is one."""
    found = one.detectable_holm if one.family > 1 else one.detectable
    return 100 * found if found is not None and finite(found) else None


def _aid(shown: Sequence[Estimate | Comparison]) -> str:
    bare = any(one.ci95 is None for one in shown)
    every = all(one.ci95 is None for one in shown)
    lines = "" if every else "Lines: 95 % intervals. "
    return lines + ("Open dots have none; the table says why." if bare else "")


def _grey(shown: Sequence[tuple[str, Comparison]]) -> str:
    known = [one for _, one in shown if _detectable(one) is not None]
    if not known:
        return ""
    families = sorted({one.family for one in known if one.family > 1})
    after = f", after Holm's correction over {' or '.join(map(str, families))}" if families else ""
    return f"Grey: true differences that would not be found with 80 % power{after}."


def _ends(values: Sequence[tuple[str, Estimate]]) -> tuple[list[tuple[str, Estimate]], int, str]:
    """All rows, or the highest and the lowest, the row where rows are left out (0: none), and a sentence on that."""
    if len(values) <= MOST_ROWS:
        return list(values), 0, ""
    ordered = sorted((one for one in values if finite(one[1].mean)), key=lambda one: -_mean(one))
    half = MOST_ROWS // 2
    if len(ordered) <= MOST_ROWS:
        return ordered, 0, f"Of {len(values)} rows the {len(ordered)} with a value, highest first; the table has all."
    rule = f"Of {len(values)} rows the {half} highest and, below the line, the {half} lowest; the table has all."
    return ordered[:half] + ordered[-half:], half, rule


def _largest(values: Sequence[tuple[str, Comparison]]) -> tuple[list[tuple[str, Comparison]], str]:
    if len(values) <= MOST_ROWS:
        return list(values), ""
    order = sorted(range(len(values)), key=lambda one: -abs(_size(values[one][1])))[:MOST_ROWS]
    return [values[one] for one in sorted(order)], (
        f"Of {len(values)} rows the {MOST_ROWS} with the largest differences; the table has all."
    )


def _size(one: Comparison) -> float:
    return one.difference if one.difference is not None and math.isfinite(one.difference) else 0.0
