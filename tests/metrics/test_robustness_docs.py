"""What benchmarks/robustness.py computes from score rows, and that docs/attacks-measured.md shows what is committed."""

import json
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest
from asked import score_row
from robustness_figures import (
    Answers,
    Scored,
    answers,
    before_and_after,
    condition,
    curve,
    over_seeds,
    pair,
    shares_lost,
    shown,
    table,
)
from robustness_tables import cell, tables, words

from vlseg.attacks import Attack, Budget, Goal, Search, TextAttack, TextBudget, TextSearch
from vlseg.metrics import ATTACKED, bootstrap_mean, two_level_mean

ROOT = Path(__file__).parents[2]
SAMPLES, GROUPS = 24, 12


def arguments(method: str, epsilon: float, steps: int | None = None, goal: str = "untargeted") -> dict[str, Any]:
    attack = Attack(Budget("linf", epsilon), Goal(goal), Search(method, steps))  # type: ignore[arg-type]
    return asdict(attack)


def made(shift: float, **dices: float) -> Answers:
    """Dice of each condition about a level, spread over samples; every fourth truth is empty."""
    rng = np.random.default_rng(7)
    spread = rng.uniform(-0.1, 0.1, SAMPLES) + shift
    return {
        name.replace("_", " "): {
            f"s{number}": Scored(float(level + spread[number]), f"g{number % GROUPS}", number % 4 == 0)
            for number in range(SAMPLES)
        }
        for name, level in dices.items()
    }


def test_conditions_are_told_apart_by_search_looks_goal_and_budget() -> None:
    assert condition(arguments("pgd", 2 / 255, 10)) == "pgd of 10 2/255"
    assert condition(arguments("fgsm", 8 / 255)) == "fgsm of 1 8/255"
    assert condition(arguments("noise", 8 / 255, 20)) == "noise of 20 8/255"
    assert condition({**arguments("pgd", 8 / 255), "found_on": "x"}) == "pgd of 20 8/255"
    made_one = {**arguments("pgd", 8 / 255, goal="make"), "against": "wanted"}
    assert condition(made_one) == "pgd of 20 to make, with what it wanted 8/255"
    sentence = asdict(TextAttack(TextBudget("typos", 2), search=TextSearch("greedy")))
    assert condition({**sentence, "words": True}) == "greedy, 2 typos"
    assert words("apgd of 20 0.000245") == "APGD of 20 (1/16)/255"
    assert words("fgsm of 1 2/255") == "FGSM 2/255"


def test_rows_become_answers_by_condition_and_sample() -> None:
    truth = np.ones((4, 4), bool)
    told: dict[str, Any] = {"sample_id": "a", "group": "p"}
    under = json.dumps(arguments("pgd", 2 / 255))
    rows = [
        score_row(truth, truth, **told),
        score_row(~truth, truth, condition=ATTACKED, condition_arguments=under, **told),
        score_row(~truth, truth, condition="swapped", **told),
    ]
    found = answers(rows, groups_known=True)
    assert {name: {key: one.dice for key, one in part.items()} for name, part in found.items()} == {
        "clean": {"a": 1.0},
        "pgd of 20 2/255": {"a": 0.0},
    }


def test_share_lost_is_the_ratio_and_its_interval_that_of_resampled_ratios() -> None:
    rng = np.random.default_rng(3)
    clean = rng.uniform(0.5, 1.0, 200)
    under = clean * rng.uniform(0.2, 0.6, 200)
    found = shares_lost(clean.tolist(), under.tolist())
    assert mean(found) == pytest.approx(1 - under.mean() / clean.mean(), abs=1e-12)
    low, high = bootstrap_mean(found, range(200)).ci95 or (0.0, 0.0)
    drawn = rng.integers(200, size=(4000, 200))
    ratios = 1 - under[drawn].mean(1) / clean[drawn].mean(1)
    assert [low, high] == pytest.approx(np.percentile(ratios, [2.5, 97.5]), abs=0.004)


