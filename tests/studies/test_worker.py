"""Workers that really train: killed, resumed, asked to end; one line for whatever goes wrong."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forking import ended, fork, until
from ledgers import folders, planned, write_study
from resuming import KilledError, killed_after

import vlseg.training.loop as fit_module
from vlseg.models import as_module, load_model
from vlseg.records.ledger import At, lease_at, state_of
from vlseg.records.study import Planned, parse_study
from vlseg.studies import ledger, worker
from vlseg.studies.run import RunOptions, prepare, run_alone

MakeDataset = Callable[..., Path]
Prepared = Callable[..., Planned]


@pytest.fixture
def prepared(make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """A study of one small training, which saves a checkpoint after each step; the run."""
    data = make_dataset(counts=(6, 2, 2))
    monkeypatch.setattr(fit_module, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(fit_module, "SAVE_SHARE", 0.0)

    def make(folder: Path, **changes: Any) -> Planned:
        values = {
            "name": "s",
            "data": {"a": str(data)},
            "set": {"max_steps": 5, "batch_size": 2, "device": "cpu", "threads": 1, **changes.pop("set", {})},
            "models": {"clipseg-tiny": {"set": {"model_arguments": {"image_size": 32}}}},
            "parts": [{"name": "p", "models": ["clipseg-tiny"], "data": ["a"], "prompts": ["p1"], "evaluate": []}],
            **changes,
        }
        [run] = prepare(parse_study(values, "here"), folder, RunOptions()).runs
        return run

    return make


def weights(study: Path, run: Planned) -> dict[str, Any]:
    at = state_of(study, run.name)
    assert at is not None
    assert at.state == "done"
    return dict(as_module(load_model(str(at.work))).state_dict())


def made_again(study: Path, run: Planned) -> None:
    """By another worker, when the lease of the one that was killed is over."""
    at = state_of(study, run.name)
    assert at is not None
    assert at.state == "running"
    for path in (at.folder, at.folder / "lease.json"):
        os.utime(path, (0, 0))
    assert worker.work(study) == 1


@pytest.mark.parametrize("killed_at", [0, pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_training_that_was_killed_ends_as_one_that_was_not(
    killed_at: int, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also before its first checkpoint; nothing of the earlier attempt stays."""
    run = prepared(tmp_path / "straight")
    assert worker.work(tmp_path / "straight") == 1
    prepared(tmp_path / "killed")
    with killed_after(killed_at, monkeypatch):
        worker.work(tmp_path / "killed")
    made_again(tmp_path / "killed", run)
    one, two = weights(tmp_path / "straight", run), weights(tmp_path / "killed", run)
    assert all(bool((one[key] == two[key]).all()) for key in one)
    work = [tmp_path / "straight/ledger" / run.name / "done-0001", tmp_path / "killed/ledger" / run.name / "done-0002"]
    names = [{str(path.relative_to(place)) for path in place.rglob("*")} for place in work]
    assert names[0] == names[1]


