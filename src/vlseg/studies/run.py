"""One study from its plan to its tables."""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from vlseg.records import InputError, started_place
from vlseg.records.ledger import LEDGER, record_of, state_of
from vlseg.records.study import LEFT_OUT, Hole, Plan, Planned, StudySpec
from vlseg.reports.tables import check_specs
from vlseg.studies import ledger
from vlseg.studies.expand import expand
from vlseg.studies.grow import latest
from vlseg.studies.links import relink
from vlseg.studies.local import LocalOptions, run_here
from vlseg.studies.measuring import tidy
from vlseg.studies.naming import FEATURES
from vlseg.studies.status import Status, status
from vlseg.studies.tables import check_tables
from vlseg.studies.worker import work


class MissingError(InputError):
    """Data or weights of a study are not there: one line each."""

    def __init__(self, holes: Iterable[Hole]) -> None:
        self.lines = [f"{hole.what}: {hole.why}" for hole in holes]
        super().__init__("; ".join(self.lines))


STOPPED = 3600.0
"""Seconds of silence after which a worker elsewhere is taken for gone: once a run is forgotten, so is its token."""


@dataclass(frozen=True)
class RunOptions:
    """How to run a study.

    Attributes:
        skip_missing: do what can be done without the data and weights that are missing.
        retry: failed runs, too.
        redo: patterns of names to do again.
    """

    skip_missing: bool = False
    retry: bool = False
    redo: tuple[str, ...] = ()


def prepare(spec: StudySpec, out: Path, options: RunOptions, *, look: bool = False) -> Plan:
    """Expand a study, bring its ledger up to it, and write both down. Nothing is run.

    Args:
        spec: the study.
        out: its folder.
        options: see there.
        look: leave what is there as it is.

    Raises:
        MissingError: data or weights are missing and `skip_missing` is not set; nothing is written then.
        InputError: see `expand`; `out` holds another study or something else; a pattern of `redo` that fits nothing.
    """
    if started_place() is not None:
        raise InputError(
            "a study starts its workers itself: start it once, without srun or torchrun (--executor slurm)"
        )
    _check_place(spec, out)
    check_specs(spec.tables)  # what can be known before data are read
    plan = expand(spec, out)
    check_tables(plan)
    missing = [hole for hole in plan.holes if hole.what != LEFT_OUT]
    if missing and not options.skip_missing:
        raise MissingError(missing)
    if not plan.runs and not plan.searches:
        raise InputError(
            f"study '{spec.name}': nothing is left to run" + ("" if not missing else " without what is missing")
        )
    redo: set[str] = set()
    for pattern in options.redo:
        found = {run.name for run in plan.runs if fnmatchcase(run.name, pattern)}
        if not found:
            raise InputError(f"--redo: '{pattern}' fits no run of the study; vlseg study status --runs lists them")
        redo |= found
    if look:
        return plan
    plan.write(out)
    tidy(out)
    ledger.sweep(out, [run.name for run in plan.runs])
    ledger.refresh(out, plan.runs, retry=options.retry, redo=frozenset(redo))
    return plan


def _check_place(spec: StudySpec, out: Path) -> None:
    if not out.exists() or (out.is_dir() and {one.name for one in out.iterdir()} <= {"data", "weights"}):
        return  # what tiny scale makes beforehand
    if not (out / "plan.json").exists():
        raise InputError(f"--out: {out} is not empty and holds no study; choose another folder")
    name = Plan.read(out).study.name
    if name != spec.name:
        raise InputError(f"--out: {out} holds the study '{name}', not '{spec.name}'; choose another folder")


def run_study(out: Path, plan: Plan, options: LocalOptions, look: Callable[[Status], None]) -> Status:
    """Work through a prepared study on this machine, and put its folder in order; how it stands then.

    Where nothing is left to do no worker is started.

    Raises:
        InputError: workers cannot start.
    """
    if not plan.searches and not status(out, plan).left:
        return close(out, plan)
    try:
        run_here(out, plan, options, look)
    finally:
        found = close(out, plan)
    return found


def run_alone(out: Path, plan: Plan) -> Status:
    """As `run_study`, in this process alone."""
    try:
        work(out, wait=False)
    finally:
        found = close(out, plan)
    return found


def close(out: Path, plan: Plan) -> Status:
    """Remove what killed workers left, make the links, and drop shared features when nothing needs them any more.

    How the study stands, with what a search has added to the plan.
    """
    plan = latest(out, plan)
    ledger.sweep(out, [run.name for run in plan.runs])
    relink(out, plan.runs)
    found = status(out, plan)
    if found.counts["done"] == found.total and not plan.study.keep_features:
        shutil.rmtree(out / FEATURES, ignore_errors=True)
    return found


def prune(out: Path) -> list[str]:
    """Delete runs in the ledger that the plan does not name, and that nobody works on; their names.

    Raises:
        InputError: no study there.
    """
    plan = Plan.read(out)
    wanted = {run.name for run in plan.runs}
    now = ledger.clock(out)
    names = []
    silence = max(plan.study.lease_seconds, STOPPED)
    for place in sorted((out / LEDGER).iterdir()):
        if place.name in wanted or place.name.startswith("."):
            continue
        at = state_of(out, place.name)
        if at is not None and at.state == "running" and not ledger.expired(at, now, silence):
            continue
        ledger.remove(out, place.name)
        names.append(place.name)
    relink(out, plan.runs)
    return names


def values_of(out: Path, run: Planned) -> dict[str, dict[str, Any]]:
    """What the ledger keeps of a run that is done; {} of another."""
    record = record_of(out, run)
    return record.values if record is not None and record.status == "done" else {}
