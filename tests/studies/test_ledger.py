"""The ledger of a study under many hands, kills at every step, and everything that lies about time and place."""

import errno
import json
import os
import random
import re
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from forking import crashing, ended, fork, until
from ledgers import SECONDS, age, folders, lease_values, planned, record, take, write_study

from vlseg.records import InputError
from vlseg.records.ledger import lease_at, record_at, state_of
from vlseg.records.study import Plan, Planned
from vlseg.studies import ledger, worker
from vlseg.studies.links import link, relink
from vlseg.studies.status import status


def job(lease: ledger.Lease, text: str = "result") -> None:
    """What a run leaves: a file of its own folder."""
    lease.at.work.mkdir(exist_ok=True)
    (lease.at.work / "result.txt").write_text(f"{text} of {lease.at.name}")


def finish(study: Path, run: Planned, lease: ledger.Lease, text: str = "result") -> None:
    job(lease, text)
    at = ledger.publish(lease, record(run, lease))
    link(study, run, at)
    ledger.drop_lower(at.folder.parent)


def files(study: Path) -> set[str]:
    """All there is, whatever the tokens are."""
    found = [str(path.relative_to(study)) for path in study.rglob("*")]
    return {re.sub(r"-\d{4}(/|$)", r"\1", path) for path in found}


# Many at once


def test_each_run_is_made_by_one_of_many_processes(tmp_path: Path) -> None:
    study, logs = tmp_path / "study", tmp_path / "logs"
    logs.mkdir()
    runs = write_study(study, [planned(f"r{index}") for index in range(120)])

    def grab(number: int) -> None:
        order = random.Random(number).sample(runs, len(runs))
        until((tmp_path / "go").exists)
        made = []
        for run in order:
            at = state_of(study, run.name)
            assert at is not None
            lease = ledger.claim(study, run, at, ledger.clock(study), SECONDS)
            if lease is not None:
                finish(study, run, lease)
                made.append(run.name)
        (logs / str(number)).write_text(json.dumps(made))

    children = [fork(lambda number=number: grab(number)) for number in range(6)]  # type: ignore[misc]
    (tmp_path / "go").touch()
    assert [ended(child) for child in children] == [0] * 6
    made = Counter(name for log in logs.iterdir() for name in json.loads(log.read_text()))
    assert made == Counter(run.name for run in runs)
    assert {tuple(folders(study, run.name)) for run in runs} == {("done-0001",)}


def test_a_run_whose_holder_is_dead_is_taken_over_by_one(tmp_path: Path) -> None:
    """Each time by exactly one, whose token is the next; the dead one's process number says so at once."""
    [run] = write_study(tmp_path, [planned("r")])
    for token in range(1, 6):

        def attempt() -> int:
            at = state_of(tmp_path, "r")
            assert at is not None
            return 1 if ledger.claim(tmp_path, run, at, ledger.clock(tmp_path), SECONDS) else 0

        children = [fork(attempt) for _ in range(4)]
        codes = [ended(child) for child in children]
        # A holder that has ended may be followed by the next of the four.
        at = state_of(tmp_path, "r")
        assert at is not None
        assert folders(tmp_path, "r") == [f"running-{at.token:04d}"]
        assert sum(codes) >= 1
        assert at.token >= token


# Whether a holder lives


def test_a_lease_lasts_while_its_holder_shows_signs_of_life(tmp_path: Path) -> None:
    [run] = write_study(tmp_path, [planned("r")])
    lease = take(tmp_path, run)
    now = ledger.clock(tmp_path)
    assert not ledger.expired(lease.at, now, SECONDS)
    assert ledger.claim(tmp_path, run, lease.at, now, SECONDS) is None
    age(lease, SECONDS + 1)
    assert ledger.expired(lease.at, now, SECONDS)
    ledger.beat(lease)
    assert not ledger.expired(lease.at, now, SECONDS)


def rewrite(lease: ledger.Lease, **changes: object) -> None:
    (lease.at.folder / "lease.json").write_text(json.dumps({**lease_values(lease), **changes}))


