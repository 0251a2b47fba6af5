"""From score rows to a table's line: means with intervals, and the rule for empty masks.

Pure functions of rows, so that whoever shows a number computes it from the same file.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import scipy

from vlseg.metrics.bootstrap import Estimate, bootstrap_mean
from vlseg.metrics.indices import group_of
from vlseg.records import SampleScore

EMPTY_RULE = (
    "Empty masks: truth and prediction both empty count as 1 for Dice, IoU and NSD, exactly one empty as 0; "
    "distances are given over pairs where neither is empty, and again with the image diagonal where one is "
    "and 0 where both are."
)
INDEPENDENT_NOTE = "Patients or sequences are not known for this data: images treated as independent."

Rows = Sequence[SampleScore]
Value = Callable[[SampleScore], float | None]


@dataclass(frozen=True)
class Presence:
    """Is the named thing there? Positive = a non-empty truth.

    `sensitivity` and `specificity` are of the masks: the share of present targets answered by a mask that is not empty,
    and of absent ones by an empty mask. `auroc` is of presence_score. Wordings are averaged first. `reason` says why a
    value is None: no present or no absent targets, or a row without presence score.
    """

    sensitivity: float | None
    specificity: float | None
    auroc: float | None
    reason: str | None


@dataclass(frozen=True)
class Aggregate:
    """One line of a results table. All values are over samples, the wordings of each averaged first.

    Attributes:
        n: samples with a truth; `n_without_truth` were left out.
        n_groups: what the intervals resample: patients or sequences, or images where those are unknown.
        dice_present: over samples whose truth is not empty.
        dice_macro: mean over targets of their mean Dice.
        hd95: over pairs where neither mask is empty (its `n` says how many).
        hd95_penalised: over all, the image diagonal where exactly one is empty, 0 where both are.
        absent_empty: share of empty truths answered by an empty mask; None with `absent_empty_reason`.
        hd, assd: as hd95, over pairs where neither mask is empty.
        pixel_precision, pixel_recall: where something was predicted, where something is there.
        area_error: predicted minus true pixels; area_error_size: its size, the sign left out.
        lesion_sensitivity: share of all true lesions that were found; its `n` counts lesions.
        false_lesions: per image, over all its targets; its `n` counts images.
        brier: over the band around truth and prediction.
        distance_unit: "px", "mm", or "mm and px"; then distances and NSD have no mean: 2 px is not 2 mm.
        note: which images are treated as independent, where groups are unknown in whole or in part.
    """

    n: int
    n_images: int
    n_groups: int
    groups_known: bool
    n_without_truth: int
    n_empty_truths: int
    dice: Estimate
    dice_present: Estimate
    dice_macro: float | None
    iou: Estimate
    nsd: Estimate
    hd95: Estimate
    hd95_penalised: Estimate
    presence: Presence
    absent_empty: float | None
    distance_unit: str
    hd: Estimate
    assd: Estimate
    pixel_precision: Estimate
    pixel_recall: Estimate
    area_error: Estimate
    area_error_size: Estimate
    lesion_sensitivity: Estimate
    false_lesions: Estimate
    brier: Estimate
    absent_empty_reason: str | None = None
    note: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; intervals are [low, high]."""
        values = asdict(self)
        for part in values.values():
            if isinstance(part, dict) and isinstance(part.get("ci95"), tuple):
                part["ci95"] = list(part["ci95"])
        return values


def aggregate(scores: Rows, *, groups_known: bool) -> Aggregate:
    """Aggregate the rows of one evaluation and one condition.

    The wordings of a sample are averaged first, so that every sample counts once. Rows without a truth
    (dice None) are left out and counted. Intervals resample groups; an image whose group is not known is
    a group of its own.

    Args:
        scores: rows of one model, prompt name and condition.
        groups_known: whether the group column names patients or sequences; where it is empty an image is its own.
    """
    rows = [score for score in scores if score.dice is not None]
    # Of a pool, a part may know none of its patients.
    groups_known = groups_known and any(row.group is not None for row in rows)
    samples = _by_sample(rows)
    groups = [group_of(sample[0], groups_known) for sample in samples]

    def estimate(value: Value, present_only: bool = False, largest: float = 1.0, smallest: float = 0.0) -> Estimate:
        pairs = [
            (_mean([value(row) for row in sample]), group)
            for sample, group in zip(samples, groups, strict=True)
            if not (present_only and sample[0].empty_target)
        ]
        defined = [(mean, group) for mean, group in pairs if mean is not None]
        bounds = (smallest, largest)
        return bootstrap_mean([mean for mean, _ in defined], [group for _, group in defined], bounds=bounds)

    units = sorted({row.distance_unit for row in rows})
    absent = _share_empty([sample for sample in samples if sample[0].empty_target])
    return Aggregate(
        n=len(samples),
        n_images=len({(row.dataset, row.image_id) for row in rows}),
        n_groups=len(set(groups)),
        groups_known=groups_known,
        n_without_truth=len({(row.dataset, row.sample_id) for row in scores if row.dice is None}),
        n_empty_truths=sum(bool(sample[0].empty_target) for sample in samples),
        dice=estimate(lambda row: row.dice),
        dice_present=estimate(lambda row: row.dice, present_only=True),
        dice_macro=_macro(samples),
        iou=estimate(lambda row: row.iou),
        nsd=_one_tolerance(_one_unit(estimate(lambda row: row.nsd), units), rows),
        hd95=_one_unit(estimate(lambda row: row.hd95, largest=np.inf), units),
        hd95_penalised=_one_unit(estimate(penalised_hd95, largest=np.inf), units),
        presence=_presence(samples),
        absent_empty=absent,
        distance_unit=" and ".join(units) or "px",
        hd=_one_unit(estimate(lambda row: row.hd, largest=np.inf), units),
        assd=_one_unit(estimate(lambda row: row.assd, largest=np.inf), units),
        pixel_precision=estimate(lambda row: row.pixel_precision),
        pixel_recall=estimate(lambda row: row.pixel_recall),
        area_error=estimate(lambda row: row.area_error, largest=np.inf, smallest=-np.inf),
        area_error_size=estimate(_area_error_size, largest=np.inf),
        lesion_sensitivity=_lesion_sensitivity(samples, groups),
        false_lesions=_false_lesions(samples, groups),
        brier=estimate(lambda row: row.brier),
        absent_empty_reason="no absent targets" if absent is None else None,
        note=independent_note(rows) if groups_known else INDEPENDENT_NOTE,
    )


