"""What a study is expected to take, and how that is found."""

import itertools
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from vlseg.records.estimate import Estimate, KindCost, RunCost
from vlseg.records.study import Plan, parse_study
from vlseg.studies import estimate as room
from vlseg.studies import run as running
from vlseg.studies.estimate import estimate, expected
from vlseg.studies.local import LocalOptions, Resources
from vlseg.studies.measuring import SCRATCH, Asked, measured
from vlseg.studies.pilot import Pilot
from vlseg.studies.run import RunOptions, prepare, run_alone, run_study
from vlseg.studies.show import plan_lines
from vlseg.studies.status import status

ONE = Resources(1, 1)
SET = {"model_arguments": {"image_size": 32}, "max_steps": 2, "batch_size": 3, "threads": 1, "device": "cpu"}


EVERY = {"conditions": ["clean", "swapped", "corrupted"]}


def ticks() -> Callable[[], float]:
    """A clock that goes on by one whenever somebody looks at it."""
    count = itertools.count()
    return lambda: float(next(count))


def prepared(data: Path, study: Path, **part: Any) -> Plan:
    values = {
        "name": "small",
        "data": {"discs": str(data)},
        "set": SET,
        "parts": [{"name": "one", "models": ["unet"], "data": ["discs"], "prompts": ["p1"], **part}],
    }
    return prepare(parse_study(values, "test"), study, RunOptions())


class NeverError(AssertionError):
    """Something was started that must not be."""


def never(*arguments: Any) -> Any:
    raise NeverError


def answering(cost: KindCost) -> Callable[..., Iterator[tuple[str, KindCost]]]:
    """In place of pilot processes."""

    def answer(study: Path, questions: list[Asked], *rest: Any) -> Iterator[tuple[str, KindCost]]:
        yield from ((one.kind, cost) for one in questions)

    return answer


