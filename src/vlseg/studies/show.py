"""A study's plan and state in lines of text, and as it goes along."""

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.table import Table
from rich.text import Text

from vlseg.records.console import error_console
from vlseg.records.estimate import Estimate
from vlseg.records.study import LEFT_OUT, Plan
from vlseg.studies.status import Status

QUIET = 30.0
"""Seconds between two lines where there is no terminal."""
MOST_FAILURES = 20


def plan_lines(plan: Plan, study: Path, found: Estimate | None = None, ahead: Sequence[str] = ()) -> list[str]:
    """What will be run: a line for each part, and what is missing.

    Args:
        plan: the study.
        study: its folder.
        found: what it is expected to take; None = not estimated.
        ahead: names of the runs that are not done.
    """
    kinds = _kinds(Counter(run.kind for run in plan.runs)) or "none yet"
    left = f"; {len(ahead)} to be made" if 0 < len(ahead) < len(plan.runs) else ""
    lines = [f"study {plan.study.name} in {study}: {len(plan.runs)} runs ({kinds}){left}"]
    parts: dict[str, Counter[str]] = {}
    for run in plan.runs:
        for part in run.parts:
            parts.setdefault(part, Counter())[run.kind] += 1
    wanted = set(ahead)
    for part, count in parts.items():
        names = [run.name for run in plan.runs if part in run.parts and run.name in wanted]
        lines.append(f"  {part}: {_kinds(count)}" + (f": {_took(found, names)}" if found is not None else ""))
    lines += [
        f"  search {one.name}: {len(one.runs)} of {one.search.trials} trials asked so far, then the best is evaluated"
        for one in plan.searches
    ]
    lines += [f"  left out: {hole.what}: {hole.why}" for hole in plan.holes if hole.what != LEFT_OUT]
    reasons = Counter(hole.why for hole in plan.holes if hole.what == LEFT_OUT)
    lines += [f"  left out by the study: {times} combinations: {why}" for why, times in reasons.items()]
    return lines + (estimate_lines(found, study, ahead) if found is not None and ahead else [])


def _took(found: Estimate, names: Sequence[str]) -> str:
    """About 12 min; 140 MB."""
    if not names:
        return "done"
    from vlseg.studies.estimate import expected  # which reads data: status does not wait for that

    seconds, size, _, unknown = expected(found, names)
    if unknown == len(names):
        return "time unknown"
    rest = f" and {unknown} runs of unknown time" if unknown else ""
    return f"about {duration(seconds)}{rest}; {_size(size)}"


def estimate_lines(found: Estimate, study: Path, ahead: Sequence[str]) -> list[str]:
    """What all of it takes, how that was found, what is unknown, and whether the disk is large enough."""
    from vlseg.studies.estimate import expected

    seconds, size, features, unknown = expected(found, ahead)
    lines = []
    workers = "1 worker" if found.workers == 1 else f"{found.workers} workers"
    if unknown < len(ahead):
        rest = f", {unknown} runs of unknown time apart" if unknown else ""
        more = f", {_size(features)} more of features until it is done" if features else ""
        lines.append(f"about {duration(seconds)} on {workers}, at most{rest}; {_size(size)}{more}")
        lines.append(f"  {_assumed(found)}")
    reasons: dict[str, list[str]] = {}
    kinds = {found.runs[name].kind for name in ahead if name in found.runs}
    for kind in sorted(kinds, key=lambda key: found.kinds[key].what):
        if (why := found.kinds[kind].unknown) is not None:
            reasons.setdefault(why, []).append(found.kinds[kind].what)
    if found.note is not None and found.note in reasons:
        reasons.pop(found.note)
        lines.append(f"time {'of the rest ' if lines else ''}not estimated: {found.note}")
    for why, whats in reasons.items():
        more = f" and {len(whats) - 3} more kinds" if len(whats) > 3 else ""
        lines.append(f"  unknown for {'; '.join(whats[:3])}{more} ({why})")
    free = shutil.disk_usage(study).free
    if size + features > free:
        lines.append(f"warning: {_size(free)} are free at {study}, less than that; free some, or give another --out")
    return lines


def _assumed(found: Estimate) -> str:
    threads = "1 thread" if found.threads == 1 else f"{found.threads} threads"
    how = f"{found.workers} at once" if found.workers > 1 else "alone"
    spent = f"measured in {duration(found.spent)}" if found.spent else "as measured before or taken by the done runs"
    return f"{spent}: processes of {threads} on {found.device}, {how}; trainings that stop early take less"


