"""What a study took: hours, memory, disk, machines and versions, and when."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from vlseg.reports.study_facts import StudyRun

KINDS = {
    "train": "training",
    "evaluate": "evaluation",
    "probe": "probe",
    "attack": "attack",
    "worth": "worth of a leak",
    "masks": "folder of masks",
}
PAUSE = 1800.0
"""Seconds in which no run was at work, after which another sitting began."""


def cost(runs: Sequence[StudyRun]) -> dict[str, Any]:
    """Hours of the attempts that ended runs, and what the ledger keeps, in all, by kind and by part.

    A run that several parts want counts to the first of them, so that the parts add up.
    """
    ended = [run for run in runs if run.seconds is not None]
    return {
        "total": _amounts(ended),
        "kinds": {KINDS.get(kind, kind): _amounts(found) for kind, found in _by(ended, lambda run: run.kind).items()},
        "parts": {part: _amounts(found) for part, found in _by(ended, lambda run: run.parts[0]).items()},
        "failed": told_hours(sum(run.seconds or 0.0 for run in ended if run.state == "failed")),
        "any_failed": any(run.state == "failed" for run in ended),
    }


def _by(runs: Sequence[StudyRun], key: Callable[[StudyRun], str]) -> dict[str, list[StudyRun]]:
    groups: dict[str, list[StudyRun]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups


def _amounts(runs: Sequence[StudyRun]) -> dict[str, Any]:
    seconds = sum(run.seconds or 0.0 for run in runs)
    peaks = [memory for run in runs if isinstance(memory := run.environment.get("peak_memory_bytes"), int)]
    return {
        "runs": len(runs),
        "hours": told_hours(seconds),
        "longest": told_hours(max((run.seconds or 0.0 for run in runs), default=0.0)),
        "peak": f"{max(peaks) / 2**30:.2f} GiB" if peaks else "–",
        "disk": told_bytes(sum(run.size for run in runs)),
    }


def peak(runs: Sequence[StudyRun]) -> tuple[str, str] | None:
    """The most memory that a training's process took: GiB and the first run that tells it; None where none is known."""
    known = [
        (memory, run.record.ended, run.name)
        for run in runs
        if run.record is not None and isinstance(memory := run.environment.get("peak_memory_bytes"), int)
    ]
    if not known:
        return None
    most, _, name = min(known, key=lambda one: (-one[0], one[1:]))
    return f"{most / 2**30:.2f}", name


def told_hours(seconds: float) -> str:
    """3.2 h, 12.4 min, 40 s."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def told_bytes(size: int) -> str:
    """1.24 GiB, 310 MiB, 12 KiB."""
    for unit, step in (("GiB", 2**30), ("MiB", 2**20)):
        if size >= step:
            return f"{size / step:.{2 if unit == 'GiB' else 0}f} {unit}"
    return f"{size / 1024:.0f} KiB"


def environment_of(runs: Sequence[StudyRun]) -> dict[str, list[tuple[str, int]]]:
    """What runs were made with: each value with the number of runs, the most frequent first."""
    found: dict[str, Counter[str]] = {}

    def count(what: str, value: Any) -> None:
        if value not in (None, "", {}):
            found.setdefault(what, Counter())[str(value)] += 1

    for run in runs:
        if run.record is not None:
            for what, value in (
                ("machine", run.record.host),
                ("vlseg", run.record.version),
                ("git revision", run.record.git_revision or "not known"),
            ):
                count(what, value)
        for what in ("device", "precision", "threads", "processes"):
            count(what, run.environment.get(what))
        packages = run.environment.get("packages")
        for name, version in packages.items() if isinstance(packages, Mapping) else ():
            if name != "vlseg":
                count(name, version)
    return {what: values.most_common() for what, values in found.items()}


@dataclass(frozen=True)
class Sitting:
    """A stretch of time in which runs were at work without a long pause."""

    begin: str
    end: str
    runs: int
    work: str
    machines: tuple[str, ...]


def sittings(runs: Sequence[StudyRun]) -> list[Sitting]:
    """When runs were made, in order; a pause of half an hour parts two sittings."""
    spans = []
    for run in runs:
        record = run.record
        if record is not None and record.ended:
            end = _time(record.ended)
            spans.append((end - record.seconds, end, record))
    groups: list[list[tuple[float, float, Any]]] = []
    upto = float("-inf")
    for span in sorted(spans, key=lambda one: one[:2]):
        if span[0] - upto > PAUSE:
            groups.append([])
        groups[-1].append(span)
        upto = max(upto, span[1])
    return [
        Sitting(
            _moment(inside[0][0]),
            _moment(max(end for _, end, _ in inside)),
            len(inside),
            told_hours(sum(record.seconds for *_, record in inside)),
            tuple(sorted({record.host for *_, record in inside if record.host})),
        )
        for inside in groups
    ]


def _time(text: str) -> float:
    when = datetime.fromisoformat(text)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
