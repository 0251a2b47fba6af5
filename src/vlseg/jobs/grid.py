"""Runs that differ in a few settings (prompts, seeds, rates), trained by one command into one folder each."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

from vlseg.jobs.fitting import OpenRun, close_run, open_run, recorded_failure, trainer_of
from vlseg.jobs.run_folder import begin
from vlseg.jobs.scoring import slug
from vlseg.jobs.settings import config_of, parse_setting
from vlseg.jobs.train import train_run
from vlseg.models.device import resolve_device
from vlseg.records import InputError, RunConfig, RunRecord, started_place
from vlseg.training import Fit, fit_together, share_frozen


def expand(options: Mapping[str, Any], axes: Sequence[str], recipe: str | None = None) -> dict[str, RunConfig]:
    """Configurations by folder name: every combination of the axes' values, the last axis fastest.

    Each has the recipe of its own model below it.

    Args:
        options: what all have in common, keys of RunConfig.
        axes: "key=[value, ...]", keys of RunConfig.
        recipe: see `config_of`.

    Raises:
        InputError: an axis that is not a list, named twice, or of an unknown key or wrong value; two runs that would
            have one name.
    """
    values: dict[str, list[Any]] = {}
    for axis in axes:
        key, found = parse_setting(axis, "--grid")
        if not isinstance(found, list) or not found:
            raise InputError(f"--grid {key}: '{axis}' gives no list; write {key}=[a, b]")
        if key in values:
            raise InputError(f"--grid {key}: is given twice; put all values into one list")
        values[key] = found
    runs: dict[str, RunConfig] = {}
    for combination in product(*values.values()):
        chosen = dict(zip(values, combination, strict=True))
        name = slug("_".join(f"{key}-{value}" for key, value in chosen.items()))
        if name in runs:
            raise InputError(f"--grid: two runs would be called {name}; give each value once")
        runs[name] = config_of({**options, **chosen}, recipe, "--grid")
    return runs


def train_grid(
    runs: Mapping[str, RunConfig], out: Path, *, resume: bool = False, together: bool | None = None
) -> list[RunRecord]:
    """Train every run into `out`/NAME, in the order given; the records.

    Args:
        runs: see `expand`.
        out: the folder of the runs.
        resume: go on where an earlier call stopped; finished runs are left alone.
        together: all at once, a step of each in turn (see `vlseg.training.fit_together`); None: where that is faster,
            on a GPU. On a CPU one after another takes the same time.

    Raises:
        InputError: as `train_run`, and several devices or processes.
        Exception: whatever stopped a run; its record says so.
    """
    if started_place() is not None or any(run.devices * run.nodes > 1 for run in runs.values()):
        raise InputError("--grid: trains on one device; leave devices, nodes, srun and torchrun out, or --grid")
    if together is None:
        together = _on_gpu(next(iter(runs.values())))
    if not together:
        records: list[RunRecord] = []
        for name, config in runs.items():
            records.append(train_run(config, out / name, resume=resume))
            if records[-1].status == "interrupted":
                break
        return records
    return _train_together(runs, out, resume)


def _train_together(runs: Mapping[str, RunConfig], out: Path, resume: bool) -> list[RunRecord]:
    opened: list[OpenRun | RunRecord] = []
    going: list[OpenRun] = []
    with ExitStack() as held, recorded_failure(going):
        trainers: list[Fit] = []
        for name, config in runs.items():
            started = begin(config, out / name, held, resume=resume, places=None)
            if isinstance(started, RunRecord):
                opened.append(started)
                continue
            run = open_run(started, held)
            opened.append(run)
            going.append(run)
            trainer = trainer_of(run, resume=resume)
            if trainer is None:
                raise InputError(f"--grid: '{config.model}' has nothing to train")
            if trainers:
                share_frozen(trainers[0], trainer)
            trainers.append(trainer)
        for run, result in zip(going, fit_together(trainers) if trainers else [], strict=True):
            close_run(run, result)
    return [run.record if isinstance(run, OpenRun) else run for run in opened]


def _on_gpu(config: RunConfig) -> bool:
    return resolve_device(config.device).type == "cuda"
