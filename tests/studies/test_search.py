"""Searches: the same trials in the same order, through kills, several hands, and a half-written journal."""

import json
import math
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import yaml

from vlseg.records import InputError, RunConfig
from vlseg.records.study import Search, parse_study
from vlseg.studies import search as search_module
from vlseg.studies.search import ask, best, distributions, finished, tell, trials, write_best

pytest.importorskip("optuna", reason="the extra 'search' is not installed")

SPACE: dict[str, Any] = {
    "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "batch_size": {"low": 1, "high": 8},
    "loss": ["dice_bce", "published"],
    "model_arguments.width": {"low": 0.0, "high": 1.0, "step": 0.25},
}


def spec(**changes: Any) -> Search:
    return Search(**{"space": SPACE, "trials": 25, "seed": 3, **changes})


def peak(values: Any) -> float:
    """Best at a learning rate of 1e-3 with the first loss."""
    away = abs(math.log10(values["learning_rate"]) + 3) / 4
    return float(1 - 0.7 * away - (0.2 if values["loss"] == "published" else 0.0))


def searched(folder: Path, wanted: Search) -> list[Any]:
    while (trial := ask(folder, "s", wanted)) is not None:
        tell(folder, "s", trial.number, peak(trial.values))
    return trials(folder, "s")


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_one_order_gives_the_same_trials_however_interrupted(sampler: str, tmp_path: Path) -> None:
    """Every sampler is made anew for each trial, as a process that was started again would."""
    found = searched(tmp_path / "once", spec(sampler=sampler))
    assert [one.number for one in found] == list(range(25))
    again = searched(tmp_path / "again", spec(sampler=sampler, trials=9))
    again = searched(tmp_path / "again", spec(sampler=sampler))  # more trials are wanted later
    assert again == found
    other = searched(tmp_path / "other", spec(sampler=sampler, seed=4))
    assert [one.values for one in other] != [one.values for one in found]
    for one in found:
        assert 1e-5 <= one.values["learning_rate"] <= 1e-1
        assert one.values["batch_size"] in range(1, 9)
        assert one.values["model_arguments.width"] in (0, 0.25, 0.5, 0.75, 1)
        assert one.value == pytest.approx(peak(one.values))


def test_tpe_looks_where_it_is_good(tmp_path: Path) -> None:
    """Not a lottery: the last trials lie nearer the optimum than those of random search."""
    late = {}
    for sampler in ("tpe", "random"):
        found = searched(tmp_path / sampler, spec(sampler=sampler, trials=40))
        late[sampler] = sum(peak(one.values) for one in found[-20:]) / 20
    assert late["tpe"] > late["random"] + 0.1


def test_asked_and_never_told(tmp_path: Path) -> None:
    """A trial whose process was killed is still there with its values, and the next is another one."""
    first = ask(tmp_path, "s", spec())
    second = ask(tmp_path, "s", spec())
    assert first is not None
    assert second is not None
    assert first.values != second.values
    assert trials(tmp_path, "s") == [first, second]
    assert not finished(trials(tmp_path, "s"), spec(trials=2))
    tell(tmp_path, "s", 1, 0.5)
    tell(tmp_path, "s", 0, None)
    assert [(one.value, one.failed) for one in trials(tmp_path, "s")] == [(None, True), (0.5, False)]
    assert finished(trials(tmp_path, "s"), spec(trials=2))
    tell(tmp_path, "s", 0, 0.75)  # made again on request
    tell(tmp_path, "s", 1, 0.1)  # told already
    assert [one.value for one in trials(tmp_path, "s")] == [0.75, 0.5]
    write_best(tmp_path, {"s": trials(tmp_path, "s"), "other": []})
    written = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert written == {"s": {"set": dict(first.values), "val_dice": 0.75, "trial": 0, "trials": 2}}


def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path) -> None:
    searched(tmp_path, spec(trials=3))
    journal = tmp_path / "journal.log"
    whole = journal.read_bytes()
    asked = ask(tmp_path, "s", spec())
    for cut in (1, 20, 200):
        journal.write_bytes(whole)
        assert ask(tmp_path, "s", spec()) == asked
        journal.write_bytes(journal.read_bytes()[:-cut])
        assert len(trials(tmp_path, "s")) == 3
        assert ask(tmp_path, "s", spec()) == asked
        assert len(trials(tmp_path, "s")) == 4


