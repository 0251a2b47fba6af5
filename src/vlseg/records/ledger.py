"""The states of a study's runs as they lie on disk: one folder for each run, whose name is the state.

STUDY/ledger/NAME/STATUS-TOKEN. The token grows with every claim; where two folders are there the higher token holds,
and the lower one is the result that was there before, or what a worker that lost its lease still wrote.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from vlseg.records.errors import InputError
from vlseg.records.study import LedgerRecord, Planned, State

STATES: tuple[State, ...] = get_args(State)
LEDGER = "ledger"
LEASE = "lease.json"
_LEASE = {
    **dict.fromkeys(("token", "pid", "deaths"), int),
    **dict.fromkeys(("nonce", "host", "where", "identity"), str),
    "since": float,
}
LOOKS = 20
"""Between reading two names a rename may hide both (over a network): so often a folder without states is looked at."""


@dataclass(frozen=True)
class At:
    """A run's state: `folder` is ledger/NAME/STATUS-TOKEN."""

    name: str
    state: State
    token: int
    folder: Path

    @property
    def work(self) -> Path:
        """The run's own folder, as the job writes it."""
        return self.folder / self.name


def all_of(study: Path, name: str) -> list[At]:
    """Every state's folder of one run, the one that holds last; empty where the ledger does not know the run.

    Of two with one token that of a running one is not the run's own: see `claim`.
    """
    place = study / LEDGER / name
    try:
        with os.scandir(place) as inside:
            found = [at for entry in inside if (at := _parsed(place, entry.name))]
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda at: (at.token, at.state != "running"))


def state_of(study: Path, name: str) -> At | None:
    """The state of one run; None where the ledger does not know it."""
    for _ in range(LOOKS):
        if found := all_of(study, name):
            return found[-1]
        if not (study / LEDGER / name).exists():
            return None
    return None


def _parsed(place: Path, name: str) -> At | None:
    state, _, token = name.partition("-")
    if state in STATES and token.isdecimal():
        return At(place.name, state, int(token), place / name)
    return None


def states(study: Path, names: Iterable[str]) -> Iterator[At]:
    """The states of the runs that the ledger knows."""
    return (at for name in names if (at := state_of(study, name)))


def record_at(at: At) -> LedgerRecord | None:
    """The record of a run that is done or failed; None of others, or where there is none that can be read."""
    if at.state not in ("done", "failed"):
        return None
    try:
        return LedgerRecord.read(at.folder)
    except InputError:
        return None


def record_of(study: Path, run: Planned) -> LedgerRecord | None:
    """What a run became, done or failed; None where that is still to come, or was of another identity."""
    at = state_of(study, run.name)
    record = record_at(at) if at is not None else None
    return record if record is not None and record.identity == run.identity else None


def lease_at(at: At) -> dict[str, Any]:
    """Who works on a run, or did last; {} where nobody can be read."""
    try:
        values = json.loads((at.folder / LEASE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    whole = isinstance(values, dict) and all(isinstance(values.get(key), kind) for key, kind in _LEASE.items())
    return values if whole else {}
