"""A study's tables, figures and page, from its plan and its ledger alone."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlseg.records.ledger import LEDGER
from vlseg.records.study import Plan
from vlseg.reports.study_drawing import write_figures
from vlseg.reports.study_facts import RunState, StudyFacts, StudyRun, StudySearch
from vlseg.reports.study_figures import drawings
from vlseg.reports.study_page import write_study_page
from vlseg.reports.tables import build_tables, write_built
from vlseg.studies.links import where
from vlseg.studies.search import wanted
from vlseg.studies.status import Looked, look, status
from vlseg.studies.tables import cells_of, default_tables, reasons_of

REPORT = "report"
ENVIRONMENT = ("peak_memory_bytes", "device", "precision", "threads", "processes", "packages")
"""What is read of a training's run.json."""


@dataclass(frozen=True)
class Written:
    """The files of a study's report: the page, the index of its tables, and all of the tables'."""

    page: Path
    tables: Path
    files: list[Path]


def write_study_report(study: Path, plan: Plan) -> Written:
    """Write STUDY/report: report.html, runs.csv, tables/ and figures/, from records alone.

    A study that names no tables gets one of each part: models and prompts down, datasets across. One that is half done
    has a report, too: what is not there is told.

    Raises:
        InputError: a table that cannot be made of these cells, or the folder cannot be written.
    """
    found = look(study, plan)
    cells, holes = cells_of(plan, found)
    tables = build_tables(cells, plan.study.tables or default_tables(plan), holes, phantoms=plan.study.phantoms)
    *files, index = write_built(tables, study / REPORT / "tables")
    kept = _sizes(study / LEDGER)
    facts = StudyFacts(
        name=plan.study.name,
        title=plan.study.title,
        note=plan.study.note,
        phantoms=plan.study.phantoms,
        folder=study.resolve().name,
        runs=_runs(study, plan, found, kept),
        cells=cells,
        tables=tables,
        holes=plan.holes,
        searches=[
            StudySearch(one.name, tuple(one.search.space), tuple(one.runs), wanted(one.search)) for one in plan.searches
        ],
        sizes={**_sizes(study, leave=(LEDGER, REPORT)), LEDGER: sum(kept.values())},
    )
    figures = write_figures(
        drawings(cells, pools=plan.study.pools, phantoms=plan.study.phantoms), study / REPORT / "figures"
    )
    return Written(write_study_page(facts, study / REPORT, figures), index, files)


def _runs(study: Path, plan: Plan, found: Sequence[Looked], kept: Mapping[str, int]) -> list[StudyRun]:
    reasons = reasons_of(found)
    waiting = set(status(study, plan, found).blocked)
    return [
        StudyRun(
            name=one.run.name,
            kind=one.run.kind,
            parts=tuple(one.run.parts),
            labels=one.run.labels,
            data=tuple(one.run.data),
            state=_state(one, one.run.name in waiting),
            why=reasons.get(one.run.name, ""),
            record=None if one.outdated else one.record,
            place=where(one.run) if one.state == "done" else "",
            size=kept.get(one.run.name, 0),
            environment=_environment(one),
        )
        for one in found
    ]


def _state(one: Looked, waits: bool) -> RunState:
    if waits:
        return "waits"
    if one.state == "planned" and one.outdated:
        return "outdated"
    return one.state  # type: ignore[return-value]


def _environment(one: Looked) -> Mapping[str, Any]:
    """Of a training that ended; {} where its run.json cannot be read."""
    if one.run.kind != "train" or one.at is None or one.record is None or one.outdated:
        return {}
    try:
        values = json.loads((one.at.work / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {key: values[key] for key in ENVIRONMENT if key in values} if isinstance(values, dict) else {}


def _sizes(folder: Path, leave: Sequence[str] = ()) -> dict[str, int]:
    """Bytes of each folder in one; what links lead to counts where it lies."""
    try:
        inside = [one for one in os.scandir(folder) if one.is_dir(follow_symlinks=False) and one.name not in leave]
    except OSError:
        return {}
    sizes = {one.name: _size(one.path) for one in inside}
    return {name: size for name, size in sorted(sizes.items()) if size}


def _size(folder: str) -> int:
    """Bytes below a folder; what a worker removes meanwhile does not count."""
    size = 0
    try:
        with os.scandir(folder) as inside:
            for one in inside:
                if one.is_dir(follow_symlinks=False):
                    size += _size(one.path)
                elif not one.is_symlink():
                    size += one.stat(follow_symlinks=False).st_size
    except OSError:
        return size
    return size
