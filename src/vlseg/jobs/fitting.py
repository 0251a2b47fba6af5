"""A run's model, its trainer, its validation, and its folder from the first write to the last."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vlseg.data import load_mask
from vlseg.data.seeds import derived_seed
from vlseg.evaluation import MaskReader, mean_dice, ready, write_judging
from vlseg.jobs.datasets import Pool
from vlseg.jobs.environment import git_revision, package_versions, peak_memory_bytes
from vlseg.jobs.feature_cache import open_features
from vlseg.jobs.judging import Fitting, fit_judging, shown
from vlseg.jobs.run_folder import Started, claim
from vlseg.jobs.subsets import spread, write_chosen
from vlseg.models import Segmenter, build_model, load_model, retargeted
from vlseg.models.additions import ADDITIONS
from vlseg.models.additions.base import Base
from vlseg.models.additions.extended import Extended
from vlseg.models.additions.loading import extend
from vlseg.models.device import check_precision, resolve_device, set_threads, slow_precision
from vlseg.models.exported.segmenter import NO_TRAINING
from vlseg.models.features import FeatureStore
from vlseg.prompts import Prompted
from vlseg.records import InputError, RunConfig, RunRecord, write_config, write_record
from vlseg.training import Fit, FitResult, trained_parts, with_fitting_pieces
from vlseg.training.adversarial import check_adversarial
from vlseg.training.batches import group_by_image
from vlseg.training.distributed import add_up, broadcast, is_first, rank, world
from vlseg.training.semi import check_pseudo_labels
from vlseg.training.trackers import Tracking

VAL_THRESHOLDS = tuple(step / 20 for step in range(1, 20))
"""Candidates when the threshold is chosen on val: 0.05 to 0.95."""
PARTED = (
    "{model} has batch norms that train: their statistics are those of one of the {parts} parts of a batch, so that it "
    "learns otherwise than on one device"
)


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
    tracking: Tracking | None = None
    store: FeatureStore | None = None


def train_started(started: Started, held: ExitStack, *, resume: bool = False, threads: int | None = None) -> RunRecord:
    """Train a run whose configuration and data are known; its record, in every process that trains it.

    `held` keeps the folder's lock; `threads` are those of this process where the configuration names none.
    """
    run = open_run(started, held, threads)
    with recorded_failure([run]):
        trainer = trainer_of(run, resume=resume)
        close_run(run, trainer.run() if trainer else untrained(run))
        return broadcast(run.record)


def open_run(started: Started, held: ExitStack, threads: int | None = None) -> OpenRun:
    """The run with its model made and its folder written, status running; `held` keeps the folder's lock.

    Of several processes the first one writes and locks.

    Raises:
        InputError: wrong configuration or weights; nothing is written then.
    """
    config, pool, chosen = started.config, started.pool, started.chosen
    threads = set_threads(config.threads or threads)
    device = resolve_device(config.device)
    check_precision(config.precision, device)
    if (slow := slow_precision(config.precision, device)) and is_first():
        print(slow, file=sys.stderr)
    model = _model(config, pool, chosen.train)
    check_pseudo_labels(config, model, chosen.train)
    check_adversarial(config, model, chosen.train)
    if is_first():
        claim(started, held)
    record = started.earlier or _new_record(config, started.out, pool, model, device, threads)
    run = OpenRun(started.out, config, record, pool, chosen.train, chosen.val, model, device)
    _note(run, status="running", error=None, processes=world())
    if is_first():
        write_chosen(run.out / "samples.json", chosen)
    return run


def trainer_of(run: OpenRun, *, resume: bool = False) -> Fit | None:
    """What trains the run's model; None where there is nothing to train (an ensemble that only averages)."""
    known = open_features(run.config, run.model, run.train, run.device)
    if not run.model.parts():
        run.tracking = Tracking(run.out, run.config, run.record.id)
        return None
    config = with_fitting_pieces(run.config, run.model, run.train, run.pool.infos, known)
    if config != run.config:
        run.config = config
        _note(run)
    if is_first():
        run.tracking = Tracking(run.out, config, run.record.id)
    run.store = known.store if known else None
    trainer = Fit(
        run.model,
        run.train,
        run.pool.infos,
        run.config,
        run.out,
        validate=_validator(run, run.store),
        resume=resume,
        known=known,
        tell=run.tracking.rows if run.tracking is not None else None,
    )
    if trainer.running_statistics and world() > run.record.batch_parts:
        _note(run, batch_parts=world())
        if is_first():
            print(PARTED.format(model=run.config.model, parts=world()), file=sys.stderr)
    return trainer


def close_run(run: OpenRun, result: FitResult) -> RunRecord:
    """Save the model and close the record."""
    threshold, origin = _threshold(run, result)
    now = datetime.now(UTC)
    if result.status == "done" and is_first():
        run.model.save(run.out / "model")
        _store_judging(run)
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
            "seconds": round(result.seconds, 1),
            **({"skipped_steps": result.skipped} if result.skipped else {}),
        },
    )
    if run.tracking is not None:
        run.tracking.end(run.record)
    if result.status == "done" and is_first():
        # The model folder holds the weights; what only resuming needs can go.
        shutil.rmtree(run.out / "checkpoints", ignore_errors=True)
    return run.record


def _store_judging(run: OpenRun) -> None:
    """What lets the model say that it cannot judge an image; what val does not allow is said on stderr."""
    fitting = Fitting(
        model=run.model,
        pool=run.pool,
        trained=shown(run.train, run.config),
        val=run.val,
        device=run.device,
        precision=run.config.precision,
        store=run.store,
    )
    judging = fit_judging(fitting)
    write_judging(run.out / "model", judging)
    for line in judging.missing:
        print(line, file=sys.stderr)


