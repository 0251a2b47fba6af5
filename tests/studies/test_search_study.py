"""A search as a part of a study: killed anywhere and gone on with, it is the search that nothing disturbed."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from resuming import KilledError

from vlseg.phantoms import write_phantoms
from vlseg.records import InputError
from vlseg.records.ledger import record_at, state_of
from vlseg.records.study import Plan, parse_study
from vlseg.studies import grow as grow_module
from vlseg.studies.expand import expand
from vlseg.studies.run import RunOptions, prepare, run_alone
from vlseg.studies.search import trials

pytest.importorskip("optuna", reason="the extra 'search' is not installed")

MakeDataset = Callable[..., Path]
TRIALS = 6


def study(data: Path, prompt: str = "class", **part: Any) -> dict[str, Any]:
    search = {
        "space": {
            "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
            "loss": ["dice_bce", "published"],
            "model_arguments.image_size": [32, 48],
        },
        "trials": TRIALS,
        "seed": 1,
    }
    common = {"name": "tuned", "models": ["clipseg-tiny"], "data": ["discs"], "prompts": [prompt]}
    return {
        "name": "s",
        "data": {"discs": str(data)},
        "set": {"device": "cpu", "threads": 1, "max_steps": 4, "batch_size": 2},
        "lease_seconds": 2.0,
        "parts": [{**common, "search": search, **part}],
    }


def searched(values: dict[str, Any], out: Path) -> None:
    found = run_alone(out, prepare(parse_study(values, "s"), out, RunOptions()))
    assert found.counts["done"] == found.total


def result(out: Path) -> dict[str, Any]:
    """All that a search leaves: trials, the ledger's runs with their scores, and the best."""
    plan = Plan.read(out)
    (search,) = plan.searches
    scores = {}
    for run in plan.runs:
        at = state_of(out, run.name)
        assert at is not None
        record = record_at(at)
        assert record is not None
        kept = record.values["" if run.kind == "train" else "discs"]
        scores[run.name] = (record.status, kept["best_val_dice"] if run.kind == "train" else kept["dice"])
    assert {path.name for path in (out / "ledger").iterdir() if not path.name.startswith(".")} == set(scores)
    return {
        "trials": trials(out / "search", search.name),
        "plan": search.model_dump(),
        "scores": scores,
        "best": yaml.safe_load((out / "search" / "best.yaml").read_text()),
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("search")
    data = root / "discs"
    write_phantoms(data, counts={"train": 4, "val": 2, "test": 2}, size=32, seed=0)
    card = json.loads((data / "dataset.json").read_text())
    (data / "dataset.json").write_text(json.dumps(card | {"name": "discs"}))
    searched(study(data), root / "study")
    return data, result(root / "study")


def test_every_trial_is_a_run_and_the_best_is_evaluated(undisturbed: tuple[Path, dict[str, Any]]) -> None:
    _, found = undisturbed
    assert len(found["trials"]) == TRIALS
    assert all(0 <= one.value <= 1 for one in found["trials"])
    top = max(found["trials"], key=lambda one: one.value)
    (told,) = found["best"].values()
    assert told == {"set": dict(top.values), "val_dice": top.value, "trial": top.number, "trials": TRIALS}
    trained = [name for name in found["scores"] if name in found["plan"]["runs"]]
    assert len(trained) == len(set(found["plan"]["runs"]))
    assert len(found["scores"]) == len(trained) + 1  # test data are touched once, by the best
    assert [found["scores"][name][1] for name in found["plan"]["runs"]] == [one.value for one in found["trials"]]


@pytest.mark.parametrize(
    "where",
    [
        "ask",
        pytest.param("expand", marks=pytest.mark.slow),
        pytest.param("enter", marks=pytest.mark.slow),
        "write_best",
    ],
)
def test_killed_while_the_plan_grows(
    where: str, undisturbed: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right after a trial was asked, told, planned, or entered: it is neither lost nor made twice."""
    data, expected = undisturbed
    owner = grow_module.ledger if where == "enter" else grow_module
    real, calls = getattr(owner, where), 0

    def dying(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        done = real(*arguments, **named)
        if calls in (2, 3, 5):
            raise KilledError
        return done

    out = tmp_path / "study"
    plan = prepare(parse_study(study(data), "s"), out, RunOptions())
    monkeypatch.setattr(owner, where, dying)
    deaths = 0
    while True:
        try:
            run_alone(out, plan)
            break
        except KilledError:
            deaths += 1
            plan = Plan.read(out)
    assert deaths == 3
    assert result(out) == expected


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_for_real_and_gone_on_with(undisturbed: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """SIGKILL at random moments of a worker process; the last one goes on to the end."""
    data, expected = undisturbed
    out = tmp_path / "study"
    prepare(parse_study(study(data), "s"), out, RunOptions())
    chance = random.Random(7)
    command = [sys.executable, "-m", "vlseg.studies.worker", str(out)]
    kills = 0
    while True:
        worker = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        if kills < 4:
            before = len(list((out / "ledger").glob("*/done-*")))
            limit = time.monotonic() + 60
            while len(list((out / "ledger").glob("*/done-*"))) <= before and time.monotonic() < limit:
                time.sleep(0.02)
            time.sleep(chance.uniform(0, 0.8))
            worker.send_signal(signal.SIGKILL)
            worker.wait()
            kills += 1
            continue
        assert worker.wait(timeout=600) == 0
        break
    assert result(out) == expected


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_from_the_command_line(
    undisturbed: tuple[Path, dict[str, Any]], tmp_path: Path, vlseg: Callable[..., Any]
) -> None:
    """A study that has no run before its search has begun is not taken for one that is through."""
    data, expected = undisturbed
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study(data)))
    given = ("study", "run", tmp_path / "study.yaml", "--out", tmp_path / "study", "--workers", 1, "--threads", 1)
    for _ in range(2):
        done = vlseg(*given, "--json")
        assert done.code == 0
        assert done.json["done"] == done.json["total"] == len(expected["scores"])
    assert result(tmp_path / "study") == expected


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_several_workers(undisturbed: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Their trials depend on who is done first; each is made once, and there are as many."""
    data, _ = undisturbed
    out = tmp_path / "study"
    prepare(parse_study(study(data), "s"), out, RunOptions())
    command = [sys.executable, "-m", "vlseg.studies.worker", str(out)]
    workers = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [worker.wait(timeout=600) for worker in workers] == [0, 0]
    found = result(out)
    assert len(found["trials"]) == TRIALS
    assert all(one.value is not None for one in found["trials"])


def test_a_failed_trial_does_not_end_the_search(
    undisturbed: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vlseg.studies import worker as worker_module

    data, expected = undisturbed
    real, broken = worker_module.execute, expected["plan"]["runs"][1]

    def failing(place: Path, run: Any, at: Any) -> Any:
        if run.name == broken:
            raise FloatingPointError("the loss is nan")
        return real(place, run, at)

    out = tmp_path / "study"
    values = study(data)
    with monkeypatch.context() as patch:
        patch.setattr(worker_module, "execute", failing)
        found = run_alone(out, prepare(parse_study(values, "s"), out, RunOptions()))
    assert found.counts["failed"] == 1
    asked = trials(out / "search", Plan.read(out).searches[0].name)
    assert [one.failed for one in asked] == [number == 1 for number in range(TRIALS)]
    assert sum(run.kind == "evaluate" for run in Plan.read(out).runs) == 1
    # Made again on request, it is told its value.
    run_alone(out, prepare(parse_study(values, "s"), out, RunOptions(retry=True)))
    again = trials(out / "search", Plan.read(out).searches[0].name)
    assert [one.value for one in again][:2] == [one.value for one in expected["trials"]][:2]


def test_more_trials_later(undisturbed: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    data, expected = undisturbed
    values = study(data)
    values["parts"][0]["search"]["trials"] = 3
    searched(values, tmp_path / "study")
    values["parts"][0]["search"]["trials"] = TRIALS
    searched(values, tmp_path / "study")
    found = trials(tmp_path / "study" / "search", Plan.read(tmp_path / "study").searches[0].name)
    assert found == expected["trials"]


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"learning_rat": [0.1]}, "learning_rate"),
        ({"learning_rate": {"low": 0.0, "high": 1.0}}, "learning_rate"),
        ({"loss": ["dice_bce", "dise"]}, "loss"),
        ({"seed": [1, 2]}, "list its values under seeds"),
        ({"device": ["cpu"]}, "changes no result"),
        ({"zoom": {"low": 0.5}}, "zoom"),
    ],
)
def test_what_cannot_be_searched_is_said_first(space: dict[str, Any], words: str, make_dataset: MakeDataset) -> None:
    values = study(make_dataset(counts=(1, 1, 1)), "p1", search={"space": space})
    with pytest.raises(InputError, match=words) as told:
        expand(parse_study(values, "s"))
    assert str(told.value).startswith("part 'tuned'")
    assert "\n" not in str(told.value)


def test_without_a_val_split_there_is_nothing_to_search_by(make_dataset: MakeDataset, tmp_path: Path) -> None:
    values = study(make_dataset(counts=(2, 0, 1)), "p1")
    with pytest.raises(InputError, match="no val Dice"):
        run_alone(tmp_path / "study", prepare(parse_study(values, "s"), tmp_path / "study", RunOptions()))
