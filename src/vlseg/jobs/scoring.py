"""What every scoring shares: opening a model on data, answering queries, writing the evaluation's folder."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vlseg.evaluation import Answer, Query, Setting, evaluate, load, model_answers, with_flip_uncertainty
from vlseg.evaluation.predictor import check_threshold
from vlseg.jobs.datasets import Pool, open_pool
from vlseg.jobs.evaluation_folder import evaluation_folder, identity, replacing_evaluation
from vlseg.jobs.feature_cache import open_store
from vlseg.metrics import ATTACKED, Aggregate, Asked, Calibration, Ceilings, Smoothing, aggregate, ceilings
from vlseg.models import Segmenter, Spec
from vlseg.models.exported.segmenter import Exported
from vlseg.prompts import Prompted
from vlseg.records import (
    SPLITS,
    EvaluationSpec,
    InputError,
    SampleScore,
    Told,
    check_folder,
    read_record,
    write_scores,
    write_text,
)
from vlseg.records.console import error_console
from vlseg.records.names import file_name
from vlseg.records.pictures import Pictures, write_pictures

MASK_FILES = "masks"
"""The name that mask files have in place of a model's."""

NO_CEILINGS = Ceilings(None, None, "not computed under this condition")

Condition = Literal["clean", "swapped", "corrupted", "blind", "smoothed"]


@dataclass(frozen=True)
class EvaluateOptions:
    """How to evaluate; None = what the run or the weights say.

    `smoothing` and `limit` (samples) are for condition smoothed alone.
    """

    prompt: str | None = None
    split: str = "test"
    target: str | None = None
    condition: Condition = "clean"
    weights: str | None = None
    revision: str | None = None
    device: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    engine: str | None = None
    threshold: float | None = None
    seed: int = 0
    uncertainty: Literal["flip"] | None = None
    cache: Path | None = None
    protocol: str | None = None
    arguments: Mapping[str, Any] | None = None
    pictures: bool = True
    smoothing: Smoothing | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Job:
    """Something that answers, the data it is asked about, and where the scores go.

    Attributes:
        origin: of the threshold.
        base: folder that holds evaluations/; `out`, where given, is the evaluation's folder itself.
        digest: of the model's weights, or of the mask files.
        marks: what the evaluation's name says beyond data, split, prompt and condition: settings other than usual.
        spec, model: None for mask files.
        arguments: of the condition, for the record.
    """

    answer: Answer
    pool: Pool
    setting: Setting
    options: EvaluateOptions
    prompt: str
    origin: str
    base: Path
    digest: str
    out: Path | None = None
    marks: tuple[str, ...] = ()
    spec: Spec | None = None
    model: Segmenter | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation gave and where it lies; `aggregate` is of its plain rows, see `plain_rows`."""

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
    check_threshold(options.threshold)
    run = Path(source)
    record = read_record(run / "run.json") if (run / "run.json").exists() else None
    predictor = load(
        source,
        weights=options.weights,
        revision=options.revision,
        device=options.device,
        precision=options.precision,
        threads=options.threads,
        engine=options.engine,
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
    if options.cache:
        check_folder("--cache", options.cache)
    store = open_store(options.cache, predictor.model, predictor.device, options.precision) if options.cache else None
    if store is not None and record is None:  # a run told its name when it was trained
        store.note_user(source)
    answer = model_answers(predictor.model, setting, store, pool.infos)
    if options.uncertainty == "flip":
        answer = with_flip_uncertainty(answer, pool.infos, None if spec.uses_text else spec.targets)
    origin = "fixed" if options.threshold is not None else record.threshold_origin if record else "weights"
    base = run if record else Path("evaluations") / slug(source)
    marks = _marks(options, setting, usual=predictor.threshold)
    return Job(
        answer, pool, setting, options, prompt, origin, base, predictor.digest, out, marks, spec, predictor.model
    )


def _marks(options: EvaluateOptions, setting: Setting, *, usual: float) -> tuple[str, ...]:
    """Settings that a reader of the evaluation's name would not expect."""
    given = {
        f"threshold-{setting.threshold:g}": setting.threshold != usual,
        setting.precision: setting.precision != "fp32",
        setting.protocol: options.protocol is not None,
        options.uncertainty or "": options.uncertainty is not None,
        options.engine or "": options.engine not in (None, "torch"),
        "cached": options.cache is not None,
        **{f"{name}-{value}": True for name, value in (options.arguments or {}).items()},
    }
    return tuple(name for name, unusual in given.items() if unusual)


