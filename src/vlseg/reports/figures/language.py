"""Does it read the prompt? Own words against other words."""

from collections.abc import Mapping, Sequence

import numpy as np

from vlseg.metrics import Effect, Estimate
from vlseg.reports.figures.intervals import finite, intervals, signed
from vlseg.reports.figures.labels import told_apart
from vlseg.reports.figures.style import (
    BLUE,
    GREEN,
    INK,
    PAPER,
    PURPLE,
    SERIES,
    SMALL,
    VERMILLION,
    Figure,
    canvas,
    finish,
    grid,
    heading,
    legend_below,
    row_height,
    rows,
    series,
    styled,
    unit,
)
from vlseg.reports.words.numbers import condition_name, counted

KINDS: dict[str, tuple[str, str, str]] = {
    "asks for something else": (VERMILLION, "s", "-"),
    "says less": (BLUE, "o", "--"),
    "says the same": (GREEN, "^", "-."),
    "another image": (PURPLE, "D", ":"),
}
_SAME = ("paraphrase", "typos", "language_", "shuffled")
_LESS = ("empty", "class_only", "without_", "random_")
_IMAGE = ("mean_image", "other_image")
_LINE = 11.0
"""Points between two labels."""


@styled
def language_slopes(effects: Sequence[Effect], *, name: str = "language-use") -> Figure | None:
    """Dice with the own words left, under each condition right; None without any condition that was scored.

    Dice is with the own target throughout, over the samples that the condition was put to: lines may start apart.

    Args:
        effects: of a probe.
        name: of the files.
    """
    found = [one for one in effects if finite(one.dice) and finite(one.original.difference)]
    if not found:
        return None
    found.sort(key=lambda one: -_right(one))
    plot = canvas(max(240.0, _LINE * 1.12 * len(found) + 60) + 28)
    axes = plot.subplots()
    unit(axes, "y")
    axes.set_xlim(-0.04, 2.15)
    axes.set_xticks((0, 1), ["own words", "other words"])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="x", length=0)
    heading(axes, "mean Dice with the own target")
    labels = [one[0] for one in told_apart([condition_name(one.name) for one in found], 25, 1)]
    height = plot.get_figheight() * 72 - 95
    places = spread([_right(one) for one in found], _LINE * 1.03 / height)
    axes.hlines((0, 0.25, 0.5, 0.75, 1), -0.04, 1, color=INK, alpha=0.15, linewidth=0.6, zorder=0)
    for kind, (colour, marker, line) in KINDS.items():
        if any(kind_of(one.name) == kind for one in found):
            axes.plot([], [], color=colour, linestyle=line, marker=marker, markeredgecolor=PAPER, label=kind)
    for one, label, place in zip(found, labels, places, strict=True):
        colour, marker, line = KINDS[kind_of(one.name)]
        left, right = _right(one) - (one.original.difference or 0.0), _right(one)
        axes.plot((0, 1), (left, right), color=colour, linestyle=line, marker=marker, markeredgecolor=PAPER)
        axes.plot((1.03, 1.13), (right, place), color=INK, alpha=0.6, linewidth=0.5)
        axes.plot(1.17, place, color=colour, marker=marker, markeredgecolor=PAPER, linestyle="none")
        axes.text(1.22, place, f"{right:.2f}  {label}", va="center", fontsize=SMALL)
    legend_below(plot)
    deepest = min(found, key=lambda one: one.original.difference or 0.0)
    gist = f"Dice with the own words and under {counted(len(found), 'condition')}; largest loss "
    gist += f"{condition_name(deepest.name)}: "
    gist += f"{_right(deepest) - (deepest.original.difference or 0):.3f} to {_right(deepest):.3f}"
    caption = "Each line starts at the Dice with the own words over the samples that the condition was put to."
    return finish(plot, name, caption, gist)


