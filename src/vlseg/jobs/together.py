"""Runs of one shape, trained in one process, a step of each in turn."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from vlseg.jobs.fitting import OpenRun, close_run, open_run, recorded_failure, trainer_of
from vlseg.jobs.run_folder import begin
from vlseg.records import InputError, RunConfig, RunRecord, started_place
from vlseg.training import Fit, fit_together, share_frozen


def train_together(runs: Mapping[Path, RunConfig]) -> list[RunRecord]:
    """Train every run into its folder, in the order given; the records.

    Gradients are computed in one pass where `vlseg.training.fit_together` can: on a GPU that is faster than one after
    another, on a CPU it takes the same time. A folder that holds a run is gone on with; a finished one is left alone.

    Raises:
        InputError: as `train_run`, a model with nothing to train, and several devices or processes.
        Exception: whatever stopped a run; the records of all that were not done say so.
    """
    if started_place() is not None or any(run.devices * run.nodes > 1 for run in runs.values()):
        raise InputError("runs are trained together on one device; leave devices, nodes, srun and torchrun out")
    opened: list[OpenRun | RunRecord] = []
    going: list[OpenRun] = []
    with ExitStack() as held, recorded_failure(going):
        trainers: list[Fit] = []
        for out, config in runs.items():
            resume = (out / "config.yaml").exists()
            places = {"data": config.data, "weights": config.weights, "feature_cache": config.feature_cache}
            started = begin(config, out, held, resume=resume, places=places)
            if isinstance(started, RunRecord):
                opened.append(started)
                continue
            run = open_run(started, held)
            opened.append(run)
            going.append(run)
            trainer = trainer_of(run, resume=resume)
            if trainer is None:
                raise InputError(f"'{config.model}' has nothing to train")
            if trainers:
                share_frozen(trainers[0], trainer)
            trainers.append(trainer)
        for run, result in zip(going, fit_together(trainers) if trainers else [], strict=True):
            close_run(run, result)
    return [run.record if isinstance(run, OpenRun) else run for run in opened]
