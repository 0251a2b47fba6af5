"""Effects of attacks from rows written here."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pictured import score

from vlseg.metrics import attack_effects, bootstrap_mean, budget_words, rewordings, rising
from vlseg.records import SampleScore

CLEAN = {f"s{number}": 0.9 - 0.01 * number for number in range(12)}


def arguments(epsilon: float, method: str = "pgd", goal: str = "untargeted", **more: Any) -> dict[str, Any]:
    """As rows have them."""
    return {
        "budget": {"norm": "linf", "epsilon": epsilon, "place": "input"},
        "goal": {"kind": goal, "loss": "both"},
        "search": {"method": method, "step_size": epsilon / 4},
        **more,
    }


def clean(**changes: Any) -> list[SampleScore]:
    return [score(name, dice, **changes) for name, dice in CLEAN.items()]


def under(told: dict[str, Any], lost: float, **changes: Any) -> list[SampleScore]:
    """The same samples, each with so much less."""
    return [score(name, dice - lost, condition="attack", arguments=told, **changes) for name, dice in CLEAN.items()]


def test_dice_and_its_change_are_those_of_the_rows() -> None:
    rows = [*clean(presence_score=0.9), *under(arguments(0.1), 0.3, presence_score=0.4), *under(arguments(0.2), 0.5)]
    first, second = attack_effects(rows, groups_known=False)
    assert (first.epsilon, second.epsilon, first.method) == (0.1, 0.2, "pgd")
    expected = bootstrap_mean([one - 0.3 for one in CLEAN.values()], list(CLEAN), bounds=(0, 1))
    assert first.dice.mean == pytest.approx(expected.mean)
    assert first.dice.ci95 == pytest.approx(expected.ci95)
    assert first.change.difference == pytest.approx(-0.3)
    assert (first.presence, first.clean_presence) == (pytest.approx(0.4), pytest.approx(0.9))
    assert second.presence is None, "not all rows have a score"


def test_the_change_is_over_the_samples_that_both_have() -> None:
    attacked = [row for row in under(arguments(0.1), 0.2) if row.sample_id != "s0"]
    (effect,) = attack_effects([*clean(), *attacked], groups_known=False)
    assert effect.change.n == len(CLEAN) - 1
    assert effect.change.difference == pytest.approx(-0.2)


def test_what_is_left_empty_is_of_targets_that_are_there() -> None:
    attacked = under(arguments(0.1), 0.2)
    gone = [replace(row, empty_pred=row.sample_id in ("s0", "s1", "s2")) for row in attacked]
    absent = [score("a", 1.0, empty_target=True, empty_pred=True)]
    absent += [replace(absent[0], condition="attack", condition_arguments=attacked[0].condition_arguments)]
    (effect,) = attack_effects([*clean(), *gone, *absent], groups_known=False)
    assert (effect.left_empty, effect.clean_left_empty) == (3 / 12, 0)


def test_the_wanted_mask_is_apart_from_the_truth() -> None:
    told = arguments(0.1, goal="move")
    rows = [*clean(), *under(told | {"against": "original"}, 0.4), *under(told | {"against": "wanted"}, 0.1)]
    (effect,) = attack_effects(rows, groups_known=False)
    assert effect.wanted is not None
    assert effect.wanted.mean == pytest.approx(np.mean(list(CLEAN.values())) - 0.1)
    assert effect.dice.mean == pytest.approx(np.mean(list(CLEAN.values())) - 0.4)
    assert "against" not in effect.arguments


def test_a_dice_that_rises_with_the_budget_is_told() -> None:
    rows = [*clean(), *under(arguments(0.4), 0.2), *under(arguments(0.1), 0.3), *under(arguments(0.2), 0.4)]
    ((smaller, larger),) = rising(attack_effects(rows, groups_known=False))
    assert (smaller.epsilon, larger.epsilon) == (0.2, 0.4)


@pytest.mark.parametrize(
    "second",
    [arguments(0.2, "fgsm"), arguments(0.2, found_on="another"), arguments(0.2, goal="move"), arguments(0.2, "noise")],
)
def test_only_budgets_of_one_search_are_held_against_each_other(second: dict[str, Any]) -> None:
    first = arguments(0.1) if second["search"]["method"] != "noise" else arguments(0.1, "noise")
    rows = [*clean(), *under(first, 0.3), *under(second, 0.2)]
    assert rising(attack_effects(rows, groups_known=False)) == []


def test_budgets_of_another_norm_are_apart() -> None:
    other = arguments(0.2)
    other["budget"]["norm"] = "l2"
    assert rising(attack_effects([*clean(), *under(arguments(0.1), 0.3), *under(other, 0.2)], groups_known=False)) == []
    assert json.loads(under(other, 0.2)[0].condition_arguments)["budget"]["norm"] == "l2"


def words(size: int, unit: str = "typos", source: str | None = None, method: str = "greedy") -> dict[str, Any]:
    """Arguments of an attack on the sentence."""
    keeps = unit == "typos" or source == "synonyms"
    return {
        "budget": {"unit": unit, "size": size, "source": source, "ends": False, "keeps_meaning": keeps},
        "goal": {"kind": "untargeted", "loss": "both"},
        "search": {"method": method, "steps": size, "candidates": 64, "seed": 0},
        "words": True,
    }


def test_samples_without_a_row_do_not_count_under_an_attack_on_the_sentence() -> None:
    some = [row for row in under(words(1), 0.3) if row.sample_id in ("s1", "s4")]
    effect, nothing = attack_effects([*clean(), *some], groups_known=False, attacks=[words(1), words(2)])
    assert (effect.words, effect.amount, effect.keeps_meaning, effect.control) == (True, 1.0, True, False)
    assert (effect.dice.n, effect.change.n) == (2, 2)
    assert effect.dice.mean == pytest.approx((CLEAN["s1"] + CLEAN["s4"]) / 2 - 0.3)
    assert effect.change.difference == pytest.approx(-0.3)
    assert effect.clean_dice == pytest.approx((CLEAN["s1"] + CLEAN["s4"]) / 2)
    assert nothing.clean_dice is None
    assert (nothing.dice.mean, nothing.dice.n, nothing.change.n) == (None, 0, 0)
    assert nothing.dice.reason == nothing.change.reason == "no sample had anything to change"


def test_images_and_sentences_stand_beside_each_other() -> None:
    rows = [*clean(), *under(arguments(0.1), 0.2), *under(words(2, "suffix", "vocabulary"), 0.4)]
    image, sentence = attack_effects(rows, groups_known=False)
    assert (image.words, image.keeps_meaning, image.amount) == (False, True, 0.1)
    assert (sentence.words, sentence.keeps_meaning, sentence.amount) == (True, False, 2.0)


def test_more_changes_of_a_sentence_that_do_less_are_told() -> None:
    rows = [*clean(), *under(words(1), 0.3), *under(words(2), 0.2), *under(words(2, "order"), 0.1)]
    ((smaller, larger),) = rising(attack_effects(rows, groups_known=False, attacks=[words(0)]))
    assert (smaller.amount, larger.amount) == (1.0, 2.0), "steps grow with the size; what changed nothing has no mean"
    controls = [*clean(), *under(words(1, method="random"), 0.3), *under(words(2, method="random"), 0.2)]
    assert rising(attack_effects(controls, groups_known=False)) == []


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (arguments(8 / 255), "epsilon 8/255"),
        ({**arguments(0.1), "published": True}, "epsilon 0.1 normalised"),
        (words(1), "1 typo"),
        (words(2), "2 typos"),
        (words(1, "words", "synonyms"), "1 synonym"),
        (words(2, "words", "vocabulary"), "2 other words (meaning not kept)"),
        (words(1, "words", "near"), "1 near word (meaning not kept)"),
        (words(1, "suffix", "vocabulary"), "1 word appended (meaning not kept)"),
        (words(3, "order"), "3 swaps of words (meaning not kept)"),
    ],
)
def test_budgets_in_words(told: dict[str, Any], said: str) -> None:
    assert budget_words(told) == said


def test_sentences_that_were_found() -> None:
    """Those first that took most in sum; what is as it was, held against another mask, or another attack's is none."""
    after = {"s0": "dirk disc", "s1": "dirk disc", "s2": "dak disc", "s3": "dark disc"}
    lost = {"s0": 0.3, "s1": 0.5, "s2": 0.6, "s3": 0.0}
    rows = clean(wording="dark disc")
    for name, sentence in after.items():
        dice = CLEAN[name] - lost[name]
        rows.append(score(name, dice, condition="attack", arguments=words(1), wording=sentence))
        rows.append(score(name, 0.0, condition="attack", arguments=words(2), wording="drk dsc"))
    rows.append(score("s5", 0.0, condition="attack", arguments={**words(1), "against": "wanted"}, wording="dork disc"))
    first, second = rewordings(rows, words(1))
    assert (first.before, first.after, first.n) == ("dark disc", "dirk disc", 2)
    assert first.clean_dice == pytest.approx((CLEAN["s0"] + CLEAN["s1"]) / 2)
    assert first.dice == pytest.approx(first.clean_dice - 0.4)
    assert (second.after, second.n) == ("dak disc", 1)
    assert len(rewordings(rows, words(1), 1)) == 1
