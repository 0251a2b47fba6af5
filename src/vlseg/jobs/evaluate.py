"""An evaluation: a model (trained run, folder, or name) or mask files on a split, scored and written down."""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vlseg.evaluation import (
    SCANNERS,
    Query,
    Setting,
    choose_text_blind_rule,
    clean_queries,
    corrupted_queries,
    read_truths,
    swapped_queries,
    text_blind,
    text_blind_rules,
)
from vlseg.evaluation.mask_files import find_masks
from vlseg.jobs.datasets import Pool, open_pool
from vlseg.jobs.scoring import (
    MASK_FILES,
    Condition,
    Evaluated,
    EvaluateOptions,
    Job,
    calibration_values,
    open_job,
    plain_rows,
    prompted_split,
    score,
    slug,
)
from vlseg.jobs.smoothed import certificate_values, check_smoothing, smoothed
from vlseg.metrics import SMOOTHED, aggregate, corruption_effects, risk_coverage, subgroups
from vlseg.models.device import resolve_device
from vlseg.prompts import Prompted
from vlseg.records import InputError, SampleScore, read_config, read_record
from vlseg.records.names import listing

__all__ = [
    "EvaluateOptions",
    "Evaluated",
    "by_dataset",
    "evaluate_either",
    "evaluate_job",
    "evaluate_masks",
    "evaluate_on",
    "plain",
    "summary",
]


def evaluate_either(
    source: str | None, masks: Path | None, data: list[str], options: EvaluateOptions, out: Path | None = None
) -> Evaluated:
    """`evaluate_on` a model, or `evaluate_masks` of a folder.

    Raises:
        InputError: both or none of the two, and see there.
    """
    if source is not None and masks is None:
        return evaluate_on(source, data, options, out)
    if masks is not None and source is None:
        return evaluate_masks(masks, data, options, out)
    raise InputError("evaluate: give a run or model, or --masks DIR (one of the two)")


def evaluate_masks(folder: Path, data: list[str], options: EvaluateOptions, out: Path | None = None) -> Evaluated:
    """Score the mask files of a folder under the same rules, see `vlseg.evaluation.mask_files.find_masks`.

    Raises:
        InputError: a prompt or split that is unknown, masks that are missing or could be of several images, or options
            that are for models only.
    """
    begin = time.monotonic()
    _check_for_masks(options)
    prompt = options.prompt or "class"
    pool = open_pool(data, prompt, options.target)
    prompted = prompted_split(pool, options.split)
    queries = clean_queries(prompted)
    files = find_masks(folder, queries)
    if files.unused:
        print(f"--masks: {folder}: {listing(files.unused)}", file=sys.stderr)
    name = slug(folder.resolve().name)
    setting = Setting(MASK_FILES, "given", name, options.seed, resolve_device("cpu"), 0.5)
    base = Path("evaluations") / f"masks-{name}"
    job = Job(files.answer, pool, setting, options, prompt, "given", base, files.digest(), out)
    return score(job, queries, begin=begin, truths=_truths(prompted, pool))


def _check_for_masks(options: EvaluateOptions) -> None:
    check_smoothing(options)
    usual = EvaluateOptions()
    for name in ("condition", "threshold", "uncertainty", "cache", "weights", "revision", "protocol", "arguments"):
        if getattr(options, name) != getattr(usual, name):
            raise InputError(f"--{name}: is for models; mask files are scored as they are, leave it out with --masks")


def evaluate_on(source: str, data: list[str], options: EvaluateOptions, out: Path | None = None) -> Evaluated:
    """Score `source` on `data` and write spec.json, scores.parquet, calibration.json and, unless
    the options say otherwise, pictures.

    A run's evaluations go into its own evaluations/<id>; for anything else into `out`, or
    evaluations/<model>/<id> here.

    Raises:
        InputError: an unknown source, dataset, prompt or split, or a split without samples.
    """
    begin = time.monotonic()
    check_smoothing(options)
    job = open_job(source, data, options, out)
    evaluated = evaluate_job(job, prompted_split(job.pool, options.split), begin=begin)
    _tell_trackers(Path(source), evaluated, named=out is None)
    return evaluated


def evaluate_job(job: Job, prompted: list[Prompted], *, begin: float, limit: int | None = None) -> Evaluated:
    """`evaluate_on` with what answers at hand, on the given samples of its split.

    Args:
        job: what answers, and how it is asked.
        prompted: the samples.
        begin: time.monotonic() at the start, for the record.
        limit: how many samples were asked for, where they are not all of the split.

    Raises:
        InputError: a condition that these samples do not allow.
    """
    options = job.options
    if options.condition == "smoothed":
        job, queries = smoothed(job, prompted)
        return score(job, queries, begin=begin, limit=options.limit)
    if options.condition == "blind":
        job = _blind(job)
    queries = _queries(prompted, job.pool, options.condition, options.seed)
    truths = _truths(prompted, job.pool) if options.condition in ("clean", "blind") else None
    return score(job, queries, begin=begin, limit=limit, truths=truths)


def _tell_trackers(run: Path, evaluated: Evaluated, *, named: bool) -> None:
    """The means go where the run's own numbers went, under the evaluation's name; `named`: by its folder."""
    if not (run / "run.json").exists() or not (config := read_config(run / "config.yaml")).trackers:
        return
    from vlseg.training.trackers import Tracking, numbers

    record, spec = read_record(run / "run.json"), evaluated.spec
    name = evaluated.folder.name if named else f"{spec.id}-{spec.identity[:8]}"
    values = evaluated.aggregate.to_json()
    means = {key: value.get("mean") for key, value in values.items() if isinstance(value, dict)} | {"n": values["n"]}
    tracking = Tracking(run, config, record.id)
    tracking.points(
        [(record.summary.get("steps", 0), {f"{name}/{key}": value for key, value in numbers(means).items()})]
    )
    tracking.close()


