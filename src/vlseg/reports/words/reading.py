"""Does it read the prompt? What a probe or swapped prompts show, and the sentence that may be said of it.

An answer that ignores the words is the measure. In a probe such an answer chooses one target of the image, whatever is
asked, and is right once in the image's K questions. Under swapped prompts it has, over an image whose objects
each lend their words once, the same mean Dice with the named as with the own objects. Only what goes beyond is reading.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vlseg.metrics import (
    Comparison,
    Effect,
    Estimate,
    LanguageUse,
    bootstrap_mean,
    choices,
    chosen,
    compare_paired,
    group_of,
    language_use,
)
from vlseg.records import EvaluationSpec, SampleScore
from vlseg.reports.words.cell import Cell
from vlseg.reports.words.numbers import counted, decimal, percent, points, share, share_of, why

HARDLY = 0.2
"""Of the way from ignoring the words (0) to always following them (1): 60 % of two. Less is hardly reading, however
many questions there are."""
ALPHA = 0.05

Verdict = Literal["follows", "hardly", "chance", "unshown", "less", "unclear"]
"""chance: more than `HARDLY` is excluded; unshown: neither that nor chance is; unclear: there is no fair measure."""
Rows = Sequence[SampleScore]

NO_TEXT = {
    "target": "reads no text: it is told the class of what is asked for, and none of the words",
    "nothing": "reads no text: it is told nothing but the image",
}
INSTEAD = {
    "other_image_prompt": "another image's words for the same structure",
    "absent_structure": "words for a structure that is not there",
    "foreign": "words for something that no such image holds",
    "empty": "no words at all",
}
"""What is asked in place of the own words, the most telling first: fixed, so that no result is picked for its size."""
OTHER_IMAGES = ("mean_image", "other_image")
"""Conditions of a probe with the own words, on an image that does not show the target."""


@dataclass(frozen=True)
class Reading:
    """What there is to say about one model's use of the words.

    Attributes:
        right: share of all questions in which the named one was chosen; an answer that chose none was not right.
        none: share of the questions in which none was chosen.
        chance: that share for an answer that ignores the words and chooses as often; None under swapped prompts.
        gain: paired difference from an answer that ignores the words: of the shares, under swapped prompts of the Dice.
        verdict: what may be said.
        swapped: from swapped prompts: the choice is between the named and the own object.
        most: the largest number of things in an image to choose between.
        dice: under swapped prompts with the named and with the own object.
    """

    right: Estimate
    none: float
    chance: float | None
    gain: Comparison
    verdict: Verdict
    swapped: bool = False
    most: int = 2
    dice: tuple[float, float] | None = None

    @property
    def n(self) -> int:
        """Questions."""
        return self.right.n


def reading(rows: Rows, *, groups_known: bool) -> Reading | None:
    """From the rows of a probe or of an evaluation with swapped prompts; None where no question had a choice.

    Args:
        rows: of one evaluation, all conditions.
        groups_known: whether the group column names patients or sequences.
    """
    selection = [row for row in rows if row.condition == "selection"]
    if any(row.condition != "swapped" for row in rows):
        return _selected(selection, groups_known)
    return _swapped(rows, groups_known)


def _selected(rows: Rows, groups_known: bool) -> Reading | None:
    found = choices(rows)
    if not found:
        return None
    groups = [group_of(one.row, groups_known) for one in found]
    right = bootstrap_mean([float(one.right is True) for one in found], groups, bounds=(0, 1))
    chose = [(one, group) for one, group in zip(found, groups, strict=True) if one.right is not None]
    gain = compare_paired(
        [1 / one.targets for one, _ in chose],
        [float(one.right is True) for one, _ in chose],
        [group for _, group in chose],
        largest=1.0,
    )
    chance = sum(1 / one.targets for one, _ in chose) / len(found)
    possible = sum(1 - 1 / one.targets for one, _ in chose) / max(1, len(chose))
    verdict = _verdict(gain, possible)
    return Reading(right, 1 - len(chose) / len(found), chance, gain, verdict, most=max(one.targets for one in found))


def _swapped(rows: Rows, groups_known: bool) -> Reading | None:
    pairs: dict[tuple[str, str], dict[str, SampleScore]] = {}
    for row in rows:
        against = json.loads(row.condition_arguments).get("against")
        if against in ("original", "named") and row.dice is not None:
            pairs.setdefault((row.dataset, row.sample_id), {})[against] = row
    both = [pair for pair in pairs.values() if len(pair) == 2]
    if not both:
        return None
    choice = [chosen(pair) for pair in both]
    groups = [group_of(pair["named"], groups_known) for pair in both]
    right = bootstrap_mean([float(one == "named") for one in choice], groups, bounds=(0, 1))
    fair = _each_once(both)
    named, own = ([pair[name].dice or 0.0 for pair in fair] for name in ("named", "original"))
    gain = compare_paired(own, named, [group_of(pair["named"], groups_known) for pair in fair], largest=1.0)
    # What is said of all questions is not judged by a few of them.
    possible = float(np.mean(named) + np.mean(own)) if 2 * len(fair) >= len(both) else 0.0
    means = [float(np.mean([pair[name].dice or 0.0 for pair in both])) for name in ("named", "original")]
    none = choice.count(None) / len(both)
    return Reading(right, none, None, gain, _verdict(gain, possible), swapped=True, dice=(means[0], means[1]))


def _each_once(pairs: Sequence[dict[str, SampleScore]]) -> list[dict[str, SampleScore]]:
    """Those of images whose objects are each named once and each replaced once.

    Elsewhere an answer that ignores the words may fit the named ones better, because they are named more often.
    """
    images: dict[tuple[str, str], list[dict[str, SampleScore]]] = {}
    for pair in pairs:
        images.setdefault((pair["named"].dataset, pair["named"].image_id), []).append(pair)

    def truths(inside: Sequence[dict[str, SampleScore]], name: str) -> Counter[tuple[str | None, int]]:
        return Counter((pair[name].target, pair[name].area - (pair[name].area_error or 0)) for pair in inside)

    return [
        pair for inside in images.values() if truths(inside, "named") == truths(inside, "original") for pair in inside
    ]


def _verdict(gain: Comparison, possible: float) -> Verdict:
    """`possible`: the gain of an answer that always follows the words."""
    if gain.difference is None or possible <= 0:
        return "unclear"
    if shown(gain) == 0:
        highest = gain.ci95[1] if gain.ci95 else gain.difference if gain.p == 1 and not gain.difference else 1.0
        return "chance" if highest < HARDLY * possible else "unshown"
    if gain.difference < 0:
        return "less"
    return "follows" if gain.difference >= HARDLY * possible else "hardly"


def shown(change: Comparison) -> int:
    """1 for a rise, -1 for a fall, 0 where neither could be shown: the interval, or where there is none the test."""
    if not change.difference:
        return 0
    if change.ci95 is not None:
        return int(change.ci95[0] > 0) - int(change.ci95[1] < 0)
    found = change.p is not None and change.p < ALPHA
    return int(np.sign(change.difference)) if found else 0


def upright(change: Comparison) -> tuple[float, tuple[float, float] | None]:
    """Size and interval without a sign, for where the direction is in the words."""
    value, ends = change.difference or 0.0, change.ci95
    return (value, ends) if value >= 0 else (-value, (-ends[1], -ends[0]) if ends else None)


def about_language(rows: Rows, spec: EvaluationSpec, *, who: str = "the model", use: LanguageUse | None = None) -> str:
    """Whether the named one of several things is chosen, in one sentence with its numbers.

    Args:
        rows: of a probe or of swapped prompts.
        spec: of the same evaluation.
        who: the subject, e.g. the run's name.
        use: of a probe's rows, where it is at hand.
    """
    if spec.told in NO_TEXT:
        return f"{_capital(who)} {NO_TEXT[spec.told]}."
    found = reading(rows, groups_known=spec.groups_known)
    if found is None:
        effects = _effects(rows, spec, use)
        return _about_effect(_telling(effects), effects, who)
    return _about_swapped(found, spec, who) if found.swapped else _about_choice(found, spec, who)


def _about_choice(found: Reading, spec: EvaluationSpec, who: str) -> str:
    several = "two" if found.most == 2 else "several"
    asked = f"Asked for one of {several} things in an image, {who}"
    if found.none == 1:
        return f"{asked} chose none of them in any of {counted(found.n, 'question')}."
    ignoring = f"ignoring the words would give {percent(found.chance)}"
    none = f", none of them in {percent(found.none)}" if found.none else ""
    told = f"in {_of(found, spec)}{none}; {ignoring}"
    if found.verdict == "follows":
        return f"{asked} chose the named one {told}."
    if found.verdict in ("unshown", "unclear"):
        return (
            f"That {who} reads the words could not be shown: {asked[0].lower()}{asked[1:]} chose the named one {told}."
        )
    how = {"hardly": "hardly more", "chance": "no more", "less": "less"}[found.verdict]
    return f"{asked} chose the named one {how} often than chance: {told}."


def _about_swapped(found: Reading, spec: EvaluationSpec, who: str) -> str:
    named, own = found.dice or (0.0, 0.0)
    asked = f"Asked with the words of another object in the image, {who}"
    does = f"marks that object and not its own in {_of(found, spec)}"
    dice = f" (Dice {decimal(named)} with the one that is named, {decimal(own)} with its own)"
    if found.verdict == "follows":
        return f"{asked} {does}{dice}."
    if named == own == 0:
        return f"{asked} marks neither that object nor its own in any of {counted(found.n, 'question')}{dice}."
    how = {
        "hardly": "hardly follows them",
        "chance": "does not follow them",
        "unshown": "could not be shown to follow them",
        "less": "does not follow them",
        "unclear": "cannot be judged, for most images do not lend each object's words once",
    }[found.verdict]
    return f"{asked} {how}: it {does}{dice}."


def _of(found: Reading, spec: EvaluationSpec) -> str:
    """E.g. "96 % [93, 98] of 562 questions"."""
    right = found.right
    alike = right.mean in (0, 1)
    reason = "" if right.ci95 or (alike and _many(right)) else f" ({why(right.reason, groups_known=spec.groups_known)})"
    if alike:
        return f"{share_of(right.mean, found.n, 'question')}{reason}"
    return f"{share(right.mean, right.ci95)} of {counted(found.n, 'question')}{reason}"


def _many(right: Estimate) -> bool:
    """All answers alike is why there is no interval, not that they are few."""
    return right.reason == "all values are equal"


def _effects(rows: Rows, spec: EvaluationSpec, use: LanguageUse | None) -> list[Effect]:
    """What the probe's other words did, and not its other images."""
    if not any(row.condition in INSTEAD for row in rows):
        return []
    effects = (use or language_use(rows, groups_known=spec.groups_known)).effects
    return [one for one in effects if one.original.difference is not None and one.name not in OTHER_IMAGES]


