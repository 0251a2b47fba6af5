"""Sentences within a budget, by distances that are computed apart."""

import re
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from vlseg.attacks import Lexicon, TextBudget, vocabulary_of
from vlseg.attacks.text_words import Wording, changed, changes, drawn, wording_of
from vlseg.prompts import known_words

TEXTS = (
    "bright disc",
    "Two small, seventy-year-old nodules (12 mm) in the left upper lobe.",
    "Rührei, größer als 3 Äpfel!",
    "a_b c4 D",
    "",
)
LEXICON = Lexicon(("dark", "disc", "left", "lump", "right"), {"small": ("tiny", "little"), "upper": ("top",)})


def pools(word: str) -> Sequence[str]:
    return LEXICON.synonyms.get(word, ())


def distance(one: str, two: str) -> int:
    """Damerau and Levenshtein's, unrestricted: insertions, deletions, substitutions, swaps of neighbours."""
    last: dict[str, int] = {}
    far = len(one) + len(two)
    table = [[far] * (len(two) + 2), [far, *range(len(two) + 1)]]
    for i, a in enumerate(one, 1):
        table.append([far, i])
        match = 0
        for j, b in enumerate(two, 1):
            before, here = last.get(b, 0), match
            if a == b:
                match = j
            table[-1].append(
                min(
                    table[-2][j] + (a != b),
                    table[-1][j] + 1,
                    table[-2][j + 1] + 1,
                    table[before][here] + (i - before - 1) + 1 + (j - here - 1),
                )
            )
        last[a] = i
    return table[-1][-1]


def reached(text: str, budget: TextBudget, some: int = 15) -> list[Wording]:
    """Sentences by chains of drawn changes."""
    found = []
    for seed in range(some):
        rng, wording = Random(seed), wording_of(text)
        for _ in range(budget.size + 2):
            moves = changes(wording, budget, LEXICON, pools)
            if not moves:
                break
            wording = changed(wording, rng.choice(moves))
            found.append(wording)
        found.append(drawn(wording_of(text), budget, LEXICON, pools, rng))
    return found


def test_the_distance_is_damerau_and_levenshteins() -> None:
    for one, two, far in (
        ("ca", "abc", 2),
        ("disc", "dsic", 1),
        ("kitten", "sitting", 3),
        ("", "ab", 2),
        ("a", "a", 0),
    ):
        assert distance(one, two) == distance(two, one) == far


@pytest.mark.parametrize("text", TEXTS)
def test_a_sentence_as_it_came_is_itself(text: str) -> None:
    assert wording_of(text).text == text
    assert wording_of(text).spent == 0
    for unit in ("typos", "words", "suffix", "order"):
        assert changes(wording_of(text), TextBudget(unit, 0), LEXICON, pools) == []
        assert drawn(wording_of(text), TextBudget(unit, 0), LEXICON, pools, Random(0)).text == text


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("text", TEXTS)
def test_typos_stay_within_the_budget_and_never_make_a_word(text: str, size: int, ends: bool) -> None:
    told = LEXICON.told | set(vocabulary_of([text]))
    for wording in reached(text, TextBudget("typos", size, ends=ends)):
        assert distance(text, wording.text) <= wording.spent <= size
        assert re.sub(r"[^\W\d_]", "", text) == re.sub(r"[^\W\d_]", "", wording.text)  # all but letters is as it was
        for first, word in zip(wording_of(text).words, wording_of(wording.text).words, strict=True):
            assert distance(first, word) <= len(first) // 4
            assert word == first or word.casefold() not in told
            assert ends or (first[0], first[-1]) == (word[0], word[-1])


def test_no_typo_makes_an_english_word_where_the_list_is_given() -> None:
    """A letter dropped makes "right" of "bright", one changed "lift" of "left": another question."""
    text = "bright left lump"
    for known, made in ((frozenset(), True), (known_words(), False)):
        lexicon = Lexicon(known=known)
        found = {
            changed(wording_of(text), one).text
            for one in changes(wording_of(text), TextBudget("typos", 1, ends=True), lexicon, pools)
        }
        assert len(found) > 50
        assert ("right left lump" in found) is made
        words = {word for one in found for word in vocabulary_of([one])} - set(vocabulary_of([text]))
        assert bool(words & known_words()) is made


def test_a_typo_is_a_slip_of_the_fingers() -> None:
    every = changes(wording_of("disc"), TextBudget("typos", 1), Lexicon(), pools)
    texts = {changed(wording_of("disc"), one).text for one in every}
    assert {"dsic", "dsc", "diisc", "duisc", "diosc", "dosc", "dixc", "disdc"} & texts == {
        *("dsic", "dsc", "diisc", "diosc", "dosc", "dixc", "disdc")
    }
    capital = changes(wording_of("DISC"), TextBudget("typos", 1), Lexicon(), pools)
    assert {changed(wording_of("DISC"), one).text for one in capital} == {one.upper() for one in texts}


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("text", TEXTS)
def test_other_words_are_counted_and_from_the_source(text: str, size: int) -> None:
    for wording in reached(text, TextBudget("words", size)):
        pairs = list(zip(wording_of(text).words, wording_of(wording.text).words, strict=True))
        other = [(one, two) for one, two in pairs if one != two]
        assert len(other) == wording.spent <= size
        assert all(two.casefold() in LEXICON.synonyms[one.casefold()] for one, two in other)
        assert all(one[0].isupper() == two[0].isupper() for one, two in other)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("text", TEXTS)
def test_a_suffix_is_appended_and_the_rest_stays(text: str, size: int) -> None:
    found = reached(text, TextBudget("suffix", size))
    for wording in found:
        assert wording.text.startswith(text)
        appended = wording.text[len(text) :].split()
        assert len(appended) == wording.spent <= size
        assert set(appended) <= set(LEXICON.vocabulary)
    assert {len(wording.suffix) for wording in found} == set(range(1, size + 1))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_an_order_is_as_many_swaps_away_at_most(size: int) -> None:
    text = "one two, three four five."
    for wording in reached(text, TextBudget("order", size)):
        words = wording_of(wording.text).words
        places = [wording_of(text).words.index(word) for word in words]
        assert sorted(places) == list(range(5))
        inversions = sum(a > b for i, a in enumerate(places) for b in places[i + 1 :])
        assert inversions <= wording.spent <= size
        assert re.sub(r"\w+", "_", wording.text) == "_ _, _ _ _."
    assert changes(wording_of("same Same"), TextBudget("order", size), LEXICON, pools) == []


def test_vocabularies() -> None:
    assert vocabulary_of(["The left lung.", "left, 2 lungs_x"]) == ("left", "lung", "the")


def test_drawn_sentences_take_the_whole_budget_where_there_is_room() -> None:
    every: list[tuple[Any, str, int]] = [
        (TextBudget("typos", 2), "bright left lump", 2),
        (TextBudget("typos", 9), "bright left lump", 3),  # one in every four letters of a word
        (TextBudget("words", 5), "small upper thing", 2),
        (TextBudget("suffix", 4), "thing", 4),
        (TextBudget("order", 3), "one two three", 3),
        (TextBudget("order", 3), "one", 0),
    ]
    for budget, text, spent in every:
        for seed in range(5):
            assert drawn(wording_of(text), budget, LEXICON, pools, Random(seed)).spent == spent
