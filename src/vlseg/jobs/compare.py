"""`vlseg compare`: runs on the same samples, pair by pair; methods over their seeds; effects over datasets."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from vlseg.metrics import Comparison, compare_paired, crossing, holm, mixed_effect, penalised_hd95, two_level_mean
from vlseg.records import EvaluationSpec, InputError, SampleScore, read_record, read_scores, unknown_name

METRICS = ("dice", "iou", "nsd", "hd95", "hd95_penalised", "hd", "assd", "pixel_precision", "pixel_recall", "brier")
"""hd95_penalised: the image diagonal where exactly one mask is empty, so that a missed object does not drop out."""
MOST_COMPARED = 12
"""Runs of one report that are compared pair by pair."""
DISTANCES = ("hd95", "hd95_penalised", "hd", "assd")
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Result:
    """The clean scores of one run: by (dataset, split, sample) the mean over wordings, its group, and the true area."""

    name: str
    metric: str
    method: str
    seed: int
    values: dict[Key, float]
    groups: dict[Key, tuple[str, str]]
    areas: dict[Key, int]
    trained_on: tuple[str, ...] = ()


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
        data: names of datasets to take; all where empty.
        own_prompt: of a run that was scored under several prompts, take the one it was trained on.

    Raises:
        InputError: fewer than two, no scores in one of them, an unknown metric, or no common samples.
    """
    if metric not in METRICS:
        raise unknown_name("metric", metric, METRICS)
    if len(sources) < 2:
        raise InputError("compare: give two or more runs (folders made by vlseg train or evaluate)")
    results = [_read(source, metric, split, data, own_prompt) for source in sources]
    results = [replace(one, name=name) for one, name in zip(results, _distinct([r.name for r in results]), strict=True)]
    pairs = [(first, second, paired(first, second)) for first, second in combinations(results, 2)]
    if all(comparison.n == 0 for _, _, comparison in pairs):
        raise InputError(f"compare: the runs have no {split} sample in common; evaluate them on the same data")
    adjusted = holm([comparison.p for _, _, comparison in pairs])
    return {
        "metric": metric,
        "split": split,
        "runs": [{"run": r.name, "method": r.method, "seed": r.seed, "n": len(r.values)} for r in results],
        "pairs": [
            {"first": first.name, "second": second.name, **asdict(replace(comparison, p_holm=p))}
            for (first, second, comparison), p in zip(pairs, adjusted, strict=True)
        ],
        "family": f"{len(pairs)} pairs of runs, {metric}, {split}",
        "methods": _methods(results),
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


def _read(source: Path, metric: str, split: str, data: Sequence[str], own_prompt: bool = False) -> Result:
    folders = [source] if (source / "scores.parquet").exists() else sorted((source / "evaluations").glob("*"))
    wanted = read_record(source / "run.json").prompt if own_prompt and (source / "run.json").exists() else None
    rows: list[SampleScore] = []
    specs = []
    known = True
    for folder in folders:
        if not (folder / "spec.json").exists() or not (folder / "scores.parquet").exists():
            continue
        spec = EvaluationSpec.read(folder / "spec.json")
        if spec.condition == "clean" and spec.split == split and wanted in (None, spec.prompt):
            specs.append(spec)
            known &= spec.groups_known
            rows += [row for row in read_scores(folder / "scores.parquet") if not data or row.dataset in data]
    if not rows:
        raise InputError(f"{source}: holds no {split} scores; run vlseg evaluate {source} --data DATA first")
    units = sorted({row.distance_unit for row in rows})
    if metric in DISTANCES and len(units) > 1:
        raise InputError(
            f"{source}: distances in {' and '.join(units)} have no common mean; choose datasets with --data"
        )
    prompts = {spec.prompt for spec in specs}
    if len({(row.dataset, row.sample_id, row.prompt) for row in rows}) > len({(r.dataset, r.sample_id) for r in rows}):
        raise InputError(
            f"{source}: was scored under several prompts ({', '.join(sorted(prompts))}); give one evaluation's folder"
        )
    return gather(source, metric, rows, specs, known)


def gather(
    source: Path, metric: str, rows: Sequence[SampleScore], specs: Sequence[EvaluationSpec], known: bool
) -> Result:
    """A run's rows as one value a sample."""
    values: dict[Key, list[float]] = {}
    groups: dict[Key, tuple[str, str]] = {}
    areas: dict[Key, int] = {}
    for row in rows:
        if row.dice is None:
            continue
        value = penalised_hd95(row) if metric == "hd95_penalised" else getattr(row, metric)
        if value is None:
            continue
        key = (row.dataset, row.split, row.sample_id)
        values.setdefault(key, []).append(value)
        groups[key] = (row.dataset, f"group {row.group}" if known and row.group else f"image {row.image_id}")
        areas[key] = row.area - (row.area_error or 0)
    return Result(
        name=source.resolve().name,
        metric=metric,
        method=_method(source, specs[0]),
        trained_on=_trained_on(source),
        seed=specs[0].seed,
        values={key: float(np.mean(found)) for key, found in values.items()},
        groups=groups,
        areas=areas,
    )


def _method(source: Path, spec: EvaluationSpec) -> str:
    """What the run is apart from its seed."""
    if not (source / "run.json").exists():
        return f"{spec.model}, {spec.prompt}, {spec.run_id}"
    config = {key: value for key, value in read_record(source / "run.json").config.items() if key != "seed"}
    start = Path(config["weights"]) if config.get("weights") else None
    if start is not None and (start / "run.json").exists():
        # Another seed of the training that was started from is the same method.
        config["weights"] = f"({_method(start, spec)})"
    told = [f"{key}={config[key]}" for key in ("model", "prompt", "regime", "weights", "fold") if config.get(key)]
    import hashlib

    mark = hashlib.sha256(repr(sorted(config.items())).encode()).hexdigest()[:6]
    return f"{', '.join(told)} [{mark}]"


def _trained_on(source: Path) -> tuple[str, ...]:
    """Names of the datasets a run, or the run an evaluation lies in, was trained on; none where that is not known."""
    for folder in (source, source.resolve().parent.parent):
        if (folder / "run.json").exists():
            return tuple(read_record(folder / "run.json").dataset.split("+"))
    return ()


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


def _common(first: Result, second: Result) -> list[Key]:
    """Samples in both whose truth is the same: another prompt may unite other masks."""
    return [key for key in first.values if key in second.values and first.areas[key] == second.areas[key]]


def paired(first: Result, second: Result) -> Comparison:
    """Second minus first over the samples in both whose truth is the same."""
    keys = _common(first, second)
    return compare_paired(
        [first.values[key] for key in keys],
        [second.values[key] for key in keys],
        [first.groups[key] for key in keys],
        largest=np.inf if first.metric in DISTANCES else 1.0,
    )


def _methods(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Each method's mean over its seeds, and the difference of each pair with the same seeds count, two-level."""
    by_method: dict[str, list[Result]] = {}
    for result in results:
        by_method.setdefault(result.method, []).append(result)
    rows: list[dict[str, Any]] = []
    for method, runs in by_method.items():
        keys = [key for key in runs[0].values if all(key in run.values for run in runs)]
        table = [[run.values[key] for key in keys] for run in runs]
        estimate = two_level_mean(table, [runs[0].groups[key] for key in keys])
        rows.append(
            {
                "method": method,
                "seeds": [run.seed for run in runs],
                "means": [float(np.mean(row)) for row in table],
                "mean": estimate.mean,
                "ci95": estimate.ci95,
                "reason": estimate.reason,
            }
        )
    for (one, first), (two, second) in combinations(by_method.items(), 2):
        rows.append({"method": f"{two} minus {one}", **method_difference(first, second)})
    return rows


def method_difference(first: Sequence[Result], second: Sequence[Result]) -> dict[str, Any]:
    """Difference of two methods: the runs paired in order of their seeds."""
    one, two = (sorted(runs, key=lambda run: run.seed) for runs in (first, second))
    pairs = list(zip(one, two, strict=False))
    keys = [key for key in _common(*pairs[0]) if all(key in a.values and key in b.values for a, b in pairs)]
    if not keys:
        return {"seeds": [], "means": [], "mean": None, "ci95": None, "reason": "no sample is in all runs"}
    table = [[b.values[key] - a.values[key] for key in keys] for a, b in pairs]
    estimate = two_level_mean(table, [pairs[0][0].groups[key] for key in keys])
    return {
        "seeds": [[a.seed, b.seed] for a, b in pairs],
        "means": [float(np.mean(row)) for row in table],
        "mean": estimate.mean,
        "ci95": estimate.ci95,
        "reason": estimate.reason,
    }


def _over_datasets(first: Result, second: Result) -> dict[str, Any]:
    keys = _common(first, second)
    effect = mixed_effect(
        [second.values[key] - first.values[key] for key in keys],
        [key[0] for key in keys],
        [first.groups[key] for key in keys],
    )
    return {"first": first.name, "second": second.name, **asdict(effect)}
