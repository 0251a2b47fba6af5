"""Values and differences: every number where it belongs."""

import math

import pytest
from drawn_figures import ODD, change, checked, dots, estimate, spans, texts

from vlseg.metrics import Estimate
from vlseg.reports.figures import differences, intervals
from vlseg.reports.figures.intervals import MOST_ROWS, signed


def test_dots_and_lines_are_the_numbers() -> None:
    figure = checked(intervals([("a", estimate(0.25)), ("b", estimate(0.75, 0.1))], lines={"class told": 0.9}))
    assert dots(figure) == [(0.25, 0), (0.75, 1)]
    assert spans(figure)[:2] == [((0.2, 0.3), 0), ((0.65, 0.85), 1)]
    axes = figure.plot.axes[0]
    assert list(axes.lines[-1].get_xdata()) == [0.9, 0.9]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # row 0 is the upper one
    assert {"a", "b", "0.250", "0.750", "class told: 0.900"} <= set(texts(figure))
    assert "highest b 0.750, lowest a 0.250" in figure.inline


def test_dots_without_an_interval_are_open_and_holes_are_named() -> None:
    figure = checked(intervals([("a", estimate(0.5, None)), ("b", estimate(None)), ("c", estimate(0.4))]))
    faces = {line.get_markerfacecolor() for line in figure.plot.axes[0].lines if len(line.get_xdata()) == 1}  # type: ignore[arg-type]
    assert len(faces) == 2
    assert "no value" in texts(figure)
    assert "Open dots have none" in figure.caption
    only = checked(intervals([("a", estimate(0.5, None))]))
    assert "Lines" not in only.caption
    nan = checked(intervals([("a", Estimate(math.nan, None, None, 3)), ("b", estimate(0.4))], lines={"x": None}))
    assert dots(nan) == [(0.4, 1)]


def test_nothing_to_show() -> None:
    assert intervals([]) is None
    assert intervals([("a", estimate(None))]) is None
    assert differences([]) is None
    assert differences([("a", change(None))]) is None


def test_many_rows_are_cut_by_a_stated_rule() -> None:
    values = [(f"run-{i:03d}", estimate(((37 * i) % 150) / 150)) for i in range(150)]
    figure = checked(intervals(values))
    shown = [x for x, _ in dots(figure)]
    expected = sorted((one.mean or 0 for _, one in values), reverse=True)
    assert shown == expected[:30] + expected[-30:]
    assert "Of 150 rows the 30 highest and, below the line, the 30 lowest" in figure.caption
    sparse = [(label, one if i < 50 else estimate(None)) for i, (label, one) in enumerate(values)]
    assert "Of 150 rows the 50 with a value" in checked(intervals(sparse)).caption
    whole = checked(intervals(values[:MOST_ROWS]))
    assert [x for x, _ in dots(whole)] == [one.mean for _, one in values[:MOST_ROWS]]
    assert "rows the" not in whole.caption


@pytest.mark.parametrize("several", [False, True])
def test_odd_names(several: bool) -> None:
    names = ODD if several else ODD[:1]
    figure = checked(intervals([(name, estimate(0.5)) for name in names]))
    assert 'a <b> & "c"' in texts(figure)
    checked(differences([(name, change(0.1)) for name in names]))


def test_differences_are_in_points_with_what_could_have_been_found() -> None:
    figure = checked(
        differences(
            [("b − a", change(0.1)), ("c − a", change(-0.02, found=0.04, family=3)), ("few", change(0.3, None, None))]
        )
    )
    assert [row for _, row in dots(figure)] == [0, 1, 2]
    assert [x for x, _ in dots(figure)] == pytest.approx([10, -2, 30])
    assert spans(figure)[0][0] == pytest.approx((7, 13))
    bars = [(one.get_x(), one.get_width()) for one in figure.plot.axes[0].patches[:2]]  # type: ignore[attr-defined]
    assert bars[0] == pytest.approx((-5, 10))
    assert bars[1] == pytest.approx((-5.6, 11.2))  # after Holm's correction
    assert {"+10.0", "−2.0", "+30.0", "too small to be found with 80 % power"} <= set(texts(figure))
    assert "after Holm's correction over 3" in figure.caption
    low, high = figure.plot.axes[0].get_xlim()
    assert low < -5.6
    assert high > 30
    bare = checked(differences([("few", change(0.0, None, None))]))
    assert "Grey" not in bare.caption
    assert bare.plot.legends == []


def test_of_many_differences_the_largest_stay_in_their_order() -> None:
    values = [(str(i), change((-1) ** i * i / 200)) for i in range(100)]
    figure = checked(differences(values))
    assert [x for x, _ in dots(figure)] == pytest.approx([100 * (one.difference or 0) for _, one in values[40:]])
    assert "Of 100 rows the 60 with the largest differences" in figure.caption


def test_a_sign_only_where_there_is_something() -> None:
    assert [signed(one) for one in (1.25, -0.04, 0.04, -3.0, 0.0)] == ["+1.2", "0.0", "0.0", "−3.0", "0.0"]