def _size(size: float) -> str:
    """14 GB, 3.1 GB, 120 MB."""
    if size >= 1e9:
        return f"{size / 1e9:.0f} GB" if size >= 1e10 else f"{size / 1e9:.1f} GB"
    return f"{max(1, round(size / 1e6))} MB"


NOUNS = {
    "train": "training",
    "evaluate": "evaluation",
    "probe": "probe",
    "attack": "attack",
    "worth": "worth of a leak",
    "masks": "folder of masks",
}


def _kinds(kinds: Counter[str]) -> str:
    told = []
    for kind, noun in NOUNS.items():
        if count := kinds[kind]:
            first, *rest = noun.split(" ")
            told.append(f"{count} {noun if count == 1 else ' '.join([f'{first}s', *rest])}")
    return ", ".join(told)


def status_lines(found: Status) -> list[str]:
    """The state of a study, failures with their reasons last."""
    lines = [one_line(found)]
    width = max((len(NOUNS[kind]) for kind in found.kinds), default=0)
    for kind, counts in found.kinds.items():
        told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        lines.append(f"  {NOUNS[kind]:<{width}}  {told}")
    lines += [f"  at work: {one['name']} ({one['host']}, process {one['pid']})" for one in found.working]
    if found.blocked:
        lines.append(f"  {len(found.blocked)} wait for runs that failed")
    if found.others:
        lines.append(f"  {found.others} runs in the ledger are of earlier versions of the study (vlseg study prune)")
    lines += failure_lines(found)
    return lines


def failure_lines(found: Status) -> list[str]:
    """A line for each failed run."""
    lines = [f"  failed: {one.name}: {one.error}" for one in found.failures[:MOST_FAILURES]]
    if len(found.failures) > MOST_FAILURES:
        lines.append(f"  and {len(found.failures) - MOST_FAILURES} more failed (vlseg study status --runs)")
    return lines


def one_line(found: Status) -> str:
    """Counts, rate, time left."""
    told = ", ".join(
        f"{found.counts[state]} {state}" for state in ("running", "interrupted", "failed") if found.counts[state]
    )
    rate = f"; {found.rate:.0f} runs an hour" if found.rate else ""
    at_once = max(1, len(found.working))
    left = f"; about {duration(found.seconds_left / at_once)} left" if found.seconds_left else ""
    return f"{found.counts['done']} of {found.total} runs done{f', {told}' if told else ''}{rate}{left}"


def duration(seconds: float) -> str:
    """3 h 05 min, 12 min, 40 s."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class Shown:
    """Told the state about twice a second; shows it on a terminal, or says a line now and then."""

    def __init__(self, live: Live | None) -> None:
        self._live = live
        self._said, self._when = "", time.monotonic()
        self._failed = 0

    def __call__(self, found: Status) -> None:
        """The state as it is now."""
        if self._live is not None:
            self._live.update(_table(found))
            return
        new = found.counts["failed"] > self._failed
        if not new and time.monotonic() - self._when < QUIET:
            return
        self._when, self._failed = time.monotonic(), found.counts["failed"]
        line = one_line(found)
        if line != self._said:
            self._said = line
            error_console().print(line, highlight=False, soft_wrap=True)


@contextmanager
def live() -> Iterator[Shown]:
    """What to tell the state of a study while it runs."""
    console = error_console()
    if not console.is_terminal:
        yield Shown(None)
        return
    with Live(console=console, transient=True, refresh_per_second=4) as area:
        yield Shown(area)


def _table(found: Status) -> Table:
    table = Table.grid(padding=(0, 1))
    for line in status_lines(found):
        table.add_row(Text(line, no_wrap=True, overflow="ellipsis"))
    return table


def json_values(found: Status) -> dict[str, Any]:
    """The machine-readable state."""
    return {
        **found.counts,
        "total": found.total,
        "kinds": found.kinds,
        "blocked": found.blocked,
        "seconds": round(found.seconds, 1),
        "seconds_left": found.seconds_left,
        "rate": found.rate,
        "failures": [{"run": one.name, "error": one.error, "folder": str(one.folder)} for one in found.failures],
    }


def estimate_values(found: Estimate | None, ahead: Sequence[str]) -> dict[str, Any] | None:
    """The machine-readable estimate of what is left to do; None where there is none."""
    if found is None:
        return None
    from vlseg.studies.estimate import expected

    seconds, size, features, unknown = expected(found, ahead)
    return {
        "seconds": round(seconds, 1) if unknown < len(ahead) else None,
        "bytes": round(size),
        "feature_bytes": round(features),
        "unknown_runs": unknown,
        "workers": found.workers,
        "threads": found.threads,
        "device": found.device,
        "measuring_seconds": found.spent,
    }
