"""A training run: data, model and prompt joined, trained, validated, saved, recorded."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch

from vlseg.evaluation import mean_dice, ready
from vlseg.models import Segmenter, build_model, load_model, retargeted
from vlseg.models.device import check_precision, resolve_device, set_threads
from vlseg.models.features import FeatureStore
from vlseg.prompts import Prompted
from vlseg.records import InputError, RunConfig, RunRecord, read_config, read_record, write_config, write_record
from vlseg.studies.datasets import Pool, open_pool
from vlseg.studies.environment import git_revision, package_versions, peak_memory_bytes
from vlseg.studies.feature_cache import open_features
from vlseg.studies.subsets import choose, write_chosen
from vlseg.training import REGIMES, FitResult, fit
from vlseg.training.seeds import derived_seed

VAL_THRESHOLDS = tuple(step / 20 for step in range(1, 20))
"""Candidates when the threshold is chosen on val: 0.05 to 0.95."""


def train_run(config: RunConfig | None, out: Path, *, resume: bool = False) -> RunRecord:
    """Train into the folder `out` and return the record. With `resume`, go on where `out` stopped.

    `config` may be None only when a run is resumed. A finished run is returned as it is.

    Raises:
        InputError: wrong configuration or data; nothing is written then.
        Exception: whatever stopped the training; the record says status failed and why.
    """
    config, record = _begin(config, out, resume)
    if record is not None and record.status == "done":
        return record
    if not (out / "checkpoints" / "last.pt").exists():
        record = None  # it failed before there was anything to keep: mended data may be used
    threads = set_threads(config.threads)
    device = resolve_device(config.device)
    check_precision(config.precision, device)
    pool = open_pool(config.data, config.prompt, config.target)
    chosen = choose(pool.split("train"), pool.split("val"), config)
    train, val = chosen.train, chosen.val
    model = _model(config, pool, train)
    if record is not None and record.data_fingerprint != pool.fingerprint:
        raise InputError(f"data: {pool.name} has changed since {out} was started; train into a new folder")
    record = record or _new_record(config, out, pool, model, device, threads)
    record = record.model_copy(update={"status": "running", "error": None})
    write_config(out / "config.yaml", config)
    write_record(out / "run.json", record)
    write_chosen(out / "samples.json", chosen)
    try:
        known = open_features(config, model, train, device)
        validate = _validator(model, val, pool, config, device, known.store if known else None)
        if model.parts():
            result = fit(model, train, pool.infos, config, out, validate=validate, resume=resume, known=known)
        else:  # an ensemble that only averages: there is nothing to train
            result = FitResult("done", 0, 0, validate() if validate else None, None)
        record = _finish(record, result, model, val, pool, config, out, device)
    except BaseException as error:
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        message = str(error) or type(error).__name__
        failed = {"status": status, "error": message, "ended": datetime.now(UTC)}
        write_record(out / "run.json", record.model_copy(update=failed))
        raise
    return record


def _begin(config: RunConfig | None, out: Path, resume: bool) -> tuple[RunConfig, RunRecord | None]:
    """The configuration in force, and the earlier record when a run is resumed."""
    if resume and (out / "run.json").exists():
        earlier = read_config(out / "config.yaml")
        if config is not None and config != earlier:
            different = [key for key, value in earlier if getattr(config, key) != value]
            raise InputError(
                f"{out / 'config.yaml'}: the run was started with another {', '.join(different)}; "
                "resume with --out and --resume alone, or train into a new folder"
            )
        return earlier, read_record(out / "run.json")
    if config is None:
        raise InputError(f"{out}: no run to resume there; give --model and --data to start one")
    if config.regime not in REGIMES:
        raise InputError(f"regime: '{config.regime}' is unknown (known: {', '.join(REGIMES)})")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out: {out} is a file; give a folder")
    if not resume and out.is_dir() and any(out.iterdir()):
        raise InputError(f"--out: {out} is not empty; add --resume to go on with it, or choose another folder")
    return config, None


def _model(config: RunConfig, pool: Pool, train: Sequence[Prompted]) -> Segmenter:
    """The model to train: random from the seed, or from weights."""
    torch.manual_seed(derived_seed(config.seed, "init"))
    if config.weights is None:
        model = build_model(
            config.model,
            arguments=config.model_arguments,
            targets=pool.targets,
            protocol=config.protocol or "corrected",
        )
    else:
        model = _from_weights(config, pool)
    if not model.spec.uses_text:
        unnamed = [item.sample.id for item in train if item.sample.target is None]
        if unnamed:
            raise InputError(
                f"model '{config.model}' reads no text and needs each sample's target, which {unnamed[0]} lacks; "
                "give --target, or 'target' in the annotation file"
            )
    return model


def _from_weights(config: RunConfig, pool: Pool) -> Segmenter:
    """The weights' model under their own protocol, unless the configuration names one.

    An image-only model that was trained on other targets keeps everything but the outputs of targets that are new,
    which start anew: transfer from one dataset to another.
    """
    model = load_model(
        str(config.weights),
        name=config.model,
        revision=config.revision,
        protocol=config.protocol,
        arguments=config.model_arguments,
    )
    if model.spec.name != config.model:
        raise InputError(f"--weights: {config.weights} holds a '{model.spec.name}', not a '{config.model}'")
    if model.spec.uses_text or model.spec.targets == pool.targets:
        return model
    return retargeted(
        model, pool.targets, str(config.weights), revision=config.revision, arguments=config.model_arguments
    )


def _new_record(
    config: RunConfig, out: Path, pool: Pool, model: Segmenter, device: torch.device, threads: int
) -> RunRecord:
    return RunRecord(
        id=out.resolve().name,
        status="running",
        config=config.model_dump(),
        protocol=model.spec.protocol,
        device=str(device),
        precision=config.precision,
        threads=threads,
        seeds={"run": config.seed},
        fold=config.fold,
        git_revision=git_revision(),
        packages=package_versions(),
        data_fingerprint=pool.fingerprint,
        dataset=pool.name,
        intensity=asdict(pool.datasets[0].info.intensity),
        prompt=config.prompt,
        prompt_sources=sorted(pool.sources),
        deployable=pool.deployable,
        started=datetime.now(UTC),
    )


def _validator(
    model: Segmenter,
    val: Sequence[Prompted],
    pool: Pool,
    config: RunConfig,
    device: torch.device,
    store: FeatureStore | None,
) -> Callable[[], float] | None:
    """Val Dice at the model's own threshold (or the fixed one), or None where there is no val split."""
    labelled = [item for item in val if item.sample.mask_paths][: config.validate_limit]
    if not labelled:
        return None
    threshold = config.threshold if isinstance(config.threshold, float) else model.spec.threshold

    def validate() -> float:
        return _val_dice(model, labelled, pool, config, device, [threshold], store)[0]

    return validate