def test_killed_after_its_model_was_saved_nothing_that_only_resuming_needs_stays(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tmp_path / "study"
    run = prepared(study)

    def die(*_: Any, **__: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr("vlseg.jobs.fitting.shutil.rmtree", die)
        with pytest.raises(KilledError):
            worker.work(study)
    at = state_of(study, run.name)
    assert at is not None
    assert (at.work / "checkpoints").exists()
    made_again(study, run)
    at = state_of(study, run.name)
    assert at is not None
    assert not (at.work / "checkpoints").exists()
    assert not list(at.folder.rglob(".*"))


def test_gone_on_with_under_settings_that_change_no_number(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tmp_path / "study"
    run = prepared(study)
    stop = worker.Stopping()
    save = fit_module.Fit._save

    def save_then_ask(self: Any) -> None:
        save(self)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(fit_module.Fit, "_save", save_then_ask)
        assert worker.work(study, stopping=stop) == 0
    assert stop.requested
    at = state_of(study, run.name)
    assert at is not None
    assert at.state == "interrupted"
    assert (at.work / "checkpoints" / "last.pt").exists()
    assert prepared(study, set={"threads": 2}).name == run.name
    assert worker.work(study) == 1
    assert folders(study, run.name) == ["done-0002"]


def test_deaths_count_only_without_progress(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tmp_path / "study"
    run = prepared(study)
    for deaths in (0, 1, 2):
        at = state_of(study, run.name)
        assert at is not None
        lease = ledger.claim(study, run, at, ledger.clock(study) + 1e6, 1.0)
        assert lease is not None
        assert lease.deaths == deaths
    place = lease.at.work / "checkpoints" / "last.pt"
    place.parent.mkdir(parents=True)
    place.touch()
    os.utime(place, (lease.since + 1, lease.since + 1))
    lease = ledger.claim(study, run, lease.at, ledger.clock(study) + 2e6, 1.0)
    assert lease is not None
    assert lease.deaths == 0


def test_a_term_that_a_job_keeps_to_itself_still_ends_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training handles signals by itself, and may come to its end in that moment."""
    write_study(tmp_path, [planned(f"r{index}") for index in range(3)])

    def execute(study: Path, run: Planned, at: At) -> dict[str, dict[str, object]]:
        from vlseg.training.interrupt import stop_on_interrupt

        at.work.mkdir()
        with stop_on_interrupt():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
        return {}

    monkeypatch.setattr(worker, "execute", execute)
    stop = worker.Stopping()
    assert worker.work(tmp_path, stopping=stop) == 1
    assert stop.requested
    assert [folders(tmp_path, f"r{index}") for index in range(3)] == [["done-0001"], ["planned-0000"], ["planned-0000"]]


def test_time_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run at hand is laid down, and nothing else begun."""
    write_study(tmp_path, [planned("r0"), planned("r1")], lease_seconds=0.6)

    def execute(study: Path, run: Planned, at: At) -> dict[str, dict[str, object]]:
        time.sleep(30)
        return {}

    monkeypatch.setattr(worker, "execute", execute)
    begin = time.monotonic()
    assert worker.work(tmp_path, until=time.monotonic() + 0.5) == 0
    assert time.monotonic() - begin < 10
    assert (folders(tmp_path, "r0"), folders(tmp_path, "r1")) == (["interrupted-0001"], ["planned-0000"])


def test_signs_of_life_outlast_a_file_system_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_study(tmp_path, [planned("r0")], lease_seconds=0.3)
    failures = 3

    def beat(lease: ledger.Lease) -> None:
        nonlocal failures
        if threading.current_thread() is not threading.main_thread() and failures:
            failures -= 1
            raise OSError(5, "Input/output error")
        os.utime(lease.at.folder / "lease.json")

    def execute(study: Path, run: Planned, at: At) -> dict[str, dict[str, object]]:
        at.work.mkdir()
        then = (at.folder / "lease.json").stat().st_mtime_ns
        until(lambda: (at.folder / "lease.json").stat().st_mtime_ns > then)
        return {}

    monkeypatch.setattr(ledger, "beat", beat)
    monkeypatch.setattr(worker, "execute", execute)
    assert worker.work(tmp_path) == 1
    assert failures == 0


def test_runs_wait_for_what_they_need_and_for_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In whatever order; what needs a run that failed is left."""
    runs = [
        planned("e2", needs=["e1"]),
        planned("e1", needs=["t"]),
        planned("x", needs=["f"]),
        planned("t"),
        planned("f"),
    ]
    write_study(tmp_path, runs)
    order = []

    def execute(study: Path, run: Planned, at: At) -> dict[str, dict[str, object]]:
        order.append(run.name)
        at.work.mkdir()
        if run.name == "f":
            raise ValueError("no\nluck")
        return {}

    monkeypatch.setattr(worker, "execute", execute)
    run_alone(tmp_path, worker.Plan.read(tmp_path))
    assert order.index("t") < order.index("e1") < order.index("e2")
    assert sorted(order) == ["e1", "e2", "f", "t"]
    assert (folders(tmp_path, "f"), folders(tmp_path, "x")) == (["failed-0001"], ["planned-0000"])
    assert "ValueError: no" in (tmp_path / "ledger/f/failed-0001/error.txt").read_text()


def test_a_worker_started_without_a_parent_of_its_own_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that started it had ended before the worker could look."""
    write_study(tmp_path, [planned("r0")])

    def execute(study: Path, run: Planned, at: At) -> dict[str, dict[str, object]]:
        time.sleep(30)
        return {}

    monkeypatch.setattr(worker, "execute", execute)
    child = fork(lambda: worker.main([str(tmp_path), "--parent", "1"]), tmp_path / "log")
    assert ended(child, 20) == 130
    at = state_of(tmp_path, "r0")
    assert at is not None
    assert at.state in ("planned", "interrupted")
    assert lease_at(at).get("pid") in (None, child)


def test_no_study_is_one_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert ended(fork(lambda: worker.main([str(tmp_path / "nothing")]), log)) == 2
    [line] = log.read_text().splitlines()
    assert "plan.json: not found; give the folder of a study" in line
