"""Many clients at once against `vlseg serve`, beside one client alone: what is lost, mixed up, leaked?

    python benchmarks/serving_load.py [--seconds 120] [--clients 50] [--models clipseg-tiny clipseg] [--threads 1]

The server is a process of its own on loopback, with the threads given here in every phase. One client alone for a
quarter of the time, all together for the whole of it, one alone again, and twice as many for a quarter: more than the
server has places for, so that it refuses some. Each checks its own masks (`load_clients.py`). Writes
`results/serving_load.json`, where models that were not asked for stay; ends with 1 where something is wrong, and says
what.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import numpy as np
import psutil
from load_clients import APART, Case, Told, cases, nearest, sent
from load_models import EACH, MODELS, PROMPTS, SIDES
from machine import machine
from prometheus_client.parser import text_string_to_metric_families

import vlseg
from vlseg.models.device import set_threads
from vlseg.phantoms import write_phantoms

Row = dict[str, Any]
ROOM = 0.05
"""By which the server's memory may be larger in the last third of a run than in the second.

In the first third the allocator's pools fill, to the largest batch that comes together. After that the same mix goes
on, so a leak grows with the answers and would go on growing; what is left is noise of the pools. 5 % of the memory,
over a third of the answers, is the leak that would be seen, in KiB an answer: the result has it.
"""


@contextlib.contextmanager
def serving(source: str, threads: int, log: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`vlseg serve` and its address; what it says goes into the log."""
    command = [sys.executable, "-m", "vlseg", "serve", f"model={source}", "--port", "0", "--device", "cpu"]
    with log.open("wb") as said:
        running = subprocess.Popen([*command, f"--threads={threads}"], stdout=subprocess.PIPE, stderr=said, text=True)
        with running:
            try:
                assert running.stdout is not None
                yield running, running.stdout.readline().strip()
            finally:
                running.kill()


