"""Words that say the same."""

from itertools import pairwise

import pytest

from vlseg.prompts import known_words, meaning, synonyms


@pytest.mark.parametrize(
    ("word", "same"),
    [
        ("Round", ("circle", "circular", "rounded", "roundish")),
        ("tumors", ("tumours",)),
        ("oedema", ("edema",)),
        ("upper", ("top",)),
        ("left", ()),
        ("rounds", ()),
        ("", ()),
    ],
)
def test_synonyms(word: str, same: tuple[str, ...]) -> None:
    assert synonyms(word) == same


def test_synonyms_say_the_same_both_ways() -> None:
    for word in "round oval middle triangular bottom gray solitary woman".split():
        assert synonyms(word)
        assert all(one < two for one, two in pairwise(synonyms(word)))
        for other in synonyms(word):
            assert word in synonyms(other)
            assert meaning(word) == meaning(other)


def test_known_words_are_english() -> None:
    assert {"left", "right", "lift"} <= known_words()
    assert not {"lfet", "brigth"} & known_words()
