"""Attacks on sentences as data; whether they keep the meaning stands in every record."""

import json
from typing import Any

import pytest

from vlseg.attacks import (
    Goal,
    TextAttack,
    TextBudget,
    TextSearch,
    parse_attack,
    parse_text_attack,
    text_attack_from,
    text_attack_to_json,
)
from vlseg.records import InputError

SOME = [
    (TextAttack(), True),
    (TextAttack(TextBudget("typos", 3, ends=True), Goal("erase", "ce"), TextSearch("random", candidates=5)), True),
    (TextAttack(TextBudget("words", 2), search=TextSearch("gradient", steps=9, seed=-4)), True),
    (TextAttack(TextBudget("words", 1, "vocabulary"), Goal("move")), False),
    (TextAttack(TextBudget("words", 1, "near")), False),
    (TextAttack(TextBudget("suffix", 3)), False),
    (TextAttack(TextBudget("order", 0)), False),
]


@pytest.mark.parametrize(("attack", "keeps"), SOME)
def test_the_repr_and_the_json_give_the_attack_again_and_tell_of_the_meaning(attack: TextAttack, keeps: bool) -> None:
    assert attack.keeps_meaning is keeps
    assert f"keeps_meaning={keeps}" in repr(attack)
    assert eval(repr(attack)) == attack
    assert parse_text_attack(repr(attack)) == attack
    line = text_attack_to_json(attack)
    assert json.loads(line)["budget"]["keeps_meaning"] is keeps
    assert parse_text_attack(line) == attack
    assert text_attack_from(json.loads(line)) == attack


def test_what_was_left_out_is_named() -> None:
    assert "source='synonyms'" in repr(TextBudget("words"))
    assert TextAttack(TextBudget("typos", 3)).steps == 3
    assert TextAttack(TextBudget("suffix", 3)).search.steps == 6
    assert "steps=6" in repr(TextAttack(TextBudget("suffix", 3)))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: TextBudget("letters"), "unit"),
        (lambda: TextBudget(size=-1), "size"),
        (lambda: TextBudget(size=1.5), "size"),
        (lambda: TextBudget("typos", source="synonyms"), "leave it out"),
        (lambda: TextBudget("suffix", source="synonyms"), "vocabulary"),
        (lambda: TextBudget("words", ends=True), "ends"),
        (lambda: TextBudget(ends=1), "ends"),
        (lambda: TextBudget("suffix", keeps_meaning=True), "keeps_meaning"),
        (lambda: TextBudget("words", 1, "synonyms", keeps_meaning=False), "words from synonyms"),
        (lambda: TextSearch("beam"), "method"),
        (lambda: TextSearch(steps=0), "steps"),
        (lambda: TextSearch(candidates=0), "candidates"),
        (lambda: TextSearch(seed=True), "seed"),
        (lambda: parse_text_attack("Attack()"), "TextAttack"),
        (lambda: parse_text_attack("TextAttack(budget=Budget())"), "attack"),
        (lambda: parse_attack(repr(TextAttack())), "attack"),
        (lambda: text_attack_from({"budget": {"words": 2}}), "words"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(make: Any, named: str) -> None:
    with pytest.raises(InputError, match=named) as caught:
        make()
    assert "\n" not in str(caught.value)