def test_who_has_ended_is_known_at_once_only_where_numbers_are_known(tmp_path: Path) -> None:
    """On another machine, in another container of the same name, or before the last start of the machine: silence."""
    [run] = write_study(tmp_path, [planned("r")])
    lease = take(tmp_path, run)
    gone = fork(lambda: 0)
    os.kill(gone, 0)  # not asked for yet: a zombie
    until(lambda: Path(f"/proc/{gone}/stat").read_text().split()[2] == "Z")
    now = ledger.clock(tmp_path)
    rewrite(lease, pid=gone)
    assert ledger.expired(lease.at, now, SECONDS)
    ended(gone)
    assert ledger.expired(lease.at, now, SECONDS)
    rewrite(lease, pid=gone, where=ledger.here() + "0")
    assert not ledger.expired(lease.at, now, SECONDS)
    age(lease, SECONDS + 1)
    assert ledger.expired(lease.at, now, SECONDS)


def test_a_number_that_another_process_has_got_delays_the_takeover_and_no_more(tmp_path: Path) -> None:
    [run] = write_study(tmp_path, [planned("r")])
    lease = take(tmp_path, run)
    rewrite(lease, pid=os.getppid())
    assert not ledger.expired(lease.at, ledger.clock(tmp_path), SECONDS)
    age(lease, SECONDS + 1)
    assert take(tmp_path, run).at.token == 2


@pytest.mark.parametrize("skew", [-1e6, 1e6])
def test_this_machines_clock_is_not_asked(tmp_path: Path, skew: float, monkeypatch: pytest.MonkeyPatch) -> None:
    [run] = write_study(tmp_path, [planned("r")])
    here = time.time()
    monkeypatch.setattr(time, "time", lambda: here + skew)
    lease = take(tmp_path, run)
    assert abs(ledger.clock(tmp_path) - here) < 60
    assert not ledger.expired(lease.at, ledger.clock(tmp_path), SECONDS)
    age(lease, SECONDS + 1)
    assert ledger.expired(lease.at, ledger.clock(tmp_path), SECONDS)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"token": 1}', "changed", "\x00\x00"])
def test_a_broken_lease_is_nobodys(tmp_path: Path, text: str) -> None:
    """The run is not taken from a holder that may live, and what is there is of unknown identity."""
    [run] = write_study(tmp_path, [planned("r", "train")])
    lease = take(tmp_path, run)
    job(lease)
    broken = json.dumps({**lease_values(lease), "pid": "1"}) if text == "changed" else text
    (lease.at.folder / "lease.json").write_text(broken)
    assert lease_at(lease.at) == {}
    assert not ledger.expired(lease.at, ledger.clock(tmp_path), SECONDS)
    assert status(tmp_path, Plan.read(tmp_path)).counts["running"] == 1
    age(lease, SECONDS + 1)
    second = take(tmp_path, run)
    assert second.deaths == 1
    assert not second.at.work.exists()
    with pytest.raises(ledger.LostError):
        ledger.publish(lease, record(run, lease))


# What a holder that lost its run may do


def lost(tmp_path: Path) -> tuple[Planned, ledger.Lease, ledger.Lease]:
    [run] = write_study(tmp_path, [planned("r")])
    old = take(tmp_path, run)
    job(old, "old")
    age(old, SECONDS + 1)
    return run, old, take(tmp_path, run)


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("stray", [False, True])
@pytest.mark.parametrize("how", ["publish", "fail", "release", "beat"])
def test_an_old_token_changes_nothing(tmp_path: Path, how: str, stray: bool, done: bool) -> None:
    """Whether the new holder is at work or through, and also where the old one made its folders again."""
    run, old, new = lost(tmp_path)
    job(new, "new")
    if done:
        finish(tmp_path, run, new, "new")
    if stray:
        old.at.work.mkdir(parents=True)
        (old.at.work / "more.txt").write_text("late")
    acts: dict[str, Callable[[], object]] = {
        "publish": lambda: ledger.publish(old, record(run, old)),
        "fail": lambda: ledger.fail(old, record(run, old, error="late"), "late"),
        "release": lambda: ledger.release(old),
        "beat": lambda: ledger.beat(old),
    }
    with pytest.raises(ledger.LostError):
        acts[how]()
    if how != "beat":
        assert folders(tmp_path, "r") == ["done-0002" if done else "running-0002"]
    if not done:
        finish(tmp_path, run, new, "new")
    ledger.sweep(tmp_path, ["r"])
    assert folders(tmp_path, "r") == ["done-0002"]
    assert (tmp_path / "evaluations/r/result.txt").read_text() == "new of r"


