"""Misspelt words, by rule: unknown to an English word list and one slip away from a word that is known."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

MIN_LETTERS = 5
MIN_USE = 40
"""Occurrences of a neighbour in the word list's corpus: rarer words are no likely intention."""
OWN_SHARE = 10
"""How many times more often a data set must use a neighbour for it to be the word that was meant."""

_VARIANTS = (
    ("our", "or"),
    ("ae", "e"),
    ("oe", "e"),
    ("is", "iz"),
    ("ys", "yz"),
    ("tre", "ter"),
    ("ll", "l"),
    ("gue", "g"),
)
"""British spellings that the American list lacks."""


@dataclass(frozen=True)
class Spelling:
    """Misspelt words in lower case with what was likely meant, the likeliest first."""

    suggestions: dict[str, tuple[str, ...]]

    def mend(self, word: str) -> str | None:
        """What to write instead of `word`, in its case, when one suggestion stands out; else None.

        One stands out when it is the only one, or the only one of the same letters (two of them swapped).
        """
        found = self.suggestions.get(word.lower(), ())
        swapped = [one for one in found if sorted(one) == sorted(word.lower())]
        chosen = swapped if len(swapped) == 1 else list(found)
        if len(chosen) != 1:
            return None
        return chosen[0].capitalize() if word[0].isupper() else chosen[0]


def spelling_of(texts: Iterable[str]) -> Spelling:
    """The misspelt words of a data set's texts."""
    own: Counter[str] = Counter()
    for text in texts:
        own.update(word for word in re.findall(r"[A-Za-z]+", text) if not word.isupper())
    counts: Counter[str] = Counter()
    for word, count in own.items():
        counts[word.lower()] += count
    found = {word: _suggestions(word, counts) for word in counts if len(word) >= MIN_LETTERS and not _is_known(word)}
    return Spelling({word: meant for word, meant in found.items() if meant})


@cache
def known_words() -> frozenset[str]:
    """The words of the English list, in lower case."""
    return frozenset(_checker().word_frequency.keys())


@cache
def _checker() -> Any:
    from spellchecker import SpellChecker

    return SpellChecker(distance=1)


@cache
def _is_known(word: str) -> bool:
    """In the list, or an inflection or British spelling of a word that is."""
    words = _checker()
    if word in words or (word.endswith("s") and word[:-1] in words) or (word.endswith("es") and word[:-2] in words):
        return True
    return any(british in word and word.replace(british, american) in words for british, american in _VARIANTS)


def _suggestions(word: str, own: Counter[str]) -> tuple[str, ...]:
    words = _checker()
    near = words.edit_distance_1(word)
    known = {one: words[one] for one in words.known(near) if words[one] >= MIN_USE and not _is_inflection(one, word)}
    # A data set's own frequent words count, too: lists lack terms of the trade.
    used = {one: own[one] for one in near & own.keys() if own[one] >= OWN_SHARE * own[word] and len(one) >= MIN_LETTERS}
    order = sorted(
        {*known, *used}, key=lambda one: (sorted(one) != sorted(word), -used.get(one, 0), -known.get(one, 0))
    )
    return tuple(order)


def _is_inflection(one: str, word: str) -> bool:
    return one in (f"{word}s", f"{word}'s") or "'" in one
