"""What smoothing certifies over the samples of an evaluation, from score rows alone."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from vlseg.metrics.bootstrap import Estimate, bootstrap_mean
from vlseg.metrics.indices import group_of
from vlseg.metrics.paired import Comparison, compare_paired
from vlseg.metrics.smoothing import SMOOTHED
from vlseg.records import SampleScore


@dataclass(frozen=True)
class Certificate:
    """Of one sigma; means over the samples, with intervals over patients or sequences.

    Attributes:
        sigma, radius: noise, and L2 norm of a change, in units of the image's range.
        tau, alpha, draws, place: see `Smoothing`.
        dice: of the smoothed model, pixels that it abstains from counted as background.
        change: of Dice against the plain model's answers to the same samples.
        abstained: share of pixels.
        certified_dice: of lower bounds; certified_dice_present: the same of targets that are there.
        certified_accuracy: share of pixels that are certified and right.
    """

    sigma: float
    radius: float
    tau: float
    alpha: float
    draws: int
    place: str
    dice: Estimate
    change: Comparison
    abstained: Estimate
    certified_dice: Estimate
    certified_dice_present: Estimate
    certified_accuracy: Estimate


def certificates(rows: Sequence[SampleScore], *, groups_known: bool) -> list[Certificate]:
    """By growing sigma.

    Args:
        rows: of one evaluation of condition "smoothed": those of the plain model and of every sigma.
        groups_known: whether the group column names patients or sequences.
    """
    clean = {(row.dataset, row.sample_id): row for row in rows if row.condition == "clean" and row.dice is not None}
    parts: dict[str, list[SampleScore]] = {}
    for row in rows:
        if row.condition == SMOOTHED and row.dice is not None:
            parts.setdefault(row.condition_arguments, []).append(row)
    found = [_certificate(part, clean, groups_known) for part in parts.values()]
    return sorted(found, key=lambda one: one.sigma)


def _certificate(
    rows: Sequence[SampleScore], clean: dict[tuple[str, str], SampleScore], groups_known: bool
) -> Certificate:
    def mean(name: str, some: Sequence[SampleScore] = rows) -> Estimate:
        known = [(float(value), row) for row in some if (value := getattr(row, name)) is not None]
        groups = [group_of(row, groups_known) for _, row in known]
        return bootstrap_mean([value for value, _ in known], groups, bounds=(0.0, 1.0))

    given = json.loads(rows[0].condition_arguments)
    paired = [(clean[key], row) for row in rows if (key := (row.dataset, row.sample_id)) in clean]
    return Certificate(
        **{name: given[name] for name in ("sigma", "radius", "tau", "alpha", "draws", "place")},
        dice=mean("dice"),
        change=compare_paired(
            [before.dice or 0.0 for before, _ in paired],
            [after.dice or 0.0 for _, after in paired],
            [group_of(row, groups_known) for _, row in paired],
            largest=1.0,
        ),
        abstained=mean("abstained"),
        certified_dice=mean("certified_dice"),
        certified_dice_present=mean("certified_dice", [row for row in rows if not row.empty_target]),
        certified_accuracy=mean("certified_accuracy"),
    )
