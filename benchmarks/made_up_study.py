"""A made-up study whose ledger holds records as real runs leave them, without any training."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from made_up_runs import BEGIN, copies, record_of, rows_of, spec_of

from vlseg.jobs import evaluate, probe
from vlseg.jobs.probe import Probed
from vlseg.jobs.scoring import Evaluated
from vlseg.metrics import Calibration, aggregate, language_use
from vlseg.phantoms import write_dressed
from vlseg.records import write_record
from vlseg.records.ledger import state_of
from vlseg.records.study import LedgerRecord, Plan, Planned
from vlseg.studies import ledger
from vlseg.studies.read import read_study
from vlseg.studies.run import RunOptions, prepare

DATA = ("kvasir-seg", "busi", "isic-2016")
WORDS = (("paraphrase", 0.01), ("class_only", 0.04), ("wrong_size", 0.02), ("empty", 0.2))


def write_study(folder: Path, seeds: int = 2, samples: int = 60) -> tuple[Path, Plan]:
    """Two models, three datasets, each run asked at home, elsewhere and by a probe: 30 runs a seed.

    One training failed, one is at work, and of the last seed nothing was begun on the last dataset.
    """
    for name in DATA:
        write_dressed(folder / name, name, {"train": 4, "val": 2, "test": 2}, size=32)
    part = {
        "name": "who reads the words",
        "models": ["unet-target", "clipseg-tiny"],
        "data": list(DATA),
        "prompts": ["p1"],
        "seeds": list(range(seeds)),
        "evaluate": [{}, {"data": list(DATA)}],
        "probe": [{}],
    }
    values = {"name": "words", "title": "Who reads the words", "data": {name: name for name in DATA}, "parts": [part]}
    file = folder / "words.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    study = folder / "study"
    plan = prepare(read_study(str(file)), study, RunOptions())
    _fill(study, plan, samples)
    return study, plan


def _fill(study: Path, plan: Plan, samples: int) -> None:
    now = ledger.clock(study)
    trainings = [run for run in plan.runs if run.kind == "train"]
    failed, working = trainings[-1].name, trainings[-2].name
    for index, run in enumerate(plan.runs):
        at = state_of(study, run.name)
        if at is None or {failed, working} & set(run.needs):
            continue
        lease = ledger.claim(study, run, at, now, 1e9)
        if lease is None or run.name == working:
            continue
        begin = BEGIN + timedelta(minutes=7 * index)
        record = LedgerRecord(
            name=run.name,
            kind=run.kind,
            identity=run.identity,
            status="failed" if run.name == failed else "done",
            token=lease.at.token,
            host="node",
            started=begin.isoformat(),
            ended=(begin + timedelta(minutes=6)).isoformat(),
            seconds=360.0,
            version="0.1.0",
            values={} if run.name == failed else _values(run, index, samples),
            error="training diverged: the loss is NaN at step 12" if run.name == failed else None,
        )
        if run.name == failed:
            ledger.fail(lease, record, "made up")
            continue
        lease.at.work.mkdir()
        if run.kind == "train":
            write_record(lease.at.work / "run.json", record_of(run.name, run.labels["trained_on"], index))
        ledger.publish(lease, record)


def _values(run: Planned, index: int, samples: int) -> dict[str, dict[str, Any]]:
    """What the ledger keeps of a run."""
    if run.kind == "train":
        return {"": {"best_val_dice": 0.8 + index % 7 / 100, "steps": 200}}
    return {label: _asked(run, label, index, samples) for label in run.data}


def _asked(run: Planned, dataset: str, index: int, samples: int) -> dict[str, Any]:
    rows, _ = rows_of(run.name, samples, index, dataset, 2)
    if run.labels["trained_on"] != dataset:
        rows = [replace(row, condition="clean") for row in copies(rows, "clean", 0.15, index)]
    spec = spec_of(record_of(run.name, dataset, index), run.name)
    evaluated = Evaluated(spec, rows, aggregate(rows, groups_known=True), Path("work"), Calibration())
    if run.kind == "probe":
        for place, (condition, loss) in enumerate(WORDS):
            rows = rows + copies(rows[:samples], condition, loss, index + place)
        return probe.summary(Probed(language_use(rows, groups_known=True), evaluated))
    values = evaluate.summary(evaluated)
    return {key: value for key, value in values.items() if key not in ("calibration", "scores", "by_dataset")}
