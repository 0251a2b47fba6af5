"""An evaluation: a model (trained run, folder, or name) on a split, scored and written down."""

import json
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
    Answer,
    Query,
    Setting,
    clean_queries,
    evaluate,
    gallery_for,
    load,
    mask_answers,
    model_answers,
    read_truths,
    swapped_queries,
    with_flip_uncertainty,
)
from vlseg.metrics import Aggregate, Calibration, aggregate, risk_coverage
from vlseg.models.device import resolve_device
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
    calibration: Calibration


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


def evaluate_masks(folder: Path, data: list[str], options: EvaluateOptions, out: Path | None = None) -> Evaluated:
    """Score the mask files of a folder under the same rules, see `vlseg.evaluation.mask_answers`.

    Raises:
        InputError: a prompt or split that is unknown, or masks that are missing.
    """
    begin = time.monotonic()
    prompt = options.prompt or "class"
    pool = open_pool(data, prompt, options.target)
    queries = clean_queries(_prompted(pool, options.split))
    answer = mask_answers(folder, queries)
    name = _slug(folder.resolve().name)
    identity = _slug(f"{pool.name}-{options.split}-{prompt}" + _suffix(options))
    place = out or Path("evaluations") / f"masks-{name}" / "evaluations" / identity
    setting = Setting("masks", "given", name, options.seed, resolve_device("cpu"), 0.5)
    return _finish(answer, queries, pool, setting, options, prompt, identity, place, "given", begin)


def evaluate_on(source: str, data: list[str], options: EvaluateOptions, out: Path | None = None) -> Evaluated:
    """Score `source` on `data` and write spec.json, scores.parquet, calibration.json and overlays.

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
    spec = predictor.model.spec
    setting = Setting(spec.name, spec.protocol, run_id, seed, predictor.device, threshold, options.precision)
    answer = model_answers(predictor.model, setting)
    if options.uncertainty == "flip":
        answer = with_flip_uncertainty(answer, pool.infos)
    return _finish(answer, queries, pool, setting, options, prompt, identity, folder, origin, begin)


def _finish(
    answer: Answer,
    queries: list[Query],
    pool: Pool,
    setting: Setting,
    options: EvaluateOptions,
    prompt: str,
    identity: str,
    folder: Path,
    origin: str,
    begin: float,
) -> Evaluated:
    """Score, and write the evaluation's folder."""
    calibration = Calibration()
    scores = _score(answer, queries, pool, setting, folder, calibration)
    known = all(info.groups_known for info in pool.infos.values())
    prompted = [query.prompted for query in queries if query.condition == "clean"]
    spec = EvaluationSpec(
        id=identity,
        model=setting.model,
        run_id=setting.run_id,
        dataset=pool.name,
        data_fingerprint=pool.fingerprint,
        split=options.split,
        prompt=prompt,
        prompt_sources=sorted(pool.sources),
        deployable=pool.deployable,
        protocol=setting.protocol,
        condition=options.condition,
        threshold=setting.threshold,
        threshold_origin=origin,
        precision=setting.precision,
        seed=setting.seed,
        groups_known=known,
        nsd_tolerance=setting.nsd_tolerance,
        text_blind_ceiling=_ceiling(prompted, pool) if options.condition == "clean" else None,
        seconds=round(time.monotonic() - begin, 1),
    )
    write_scores(folder / "scores.parquet", scores)
    write_text(folder / "calibration.json", json.dumps(calibration.to_json(), indent=1) + "\n")
    write_text(folder / "spec.json", spec.model_dump_json(indent=1) + "\n")
    return Evaluated(spec, scores, aggregate(scores, groups_known=known), folder, calibration)


def summary(evaluated: Evaluated) -> dict[str, Any]:
    """The machine-readable last line of `vlseg evaluate`."""
    values = evaluated.aggregate.to_json()
    return {
        "command": "evaluate",
        **values,
        "by_dataset": by_dataset(evaluated),
        "calibration": evaluated.calibration.to_json(),
        "risk_coverage": _risk_coverage(evaluated.scores),
        "prompt": evaluated.spec.prompt,
        "prompt_source": evaluated.spec.prompt_sources,
        "deployable": evaluated.spec.deployable,
        "scores": str(evaluated.folder / "scores.parquet"),
    }


def _risk_coverage(scores: Sequence[SampleScore]) -> dict[str, Any]:
    """Area under the risk-coverage curve of the case uncertainty, between that of a perfect order and of none."""
    rows = [row for row in scores if row.dice is not None and row.uncertainty is not None]
    if not rows:
        return {"area": None, "reason": "no uncertainty was computed (--uncertainty)"}
    found = risk_coverage(
        np.array([row.dice for row in rows], dtype=float), np.array([row.uncertainty for row in rows], dtype=float)
    )
    assert found is not None
    return {"area": found.area, "ideal": found.ideal, "random": found.random, "n": len(rows)}


def subgroups(evaluated: Evaluated, column: str) -> dict[str, Any]:
    """The aggregate of each value of a column: of the score rows, an attribute, or "size-bin".

    size-bin: the true area's share of the image, empty, up to 1 %, up to 5 %, up to 15 %, above.

    Raises:
        InputError: a column that no row has; the known ones are listed.
    """
    values = [_value_of(row, column) for row in evaluated.scores]
    if all(value is None for value in values):
        attributes = {name for row in evaluated.scores for name in json.loads(row.attributes)}
        raise unknown_name("column for --by", column, {"size-bin", *BY_COLUMNS, *attributes})
    named = ["unknown" if value is None else value for value in values]
    known = evaluated.spec.groups_known
    rows = {
        name: [row for row, one in zip(evaluated.scores, named, strict=True) if one == name]
        for name in sorted(set(named))
    }
    return {name: aggregate(inside, groups_known=known).to_json() for name, inside in rows.items()}


BY_COLUMNS = ("site", "target", "group", "dataset", "wording")
SIZE_BINS = ((0.01, "up to 1 %"), (0.05, "1 to 5 %"), (0.15, "5 to 15 %"), (1.0, "above 15 %"))


def _value_of(row: SampleScore, column: str) -> str | None:
    if column == "size-bin":
        if row.area_error is None or not row.pixels:
            return None
        share = (row.area - row.area_error) / row.pixels
        return "empty" if share == 0 else next(name for edge, name in SIZE_BINS if share <= edge)
    value = getattr(row, column) if column in BY_COLUMNS else json.loads(row.attributes).get(column)
    return None if value is None else str(value)


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


def _score(
    answer: Answer, queries: list[Query], pool: Pool, setting: Setting, folder: Path, calibration: Calibration
) -> list[SampleScore]:
    gallery = gallery_for(folder / "overlays", queries)
    images = len({(q.prompted.sample.dataset, q.prompted.sample.image_id) for q in queries})
    console = Console(stderr=True)
    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("scoring", total=images)
        scores = evaluate(
            answer,
            queries,
            pool.infos,
            setting,
            gallery=gallery,
            calibration=calibration,
            on_image=lambda: bar.advance(task),
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
