"""What a study's ledger holds, as the cells that tables read, and what is missing of it."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vlseg.metrics import aggregate
from vlseg.records.ledger import At, record_at, state_of
from vlseg.records.study import Cell, Hole, LedgerRecord, Plan, Planned, TableSpec
from vlseg.reports.tables import build_table, check_specs, write_tables

TABLES = "report/tables"


def write_study_tables(study: Path, plan: Plan) -> list[Path]:
    """Write the tables of a study, from records alone, into STUDY/report/tables; the files.

    A study that names none gets one of each part: models and prompts down, datasets across.

    Raises:
        InputError: a table that cannot be made of these cells.
    """
    cells, holes = cells_of(study, plan)
    specs = plan.study.tables or default_tables(plan)
    return write_tables(cells, specs, holes, study / TABLES, phantoms=plan.study.phantoms)


def check_tables(plan: Plan) -> None:
    """That the tables can be made of what the study will have, before anything is run for them.

    Raises:
        InputError: a label that no cell will have, or a place in which several things would stand.
    """
    nothing: dict[str, Any] = {"value": None, "mean": None, "ci95": None, "n": 0, "reason": "planned"}
    values = aggregate([], groups_known=False).to_json() | {"attributes": {}, "tests": []}
    values |= dict.fromkeys(("selection_index", "presence_index", "chose_none", "worth"), nothing)
    cells = [
        Cell(run.kind, {**run.labels, "part": part, "data": label}, values)
        for run in plan.runs
        if run.kind != "train"
        for part in run.parts
        for label in run.data
    ]
    labels = list(dict.fromkeys(name for cell in cells for name in cell.labels))
    specs = plan.study.tables or default_tables(plan)
    check_specs(specs, labels=labels if cells and not plan.searches else None)  # a search adds its own
    for spec in specs:
        if "." not in spec.metric:  # what a path leads to is known only when it is there
            build_table(cells, spec, phantoms=True)


def default_tables(plan: Plan) -> list[TableSpec]:
    """One table for each part that is asked something, with a row for all in which its evaluations differ.

    Of a part's conditions the clean one, where it has that.
    """
    asked: dict[str, list[Planned]] = {}
    for run in plan.runs:
        for part in run.parts if run.kind in ("evaluate", "masks") else []:
            asked.setdefault(part, []).append(run)
    specs: dict[str, TableSpec] = {}
    for part, runs in asked.items():
        name = plain = re.sub(r"[^A-Za-z0-9._-]+", "-", part).strip("-.") or "part"
        while name.lower() in {"index", *map(str.lower, specs)}:
            name = f"{plain}-{len(specs) + 1}"
        clean = [run for run in runs if run.labels["condition"] == "clean"]
        rows = ["model", "trained_on", "asked", *_varied(clean or runs)]
        where = {"part": part, **({"condition": "clean"} if clean else {})}
        specs[name] = TableSpec(name=name, title=part, rows=rows, where=where)
    return list(specs.values())


def _varied(runs: Sequence[Planned]) -> list[str]:
    """Labels beside the usual ones in which evaluations differ within a model, under one question."""
    found: dict[str, None] = {}
    groups: dict[tuple[str, ...], dict[str, str]] = {}
    for run in runs:
        question = tuple(run.labels.get(name, "") for name in ("model", "trained_on", "asked"))
        first = groups.setdefault(question, dict(run.labels))
        names = [*first, *(name for name in run.labels if name not in first)]
        found |= {name: None for name in names if first.get(name, "") != run.labels.get(name, "")}
    known = dict.fromkeys(name for run in runs for name in run.labels)
    return [name for name in known if name in found and name not in ("data", "seed", "fold")]


def cells_of(study: Path, plan: Plan) -> tuple[list[Cell], list[Hole]]:
    """A cell for each dataset and part of a done evaluation, probe or comparison; a hole for each that is not there."""
    cells: list[Cell] = []
    holes = list(plan.holes)
    reasons: dict[str, str] = {}
    for run in plan.runs:
        at = state_of(study, run.name)
        record = record_at(at) if at is not None else None
        why = _why(run, at, record, reasons)
        if why is not None:
            reasons[run.name] = why
        if run.kind == "train":
            continue
        if why is None and record is not None:
            cells += _cells(run, record)
        else:
            holes += [
                Hole(what=run.name, why=why or "", labels={**run.labels, "part": part}, kind=run.kind)
                for part in run.parts
            ]
    return cells, holes


def _cells(run: Planned, record: LedgerRecord) -> Iterator[Cell]:
    for part in run.parts:
        for label, values in record.values.items():
            yield Cell(run.kind, {**run.labels, "part": part, "data": label}, values)


def _why(run: Planned, at: At | None, record: LedgerRecord | None, before: dict[str, str]) -> str | None:
    """Why a run has no result; None where it has."""
    if at is not None and at.state == "done" and record is not None:
        return None if record.identity == run.identity else "outdated: what it depends on has changed"
    if at is not None and at.state == "failed" and record is not None:
        return f"failed: {record.error}"
    stuck = next((need for need in run.needs if before.get(need, "").startswith(("failed", "waits"))), None)
    if stuck is not None:
        return f"waits for {stuck}, which failed"
    return at.state if at is not None and at.state != "interrupted" else "planned"
