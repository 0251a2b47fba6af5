"""Does it read the prompt? Indices and effects, from score rows alone. docs/probe.md derives them."""

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vlseg.metrics.bootstrap import Estimate, bootstrap_mean
from vlseg.metrics.paired import Comparison, compare_paired, holm
from vlseg.records import SampleScore

NO_TARGET_DICE = 0.1
"""An answer that reaches less than this Dice with every target of the image has chosen none of them."""

Rows = Sequence[SampleScore]


@dataclass(frozen=True)
class Index:
    """An index with its 95 % interval over groups; None with the reason. `n` counts images or prompts."""

    value: float | None
    ci95: tuple[float, float] | None
    n: int
    reason: str | None = None


@dataclass(frozen=True)
class Effect:
    """What a condition does to the answers, over the samples it was applied to.

    Attributes:
        name: of the condition.
        original: paired change of the Dice with the original target, condition minus own prompt.
        dice: mean Dice with the original target under the condition.
        named: mean Dice with what the changed prompt names, where it names something.
        towards: paired change of the Dice with what the changed prompt names, against the own prompt's answer.
        overlap: mean IoU of the answer with the answer to the own prompt.
    """

    name: str
    original: Comparison
    dice: float | None
    named: Estimate | None
    overlap: Estimate
    towards: Comparison | None = None


@dataclass(frozen=True)
class LanguageUse:
    """What a probe found. `chose_none` is the share of answers that the selection index leaves out.

    The family of `p_holm` is all conditions of the probe: their changes of the Dice with the own target. The changes
    towards what is named, where something is, are a second family.

    `not_asked`: conditions that this data cannot put, with the reason.
    """

    selection: Index
    chose_none: Index
    presence: Index
    effects: list[Effect]
    not_asked: dict[str, str] = field(default_factory=dict)


CONDITIONS = {
    "empty": "no present target",
    "class_only": "the prompts are the targets' names alone, or no target is named",
    "wrong_X": "no attribute is known in the prompts, or each has one value",
    "without_X": "no attribute is known in the prompts",
    "random_X": "no attribute is known in the prompts",
    "other_image_prompt": "no other image's prompt for a structure says something else of it",
    "swapped": "no image has two targets that do not overlap",
    "absent_structure": "no image has a target that the data say is absent, with a prompt that names it",
    "negation": "no present target",
    "foreign": "no present target",
    "paraphrase": "no present target",
    "typos": "no word of five letters or more",
    "language_X": "no translation of the targets' names is known",
    "shuffled": "no prompt has two different words",
    "mean_image": "no present target",
    "other_image": "fewer than two images, or no present target",
}
"""What a probe asks (X = an attribute or a language), and why data may not allow it."""


def language_use(rows: Rows, *, groups_known: bool) -> LanguageUse:
    """Both indices and all effects from the rows of a probe.

    Args:
        rows: of all conditions; those of the condition "val" (own prompts on the val split) serve the threshold of
            the presence index alone.
        groups_known: whether the group column names patients or sequences.
    """
    val = [row for row in rows if row.condition == "val"]
    probed = [row for row in rows if row.condition != "val"]
    clean = [row for row in probed if row.condition == "clean"]
    found = effects(probed, groups_known=groups_known)
    selection, chose_none = selection_index(
        [row for row in probed if row.condition == "selection"], groups_known=groups_known
    )
    return LanguageUse(
        selection,
        chose_none,
        presence_index(clean, val, groups_known=groups_known),
        _corrected(found),
        _not_asked([effect.name for effect in found]),
    )


def _corrected(found: Sequence[Effect]) -> list[Effect]:
    """The effects with Holm's correction in each of the two families."""
    adjusted = holm([effect.original.p for effect in found])
    towards = holm([effect.towards.p if effect.towards else None for effect in found])
    return [
        replace(
            effect,
            original=replace(effect.original, p_holm=p),
            towards=replace(effect.towards, p_holm=q) if effect.towards else None,
        )
        for effect, p, q in zip(found, adjusted, towards, strict=True)
    ]


def _not_asked(names: Sequence[str]) -> dict[str, str]:
    """The conditions that no name belongs to, with the reason."""

    def asked(condition: str) -> bool:
        stem = condition.removesuffix("X")
        return any(name == condition or (stem != condition and name.startswith(stem)) for name in names)

    return {condition: reason for condition, reason in CONDITIONS.items() if not asked(condition)}


