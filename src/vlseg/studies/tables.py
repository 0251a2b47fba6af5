"""What a study's ledger holds, as the cells that tables read, and what is missing of it."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from vlseg.metrics import aggregate
from vlseg.records.study import Cell, Hole, LedgerRecord, Plan, Planned, TableSpec
from vlseg.reports.tables import build_table, check_specs
from vlseg.studies.status import Looked


def check_tables(plan: Plan) -> None:
    """That the tables can be made of what the study will have, before anything is run for them.

    Raises:
        InputError: a label that no cell will have, or a place in which several things would stand.
    """
    nothing: dict[str, Any] = {"value": None, "mean": None, "ci95": None, "n": 0, "reason": "planned"}
    values = aggregate([], groups_known=False).to_json() | {"attributes": {}, "tests": [], "attacks": []}
    values |= dict.fromkeys(("selection_index", "presence_index", "chose_none", "worth", "clean"), nothing)
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


def cells_of(plan: Plan, found: Sequence[Looked]) -> tuple[list[Cell], list[Hole]]:
    """A cell for each dataset and part of a done evaluation, probe or comparison; a hole for each that is not there.

    Args:
        plan: the study.
        found: its runs as the ledger has them.
    """
    cells: list[Cell] = []
    holes = list(plan.holes)
    reasons = reasons_of(found)
    for one in found:
        run = one.run
        if run.kind == "train":
            continue
        if run.name not in reasons and one.record is not None:
            cells += _cells(run, one.record)
        else:
            holes += [
                Hole(what=run.name, why=reasons[run.name], labels={**run.labels, "part": part}, kind=run.kind)
                for part in run.parts
            ]
    return cells, holes


def reasons_of(found: Sequence[Looked]) -> dict[str, str]:
    """Why runs have no result, by their names; those that have one are not among them."""
    reasons = {one.run.name: why for one in found if (why := _why(one)) is not None}
    stuck = {name: name for name, why in reasons.items() if why.startswith("failed")}
    more = True
    while more:  # in the plan a run may stand before one that it needs
        more = False
        for one in found:
            blocking = next((stuck[need] for need in one.run.needs if need in stuck), None)
            if blocking is not None and one.run.name not in stuck and one.state in ("planned", "interrupted"):
                stuck[one.run.name], more = blocking, True
                reasons[one.run.name] = f"waits for {blocking}, which failed"
    return reasons


def _cells(run: Planned, record: LedgerRecord) -> Iterator[Cell]:
    for part in run.parts:
        for label, values in record.values.items():
            yield Cell(run.kind, {**run.labels, "part": part, "data": label}, values)


def _why(one: Looked) -> str | None:
    """Why a run has no result, as far as it says itself; None where it has."""
    if one.state == "done":
        return None
    if one.state == "failed" and one.record is not None:
        return f"failed: {one.record.error}"
    if one.outdated:
        return "outdated: what it depends on has changed"
    if one.at is not None and one.at.state == "done":
        return "its result cannot be read"
    return "running" if one.state == "running" else "planned"
