"""Dice over prompts, one line a model."""

from collections.abc import Collection, Mapping

from vlseg.metrics import Estimate
from vlseg.reports.figures.intervals import finite
from vlseg.reports.figures.labels import wrapped
from vlseg.reports.figures.style import (
    INK,
    SERIES,
    Figure,
    canvas,
    finish,
    grid,
    heading,
    legend_below,
    series,
    styled,
    unit,
)
from vlseg.reports.words.numbers import counted

SHORT = 4
"""Names of prompts up to so long stand level under the axis."""


@styled
def prompt_curves(
    curves: Mapping[str, Mapping[str, Estimate]],
    leaking: Collection[str] = (),
    *,
    name: str = "prompts",
    measured: str = "mean Dice over present targets",
) -> Figure | None:
    """A line a model over the prompts, whiskers for 95 % intervals; None without any value.

    Args:
        curves: by model and prompt, prompts in the order of their first appearance. A prompt that a model was not
            scored with is a gap. Beyond eight models the others are grey.
        leaking: prompts that were written with sight of the truth, or may be, as nobody says; they are marked.
        name: of the files.
        measured: what the values are.
    """
    prompts = list(dict.fromkeys(prompt for one in curves.values() for prompt in one))
    if not any(finite(one.mean) for curve in curves.values() for one in curve.values()):
        return None
    level = all(len(one) <= SHORT for one in prompts)
    plot = canvas(225 + (0 if level else 60) + 13 * min(len(curves), len(SERIES)))
    axes = plot.subplots()
    for place, prompt in enumerate(prompts):
        if prompt in leaking:
            axes.axvspan(place - 0.5, place + 0.5, color=INK, alpha=0.08, linewidth=0)
    for index, (label, curve) in enumerate(curves.items()):
        named = index < len(SERIES)
        style = series(index) if named else {"color": INK, "alpha": 0.25, "linestyle": "-"}
        aside = (index - (min(len(curves), len(SERIES)) - 1) / 2) * min(0.08, 0.5 / len(SERIES)) if named else 0.0
        points = [(place + aside, curve.get(prompt)) for place, prompt in enumerate(prompts)]
        means = [one.mean if one and finite(one.mean) else float("nan") for _, one in points]
        axes.plot([x for x, _ in points], means, label=label if named else None, zorder=3 - index / 100, **style)
        for x, one in points:
            if named and one and one.ci95:
                axes.plot((x, x), one.ci95, color=style["color"], linewidth=1, alpha=0.7, zorder=2)
    axes.set_xticks(range(len(prompts)), [_tick(one, one in leaking) for one in prompts])
    if not level:
        axes.tick_params(axis="x", rotation=35)
        for tick in axes.get_xticklabels():
            tick.set(ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.5, len(prompts) - 0.5)
    unit(axes, "y")
    heading(axes, measured)
    grid(axes, "y")
    legend_below(plot)
    caption = "Whiskers: 95 % intervals. " if any(c.ci95 for one in curves.values() for c in one.values()) else ""
    caption += "† on grey: the prompt tells of the truth, or may." if any(one in leaking for one in prompts) else ""
    caption += f" Grey: {len(curves) - len(SERIES)} further models." if len(curves) > len(SERIES) else ""
    gist = f"{measured} of {counted(len(curves), 'model')} with {counted(len(prompts), 'prompt')}"
    return finish(plot, name, caption.strip() or measured, gist)


def _tick(prompt: str, leaks: bool) -> str:
    return wrapped(prompt, 24, 1)[0] + ("†" if leaks else "")
