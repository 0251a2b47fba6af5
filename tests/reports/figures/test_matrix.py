"""Trained on one, scored on others."""

import random

import pytest
from drawn_figures import ODD, checked, texts
from matplotlib.colors import to_hex

from vlseg.reports.figures import domain_shift
from vlseg.reports.figures.style import contrast


def test_numbers_stand_in_their_cells() -> None:
    figure = checked(domain_shift([("on a", {"a": 0.9, "b": 0.25}, {"a"}), ("on b", {"b": 0.75}, ["b", "c"])]))
    axes = figure.plot.axes[0]
    numbers = {one.get_text(): one.get_position() for one in axes.texts if one.get_text().startswith("0.")}
    assert numbers == {"0.90": (0, 0), "0.25": (1, 0), "0.75": (1, 1)}
    frames = [one for one in axes.patches if one.get_linewidth() > 1]
    corners = sorted((round(one.get_x() + 0.48), round(one.get_y() + 0.46)) for one in frames)  # type: ignore[attr-defined]
    assert corners == [(0, 0), (1, 1)]
    struck = [(float(one.get_xdata()[0]), float(one.get_ydata()[0])) for one in axes.lines]  # type: ignore[index]
    assert struck == [(-0.48, 1.46)]
    assert "Struck through: not scored (1)." in figure.caption
    assert "Frames" in figure.caption
    assert "from 0.25 (on a on b) to 0.90 (on a on a)" in figure.inline
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


def test_text_is_legible_on_every_colour() -> None:
    values = {str(i): i / 100 for i in range(101)}
    figure = checked(domain_shift([("a", values, ())]))
    axes = figure.plot.axes[0]
    fills = [to_hex(one.get_facecolor()) for one in axes.patches]
    inks = [str(one.get_color()) for one in axes.texts if "." in one.get_text()]
    assert len(fills) == len(inks) == 101
    assert min(contrast(fill, ink) for fill, ink in zip(fills, inks, strict=True)) >= 4.5
    lightness = [contrast(fill, "#000000") for fill in fills]
    assert lightness == sorted(lightness)  # without colour, too, more is lighter


def test_a_wide_matrix_is_scrolled_and_not_shrunk() -> None:
    rng = random.Random(0)
    figure = checked(
        domain_shift([(f"run {i}", {f"data {j}": rng.random() for j in range(20)}, ()) for i in range(30)])
    )
    assert figure.plot.get_figwidth() * 72 > 800
    assert figure.wide


def test_odd_matrices() -> None:
    figure = checked(domain_shift([(name, dict.fromkeys(ODD, 0.5), {"elsewhere"}) for name in ODD]))
    assert "Struck" not in figure.caption
    assert "Frames" not in figure.caption
    holes = checked(domain_shift([("a", {"x": 0.5, "y": float("nan"), "z": None}, ())]))
    assert "not scored (2)" in holes.caption
    assert texts(holes).count("0.50") == 1
    assert domain_shift([]) is None
    assert domain_shift([("a", {"x": None}, ())]) is None


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_the_ends_of_the_scale(value: float) -> None:
    assert f"{value:.2f}" in texts(checked(domain_shift([("a", {"x": value}, ())])))
