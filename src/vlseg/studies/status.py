"""How far a study is: counts, rate, time left, failures with one-line reasons."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from vlseg.records.ledger import LEDGER, At, lease_at, record_at, state_of
from vlseg.records.study import LedgerRecord, Plan, Planned
from vlseg.studies.ledger import clock, expired


@dataclass(frozen=True)
class Failure:
    """A run that failed, and why."""

    name: str
    error: str
    folder: Path


@dataclass(frozen=True)
class Status:
    """The states of a study's runs.

    Attributes:
        counts: by state; runs whose result is outdated count as planned, those whose worker is gone as interrupted.
        kinds: the same by kind of run.
        blocked: names of planned runs that wait for one that failed.
        working: who makes what: name, host, process.
        seconds: of the runs that are done, all together.
        seconds_left: of work, by the mean of the done runs of a kind and model; None where nothing is known of some.
        rate: done runs an hour, over the last hour of work; None where too few are done.
        failures: see there.
        others: runs in the ledger that the study does not want any more.
    """

    counts: dict[str, int]
    kinds: dict[str, dict[str, int]]
    blocked: list[str]
    working: list[dict[str, Any]]
    seconds: float
    seconds_left: float | None
    rate: float | None
    failures: list[Failure]
    others: int

    @property
    def total(self) -> int:
        """All runs that the study wants."""
        return sum(self.counts.values())


def status(study: Path, plan: Plan) -> Status:
    """Read the ledger; cheap enough to be called twice a second for hundreds of runs."""
    now = clock(study)
    found = [(run, state_of(study, run.name)) for run in plan.runs]
    records: dict[str, LedgerRecord] = {}
    states: dict[str, str] = {}
    working = []
    for run, at in found:
        record = _record(at) if at is not None else None
        if record is not None and record.identity == run.identity:
            records[run.name] = record
        states[run.name] = _state(at, run, record, now, plan.study.lease_seconds)
        if at is not None and states[run.name] == "running":
            lease = lease_at(at)
            working.append({"name": run.name, "host": lease.get("host", ""), "pid": lease.get("pid")})
    counts = Counter(states.values())
    names = ("planned", "running", "done", "failed", "interrupted")
    kinds: dict[str, dict[str, int]] = {}
    for run in plan.runs:
        kinds.setdefault(run.kind, dict.fromkeys(names, 0))[states[run.name]] += 1
    done = [records[name] for name, state in states.items() if state == "done"]
    failed = {name for name, state in states.items() if state == "failed"}
    return Status(
        counts={name: counts.get(name, 0) for name in names},
        kinds=kinds,
        blocked=_blocked(plan.runs, states, failed),
        working=working,
        seconds=sum(record.seconds for record in done),
        seconds_left=_left(plan.runs, states, records),
        rate=_rate(done),
        failures=[
            Failure(run.name, records[run.name].error or "", at.folder)
            for run, at in found
            if run.name in failed and at is not None and run.name in records
        ],
        others=_others(study, {run.name for run in plan.runs}),
    )


_KNOWN: dict[tuple[str, int], LedgerRecord] = {}
"""Records by folder and token: they do not change once they are there."""


def _record(at: At) -> LedgerRecord | None:
    if at.state not in ("done", "failed"):
        return None
    key = (str(at.folder), at.token)
    if key not in _KNOWN:
        record = record_at(at)
        if record is None:
            return None
        _KNOWN[key] = record
    return _KNOWN[key]


def _state(at: At | None, run: Planned, record: LedgerRecord | None, now: float, seconds: float) -> str:
    if at is None:
        return "planned"
    if at.state == "running" and expired(at, now, seconds):
        return "interrupted"
    if at.state in ("done", "failed") and (record is None or record.identity != run.identity):
        return "planned"
    return at.state


def _blocked(runs: Sequence[Planned], states: dict[str, str], failed: set[str]) -> list[str]:
    """Runs that cannot begin, because what they need failed or is itself blocked."""
    stuck, more = set(failed), True
    while more:  # in the plan a run may stand before one that it needs
        found = {run.name for run in runs if states[run.name] in ("planned", "interrupted") and stuck & set(run.needs)}
        more = not found <= stuck
        stuck |= found
    return [run.name for run in runs if run.name in stuck - failed]


def _left(runs: Sequence[Planned], states: dict[str, str], records: dict[str, LedgerRecord]) -> float | None:
    """Seconds of work left: each run as long as the done ones of its kind, model and data, else kind and model."""
    near: dict[tuple[str, ...], list[float]] = {}
    for run in runs:
        if states[run.name] == "done":
            for key in _keys(run):
                near.setdefault(key, []).append(records[run.name].seconds)
    left = 0.0
    for run in runs:
        if states[run.name] in ("planned", "interrupted", "running"):
            known = [near[key] for key in _keys(run) if key in near]
            if not known:
                return None
            left += fmean(known[0]) * (0.5 if states[run.name] == "running" else 1.0)
    return left


def _keys(run: Planned) -> list[tuple[str, ...]]:
    model, on = run.labels["model"], run.labels["trained_on"]
    return [(run.kind, model, on, *run.data), (run.kind, model), (run.kind,)]


def _rate(done: Sequence[LedgerRecord]) -> float | None:
    """Runs an hour, between the ends of the last ones; pauses between two sittings do not count."""
    ends = sorted(datetime.fromisoformat(record.ended).timestamp() for record in done)[-200:]
    spent = sum(gap for a, b in pairwise(ends) if (gap := b - a) < 1800)
    return (len(ends) - 1) / spent * 3600 if spent > 0 else None


def _others(study: Path, wanted: set[str]) -> int:
    place = study / LEDGER
    if not place.is_dir():
        return 0
    return sum(1 for one in place.iterdir() if not one.name.startswith(".") and one.name not in wanted)
