"""The scores of one run as one value a sample, and what two of them have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlseg.jobs.comparable import DISTANCES
from vlseg.metrics import Comparison, compare_paired, group_of, penalised_hd95
from vlseg.records import SampleScore

Key = tuple[str, str, str]


@dataclass(frozen=True)
class Result:
    """The clean scores of one run: by (dataset, split, sample) the mean over wordings, its group, and the true area.

    `undefined`: samples that were scored and have no value: no truth, or a distance from an empty mask.
    """

    name: str
    metric: str
    method: str
    seed: int
    values: dict[Key, float]
    groups: dict[Key, tuple[str, str]]
    areas: dict[Key, int]
    trained_on: tuple[str, ...] = ()
    undefined: frozenset[Key] = frozenset()


def gather(name: str, metric: str, rows: Sequence[SampleScore]) -> Result:
    """A run's rows as one value a sample."""
    values: dict[Key, list[float]] = {}
    groups: dict[Key, tuple[str, str]] = {}
    areas: dict[Key, int] = {}
    scored: set[Key] = set()
    for row in rows:
        key = (row.dataset, row.split, row.sample_id)
        scored.add(key)
        value = penalised_hd95(row) if metric == "hd95_penalised" else getattr(row, metric)
        if row.dice is None or value is None:
            continue
        values.setdefault(key, []).append(value)
        groups[key] = group_of(row, True)
        areas[key] = row.area - (row.area_error or 0)
    return Result(
        name=name,
        metric=metric,
        method=name,
        seed=rows[0].seed,
        values={key: float(np.mean(found)) for key, found in values.items()},
        groups=groups,
        areas=areas,
        undefined=frozenset(scored - values.keys()),
    )


def compared(first: Result, second: Result) -> list[Key]:
    """Samples in both whose truth is the same: another prompt may unite other masks."""
    return [key for key in first.values if key in second.values and first.areas[key] == second.areas[key]]


def left_out(first: Result, second: Result) -> dict[str, int]:
    """How many samples a pair does not compare, by reason."""
    one, two = (result.values.keys() | result.undefined for result in (first, second))
    valued = first.values.keys() & second.values.keys()
    return {
        "only_first": len(one - two),
        "only_second": len(two - one),
        "undefined": len((one & two) - valued),
        "other_truth": sum(first.areas[key] != second.areas[key] for key in valued),
    }


def paired(first: Result, second: Result, family: int = 1) -> Comparison:
    """Second minus first over the samples in both whose truth is the same."""
    keys = compared(first, second)
    return compare_paired(
        [first.values[key] for key in keys],
        [second.values[key] for key in keys],
        [first.groups[key] for key in keys],
        largest=np.inf if first.metric in DISTANCES else 1.0,
        family=family,
    )
