"""Figures as data inside the page: learning curves and the language test."""

import io
from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from vlseg.metrics import Effect, Estimate, RiskCoverage
from vlseg.reports.load import RunOnDisk, data_uri

mpl.use("Agg")
COLOURS = ("#00798c", "#d1495b", "#edae49", "#66a182", "#2e4057", "#8d6a9f")
_KINDS = ("wrong value", "random word")


def learning_curves(runs: Sequence[RunOnDisk]) -> str | None:
    """Training loss and val Dice over steps, one colour per run, as a data URI; None without any history."""
    with_history = [run for run in runs if run.history]
    if not with_history:
        return None
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    loss_axes, dice_axes = figure.subplots(1, 2)
    for index, run in enumerate(with_history):
        colour = COLOURS[index % len(COLOURS)]
        for axes, column in ((loss_axes, "loss"), (dice_axes, "val_dice")):
            points = [(row["step"], row[column]) for row in run.history if row[column] is not None]
            if points:
                steps, values = zip(*points, strict=True)
                marker = "." if column == "val_dice" else None
                axes.plot(steps, values, color=colour, label=run.record.id, marker=marker, linewidth=1.4)
    loss_axes.set(xlabel="step", ylabel="training loss")
    dice_axes.set(xlabel="step", ylabel="val Dice", ylim=(0, 1))
    loss_axes.legend(frameon=False)
    for axes in (loss_axes, dice_axes):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    return _png(figure)


def language_test(bars: Sequence[tuple[str, Estimate]]) -> str:
    """Horizontal bars with intervals, as a data URI.

    Args:
        bars: label and Dice, top to bottom.
    """
    figure = Figure(figsize=(8, 0.6 * len(bars) + 0.9), layout="constrained")
    axes = figure.subplots()
    shown = list(reversed(bars))
    for position, (_, estimate) in enumerate(shown):
        mean = estimate.mean or 0.0
        axes.barh(position, mean, color=COLOURS[(len(shown) - 1 - position) % 3], height=0.6)
        if estimate.ci95 is not None:
            low, high = estimate.ci95
            axes.errorbar(mean, position, xerr=[[mean - low], [high - mean]], color="#222222", capsize=4)
        axes.text(max(mean, (estimate.ci95 or (0, 0))[1]) + 0.015, position, f"{mean:.3f}", va="center")
    axes.set_yticks(range(len(shown)), [label for label, _ in shown])
    axes.set(xlim=(0, 1.1), xlabel="mean Dice, 95 % interval")
    axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def forest(effects: Sequence[Effect]) -> str:
    """The change of Dice under each condition of a probe with its interval, as a data URI."""
    shown = [effect for effect in effects if effect.original.difference is not None][::-1]
    figure = Figure(figsize=(8, 0.26 * len(shown) + 0.9), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="#888888", linewidth=0.8)
    for position, effect in enumerate(shown):
        value = effect.original.difference or 0.0
        axes.plot(value, position, "o", color=COLOURS[0], markersize=4)
        if effect.original.ci95 is not None:
            axes.plot(effect.original.ci95, (position, position), color=COLOURS[0], linewidth=1.6)
    axes.set_yticks(range(len(shown)), [effect.name for effect in shown], fontsize=8)
    axes.set(xlabel="change of Dice with the own target, 95 % interval")
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def attribute_bars(probes: Sequence[tuple[str, Mapping[str, Mapping[str, Effect]]]]) -> str:
    """The change of Dice in points by attribute, wrong value left and random word right, as a data URI.

    Args:
        probes: label, and by attribute the effects "wrong", "random".
    """
    names = list(dict.fromkeys(name for _, table in probes for name in table))[::-1]
    figure = Figure(figsize=(9, 0.22 * len(names) * (len(probes) + 1) + 1.1), layout="constrained")
    height = 0.8 / len(probes)
    for axes, kind, title in zip(figure.subplots(1, 2, sharey=True), ("wrong", "random"), _KINDS, strict=True):
        axes.axvline(0, color="#888888", linewidth=0.8)
        for index, (label, table) in enumerate(probes):
            colour = COLOURS[index % len(COLOURS)]
            for position, name in enumerate(names):
                change = table[name][kind].original if name in table and kind in table[name] else None
                if change is None or change.difference is None:
                    continue
                place = position + 0.4 - height * (index + 0.5)
                axes.barh(place, 100 * change.difference, height=0.9 * height, color=colour)
                if change.ci95 is not None:
                    axes.plot([100 * end for end in change.ci95], (place, place), color="#222222", linewidth=1)
            axes.plot([], [], color=colour, linewidth=5, label=label)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set(xlabel="change of Dice in points, 95 % interval", title=title)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", frameon=False, fontsize=7)
    return _png(figure)


def risk_curves(curves: Sequence[tuple[str, RiskCoverage]]) -> str:
    """Mean 1 - Dice of the cases kept over the share kept, one curve an evaluation, as a data URI."""
    figure = Figure(figsize=(4.8, 3.4), layout="constrained")
    axes = figure.subplots()
    for index, (label, curve) in enumerate(curves):
        axes.plot(curve.coverage, curve.risk, label=label, color=COLOURS[index % len(COLOURS)], linewidth=1.4)
    axes.set(xlabel="share of cases kept, surest first", ylabel="mean 1 - Dice of those", xlim=(0, 1))
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def reliability(curves: Sequence[tuple[str, Sequence[Sequence[float]]]]) -> str:
    """Frequency of foreground over predicted probability, one curve an evaluation, as a data URI.

    Args:
        curves: label and points (mean probability, frequency, pixels).
    """
    figure = Figure(figsize=(4.2, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot((0, 1), (0, 1), color="#888888", linewidth=0.8)
    for index, (label, points) in enumerate(curves):
        colour = COLOURS[index % len(COLOURS)]
        axes.plot([p[0] for p in points], [p[1] for p in points], "o-", markersize=3, label=label, color=colour)
    axes.set(xlabel="predicted probability", ylabel="frequency of foreground", xlim=(0, 1), ylim=(0, 1))
    axes.legend(frameon=False, fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def severities(effects: Mapping[tuple[str, int], Effect], clean: float) -> str:
    """Dice over severity, one line a corruption, as a data URI. `clean` is severity 0."""
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    for index, name in enumerate(dict.fromkeys(name for name, _ in effects)):
        points = [(0, clean)] + [(level, effect.dice or 0.0) for (one, level), effect in effects.items() if one == name]
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, "o-", markersize=3, color=COLOURS[index % len(COLOURS)], label=name)
    axes.set(xlabel="severity", ylabel="mean Dice", ylim=(0, 1))
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    # No software tag and no date: the same numbers give the same page.
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    return data_uri("image/png", buffer.getvalue())
