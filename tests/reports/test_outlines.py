"""Outlines on a coarser grid: the same shapes, fewer points, nothing lost."""

import re

import numpy as np
import pytest
from PIL import Image, ImageDraw

from vlseg.reports.outlines import coarser


def drawn(path: str, side: int) -> np.ndarray:
    """The enclosed area, by another reading of the path: moves and relative steps, curves closed."""
    image = Image.new("1", (side, side))
    for curve in re.findall(r"M[^M]*", path):
        numbers = [int(number) for number in re.findall(r"-?\d+", curve)]
        points = np.cumsum(np.array(numbers).reshape(-1, 2), axis=0)
        ImageDraw.Draw(image).polygon([tuple(point) for point in points.tolist()], fill=1)
    return np.array(image)


def test_a_coarser_outline_encloses_the_same_area() -> None:
    angles = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    points = np.round(np.stack([100 + 60 * np.cos(angles), 120 + 40 * np.sin(angles)], axis=1)).astype(int)
    fine = f"M{points[0][0]} {points[0][1]}" + "".join(f"l{x} {y}" for x, y in np.diff(points, axis=0).tolist()) + "z"
    for scale in (0.5, 0.25):
        path = coarser(fine, scale)
        assert len(path) < len(fine) * 0.7
        assert drawn(path, 256).sum() == pytest.approx(drawn(fine, 256).sum() * scale**2, rel=0.12)


def test_every_way_to_write_a_square_is_the_same_square() -> None:
    expected = "M10 20l5 0 0 5-5 0z"
    for path in ("M20 40l10 0l0 10l-10 0z", "M20 40 30 40 30 50 20 50Z", "m20,40h10v10h-10z", "M20 40H30V50H20L20 40z"):
        assert coarser(path, 0.5) == expected
    assert coarser("M20 40l4 0l6 0l0 10l-10 0z", 0.5) == expected


def test_moves_after_a_closed_curve_start_from_its_first_point() -> None:
    assert coarser("M20 40l10 0l0 10zm20 0l10 0l0 10z", 0.5) == "M10 20l5 0 0 5zM20 20l5 0 0 5z"


def test_nothing_vanishes() -> None:
    assert coarser("", 0.25) == ""
    assert coarser("M8 8l1 0l0 1l-1 0z", 0.25) == "M2 2h1v1h-1z"
    # A part thinner than a unit is a line that goes back on itself.
    assert coarser("M8 8l40 0l-40 0z", 0.25) == "M2 2l10 0z"
    assert coarser("M8 8l40 0l20 20l-20 -20z", 0.25) == "M2 2l10 0 5 5-5-5z"


def test_points_that_become_one_are_drawn_once() -> None:
    assert coarser("M8 8l1 0l0 1zM8 9l1 0l0 1z", 0.25) == "M2 2h1v1h-1z"


def test_at_its_own_scale_a_path_is_as_it_was_and_curves_are_refused() -> None:
    assert coarser("M1 1l2 0l0 2z", 1) == "M1 1l2 0l0 2z"
    with pytest.raises(ValueError, match="straight"):
        coarser("M1 1c1 1 2 2 3 3z", 0.5)
    with pytest.raises(ValueError, match="missing"):
        coarser("M1 1l2", 0.5)
