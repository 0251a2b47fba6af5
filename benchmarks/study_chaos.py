"""A study of 40 runs whose processes are killed and stopped at random, beside the same study left alone.

python benchmarks/study_chaos.py [--seeds 0 1 2] [--kills 30]

Signals are spread over the whole study: the next one comes when so many runs are done, and a moment after. Most hit a
worker, some `vlseg study run` itself, which is then started again; some are SIGSTOP, beyond the lease, and SIGCONT.
Writes `benchmarks/results/study_chaos.json`.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet
import yaml
from safetensors.torch import load_file

from vlseg.phantoms import write_phantoms
from vlseg.records.ledger import LEDGER, record_at, state_of
from vlseg.records.study import Plan, Planned

LEASE = 5.0
STUDY: dict[str, Any] = {
    "name": "chaos",
    "lease_seconds": LEASE,
    "deaths": 1000,
    "set": {"batch_size": 4, "max_steps": 120, "validate_every": 40, "device": "cpu"},
    "models": {"clipseg-tiny": {"set": {"model_arguments": {"image_size": 64}}}, "unet": {"set": {"max_steps": 60}}},
    "tables": [{"name": "dice", "rows": ["part", "seed"], "columns": "split", "where": {"condition": "clean"}}],
    "parts": [
        {
            "name": "told",
            "models": ["clipseg-tiny"],
            "data": ["phantoms"],
            "seeds": [0, 1, 2, 3],
            "evaluate": [{"conditions": ["clean", "swapped"]}, {"split": "val"}],
            "probe": [{"limit": 4}],
        },
        {
            "name": "frozen",
            "models": ["clipseg-tiny"],
            "data": ["phantoms"],
            "regimes": ["freeze_encoders"],
            "seeds": [0, 1],
            "start_from": "told",
            "evaluate": [{}, {"split": "val"}],
        },
        {
            "name": "unet",
            "models": ["unet"],
            "data": ["phantoms"],
            "seeds": [0, 1, 2],
            "evaluate": [{}, {"split": "val"}, {"split": "train"}],
        },
        {
            "name": "again",
            "models": ["unet"],
            "data": ["phantoms"],
            "start_from": "unet",
            "seeds": [0],
        },
    ],
}


def write_study(folder: Path) -> Path:
    """The study's file, with its data beside it."""
    write_phantoms(folder / "phantoms", counts={"train": 12, "val": 4, "test": 8}, size=64)
    file = folder / "chaos.yaml"
    file.write_text(yaml.safe_dump({**STUDY, "data": {"phantoms": "phantoms"}}))
    return file


def start(file: Path, study: Path, workers: int = 2) -> subprocess.Popen[bytes]:
    """`vlseg study run`, its words in a log."""
    command = [sys.executable, "-m", "vlseg", "study", "run", str(file), "--out", str(study), "--threads", "1"]
    command += ["--no-estimate"]
    with study.with_suffix(".log").open("ab") as log:
        return subprocess.Popen([*command, "--workers", str(workers)], stdout=log, stderr=log, start_new_session=True)


def done(study: Path) -> int:
    """Runs that are done by now."""
    return sum(1 for _ in (study / LEDGER).glob("*/done-*"))


