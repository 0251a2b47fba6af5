"""What every figure must hold, read from its drawing and its SVG."""

import itertools
import re
import warnings
import xml.etree.ElementTree as ET
from functools import cache

from matplotlib.font_manager import findfont, get_font

from vlseg.metrics import Comparison, Estimate
from vlseg.reports.figures import Figure

SVG = "{http://www.w3.org/2000/svg}"
ODD = ['a <b> & "c"', "$x_1$ 50 %", "多模态 пациент", "tab\tnew\nline \x07", "x" * 300, "a-very-long-name " * 12, ""]
"""Names that people give, and some that nobody should."""


def estimate(mean: float | None, half: float | None = 0.05) -> Estimate:
    if mean is None:
        return Estimate(None, None, None, 0, "no value is defined")
    return Estimate(mean, 0.1, None if half is None else (max(0, mean - half), min(1, mean + half)), 50)


def change(
    difference: float | None, half: float | None = 0.03, found: float | None = 0.05, family: int = 1
) -> Comparison:
    ends = None if half is None or difference is None else (difference - half, difference + half)
    return Comparison(difference, ends, 0.01, found, 50, 20, detectable_holm=found and 1.4 * found, family=family)


def checked(figure: Figure | None) -> Figure:
    """The figure, which is valid, without ids, in the page's ink, whole, and whose level labels do not touch."""
    assert figure is not None
    root = ET.fromstring(figure.inline)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert figure.caption
    for node in root.iter():
        assert not {"id", "class", "href"} & {name.rpartition("}")[2] for name in node.attrib}
        assert node.tag.removeprefix(SVG) in ("svg", "g", "path", "text", "tspan")
    assert "url(" not in figure.inline
    assert "font-family" not in figure.inline
    assert "#1b2430" not in figure.inline
    width = float(root.get("viewBox", "").split()[2])
    assert width >= 339
    narrowest = int(re.search(r"min-width:(\d+)px", figure.inline)[1])  # type: ignore[index]
    assert narrowest == (0 if width <= 341 else round(width))
    assert figure.wide == (narrowest > 0)
    _labels_apart(root)
    return figure


def _labels_apart(root: ET.Element) -> None:
    """No text leaves the drawing, no two level ones touch, in the typeface of their layout."""
    width, height = (float(one) for one in root.get("viewBox", "").split()[2:])
    level = [
        (node.text or "", _box(node)) for node in root.iter(f"{SVG}text") if "rotate" not in node.get("transform", "")
    ]
    for text, (left, low, right, high) in level:
        assert left >= 0, (text, left)
        assert right <= width, (text, right)
        assert low >= 0, (text, low)
        assert high <= height, (text, high)
    for (first, a), (second, b) in itertools.combinations(level, 2):
        across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        assert min(across, down) <= 0, (first, second)


def _box(node: ET.Element) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a level text's ink, in points."""
    style = node.get("style", "")
    size = float(re.search(r"font-size: ([\d.]+)px", style)[1])  # type: ignore[index]
    moved = re.match(r"translate\(([-\d.]+) ([-\d.]+)\)", node.get("transform", ""))
    x, y = (float(one) for one in (moved.groups() if moved else (node.get("x", ""), node.get("y", ""))))
    width, height, descent = _ink(node.text or "", size)
    left = x - {"middle": 0.5, "end": 1.0}.get(style.partition("text-anchor: ")[2].partition(";")[0], 0.0) * width
    return left, y - height + descent, left + width, y + descent


@cache
def _ink(text: str, size: float) -> tuple[float, float, float]:
    """Width, height, and what is below the line."""
    font = get_font(findfont("DejaVu Sans"))
    font.set_size(size, 72)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        font.set_text(text, 0.0)
    width, height = font.get_width_height()
    return width / 64, height / 64, font.get_descent() / 64


def texts(figure: Figure) -> list[str]:
    """All that is written in the page's drawing."""
    return [node.text or "" for node in ET.fromstring(figure.inline).iter(f"{SVG}text")]


def dots(figure: Figure, axes: int = 0) -> list[tuple[float, float]]:
    """Places of all single markers of one panel."""
    lines = [one for one in figure.plot.axes[axes].lines if len(one.get_xdata()) == 1]  # type: ignore[arg-type]
    return [(float(one.get_xdata()[0]), float(one.get_ydata()[0])) for one in lines]  # type: ignore[index]


def spans(figure: Figure, axes: int = 0) -> list[tuple[tuple[float, float], float]]:
    """Ends and row of all level lines of two points in one panel."""
    found = []
    for one in figure.plot.axes[axes].lines:
        x, y = one.get_xdata(), one.get_ydata()
        if len(x) == 2 and y[0] == y[1]:  # type: ignore[arg-type,index]
            found.append(((float(x[0]), float(x[1])), float(y[0])))  # type: ignore[index]
    return found