def selection_index(rows: Rows, *, groups_known: bool) -> tuple[Index, Index]:
    """Of K disjoint targets in an image, how much better than chance the asked one is chosen, and how often none is.

    The index is over answers that chose: per image the mean of (right - 1/K) / (1 - 1/K), averaged over images.
    1: always the asked one; 0: one that does not depend on what is asked; -1/(K - 1): never the asked one.

    Args:
        rows: of condition "selection": each answer held against every kept target of its image.
        groups_known: whether the group column names patients or sequences.

    Returns:
        The index, `n` images in which something was chosen; and the share of answers that chose none, `n` images.
    """
    answers: dict[tuple[str, str], dict[str, SampleScore]] = {}
    for row in rows:
        told = json.loads(row.condition_arguments)
        if "asked" in told and row.dice is not None:
            answers.setdefault((row.dataset, told["asked"]), {})[told["held_against"]] = row
    gained: dict[tuple[str, str], list[float]] = {}
    none: dict[tuple[str, str], list[bool]] = {}
    groups: dict[tuple[str, str], Hashable] = {}
    for (dataset, asked), against in answers.items():
        image = (dataset, against[asked].image_id)
        groups[image] = group_of(against[asked], groups_known)
        choice = chosen(against)
        none.setdefault(image, []).append(choice is None)
        if choice is not None:
            chance = 1 / len(against)
            gained.setdefault(image, []).append(((choice == asked) - chance) / (1 - chance))
    if not none:
        reason = "no image has two targets that do not overlap and have prompts of their own"
        return Index(None, None, 0, reason), Index(None, None, 0, reason)
    return (
        _over_images(gained, groups, (-1, 1), "no answer chose one of the targets"),
        _over_images(none, groups, (0, 1), ""),
    )


def chosen(against: Mapping[str, SampleScore]) -> str | None:
    """Which of the targets that an answer is held against it is an answer to.

    The one with which it has the largest Dice. None for an empty answer, where the largest Dice is below 0.1 or shared
    by two, and for an answer that marks all of them: more than half of each, and it fits them together better than one.

    Args:
        against: the answer's row by target. Areas add up, for the targets hardly overlap; a small one may lie within a
            large one, so that no more is shared than the answer has.
    """
    dices = {name: row.dice or 0.0 for name, row in against.items()}
    best = max(dices, key=lambda name: dices[name])
    if dices[best] < NO_TARGET_DICE or sum(dice == dices[best] for dice in dices.values()) > 1:
        return None
    areas = {name: row.area - (row.area_error or 0) for name, row in against.items()}
    shared = {name: dices[name] * (row.area + areas[name]) / 2 for name, row in against.items()}
    answer = against[best].area
    together = 2 * min(answer, sum(shared.values())) / (answer + sum(areas.values()))
    everywhere = all(shared[name] > 0.5 * areas[name] for name in against)
    return None if everywhere and together > dices[best] else best


def _over_images(
    values: Mapping[tuple[str, str], Sequence[float]],
    groups: Mapping[tuple[str, str], Hashable],
    bounds: tuple[float, float],
    reason: str,
) -> Index:
    """The mean over images of the mean in each, resampling groups of images."""
    if not values:
        return Index(None, None, 0, reason)
    means = [float(np.mean(inside)) for inside in values.values()]
    estimate = bootstrap_mean(means, [groups[image] for image in values], bounds=bounds)
    return Index(estimate.mean, estimate.ci95, len(means), estimate.reason)


def presence_index(rows: Rows, val: Rows, *, groups_known: bool) -> Index:
    """Youden's J (sensitivity + specificity - 1) of the presence score within images, averaged over images.

    1: all present targets are told from the absent ones of the same image; 0: a score that does not depend on what is
    asked, however it depends on the image. The threshold is the one with the largest J on the val rows.

    Args:
        rows: clean rows of the test split, present and absent targets; images that lack one of them do not count.
        val: the same of the val split.
        groups_known: see `selection_index`.
    """
    kept = {name: _with_both_kinds(part) for name, part in (("test", rows), ("val", val))}
    for name, images in kept.items():
        if not images:
            return Index(
                None, None, 0, f"no image of the {name} split has prompts for both a present and an absent target"
            )
        if any(row.presence_score is None for inside in images.values() for row in inside):
            return Index(None, None, 0, "no presence score")
    threshold = _best_threshold(list(kept["val"].values()))
    values = {image: [_youden(*_scored(inside), threshold)] for image, inside in kept["test"].items()}
    groups = {image: group_of(inside[0], groups_known) for image, inside in kept["test"].items()}
    return _over_images(values, groups, (-1, 1), "")


