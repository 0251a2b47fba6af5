"""What every scoring shares: opening a model on data, answering queries, writing the evaluation's folder."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vlseg.evaluation import Answer, Query, Setting, evaluate, gallery_for, load, model_answers, with_flip_uncertainty
from vlseg.jobs.datasets import Pool, open_pool
from vlseg.jobs.feature_cache import open_store
from vlseg.metrics import Aggregate, Asked, Calibration, Ceilings, aggregate, ceilings
from vlseg.models import Spec
from vlseg.prompts import Prompted
from vlseg.records import EvaluationSpec, SampleScore, Told, read_record, unknown_name, write_scores, write_text
from vlseg.records.console import error_console

MASK_FILES = "masks"
"""The name that mask files have in place of a model's."""

Condition = Literal["clean", "swapped", "corrupted", "blind"]


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
    uncertainty: Literal["flip"] | None = None
    cache: Path | None = None
    protocol: str | None = None
    arguments: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Job:
    """Something that answers, the data it is asked about, and where the scores go.

    Attributes:
        origin: of the threshold.
        base: folder that holds evaluations/; `out`, where given, is the evaluation's folder itself.
        spec: of the model; None for mask files.
        arguments: of the condition, for the record.
    """

    answer: Answer
    pool: Pool
    setting: Setting
    options: EvaluateOptions
    prompt: str
    origin: str
    base: Path
    out: Path | None = None
    spec: Spec | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation gave and where it lies."""

    spec: EvaluationSpec
    scores: list[SampleScore]
    aggregate: Aggregate
    folder: Path
    calibration: Calibration


def open_job(source: str, data: list[str], options: EvaluateOptions, out: Path | None = None) -> Job:
    """A run, model folder, hub id or model name on datasets, under the run's own prompt unless another is given.

    Raises:
        InputError: an unknown source, dataset or prompt.
    """
    run = Path(source)
    record = read_record(run / "run.json") if (run / "run.json").exists() else None
    predictor = load(
        source,
        weights=options.weights,
        revision=options.revision,
        device=options.device,
        precision=options.precision,
        threads=options.threads,
        protocol=options.protocol,
        arguments=options.arguments,
    )
    prompt = options.prompt or (record.prompt if record else "class")
    pool = open_pool(data, prompt, options.target)
    spec = predictor.model.spec
    setting = Setting(
        spec.name,
        spec.protocol,
        record.id if record else slug(source),
        record.seeds["run"] if record else options.seed,
        predictor.device,
        predictor.threshold if options.threshold is None else options.threshold,
        options.precision,
    )
    store = open_store(options.cache, predictor.model, predictor.device, options.precision) if options.cache else None
    answer = model_answers(predictor.model, setting, store, pool.infos)
    if options.uncertainty == "flip":
        answer = with_flip_uncertainty(answer, pool.infos, None if spec.uses_text else spec.targets)
    origin = "fixed" if options.threshold is not None else record.threshold_origin if record else "weights"
    base = run if record else Path("evaluations") / slug(source)
    return Job(answer, pool, setting, options, prompt, origin, base, out, spec)


def score(
    job: Job,
    queries: Sequence[Query],
    *,
    begin: float,
    condition: str | None = None,
    truths: Mapping[tuple[str, str], np.ndarray] | None = None,
) -> Evaluated:
    """Answer the queries, score them, and write the evaluation's folder.

    Args:
        job: what answers, and where to write.
        queries: see `vlseg.evaluation.Query`.
        begin: time.monotonic() at the start, for the record.
        condition: the evaluation's name, where it is not one of the options'.
        truths: masks by dataset and sample id, for the ceilings.
    """
    pool, options = job.pool, job.options
    told = condition or options.condition
    parts = [pool.name, options.split, job.prompt, *([told] if told != "clean" else []), options.target or ""]
    identity = slug("-".join(part for part in parts if part))
    folder = job.out or job.base / "evaluations" / identity
    calibration = Calibration()
    scores = _answered(job, queries, folder, calibration)
    known = all(info.groups_known for info in pool.infos.values())
    found = _ceilings(queries, truths) if truths else Ceilings(None, None, "not computed under this condition")
    spec = EvaluationSpec(
        id=identity,
        model=job.setting.model,
        run_id=job.setting.run_id,
        dataset=pool.name,
        data_fingerprint=pool.fingerprint,
        split=options.split,
        prompt=job.prompt,
        prompt_sources=sorted(pool.sources),
        deployable=pool.deployable,
        protocol=job.setting.protocol,
        condition=told,
        condition_arguments=dict(job.arguments),
        threshold=job.setting.threshold,
        threshold_origin=job.origin,
        precision=job.setting.precision,
        seed=job.setting.seed,
        groups_known=known,
        nsd_tolerance=job.setting.nsd_tolerance,
        text_blind_ceiling=found.text_blind,
        class_ceiling=found.by_class,
        ceiling_reason=found.reason,
        told=told_by(job.spec, told),
        seconds=round(time.monotonic() - begin, 1),
    )
    write_scores(folder / "scores.parquet", scores)
    write_text(folder / "calibration.json", json.dumps(calibration_values(spec, calibration), indent=1) + "\n")
    write_text(folder / "spec.json", spec.model_dump_json(indent=1) + "\n")
    return Evaluated(spec, scores, aggregate(scores, groups_known=known), folder, calibration)


def calibration_values(spec: EvaluationSpec, calibration: Calibration) -> dict[str, Any]:
    """Plain values of a calibration, or the reason why there is none."""
    values = calibration.to_json()
    if spec.model == MASK_FILES:
        return values | {"reason": "mask files hold no probabilities"}
    if values["expected_calibration_error"] is None:
        return values | {"reason": "no pixel near a truth or a prediction under the prompts as they are"}
    return values


def prompted_split(pool: Pool, split: str) -> list[Prompted]:
    """The prompted samples of a split.

    Raises:
        InputError: a split without samples; those that have some are listed.
    """
    splits = {sample.split for dataset in pool.datasets for sample in dataset.samples}
    if split not in splits:
        raise unknown_name(f"split of {pool.name} (with samples)", split, splits)
    return pool.split(split)


def _answered(job: Job, queries: Sequence[Query], folder: Path, calibration: Calibration) -> list[SampleScore]:
    gallery = gallery_for(folder / "overlays", queries)
    images = len({(q.prompted.sample.dataset, q.prompted.sample.image_id) for q in queries})
    console = error_console()
    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("scoring", total=images)
        scores = evaluate(
            job.answer,
            queries,
            job.pool.infos,
            job.setting,
            gallery=gallery,
            calibration=calibration,
            on_image=lambda: bar.advance(task),
        )
    gallery.close()
    return scores


def _ceilings(queries: Sequence[Query], truths: Mapping[tuple[str, str], np.ndarray]) -> Ceilings:
    """Of the samples asked about; wordings of one sample count once."""
    items = {(query.prompted.sample.dataset, query.prompted.sample.id): query.prompted for query in queries}
    return ceilings(
        [
            Asked((key[0], item.sample.image_id), item.sample.target, frozenset(item.wordings), truths[key])
            for key, item in items.items()
            if key in truths
        ]
    )


def told_by(spec: Spec | None, condition: str) -> Told:
    """What a model of `spec` knows beside the image under a condition; None = mask files."""
    if condition == "blind":
        return "nothing"
    return "unknown" if spec is None else "prompt" if spec.uses_text else "target"


def slug(text: str) -> str:
    """The text as a file name."""
    return re.sub(r"[^A-Za-z0-9+._-]+", "-", text).strip("-.") or "evaluation"