def test_a_lost_run_is_not_published_between_looking_and_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is taken over after its holder has looked whether it is still its own."""
    [run] = write_study(tmp_path, [planned("r")])
    old = take(tmp_path, run)
    look = ledger.own

    def own_then_lose(lease: ledger.Lease) -> bool:
        monkeypatch.setattr(ledger, "own", look)
        assert look(lease)
        age(old, SECONDS + 1)
        take(tmp_path, run)
        return True

    monkeypatch.setattr(ledger, "own", own_then_lose)
    with pytest.raises(ledger.LostError):
        ledger.publish(old, record(run, old))
    assert folders(tmp_path, "r") == ["running-0002"]


def test_folders_that_an_old_holder_made_again_are_not_claimed(tmp_path: Path) -> None:
    """By a worker that had read the state before, and was slow: the run is done meanwhile."""
    run, old, new = lost(tmp_path)
    finish(tmp_path, run, new)
    old.at.work.mkdir(parents=True)
    (old.at.work / "late.txt").touch()
    assert ledger.claim(tmp_path, run, old.at, ledger.clock(tmp_path) + 1e6, SECONDS) is None
    at = state_of(tmp_path, "r")
    assert at is not None
    assert (at.state, at.token) == ("done", 2)
    ledger.sweep(tmp_path, ["r"])
    assert folders(tmp_path, "r") == ["done-0002"]


Job = Callable[[Path], dict[str, dict[str, object]]]


def goes_on(work: Path) -> dict[str, dict[str, object]]:
    """A job that makes its folders again, as `records.replacing` does, until it is interrupted."""
    while True:
        (work / "deep").mkdir(parents=True, exist_ok=True)
        (work / "deep" / "late.txt").write_text("late")
        time.sleep(0.01)


def raises(work: Path) -> dict[str, dict[str, object]]:
    """A job that ends in an error because its folder has gone."""
    while True:
        (work / "late.txt").write_text("late")
        time.sleep(0.01)


def returns(work: Path) -> dict[str, dict[str, object]]:
    """A job that comes to its end before anybody notices."""
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        (work / "deep").mkdir(parents=True, exist_ok=True)
    (work / "late.txt").write_text("late")
    return {}


@pytest.mark.parametrize("how", [goes_on, raises, returns])
def test_a_stopped_worker_does_not_publish_and_goes_on_with_others(
    how: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP beyond the lease, another makes the run, SIGCONT."""
    study, seconds = tmp_path / "study", 0.6
    runs = write_study(study, [planned(f"r{index}") for index in range(3)], lease_seconds=seconds)

    def execute(study: Path, run: Planned, at: ledger.At) -> dict[str, dict[str, object]]:
        at.work.mkdir()
        if run.name == "r0":
            return how(at.work)
        (at.work / "result.txt").write_text("result")
        return {}

    monkeypatch.setattr(worker, "execute", execute)
    child = fork(lambda: worker.main([str(study)]), tmp_path / "log")
    first = study / "ledger" / "r0" / "running-0001"
    until(lambda: (first / "lease.json").exists() and (first / "r0").exists())
    os.kill(child, signal.SIGSTOP)
    at = state_of(study, "r0")
    assert at is not None
    until(lambda: ledger.expired(at, ledger.clock(study), seconds))
    finish(study, runs[0], take(study, runs[0], seconds))
    os.kill(child, signal.SIGCONT)
    assert ended(child) == 0
    assert {name: folders(study, name) for name in ("r0", "r1", "r2")} == {
        "r0": ["done-0002"],
        "r1": ["done-0001"],
        "r2": ["done-0001"],
    }
    assert (study / "ledger/r0/done-0002/r0/result.txt").read_text() == "result of r0"
    assert "r0: was taken over by another worker" in (tmp_path / "log").read_text()


# Killed at every step


def heal(study: Path, runs: list[Planned]) -> list[str]:
    """The next `vlseg study run`, all leases expired; the names of what it had to make."""
    names = [run.name for run in runs]
    ledger.sweep(study, names)
    ledger.refresh(study, runs, retry=True, redo=frozenset())
    made = []
    for run in runs:
        at = state_of(study, run.name)
        assert at is not None
        if at.state != "done":
            lease = ledger.claim(study, run, at, ledger.clock(study) + 1e6, SECONDS)
            assert lease is not None
            finish(study, run, lease)
            made.append(run.name)
    ledger.sweep(study, names)
    relink(study, runs)
    return made


TRAIN, READER = planned("t", "train"), planned("e", needs=["t"])


def _new(study: Path) -> None:
    write_study(study, [TRAIN, READER])