def _blind(job: Job) -> Job:
    """The job with one answer an image; which one is chosen on val."""
    assert job.spec is not None
    if job.options.split == "val":
        raise InputError("condition blind: its rule is chosen on val, so it is scored on another split; give --split")
    rules = text_blind_rules(job.spec)
    rule = choose_text_blind_rule(job.answer, rules, job.pool.split("val"), job.pool.infos)
    return replace(job, answer=text_blind(job.answer, rules[rule]), arguments={"rule": rule})


def _truths(prompted: Sequence[Prompted], pool: Pool) -> dict[tuple[str, str], np.ndarray]:
    """Masks by dataset and sample id."""
    return {
        (name, key): mask
        for name in pool.infos
        for key, mask in read_truths([item for item in prompted if item.sample.dataset == name], pool.infos).items()
    }


def summary(evaluated: Evaluated, by: str | None = None) -> dict[str, Any]:
    """The machine-readable last line of `vlseg evaluate`; `by` is a column whose values are told apart.

    Raises:
        InputError: an unknown column.
    """
    rows = plain(evaluated)
    values = evaluated.aggregate.to_json()
    return {
        "command": "evaluate",
        **values,
        "detectable": {"value": None, "reason": "a single run; vlseg compare gives it for a pair of runs"},
        "by_dataset": by_dataset(evaluated),
        "calibration": calibration_values(evaluated.spec, evaluated.calibration),
        "risk_coverage": _risk_coverage(rows),
        **({"corruptions": _corruptions(evaluated)} if evaluated.spec.condition == "corrupted" else {}),
        **({"certificates": certificate_values(evaluated)} if evaluated.spec.condition == SMOOTHED else {}),
        **({"named": _named(evaluated)} if evaluated.spec.condition == "swapped" else {}),
        **({"by": _by(evaluated, by)} if by is not None else {}),
        "dataset": evaluated.spec.dataset,
        "split": evaluated.spec.split,
        "condition": evaluated.spec.condition,
        "threshold": evaluated.spec.threshold,
        "ceilings": {
            "text_blind": evaluated.spec.text_blind_ceiling,
            "class": evaluated.spec.class_ceiling,
            "reason": evaluated.spec.ceiling_reason,
        },
        "told": evaluated.spec.told,
        "prompt": evaluated.spec.prompt,
        "prompt_source": evaluated.spec.prompt_sources,
        "deployable": evaluated.spec.deployable,
        "scores": str(evaluated.folder / "scores.parquet"),
    }


def _by(evaluated: Evaluated, column: str) -> dict[str, Any]:
    parts = subgroups(plain(evaluated), column, groups_known=evaluated.spec.groups_known)
    return {"column": column, "groups": {name: one.to_json() for name, one in parts.items()}}


def _named(evaluated: Evaluated) -> dict[str, Any]:
    """The same answers to swapped prompts against what the words name."""
    return aggregate(plain_rows(evaluated.scores, "named"), groups_known=evaluated.spec.groups_known).to_json()


def plain(evaluated: Evaluated) -> list[SampleScore]:
    """The rows that stand for the evaluation as a whole, see `plain_rows`."""
    return plain_rows(evaluated.scores)


def _corruptions(evaluated: Evaluated) -> list[dict[str, Any]]:
    changes = corruption_effects(evaluated.scores, groups_known=evaluated.spec.groups_known)
    return [
        {
            "corruption": name,
            "severity": severity,
            "dice": effect.dice,
            "delta_dice": effect.original.difference,
            "ci95": effect.original.ci95,
            "n": effect.original.n,
            "reason": effect.original.reason,
        }
        for (name, severity), effect in changes.items()
    ]


def _risk_coverage(scores: Sequence[SampleScore]) -> dict[str, Any]:
    """Area under the risk-coverage curve of the case uncertainty, between that of a perfect order and of none."""
    rows = [row for row in scores if row.dice is not None and row.uncertainty is not None]
    if not rows:
        return {"area": None, "reason": "no uncertainty was computed (--uncertainty)"}
    found = risk_coverage(
        np.array([row.dice for row in rows], dtype=float), np.array([row.uncertainty for row in rows], dtype=float)
    )
    assert found is not None
    return {
        "area": found.area,
        "ideal": found.ideal,
        "random": found.random,
        "n": len(rows),
        "curve": [list(point) for point in zip(found.coverage, found.risk, strict=True)],
    }


def by_dataset(evaluated: Evaluated) -> dict[str, dict[str, Any]]:
    """The aggregate of each dataset for itself, where several were scored together."""
    names = list(dict.fromkeys(row.dataset for row in evaluated.scores))
    if len(names) < 2:
        return {}
    rows = {name: [row for row in plain(evaluated) if row.dataset == name] for name in names}
    known = evaluated.spec.groups_known
    return {name: aggregate(inside, groups_known=known).to_json() for name, inside in rows.items()}


def _queries(prompted: list[Prompted], pool: Pool, condition: Condition, seed: int) -> list[Query]:
    if condition in ("clean", "blind"):
        return [replace(query, condition=condition) for query in clean_queries(prompted)]
    if condition == "corrupted":
        scanners = {name: SCANNERS.get(info.modality, {}) for name, info in pool.infos.items()}
        return corrupted_queries([item for item in prompted if item.sample.mask_paths], seed, scanners)
    queries = []
    for name in pool.infos:
        inside = [item for item in prompted if item.sample.dataset == name]
        queries += swapped_queries(inside, read_truths(inside, pool.infos))
    if not queries:
        raise InputError(f"condition swapped: no image of {pool.name} has two disjoint targets to swap between")
    return queries
