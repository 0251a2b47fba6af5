"""Paths of outlines drawn back, by means of their own: parsed by a regular expression, filled by matplotlib."""

import re

import numpy as np
from matplotlib.path import Path as Polygon


def rings(data: str) -> list[np.ndarray]:
    """The corners (n, 2) of each ring, x before y."""
    assert re.fullmatch(r"(M\d+ \d+(l-?\d+ -?\d+)*z)*", data), data
    found = [[int(number) for number in re.findall(r"-?\d+", ring)] for ring in data.split("z")[:-1]]
    return [np.cumsum(np.array(numbers).reshape(-1, 2), axis=0) for numbers in found]


def filled(data: str, width: int, height: int, shape: tuple[int, int]) -> np.ndarray:
    """The pixels of an image of `shape` whose centres are inside by the even-odd rule; the grid is width x height."""
    inside = np.zeros(shape, dtype=bool)
    x, y = (np.arange(shape[1]) + 0.5) * width / shape[1], (np.arange(shape[0]) + 0.5) * height / shape[0]
    for ring in rings(data):
        (left, top), (right, bottom) = ring.min(axis=0), ring.max(axis=0)
        columns, rows = np.flatnonzero((x >= left) & (x <= right)), np.flatnonzero((y >= top) & (y <= bottom))
        if len(ring) > 2 and len(columns) and len(rows):
            centres = np.stack(np.meshgrid(x[columns], y[rows]), axis=-1).reshape(-1, 2)
            within = Polygon(np.concatenate([ring, ring[:1]])).contains_points(centres)
            inside[np.ix_(rows, columns)] ^= within.reshape(len(rows), len(columns))
    return inside
