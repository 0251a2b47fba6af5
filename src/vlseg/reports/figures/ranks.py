"""The critical-difference diagram: methods over datasets."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from vlseg.metrics import Ranks
from vlseg.reports.figures.style import (
    BLUE,
    INK,
    PAPER,
    SMALL,
    Figure,
    beside,
    canvas,
    finish,
    grid,
    row_height,
    rows,
    styled,
)
from vlseg.reports.words.numbers import counted

_FIRST, _STEP = 36.0, 7.0
"""Points from the axes to the first bar, and from bar to bar."""


@styled
def critical_difference(found: Ranks, *, name: str = "critical-difference", measured: str = "Dice") -> Figure | None:
    """Average ranks as dots, the best above; bars at the right join methods that cannot be told apart.

    Demsar's diagram with a row a method, so that names have room. None where there is nothing to show: `found.reason`
    says why.

    Args:
        found: of `metrics.compare_ranks`.
        name: of the files.
        measured: what the ranks are of.
    """
    if found.reason is not None or found.critical_difference is None:
        return None
    size = len(found.methods)
    plot = canvas(row_height(found.methods) * (size + 1) + 52)
    axes = plot.subplots()
    rows(axes, found.methods)
    axes.set(ylim=(size - 0.4, -1.6), xlim=(0.95, max(size, 1 + found.critical_difference) + 0.05))
    axes.set_xlabel(f"average rank of {measured} over {counted(found.n_datasets, 'dataset')}, 1 is best")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    grid(axes, "x")
    for row, rank in enumerate(found.ranks):
        axes.plot((1, rank), (row, row), color=INK, alpha=0.25, linewidth=0.8)
        axes.plot(rank, row, "o", color=BLUE, markeredgecolor=PAPER, markersize=7)
        beside(axes, row, f"{rank:.2f}")
    reach = (1, 1 + found.critical_difference)
    axes.plot(reach, (-1, -1), color=INK, linewidth=1, marker="|", markersize=7)
    axes.annotate(
        f"critical difference {found.critical_difference:.2f}", (1, -1), (0, 4), textcoords="offset points",
        ha="left", va="bottom", fontsize=SMALL,
    )  # fmt: skip
    for column, joined in enumerate(found.alike):
        _bar(plot, axes, column, found.methods.index(joined[0]), found.methods.index(joined[-1]))
    return finish(plot, name, _caption(found), _gist(found, measured))


def _bar(plot: Plot, axes: Axes, column: int, first: int, last: int) -> None:
    """A bar right of the axes, over the rows from first to last."""
    points = ScaledTranslation((_FIRST + column * _STEP) / 72, 0, plot.dpi_scale_trans)
    axes.plot(
        (1, 1), (first - 0.3, last + 0.3), color=INK, linewidth=3, solid_capstyle="butt", clip_on=False,
        transform=axes.get_yaxis_transform() + points, label=f"_alike {first} {last}",
    )  # fmt: skip


def _caption(found: Ranks) -> str:
    p = "< 0.001" if found.p is not None and found.p < 0.001 else f"= {found.p:.3f}"
    test = f"Friedman's test (Iman and Davenport's F) over {found.n_datasets} datasets: p {p}."
    if found.p is not None and found.p >= found.alpha:
        return f"{test} No method can be told from another at {found.alpha:g}."
    test += " Bars join methods that" if found.alike else " All methods"
    words = "cannot be told apart" if found.alike else "can be told apart"
    return f"{test} {words} (Nemenyi's test at {found.alpha:g})."


def _gist(found: Ranks, measured: str) -> str:
    best = f"{found.methods[0]} {found.ranks[0]:.2f}"
    return (
        f"Average ranks of {measured} of {counted(len(found.methods), 'method')}, best {best}, "
        f"critical difference {found.critical_difference:.2f}"
    )
