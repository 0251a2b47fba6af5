"""Masks as outlines: data of an SVG path in whole units of a grid that fits any page."""

from collections.abc import Iterator
from typing import cast

import contourpy
import numpy as np
from numpy.typing import NDArray

from vlseg.records.pictures import GRID

Points = NDArray[np.float64]

FINEST, LATEST = 0.7, 1.0
"""Tolerances of the simplification in units: the one to begin with, and the one up to which bytes are saved."""
WANTED, MOST = 1_500, 24_000
"""Bytes of an outline: what the tolerance is raised for, and what no outline exceeds."""
SIDES = (1024, 512, 256, 128, 64, 32)
"""Pixels of the longer side at which a mask is traced, at most; the first unless the outline exceeds MOST."""
LEVEL = 0.49
"""Of contours: below a half, where pixels that touch at their corners are joined, as thin vessels are drawn."""
EDGES, SHORTEST = 150_000, 10
"""Edges of pixels on the border beyond which a mask is noise, and bytes of a ring: more is not traced so finely."""


def grid_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Width and height, in units, of an image (H, W, ...): the longer one GRID, the shorter one at least 1."""
    longer = max(shape[:2])
    return max(1, round(GRID * shape[1] / longer)), max(1, round(GRID * shape[0] / longer))


def outline(mask: NDArray[np.bool_]) -> str:
    """The border of a mask as data of an SVG path, "M3 4l5 0l0 7z", on the grid of `grid_size`.

    A ring for each part and for each hole, for the even-odd rule, each a move to its first point and relative moves
    from there in whole units. The border and the path are nowhere farther than two units from each other, but that
    holes of less than two units may be left out. No part vanishes: a smaller one is a square of one unit, a thinner one
    may be a line that goes back on itself. A mask that reaches the image's edge is closed along it. Outlines that would
    exceed MOST bytes (hundreds of parts, noise) are those of a coarser mask whose near parts run together.

    Args:
        mask: (H, W), of the image's own size.
    """
    if not mask.any():
        return ""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    inside = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    for side in SIDES:
        data = _traced(inside, (int(columns[0]), int(rows[0])), mask.shape, side)
        if data is not None:
            return data
    raise AssertionError(f"{SIDES[-1]} pixels a side have no outline beyond {MOST} bytes")


def _traced(mask: NDArray[np.bool_], corner: tuple[int, int], shape: tuple[int, ...], side: int) -> str | None:
    """The outline of a mask traced at `side`; None where it would exceed MOST bytes.

    Args:
        mask: the part of the image's mask that holds all of it.
        corner: its left and top in the image.
        shape: of the image.
        side: about the pixels of the image's longer side.
    """
    mask, step = _at_side(mask, max(shape), side)
    if _edges(mask) > EDGES:
        return None
    framed = np.pad(mask, 1).astype(np.float64)
    tracer = contourpy.contour_generator(z=framed, name="serial", line_type=contourpy.LineType.Separate)
    lines = cast(list[Points], tracer.lines(LEVEL))
    if len(lines) * SHORTEST > MOST:
        return None
    # Contours run between the centres of pixels: the edge between pixel 0, of the frame, and pixel 1 is at 0.5.
    points = (np.concatenate(lines) - 0.5) * step + corner
    size = np.array(grid_size(shape))
    units = np.minimum(points, (shape[1], shape[0])) * size / (shape[1], shape[0])
    ends = np.cumsum([len(line) for line in lines]) - 1
    weights = _weights(units, ends, FINEST)
    tolerance, data = FINEST, _path(units, ends, weights > FINEST, size)
    while len(data) > WANTED and tolerance < LATEST:
        tolerance = min(LATEST, tolerance * 1.2)
        data = _path(units, ends, weights > tolerance, size)
    return data if len(data) <= MOST else None


def _at_side(mask: NDArray[np.bool_], longer: int, side: int) -> tuple[NDArray[np.bool_], float]:
    """The mask in pixels of which `longer` of its own are about `side`, and how many of its own one of them is.

    Smaller masks are made so that a pixel is set where any of it was; larger ones by repeating pixels, up to half of
    `side` or more, so that corners that the tracing cuts are below a unit.
    """
    if longer <= side:
        times = -(-side // (2 * longer))
        return mask.repeat(times, axis=0).repeat(times, axis=1), 1 / times
    block = -(-longer // side)
    for axis in (0, 1):
        mask = np.logical_or.reduceat(mask, np.arange(0, mask.shape[axis], block), axis=axis)
    return mask, float(block)


def _edges(mask: NDArray[np.bool_]) -> int:
    """How many neighbouring pixels differ."""
    return int(np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1]))


def _weights(points: Points, ends: NDArray[np.int64], finest: float) -> Points:
    """The tolerance below which Douglas and Peucker (1973) keep each point; 0 for those left out at `finest`.

    Args:
        points: (n, 2), closed rings one after the other, the first point of a ring given again as its last.
        ends: index of each ring's last point.
        finest: tolerance.
    """
    weights = np.zeros(len(points))
    weights[ends] = weights[np.concatenate([[0], ends[:-1] + 1])] = np.inf
    while True:
        # All pieces between kept points at once: where a piece strays too far, its farthest point is kept.
        kept = np.flatnonzero(weights)
        piece = np.cumsum(weights > 0) - 1
        start, stop = kept, np.append(kept[1:], kept[-1])
        away = _distances(points, points[start[piece]], points[stop[piece]])
        farthest = np.maximum.reduceat(away, start)
        found = np.flatnonzero((away == farthest[piece]) & (farthest[piece] > finest))
        if not len(found):
            return weights
        pieces, first = np.unique(piece[found], return_index=True)
        weights[found[first]] = np.minimum.reduce([farthest[pieces], weights[start[pieces]], weights[stop[pieces]]])


def _distances(points: Points, start: Points, stop: Points) -> Points:
    """From each point (n, 2) to its piece of a line, (n,)."""
    to, along = _complex(points - start), _complex(stop - start)
    squared = np.abs(along) ** 2
    part = np.clip((to * along.conj()).real / np.where(squared > 0, squared, 1), 0, 1)
    away: Points = np.abs(to - part * along)
    return away


def _complex(points: Points) -> NDArray[np.complex128]:
    return np.ascontiguousarray(points).view(np.complex128)[:, 0]


def _path(points: Points, ends: NDArray[np.int64], kept: NDArray[np.bool_], size: NDArray[np.int64]) -> str:
    """The rings' kept points in whole units, as data of a path."""
    corners = np.floor(points + 0.5).astype(np.int64)
    rings: dict[str, None] = {}
    for begin, end in zip([0, *(ends[:-1] + 1)], ends, strict=True):
        ring = corners[begin:end][kept[begin:end]]
        ring = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)] if len(ring) > 1 else ring
        if len(ring) < 2:
            if _is_hole(points[begin:end]):
                continue
            ring = _square(points[begin:end], size)
        rings["".join(_commands(ring))] = None
    return "".join(rings)


def _is_hole(ring: Points) -> bool:
    """Parts are traced so that the area which a ring encloses is above 0, holes so that it is below."""
    x, y = ring.T
    return bool((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() < 0)


def _square(points: Points, size: NDArray[np.int64]) -> NDArray[np.int64]:
    """One unit around what is smaller, inside the grid."""
    x, y = np.clip(np.floor(points.mean(axis=0)).astype(np.int64), 0, size - 1)
    return np.array([[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1]])


def _commands(ring: NDArray[np.int64]) -> Iterator[str]:
    yield f"M{ring[0, 0]} {ring[0, 1]}"
    for x, y in np.diff(ring, axis=0).tolist():
        yield f"l{x} {y}"
    yield "z"