def score(
    job: Job,
    queries: Sequence[Query],
    *,
    begin: float,
    condition: str | None = None,
    limit: int | None = None,
    truths: Mapping[tuple[str, str], np.ndarray] | None = None,
) -> Evaluated:
    """Answer the queries, score them, and write the evaluation's folder, whole or not at all.

    Args:
        job: what answers, and where to write.
        queries: see `vlseg.evaluation.Query`.
        begin: time.monotonic() at the start, for the record.
        condition: the evaluation's name, where it is not one of the options'.
        limit: the number of images that were asked about, where not all of the split.
        truths: masks by dataset and sample id, for the ceilings.

    Raises:
        InputError: the folder that was asked for holds another evaluation, or something else.
    """
    spec = describe(job, condition or job.options.condition, limit)
    folder = evaluation_folder(spec, job.base, job.out)
    calibration = Calibration()
    with replacing_evaluation(folder) as new:
        scores = _answered(job, queries, new, calibration)
        found = _ceilings(queries, truths) if truths else NO_CEILINGS
        spec = write_evaluation(new, spec, scores, calibration, found, begin)
    whole = aggregate(plain_rows(scores), groups_known=spec.groups_known)
    return Evaluated(spec, scores, whole, folder, calibration)


def write_evaluation(
    new: Path,
    spec: EvaluationSpec,
    scores: Sequence[SampleScore],
    calibration: Calibration,
    ceilings: Ceilings,
    begin: float,
) -> EvaluationSpec:
    """Scores, calibration and, last, the spec with what followed from the scores, which is given back."""
    further: dict[str, Any] = {
        "groups_known": any(row.group is not None for row in scores),
        "distance_units": sorted({row.distance_unit for row in scores}),
        "text_blind_ceiling": ceilings.text_blind,
        "class_ceiling": ceilings.by_class,
        "ceiling_reason": ceilings.reason,
        "seconds": round(time.monotonic() - begin, 1),
    }
    spec = spec.model_copy(update=further)
    write_scores(new / "scores.parquet", scores)
    write_text(new / "calibration.json", json.dumps(calibration_values(spec, calibration), indent=1) + "\n")
    write_text(new / "spec.json", spec.model_dump_json(indent=1) + "\n")
    return spec


def plain_rows(scores: Sequence[SampleScore], against: str = "original") -> list[SampleScore]:
    """The rows that stand for an evaluation as a whole, one truth for each answer.

    Of corruptions, smoothing and probes those of the images and prompts as they are; of swapped prompts those held
    against `against`: "original", the own target, or "named", that of the words.
    """
    clean = [row for row in scores if row.condition == "clean"]
    if clean:
        return clean
    return [row for row in scores if json.loads(row.condition_arguments).get("against", against) == against]


def describe(job: Job, condition: str, limit: int | None = None) -> EvaluationSpec:
    """What is scored and how, before there are scores."""
    pool, options, setting = job.pool, job.options, job.setting
    drawn = condition not in ("clean", "swapped")
    parts = [pool.name, options.split, job.prompt, condition if condition != "clean" else "", options.target or ""]
    parts += [*job.marks, f"limit-{limit}" if limit else "", f"seed-{options.seed}" if drawn and options.seed else ""]
    spec = EvaluationSpec(
        id=slug("-".join(part for part in parts if part)),
        model=setting.model,
        answers=job.digest,
        weights=options.weights,
        revision=options.revision,
        model_arguments=dict(options.arguments or {}),
        run_id=setting.run_id,
        dataset=pool.name,
        data_fingerprint=pool.fingerprint,
        data_fingerprints={name: info.fingerprint for name, info in pool.infos.items()},
        phantoms=pool.phantoms,
        split=options.split,
        target=options.target,
        prompt=job.prompt,
        prompt_sources=sorted(pool.sources),
        deployable=pool.deployable,
        protocol=setting.protocol,
        condition=condition,
        condition_arguments={**job.arguments, **({} if limit is None else {"limit": limit})},
        threshold=setting.threshold,
        threshold_origin=job.origin,
        precision=setting.precision,
        engine=_engine(job.model),
        cached_features=options.cache is not None,
        uncertainty=options.uncertainty,
        seed=setting.seed,
        query_seed=options.seed if drawn else 0,
        nsd_tolerance=setting.nsd_tolerance,
        told=told_by(job.spec, condition),
    )
    return spec.model_copy(update={"identity": identity(spec)})


def _engine(model: Segmenter | None) -> str:
    """What computes the answers; mask files have nothing to say."""
    return f"{model.spec.engine} {model.weights}" if isinstance(model, Exported) else "torch"


def calibration_values(spec: EvaluationSpec, calibration: Calibration) -> dict[str, Any]:
    """Plain values of a calibration, or the reason why there is none."""
    values = calibration.to_json()
    if spec.model == MASK_FILES:
        return values | {"reason": "mask files hold no probabilities"}
    if spec.condition == ATTACKED:
        return values | {"reason": "not computed under attack"}
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
        having = " or ".join(name for name in SPLITS if name in splits)
        raise InputError(f"--split: {pool.name} has no samples in '{split}'; give --split {having}")
    return pool.split(split)


def _answered(job: Job, queries: Sequence[Query], folder: Path, calibration: Calibration) -> list[SampleScore]:
    pictures = Pictures({}, []) if job.options.pictures else None
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
            pictures=pictures,
            calibration=calibration,
            on_image=lambda: bar.advance(task),
        )
    if pictures is not None:
        write_pictures(folder, list(pictures.images.values()), pictures.outlines)
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
    return file_name(text, 180) or "evaluation"
