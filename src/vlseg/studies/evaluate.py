"""An evaluation: a model (trained run, folder, or name) on a split, scored and written down."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vlseg.data import text_blind_ceiling
from vlseg.evaluation import (
    Predictor,
    Query,
    Setting,
    clean_queries,
    evaluate,
    gallery_for,
    load,
    read_truths,
    swapped_queries,
)
from vlseg.metrics import Aggregate, aggregate
from vlseg.prompts import Prompted
from vlseg.records import (
    EvaluationSpec,
    InputError,
    SampleScore,
    read_record,
    unknown_name,
    write_scores,
    write_text,
)
from vlseg.studies.datasets import Pool, open_pool

Condition = Literal["clean", "swapped"]


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation gave and where it lies."""

    spec: EvaluationSpec
    scores: list[SampleScore]
    aggregate: Aggregate
    folder: Path


@dataclass(frozen=True)
class EvaluateOptions:
    """How to evaluate; None = what the run or the weights say."""

    prompt: str | None = None
    split: str = "test"
    target: str | None = None
    condition: Condition = "clean"
    weights: str | None = None
    revision: str | None = None
    device: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    threshold: float | None = None
    seed: int = 0


def evaluate_on(source: str, data: list[str], options: EvaluateOptions, out: Path | None = None) -> Evaluated:
    """Score `source` on `data` and write spec.json, scores.parquet and overlays.

    A run's evaluations go into its own evaluations/<id>; for anything else into `out`, or
    evaluations/<model>/<id> here.

    Raises:
        InputError: an unknown source, dataset, prompt or split, or a split without samples.
    """
    begin = time.monotonic()
    run = Path(source)
    record = read_record(run / "run.json") if (run / "run.json").exists() else None
    predictor = load(
        source,
        weights=options.weights,
        revision=options.revision,
        device=options.device,
        precision=options.precision,
        threads=options.threads,
    )
    prompt = options.prompt or (record.prompt if record else "class")
    pool = open_pool(data, prompt, options.target)
    prompted = _prompted(pool, options.split)
    queries = _queries(prompted, pool, options.condition)
    threshold = predictor.threshold if options.threshold is None else options.threshold
    identity = _slug(f"{pool.name}-{options.split}-{prompt}" + _suffix(options))
    folder = out or ((run if record else Path("evaluations") / _slug(source)) / "evaluations" / identity)
    origin = "fixed" if options.threshold is not None else record.threshold_origin if record else "weights"
    run_id = record.id if record else _slug(source)
    seed = record.seeds["run"] if record else options.seed
    setting = Setting(run_id, seed, predictor.device, threshold, options.precision)
    scores = _score(predictor, queries, pool, setting, folder)
    known = all(info.groups_known for info in pool.infos.values())
    spec = EvaluationSpec(
        id=identity,
        model=predictor.model.spec.name,
        run_id=run_id,
        dataset=pool.name,
        data_fingerprint=pool.fingerprint,
        split=options.split,
        prompt=prompt,
        prompt_sources=sorted(pool.sources),
        deployable=pool.deployable,
        protocol=predictor.model.spec.protocol,
        condition=options.condition,
        threshold=threshold,
        threshold_origin=origin,
        precision=options.precision,
        seed=seed,
        groups_known=known,
        nsd_tolerance=setting.nsd_tolerance,
        text_blind_ceiling=_ceiling(prompted, pool) if options.condition == "clean" else None,
        seconds=round(time.monotonic() - begin, 1),
    )
    write_scores(folder / "scores.parquet", scores)
    write_text(folder / "spec.json", spec.model_dump_json(indent=1) + "\n")
    return Evaluated(spec, scores, aggregate(scores, groups_known=known), folder)


def summary(evaluated: Evaluated) -> dict[str, Any]:
    """The machine-readable last line of `vlseg evaluate`."""
    values = evaluated.aggregate.to_json()
    return {
        "command": "evaluate",
        **values,
        "by_dataset": by_dataset(evaluated),
        "prompt": evaluated.spec.prompt,
        "prompt_source": evaluated.spec.prompt_sources,
        "deployable": evaluated.spec.deployable,
        "scores": str(evaluated.folder / "scores.parquet"),
    }


def by_dataset(evaluated: Evaluated) -> dict[str, dict[str, Any]]:
    """The aggregate of each dataset for itself, where several were scored together."""
    names = list(dict.fromkeys(row.dataset for row in evaluated.scores))
    if len(names) < 2:
        return {}
    rows = {name: [row for row in evaluated.scores if row.dataset == name] for name in names}
    known = evaluated.spec.groups_known
    return {name: aggregate(inside, groups_known=known).to_json() for name, inside in rows.items()}


def _prompted(pool: Pool, split: str) -> list[Prompted]:
    splits = {sample.split for dataset in pool.datasets for sample in dataset.samples}
    if split not in splits:
        raise unknown_name(f"split of {pool.name} (with samples)", split, splits)
    return pool.split(split)


def _queries(prompted: list[Prompted], pool: Pool, condition: Condition) -> list[Query]:
    if condition == "clean":
        return clean_queries(prompted)
    queries = swapped_queries(prompted, read_truths(prompted, pool.infos))
    if not queries:
        raise InputError(f"condition swapped: no image of {pool.name} has two disjoint targets to swap between")
    return queries


def _score(predictor: Predictor, queries: list[Query], pool: Pool, setting: Setting, folder: Path) -> list[SampleScore]:
    gallery = gallery_for(folder / "overlays", queries)
    images = len({(q.prompted.sample.dataset, q.prompted.sample.image_id) for q in queries})
    console = Console(stderr=True)
    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("scoring", total=images)
        scores = evaluate(
            predictor.model, queries, pool.infos, setting, gallery=gallery, on_image=lambda: bar.advance(task)
        )
    gallery.close()
    return scores


def _ceiling(prompted: Sequence[Prompted], pool: Pool) -> float | None:
    """The text-blind ceiling of the samples; None where no image has two different targets."""
    truths = read_truths(prompted, pool.infos)
    images: dict[tuple[str, str], list[np.ndarray]] = {}
    for item in prompted:
        if item.sample.id in truths:
            images.setdefault((item.sample.dataset, item.sample.image_id), []).append(truths[item.sample.id])
    stacks = [np.stack(masks) for masks in images.values()]
    if not any((stack != stack[0]).any() for stack in stacks):
        return None
    return text_blind_ceiling(stacks)


def _suffix(options: EvaluateOptions) -> str:
    parts = [options.condition if options.condition != "clean" else "", options.target or ""]
    return "".join(f"-{part}" for part in parts if part)


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9+._-]+", "-", text).strip("-.") or "evaluation"