def test_from_five_seeds_on_the_interval_is_over_seeds_too() -> None:
    rng = np.random.default_rng(1)
    runs = (rng.uniform(0.4, 0.6, (5, SAMPLES)) + rng.uniform(-0.2, 0.2, (5, 1))).tolist()
    groups = [number % GROUPS for number in range(SAMPLES)]
    five, four = over_seeds(runs, groups), over_seeds(runs[:4], groups)
    assert five["of"] == "seeds and groups"
    assert five["ci95"] == two_level_mean(runs, groups, bounds=(0, 1)).ci95
    assert four["of"] == "groups"
    assert four["ci95"][1] - four["ci95"][0] < five["ci95"][1] - five["ci95"][0]
    assert five["seeds"] == pytest.approx([mean(values) for values in runs])


def test_a_pair_of_the_same_runs_differs_by_nothing() -> None:
    runs = [made(0.0, clean=0.8, pgd=0.3), made(0.02, clean=0.8, pgd=0.3)]
    found = pair(runs, runs, "pgd")
    assert {key: one["mean"] for key, one in found.items()} == dict.fromkeys(("clean", "dice", "drop", "share"), 0.0)


def test_a_higher_dice_alone_is_no_fragility() -> None:
    """Both lose half of what they have: the drop in points differs, the share does not."""
    first = [made(0.0, clean=0.6, pgd=0.3)]
    second = [{name: {key: Scored(one.dice * 1.3, one.group, one.empty) for key, one in part.items()}
               for name, part in first[0].items()}]  # fmt: skip
    found = pair(first, second, "pgd", present=True)
    assert found["drop"]["mean"] > 0.08
    assert found["share"]["mean"] == pytest.approx(0.0, abs=1e-12)
    assert found["drop"]["mean"] == pytest.approx(found["clean"]["mean"] - found["dice"]["mean"])
    assert found["drop"]["n"] == 18


def test_sentences_without_anything_to_change_do_not_count() -> None:
    run = made(0.0, clean=0.8, changed=0.3)
    some = {**run, "changed": {key: one for key, one in run["changed"].items() if key in ("s1", "s2", "s4")}}
    found = before_and_after([some], "changed", present=True)
    assert found["dice"]["n"] == 2
    assert found["clean"]["mean"] == pytest.approx(mean(run["clean"][key].dice for key in ("s1", "s2")))
    assert found["drop"]["mean"] == pytest.approx(0.5)


def test_runs_on_different_samples_are_refused() -> None:
    one = made(0.0, clean=0.8)
    other = {"clean": dict(list(one["clean"].items())[1:])}
    with pytest.raises(ValueError, match="same samples"):
        table([one, other], "clean")
    with pytest.raises(ValueError, match="different samples"):
        pair([made(0.0, clean=0.8, pgd=0.3)], [{**other, "pgd": other["clean"]}], "pgd")


def test_what_searches_must_show_counts_what_they_do_not() -> None:
    names = {
        "clean": 0.8, "fgsm of 1 2/255": 0.5, "noise of 20 2/255": 0.75, "pgd of 20 2/255": 0.4,
        "fgsm of 1 8/255": 0.3, "noise of 20 8/255": 0.6, "pgd of 20 8/255": 0.45, "apgd of 20 8/255": 0.1,
        "noise of 1 8/255": 0.7, "pgd of 20 to erase 8/255": 0.9,
    }  # fmt: skip
    found = shown(curve([made(0.0, **names)]))
    assert found["noise"]["pgd of 20 2/255"] == pytest.approx(0.125, abs=0.01)
    assert found["noise"]["apgd of 20 8/255"] == pytest.approx(2 / 7, abs=0.01)
    assert found["stronger"] == {"pgd after fgsm": [1, 2], "apgd after pgd": [1, 1]}
    assert found["falls"] == [0, 1]


def test_cells() -> None:
    assert cell({"mean": 0.5, "ci95": [0.4, 0.61]}) == "0.500 [0.400, 0.610]"
    assert cell({"mean": 0.5, "ci95": None}, sign=True) == "+0.500"


def test_the_page_shows_the_committed_results() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "robustness.json").read_text())
    page = (ROOT / "docs" / "attacks-measured.md").read_text().splitlines()
    for name, lines in tables(results).items():
        assert set(lines) <= set(page), f"{name}: run benchmarks/robustness.py --tables"
    assert '"/' not in json.dumps(results), "a place of the machine"
