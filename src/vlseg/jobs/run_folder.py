"""A run's folder before anything is trained: configuration, data, earlier record. Free of torch."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlseg.jobs.datasets import Pool, open_pool
from vlseg.jobs.lock import LOCK_NAME, run_lock
from vlseg.jobs.processes import check_devices
from vlseg.jobs.subsets import Chosen, choose
from vlseg.models import MODELS, architecture_of
from vlseg.models.additions import check_regime
from vlseg.prompts import Prompted
from vlseg.records import (
    InputError,
    RunConfig,
    RunRecord,
    check_folder,
    parse_config,
    read_config,
    read_record,
    started_place,
)

PLACES = ("data", "weights", "feature_cache")
"""Settings that say where something lies: a resumed run may find them elsewhere."""
MOVABLE = (*PLACES, "devices", "nodes")
"""And by how many devices it is trained: a resumed run may have others."""


@dataclass(frozen=True)
class Started:
    """What is known of a run before its model is made.

    Attributes:
        earlier: its record where it is resumed and had got far enough to have a checkpoint.
        locked: the folder is this process's already.
    """

    out: Path
    config: RunConfig
    earlier: RunRecord | None
    pool: Pool
    chosen: Chosen
    locked: bool


def begin(
    config: RunConfig | None, out: Path, held: ExitStack, *, resume: bool = False, places: Mapping[str, Any] | None
) -> Started | RunRecord:
    """Configuration in force and data read; the record alone where the run is done. Nothing is written.

    Args:
        config: None only when a run is resumed.
        out: the run's folder.
        held: keeps the folder's lock where there is a run to go on with.
        resume: go on with what is there.
        places: where data, weights or feature cache of a resumed run lie now, and how many devices train it.

    Raises:
        InputError: wrong configuration or data, or another process trains the run.
    """
    earlier = None
    locked = resume and (out / "run.json").exists()
    if locked:
        config = _resumed(config, out, places or {})
        if (record := read_record(out / "run.json")).status == "done":
            return record
        held.enter_context(run_lock(out))
        if (record := read_record(out / "run.json")).status == "done":  # by the process that had the lock
            return record
        if (out / "checkpoints" / "last.pt").exists():
            earlier = record  # else it failed before there was anything to keep: mended data may be used
    if config is None:
        raise InputError(f"{out}: no run to resume there; give --data to start one")
    check_regime(config.regime, config.regime_arguments)
    if not locked:
        _check_new(out, resume)
    check_devices(config, resumed=locked)
    _check_pseudo_labels(config)
    _check_adversarial(config)
    config = with_absolute_places(config)
    _check_places(config, out, earlier)
    if config.trackers:
        from vlseg.training.trackers import check_installed

        check_installed(config.trackers)
    if config.precision == "fp16":  # not for every device, and only torch knows which are there
        from vlseg.models.device import check_precision, resolve_device

        check_precision(config.precision, resolve_device(config.device))
    pool = open_pool(config.data, config.prompt, config.target, named=_reads_no_text(config.model))
    _check_same_data(pool, out, earlier)
    chosen = choose(pool.split("train"), pool.split("val"), config)
    _say(config, pool, chosen)
    return Started(out, config, earlier, pool, chosen, locked)


def _check_pseudo_labels(config: RunConfig) -> None:
    """What the configuration alone tells; see `vlseg.training.semi.check_pseudo_labels`."""
    if config.pseudo_labels == "none":
        if config.lv_weight:
            raise InputError(
                f"lv_weight: {config.lv_weight} is for images without a mask, which pseudo_labels=none leaves out; add "
                "--set pseudo_labels=epi, or leave lv_weight out"
            )
        return
    if config.lv_weight and _reads_no_text(config.model):
        raise InputError(
            f"lv_weight: finds reference masks by their texts, and '{config.model}' reads none; leave lv_weight out"
        )
    if started_place() is not None or config.devices * config.nodes > 1:
        raise InputError(
            "pseudo_labels: epi keeps a map of every sample in a file of one process; train in one process: leave "
            "devices, nodes, srun and torchrun out"
        )


def _check_adversarial(config: RunConfig) -> None:
    """What the configuration alone tells; see `vlseg.training.adversarial.check_adversarial`."""
    if config.adversarial == "none":
        return
    if config.feature_cache is not None:
        raise InputError(
            "feature_cache: kept features are of images as they are, and adversarial training changes them in every "
            "step; leave feature_cache (--cache) out"
        )
    if config.adversarial == "free" and (started_place() is not None or config.devices * config.nodes > 1):
        raise InputError(
            "adversarial: free carries changes from batch to batch in one process; leave devices, nodes, srun and "
            "torchrun out, or take pgd"
        )
    if config.epochs < config.replays:
        raise InputError(
            f"adversarial_steps: free shows each batch {config.replays} times, and in {config.epochs} epochs no image "
            f"would be sure to be seen; give at least {config.replays} epochs, or fewer steps"
        )


def _reads_no_text(model: str) -> bool:
    """Such a model needs each sample's target; of models from elsewhere it is known only once they are built."""
    if model not in MODELS:
        return False
    architecture = architecture_of(model)
    return architecture.text_encoder is None and not architecture.composed


