"""Dice under attack over the budget, one line a search."""

from collections.abc import Mapping

from vlseg.metrics import Estimate
from vlseg.reports.figures.intervals import finite
from vlseg.reports.figures.style import (
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

Curve = Mapping[float, Estimate]


@styled
def robustness(curves: Mapping[str, Curve], *, levels: bool, name: str = "attacks") -> Figure | None:
    """Mean Dice over epsilon, whiskers for 95 % intervals; None without any value.

    Args:
        curves: by search, then by epsilon in units of the image's range; 0 is the image as it is. Of more than eight
            the first ones are drawn.
        levels: epsilon in grey levels of 8 bits; else as it is.
        name: of the files.
    """
    drawn = dict(list(curves.items())[: len(SERIES)])
    known = [(label, one) for label, curve in drawn.items() for one in curve.values() if finite(one.mean)]
    if not known:
        return None
    scale = 255 if levels else 1
    plot = canvas(230 + 13 * len(drawn))
    axes = plot.subplots()
    for index, (label, curve) in enumerate(drawn.items()):
        points = [(value * scale, one) for value, one in sorted(curve.items()) if finite(one.mean)]
        means = [one.mean or 0.0 for _, one in points]
        style = series(index)
        axes.plot([x for x, _ in points], means, label=label, zorder=3 - index / 100, **style)
        for x, one in points:
            if one.ci95:
                axes.plot((x, x), one.ci95, color=style["color"], linewidth=1, alpha=0.7, zorder=2)
    axes.set_xlabel("epsilon, grey levels of 255; 0: as it is" if levels else "epsilon; 0: as it is")
    axes.locator_params(axis="x", nbins=6)
    unit(axes, "y")
    heading(axes, "mean Dice")
    grid(axes, "y")
    legend_below(plot)
    label, lowest = min(known, key=lambda one: one[1].mean or 0.0)
    gist = f"Mean Dice over epsilon under {counted(len(drawn), 'search', 'searches')}"
    gist += f", lowest {lowest.mean:.3f} ({label})"
    caption = "Dice under attack over the budget."
    caption += " Whiskers: 95 % intervals." if any(one.ci95 for _, one in known) else ""
    left = len(curves) - len(drawn)
    return finish(plot, name, caption + (f" Not drawn: {left} more." if left else ""), gist)