class Watch:
    """Memory of a process in bytes every so many seconds, and the processor's seconds that it took meanwhile."""

    def __init__(self, pid: int, every: float) -> None:
        self.process, self.every, self._over = psutil.Process(pid), every, threading.Event()
        self.readings: list[int] = []
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Watch":
        self._begin = self._spent()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.processor_seconds = self._spent() - self._begin

    def _watch(self) -> None:
        while not self._over.wait(self.every):
            self.readings.append(self.process.memory_info().rss)

    def _spent(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


def memory(readings: Sequence[int], answers: int) -> Row:
    """Medians of twelfths of a run in MiB, growth from the second third to the last, and the leak that ROOM shows."""
    mib = np.asarray(readings) / 2**20
    _, middle, last = (float(np.median(third)) for third in np.array_split(mib, 3))
    return {
        "mib": [round(float(np.median(part)), 1) for part in np.array_split(mib, 12) if part.size],
        "middle_mib": round(middle, 1),
        "last_mib": round(last, 1),
        "growth": round(last / middle - 1, 4),
        "leak_seen_kib_an_answer": round(1024 * ROOM * middle / max(1, answers / 3), 1),
    }


def phase(address: str, pid: int, own: Sequence[Sequence[Case]], seconds: float) -> tuple[Row, Told]:
    """What so many clients got, how fast, and what the server took for it."""
    with Watch(pid, min(0.25, seconds / 40)) as watch:
        told, lasted = sent(address, own, seconds)
    asked = sum(count for (method, _, _), count in told.requests.items() if method == "POST")
    refused = sum(count for (_, _, status), count in told.requests.items() if status == 429)
    row = {
        "clients": len(own),
        "seconds": round(lasted, 1),
        "answers": told.answers,
        "answers_a_second": told.answers / lasted,
        "processor_seconds_an_answer": watch.processor_seconds / max(1, told.answers),
        "latency": {
            move: {"n": len(taken), **dict(zip(("p50", "p95"), np.percentile(taken, [50, 95]).tolist(), strict=True))}
            for move, taken in told.seconds.items()
            if taken
        },
        "refused_429": refused / max(1, asked),
        "impatient": told.impatient,
        "lost": len(told.lost),
        "mixed_up": len(told.mixed_up),
        "such_as": told.lost[:3] + told.mixed_up[:3],
        "memory": memory(watch.readings, told.answers),
    }
    return row, told


def metrics(address: str) -> dict[str, dict[tuple[str, ...], float]]:
    """The server's own counts: values by name and labels."""
    parts = urlsplit(address)
    token = parse_qs(parts.query)["token"][0]
    url = f"{parts.scheme}://{parts.netloc}/metrics"
    text = httpx2.get(url, headers={"Authorization": f"Bearer {token}"}).raise_for_status().text
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def disagreements(counted: dict[str, dict[tuple[str, ...], float]], told: Told) -> list[str]:
    """Where the server's counts are not those of all its clients together, and what it still holds."""
    theirs = {
        labels: int(value)
        for labels, value in counted.get("vlseg_requests_total", {}).items()
        if labels[1].startswith("/v1/")
    }
    ours = {(method, route, str(status)): count for (method, route, status), count in told.requests.items()}
    found = [
        f"metrics: {' '.join(labels)}: the server counts {theirs.get(labels, 0)}, its clients {ours.get(labels, 0)}"
        for labels in sorted(theirs.keys() | ours.keys())
        if theirs.get(labels, 0) != ours.get(labels, 0)
    ]
    states = int(sum(counted.get("vlseg_answers_total", {}).values()))
    if states != told.prompts:
        found.append(f"metrics: {states} prompts answered, the clients saw {told.prompts}")
    for name in ("vlseg_images", "vlseg_image_bytes", "vlseg_requests_open"):
        if (held := counted[name][()]) != 0:
            found.append(f"metrics: {name} is {held:g} when all is over")
    return found


def measure(address: str, pid: int, found: Sequence[Case], clients: int, seconds: float) -> Row:
    """All phases against a server; `found` has two images for each client."""
    many = [found[number::clients] for number in range(clients)]
    twice = [[case] for case in found]
    rows, told = {}, Told()
    plan = [("alone", many[:1], 0.25), ("together", many, 1.0), ("alone_again", many[:1], 0.25), ("twice", twice, 0.25)]
    sent(address, many[:1], min(3.0, seconds / 10))  # what is loaded at the first request
    before = metrics(address)
    for name, own, share in plan:
        rows[name], seen = phase(address, pid, own, share * seconds)
        told.add(seen)
        print(json.dumps({name: rows[name]}), file=sys.stderr, flush=True)
    counted = _since(metrics(address), before)
    single = [rows["alone"], rows["alone_again"]]
    ratios = {
        name: rows["together"][name] / np.mean([row[name] for row in single])
        for name in ("answers_a_second", "processor_seconds_an_answer")
    }
    items, batches = counted["vlseg_batch_size_sum"], counted["vlseg_batch_size_count"]
    return {
        "questions": sum(len(case.wants) for case in found),
        "nearest_two_answers": nearest(found),
        "phases": rows,
        "against_one_by_one": ratios,
        "mean_batch": {step: count / batches[model, step] for (model, step), count in items.items()},
        "disagreements": disagreements(counted, told),
    }


def _since(
    after: dict[str, dict[tuple[str, ...], float]], before: dict[str, dict[tuple[str, ...], float]]
) -> dict[str, dict[tuple[str, ...], float]]:
    """Counts since an earlier look; gauges as they are."""
    counts = ("_total", "_sum", "_count", "_bucket")
    return {
        name: {
            labels: value - (before.get(name, {}).get(labels, 0) if name.endswith(counts) else 0)
            for labels, value in values.items()
        }
        for name, values in after.items()
    }


def faults(row: Row) -> list[str]:
    """What must not be, in a result of `measure`; with the end of the server's process where it has one."""
    found = list(row["disagreements"])
    for name, one in row["phases"].items():
        found += [f"{name}: {one[what]} {what}" for what in ("lost", "mixed_up", "impatient") if one[what]]
        found += [f"{name}: {line}" for line in one["such_as"]]
    if row["nearest_two_answers"] < APART:
        found.append(f"two answers differ in {row['nearest_two_answers']:.2%} of their pixels: no mix-up would be seen")
    kept = row["phases"]["together"]["memory"]
    if kept["growth"] > ROOM:
        found.append(f"memory: grew by {kept['growth']:.1%} from the second third to the last")
    return found + row.get("end", [])


def ended(running: subprocess.Popen[str], log: Path) -> list[str]:
    """SIGTERM, and what is wrong with the server's end."""
    running.send_signal(signal.SIGTERM)
    code, said = running.wait(60), log.read_text(errors="replace")
    found = [] if code == 0 else [f"end: the server's exit code is {code}"]
    return found + [f"log: {line}" for line in said.splitlines() if "Traceback" in line or " ERROR " in line][:3]


def load_test(kind: str, folder: Path, clients: int, seconds: float, threads: int) -> Row:
    """One model: made, asked in peace, served, loaded, ended."""
    load_before = os.getloadavg()
    source = MODELS[kind](folder)
    write_phantoms(folder / "images", counts={"test": 4 * clients}, size=SIDES[kind], seed=7)
    pictures = sorted((folder / "images" / "images").iterdir())
    found = cases(vlseg.load(source, device="cpu", threads=threads), pictures, PROMPTS, 2 * clients, EACH)
    log = folder / "log"
    with serving(source, threads, log) as (running, address):
        row = measure(address, running.pid, found, clients, seconds)
        row["end"] = ended(running, log)
    here = machine("cpu") | {"threads": threads, "cores": os.cpu_count(), "vlseg": vlseg.__version__}
    loads = [round(one, 2) for one in (load_before[0], os.getloadavg()[0])]
    return {"model": kind, **row, "faults": faults(row), "load_average": loads, "machine": here}


def main() -> None:
    """Each model in turn; writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "serving_load.json")
    given = parser.parse_args()
    set_threads(given.threads)
    rows = []
    for kind in given.models:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(load_test(kind, Path(folder), given.clients, given.seconds, given.threads))
    before = json.loads(given.out.read_text()) if given.out.exists() else []
    kept = [row for row in before if row["model"] not in given.models]
    given.out.write_text(json.dumps(sorted(kept + rows, key=lambda row: -len(row["model"])), indent=1) + "\n")
    wrong = [f"{row['model']}: {line}" for row in rows for line in row["faults"]]
    print("\n".join(wrong or ["nothing lost, nothing mixed up, memory flat"]))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
