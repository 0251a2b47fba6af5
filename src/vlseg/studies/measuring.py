"""Pilot processes: as many at once as workers will be, with the same threads and devices, ended when time is up."""

import json
import os
import queue
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from vlseg.records.estimate import KindCost
from vlseg.studies.local import Resources

Answers = queue.Queue[tuple[int, tuple[str, KindCost] | None]]
"""Of each process its number and a kind's cost, or None at its end."""
SCRATCH = ".measuring"
"""In the study's folder; a folder for each process that measures, removed when it ends, or by the next start."""


@dataclass(frozen=True)
class Asked:
    """A kind to measure, by a run; `chain`: the training whose model is asked, measured by the same process."""

    kind: str
    what: str
    run: str
    chain: str


def measured(
    study: Path, questions: Sequence[Asked], resources: Resources, limit: Callable[[], float]
) -> Iterator[tuple[str, KindCost]]:
    """Kinds as they become known, until all are or time is up.

    Args:
        study: its folder.
        questions: in the order in which they matter.
        resources: of the workers.
        limit: seconds that it may take in all, asked again after each answer.
    """
    begin = time.monotonic()
    tidy(study)
    scratch = study / SCRATCH / f"{socket.gethostname()}:{os.getpid()}"
    answers: Answers = queue.Queue()
    left = dict(enumerate(_shares(questions, resources.workers)))
    processes = {slot: _started(study, scratch / str(slot), slot, left[slot], resources, answers) for slot in left}
    try:
        while left:
            try:
                slot, answer = answers.get(timeout=max(0.0, begin + limit() - time.monotonic()))
            except queue.Empty:
                return
            if answer is not None:
                left[slot] = [one for one in left[slot] if one.kind != answer[0]]
                yield answer
                continue
            code = processes[slot].wait()
            rest = left.pop(slot)
            if not rest:
                continue
            why = f"the process that measured it ended with {code} (out of memory?); see log/estimate.log"
            yield rest[0].kind, KindCost(what=rest[0].what, unknown=why)
            if rest[1:]:
                left[slot] = rest[1:]
                processes[slot] = _started(study, scratch / str(slot), slot, rest[1:], resources, answers)
    finally:
        for process in processes.values():
            process.kill()  # nothing of it stays: there is nothing to lay down
            process.wait()
        shutil.rmtree(scratch, ignore_errors=True)
        tidy(study)


def tidy(study: Path) -> None:
    """Remove what processes of this machine that were killed had begun to measure."""
    place = study / SCRATCH
    if not place.is_dir():
        return
    for one in place.iterdir():
        host, _, number = one.name.rpartition(":")
        if host == socket.gethostname() and not psutil.pid_exists(int(number)):
            shutil.rmtree(one, ignore_errors=True)
    with suppress(OSError):  # somebody else measures
        place.rmdir()


def _shares(questions: Sequence[Asked], count: int) -> list[list[Asked]]:
    """The questions dealt out by chains."""
    chains = list(dict.fromkeys(one.chain for one in questions))
    hands = [chains[slot::count] for slot in range(count)]
    return [[one for chain in hand for one in questions if one.chain == chain] for hand in hands if hand]


def _started(
    study: Path,
    scratch: Path,
    slot: int,
    share: Sequence[Asked],
    resources: Resources,
    answers: Answers,
) -> "subprocess.Popen[str]":
    """A pilot process whose answers go into the queue, None at its end."""
    scratch.mkdir(parents=True, exist_ok=True)
    memory = [] if resources.memory_gib is None else [str(resources.memory_gib)]
    log = study / "log" / "estimate.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "vlseg.studies.pilot", str(study), str(scratch), *memory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            env=resources.environment(slot),
            text=True,
            start_new_session=True,
        )
    assert process.stdin is not None
    process.stdin.writelines(
        json.dumps({"kind": one.kind, "run": one.run, "like": one.chain if one.chain != one.run else None}) + "\n"
        for one in share
    )
    process.stdin.close()

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            values = json.loads(line)
            answers.put((slot, (values["kind"], KindCost.model_validate(values["cost"]))))
        process.stdout.close()
        answers.put((slot, None))

    threading.Thread(target=listen, daemon=True).start()
    return process