def _telling(effects: Sequence[Effect]) -> Effect | None:
    """The most telling of them, by kind."""
    found = {effect.name: effect for effect in effects}
    return next((found[name] for name in INSTEAD if name in found), None)


def changed(effect: Effect) -> int:
    """As `shown`, and after Holm's correction over all that the probe asked."""
    p = effect.original.p_holm if effect.original.p_holm is not None else effect.original.p
    return shown(effect.original) if p is not None and p < ALPHA else 0


def _about_effect(effect: Effect | None, effects: Sequence[Effect], who: str) -> str:
    no_choice = "No image asked about holds two separate things to choose between by words"
    if effect is None:
        return f"{no_choice}, so nothing shows whether {who} reads them."
    change = effect.original
    over = f"over {counted(change.n, 'target')}"
    asked = f"{no_choice}; asked with {INSTEAD[effect.name]}, {who}"
    size = points(*upright(change), sign=False, word="points of Dice")
    if changed(effect) < 0:
        return f"{asked} loses {size} {over}: its answers depend on the words."
    if changed(effect) > 0:
        return f"{asked} gains {size} {over}: its own words do not help it."
    size = points(change.difference, change.ci95, word="points")
    least = change.detectable_holm
    power = f"; {points(least, sign=False)} points would have been found" if least is not None else ""
    return f"{asked} is not shown to lose Dice: {size} {over}{power}{_others(effect, effects)}."


