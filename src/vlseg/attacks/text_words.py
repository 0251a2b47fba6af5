"""Sentences that are some changes away from one. Strings only."""

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from random import Random
from typing import NamedTuple

from vlseg.attacks.text_plan import TextBudget

LETTERS_A_TYPO = 4
"""Shorter words have none, longer ones one in as many letters: with more a word can no longer be read."""
_WORD = re.compile(r"(?<![\w])[^\W\d_]+(?![\w])")
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


@dataclass(frozen=True)
class Lexicon:
    """The words that an attack may use, in lower case.

    Attributes:
        vocabulary: in an order that decides draws; `vocabulary_of` makes it of a dataset's sentences.
        synonyms: by word, those that leave what a sentence asks for as it is.
        known: further words that no typo may make, such as a word list's.
    """

    vocabulary: Sequence[str] = ()
    synonyms: Mapping[str, Sequence[str]] = field(default_factory=dict)
    known: Container[str] = frozenset()

    @cached_property
    def told(self) -> frozenset[str]:
        """All of its words but those of `known`."""
        return frozenset(self.vocabulary).union(self.synonyms, *self.synonyms.values())


class Change(NamedTuple):
    """One change of a sentence: the word at a place becomes another.

    `typo`: it is one more of that word. A place behind the sentence's words is the suffix's. `word` None: the word at
    the place and the next one swap.
    """

    place: int
    word: str | None
    typo: bool = False


@dataclass(frozen=True)
class Wording:
    """A sentence on its way.

    Attributes:
        between: what stands before, between and after the words; one more than these.
        words: as they are now.
        first: as they came.
        edits: of each word: its typos, or 1 where it is another word.
        suffix: appended words.
        swaps: of neighbours.
    """

    between: tuple[str, ...]
    words: tuple[str, ...]
    first: tuple[str, ...]
    edits: tuple[int, ...]
    suffix: tuple[str, ...] = ()
    swaps: int = 0

    @property
    def text(self) -> str:
        """The sentence."""
        whole = self.between[0] + "".join(map("".join, zip(self.words, self.between[1:], strict=True)))
        return " ".join([whole, *self.suffix]).strip() if self.suffix else whole

    @property
    def spent(self) -> int:
        """Of the budget."""
        return sum(self.edits) + len(self.suffix) + self.swaps


Pools = Callable[[str], Sequence[str]]
"""By word, what may be put in its place."""


def wording_of(text: str) -> Wording:
    """A sentence as it came; runs of letters are words, all else stays."""
    words = tuple(_WORD.findall(text))
    return Wording(tuple(_WORD.split(text)), words, words, (0,) * len(words))


def vocabulary_of(texts: Iterable[str]) -> tuple[str, ...]:
    """The words of some sentences, in lower case, sorted."""
    return tuple(sorted({word.casefold() for text in texts for word in _WORD.findall(text)}))


def changes(wording: Wording, budget: TextBudget, lexicon: Lexicon, pools: Pools) -> list[Change]:
    """Everything that is one change away and within the budget; a word that is another may be put back."""
    left = budget.size - wording.spent
    if budget.unit == "words":
        return list(_other_words(wording, left, pools))
    if budget.unit == "suffix":
        places = range(len(wording.suffix) + (left > 0))
        return [Change(len(wording.words) + place, word) for place in places for word in lexicon.vocabulary]
    if left <= 0:
        return []
    if budget.unit == "order":
        pairs = zip(wording.words, wording.words[1:], strict=False)
        return [Change(place, None) for place, (one, two) in enumerate(pairs) if one.casefold() != two.casefold()]
    return list(_typos(wording, budget.ends, lexicon))


def changed(wording: Wording, change: Change) -> Wording:
    """The sentence with one change."""
    place, word = change.place, change.word
    words = list(wording.words)
    if word is None:
        words[place], words[place + 1] = words[place + 1], words[place]
        return replace(wording, words=tuple(words), swaps=wording.swaps + 1)
    if place >= len(words):
        suffix = list(wording.suffix)
        suffix[place - len(words) : place - len(words) + 1] = [word]
        return replace(wording, suffix=tuple(suffix))
    words[place] = word
    edits = list(wording.edits)
    edits[place] = edits[place] + 1 if change.typo else int(word != wording.first[place])
    return replace(wording, words=tuple(words), edits=tuple(edits))


def drawn(wording: Wording, budget: TextBudget, lexicon: Lexicon, pools: Pools, rng: Random) -> Wording:
    """A sentence of the whole budget, or of as much as the sentence has room for."""
    while wording.spent < budget.size:
        further = [one for one in changes(wording, budget, lexicon, pools) if _spends(wording, one)]
        if not further:
            break
        wording = changed(wording, rng.choice(further))
    return wording


def _spends(wording: Wording, change: Change) -> bool:
    """It takes one more of the budget, for a word that is as it came."""
    if change.word is None or change.typo:
        return True
    place = change.place - len(wording.words)
    return place == len(wording.suffix) if place >= 0 else not wording.edits[change.place]


def _other_words(wording: Wording, left: int, pools: Pools) -> Iterator[Change]:
    for place, first in enumerate(wording.first):
        if left <= 0 and not wording.edits[place]:
            continue
        for word in [first, *(_cased(one, first) for one in pools(first.casefold()))]:
            if word != wording.words[place] and (word == first or word.casefold() != first.casefold()):
                yield Change(place, word)


def _typos(wording: Wording, ends: bool, lexicon: Lexicon) -> Iterator[Change]:
    own = {word.casefold() for word in wording.first}
    for place, word in enumerate(wording.words):
        if wording.edits[place] < len(wording.first[place]) // LETTERS_A_TYPO:
            for typo in dict.fromkeys(_mistyped(word, ends)):
                told = typo.casefold()
                if told not in own and told not in lexicon.told and told not in lexicon.known:
                    yield Change(place, typo, typo=True)


def _mistyped(word: str, ends: bool) -> Iterator[str]:
    """The word with one slip of the fingers."""
    first, last = (0, len(word) - 1) if ends else (1, len(word) - 2)
    for place in range(first, last + 1):
        before, letter, after = word[:place], word[place], word[place + 1 :]
        if place < last:
            yield before + after[0] + letter + after[1:]
        yield before + after
        yield before + letter + letter + after
        for key in _BESIDE.get(letter.lower(), ""):
            near = key.upper() if letter.isupper() else key
            yield before + near + after
            yield before + letter + near + after


def _beside() -> dict[str, str]:
    """The keys beside each on an English keyboard: left and right, above and below."""
    found: dict[str, str] = {}
    for row, keys in enumerate(_KEYS):
        for place, key in enumerate(keys):
            near = [keys[max(0, place - 1) : place], keys[place + 1 : place + 2]]
            if row > 0:
                near.append(_KEYS[row - 1][place : place + 2])
            if row + 1 < len(_KEYS):
                near.append(_KEYS[row + 1][max(0, place - 1) : place + 1])
            found[key] = "".join(near)
    return found


_BESIDE = _beside()


def _cased(word: str, like: str) -> str:
    return word[:1].upper() + word[1:] if like[:1].isupper() else word
