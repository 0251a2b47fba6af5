"""The states of a study's runs as they lie on disk: one folder for each run, whose name is the state.

STUDY/ledger/NAME/STATUS-TOKEN. The token grows with every claim; where two folders are there the higher token holds,
and the lower one is what a worker that lost its lease still wrote.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from vlseg.records.study import LedgerRecord, State

STATES: tuple[State, ...] = get_args(State)
LEDGER = "ledger"
LEASE = "lease.json"


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


def state_of(study: Path, name: str) -> At | None:
    """The state of one run; None where the ledger does not know it."""
    place = study / LEDGER / name
    for _ in range(100):
        try:
            names = [entry.name for entry in os.scandir(place)]
        except FileNotFoundError:
            return None
        found = [at for one in names if (at := _parsed(place, one))]
        if found:
            return max(found, key=lambda at: at.token)
        # Between reading two names a rename may hide both: look again.
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
    """The record of a run that is done or failed; None of others, or where it changed meanwhile."""
    if at.state not in ("done", "failed") or not (at.folder / "record.json").exists():
        return None
    return LedgerRecord.read(at.folder)


def lease_at(at: At) -> dict[str, Any]:
    """Who works on a run; {} where nobody can be read."""
    try:
        values = json.loads((at.folder / LEASE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
