"""Words measured on a mask and its image: size, number, location, shape, colour.

Size, number and location follow the rules by which MedVLSM's prompts were made (Poudel et al. 2024, released
annotation scripts); shape and colour are classical measures of our own, in place of a question-answering model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from vlseg.data.masks import Mask

Image = NDArray[np.float32]

LARGE, MEDIUM, TINY, SPECK = 0.30, 0.08, 0.001, 0.0001
"""Shares of the image's area: above LARGE, above MEDIUM, below TINY; a component up to SPECK has no size."""
SIZES = ("tiny", "small", "medium", "large")
CELL_SHARE = 0.10
"""A component is in a cell of the 3 x 3 grid when the cell holds this share of its pixels."""
ROWS, COLUMNS = ("top", "center", "bottom"), ("left", "center", "right")

ROUND, ELONGATED, SOLID = 1.25, 3.0, 0.88
"""Ratio of the axes below which a blob is round and above which it is elongated; area over convex hull's area
below which it is irregular."""

COLORS: Mapping[str, tuple[int, int, int]] = {
    "black": (20, 20, 20),
    "gray": (128, 128, 128),
    "white": (235, 235, 235),
    "red": (190, 40, 40),
    "pink": (225, 150, 150),
    "orange": (220, 120, 50),
    "yellow": (220, 200, 90),
    "brown": (120, 75, 50),
    "green": (70, 140, 70),
    "blue": (60, 90, 170),
    "purple": (130, 70, 140),
}
"""sRGB prototypes; the nearest in CIELAB gives the word."""


@dataclass(frozen=True, eq=False)
class Component:
    """One connected region: the (n,) rows and columns of its pixels, and its share of the image."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    share: float


def components(mask: Mask) -> list[Component]:
    """The 8-connected regions of a mask (H, W), from top to bottom."""
    labels, count = scipy.ndimage.label(mask, structure=np.ones((3, 3)))
    rows, columns = np.nonzero(labels)
    numbers = labels[rows, columns]
    order = np.argsort(numbers, kind="stable")
    ends = np.cumsum(np.bincount(numbers, minlength=count + 1)[1:])[:-1]
    parted = zip(np.split(rows[order], ends), np.split(columns[order], ends), strict=True)
    return [Component(down, across, len(down) / mask.size) for down, across in parted] if count else []


def size_words(mask: Mask) -> str | None:
    """E.g. "small" or, of several regions, "small, large"; None for an empty mask."""
    found = {_size(region.share) for region in components(mask) if region.share > SPECK}
    return ", ".join(size for size in SIZES if size in found) or None


def _size(share: float) -> str:
    return "large" if share > LARGE else "medium" if share > MEDIUM else "tiny" if share < TINY else "small"


def number_of_regions(mask: Mask) -> int:
    """Connected regions, specks included as in the published texts."""
    return len(components(mask))


def location_words(mask: Mask, *, published: bool = False) -> str | None:
    """E.g. "top left", or of several regions "left, center"; None for an empty mask.

    `published` gives the words of MedVLSM's BUSI prompts: there the columns of a box's centre are thirds of the
    image's height instead of its width (found by comparing texts with masks: of 100 images 96 agree so, 66 with the
    width; the other four have two lesions that touch), and a place is named once for each region.
    """
    places = [_location(region, (mask.shape[0], mask.shape[1]), published) for region in components(mask)]
    return ", ".join(places if published else dict.fromkeys(places)) or None


def _location(region: Component, size: tuple[int, int], published: bool) -> str:
    """The only cell that holds enough of the region, else the cell of its bounding box's centre."""
    (height, width), rows, columns = size, region.rows, region.columns
    cells = np.bincount((3 * rows // height) * 3 + 3 * columns // width, minlength=9)
    held = np.flatnonzero(cells >= CELL_SHARE * len(rows))
    if len(held) == 1:
        return _cell(int(held[0]) // 3, int(held[0]) % 3)
    row = 3 * (int(rows.min()) + int(rows.max())) // (2 * height)
    column = 3 * (int(columns.min()) + int(columns.max())) // (2 * (height if published else width))
    return _cell(min(row, 2), min(column, 2))


def _cell(row: int, column: int) -> str:
    if row == 1:
        return COLUMNS[column]
    return ROWS[row] if column == 1 else f"{ROWS[row]} {COLUMNS[column]}"


def shape_word(mask: Mask) -> str | None:
    """The largest region is "round", "oval", "elongated" or "irregular"; None for an empty mask.

    By the ratio of the axes of the ellipse of the same second moments, and the share of its convex hull that
    the region fills.
    """
    regions = components(mask)
    if not regions:
        return None
    largest = max(regions, key=lambda region: len(region.rows))
    rows, columns = largest.rows, largest.columns
    points = np.stack([rows, columns], axis=1).astype(np.float64)
    if len(points) < 5 or np.ptp(rows) == 0 or np.ptp(columns) == 0:
        return "elongated" if len(points) > 1 else "round"
    # A pixel is a square: its own second moment is 1/12. The hull goes through the middles of its sides; through
    # its corners, small round regions would seem to have dents.
    moments = np.linalg.eigvalsh(np.cov(points.T, bias=True) + np.eye(2) / 12)
    corners = np.concatenate([points + shift for shift in ((-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5))])
    solidity = len(points) / scipy.spatial.ConvexHull(corners).volume
    ratio = float(np.sqrt(moments[1] / moments[0]))
    if solidity < SOLID:
        return "irregular"
    return "round" if ratio < ROUND else "elongated" if ratio > ELONGATED else "oval"


def color_word(mask: Mask, image: Image) -> str | None:
    """The colour name nearest to the median colour of the image (H, W, 3 in [0, 1]) inside the mask; None if empty."""
    if not mask.any():
        return None
    median = np.median(image[mask], axis=0)
    names = list(COLORS)
    prototypes = _lab(np.array([COLORS[name] for name in names]) / 255)
    distance = np.linalg.norm(prototypes - _lab(median[None]), axis=1)
    return names[int(distance.argmin())]


def _lab(srgb: NDArray[np.floating]) -> NDArray[np.float64]:
    """CIELAB (D65) of sRGB in [0, 1], (n, 3) (IEC 61966-2-1, CIE 15)."""
    values = np.asarray(srgb, dtype=np.float64)
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    scaled = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883])
    root = np.where(scaled > (6 / 29) ** 3, np.cbrt(scaled), scaled / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * root[:, 1] - 16, 500 * (root[:, 0] - root[:, 1]), 200 * (root[:, 1] - root[:, 2])], axis=1)


MEASURES: Mapping[str, Callable[[Mask, Image], str | None]] = {
    "size": lambda mask, image: size_words(mask),
    "number": lambda mask, image: str(number_of_regions(mask)) if mask.any() else None,
    "location": lambda mask, image: location_words(mask),
    "shape": lambda mask, image: shape_word(mask),
    "color": color_word,
}
"""Measure by attribute; each gives None for an empty mask."""
REFERRING = frozenset({"size", "number", "location", "shape", "color"})