def workers(study: Path) -> list[psutil.Process]:
    """All worker processes of a study, also those whose parent was killed; none that is stopped."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = process.info["cmdline"] or []
        if "vlseg.studies.worker" in line and str(study) in line and process.info["status"] != psutil.STATUS_STOPPED:
            found.append(process)
    return found


class Disturbed:
    """A study under fire."""

    def __init__(self, file: Path, study: Path, seed: int, kills: int) -> None:
        self.file, self.study, self.kills, self.chance = file, study, kills, random.Random(seed)
        self.signals: Counter[str] = Counter()
        self.stopped: list[tuple[float, int]] = []
        self.main = start(file, study)

    def run(self, total: int) -> None:
        """Until it has come to its end; restarted as often as needed."""
        killed = 0
        while True:
            share = killed / self.kills * (total - 2)
            if killed < self.kills and done(self.study) >= share - 1:
                time.sleep(self.chance.uniform(0.0, 4.0))
                killed += self.strike()
            self.wake()
            if self.main.poll() is not None:
                if self.main.returncode == 0:
                    break
                self.main = start(self.file, self.study)
            time.sleep(0.2)
        self.wake(everybody=True)
        while workers(self.study):
            time.sleep(0.2)
        if killed < self.kills:
            raise SystemExit(f"only {killed} kills before the study was through")

    def strike(self) -> int:
        """One signal; whether it killed."""
        crew = workers(self.study)
        if self.main.poll() is None and (self.chance.random() < 0.2 or not crew):
            self.main.kill()
            self.main.wait()
            self.signals["SIGKILL of vlseg study run"] += 1
            return 1
        if not crew:
            return 0
        victim = self.chance.choice(crew)
        try:
            if self.chance.random() < 0.25:
                victim.suspend()
                self.stopped.append((time.monotonic() + self.chance.uniform(0.5, 3.0) * LEASE, victim.pid))
                self.signals["SIGSTOP and SIGCONT of a worker"] += 1
                return 0
            victim.kill()
        except psutil.NoSuchProcess:
            return 0
        self.signals["SIGKILL of a worker"] += 1
        return 1

    def wake(self, *, everybody: bool = False) -> None:
        """SIGCONT to those that were stopped for long enough."""
        for when, pid in list(self.stopped):
            if everybody or time.monotonic() > when:
                self.stopped.remove((when, pid))
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    continue


def names(study: Path) -> set[str]:
    """All files, folders and links, whatever their tokens; without logs, which tell what happened."""
    found = {str(path.relative_to(study)) for path in study.rglob("*")}
    return {re.sub(r"-\d{4}(/|$)", r"\1", name) for name in found if not name.startswith("log")}


def differences(usual: Path, other: Path) -> list[str]:
    """What is not the same in two folders of one study: files, states, scores, weights, kept values."""
    found = [f"only in one: {name}" for name in sorted(names(usual) ^ names(other))]
    for run in Plan.read(usual).runs:
        folders = [path.name for path in (other / LEDGER / run.name).iterdir()]
        if len(folders) != 1 or not folders[0].startswith("done-"):
            found.append(f"{run.name}: {folders}")
        elif problem := _results(usual, other, run):
            found.append(f"{run.name}: {problem}")
    said = Counter(
        line.partition(": done in ")[0]
        for log in (other / "log").iterdir()
        for line in log.read_text(errors="replace").splitlines()
        if ": done in " in line
    )
    return found + [f"{name}: published {count} times" for name, count in said.items() if count > 1]


def _results(usual: Path, other: Path, run: Planned) -> str | None:
    one, two = (state_of(study, run.name) for study in (usual, other))
    if one is None or two is None:
        return "is not there"
    if run.kind == "train":
        first, second = (load_file(at.work / "model" / "model.safetensors") for at in (one, two))
        if first.keys() != second.keys() or not all(first[key].equal(second[key]) for key in first):
            return "other weights"
    else:
        first, second = (pyarrow.parquet.read_table(at.work / "scores.parquet") for at in (one, two))
        if not first.equals(second):
            return "other scores"
    kept = [found.values if (found := record_at(at)) else None for at in (one, two)]
    if kept[0] is None or _timeless(kept[0]) != _timeless(kept[1]):
        return "other values"
    return None


def _timeless(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _timeless(value) for key, value in values.items() if key not in ("seconds", "scores")}
    return [_timeless(value) for value in values] if isinstance(values, list) else values


def undisturbed(file: Path, study: Path) -> tuple[int, int]:
    """Run the study in peace: its number of runs, and the seconds it took; one that is there is taken as it is."""
    if not study.exists() and start(file, study).wait() != 0:
        raise SystemExit(study.with_suffix(".log").read_text())
    seconds = (study / "plan.json").stat().st_mtime, max(one.stat().st_mtime for one in (study / "log").iterdir())
    return len(Plan.read(study).runs), round(seconds[1] - seconds[0])


def disturbed(file: Path, study: Path, seed: int, kills: int, total: int) -> dict[str, Any]:
    """Run it under fire; what was done to it and how long it took."""
    begin = time.monotonic()
    one = Disturbed(file, study, seed, kills)
    one.run(total)
    tokens = [at.token for run in Plan.read(study).runs if (at := state_of(study, run.name))]
    return {
        "seed": seed,
        "signals": dict(sorted(one.signals.items())),
        "claims": sum(tokens),
        "most_claims_of_a_run": max(tokens),
        "seconds": round(time.monotonic() - begin),
    }


def main() -> None:
    """Run it, write the result, and say what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--keep", type=Path, help="folder that keeps the studies; also of an earlier call")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = given.keep or Path(temporary)
        file = place / "chaos.yaml" if (place / "chaos.yaml").exists() else write_study(place)
        total, seconds = undisturbed(file, place / "usual")
        found = []
        for seed in given.seeds:
            study = place / f"chaos-{seed}"
            one = disturbed(file, study, seed, given.kills, total)
            found.append({**one, "differences": differences(place / "usual", study)})
            print(json.dumps(found[-1]), flush=True)
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "runs": total,
        "lease_seconds": LEASE,
        "seconds_undisturbed": seconds,
        "disturbed": found,
    }
    target = Path(__file__).parent / "results" / "study_chaos.json"
    target.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(1 if any(one["differences"] for one in found) else 0)


if __name__ == "__main__":
    main()
