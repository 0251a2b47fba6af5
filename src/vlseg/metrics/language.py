"""Does it read the prompt? Indices and effects, from score rows alone. docs/probe.md derives them."""

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vlseg.metrics.bootstrap import BOOTSTRAP_SEED, MIN_GROUPS, REPLICATES, Estimate, bootstrap_mean
from vlseg.metrics.paired import Comparison, compare_paired, holm
from vlseg.records import SampleScore

NO_TARGET_DICE = 0.1
"""An answer that reaches less than this Dice with every target of the image has chosen none."""

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
    """What a probe found. The family of `p_holm` is all conditions of the probe: their changes of the Dice with the own
    target. The changes towards what is named, where something is, are a second family.

    `not_asked`: conditions that this data cannot put, with the reason.
    """

    selection: Index
    presence: Index
    effects: list[Effect]
    not_asked: dict[str, str] = field(default_factory=dict)


CONDITIONS = {
    "empty": "no present target",
    "class_only": "the prompts are the targets' names alone, or no target is named",
    "wrong_X": "no attribute is known in the prompts, or each has one value",
    "without_X": "no attribute is known in the prompts",
    "random_X": "no attribute is known in the prompts",
    "other_image_prompt": "all prompts of a structure are the same",
    "swapped": "no image has two targets that do not overlap",
    "absent_structure": "no image has a target that the data say is absent",
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
    return LanguageUse(
        selection_index([row for row in probed if row.condition == "selection"], groups_known=groups_known),
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


def selection_index(rows: Rows, *, groups_known: bool) -> Index:
    """Of K disjoint targets in an image, how much better than chance the asked one is chosen: 1 always, 0 chance.

    Per image (accuracy - 1/K) / (1 - 1/K), averaged over images. An answer chooses the target with which it has the
    largest Dice; below 0.1 with all of them, or empty, it has chosen none, which counts as wrong.

    Args:
        rows: of condition "selection": each answer held against every kept target of its image.
        groups_known: whether the group column names patients or sequences.
    """
    answers: dict[tuple[str, str], dict[str, SampleScore]] = {}
    for row in rows:
        told = json.loads(row.condition_arguments)
        if "asked" in told and row.dice is not None:
            answers.setdefault((row.dataset, told["asked"]), {})[told["held_against"]] = row
    right: dict[tuple[str, str], list[bool]] = {}
    groups: dict[tuple[str, str], Hashable] = {}
    for (dataset, asked), against in answers.items():
        best = max(against, key=lambda name: against[name].dice or 0.0)
        row = against[asked]
        chosen = not row.empty_pred and (against[best].dice or 0.0) >= NO_TARGET_DICE
        image = (dataset, row.image_id)
        right.setdefault(image, []).append(chosen and best == asked)
        groups[image] = group_of(row, groups_known)
    if not right:
        return Index(None, None, 0, "no image has two targets that do not overlap and have prompts of their own")
    values = [(np.mean(found) - 1 / len(found)) / (1 - 1 / len(found)) for found in right.values()]
    estimate = bootstrap_mean([float(value) for value in values], [groups[image] for image in right], bounds=(-1, 1))
    return Index(estimate.mean, estimate.ci95, len(values), estimate.reason)


def presence_index(rows: Rows, val: Rows, *, groups_known: bool) -> Index:
    """Youden's J (sensitivity + specificity - 1) of the presence score: 1 tells present from absent, 0 does not.

    The threshold is the one with the largest J on the val rows. Interval: percentile bootstrap over groups.

    Args:
        rows: clean rows of the test split, present and absent targets.
        val: the same of the val split.
        groups_known: see `selection_index`.
    """
    for name, part in (("test", rows), ("val", val)):
        kinds = {bool(row.empty_target) for row in part if row.empty_target is not None}
        if kinds != {True, False}:
            lacking = "absent" if True not in kinds else "present"
            return Index(None, None, 0, f"the {name} split has no prompts for {lacking} targets")
        if any(row.presence_score is None for row in part):
            return Index(None, None, 0, "no presence score")
    threshold = _best_threshold(val)
    scores = np.array([row.presence_score for row in rows], dtype=np.float64) > threshold
    present = np.array([not row.empty_target for row in rows])
    value = _youden(scores, present)
    names = [group_of(row, groups_known) for row in rows]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    if len(numbers) < MIN_GROUPS:
        return Index(value, None, len(rows), f"{len(numbers)} groups, fewer than {MIN_GROUPS}")
    index = np.array([numbers[name] for name in names])
    counts = np.stack(
        [
            np.bincount(index[(present == a) & (scores == b)], minlength=len(numbers))
            for a in (True, False)
            for b in (True, False)
        ],
        axis=1,
    )
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    drawn = counts[rng.integers(len(numbers), size=(REPLICATES, len(numbers)))].sum(axis=1).astype(float)
    usable = (drawn[:, :2].sum(axis=1) > 0) & (drawn[:, 2:].sum(axis=1) > 0)
    hit, miss, false, right = drawn[usable].T
    resampled = hit / (hit + miss) + right / (false + right) - 1
    if np.ptp(resampled) == 0:
        return Index(value, None, len(rows), "every resample gives the same value")
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Index(value, (float(low), float(high)), len(rows))


def _best_threshold(rows: Rows) -> float:
    """Between neighbouring scores, the one with the largest J; the lowest of equals."""
    scores = np.array([row.presence_score for row in rows], dtype=np.float64)
    present = np.array([not row.empty_target for row in rows])
    distinct = np.unique(scores)
    candidates = np.concatenate([[distinct[0] - 1], (distinct[:-1] + distinct[1:]) / 2])
    values = [_youden(scores > candidate, present) for candidate in candidates]
    return float(candidates[int(np.argmax(values))])


def _youden(told: np.ndarray, present: np.ndarray) -> float:
    return float(told[present].mean() + (~told[~present]).mean() - 1)


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
