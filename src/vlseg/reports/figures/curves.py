"""Curves: training, risk over coverage, reliability, severities."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from vlseg.metrics import Effect, RiskCoverage
from vlseg.reports.figures.intervals import finite
from vlseg.reports.figures.style import (
    INK,
    SERIES,
    Figure,
    canvas,
    finish,
    grid,
    heading,
    legend_below,
    series,
    styled,
    unit,
)
from vlseg.reports.words.numbers import counted

MOST_POINTS, MOST_GREY = 200, 40
"""Of one curve, named or grey; of longer ones every second, third ... point is drawn, and the last."""

Points = Sequence[tuple[float, float]]


@styled
def learning_curves(
    histories: Sequence[tuple[str, Sequence[Mapping[str, float | None]]]], *, name: str = "learning-curves"
) -> Figure | None:
    """Training loss above, Dice on the val split below, over steps; None without any history.

    Args:
        histories: label and rows of history.csv ("step", "loss", "val_dice"; None = blank). Of more than eight runs
            the eight with the highest val Dice are named, the others grey.
        name: of the files.
    """
    known = [(run, rows) for run, rows in histories if any(finite(row.get("step")) for row in rows)]
    if not known:
        return None
    best = [max([y for _, y in _column(rows, "val_dice")], default=-1.0) for _, rows in known]
    named = sorted(sorted(range(len(known)), key=lambda one: -best[one])[: len(SERIES)])
    plot = canvas(320 + 13 * len(named))
    panels = dict(zip(("loss", "val_dice"), plot.subplots(2, 1, sharex=True), strict=True))
    for column, axes in panels.items():
        for index, (run, rows) in enumerate(known):
            _curve(axes, _column(rows, column), run, named.index(index) if index in named else None)
        grid(axes, "y")
    heading(panels["loss"], "training loss")
    heading(panels["val_dice"], "Dice on the val split")
    unit(panels["val_dice"], "y")
    panels["val_dice"].set_xlabel("step")
    panels["val_dice"].locator_params(axis="x", nbins=5)
    legend_below(plot)
    rest = len(known) - len(named)
    caption = "Training loss and Dice on the val split over training steps."
    caption += f" Named: the {len(named)} runs with the highest val Dice; grey: the other {rest}." if rest else ""
    top = best.index(max(best))
    gist = f"Learning curves of {counted(len(known), 'run')}"
    gist += f"; highest Dice on the val split {best[top]:.3f} ({known[top][0]})" if best[top] >= 0 else ""
    return finish(plot, name, caption, gist)


@styled
def risk_curves(curves: Sequence[tuple[str, RiskCoverage]], *, name: str = "risk-coverage") -> Figure | None:
    """Mean 1 - Dice of the cases kept over the share kept, one curve an evaluation; None without any.

    Args:
        curves: label and curve. Beyond eight the others are grey.
        name: of the files.
    """
    shown = [one for one in curves if len(one[1].coverage)]
    if not shown:
        return None
    plot = canvas(230 + 13 * min(len(shown), len(SERIES)))
    axes = plot.subplots()
    for index, (label, curve) in enumerate(shown):
        _curve(axes, list(zip(curve.coverage, curve.risk, strict=True)), label, _rank(index))
    unit(axes, "x")
    unit(axes, "y")
    axes.set_xlabel("share of cases kept, surest first")
    heading(axes, "mean 1 − Dice of those")
    grid(axes, "both")
    legend_below(plot)
    least = min(shown, key=lambda one: one[1].area)
    gist = f"Risk over coverage of {counted(len(shown), 'evaluation')}; smallest area {least[1].area:.3f} ({least[0]})"
    caption = "Lower is better; level: its uncertainty does not tell the bad answers from the good ones."
    return finish(plot, name, caption + _grey(len(shown)), gist)


@styled
def reliability(curves: Sequence[tuple[str, Sequence[Sequence[float]]]], *, name: str = "reliability") -> Figure | None:
    """Frequency of foreground over predicted probability, and below it the share of pixels in each bin; None without.

    Args:
        curves: label and points (mean probability, frequency, pixels). Beyond eight the others are grey.
        name: of the files.
    """
    shown = [(label, points) for label, points in curves if sum(one[2] for one in points) > 0]
    if not shown:
        return None
    plot = canvas(400 + 13 * min(len(shown), len(SERIES)))
    above, below = plot.subplots(2, 1, sharex=True, height_ratios=(2.6, 1))
    above.plot((0, 1), (0, 1), color=INK, alpha=0.5, linewidth=0.9)
    for index, (label, points) in enumerate(shown):
        pixels = sum(one[2] for one in points)
        _curve(above, [(one[0], one[1]) for one in points], label, _rank(index))
        _curve(below, [(one[0], one[2] / pixels) for one in points], label, _rank(index))
    unit(above, "y")
    unit(below, "y")
    below.set_yticks((0, 0.5, 1), ("0", "0.5", "1"))
    for axes, title in ((above, "frequency of foreground"), (below, "share of pixels")):
        unit(axes, "x")
        heading(axes, title)
        grid(axes, "both")
    below.set_xlabel("predicted probability")
    legend_below(plot)
    gist = f"Frequency of foreground over predicted probability of {counted(len(shown), 'evaluation')}"
    caption = "On the diagonal probabilities are frequencies; below it the model is too sure of foreground."
    return finish(plot, name, caption + _grey(len(shown)), gist)


@styled
def severities(effects: Mapping[tuple[str, int], Effect], clean: float, *, name: str = "severities") -> Figure | None:
    """Dice over severity, one line a corruption; None without any.

    Args:
        effects: by corruption and severity. Beyond eight corruptions the others are grey.
        clean: Dice of the images as they are, severity 0.
        name: of the files.
    """
    names = list(dict.fromkeys(one for one, _ in effects))
    known = {key: one.dice for key, one in effects.items() if finite(one.dice)}
    if not known:
        return None
    plot = canvas(240 + 13 * min(len(names), len(SERIES)))
    axes = plot.subplots()
    for index, corruption in enumerate(names):
        points = [(level, value or 0.0) for (one, level), value in sorted(known.items()) if one == corruption]
        _curve(axes, [(0, clean), *points] if finite(clean) else points, corruption, _rank(index))
    axes.set_xlabel("severity; 0: as it is")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    unit(axes, "y")
    heading(axes, "mean Dice")
    grid(axes, "y")
    legend_below(plot)
    worst = min(known, key=lambda one: known[one] or 0.0)
    gist = f"Mean Dice from {clean:.3f} under {counted(len(names), 'corruption')}"
    gist += f", lowest {known[worst]:.3f} ({worst[0]}, severity {worst[1]})"
    caption = "Dice with worse and worse images; the intervals of the changes are in the table."
    return finish(plot, name, caption + _grey(len(names)), gist)


def _rank(index: int) -> int | None:
    """Of a named series; None for those beyond."""
    return index if index < len(SERIES) else None


def _grey(number: int) -> str:
    return f" Grey: {number - len(SERIES)} more." if number > len(SERIES) else ""


def _curve(axes: Axes, points: Points, label: str, index: int | None) -> None:
    """One line, thinned, with some markers; grey and without a name where it has no index."""
    known = [one for one in points if finite(one[0]) and finite(one[1])]
    step = -(-len(known) // (MOST_GREY if index is None else MOST_POINTS)) or 1
    drawn = known[::step] + (known[-1:] if known and (len(known) - 1) % step else [])
    grey: dict[str, Any] = {"color": INK, "alpha": 0.22, "linewidth": 0.8}
    style = grey if index is None else series(index)
    every = max(1, len(drawn) // 6) if len(drawn) > 24 else 1
    axes.plot(
        [x for x, _ in drawn], [y for _, y in drawn], label=None if index is None else label,
        zorder=2 if index is None else 3 - index / 100, markevery=every, **style,
    )  # fmt: skip


def _column(rows: Sequence[Mapping[str, float | None]], name: str) -> Points:
    """Steps and values where both are known."""
    pairs = [(row.get("step"), row.get(name)) for row in rows]
    return [(x, y) for x, y in pairs if x is not None and y is not None and finite(x) and finite(y)]
