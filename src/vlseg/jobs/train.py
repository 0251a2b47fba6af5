"""A training run: data, model and prompt joined, trained, validated, saved, recorded."""

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from vlseg.evaluation import MaskReader, mean_dice, ready
from vlseg.jobs.datasets import Pool, open_pool
from vlseg.jobs.environment import git_revision, package_versions, peak_memory_bytes
from vlseg.jobs.feature_cache import open_features
from vlseg.jobs.subsets import choose, write_chosen
from vlseg.models import Segmenter, build_model, load_model, retargeted
from vlseg.models.device import check_precision, resolve_device, set_threads, slow_precision
from vlseg.models.features import FeatureStore
from vlseg.prompts import Prompted
from vlseg.records import InputError, RunConfig, RunRecord, read_config, read_record, write_config, write_record
from vlseg.training import REGIMES, Fit, FitResult, with_fitting_pieces
from vlseg.training.seeds import derived_seed

VAL_THRESHOLDS = tuple(step / 20 for step in range(1, 20))
"""Candidates when the threshold is chosen on val: 0.05 to 0.95."""


@dataclass
class OpenRun:
    """A run whose folder is written and whose data and model are there; `record` and `config` change as it goes."""

    out: Path
    config: RunConfig
    record: RunRecord
    pool: Pool
    train: Sequence[Prompted]
    val: Sequence[Prompted]
    model: Segmenter
    device: torch.device


def train_run(config: RunConfig | None, out: Path, *, resume: bool = False) -> RunRecord:
    """Train into the folder `out` and return the record. With `resume`, go on where `out` stopped.

    `config` may be None only when a run is resumed. A finished run is returned as it is.

    Raises:
        InputError: wrong configuration or data; nothing is written then.
        Exception: whatever stopped the training; the record says status failed and why.
    """
    run = open_run(config, out, resume=resume)
    if isinstance(run, RunRecord):
        return run
    with recorded_failure([run]):
        trainer = trainer_of(run, resume=resume)
        return close_run(run, trainer.run() if trainer else _untrained(run))


def open_run(config: RunConfig | None, out: Path, *, resume: bool = False) -> OpenRun | RunRecord:
    """The run with its folder written, status running; the record alone where it is done already.

    Raises:
        InputError: wrong configuration or data; nothing is written then.
    """
    config, record = _begin(config, out, resume)
    if record is not None and record.status == "done":
        return record
    if not (out / "checkpoints" / "last.pt").exists():
        record = None  # it failed before there was anything to keep: mended data may be used
    threads = set_threads(config.threads)
    device = resolve_device(config.device)
    check_precision(config.precision, device)
    if slow := slow_precision(config.precision, device):
        print(slow, file=sys.stderr)
    pool = open_pool(config.data, config.prompt, config.target)
    chosen = choose(pool.split("train"), pool.split("val"), config)
    model = _model(config, pool, chosen.train)
    if record is not None and record.data_fingerprint != pool.fingerprint:
        raise InputError(f"data: {pool.name} has changed since {out} was started; train into a new folder")
    record = record or _new_record(config, out, pool, model, device, threads)
    run = OpenRun(out, config, record, pool, chosen.train, chosen.val, model, device)
    _note(run, status="running", error=None)
    write_chosen(out / "samples.json", chosen)
    return run


def trainer_of(run: OpenRun, *, resume: bool = False) -> Fit | None:
    """What trains the run's model; None where there is nothing to train (an ensemble that only averages)."""
    known = open_features(run.config, run.model, run.train, run.device)
    if not run.model.parts():
        return None
    config = with_fitting_pieces(run.config, run.model, run.train, run.pool.infos, known)
    if config != run.config:
        run.config = config
        _note(run)
    return Fit(
        run.model,
        run.train,
        run.pool.infos,
        run.config,
        run.out,
        validate=_validator(run, known.store if known else None),
        resume=resume,
        known=known,
    )