def test_a_grid_is_walked_once(tmp_path: Path) -> None:
    space = {
        "batch_size": {"low": 2, "high": 6, "step": 2},
        "zoom": [0.0, 0.5],
        "rotate": {"low": 0.0, "high": 0.3, "step": 0.1},
    }
    wanted = Search(space=space, sampler="grid", trials=100)
    found = [one.values for one in iter(lambda: ask(tmp_path, "s", wanted), None)]
    assert len(found) == 3 * 2 * 4
    assert len({json.dumps(one) for one in found}) == len(found)
    assert found[0] == {"batch_size": 2, "zoom": 0.0, "rotate": 0.0}
    assert found[-1] == {"batch_size": 6, "zoom": 0.5, "rotate": pytest.approx(0.3)}


def test_searches_share_a_journal(tmp_path: Path) -> None:
    one, two = ask(tmp_path, "one", spec()), ask(tmp_path, "two", spec())
    tell(tmp_path, "two", 0, 0.25)
    assert one is not None
    assert two is not None
    assert trials(tmp_path, "one") == [one]
    assert [trial.value for trial in trials(tmp_path, "two")] == [0.25]
    assert trials(tmp_path, "three") == trials(tmp_path / "none", "one") == []


def asking(folder: Path) -> None:
    for _ in range(5):
        trial = ask(folder, "s", spec(sampler="random", trials=1000))
        assert trial is not None


@pytest.mark.slow
def test_several_hands_lose_no_line(tmp_path: Path) -> None:
    """Without the study's own lock two may be given one number; the journal still has every trial whole."""
    context = multiprocessing.get_context("spawn")
    hands = [context.Process(target=asking, args=(tmp_path,)) for _ in range(2)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join(60)
        assert hand.exitcode == 0
    assert [one.number for one in trials(tmp_path, "s")] == list(range(10))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"space": {"zoom": []}}, "one or more plain values"),
        ({"space": {"zoom": [[1]]}}, "plain values"),
        ({"space": {"zoom": [1, 1]}}, "twice"),
        ({"space": {"zoom": 3}}, "write"),
        ({"space": {"zoom": {"low": 0}}}, "write"),
        ({"space": {"zoom": {"low": 0, "high": 1, "lg": True}}}, "write"),
        ({"space": {"zoom": {"low": 1.0, "high": 0.5}}}, "zoom"),
        ({"space": {"zoom": {"low": 0.0, "high": 1.0, "log": True}}}, "zoom"),
        ({"space": {"zoom": {"low": 0.0, "high": 1.0}}, "sampler": "grid"}, "needs a list"),
        ({"space": {"epochs": {"low": 1, "high": 9, "log": True}}, "sampler": "grid"}, "needs a list"),
    ],
)
def test_spaces_that_cannot_be_searched(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as told:
        distributions(spec(**changes))
    assert "\n" not in str(told.value)


def test_optuna_opens_the_journal(tmp_path: Path) -> None:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    found = searched(tmp_path, spec(trials=4))
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))
    study = optuna.load_study(storage=storage, study_name="s")
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert [(one.params, one.value) for one in study.trials] == [(one.values, one.value) for one in found]
    assert study.best_trial.number == getattr(best(found), "number", None)


def test_the_example_of_the_page() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "studies-search.md").read_text()
    study = parse_study(yaml.safe_load(page.split("```yaml")[1].split("```")[0]), "page")
    search = study.parts[0].search
    assert search is not None
    assert search.trials == 30
    assert distributions(search).keys() == search.space.keys()
    for key in search.space:
        assert key in RunConfig.model_fields or key.startswith("model_arguments.")


def test_without_optuna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "_installed", lambda: False)
    for act in (lambda: ask(tmp_path, "s", spec()), lambda: distributions(spec())):
        with pytest.raises(InputError, match=r"vlseg\[search\]"):
            act()
    assert not list(tmp_path.iterdir())


def test_best_of_none_and_of_equals() -> None:
    assert best([]) is None
    equal = [search_module.Trial(number, {}, 0.5) for number in range(3)]
    assert best(equal) is equal[0]