def _others(effect: Effect, effects: Sequence[Effect]) -> str:
    """Which of all else that was said is shown to change the answers: the correction covers them together."""
    rest = [one for one in effects if one.name != effect.name]
    found = [one.name for one in rest if changed(one)]
    if not rest:
        return ""
    told = f"{', '.join(found) or 'none'} {'is' if len(found) < 2 else 'are'} shown to change it"
    return f"; of {counted(len(rest), 'other change')} of the words, {told}"


def reading_cell(rows: Rows, spec: EvaluationSpec, *, use: LanguageUse | None = None) -> Cell:
    """The same in a cell: the share of questions in which the named one was chosen."""
    if spec.told in NO_TEXT:
        return Cell(note="reads no text")
    found = reading(rows, groups_known=spec.groups_known)
    if found is None:
        return _effect_cell(_telling(_effects(rows, spec, use)))
    right = found.right
    ignoring = "" if found.chance is None else f"ignoring the words {percent(found.chance)}"
    how = {"hardly": "hardly", "chance": "not", "unshown": "not shown", "less": "not", "unclear": "cannot be told"}
    missing = "" if right.ci95 or _many(right) else why(right.reason, groups_known=spec.groups_known)
    what = "swapped words" if found.swapped else ""
    verdict = "chose none of them" if found.none == 1 else how.get(found.verdict)
    note = "; ".join(part for part in (verdict, ignoring or what, missing) if part)
    return Cell(share(right.mean, right.ci95), note, right.mean, right.ci95)


def _effect_cell(effect: Effect | None) -> Cell:
    if effect is None:
        return Cell(note="nothing to choose between")
    change = effect.original
    size = points(change.difference, change.ci95, word="points")
    return Cell(note=f"nothing to choose between; {size} with {INSTEAD[effect.name]}")


def _capital(text: str) -> str:
    """Of a sentence; a name stays as it is written."""
    return f"T{text[1:]}" if text.startswith("the ") else text
