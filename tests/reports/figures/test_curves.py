"""Curves hold their points, whatever their number."""

import math
import random

import numpy as np
import pytest
from drawn_figures import ODD, change, checked, estimate, texts

from vlseg.metrics import Effect, RiskCoverage, risk_coverage
from vlseg.reports.figures import Figure, learning_curves, reliability, risk_curves, severities
from vlseg.reports.figures.curves import MOST_POINTS


def lines(figure: Figure, axes: int = 0) -> dict[str, tuple[list[float], list[float]]]:
    """By label; grey ones have matplotlib's own."""
    return {
        str(one.get_label()): ([float(x) for x in one.get_xdata()], [float(y) for y in one.get_ydata()])
        for one in figure.plot.axes[axes].lines
    }


def history(best: float, steps: int = 20) -> list[dict[str, float | None]]:
    return [
        {"step": float(i), "loss": 1 / (i + 1), "val_dice": best * i / steps if i % 5 == 0 else None}
        for i in range(steps + 1)
    ]


def test_learning_curves_hold_history() -> None:
    figure = checked(learning_curves([("a", history(0.5)), ("b", history(0.8)), ("no history", [])]))
    assert lines(figure, 0)["a"] == ([float(i) for i in range(21)], [1 / (i + 1) for i in range(21)])
    assert lines(figure, 1)["b"][0] == [0, 5, 10, 15, 20]
    np.testing.assert_allclose(lines(figure, 1)["b"][1], [0, 0.2, 0.4, 0.6, 0.8])
    assert "no history" not in texts(figure)
    assert "highest Dice on the val split 0.800 (b)" in figure.inline
    assert figure.plot.axes[1].get_ylim()[0] < 0.01


def test_runs_of_one_name_are_two() -> None:
    figure = checked(learning_curves([("a", history(0.5)), ("a", history(0.8))]))
    assert len(figure.plot.axes[0].lines) == 2
    assert {"a", "a (2)"} <= set(texts(figure))


def test_of_many_runs_the_best_are_named() -> None:
    runs = {f"run-{i:03d}": history(((37 * i) % 150) / 150, 1000) for i in range(150)}
    figure = checked(learning_curves(list(runs.items())))
    best = sorted(runs, key=lambda run: -max(row["val_dice"] or 0 for row in runs[run]))[:8]
    assert [one for one in texts(figure) if one.startswith("run-")] == sorted(best)
    assert "Named: the 8 runs with the highest val Dice; grey: the other 142." in figure.caption
    assert len(figure.plot.axes[0].lines) == 150
    assert max(len(x) for x, _ in lines(figure).values()) <= MOST_POINTS + 1
    assert all(x[-1] == 1000 for x, _ in lines(figure).values())
    assert len(figure.inline) < 400_000


def test_odd_histories() -> None:
    gaps: list[dict[str, float | None]] = [
        {"step": 1.0, "loss": math.nan, "val_dice": None},
        {"step": 2.0, "loss": 0.5, "val_dice": math.inf},
    ]
    figure = checked(learning_curves([(name, gaps) for name in ODD]))
    assert all(one in (([2.0], [0.5]), ([], [])) for axes in (0, 1) for one in lines(figure, axes).values())
    assert "highest" not in figure.inline
    assert learning_curves([]) is None
    assert learning_curves([("a", [])]) is None
    checked(learning_curves([("a", [{"step": 1.0, "loss": 1.0}])]))


def test_risk_curves_hold_theirs() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(30)
    curve = risk_coverage(scores, 1 - scores)
    assert curve is not None
    worse = RiskCoverage((0.5, 1.0), (0.6, 0.6), 0.6, 0.1, 0.6)
    figure = checked(risk_curves([("a", curve), ("b", worse)]))
    assert lines(figure)["a"] == (list(curve.coverage), list(curve.risk))
    assert lines(figure)["b"] == ([0.5, 1.0], [0.6, 0.6])
    assert f"smallest area {curve.area:.3f} (a)" in figure.inline
    assert risk_curves([]) is None
    assert "Grey: 3 more." in checked(risk_curves([(f"{i}", worse) for i in range(11)])).caption
    checked(risk_curves([(name, worse) for name in ODD]))


def test_reliability_shows_the_share_of_pixels() -> None:
    points = [(0.05, 0.1, 900), (0.5, 0.4, 60), (0.95, 0.9, 40)]
    figure = checked(reliability([("a", points), ("none", [(0.5, 0.5, 0)]), ("empty", [])]))
    assert lines(figure, 0)["a"] == ([0.05, 0.5, 0.95], [0.1, 0.4, 0.9])
    assert lines(figure, 1)["a"] == ([0.05, 0.5, 0.95], [0.9, 0.06, 0.04])
    assert {"none", "empty"}.isdisjoint(texts(figure))
    assert reliability([]) is None
    assert reliability([("empty", [])]) is None
    checked(reliability([(name, points) for name in ODD]))


def test_severities_start_from_the_image_as_it_is() -> None:
    effects = {
        (name, level): Effect(name, change(-0.1), 0.8 - 0.1 * level * (i + 1), None, estimate(0.5))
        for i, name in enumerate(("blur", "noise"))
        for level in (3, 1)
    }
    effects["noise", 5] = Effect("noise", change(None), None, None, estimate(None))
    figure = checked(severities(effects, 0.9))
    assert lines(figure)["blur"][0] == [0, 1, 3]
    np.testing.assert_allclose(lines(figure)["blur"][1], [0.9, 0.7, 0.5])
    np.testing.assert_allclose(lines(figure)["noise"][1], [0.9, 0.6, 0.2])
    assert "lowest 0.200 (noise, severity 3)" in figure.inline
    assert severities({}, 0.5) is None
    rng = random.Random(0)
    many = {
        (name, level): Effect(name, change(0.1), rng.random(), None, estimate(0.5))
        for name in ODD * 2
        for level in (1, 2)
    }
    checked(severities(many, math.nan))


@pytest.mark.parametrize("number", [1, 9])
def test_no_two_named_series_look_alike(number: int) -> None:
    figure = checked(learning_curves([(f"r{i}", history(0.5)) for i in range(number)]))
    looks = [
        (str(one.get_color()), one.get_marker(), one.get_linestyle())
        for one in figure.plot.axes[0].lines
        if not str(one.get_label()).startswith("_")
    ]
    assert len(set(looks)) == len(looks) == min(number, 8)
