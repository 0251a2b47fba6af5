"""Workers of this machine: those that die, that cannot start, that are stopped, and two crews at once."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from forked_crew import ForkedWorker
from forking import ended, fork, until
from ledgers import folders, planned, write_study

from vlseg.records import InputError
from vlseg.records.ledger import At, record_at, state_of
from vlseg.records.study import Plan, Planned
from vlseg.studies import local, worker
from vlseg.studies.local import LocalOptions
from vlseg.studies.run import run_study
from vlseg.studies.show import status_lines
from vlseg.studies.status import Status

Execute = Callable[[Path, Planned, At], dict[str, dict[str, Any]]]


@pytest.fixture
def crew(monkeypatch: pytest.MonkeyPatch) -> Callable[[Execute], None]:
    """Workers are forks, and make runs as the test says."""

    def use(execute: Execute) -> None:
        forks = SimpleNamespace(
            Popen=ForkedWorker, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired
        )
        monkeypatch.setattr(local, "subprocess", forks)
        monkeypatch.setattr(local, "POLL", 0.05)
        monkeypatch.setattr(worker, "PAUSE", 0.05)
        monkeypatch.setattr(worker, "execute", execute)
        monkeypatch.setattr(local, "visible_gpus", list)

    return use


def made(study: Path, run: Planned, at: At) -> dict[str, dict[str, Any]]:
    at.work.mkdir()
    (at.work / "result.txt").write_text(run.name)
    return {}


def slowly(study: Path, run: Planned, at: At) -> dict[str, dict[str, Any]]:
    at.work.mkdir()
    time.sleep(60)
    return {}


def go(study: Path, workers: int = 2) -> Status:
    return run_study(study, Plan.read(study), LocalOptions(workers, 1), lambda found: None)


def states(study: Path) -> dict[str, str]:
    return {run.name: at.state for run in Plan.read(study).runs if (at := state_of(study, run.name))}


def test_a_run_whose_process_dies_each_time_fails_and_the_others_are_done(
    tmp_path: Path, crew: Callable[[Execute], None]
) -> None:
    """Also where it dies at once and often: that is the run's fault, not the worker's."""

    def execute(study: Path, run: Planned, at: At) -> dict[str, dict[str, Any]]:
        if run.name == "r1":
            os.kill(os.getpid(), signal.SIGKILL)
        return made(study, run, at)

    crew(execute)
    reader = planned("e", needs=["r1"])
    write_study(tmp_path, [*(planned(f"r{index}") for index in range(4)), reader], deaths=4)
    found = go(tmp_path, workers=1)
    assert states(tmp_path) == {"r0": "done", "r1": "failed", "r2": "done", "r3": "done", "e": "planned"}
    lines = status_lines(found)
    assert "  1 wait for runs that failed" in lines
    reason = "its process died 4 times without progress (out of memory? the system's log says)"
    assert f"  failed: r1: {reason}" in lines
    at = state_of(tmp_path, "r1")
    assert at is not None
    record = record_at(at)
    assert record is not None
    assert record.error == reason
    assert at.token == 5  # four deaths and the claim that closed it


def test_workers_that_cannot_start_end_the_study_with_one_line(
    tmp_path: Path, crew: Callable[[Execute], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    crew(made)
    write_study(tmp_path, [planned("r0")])

    def broken(arguments: object) -> int:
        raise ImportError("libnothing.so: cannot open shared object file")

    def killed(arguments: object) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    for main, why in ((broken, "ImportError: libnothing.so.*"), (killed, "signal 9 ended it")):
        monkeypatch.setattr(worker, "main", main)
        with pytest.raises(InputError, match=rf"^worker 0 ends before it makes anything: {why} \(.*log\)$"):
            go(tmp_path, workers=1)
    assert states(tmp_path) == {"r0": "planned"}


def test_what_ends_a_worker_as_wrong_input_ends_the_study(tmp_path: Path, crew: Callable[[Execute], None]) -> None:
    """A full disk: the others would meet it as well."""

    def execute(study: Path, run: Planned, at: At) -> dict[str, dict[str, Any]]:
        raise OSError(28, "No space left on device", str(at.work))

    crew(execute)
    write_study(tmp_path, [planned("r0"), planned("r1")])
    with pytest.raises(InputError, match=r"^r\d: .*No space left on device.*; the run is laid down$"):
        go(tmp_path, workers=1)
    assert set(states(tmp_path).values()) == {"interrupted", "planned"}


def test_ctrl_c_lays_all_runs_down(tmp_path: Path, crew: Callable[[Execute], None]) -> None:
    crew(slowly)
    write_study(tmp_path, [planned(f"r{index}") for index in range(3)])

    def press() -> None:
        until(lambda: list(states(tmp_path).values()).count("running") == 2)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        threading.Thread(target=press).start()
        found = go(tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (found.counts["interrupted"], found.counts["planned"]) == (2, 1)
    assert [folders(tmp_path, f"r{index}") for index in range(2)] == [["interrupted-0001"]] * 2


def test_workers_end_soon_when_their_parent_was_killed(tmp_path: Path, crew: Callable[[Execute], None]) -> None:
    crew(slowly)
    write_study(tmp_path, [planned(f"r{index}") for index in range(3)])
    main = fork(lambda: go(tmp_path).total)
    until(lambda: list(states(tmp_path).values()).count("running") == 2)
    os.kill(main, signal.SIGKILL)
    assert ended(main) == -signal.SIGKILL
    until(lambda: "running" not in states(tmp_path).values(), 10)
    assert sorted(states(tmp_path).values()) == ["interrupted", "interrupted", "planned"]


def test_a_worker_that_is_stopped_for_good_is_not_waited_for(
    tmp_path: Path, crew: Callable[[Execute], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run is made by another; at the end it is killed, and leaves nothing."""

    def execute(study: Path, run: Planned, at: At) -> dict[str, dict[str, Any]]:
        if at.token == 1 and run.name == "r0":
            at.work.mkdir()
            os.kill(os.getpid(), signal.SIGSTOP)
        return made(study, run, at)

    crew(execute)
    monkeypatch.setattr(local, "PATIENCE", 0.3)
    monkeypatch.setattr(local, "GRACE", 0.3)
    write_study(tmp_path, [planned(f"r{index}") for index in range(3)], lease_seconds=1.0)
    found = go(tmp_path)
    assert found.counts["done"] == 3
    assert folders(tmp_path, "r0") == ["done-0002"]


def test_two_crews_share_one_study(tmp_path: Path, crew: Callable[[Execute], None]) -> None:
    """As many `vlseg study run` of one folder as one likes: each run is made once."""

    def execute(study: Path, run: Planned, at: At) -> dict[str, dict[str, Any]]:
        time.sleep(0.02)
        return made(study, run, at)

    crew(execute)
    write_study(tmp_path, [planned(f"r{index}") for index in range(20)])
    others = [fork(lambda: 0 if go(tmp_path).counts["done"] == 20 else 1) for _ in range(2)]
    assert go(tmp_path).counts["done"] == 20
    assert [ended(other) for other in others] == [0, 0]
    assert all(folders(tmp_path, f"r{index}") == ["done-0001"] for index in range(20))
