"""The selection and the presence index: does an answer depend on what is asked? docs/probe.md derives them."""

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vlseg.metrics.bootstrap import bootstrap_mean
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
    gained: dict[tuple[str, str], list[float]] = {}
    none: dict[tuple[str, str], list[bool]] = {}
    groups: dict[tuple[str, str], Hashable] = {}
    for one in choices(rows):
        image = (one.row.dataset, one.row.image_id)
        groups[image] = group_of(one.row, groups_known)
        none.setdefault(image, []).append(one.right is None)
        if one.right is not None:
            chance = 1 / one.targets
            gained.setdefault(image, []).append((one.right - chance) / (1 - chance))
    if not none:
        reason = "no image has two targets that do not overlap and have prompts of their own"
        return Index(None, None, 0, reason), Index(None, None, 0, reason)
    return (
        _over_images(gained, groups, (-1, 1), "no answer chose one of the targets"),
        _over_images(none, groups, (0, 1), ""),
    )


@dataclass(frozen=True)
class Choice:
    """One answer to a question with a choice.

    Attributes:
        row: the answer held against what was asked for.
        targets: between how many targets there was to choose.
        right: whether it chose the one asked for; None where it chose none of them.
    """

    row: SampleScore
    targets: int
    right: bool | None


def choices(rows: Rows) -> list[Choice]:
    """What each answer chose, in order of first appearance.

    Args:
        rows: of condition "selection": each answer held against every kept target of its image.
    """
    answers: dict[tuple[str, str], dict[str, SampleScore]] = {}
    for row in rows:
        told = json.loads(row.condition_arguments)
        if "asked" in told and row.dice is not None:
            answers.setdefault((row.dataset, told["asked"]), {})[told["held_against"]] = row
    found = []
    for (_, asked), against in answers.items():
        choice = chosen(against)
        found.append(Choice(against[asked], len(against), None if choice is None else choice == asked))
    return found


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


def group_of(row: SampleScore, groups_known: bool) -> tuple[str, str]:
    """What a row is resampled with: its patient or sequence within its dataset, or the image where that is unknown."""
    known = groups_known and row.group is not None
    return row.dataset, f"group {row.group}" if known else f"image {row.image_id}"
