"""Making one claimed run: a call of its job, with what tables read of it."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vlseg.records import InputError, RunConfig
from vlseg.records.ledger import At, state_of
from vlseg.records.study import Planned
from vlseg.studies.naming import FEATURES, RUN

Values = dict[str, dict[str, Any]]


def execute(study: Path, run: Planned, at: At) -> Values | None:
    """Do what a run is, into its folder in the ledger; what tables read, by dataset label, or None if it was stopped.

    Args:
        study: the study's folder.
        run: what to do; the runs that it needs are done.
        at: its state, whose `work` is the folder to write.

    Raises:
        InputError: wrong data, weights or settings.
        Exception: whatever stopped the job.
    """
    makers = {"train": _train, "evaluate": _evaluate, "probe": _probe, "attack": _attack}
    return (makers | {"masks": _masks, "worth": _worth})[run.kind](study, run, at)


def training_config(study: Path, run: Planned) -> RunConfig:
    """The configuration of a training run, with the places of this study's folder."""
    changes: dict[str, Any] = {"data": list(run.data.values())}
    if run.config.get("feature_cache") == FEATURES:
        changes["feature_cache"] = str((study / FEATURES).resolve())
    weights = run.config.get("weights")
    if weights and weights.startswith(RUN):
        changes["weights"] = str(result(study, weights.removeprefix(RUN)).resolve())
    return RunConfig.model_validate({**run.config, **changes})


def result(study: Path, name: str) -> Path:
    """The folder that a run left.

    Raises:
        InputError: it is not done.
    """
    at = state_of(study, name)
    if at is None or at.state != "done":
        raise InputError(f"{study}: run {name} is not done; start the study again")
    return at.work


def _train(study: Path, run: Planned, at: At) -> Values | None:
    from vlseg.jobs.train import train_run
    from vlseg.training.distributed import broadcast

    config = training_config(study, run)
    # Its own configuration, where there is one: only settings that change no number can be others by now.
    begun = (at.work / "run.json").exists()
    places = {"data": config.data, "weights": config.weights, "feature_cache": config.feature_cache}
    call: dict[str, Any] = {"config": None if begun else config, "out": at.work, "resume": True, "places": places}
    record = train_run(**broadcast(call))  # the worker's other processes, where it has some, train along
    if record.status != "done":
        return None
    return trained_values(record.summary)


def execute_together(study: Path, runs: Sequence[tuple[Planned, At]]) -> dict[str, Values | None]:
    """Make trainings of one shape in one pass; of each what tables read, or None if it was stopped.

    Raises:
        Exception: whatever stopped one of them.
    """
    from vlseg.jobs.together import train_together

    records = train_together({at.work: training_config(study, run) for run, at in runs})
    return {
        run.name: trained_values(record.summary) if record.status == "done" else None
        for (run, _), record in zip(runs, records, strict=True)
    }


def trained_values(summary: Mapping[str, Any]) -> Values:
    """What is kept of a training in the ledger."""
    return {"": dict(summary)}


def _evaluate(study: Path, run: Planned, at: At) -> Values:
    from vlseg.jobs.evaluate import evaluate_on, summary

    source, options = asked(study, run)
    evaluated = evaluate_on(source, list(run.data.values()), options, at.work)
    return {label: _kept(summary(evaluated)) for label in run.data}


def _probe(study: Path, run: Planned, at: At) -> Values:
    from vlseg.jobs.probe import probe_on, summary

    source, options = asked(study, run)
    probed = probe_on(source, list(run.data.values()), options, at.work, limit=run.config.get("limit"))
    return {label: _kept(summary(probed)) for label in run.data}


def _attack(study: Path, run: Planned, at: At) -> Values:
    from vlseg.jobs.attack import attack_on
    from vlseg.jobs.attack_plan import attack_options
    from vlseg.jobs.attack_summary import study_values

    source, options = asked(study, run)
    limit = run.config.get("limit")
    runs = attack_on(
        [source], list(run.data.values()), options, attack_options(run.config["attack"], limit), out=at.work
    )
    return {label: study_values(runs[0]) for label in run.data}


def _masks(study: Path, run: Planned, at: At) -> Values:
    from vlseg.jobs.evaluate import evaluate_masks, summary
    from vlseg.jobs.scoring import EvaluateOptions

    options = EvaluateOptions(
        prompt=run.config["prompt"],
        split=run.config["split"],
        target=run.config.get("target"),
        pictures=run.config.get("pictures", True),
    )
    evaluated = evaluate_masks(Path(run.config["masks"]), list(run.data.values()), options, at.work)
    return {label: _kept(summary(evaluated)) for label in run.data}


def _worth(study: Path, run: Planned, at: At) -> Values:
    from vlseg.jobs.leak import leak_worth
    from vlseg.jobs.scoring import EvaluateOptions

    folders = [str(result(study, need)) for need in run.needs]
    half = len(folders) // 2
    options = EvaluateOptions(
        split=run.config["split"],
        target=run.config.get("target"),
        cache=study / FEATURES if run.config.get("cache") else None,
        pictures=run.config.get("pictures", True),
    )
    values = leak_worth(folders[:half], folders[half:], list(run.data.values()), options, at.work)
    return {"+".join(run.data): values}


def asked(study: Path, run: Planned, trained: Path | None = None) -> tuple[str, Any]:
    """What is asked (`trained`, where given in place of the run's own model), and how."""
    from vlseg.jobs.scoring import EvaluateOptions
    from vlseg.metrics import Smoothing

    config = run.config
    options = EvaluateOptions(
        prompt=config["prompt"],
        split=config["split"],
        condition=config.get("condition", "clean"),
        threshold=config.get("threshold"),
        target=config.get("target"),
        cache=study / FEATURES if config.get("cache") else None,
        revision=config.get("revision"),
        protocol=config.get("protocol"),
        arguments=config.get("model_arguments") or None,
        weights=config.get("weights"),
        pictures=config.get("pictures", True),
        smoothing=Smoothing(**config["smoothing"]) if "smoothing" in config else None,
        limit=config.get("limit") if "smoothing" in config else None,
    )
    if not run.needs:
        return str(config["model"]), options
    return str(trained or result(study, run.needs[0])), options


LARGE = ("calibration", "risk_coverage", "scores", "by_dataset", "command")
"""Of an evaluation's summary: what no table reads, and its own folder has."""


def _kept(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in LARGE}


def note(line: str) -> None:
    """A line of a worker's log."""
    print(line, file=sys.stderr, flush=True)
