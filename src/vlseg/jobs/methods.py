"""Methods: runs that are alike but for the seed, their means, and their differences for other seeds and groups."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from vlseg.jobs.comparable import DISTANCES, RECORD, TOLD
from vlseg.jobs.results import Key, Result, compared
from vlseg.metrics import two_level_mean
from vlseg.records import EvaluationSpec, RunRecord, read_record

NO_METHOD = ("seed", "devices", "nodes")
"""Settings that make no other method: what more devices change beyond rounding is `RunRecord.batch_parts`."""
SHORT = 24
"""Letters of an argument's value that a method's name may hold; longer ones (paths, configurations) are in its mark."""


def method_of(record: RunRecord | None, spec: EvaluationSpec) -> str:
    """What a run, and how it was asked, is apart from its seed."""
    if record is None:
        mark = f" [{spec.answers[:6]}]" if spec.answers else ""
        return f"{spec.model}, {spec.prompt}, {spec.run_id}{mark}"
    config = _without_seed(record)
    told = [f"{key}={config[key]}" for key in ("model", "prompt", "regime", "fold") if config.get(key)]
    told += [f"{key}={config[key]}" for key, usual in TOLD.items() if config.get(key, usual) != usual]
    if spec.prompt != record.prompt:
        told.append(f"asked={spec.prompt}")
    if spec.threshold_origin == "fixed":
        told.append(f"threshold={spec.threshold}")
    if spec.protocol != record.protocol:
        told.append(f"protocol={spec.protocol}")
    if spec.cached_features:
        told.append("cached features")
    built, added = (
        {name: value for name, value in config.get(key, {}).items() if len(str(value)) <= SHORT}
        for key in ("model_arguments", "regime_arguments")
    )
    told += [f"{name}={value}" for name, value in (*added.items(), *(built | spec.model_arguments).items())]
    mark = hashlib.sha256(repr(sorted(config.items(), key=lambda one: one[0])).encode()).hexdigest()[:6]
    return f"{', '.join(told)} [{mark}]"


def _without_seed(record: RunRecord) -> dict[str, Any]:
    """All that makes a method; another seed, also of the run it began from, or number of devices is none."""
    made = {name: getattr(record, name) for name, rule in RECORD.items() if rule == "method"}
    config = {key: value for key, value in made.pop("config").items() if key not in NO_METHOD}
    start = Path(config["weights"]) if config.get("weights") else None
    if start is not None and (start / "run.json").exists():
        config["weights"] = repr(sorted(_without_seed(read_record(start / "run.json")).items()))
    return config | made


def methods_over_seeds(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Each method's mean over its seeds, and the difference of each pair of methods, for other seeds and groups."""
    by_method: dict[str, list[Result]] = {}
    for result in results:
        by_method.setdefault(result.method, []).append(result)
    rows: list[dict[str, Any]] = []
    for method, runs in by_method.items():
        shared = [set(compared(runs[0], run)) for run in runs]
        keys = [key for key in runs[0].values if all(key in common for common in shared)]
        table = [[run.values[key] for key in keys] for run in runs]
        seeds = [run.seed for run in runs]
        bounds = (0.0, np.inf if runs[0].metric in DISTANCES else 1.0)
        rows.append({"method": method, "seeds": seeds, **_over_seeds(table, runs[0], keys, seeds, bounds)})
    for (one, first), (two, second) in combinations(by_method.items(), 2):
        rows.append({"method": f"{two} minus {one}", **method_difference(first, second)})
    return rows


def method_difference(first: Sequence[Result], second: Sequence[Result]) -> dict[str, Any]:
    """Difference of two methods: the runs paired in order of their seeds; those without a partner are counted."""
    one, two = (sorted(runs, key=lambda run: run.seed) for runs in (first, second))
    pairs = list(zip(one, two, strict=False))
    shared = [set(compared(a, b)) for a, b in pairs]
    areas = pairs[0][0].areas
    keys = [
        key
        for key in pairs[0][0].values
        if all(key in common for common in shared) and all(a.areas[key] == areas[key] for a, _ in pairs)
    ]
    seeds = [[a.seed, b.seed] for a, b in pairs]
    without = {"runs_without_partner": len(one) + len(two) - 2 * len(pairs)}
    if not keys:
        return {
            "seeds": [],
            "means": [],
            "mean": None,
            "ci95": None,
            "n": 0,
            "reason": "no sample is in all runs",
        } | without
    table = [[b.values[key] - a.values[key] for key in keys] for a, b in pairs]
    largest = np.inf if one[0].metric in DISTANCES else 1.0
    return {"seeds": seeds, **_over_seeds(table, pairs[0][0], keys, seeds, (-largest, largest))} | without


def _over_seeds(
    table: Sequence[Sequence[float]],
    run: Result,
    keys: Sequence[Key],
    seeds: Sequence[Any],
    bounds: tuple[float, float],
) -> dict[str, Any]:
    estimate = two_level_mean(table, [run.groups[key] for key in keys], bounds=bounds)
    if len({repr(seed) for seed in seeds}) < len(seeds):
        # The same run again, or another with its seed: their spread is not that of seeds.
        estimate = replace(estimate, ci95=None, reason="a seed occurs more than once")
    return {
        "means": [float(np.mean(row)) for row in table] if keys else [],
        "mean": estimate.mean,
        "ci95": estimate.ci95,
        "n": estimate.n,
        "reason": estimate.reason,
    }