def kind_of(condition: str) -> str:
    """Which of KINDS a condition of a probe belongs to."""
    for kind, beginnings in zip(list(KINDS)[1:], (_LESS, _SAME, _IMAGE), strict=True):
        if condition.startswith(beginnings) and condition != "other_image_prompt":
            return kind
    return next(iter(KINDS))


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Places for labels near their values, at least `gap` apart, in the values' falling order, within 0 and 1.

    Least squares under the order: neighbours that would touch are moved as one block (pool adjacent violators).
    """
    blocks: list[tuple[float, int]] = []
    for index, value in enumerate(values):
        blocks.append((value + index * gap, 1))
        while len(blocks) > 1 and blocks[-1][0] > blocks[-2][0]:
            (b, m), (a, n) = blocks.pop(), blocks.pop()
            blocks.append(((a * n + b * m) / (n + m), n + m))
    flat = np.array([centre for centre, size in blocks for _ in range(size)])
    room = (len(values) - 1) * gap
    return [float(one) for one in np.clip(flat, min(room, 1), 1) - np.arange(len(values)) * gap]


def _right(one: Effect) -> float:
    return one.dice or 0.0


@styled
def attributes(
    probes: Sequence[tuple[str, Mapping[str, Mapping[str, Effect]]]], *, name: str = "attributes"
) -> Figure | None:
    """The change of Dice in points by attribute: a wrong value left, a random word right, each with its interval.

    The form of Poudel et al. (MIDL 2024). None without any change.

    Args:
        probes: label, and by attribute the effects "wrong", "random". Of more than eight the first eight are shown.
        name: of the files.
    """
    shown = probes[: len(SERIES)]
    names = list(dict.fromkeys(one for _, table in shown for one in table))
    found = [
        (kind, index, names.index(one), table[one][kind].original)
        for index, (_, table) in enumerate(shown)
        for one in table
        for kind in ("wrong", "random")
        if kind in table[one] and finite(table[one][kind].original.difference)
    ]
    if not found:
        return None
    plot = canvas(max(row_height(names, 15), 7.0 * len(shown) + 6) * len(names) + 72 + 13 * len(shown))
    panels = dict(zip(("wrong", "random"), plot.subplots(1, 2, sharex=True), strict=True))
    ends = [100 * end for *_, one in found for end in one.ci95 or (one.difference or 0.0,)]
    margin = 0.06 * (max(*ends, 0) - min(*ends, 0)) or 1.0
    for kind, axes in panels.items():
        rows(axes, names if kind == "wrong" else [""] * len(names), 15)
        axes.axvline(0, color=INK, linewidth=1)
        axes.set_xlim(min(*ends, 0) - margin, max(*ends, 0) + margin)
        axes.locator_params(axis="x", nbins=4)
        axes.set_xlabel("points of Dice")
        heading(axes, {"wrong": "wrong value", "random": "random word"}[kind])
        grid(axes, "x")
    for index, (label, _) in enumerate(shown if len(shown) > 1 else ()):
        panels["wrong"].plot([], [], **series(index) | {"linestyle": "none"}, label=label)
    for kind, index, row, one in found:
        style = series(index)
        place = row + (index - (len(shown) - 1) / 2) * 0.7 / len(shown)
        if one.ci95:
            panels[kind].plot([100 * end for end in one.ci95], (place, place), color=style["color"], linewidth=1.6)
        panels[kind].plot(100 * (one.difference or 0.0), place, **style | {"linestyle": "none"})
    legend_below(plot)
    kind, index, row, most = max(found, key=lambda one: abs(one[3].difference or 0.0))
    gist = f"Change of Dice by attribute; largest: {names[row]}, {kind}, {signed(100 * (most.difference or 0))} points"
    caption = "Change of Dice with the own target when one attribute of the prompt is changed; lines: 95 % intervals."
    caption += f" The first {len(shown)} of {len(probes)}." if len(probes) > len(shown) else ""
    return finish(plot, name, caption, gist)


def swapped_prompts(bars: Sequence[tuple[str, Estimate]], *, name: str = "swapped") -> Figure | None:
    """Dice with the own prompt, and with another object's held against either target.

    Args:
        bars: label and Dice, top to bottom.
        name: of the files.
    """
    return intervals(bars, name=name, measured="mean Dice")
