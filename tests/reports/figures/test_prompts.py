"""Dice over prompts: gaps, leaks, many models."""

import math

import numpy as np
from drawn_figures import ODD, checked, estimate, texts

from vlseg.reports.figures import prompt_curves
from vlseg.reports.figures.style import SERIES, VERMILLION

PROMPTS = [f"p{i}" for i in range(10)]


def lines(figure: object) -> dict[str, list[float]]:
    axes = figure.plot.axes[0]  # type: ignore[attr-defined]
    return {str(one.get_label()): [float(y) for y in one.get_ydata()] for one in axes.lines if len(one.get_xdata()) > 2}


def test_a_line_a_model_with_whiskers() -> None:
    curves = {m: {p: estimate(0.3 + 0.02 * i + 0.2 * j) for i, p in enumerate(PROMPTS)} for j, m in enumerate("ab")}
    figure = checked(prompt_curves(curves))
    found = lines(figure)
    np.testing.assert_allclose(found["a"], [0.3 + 0.02 * i for i in range(10)])
    np.testing.assert_allclose(found["b"], [0.5 + 0.02 * i for i in range(10)])
    axes = figure.plot.axes[0]
    whiskers = [one for one in axes.lines if len(one.get_xdata()) == 2]  # type: ignore[arg-type]
    assert len(whiskers) == 20
    np.testing.assert_allclose(whiskers[0].get_ydata(), [0.25, 0.35])
    assert whiskers[10].get_color() == VERMILLION
    places = np.array([one.get_xdata() for one in axes.lines if len(one.get_xdata()) > 2])  # type: ignore[arg-type]
    assert np.abs(places - np.arange(10)).max() < 0.3  # a prompt's dots stay over its name
    assert set(PROMPTS) <= set(texts(figure))
    assert "Whiskers: 95 % intervals." in figure.caption
    assert "†" not in figure.caption


def test_leaking_prompts_are_marked() -> None:
    figure = checked(prompt_curves({"a": {p: estimate(0.5) for p in PROMPTS}}, leaking={"p8", "other"}))
    assert "p8†" in texts(figure)
    assert "p8" not in texts(figure)
    assert "p7" in texts(figure)
    spans = figure.plot.axes[0].patches
    assert [(one.get_x(), one.get_width()) for one in spans] == [(7.5, 1.0)]  # type: ignore[attr-defined]
    assert "† on grey: the prompt tells of the truth, or may." in figure.caption


def test_a_prompt_that_was_not_scored_is_a_gap() -> None:
    curves = {
        "a": {"x": estimate(0.5), "z": estimate(0.7)},
        "b": {"x": estimate(0.1), "y": estimate(None), "z": estimate(0.3, None)},
    }
    found = lines(checked(prompt_curves(curves)))
    assert [math.isnan(one) for one in found["a"]] == [False, False, True]  # order: x, z, y
    assert [math.isnan(one) for one in found["b"]] == [False, False, True]


def test_beyond_eight_models_the_others_are_grey() -> None:
    curves = {f"m{i}": {p: estimate(0.5) for p in PROMPTS} for i in range(11)}
    figure = checked(prompt_curves(curves))
    assert {f"m{i}" for i in range(8)} <= set(texts(figure))
    assert "m8" not in texts(figure)
    assert "Grey: 3 further models." in figure.caption
    assert len(SERIES) == 8


def test_odd_names_and_little_data() -> None:
    checked(prompt_curves({name: {prompt: estimate(0.4) for prompt in ODD} for name in ODD}, leaking=ODD))
    figure = checked(prompt_curves({"only": {"p0": estimate(0.4, None)}}))
    assert "Whiskers" not in figure.caption
    assert prompt_curves({}) is None
    assert prompt_curves({"a": {}}) is None
    assert prompt_curves({"a": {"x": estimate(None)}}) is None
