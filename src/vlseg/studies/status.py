"""How far a study is: counts, rate, time left, failures with one-line reasons."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from statistics import fmean, median
from typing import Any

from vlseg.records.estimate import ESTIMATE_FILE, Estimate
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
        seconds_left: of work, as estimated and set right by the done runs, else by the mean of the done runs of a kind
            and model; None where nothing is known of some.
        rate: done runs an hour, over the last ones; None where too few are done.
        failures: see there.
        others: runs in the ledger that the study does not want any more.
        ahead: names of the runs that are neither done nor failed.
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
    ahead: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """All runs that the study wants."""
        return sum(self.counts.values())

    @property
    def left(self) -> int:
        """Runs that somebody has yet to make, or makes."""
        return self.counts["planned"] + self.counts["interrupted"] + self.counts["running"] - len(self.blocked)


@dataclass(frozen=True)
class Looked:
    """A run as the ledger has it.

    Attributes:
        at: None where the ledger does not know it.
        record: of a run that is done or failed, of whatever identity; None where none can be read.
        state: see `Status.counts`.
    """

    run: Planned
    at: At | None
    record: LedgerRecord | None
    state: str

    @property
    def outdated(self) -> bool:
        """Whether there is a result, of another identity than the wanted one."""
        return self.record is not None and self.record.identity != self.run.identity


def look(study: Path, plan: Plan) -> list[Looked]:
    """Every run of the plan as it stands, in the plan's order."""
    now = clock(study)
    found = []
    for run in plan.runs:
        at = state_of(study, run.name)
        record = _record(at) if at is not None else None
        found.append(Looked(run, at, record, _state(at, run, record, now, plan.study.lease_seconds)))
    return found


def status(study: Path, plan: Plan, found: Sequence[Looked] | None = None) -> Status:
    """How the study stands; cheap enough to be called twice a second for hundreds of runs.

    Args:
        study: its folder.
        plan: the study.
        found: the ledger as it was looked at; None = look now.
    """
    found = look(study, plan) if found is None else found
    records: dict[str, LedgerRecord] = {}
    states: dict[str, str] = {}
    working = []
    for one in found:
        states[one.run.name] = one.state
        if one.record is not None and not one.outdated:
            records[one.run.name] = one.record
        if one.at is not None and one.state == "running":
            lease = lease_at(one.at)
            working.append({"name": one.run.name, "host": lease.get("host", ""), "pid": lease.get("pid")})
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
        seconds_left=_left(plan.runs, states, records, _estimate(study)),
        rate=_rate(done),
        failures=[
            Failure(one.run.name, one.record.error or "", one.at.folder)
            for one in found
            if one.run.name in failed and one.at is not None and one.record is not None
        ],
        others=_others(study, {run.name for run in plan.runs}),
        ahead=[name for name, state in states.items() if state not in ("done", "failed")],
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


@lru_cache(maxsize=8)
def _estimate_of(study: Path, date: int) -> Estimate | None:
    return Estimate.read(study)


def _estimate(study: Path) -> Estimate | None:
    """estimate.json, read again when it has changed."""
    try:
        return _estimate_of(study, (study / ESTIMATE_FILE).stat().st_mtime_ns)
    except FileNotFoundError:
        return None


def _left(
    runs: Sequence[Planned],
    states: dict[str, str],
    records: dict[str, LedgerRecord],
    estimate: Estimate | None = None,
) -> float | None:
    """Seconds of work left: each run as estimated, times how wrong that was for the done ones of its kind.

    Without an estimate as long as the done ones of its kind, model and data, else kind and model, else kind.
    """
    near: dict[tuple[str, ...], list[float]] = {}
    wrong: dict[str, list[float]] = {}
    costs = estimate.runs if estimate is not None else {}
    for run in runs:
        if states[run.name] == "done":
            seconds = records[run.name].seconds
            for key in _keys(run):
                near.setdefault(key, []).append(seconds)
            if (cost := costs.get(run.name)) is not None and cost.seconds:
                wrong.setdefault(cost.kind, []).append(seconds / cost.seconds)
    factors = {kind: median(ratios) for kind, ratios in wrong.items()}
    means = {key: fmean(seconds) for key, seconds in near.items()}
    left = 0.0
    for run in runs:
        if states[run.name] in ("planned", "interrupted", "running"):
            known = [means[key] for key in _keys(run) if key in means]
            if (cost := costs.get(run.name)) is not None and cost.seconds is not None:
                known = [cost.seconds * factors.get(cost.kind, 1.0)]
            if not known:
                return None
            left += known[0] * (0.5 if states[run.name] == "running" else 1.0)
    return left


def _keys(run: Planned) -> list[tuple[str, ...]]:
    model, on = run.labels["model"], run.labels["trained_on"]
    return [(run.kind, model, on, *run.data), (run.kind, model), (run.kind,)]


PAUSE = 30.0
"""Seconds in which nobody worked on any run, after which a new sitting began."""


def _rate(done: Sequence[LedgerRecord]) -> float | None:
    """Runs an hour, between the ends of the last ones; pauses between sittings do not count."""
    spans = sorted((end := datetime.fromisoformat(record.ended).timestamp(), end - record.seconds) for record in done)
    spans = spans[-200:]
    if len(spans) < 2:
        return None
    upto = since = spans[0][0]
    spent = 0.0
    for begin, end in sorted((max(begin, since), end) for end, begin in spans):
        if begin - upto > PAUSE:
            upto = begin
        spent += max(0.0, end - upto)
        upto = max(upto, end)
    return (len(spans) - 1) / spent * 3600 if spent > 0 else None


def _others(study: Path, wanted: set[str]) -> int:
    place = study / LEDGER
    if not place.is_dir():
        return 0
    return sum(1 for one in place.iterdir() if not one.name.startswith(".") and one.name not in wanted)