@contextmanager
def recorded_failure(runs: Sequence[OpenRun]) -> Iterator[None]:
    """Whatever ends the block early is written into the records of the runs that are not done."""
    try:
        yield
    except BaseException as error:
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        for run in runs:
            if run.record.status == "running":
                _close_failed(run, status, " ".join(str(error).split()) or type(error).__name__)
        raise


def _close_failed(run: OpenRun, status: str, why: str) -> None:
    if run.tracking is not None:
        run.tracking.close(status)
    try:
        _note(run, status=status, error=why, ended=datetime.now(UTC))
    except (
        InputError
    ) as error:  # what stopped the run, a full disk, stops this, too: the first reason is the one to tell
        print(f"{run.out / 'run.json'}: still says running ({error})", file=sys.stderr)


def _note(run: OpenRun, **changes: Any) -> None:
    """Write configuration and record as they are now."""
    run.record = run.record.model_copy(update={"config": run.config.model_dump(), **changes})
    if not is_first():
        return
    write_config(run.out / "config.yaml", run.config)
    write_record(run.out / "run.json", run.record)


def untrained(run: OpenRun) -> FitResult:
    """The result of a run with nothing to train, validated once."""
    begin, validate = time.monotonic(), _validator(run, None)
    dice = validate() if validate else None
    return FitResult("done", 0, 0, dice, None, seconds=time.monotonic() - begin)


def _model(config: RunConfig, pool: Pool, train: Sequence[Prompted]) -> Segmenter:
    """The model to train: random from the seed, or from weights; with what the regime adds."""
    torch.manual_seed(derived_seed(config.seed, "init"))
    model = _plain_model(config, pool)
    if config.regime in ADDITIONS:
        base = Base(config.model, config.weights, config.revision, config.model_arguments)
        again = partial(_plain_model, config, pool)
        model = extend(model, config.regime, config.regime_arguments, base, again)
    trained_parts(model, config.regime)  # whether the regime is for this model is known before anything is written
    if not model.spec.uses_text:
        unnamed = [item.sample.id for item in train if item.sample.target is None]
        if unnamed:
            raise InputError(
                f"model '{config.model}' reads no text and needs each sample's target, which {unnamed[0]} lacks; "
                "give --target, or 'target' in the annotation file"
            )
    return model


def _plain_model(config: RunConfig, pool: Pool) -> Segmenter:
    """As configured, before the regime adds anything."""
    if config.weights is not None:
        return _from_weights(config, pool)
    return build_model(
        config.model,
        arguments=config.model_arguments,
        targets=pool.targets,
        protocol=config.protocol or "corrected",
    )


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
    if model.spec.engine != "torch":
        raise InputError(f"--weights: {config.weights} {NO_TRAINING}")
    if model.spec.name != config.model:
        raise InputError(f"--weights: {config.weights} holds a '{model.spec.name}', not a '{config.model}'")
    if (random := getattr(model, "random_part", None)) and is_first():
        print(f"--weights: {config.weights} leaves the {random} of '{config.model}' random", file=sys.stderr)
    if model.spec.uses_text or model.spec.targets == pool.targets:
        return model
    if isinstance(model, Extended):
        raise InputError(
            f"--weights: {config.weights} is a model with '{model.regime}' for {', '.join(model.spec.targets)}, and "
            f"the data have {', '.join(pool.targets)}; {model.way_out}"
        )
    return retargeted(
        model, pool.targets, str(config.weights), revision=config.revision, arguments=config.model_arguments
    )


def _new_record(
    config: RunConfig, out: Path, pool: Pool, model: Segmenter, device: torch.device, threads: int
) -> RunRecord:
    intensities = [asdict(info.intensity) for info in pool.infos.values()]
    alike = all(found == intensities[0] for found in intensities)
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
        phantoms=pool.phantoms,
        intensity=intensities[0] if alike else {},
        intensities={} if alike else dict(zip(pool.infos, intensities, strict=True)),
        prompt=config.prompt,
        prompt_sources=sorted(pool.sources),
        deployable=pool.deployable,
        started=datetime.now(UTC),
    )


def _validator(run: OpenRun, store: FeatureStore | None) -> Callable[[], float] | None:
    """Val Dice at the model's own threshold (or the fixed one), or None where there is no val split."""
    infos = run.pool.infos
    labelled = spread(
        [item for item in run.val if item.sample.mask_paths],
        run.config.validate_limit,
        run.config.seed,
        lambda item: not load_mask(item.sample, infos[item.sample.dataset], None).any(),
    )
    if not labelled:
        return None
    fixed = run.config.threshold
    threshold = fixed if isinstance(fixed, float) else run.model.spec.threshold
    masks = MaskReader(infos)
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
    """Mean Dice on labelled val samples for each threshold; each process asks its part of the images."""
    own = labelled
    if world() > 1:
        own = [item for image in group_by_image(labelled)[rank() :: world()] for item in image.prompted]
    dice = mean_dice(
        ready(run.model, run.device),
        own,
        run.pool.infos,
        device=run.device,
        precision=run.config.precision,
        thresholds=thresholds,
        store=store,
        masks=masks,
    )
    if world() == 1:
        return dice
    *sums, count = add_up([*(one * len(own) for one in dice), len(own)])
    return [one / count for one in sums]
