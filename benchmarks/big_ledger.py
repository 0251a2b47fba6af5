"""A made-up study of 10,000 runs: what looking at it and preparing it take.

python benchmarks/big_ledger.py [--runs 10000]

Nothing is trained: most runs are done, with records as large as real ones; some failed, some are at work. Seconds are
those of whole commands, imports included: of the processor, and by the clock (of a machine that may have other work).
Writes `benchmarks/results/big_ledger.json`.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from vlseg.phantoms import write_phantoms
from vlseg.records.ledger import state_of
from vlseg.records.study import LedgerRecord, Plan, Planned
from vlseg.studies import ledger

MODELS = ("unet", "unet-target", "clipseg-tiny")
DATASETS = 10
VALUES = {
    "n": 120,
    "images": 118,
    "groups": 60,
    **{
        key: {
            "mean": 0.7312345678901234,
            "std": 0.1912345678901234,
            "ci95": [0.6912345678901234, 0.7712345678901234],
            "n": 118,
        }
        for key in ("dice", "iou", "hd95", "hd95_penalised", "nsd", "dice_present", "precision", "recall")
    },
    "presence": {"detected": 110, "missed": 8, "false": 2, "absent": 10},
    "ceilings": {"text_blind": 0.51234567890123, "class": 0.8123456789012, "reason": None},
    "prompt_source": ["class", "user"],
}
"""About what is kept of an evaluation."""


def study_file(folder: Path, runs: int) -> Path:
    """A study of about so many runs: for each training two evaluations and a probe."""
    if not (folder / "one").exists():
        write_phantoms(folder / "one", counts={"train": 4, "val": 2, "test": 2}, size=32)
    names = [f"data-{index}" for index in range(DATASETS)]
    seeds = -(-runs // (len(MODELS) * DATASETS * 4))
    part = {
        "name": "all",
        "models": list(MODELS),
        "data": names,
        "seeds": list(range(seeds)),
        "evaluate": [{}, {"split": "val"}],
        "probe": [{}],
    }
    tables = [{"name": "dice", "rows": "model", "columns": "data", "where": {"split": "test"}}]
    values = {"name": "big", "data": dict.fromkeys(names, "one"), "parts": [part], "tables": tables}
    file = folder / "big.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def fill(study: Path, runs: list[Planned]) -> None:
    """Most done, one in 50 failed, 16 at work, one in 20 still planned."""
    begin = datetime(2026, 11, 1, tzinfo=UTC)
    now = ledger.clock(study)
    for index, run in enumerate(runs):
        at = state_of(study, run.name)
        if at is None or index % 20 == 19:
            continue
        lease = ledger.claim(study, run, at, now, 1e9)
        if lease is None or index % (len(runs) // 16) == 0:
            continue
        failed = index % 50 == 7
        record = LedgerRecord(
            name=run.name,
            kind=run.kind,
            identity=run.identity,
            status="failed" if failed else "done",
            token=lease.at.token,
            host="node",
            started=(begin + timedelta(seconds=60 * index)).isoformat(),
            ended=(begin + timedelta(seconds=60 * index + 55)).isoformat(),
            seconds=55.0,
            version="0.1.0",
            values={} if failed else dict.fromkeys(run.data, VALUES),
            error="training diverged: the loss is NaN at step 12" if failed else None,
        )
        if failed:
            ledger.fail(lease, record, "made up")
        else:
            lease.at.work.mkdir()
            (lease.at.work / "scores.parquet").touch()
            ledger.publish(lease, record)


def measured(command: list[str]) -> dict[str, Any]:
    """Seconds of a command."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"processor_seconds": round(used, 2), "clock_seconds": round(time.monotonic() - begin, 2)}


READ = """
import sys
from pathlib import Path
from vlseg.records.ledger import record_at, state_of
from vlseg.records.study import Plan
study = Path(sys.argv[1])
plan = Plan.read(study)
found = [record_at(at) for run in plan.runs if (at := state_of(study, run.name)) is not None]
print(sum(one is not None for one in found))
"""


def main() -> None:
    """Make the study, look at it, write what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="a folder that keeps the study")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = given.keep or Path(temporary)
        place.mkdir(exist_ok=True)
        file, study = study_file(place, given.runs), place / "study"
        plan_command = [
            sys.executable,
            "-m",
            "vlseg",
            "study",
            "run",
            str(file),
            "--out",
            str(study),
            "--plan",
            "--no-estimate",
        ]
        found: dict[str, Any] = {"date": datetime.now(UTC).date().isoformat()}
        found["prepare, new"] = measured(plan_command)
        plan = Plan.read(study)
        found["runs"] = len(plan.runs)
        fill(study, plan.runs)
        found["plan_megabytes"] = round((study / "plan.json").stat().st_size / 1e6, 1)
        found["prepare, again"] = measured(plan_command)
        found["status"] = measured([sys.executable, "-m", "vlseg", "study", "status", str(study)])
        found["status --runs --json"] = measured(
            [sys.executable, "-m", "vlseg", "study", "status", str(study), "--runs", "--json"]
        )
        found["report"] = measured([sys.executable, "-m", "vlseg", "report", str(study)])
        found["plan and all records"] = measured([sys.executable, "-c", READ, str(study)])
    target = Path(__file__).parent / "results" / "big_ledger.json"
    target.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
