"""From score rows to a table's line: means with intervals, and the rule for empty masks.

Pure functions of rows, so that whoever shows a number computes it from the same file.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlseg.records import SampleScore

REPLICATES, BOOTSTRAP_SEED, MIN_GROUPS = 2000, 20240703, 10
EMPTY_RULE = (
    "Empty masks: truth and prediction both empty count as 1 for Dice, IoU and NSD, exactly one empty as 0; "
    "distances are given over pairs where neither is empty, and again with the image diagonal where one is."
)
INDEPENDENT_NOTE = "Patients or sequences are not known for this data: images treated as independent."

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over n samples, their standard deviation (n - 1), and a 95 % interval or the reason for none."""

    mean: float | None
    std: float | None
    ci95: tuple[float, float] | None
    n: int
    reason: str | None = None


@dataclass(frozen=True)
class Presence:
    """Is the named thing there? Positive = a non-empty truth; `auroc` from presence_score."""

    sensitivity: float | None
    specificity: float | None
    auroc: float | None
    reason: str | None


@dataclass(frozen=True)
class Aggregate:
    """One line of a results table. `absent_empty` is the share of empty truths answered by an empty mask."""

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

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def aggregate(scores: Sequence[SampleScore], *, groups_known: bool) -> Aggregate:
    """Aggregate the rows of one evaluation and one condition.

    The wordings of a sample are averaged first, so that every sample counts once. Rows without a truth
    are left out and counted. Intervals resample groups (images where groups are unknown).
    """
    rows = [score for score in scores if score.dice is not None]
    samples = _by_sample(rows)
    groups = [
        sample[0].group if groups_known and sample[0].group is not None else sample[0].image_id for sample in samples
    ]

    def estimate(value: Callable[[SampleScore], float | None], keep: Callable[[SampleScore], bool]) -> Estimate:
        kept = [(sample, group) for sample, group in zip(samples, groups, strict=True) if keep(sample[0])]
        means = [_mean([value(row) for row in sample]) for sample, _ in kept]
        defined = [(mean, group) for mean, (_, group) in zip(means, kept, strict=True) if mean is not None]
        return bootstrap_mean([mean for mean, _ in defined], [group for _, group in defined])

    def every(row: SampleScore) -> bool:
        return True

    absent = [sample for sample in samples if sample[0].empty_target]
    return Aggregate(
        n=len(samples),
        n_images=len({(row.dataset, row.image_id) for row in rows}),
        n_groups=len(set(groups)),
        groups_known=groups_known,
        n_without_truth=len({row.sample_id for row in scores if row.dice is None}),
        n_empty_truths=len(absent),
        dice=estimate(lambda row: row.dice, every),
        dice_present=estimate(lambda row: row.dice, lambda row: not row.empty_target),
        dice_macro=_macro(samples),
        iou=estimate(lambda row: row.iou, every),
        nsd=estimate(lambda row: row.nsd, every),
        hd95=estimate(lambda row: row.hd95, every),
        hd95_penalised=estimate(_penalised, every),
        presence=_presence(rows),
        absent_empty=_mean([float(row.empty_pred) for sample in absent for row in sample]),
        distance_unit=rows[0].distance_unit if rows else "px",
    )


def bootstrap_mean(values: Sequence[float], groups: Sequence[str]) -> Estimate:
    """The mean of all values with a 95 % percentile interval, resampling whole groups.

    No interval below ten groups (too few to resample), or where all values are equal.
    """
    if not values:
        return Estimate(None, None, None, 0, "no value is defined")
    data = np.asarray(values, dtype=np.float64)
    std = float(data.std(ddof=1)) if len(data) > 1 else None
    mean = float(data.mean())
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < MIN_GROUPS:
        return Estimate(mean, std, None, len(data), f"{len(names)} groups, fewer than {MIN_GROUPS}")
    if np.ptp(data) == 0:
        return Estimate(mean, std, None, len(data), "all values are equal")
    sums = np.bincount(index, weights=data)
    counts = np.bincount(index).astype(np.float64)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    # Row r: how often each group is drawn in replicate r.
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=REPLICATES)
    means = (drawn @ sums) / (drawn @ counts)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(mean, std, (float(low), float(high)), len(data))


def _by_sample(rows: Sequence[SampleScore]) -> list[list[SampleScore]]:
    samples: dict[tuple[str, str, str], list[SampleScore]] = {}
    for row in rows:
        samples.setdefault((row.dataset, row.sample_id, row.condition_arguments), []).append(row)
    return list(samples.values())


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def _penalised(row: SampleScore) -> float:
    if row.hd95 is not None:
        return row.hd95
    return 0.0 if row.empty_target and row.empty_pred else row.image_diagonal


def _macro(samples: Sequence[Sequence[SampleScore]]) -> float | None:
    """The mean over targets of their mean Dice."""
    targets: dict[str | None, list[float | None]] = {}
    for sample in samples:
        targets.setdefault(sample[0].target, []).append(_mean([row.dice for row in sample]))
    return _mean([_mean(values) for values in targets.values()])


def _presence(rows: Sequence[SampleScore]) -> Presence:
    positive = [row for row in rows if not row.empty_target]
    negative = [row for row in rows if row.empty_target]
    sensitivity = _mean([float(not row.empty_pred) for row in positive])
    specificity = _mean([float(row.empty_pred) for row in negative])
    if not positive or not negative:
        missing = "absent" if positive else "present"
        return Presence(sensitivity, specificity, None, f"no {missing} targets")
    pairs = [[row.presence_score for row in side] for side in (positive, negative)]
    if any(value is None for side in pairs for value in side):
        return Presence(sensitivity, specificity, None, "no presence score")
    high, low = (np.asarray(side, dtype=np.float64) for side in pairs)
    wins = (high[:, None] > low[None]).mean() + 0.5 * (high[:, None] == low[None]).mean()
    return Presence(sensitivity, specificity, float(wins), None)