def claim(started: Started, held: ExitStack) -> None:
    """Make a new run's folder this process's own.

    Raises:
        InputError: another process was faster, or the folder cannot be written.
    """
    if started.locked:
        return
    held.enter_context(run_lock(started.out))
    if (started.out / "run.json").exists():
        raise InputError(f"--out: {started.out} was started by another process meanwhile; choose another folder")


def with_absolute_places(config: RunConfig) -> RunConfig:
    """The configuration with paths that mean the same from every working directory."""
    changes: dict[str, Any] = {"data": [str(Path(path).absolute()) for path in config.data]}
    if config.weights is not None and Path(config.weights).exists():  # else a hub id
        changes["weights"] = str(Path(config.weights).absolute())
    if config.feature_cache is not None:
        changes["feature_cache"] = str(Path(config.feature_cache).absolute())
    return config.model_copy(update=changes)


def _resumed(config: RunConfig | None, out: Path, places: Mapping[str, Any]) -> RunConfig:
    """The run's own configuration, with its places as they are now."""
    earlier = read_config(out / "config.yaml")
    if config is None:
        given = {key: value for key, value in places.items() if value is not None}
        return parse_config(earlier.model_dump() | given, "--set")
    if config.accumulate == "auto" and earlier.accumulate != "auto":
        # Already resolved when the run was started.
        same = config.batch_size == earlier.batch_size * earlier.accumulate
        pieces = {"batch_size": earlier.batch_size, "accumulate": earlier.accumulate}
        config = config.model_copy(update=pieces) if same else config
    different = [key for key, value in earlier if key not in MOVABLE and getattr(config, key) != value]
    different += [key for key in PLACES if (getattr(config, key) is None) != (getattr(earlier, key) is None)]
    if different:
        raise InputError(
            f"{out / 'config.yaml'}: the run was started with another {', '.join(different)}; "
            "resume with --out and --resume alone, or train into a new folder"
        )
    return config


def _check_new(out: Path, resume: bool) -> None:
    check_folder("--out", out, written=True)
    if not resume and out.is_dir() and any(path.name != LOCK_NAME for path in out.iterdir()):
        raise InputError(f"--out: {out} is not empty; add --resume to go on with it, or choose another folder")


def _check_places(config: RunConfig, out: Path, earlier: RunRecord | None) -> None:
    """Data and weights of a resumed run that have gone (those of a new one are looked at where they are read)."""
    if config.feature_cache is not None:
        check_folder("--cache", Path(config.feature_cache))
    if earlier is None:
        return
    for path in config.data:
        if not Path(path).exists():
            raise InputError(
                f"data: {path} is not there any more; say where it is now: "
                f"vlseg train --resume --out {out} --data FOLDER"
            )
    weights = Path(config.weights or ".")
    if weights.is_absolute() and not weights.exists():
        raise InputError(
            f"weights: {weights} is not there any more; say where it is now: "
            f"vlseg train --resume --out {out} --weights PATH"
        )


def _check_same_data(pool: Pool, out: Path, earlier: RunRecord | None) -> None:
    if earlier is None:
        return
    if earlier.data_fingerprint != pool.fingerprint:
        raise InputError(
            f"data: {pool.name} has changed since {out} was started, or is another set; train into a new folder"
        )
    if earlier.dataset != pool.name:  # names take part in what is drawn
        raise InputError(
            f"data: is named '{pool.name}', and was '{earlier.dataset}' when {out} was started; "
            'give its folder, or "name" in its dataset.json, the earlier name'
        )


def _say(config: RunConfig, pool: Pool, chosen: Chosen) -> None:
    labelled = [item for item in chosen.train if item.sample.mask_paths]
    rest = [item for item in chosen.train if not item.sample.mask_paths]
    told = [f"training on {_amount(labelled)}" if labelled else "not training"]
    if rest:
        given = f"given pseudo-labels after {config.warmup_epochs} of {config.epochs} epochs"
        use = "left out" if config.pseudo_labels == "none" else given
        told.append(f"{_amount(rest)} without a mask {use}")
    told.append(f"validating on {_amount(chosen.val)}" if chosen.val else "not validating")
    print(f"{config.model} on {pool.name}, prompt {config.prompt}: {', '.join(told)}", file=sys.stderr)
    if config.adversarial != "none":
        print(f"adversarial: {told_adversarial(config)}", file=sys.stderr)
    if config.pseudo_labels == "none":
        return
    if not rest:
        print("pseudo_labels: every training sample has a mask, so that epi changes nothing", file=sys.stderr)
    elif not pool.deployable:
        sources = ", ".join(sorted(pool.sources))
        print(
            f"pseudo_labels: prompt {config.prompt} is not deployable ({sources}): what an image without a mask is "
            "told may come from its mask",
            file=sys.stderr,
        )


def told_adversarial(config: RunConfig) -> str:
    """How the images are changed, in words."""
    share = "" if config.adversarial_share == 1 else f" of {config.adversarial_share:.0%} of the images"
    budget = f"changes{share} of at most {config.adversarial_epsilon * 255:.3g}/255"
    if config.adversarial == "free":
        return f"free, {budget}, each batch {config.replays} times in a row"
    return f"pgd, {budget}, {config.attack_steps} more passes a step"


def _amount(items: Sequence[Prompted]) -> str:
    images = len({(item.sample.dataset, item.sample.image_id) for item in items})
    return f"{len(items)} samples of {images} images"
