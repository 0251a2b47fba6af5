"""Outlines with fewer points: SVG path data drawn on a coarser grid."""

import re
from collections.abc import Iterator
from itertools import pairwise

_TOKEN = re.compile(r"[A-Za-z]|-?(?:\d+\.?\d*|\.\d+)")
_NUMBERS = {"m": 2, "l": 2, "h": 1, "v": 1, "z": 0}

Point = tuple[float, float]
Corner = tuple[int, int]


def coarser(path: str, scale: float) -> str:
    """The closed curves of a path, each point scaled and set on the nearest whole number, as "M3 4l5 0 0 7z".

    Points that then coincide or lie on a straight line are left out. A curve that shrinks to a point stays as a square
    of one unit: what was outlined does not vanish. At a scale of 1 the path is returned as it is.

    Args:
        path: of straight segments (M, L, H, V, Z; absolute or relative).
        scale: of the new grid to the old.

    Raises:
        ValueError: other commands, or numbers that are missing.
    """
    if scale == 1:
        return path
    drawn = dict.fromkeys(_closed([(round(x * scale), round(y * scale)) for x, y in curve]) for curve in _curves(path))
    return "".join(drawn)


def _closed(points: list[Corner]) -> str:
    """One curve of whole numbers, without the points that it passes straight on."""
    kept: list[Corner] = []
    for point in points:
        while kept and (kept[-1] == point or (len(kept) > 1 and _straight(kept[-2], kept[-1], point))):
            kept.pop()
        kept.append(point)
    while len(kept) > 1 and (kept[-1] == kept[0] or (len(kept) > 2 and _straight(kept[-2], kept[-1], kept[0]))):
        kept.pop()
    x, y = kept[0]
    if len(kept) == 1:
        return f"M{x} {y}h1v1h-1z"
    steps = " ".join(f"{right - left} {low - high}" for (left, high), (right, low) in pairwise(kept))
    return f"M{x} {y}l{steps}z".replace(" -", "-")


def _straight(first: Corner, middle: Corner, last: Corner) -> bool:
    """On one line and on the way; not where a line goes back on itself."""
    to, on = (middle[0] - first[0], middle[1] - first[1]), (last[0] - middle[0], last[1] - middle[1])
    return to[0] * on[1] == to[1] * on[0] and to[0] * on[0] + to[1] * on[1] > 0


def _curves(path: str) -> Iterator[list[Point]]:
    tokens = _TOKEN.findall(path)
    place, start, command = 0, (0.0, 0.0), ""
    curve: list[Point] = []
    x = y = 0.0
    while place < len(tokens):
        if tokens[place].isalpha():
            command, place = tokens[place], place + 1
        count = _NUMBERS.get(command.lower())
        if count is None:
            raise ValueError(f"path command {command!r}; outlines have straight segments")
        numbers = [float(token) for token in tokens[place : place + count]]
        if len(numbers) < count:
            raise ValueError(f"numbers are missing after {command!r}")
        place += count
        near_x, near_y = (x, y) if command.islower() else (0.0, 0.0)
        kind = command.lower()
        if kind == "z":
            x, y = start
            command = ""
            continue
        x = near_x + numbers[0] if kind != "v" else x
        y = near_y + numbers[-1] if kind != "h" else y
        if kind == "m":
            if curve:
                yield curve
            curve, start = [], (x, y)
            command = "l" if command == "m" else "L"
        curve.append((x, y))
    if curve:
        yield curve
