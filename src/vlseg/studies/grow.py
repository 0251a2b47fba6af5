"""A plan that grows: what trials became is told to their search, which is asked for the next one.

Whichever worker finds nothing left to claim does so, so that as many trials are under way as there are workers; one
worker alone searches in one order, which is the same whatever interrupts it.
"""

import time
from contextlib import ExitStack
from pathlib import Path

from vlseg.jobs.lock import LOCK_NAME, run_lock
from vlseg.records import InputError
from vlseg.records.ledger import record_of
from vlseg.records.study import Plan, PlannedSearch
from vlseg.studies import ledger
from vlseg.studies.expand import expand
from vlseg.studies.search import SEARCH, Trial, ask, tell, trials, wanted, write_best

OBJECTIVE = "best_val_dice"
"""Of a training's summary."""


class BusyError(Exception):
    """Another process is at it, since so many seconds."""

    def __init__(self, why: str, seconds: float) -> None:
        super().__init__(why)
        self.seconds = seconds


def latest(study: Path, plan: Plan) -> Plan:
    """The plan as it is now; one without searches does not grow."""
    return Plan.read(study) if plan.searches else plan


def searching(plan: Plan) -> bool:
    """Whether trials are left that nobody has asked for."""
    return any(len(search.runs) < wanted(search.search) for search in plan.searches)


def grow(study: Path, known: Plan) -> Plan | None:
    """The plan with what has come to it since `known`, a further trial if one is left; None where nothing has.

    Args:
        study: its folder.
        known: the plan as the caller has it.

    Raises:
        BusyError: another process is growing the plan at this moment.
        InputError: what the study reads has changed since it was started.
    """
    if not known.searches:
        return None
    names = {run.name for run in known.runs}
    current = Plan.read(study)
    if any(run.name not in names for run in current.runs):
        return current
    folder = study / SEARCH
    if not any(_due(study, folder, search, current) for search in current.searches):
        return None
    with ExitStack() as held:
        try:
            held.enter_context(run_lock(folder))
        except InputError as taken:
            raise BusyError(str(taken), _age(folder / LOCK_NAME)) from taken
        found = _grown(study, folder, Plan.read(study))
    return found if any(run.name not in names for run in found.runs) else None


def _grown(study: Path, folder: Path, current: Plan) -> Plan:
    """Told, asked, expanded and written down; under the search's lock."""
    for search in current.searches:
        for trial, name in _untold(folder, search):
            for value in _outcome(study, name, current):
                if value is not None or not trial.failed:
                    tell(folder, search.name, trial.number, value)
    for search in current.searches:
        asked = trials(folder, search.name)
        if len(asked) > len(search.runs):
            break  # asked by somebody who was killed before it stood in the plan
        if len(asked) < wanted(search.search) and ask(folder, search.name, search.search) is not None:
            break
    found = expand(current.study, study)
    lost = {run.name for run in current.runs} - {run.name for run in found.runs}
    if lost:
        raise InputError(
            f"{study}: what the study reads has changed since it was started (run {min(lost)}); start it again"
        )
    found.write(study)
    for run in found.runs:
        ledger.enter(study, run.name)
    write_best(folder, {search.name: trials(folder, search.name) for search in found.searches})
    return found


def _due(study: Path, folder: Path, search: PlannedSearch, plan: Plan) -> bool:
    """Whether there is anything to tell or to ask."""
    asked = trials(folder, search.name)
    if len(asked) < wanted(search.search) or len(asked) > len(search.runs):
        return True
    return any(
        value is not None or not trial.failed
        for trial, name in _untold(folder, search)
        for value in _outcome(study, name, plan)
    )


def _untold(folder: Path, search: PlannedSearch) -> list[tuple[Trial, str]]:
    """Trials without a value, with their runs."""
    asked = trials(folder, search.name)
    return [(trial, name) for trial, name in zip(asked, search.runs, strict=False) if trial.value is None]


def _outcome(study: Path, name: str, plan: Plan) -> list[float | None]:
    """The best val Dice of a run that is done, None of one that failed; nothing of one that is still to be made.

    Raises:
        InputError: done, and without a val Dice.
    """
    record = record_of(study, next(run for run in plan.runs if run.name == name))
    if record is None:
        return []
    if record.status == "failed":
        return [None]
    value = record.values.get("", {}).get(OBJECTIVE)
    if value is None:
        raise InputError(f"search: run {name} has no val Dice to search by; its data need a val split, or give folds")
    return [value]


def _age(path: Path) -> float:
    """Seconds since a file was written; 0 where it has just gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