def close_run(run: OpenRun, result: FitResult) -> RunRecord:
    """Save the model and close the record."""
    threshold, origin = _threshold(run, result)
    now = datetime.now(UTC)
    if result.status == "done":
        run.model.save(run.out / "model")
    _note(
        run,
        status=result.status,
        threshold=threshold,
        threshold_origin=origin,
        ended=now,
        peak_memory_bytes=peak_memory_bytes(run.device),
        summary={
            "steps": result.steps,
            "epochs": result.epochs,
            "best_val_dice": result.best_val_dice,
            "best_step": result.best_step,
            "seconds": round((now - run.record.started).total_seconds(), 1),
        },
    )
    if result.status == "done":
        # The model folder holds the weights; what only resuming needs can go.
        shutil.rmtree(run.out / "checkpoints", ignore_errors=True)
    return run.record


@contextmanager
def recorded_failure(runs: Sequence[OpenRun]) -> Iterator[None]:
    """Whatever ends the block early is written into the records of the runs that are not done."""
    try:
        yield
    except BaseException as error:
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        for run in runs:
            if run.record.status == "running":
                _note(run, status=status, error=str(error) or type(error).__name__, ended=datetime.now(UTC))
        raise


def _note(run: OpenRun, **changes: Any) -> None:
    """Write configuration and record as they are now."""
    run.record = run.record.model_copy(update={"config": run.config.model_dump(), **changes})
    write_config(run.out / "config.yaml", run.config)
    write_record(run.out / "run.json", run.record)


def _untrained(run: OpenRun) -> FitResult:
    validate = _validator(run, None)
    return FitResult("done", 0, 0, validate() if validate else None, None)


def _begin(config: RunConfig | None, out: Path, resume: bool) -> tuple[RunConfig, RunRecord | None]:
    """The configuration in force, and the earlier record when a run is resumed."""
    if resume and (out / "run.json").exists():
        earlier = read_config(out / "config.yaml")
        if config is not None and config.accumulate == "auto" and earlier.accumulate != "auto":
            # Already resolved when the run was started.
            same = config.batch_size == earlier.batch_size * earlier.accumulate
            pieces = {"batch_size": earlier.batch_size, "accumulate": earlier.accumulate}
            config = config.model_copy(update=pieces) if same else config
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
        datasets=list(pool.infos),
        intensity=asdict(pool.datasets[0].info.intensity),
        prompt=config.prompt,
        prompt_sources=sorted(pool.sources),
        deployable=pool.deployable,
        started=datetime.now(UTC),
    )


def _validator(run: OpenRun, store: FeatureStore | None) -> Callable[[], float] | None:
    """Val Dice at the model's own threshold (or the fixed one), or None where there is no val split."""
    labelled = [item for item in run.val if item.sample.mask_paths][: run.config.validate_limit]
    if not labelled:
        return None
    fixed = run.config.threshold
    threshold = fixed if isinstance(fixed, float) else run.model.spec.threshold
    masks = MaskReader(run.pool.infos)
    return lambda: _val_dice(run, labelled, [threshold], store, masks)[0]


def _threshold(run: OpenRun, result: FitResult) -> tuple[float, str]:
    wanted, own = run.config.threshold, run.model.spec.threshold
    if wanted is None:
        return own, "default"
    if wanted != "val":
        return wanted, "fixed"
    labelled = [item for item in run.val if item.sample.mask_paths]
    if not labelled:
        raise InputError("threshold: 'val' needs a val split with masks; give a number")
    if result.status != "done":
        return own, "default"
    dice = _val_dice(run, labelled, VAL_THRESHOLDS)
    return VAL_THRESHOLDS[dice.index(max(dice))], "val"


def _val_dice(
    run: OpenRun,
    labelled: Sequence[Prompted],
    thresholds: Sequence[float],
    store: FeatureStore | None = None,
    masks: MaskReader | None = None,
) -> list[float]:
    """Mean Dice on labelled val samples for each threshold."""
    return mean_dice(
        ready(run.model, run.device),
        labelled,
        run.pool.infos,
        device=run.device,
        precision=run.config.precision,
        thresholds=thresholds,
        store=store,
        masks=masks,
    )