def independent_note(rows: Rows) -> str | None:
    """Which images are treated as independent, because nothing says what patient or sequence they are of."""
    images = {(row.dataset, row.image_id): row.group is not None for row in rows}
    unknown = [name for (name, _), known in images.items() if not known]
    if not unknown:
        return None
    if len(unknown) == len(images):
        return INDEPENDENT_NOTE
    return (
        f"Patients or sequences are not known for {len(unknown)} of {len(images)} images "
        f"({', '.join(dict.fromkeys(unknown))}): these are treated as independent."
    )


def _by_sample(rows: Rows) -> list[list[SampleScore]]:
    # The arguments belong to the key: one answer may be held against two truths.
    samples: dict[tuple[str, str, str, str], list[SampleScore]] = {}
    for row in rows:
        samples.setdefault((row.dataset, row.split, row.sample_id, row.condition_arguments), []).append(row)
    return list(samples.values())


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def penalised_hd95(row: SampleScore) -> float:
    """HD95, or the image diagonal where exactly one mask is empty and 0 where both are."""
    if row.hd95 is not None:
        return row.hd95
    return 0.0 if row.empty_target and row.empty_pred else row.image_diagonal


def _area_error_size(row: SampleScore) -> float | None:
    return None if row.area_error is None else float(abs(row.area_error))


def _lesion_sensitivity(samples: Sequence[Rows], groups: Sequence[Hashable]) -> Estimate:
    """Every true lesion counts once, with the share of its sample's that were found."""
    values: list[float] = []
    names: list[Hashable] = []
    for sample, group in zip(samples, groups, strict=True):
        true, found = sample[0].lesions, _mean([row.lesions_found for row in sample])
        if true and found is not None:
            values += [found / true] * true
            names += [group] * true
    return bootstrap_mean(values, names, bounds=(0.0, 1.0))


def _false_lesions(samples: Sequence[Rows], groups: Sequence[Hashable]) -> Estimate:
    """Predicted regions that touch no true pixel, summed over the targets of an image."""
    images: dict[tuple[str, str, str], float] = {}
    names: dict[tuple[str, str, str], Hashable] = {}
    for sample, group in zip(samples, groups, strict=True):
        false = _mean([row.false_lesions for row in sample])
        if false is not None:
            image = (sample[0].dataset, sample[0].split, sample[0].image_id)
            images[image] = images.get(image, 0.0) + false
            names[image] = group
    return bootstrap_mean(list(images.values()), [names[image] for image in images], bounds=(0.0, np.inf))


def _one_tolerance(estimate: Estimate, rows: Rows) -> Estimate:
    """No mean over surfaces held to different tolerances."""
    found = sorted({row.nsd_tolerance for row in rows})
    if len(found) < 2:
        return estimate
    reason = f"tolerances of {' and '.join(f'{one:g}' for one in found)} have no common mean"
    return replace(estimate, mean=None, std=None, ci95=None, reason=reason)


def _one_unit(estimate: Estimate, units: Sequence[str]) -> Estimate:
    """No mean over distances in different units, nor over shares within them."""
    if len(units) < 2:
        return estimate
    reason = f"distances in {' and '.join(units)} have no common mean"
    return replace(estimate, mean=None, std=None, ci95=None, reason=reason)


def _macro(samples: Sequence[Rows]) -> float | None:
    """The mean over targets of their mean Dice."""
    targets: dict[str | None, list[float | None]] = {}
    for sample in samples:
        targets.setdefault(sample[0].target, []).append(_mean([row.dice for row in sample]))
    return _mean([_mean(values) for values in targets.values()])


def _share_empty(samples: Sequence[Rows]) -> float | None:
    return _mean([_mean([float(row.empty_pred) for row in sample]) for sample in samples])


def _presence(samples: Sequence[Rows]) -> Presence:
    present = [sample for sample in samples if not sample[0].empty_target]
    absent = [sample for sample in samples if sample[0].empty_target]
    missed, specificity = _share_empty(present), _share_empty(absent)
    sensitivity = None if missed is None else 1.0 - missed
    if not present or not absent:
        kinds = [name for name, side in (("present", present), ("absent", absent)) if not side]
        return Presence(sensitivity, specificity, None, f"no {' and no '.join(kinds)} targets")
    if any(row.presence_score is None for sample in samples for row in sample):
        return Presence(sensitivity, specificity, None, "no presence score")
    scores = [_mean([row.presence_score for row in sample]) for sample in (*present, *absent)]
    # Mann-Whitney: the share of (present, absent) pairs in the right order, ties counting half.
    ranks = scipy.stats.rankdata(np.asarray(scores, dtype=np.float64))[: len(present)]
    wins = float(ranks.sum()) - len(present) * (len(present) + 1) / 2
    return Presence(sensitivity, specificity, wins / (len(present) * len(absent)), None)
