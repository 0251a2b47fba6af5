"""`vlseg compare`: runs on the same samples, pair by pair; methods over their seeds; effects over datasets."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from vlseg.jobs.comparable import Side, read_side, refuse_unlike, stated_differences
from vlseg.jobs.methods import method_of, methods_over_seeds
from vlseg.jobs.results import Result, compared, gather, left_out, paired
from vlseg.metrics import crossing, holm, mixed_effect
from vlseg.records import InputError, unknown_name

METRICS = ("dice", "iou", "nsd", "hd95", "hd95_penalised", "hd", "assd", "pixel_precision", "pixel_recall", "brier")
"""hd95_penalised: the image diagonal where exactly one mask is empty, so that a missed object does not drop out."""
MOST_COMPARED = 12
"""Runs of one report that are compared pair by pair."""


def compare_runs(
    sources: Sequence[Path],
    *,
    metric: str = "dice",
    split: str = "test",
    data: Sequence[str] = (),
    own_prompt: bool = False,
) -> dict[str, Any]:
    """All pairs of runs, second minus first, on the samples both were scored on, with Holm over the pairs.

    Runs that differ in nothing but the seed are one method: methods are compared by a two-level bootstrap from five
    seeds on; below, the seeds' values are given.

    Args:
        sources: run or evaluation folders.
        metric: a column of the scores.
        split: of the evaluations to take.
        data: names or folders of the datasets to take; all where empty.
        own_prompt: of a run that was scored under several prompts, take the one it was trained on.

    Raises:
        InputError: fewer than two, no scores in one of them, an unknown metric, no common samples, or scores that
            differ by more than the run: other data, units, precision, or one run under two thresholds or protocols.
    """
    if metric not in METRICS:
        raise unknown_name("metric", metric, METRICS)
    if len(sources) < 2:
        raise InputError("compare: give two or more runs (folders made by vlseg train or evaluate)")
    sides = [read_side(source, metric, split, data, own_prompt=own_prompt) for source in sources]
    for one, two in combinations(sides, 2):
        refuse_unlike(one, two, metric)
    results = [_result(side, metric) for side in sides]
    results = [replace(one, name=name) for one, name in zip(results, _distinct([r.name for r in results]), strict=True)]
    together = list(combinations(range(len(results)), 2))
    family = sum(bool(compared(results[a], results[b])) for a, b in together)
    if not family:
        raise InputError(f"compare: the runs have no {split} sample in common; evaluate them on the same data")
    pairs = [(results[a], results[b], paired(results[a], results[b], family)) for a, b in together]
    adjusted = holm([comparison.p for _, _, comparison in pairs])
    differs = [stated_differences(sides[a], sides[b]) for a, b in together]
    return {
        "metric": metric,
        "split": split,
        "runs": [_told(side, result) for side, result in zip(sides, results, strict=True)],
        "pairs": [
            {
                "first": first.name,
                "second": second.name,
                **asdict(replace(comparison, p_holm=p)),
                "left_out": left_out(first, second),
                "differs": unlike,
            }
            for (first, second, comparison), p, unlike in zip(pairs, adjusted, differs, strict=True)
        ],
        "family": f"{family} pairs of runs, {metric}, {split}",
        "methods": methods_over_seeds(results),
        "cross_dataset": [_crossing(result) for result in results],
        "over_datasets": [_over_datasets(first, second) for first, second, _ in pairs],
    }


def comparison_for_report(sources: Sequence[Path]) -> dict[str, Any] | None:
    """The comparison of a report's runs by Dice, or {"reason": why there is none}; None for a single run."""
    if len(sources) < 2:
        return None
    if len(sources) > MOST_COMPARED:
        return {"reason": f"{len(sources)} runs are more than {MOST_COMPARED}; vlseg compare takes those you choose"}
    try:
        return compare_runs(sources, own_prompt=True)
    except InputError as error:
        return {"reason": str(error)}


def _told(side: Side, result: Result) -> dict[str, Any]:
    spec = side.spec
    return {
        "run": result.name,
        "method": result.method,
        "seed": result.seed,
        "n": len(result.values),
        "model": spec.model,
        "prompt": spec.prompt,
        "protocol": spec.protocol,
        "threshold": spec.threshold,
        "precision": spec.precision,
    }


def _result(side: Side, metric: str) -> Result:
    found = gather(side.source.resolve().name, metric, [row for _, row in side.rows])
    return replace(
        found,
        method=method_of(side.record, side.spec),
        seed=side.spec.seed,
        trained_on=() if side.record is None else side.record.trained_on,
    )


def _crossing(result: Result) -> dict[str, Any]:
    """A run's mean on every dataset it was scored on, and what is lost off the data it was trained on."""
    values: dict[str, list[float]] = {}
    groups: dict[str, list[tuple[str, str]]] = {}
    for key, value in result.values.items():
        values.setdefault(key[0], []).append(value)
        groups.setdefault(key[0], []).append(result.groups[key])
    return {
        "run": result.name,
        "trained_on": result.trained_on,
        "means": {name: float(np.mean(found)) for name, found in values.items()},
        **asdict(crossing(values, groups, result.trained_on)),
    }


def _distinct(names: Sequence[str]) -> list[str]:
    return [name if names.count(name) == 1 else f"{name} ({index})" for index, name in enumerate(names, start=1)]


def _over_datasets(first: Result, second: Result) -> dict[str, Any]:
    keys = compared(first, second)
    effect = mixed_effect(
        [second.values[key] - first.values[key] for key in keys],
        [key[0] for key in keys],
        [first.groups[key] for key in keys],
    )
    return {"first": first.name, "second": second.name, **asdict(effect)}