def _claimed(study: Path) -> ledger.Lease:
    _new(study)
    lease = take(study, TRAIN)
    job(lease)
    (lease.at.work / "checkpoints").mkdir()
    (lease.at.work / "checkpoints" / "last.pt").touch()
    (lease.at.work / "checkpoints" / ".last.pt.1-2.part").touch()
    return lease


def _half_done(study: Path) -> ledger.Lease:
    lease = _claimed(study)
    age(lease, SECONDS + 1)
    return lease


def _failed(study: Path) -> None:
    lease = _claimed(study)
    ledger.fail(lease, record(TRAIN, lease, error="x"), "x")


def _done(study: Path) -> None:
    lease = _claimed(study)
    finish(study, TRAIN, lease)
    finish(study, READER, take(study, READER))


def _outdated(study: Path) -> list[Planned]:
    return [one.model_copy(update={"identity": "other"}) for one in (TRAIN, READER)]


STEPS: dict[str, tuple[Callable[[Path], object], Callable[[Path, object], object]]] = {
    "enter": (lambda study: study.mkdir(), lambda study, _: [ledger.enter(study, name) for name in "te"]),
    "claim": (_new, lambda study, _: take(study, TRAIN)),
    "take over": (_half_done, lambda study, _: take(study, TRAIN)),
    "take over another's": (_half_done, lambda study, _: take(study, _outdated(study)[0])),
    "publish": (_claimed, lambda study, lease: finish(study, TRAIN, lease)),  # type: ignore[arg-type]
    "fail": (
        _claimed,
        lambda study, lease: ledger.fail(lease, record(TRAIN, lease, error="x"), "x"),  # type: ignore[arg-type]
    ),
    "release": (_claimed, lambda study, lease: ledger.release(lease)),  # type: ignore[arg-type]
    "retry": (_failed, lambda study, _: ledger.refresh(study, [TRAIN, READER], retry=True, redo=frozenset())),
    "redo": (_done, lambda study, _: ledger.refresh(study, [TRAIN, READER], retry=False, redo=frozenset("t"))),
    "outdate": (_done, lambda study, _: ledger.refresh(study, _outdated(study), retry=False, redo=frozenset())),
    "remove": (_done, lambda study, _: ledger.remove(study, "e")),
}


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_every_step_nothing_is_lost_doubled_or_left_behind(step: str, tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    write_study(usual, [TRAIN, READER])
    heal(usual, [TRAIN, READER])
    prepare, act = STEPS[step]
    count = 0
    while True:
        study = tmp_path / f"study{count}"
        given = prepare(study)
        if not (study / "plan.json").exists():
            write_study(study, [])
        if not crashing(lambda: act(study, given), count, study):  # noqa: B023
            break
        count += 1
        if isinstance(given, ledger.Lease) and given.at.folder.exists():
            age(given, SECONDS + 1)
        wanted = _outdated(study) if step in ("outdate", "take over another's") else [TRAIN, READER]
        before = {run.name: state_of(study, run.name) for run in wanted}
        made = heal(study, wanted)
        for run in wanted:
            at, then = state_of(study, run.name), before[run.name]
            assert at is not None
            found = record_at(at)
            assert found is not None
            assert (at.state, found.identity) == ("done", run.identity)
            assert (at.work / "result.txt").read_text() == f"result of {run.name}"
            if then is not None and then.state == "done" and step != "outdate":
                assert run.name not in made
                assert at == then
        assert files(study) == files(usual), count
        assert heal(study, wanted) == []
    assert count >= 2  # else nothing was tried


# Asked for again


def test_results_stay_until_others_are_done(tmp_path: Path) -> None:
    runs = write_study(tmp_path, [TRAIN, READER])
    heal(tmp_path, runs)
    told = ledger.refresh(
        tmp_path, [READER, TRAIN], retry=False, redo=frozenset({"t"})
    )  # a reader before what it needs
    assert told == {"t": "on request", "e": "on request"}
    assert folders(tmp_path, "t") == ["done-0001", "planned-0002"]
    ledger.sweep(tmp_path, ["t", "e"])
    assert folders(tmp_path, "t") == ["done-0001", "planned-0002"]
    lease = take(tmp_path, TRAIN)
    ledger.fail(lease, record(TRAIN, lease, error="x"), "x")
    ledger.sweep(tmp_path, ["t", "e"])
    assert folders(tmp_path, "t") == ["done-0001", "failed-0003"]
    assert heal(tmp_path, runs) == ["t", "e"]
    assert folders(tmp_path, "t") == ["done-0005"]


def test_what_cannot_be_read_is_made_again(tmp_path: Path) -> None:
    runs = write_study(tmp_path, [TRAIN, READER, planned("f")])
    heal(tmp_path, runs)
    (tmp_path / "ledger/t/done-0001/record.json").write_text("{")
    (tmp_path / "ledger/e/done-0001/record.json").unlink()
    (tmp_path / "ledger/f/done-0001/f").rename(tmp_path / "elsewhere")
    found = status(tmp_path, Plan.read(tmp_path))
    assert (found.counts["done"], found.counts["planned"]) == (1, 2)
    told = ledger.refresh(tmp_path, runs, retry=False, redo=frozenset())
    assert told == dict.fromkeys("tef", "its result cannot be read")


@pytest.mark.parametrize("state", ["interrupted", "failed", "planned"])
def test_begun_anew_on_request_nothing_earlier_is_gone_on_with(state: str, tmp_path: Path) -> None:
    [run] = write_study(tmp_path, [TRAIN])
    lease = take(tmp_path, run)
    job(lease)
    if state == "interrupted":
        ledger.release(lease)
    else:
        ledger.fail(lease, record(run, lease, error="x"), "x")
    if state == "planned":
        ledger.refresh(tmp_path, [run], retry=True, redo=frozenset())
    assert ledger.refresh(tmp_path, [run], retry=False, redo=frozenset("t")) == {"t": "on request"}
    assert not take(tmp_path, run).at.work.exists()
    ledger.sweep(tmp_path, ["t"])
    assert len(folders(tmp_path, "t")) == 1


# Odd places


@pytest.mark.parametrize("name", ["ä b[1]*?", "-x", "x" * 200, "done-0001", "q'\"$(x)", "a\nb"])
def test_names_may_be_odd(name: str, tmp_path: Path) -> None:
    runs = write_study(tmp_path / name, [planned(name, "train"), planned("e", needs=[name])])
    assert heal(tmp_path / name, runs) == [name, "e"]
    assert (tmp_path / name / "runs" / name / "evaluations" / "e" / "result.txt").exists()
    assert heal(tmp_path / name, runs) == []


def test_a_study_that_was_moved(tmp_path: Path) -> None:
    runs = write_study(tmp_path / "here", [TRAIN, READER])
    heal(tmp_path / "here", runs)
    (tmp_path / "there").mkdir()
    place = (tmp_path / "here").rename(tmp_path / "there" / "study")
    assert (place / "runs/t/evaluations/e/result.txt").read_text() == "result of e"
    before = files(place)
    assert heal(place, runs) == []
    assert files(place) == before


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker ends with one line, its run is laid down, and no run is blamed for it."""
    study = tmp_path / "study"
    runs = write_study(study, [planned("r0"), planned("r1")])

    def full(path: Path, text: str) -> None:
        path.write_text(text[:5])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    lease = take(study, runs[0])
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_write", full)
        with pytest.raises(InputError, match=r"record.json: cannot be written .No space left.* make room there"):
            ledger.publish(lease, record(runs[0], lease))
        assert ledger.own(lease)
        ledger.release(lease)
        patch.setattr(worker, "execute", lambda study, run, at: {})
        with pytest.raises(InputError, match=r"^r0: .*No space left.*; the run is laid down$"):
            worker.work(study)
    assert (folders(study, "r0"), folders(study, "r1")) == (["interrupted-0002"], ["planned-0000"])
    assert heal(study, runs) == ["r0", "r1"]


def test_without_rights_it_can_be_looked_at_and_nothing_more() -> None:
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)
        study = Path(root) / "study"
        write_study(study, [planned("r")])
        places = [study, study / "ledger", study / "ledger" / "r", study / "ledger/r/planned-0000"]
        for place in places:
            place.chmod(0o555)

        def look() -> int:
            if os.geteuid() == 0:
                os.setuid(65534)  # root has every right
            assert status(study, Plan.read(study)).counts["planned"] == 1
            return worker.main([str(study)])

        log = Path(root) / "log"
        assert ended(fork(look, log)) == 1
        [line] = log.read_text().splitlines()
        assert re.search(r"r/planned-0000.*: cannot be opened \(Permission denied\); change its rights", line)
        for place in places:
            place.chmod(0o755)
