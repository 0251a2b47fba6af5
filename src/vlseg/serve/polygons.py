"""Masks as COCO's polygons that stand for exactly their pixels."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlseg.serve.limits import Refused

MOST_EDGES = 1_000_000
"""Edges of pixels on the borders of all masks that are asked for together: more is noise, and no outline."""

Ring = NDArray[np.int64]


def polygons(mask: NDArray[np.bool_]) -> list[list[float]]:
    """Polygons (x, y, x, y, ...) along the edges of pixels, one for each part of the mask (H, W).

    Holes are cut in from the outline, as COCO's polygons know none: a line goes in and back on itself. Read as COCO
    reads them (`pycocotools`), their union is the mask to the pixel. A million edges of pixels take up to half a
    minute: see `check_edges`.
    """
    parts, count = ndimage.label(mask)
    found = []
    for number, place in enumerate(ndimage.find_objects(parts, count), start=1):
        rows, columns = place
        outer, *holes = _rings(parts[place] == number)
        ways = [way for hole in holes for way in (outer[:1], hole, hole[:1])]
        ring = np.concatenate([outer, *ways])
        found.append((ring + (columns.start, rows.start)).ravel().astype(float).tolist())
    return found


def check_edges(masks: Iterable[NDArray[np.bool_]]) -> None:
    """Raises: Refused: the borders of the masks (H, W) have over a million edges of pixels together (422)."""
    edges = 0
    for mask in masks:
        framed = np.pad(mask, 1)
        edges += int((framed[1:] != framed[:-1]).sum() + (framed[:, 1:] != framed[:, :-1]).sum())
    if edges > MOST_EDGES:
        line = (
            f"masks: their borders have {edges} edges of pixels; export masks, or fewer, or at most {MOST_EDGES} edges"
        )
        raise Refused(422, "too_fine", line)


def _rings(part: NDArray[np.bool_]) -> list[Ring]:
    """Corners (n, 2) as x, y of the outline of one part and of its holes, the outline first.

    Each edge between a pixel and what is not the part is walked with the pixel on its right. Where two pixels touch at
    a corner the walk turns so that they stay apart: they belong to the part by another way.
    """
    framed = np.pad(part, 1)
    following: dict[tuple[int, int, int, int], None] = {}
    starts: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for (dy, dx), step in (((-1, 0), (1, 0)), ((0, 1), (0, 1)), ((1, 0), (-1, 0)), ((0, -1), (0, -1))):
        other = np.roll(framed, (-dy, -dx), axis=(0, 1))
        rows, columns = np.nonzero(framed & ~other)
        corner = {(-1, 0): (0, 0), (0, 1): (1, 0), (1, 0): (1, 1), (0, -1): (0, 1)}[dy, dx]
        for y, x in zip((rows - 1 + corner[1]).tolist(), (columns - 1 + corner[0]).tolist(), strict=True):
            following[(x, y, *step)] = None
            starts.setdefault((x, y), []).append(step)
    rings = []
    while following:
        x, y, dx, dy = start = next(iter(following))
        corners = []
        while True:
            del following[x, y, dx, dy]
            corners.append((x, y))
            x, y = x + dx, y + dy
            # To the right first: around the pixel that is walked along.
            turn = next((one for one in ((-dy, dx), (dx, dy), (dy, -dx)) if (x, y, *one) in following), None)
            if turn is None:
                break
            dx, dy = turn
        assert (x, y) == start[:2]
        rings.append(_corners(np.array(corners)))
    return sorted(rings, key=_area, reverse=True)


def _corners(ring: Ring) -> Ring:
    """Without the points on a straight line."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    kept: Ring = ring[(before != after).any(axis=1)]
    return kept


def _area(ring: Ring) -> int:
    x, y = ring.T
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