def _with_both_kinds(rows: Rows) -> dict[tuple[str, str], list[SampleScore]]:
    """The rows of each image that has present and absent targets."""
    images: dict[tuple[str, str], list[SampleScore]] = {}
    for row in rows:
        if row.empty_target is not None:
            images.setdefault((row.dataset, row.image_id), []).append(row)
    return {image: inside for image, inside in images.items() if len({row.empty_target for row in inside}) == 2}


def _scored(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """(n,) presence scores and (n,) bool, whether the target is there."""
    scores = np.array([row.presence_score for row in rows], dtype=np.float64)
    return scores, np.array([not row.empty_target for row in rows])


def _best_threshold(images: Sequence[Rows]) -> float:
    """Between neighbouring scores, the one with the largest mean J; the lowest of equals."""
    scored = [_scored(rows) for rows in images]
    distinct = np.unique(np.concatenate([scores for scores, _ in scored]))
    candidates = np.concatenate([[distinct[0] - 1], (distinct[:-1] + distinct[1:]) / 2])
    # Each score's weight in J: J at a threshold is the sum of the weights above it.
    scores = np.concatenate([scores for scores, _ in scored])
    weights = np.concatenate([np.where(there, 1 / there.sum(), -1 / (~there).sum()) for _, there in scored])
    order = np.argsort(scores)
    above = np.concatenate([[0.0], np.cumsum(weights[order])])
    values = above[-1] - above[np.searchsorted(scores[order], candidates, side="right")]
    return float(candidates[int(np.argmax(np.round(values, 9)))])


def _youden(scores: np.ndarray, present: np.ndarray, threshold: float) -> float:
    told = scores > threshold
    return float(told[present].mean() - told[~present].mean())


def effects(rows: Rows, *, groups_known: bool) -> list[Effect]:
    """The effect of every condition but "clean" and "selection", in order of first appearance."""
    clean = {_key(row): row for row in rows if row.condition == "clean" and row.dice is not None}
    names = dict.fromkeys(row.condition for row in rows if row.condition not in ("clean", "selection"))
    return [_effect(name, [row for row in rows if row.condition == name], clean, groups_known) for name in names]


def corruption_effects(rows: Rows, *, groups_known: bool) -> dict[tuple[str, int], Effect]:
    """By corruption and severity, what it does against the image as it is."""
    clean = {_key(row): row for row in rows if row.condition == "clean" and row.dice is not None}
    parts: dict[tuple[str, int], list[SampleScore]] = {}
    for row in rows:
        if row.condition != "clean":
            parts.setdefault((row.condition, json.loads(row.condition_arguments)["severity"]), []).append(row)
    return {key: _effect(key[0], inside, clean, groups_known) for key, inside in parts.items()}


def _effect(name: str, rows: Rows, clean: dict[tuple[str, str], SampleScore], groups_known: bool) -> Effect:
    against: Callable[[SampleScore], str] = lambda row: json.loads(row.condition_arguments).get("against", "original")  # noqa: E731
    original = [row for row in rows if against(row) == "original" and row.dice is not None and _key(row) in clean]
    named = [row for row in rows if against(row) == "named" and row.dice is not None]
    moved = [row for row in named if row.own_dice is not None]
    groups = [group_of(row, groups_known) for row in original]
    comparison = compare_paired(
        [clean[_key(row)].dice or 0.0 for row in original], [row.dice or 0.0 for row in original], groups, largest=1.0
    )
    overlaps = [(row.overlap, group) for row, group in zip(original, groups, strict=True) if row.overlap is not None]
    return Effect(
        name=name,
        original=comparison,
        dice=float(np.mean([row.dice or 0.0 for row in original])) if original else None,
        named=bootstrap_mean(
            [row.dice or 0.0 for row in named], [group_of(row, groups_known) for row in named], bounds=(0, 1)
        )
        if named
        else None,
        overlap=bootstrap_mean([value for value, _ in overlaps], [group for _, group in overlaps], bounds=(0, 1)),
        towards=compare_paired(
            [row.own_dice or 0.0 for row in moved],
            [row.dice or 0.0 for row in moved],
            [group_of(row, groups_known) for row in moved],
            largest=1.0,
        )
        if moved
        else None,
    )


def _key(row: SampleScore) -> tuple[str, str]:
    return row.dataset, row.sample_id


def group_of(row: SampleScore, groups_known: bool) -> tuple[str, str]:
    """What a row is resampled with."""
    known = groups_known and row.group is not None
    return row.dataset, f"group {row.group}" if known else f"image {row.image_id}"
