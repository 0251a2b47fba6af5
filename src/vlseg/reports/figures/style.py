"""One hand for all figures: palette, typeface, sizes, and how a drawing becomes a `Figure`."""

import functools
import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot

from vlseg.records import replacing, write_text
from vlseg.reports.figures.inline import inline_svg
from vlseg.reports.figures.labels import printable, told_apart, wrapped

INK, PAPER = "#1b2430", "#fdfefe"
"""What stands for the page's own ink and paper while a figure is drawn; in files these colours themselves."""
BLUE, VERMILLION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
"""Of Okabe and Ito's palette what stands out from white and from a dark page alike (3:1 or more)."""
_IN_PAGE = {INK: "currentColor", PAPER: f"var(--paper,{PAPER})", BLUE: f"var(--mark,{BLUE})"}
"""In the page they follow its light or dark style sheet."""
SERIES: tuple[tuple[str, str, str], ...] = (
    (BLUE, "o", "-"),
    (VERMILLION, "s", "--"),
    (GREEN, "^", "-."),
    (PURPLE, "D", ":"),
    (INK, "v", "-"),
    (BLUE, "X", "--"),
    (VERMILLION, "P", "-"),
    (GREEN, "*", ":"),
)
"""Colour, marker and line of each series; no two share their marker, nor colour and line."""

WIDTH = 340.0
"""Of every figure, in points: a little less than a phone's page in px, so that text is about as large as it says."""
DPI = 240
SMALL, TEXT = 9.0, 9.5
FAMILIES = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif"
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "vlseg",
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "font.family": ["DejaVu Sans"],  # what comes with matplotlib: sizes are measured alike everywhere
    "font.size": TEXT,
    "axes.titlesize": TEXT,
    "axes.labelsize": TEXT,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "lines.linewidth": 1.5,
    "lines.markersize": 5.0,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.dpi": 72,
}


@dataclass(frozen=True)
class Figure:
    """One figure of a page.

    Attributes:
        name: of its files.
        caption: what is shown, and what was left out, in plain text.
        inline: an <svg> for the page. Its ink is the page's `color`, its paper the page's; it holds no id.
        wide: wider than a phone; it is scrolled there.
        plot: the drawing, for the files.
    """

    name: str
    caption: str
    inline: str
    wide: bool
    plot: Plot = field(repr=False, compare=False)

    def write(self, folder: Path) -> list[Path]:
        """NAME.svg and NAME.png in the folder, black on white; the same figure gives the same bytes.

        Raises:
            InputError: the folder cannot be written.
        """
        drawing, picture = folder / f"{self.name}.svg", folder / f"{self.name}.png"
        write_text(drawing, _svg(self.plot).replace("'DejaVu Sans'", FAMILIES))
        with replacing(picture) as temporary, _quiet(), mpl.rc_context(_STYLE):
            self.plot.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})
        return [drawing, picture]


P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw in this style, whatever the caller's own settings of matplotlib are."""

    @functools.wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return inside


def canvas(height: float, width: float = WIDTH) -> Plot:
    """An empty drawing, in points."""
    return Plot(figsize=(width / 72, height / 72))


def finish(plot: Plot, name: str, caption: str, label: str) -> Figure:
    """The drawing as a `Figure`.

    Args:
        plot: the drawing.
        name: what its files shall be called; what a file's name cannot hold becomes "-".
        caption: under it.
        label: read out in its place.
    """
    width = plot.get_figwidth() * 72
    # Wider ones are scrolled on a phone rather than shrunk to where nobody can read them.
    narrowest = 0 if width <= WIDTH else round(width)
    inline = inline_svg(_svg(plot), printable(label), colours=_IN_PAGE, widest=round(1.6 * width), narrowest=narrowest)
    file = re.sub(r"[^\w.+-]+", "-", name)[:100].strip(".-") or "figure"
    return Figure(file, printable(caption), inline, narrowest > 0, plot)


def _svg(plot: Plot) -> str:
    """No date and no software: the same numbers give the same bytes."""
    buffer = io.StringIO()
    with _quiet(), mpl.rc_context(_STYLE):
        plot.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


class _quiet(warnings.catch_warnings):  # noqa: N801
    """A name in a script that the measuring font lacks is still a name."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore", "Glyph .* missing from")


def series(index: int) -> dict[str, Any]:
    """Colour, marker and line of one series, as matplotlib's keywords."""
    colour, marker, line = SERIES[index % len(SERIES)]
    size = 7.0 if marker in "XP*" else 5.0
    return {"color": colour, "marker": marker, "linestyle": line, "markeredgecolor": PAPER, "markersize": size}


def rows(axes: Axes, labels: Sequence[str], width: int = 27) -> None:
    """Labels left of rows 0, 1, ... from the top, in up to two lines each."""
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    for row, lines in enumerate(told_apart(labels, width)):
        for number, line in enumerate(lines):
            below = -SMALL * 1.1 * (number - (len(lines) - 1) / 2)
            axes.annotate(
                line, (0, row), (-6, below), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
                ha="right", va="center", fontsize=SMALL, annotation_clip=False,
            )  # fmt: skip


def heading(axes: Axes, text: str) -> None:
    """What the upright axis measures, level and above it: nobody reads with the head on the shoulder."""
    axes.set_title(text, loc="left", pad=8)


def grid(axes: Axes, axis: Literal["x", "y", "both"]) -> None:
    """Faint lines along one axis."""
    axes.grid(axis=axis, color=INK, alpha=0.15, linewidth=0.6)
    axes.set_axisbelow(True)


def row_height(labels: Sequence[str], width: int = 27) -> float:
    """Of rows with these labels, in points: room for two lines where one needs them."""
    return 23.0 if any(len(wrapped(label, width)) > 1 for label in labels) else 15.0


def legend_below(plot: Plot) -> None:
    """The names of all labelled artists under the axes, side by side where they are short; none without any."""
    named: list[tuple[str, Artist]] = []
    for axes in plot.axes:
        before = {label for label, _ in named}  # a series of several panels is named once
        found = zip(*axes.get_legend_handles_labels(), strict=True)
        named += [(label, handle) for handle, label in found if label not in before]
    if not named:
        return
    labels = [one[0] for one in told_apart([label for label, _ in named], 46, lines=1)]
    longest = max(len(one) for one in labels)
    columns = max(1, min(len(labels), int(WIDTH / (5.3 * longest + 54))))
    plot.legend([handle for _, handle in named], labels, loc="outside lower left", ncols=columns, borderaxespad=0.2)


def unit(axes: Axes, axis: Literal["x", "y"]) -> None:
    """From 0 to 1, the same in every figure, so that they can be held against each other."""
    axes.set(**{f"{axis}lim": (-0.015, 1.015), f"{axis}ticks": (0, 0.25, 0.5, 0.75, 1)})
    axes.set(**{f"{axis}ticklabels": ("0", "0.25", "0.5", "0.75", "1")})


def contrast(first: str, second: str) -> float:
    """Of two colours "#rrggbb", from 1 to 21 (WCAG 2.2)."""
    dark, light = sorted(_luminance(one) for one in (first, second))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def beside(axes: Axes, row: float, text: str) -> None:
    """A number right of the axes, on its row."""
    axes.annotate(
        text, (1, row), (6, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
        ha="left", va="center", fontsize=SMALL, annotation_clip=False,
    )  # fmt: skip
