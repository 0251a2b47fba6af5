"""Studies of made-up runs, for tests of the ledger alone: nothing is trained."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from vlseg.records.ledger import LEDGER
from vlseg.records.study import LedgerRecord, Plan, Planned, StudySpec
from vlseg.studies import ledger

SECONDS = 60.0


def spec(**more: Any) -> StudySpec:
    return StudySpec(**{"name": "s", "parts": [{"name": "p", "models": ["unet"], "data": ["d"]}], **more})


def planned(name: str, kind: str = "evaluate", **more: Any) -> Planned:
    values = {"labels": {"model": "m", "trained_on": "d"}, "parts": ["p"], "config": {}, "data": {"d": "d"}}
    return Planned(**{"name": name, "kind": kind, "identity": "i", **values, **more})


def write_study(folder: Path, runs: list[Planned], **more: Any) -> list[Planned]:
    Plan(study=spec(**more), runs=runs).write(folder)
    for run in runs:
        ledger.enter(folder, run.name)
    return runs


def record(run: Planned, lease: ledger.Lease, *, error: str | None = None, **more: Any) -> LedgerRecord:
    values = {"name": run.name, "kind": run.kind, "identity": run.identity, "token": lease.at.token, "error": error}
    values["ended"] = "2026-11-26T08:00:00+00:00"
    return LedgerRecord(**{**values, "status": "failed" if error else "done", **more})


def take(study: Path, run: Planned, seconds: float = SECONDS) -> ledger.Lease:
    """Claim a run, which must work."""
    at = ledger.state_of(study, run.name)
    assert at is not None
    lease = ledger.claim(study, run, at, ledger.clock(study), seconds)
    assert lease is not None
    return lease


def age(lease: ledger.Lease, seconds: float) -> None:
    """As if the holder had been silent for so long."""
    for path in (lease.at.folder / "lease.json", lease.at.folder):
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))


def folders(study: Path, name: str) -> list[str]:
    """Of a run's states, by name."""
    return sorted(path.name for path in (study / LEDGER / name).iterdir())


def python(code: str, *arguments: object, **more: Any) -> subprocess.Popen[str]:
    """A process that runs `code` with the helpers at hand."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def lease_values(lease: ledger.Lease) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((lease.at.folder / "lease.json").read_text())
    return values