def test_the_passes_of_an_attack_are_counted(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    """A kind of its own to be measured, guessed at 1 + k passes; free takes as many as plain training.

    Images that are attacked have no features to be kept, those of the others' frozen encoder are.
    """
    axes = {"adversarial": ["none", "pgd", "free"], "adversarial_steps": [1, 3]}
    more = {"max_steps": None, "epochs": 4}
    plan = prepared(make_dataset(), tmp_path / "study", models=["guide"], axes=axes, set={**more, "regime": "decoder"})
    counted = [one for one in room.count(plan, ONE) if one.run.kind == "train"]
    guesses, kinds, kept = {}, set(), {}
    for one in counted:
        how, steps = one.run.config["adversarial"], one.run.config["adversarial_steps"]
        guesses[how, steps] = room.rough(one.run, one.amounts)["steps"]
        kinds.add(one.kind)
        kept[how] = one.run.config["feature_cache"] is not None
    plain = guesses["none", 1]
    assert guesses["pgd", 1] == pytest.approx(2 * plain)
    assert guesses["pgd", 3] == pytest.approx(4 * plain)
    assert guesses["free", 3] == plain
    assert len(kinds) == 6
    assert kept == {"none": True, "pgd": False, "free": False}


def test_kinds_differ_in_what_costs(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    plan = prepared(
        make_dataset(),
        tmp_path / "study",
        models=["unet", "unet-target"],
        prompts=["p1", "class"],
        seeds=[0, 1],
        axes={"batch_size": [2, 3], "learning_rate": [1e-3, 1e-4]},
    )
    kinds = {one.run.name: one.kind for one in room.count(plan, ONE)}
    assert len(kinds) == 64
    assert len({kinds[run.name] for run in plan.runs if run.kind == "train"}) == 4  # model x batch size
    assert len({kinds[run.name] for run in plan.runs if run.kind == "evaluate"}) == 2  # model
    threads = room.count(plan, Resources(1, 2))
    assert not {one.kind for one in threads} & set(kinds.values())


def test_a_short_study_is_not_measured(
    make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "measured", never)
    plan = prepared(make_dataset(), tmp_path / "study")
    found = estimate(tmp_path / "study", plan, ONE)
    lines = plan_lines(plan, tmp_path / "study", found, [run.name for run in plan.runs])
    assert found.note is not None
    assert lines[1].endswith("1 training, 1 evaluation: time unknown")
    assert lines[2].startswith("time not estimated: too short")


def test_times_are_amounts_times_costs_and_are_kept(
    make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "SHORT_SECONDS", 0.0)
    monkeypatch.setattr(room, "measured", answering(KindCost(what="", seconds={"fixed": 60, "steps": 600})))
    plan = prepared(make_dataset(), tmp_path / "study", seeds=[0, 1])
    found = estimate(tmp_path / "study", plan, Resources(2, 1))
    train, asked, *_ = (found.runs[run.name].seconds for run in plan.runs)
    assert (train, asked) == (1260, 60)  # two steps; none
    names = [run.name for run in plan.runs]
    assert expected(found, names)[0] == 1320  # four runs, two workers
    assert expected(found, names[:1])[0] == 1260  # one run is not shared out
    lines = plan_lines(plan, tmp_path / "study", found, names)
    assert lines[2] == "about 22 min on 2 workers, at most; 1 MB"
    left = status(tmp_path / "study", plan).seconds_left
    assert left == 2640

    monkeypatch.setattr(room, "measured", never)
    assert estimate(tmp_path / "study", plan, Resources(2, 1)).runs == found.runs
    with pytest.raises(NeverError):  # another number of threads is another matter
        estimate(tmp_path / "study", plan, Resources(2, 2))


def test_a_study_that_grows_measures_nothing(
    make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, study = make_dataset(), tmp_path / "study"
    plan = prepared(data, study)
    run_alone(study, plan)
    monkeypatch.setattr(room, "SHORT_SECONDS", 0.0)
    monkeypatch.setattr(room, "measured", never)
    plan = prepared(data, study, seeds=[0, 1])
    found = estimate(study, plan, ONE)
    seconds = room.seconds_done(study, plan)
    new = [run for run in plan.runs if run.name not in seconds]
    assert [run.labels["seed"] for run in new] == ["1", "1"]
    assert sum(found.runs[run.name].seconds or 0 for run in new) == pytest.approx(sum(seconds.values()), abs=0.03)
    assert found.runs[new[0].name].bytes > 1e5  # of a model's weights
    lines = plan_lines(plan, study, found, [run.name for run in new])
    assert "taken by the done runs" in lines[-1]


def test_measuring_may_take_a_twentieth_and_a_minute_at_most(
    make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed: list[float] = []

    def answer(study: Path, questions: list[Asked], resources: Resources, limit: Callable[[], float]) -> Any:
        for seconds, one in zip((100.0, 1900.0), questions, strict=True):
            allowed.append(limit())
            yield one.kind, KindCost(what="", seconds={"fixed": seconds})
        allowed.append(limit())

    monkeypatch.setattr(room, "SHORT_SECONDS", 0.0)
    monkeypatch.setattr(room, "measured", answer)
    plan = prepared(make_dataset(), tmp_path / "study", evaluate=[{"conditions": ["clean"]}])
    found = estimate(tmp_path / "study", plan, Resources(2, 1))
    assert sum(run.seconds or 0 for run in found.runs.values()) == 2000
    assert allowed[0] == 60  # nothing is known yet
    assert 100 / 2 / 20 < allowed[1] < 300 / 2 / 20  # one of two kinds that are guessed alike, on two workers
    assert allowed[2] == pytest.approx(2000 / 2 / 20)
    (tmp_path / "study" / "estimate.json").unlink()
    allowed.clear()
    monkeypatch.setattr(room, "SHARE", 0.5)
    estimate(tmp_path / "study", plan, Resources(2, 1))
    assert allowed[2] == 60


def test_what_cannot_be_measured_is_said_with_the_reason(
    make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "SHORT_SECONDS", 0.0)
    monkeypatch.setattr(room, "measured", answering(KindCost(what="", unknown="out of luck")))
    plan = prepared(make_dataset(), tmp_path / "study")
    found = estimate(tmp_path / "study", plan, ONE)
    lines = plan_lines(plan, tmp_path / "study", found, [run.name for run in plan.runs])
    assert lines[-1].startswith("  unknown for evaluate, unet, clean, images of about 32 x 32; train, unet, full")
    assert lines[-1].endswith("(out of luck)")
    assert status(tmp_path / "study", plan).seconds_left is None


def test_a_small_disk_is_warned_of(
    make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    plan = prepared(make_dataset(), tmp_path / "study")
    names = [run.name for run in plan.runs]
    runs = {name: RunCost(kind="k", seconds=1.0, bytes=4e9, feature_bytes=1e9) for name in names}
    kinds = {"k": KindCost(what="k")}
    found = Estimate(host="", device="cpu", threads=1, workers=1, version="", kinds=kinds, runs=runs)
    monkeypatch.setattr("vlseg.studies.show.shutil.disk_usage", lambda folder: Usage(9 * 10**9))
    lines = plan_lines(plan, tmp_path / "study", found, names)
    assert "8.0 GB, 2.0 GB more of features until it is done" in lines[2]
    assert lines[-1].startswith("warning: 9.0 GB are free")


def test_nothing_left_starts_no_worker(
    make_dataset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = prepared(make_dataset(), tmp_path / "study", evaluate=[])
    monkeypatch.setattr(running, "run_here", never)
    with pytest.raises(NeverError):
        run_study(tmp_path / "study", plan, LocalOptions(1, 1), lambda state: None)
    run_alone(tmp_path / "study", plan)
    assert run_study(tmp_path / "study", plan, LocalOptions(1, 1), lambda state: None).left == 0


def test_the_pilot_measures_every_kind_and_leaves_the_study_as_it_is(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    study = tmp_path / "study"
    plan = prepared(
        make_dataset(), study, models=["clipseg-tiny"], regimes=["freeze_encoders"], probe=[{}], evaluate=[EVERY]
    )
    assert len(plan.runs) == 5
    before = sorted(str(path) for path in study.rglob("*"))
    pilot = Pilot(study, tmp_path / "scratch", ticks())
    for run in plan.runs:
        cost = pilot.measure(run.name)
        assert set(cost.seconds) >= {"fixed", "entries", "images", "steps" if run.kind == "train" else "images"}
        assert cost.bytes["fixed"] > 0
        assert run.kind == "train" or cost.bytes["images"] > 400  # of one small image, its outlines and rows
        assert run.kind != "train" or cost.bytes["features"] > 1000  # of one image
    assert sorted(str(path) for path in study.rglob("*")) == before


@pytest.mark.slow
def test_pilot_processes_answer_and_leave_nothing(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    study = tmp_path / "study"
    plan = prepared(make_dataset(), study)
    train, asked = (run.name for run in plan.runs)
    questions = [
        Asked("a", "a training", train, train),
        Asked("b", "what is not there", "nothing", "nothing"),
        Asked("c", "an evaluation", asked, train),
    ]
    answers = dict(measured(study, questions, Resources(2, 1), lambda: 200.0))
    assert answers["a"].seconds["steps"] > 0
    assert answers["c"].seconds["images"] > 0
    assert answers["b"].unknown
    assert not (study / SCRATCH).exists()


@pytest.mark.slow
def test_measuring_ends_when_its_time_is_up(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    study = tmp_path / "study"
    plan = prepared(make_dataset(), study)
    question = Asked("a", "a training", plan.runs[0].name, plan.runs[0].name)
    assert list(measured(study, [question], ONE, lambda: 0.2)) == []
    assert not (study / SCRATCH).exists()


def test_what_a_killed_process_left_goes_at_the_next_start(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    study, data = tmp_path / "study", make_dataset()
    prepared(data, study)
    gone = subprocess.Popen(["true"])
    gone.wait()
    dead, alive = (study / SCRATCH / f"{socket.gethostname()}:{pid}" / "0" for pid in (gone.pid, os.getpid()))
    dead.mkdir(parents=True)
    alive.mkdir(parents=True)
    prepared(data, study)
    assert not dead.exists()
    assert alive.exists()
