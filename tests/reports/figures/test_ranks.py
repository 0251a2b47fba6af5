"""The critical-difference diagram."""

import numpy as np
import pytest
from drawn_figures import ODD, checked, dots, texts

from vlseg.metrics import Ranks, compare_ranks
from vlseg.reports.figures import Figure, critical_difference


def bars(figure: Figure) -> list[list[float]]:
    lines = [one for one in figure.plot.axes[0].lines if str(one.get_label()).startswith("_alike")]
    return [[float(y) for y in one.get_ydata()] for one in lines]


def test_dots_are_ranks_and_bars_join_what_is_alike() -> None:
    ranks = Ranks(
        ("a", "b", "c", "d"), (1.2, 2.0, 3.1, 3.7), 12, 9.0, 4.0, 0.01, 1.25, 0.05, (("a", "b"), ("b", "c"), ("c", "d"))
    )
    figure = checked(critical_difference(ranks))
    assert dots(figure) == [(1.2, 0), (2.0, 1), (3.1, 2), (3.7, 3)]
    np.testing.assert_allclose(bars(figure), [[-0.3, 1.3], [0.7, 2.3], [1.7, 3.3]])
    scale = [one for one in figure.plot.axes[0].lines if list(one.get_ydata()) == [-1, -1]]
    assert list(scale[0].get_xdata()) == [1, 2.25]
    assert {"a", "1.20", "3.70", "critical difference 1.25"} <= set(texts(figure))
    assert "p = 0.010. Bars join methods that cannot be told apart (Nemenyi's test at 0.05)" in figure.caption


def test_what_the_caption_says() -> None:
    apart = Ranks(("a", "b", "c"), (1.0, 2.0, 3.0), 30, 60.0, float("inf"), 0.0, 0.6, 0.05, ())
    figure = checked(critical_difference(apart))
    assert bars(figure) == []
    assert "p < 0.001. All methods can be told apart" in figure.caption
    alike = Ranks(("a", "b", "c"), (1.9, 2.0, 2.1), 6, 0.1, 0.1, 0.9, 1.3, 0.05, (("a", "b", "c"),))
    assert "No method can be told from another at 0.05." in checked(critical_difference(alike)).caption


@pytest.mark.parametrize("size", [3, 12])
def test_odd_names_and_many_methods(size: int) -> None:
    rng = np.random.default_rng(0)
    names = (ODD + [f"method {i}" for i in range(size)])[:size]
    scores = {name: {str(j): float(rng.random() + 0.1 * i) for j in range(9)} for i, name in enumerate(names)}
    ranks = compare_ranks(scores)
    figure = checked(critical_difference(ranks))
    assert [x for x, _ in dots(figure)] == list(ranks.ranks)
    assert len(bars(figure)) == len(ranks.alike)


def test_none_with_a_reason() -> None:
    ranks = compare_ranks({"a": {"x": 1.0}, "b": {"x": 0.5}})
    assert ranks.reason
    assert critical_difference(ranks) is None