def _finish(
    record: RunRecord,
    result: FitResult,
    model: Segmenter,
    val: Sequence[Prompted],
    pool: Pool,
    config: RunConfig,
    out: Path,
    device: torch.device,
) -> RunRecord:
    """Save the model and close the record."""
    threshold, origin = _threshold(model, val, pool, config, device, result)
    now = datetime.now(UTC)
    update: dict[str, object] = {
        "status": result.status,
        "threshold": threshold,
        "threshold_origin": origin,
        "ended": now,
        "peak_memory_bytes": peak_memory_bytes(device),
        "summary": {
            "steps": result.steps,
            "epochs": result.epochs,
            "best_val_dice": result.best_val_dice,
            "best_step": result.best_step,
            "seconds": round((now - record.started).total_seconds(), 1),
        },
    }
    record = record.model_copy(update=update)
    if result.status == "done":
        model.save(out / "model")
    write_record(out / "run.json", record)
    if result.status == "done":
        # The model folder holds the weights; what only resuming needs can go.
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return record


def _threshold(
    model: Segmenter,
    val: Sequence[Prompted],
    pool: Pool,
    config: RunConfig,
    device: torch.device,
    result: FitResult,
) -> tuple[float, str]:
    if config.threshold is None:
        return model.spec.threshold, "default"
    if config.threshold != "val":
        return config.threshold, "fixed"
    labelled = [item for item in val if item.sample.mask_paths]
    if not labelled:
        raise InputError("threshold: 'val' needs a val split with masks; give a number")
    if result.status != "done":
        return model.spec.threshold, "default"
    dice = _val_dice(model, labelled, pool, config, device, VAL_THRESHOLDS)
    return VAL_THRESHOLDS[dice.index(max(dice))], "val"


def _val_dice(
    model: Segmenter,
    labelled: Sequence[Prompted],
    pool: Pool,
    config: RunConfig,
    device: torch.device,
    thresholds: Sequence[float],
    store: FeatureStore | None = None,
) -> list[float]:
    """Mean Dice on labelled val samples for each threshold."""
    return mean_dice(
        ready(model, device),
        labelled,
        pool.infos,
        device=device,
        precision=config.precision,
        thresholds=thresholds,
        store=store,
    )
