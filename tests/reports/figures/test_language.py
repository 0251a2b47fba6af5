"""Own words against other words."""

import itertools
import random

import numpy as np
import pytest
from drawn_figures import ODD, change, checked, dots, estimate, spans, texts

from vlseg.metrics import Effect
from vlseg.metrics.language import CONDITIONS
from vlseg.reports.figures import attributes, language_slopes, swapped_prompts
from vlseg.reports.figures.language import KINDS, kind_of, spread
from vlseg.reports.figures.style import SERIES


def effect(name: str, own: float | None, other: float | None, half: float | None = 0.03) -> Effect:
    difference = None if own is None or other is None else other - own
    return Effect(name, change(difference, half), other, None, estimate(0.9))


def names() -> list[str]:
    stems = [one.removesuffix("X") for one in CONDITIONS]
    return [
        stem + end
        for stem in stems
        for end in (("shape", "size", "location", "number") if stem.endswith("_") else ("",))
    ]


def test_slopes_go_from_the_own_words_to_the_other() -> None:
    figure = checked(language_slopes([effect("wrong_shape", 0.8, 0.5), effect("typos", 0.7, 0.69)]))
    slopes = [tuple(one.get_ydata()) for one in figure.plot.axes[0].lines if list(one.get_xdata()) == [0, 1]]
    np.testing.assert_allclose(slopes, [(0.7, 0.69), (0.8, 0.5)])
    assert {"0.69 typos", "0.50 wrong shape"} <= {" ".join(one.split()) for one in texts(figure)}
    assert "largest loss wrong shape: 0.800 to 0.500" in figure.inline


@pytest.mark.parametrize("seed", range(4))
def test_labels_of_many_conditions_do_not_touch(seed: int) -> None:
    rng = random.Random(seed)
    level = (0.02, 0.5, 0.95, 0.75)[seed]
    found = [effect(one, 0.8, min(1, max(0, level + rng.uniform(-0.03, 0.03)))) for one in names()]
    assert len(found) >= 25
    figure = checked(language_slopes(found))
    labels = [one for one in texts(figure) if "  " in one or one[:2] in ("0.", "1.")]
    assert len([one for one in labels if any(letter.isalpha() for letter in one)]) == len(found)


def test_conditions_all_alike_or_one_alone() -> None:
    checked(language_slopes([effect(one, 0.8, 0.8) for one in names()]))
    checked(language_slopes([effect("empty", 1.0, 0.0)]))
    checked(language_slopes([effect(one, 0.5, 0.4) for one in ODD]))
    assert language_slopes([]) is None
    assert language_slopes([effect("empty", None, None)]) is None


def test_each_condition_has_its_kind() -> None:
    kinds = {one: kind_of(one) for one in names()}
    assert set(kinds.values()) == set(KINDS)
    assert kinds["wrong_shape"] == kinds["other_image_prompt"] == kinds["swapped"] == "asks for something else"
    assert kinds["class_only"] == kinds["without_size"] == kinds["random_size"] == "says less"
    assert kinds["paraphrase"] == kinds["language_shape"] == "says the same"
    assert kinds["other_image"] == kinds["mean_image"] == "another image"


def test_spread_keeps_order_and_room() -> None:
    rng = np.random.default_rng(0)
    for size, gap in itertools.product((1, 2, 5, 25), (0.01, 0.039)):
        values = sorted(rng.random(size) ** 3, reverse=True)
        places = spread(values, gap)
        assert all(a - b >= gap - 1e-9 for a, b in itertools.pairwise(places))
        assert max(places) <= 1 + 1e-9
        assert min(places) >= -1e-9
    assert spread([0.9, 0.5, 0.1], 0.05) == pytest.approx([0.9, 0.5, 0.1])  # who has room stays
    assert spread([0.5, 0.5], 0.1) == pytest.approx([0.55, 0.45])
    assert spread([1.0, 1.0], 0.1) == pytest.approx([1.0, 0.9])
    assert spread([0.0, 0.0], 0.1) == pytest.approx([0.1, 0.0])


def test_attributes_are_in_points_by_kind_and_probe() -> None:
    first = {"shape": {"wrong": effect("wrong_shape", 0.8, 0.5), "random": effect("random_shape", 0.8, 0.7)}}
    second = {
        "shape": {"wrong": effect("x", 0.8, 0.79)},
        "size": {"random": effect("y", 0.8, 0.84, None), "without": effect("z", 0.8, 0.1)},
    }
    figure = checked(attributes([("one", first), ("two", second)]))
    wrong, random_word = dots(figure, 0), dots(figure, 1)
    assert [x for x, _ in wrong] == pytest.approx([-30, -1])
    assert [x for x, _ in random_word] == pytest.approx([-10, 4])
    assert [round(y) for _, y in wrong] == [0, 0]
    assert [round(y) for _, y in random_word] == [0, 1]
    assert wrong[0][1] < wrong[1][1]  # the first probe above
    assert spans(figure, 0)[0][0] == pytest.approx((-33, -27))
    assert {"shape", "size", "one", "two", "wrong value", "random word"} <= set(texts(figure))
    assert texts(figure).count("one") == 1
    assert figure.plot.axes[0].get_xlim() == figure.plot.axes[1].get_xlim()


def test_odd_attributes() -> None:
    table = {name: {"wrong": effect("x", 0.5, 0.4)} for name in ODD}
    many = checked(attributes([(name, table) for name in ODD * 2]))
    assert f"The first {len(SERIES)} of 14." in many.caption
    assert len(dots(many)) == len(SERIES) * len(ODD)
    assert len(ODD * 2) > len(SERIES)
    assert attributes([]) is None
    assert attributes([("a", {"shape": {"wrong": effect("x", None, None)}})]) is None
    alone = checked(attributes([("a", {"shape": {"wrong": effect("x", 0.5, 0.5, None)}})]))
    assert alone.plot.legends == []


def test_swapped_prompts_are_three_intervals() -> None:
    figure = checked(swapped_prompts([("own", estimate(0.8)), ("original", estimate(0.1)), ("named", estimate(0.7))]))
    assert dots(figure) == [(0.8, 0), (0.1, 1), (0.7, 2)]
    assert figure.name == "swapped"
    assert swapped_prompts([]) is None
