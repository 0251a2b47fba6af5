"""Whether two texts or two values say the same. Strings only."""

import re
from functools import lru_cache

from vlseg.prompts.template import in_words

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
# Words around a value that carry it and mean nothing without it: "located in [top left] of the image".
CARRIERS = frozenset(
    "a an and are at cycle end image in is it located of present quality shape shaped the view which with".split()
)
_SAME = {
    **dict.fromkeys("circle circular rounded roundish".split(), "round"),
    **dict.fromkeys("ovoid elliptical ellipse".split(), "oval"),
    **dict.fromkeys("centre middle central".split(), "center"),
    "triangular": "triangle",
    "rectangular": "rectangle",
    "upper": "top",
    "lower": "bottom",
    "grey": "gray",
    "xray": "x ray",
    "single": "one",
    "solitary": "one",
    "man": "male",
    "woman": "female",
}
_SPELLINGS = (
    "tumor tumour",
    "edema oedema",
    "hemorrhage haemorrhage",
    "hematoma haematoma",
    "esophagus oesophagus",
    "anesthesia anaesthesia",
    "fiber fibre",
    "color colour",
    "colored coloured",
    "localized localised",
)
"""American and British, beside those of `_SAME`."""
_NOUNS = frozenset("tumor tumour hemorrhage haemorrhage hematoma haematoma fiber fibre color colour".split())
"""Those of them that have a plural."""


def split_words(text: str) -> tuple[str, ...]:
    """The words in lower case, without punctuation. For what users type: a server forgets what was asked."""
    return tuple(match[0].casefold() for match in WORD.finditer(text))


@lru_cache(maxsize=100_000)
def words_of(text: str) -> tuple[str, ...]:
    """As `split_words`, remembered: for the prompts of data sets, which come again and again."""
    return split_words(text)


def same_words(first: str, second: str) -> bool:
    """True for texts that differ in case, punctuation or spaces at most."""
    return words_of(first) == words_of(second)


def synonyms(word: str) -> tuple[str, ...]:
    """The words, in lower case and sorted, that say the same as this one in a prompt; a plural has its own."""
    plain = word.casefold()
    if found := _groups().get(plain):
        return tuple(one for one in found if one != plain)
    single = plain.removesuffix("s")
    return tuple(f"{one}s" for one in _groups().get(single, ()) if one != single) if single in _NOUNS else ()


@lru_cache(maxsize=1)
def _groups() -> dict[str, tuple[str, ...]]:
    """By word, all that say the same, itself as well."""
    groups = [set(one.split()) for one in _SPELLINGS]
    for same in sorted(set(_SAME.values())):
        groups.append({same, *(word for word, other in _SAME.items() if other == same)})
    single = [sorted(word for word in group if " " not in word) for group in groups]
    return {word: tuple(group) for group in single for word in group}


@lru_cache(maxsize=100_000)
def meaning(value: str) -> frozenset[frozenset[str]]:
    """What a value says, for comparison: its parts (between commas and "and"), each a set of words.

    Articles, words like "shape", order, repetition and known synonyms do not count.
    """
    parts = [_canonical(part) for part in re.split(r"[,;]|\band\b", value.casefold())]
    return frozenset(part for part in parts if part) or frozenset({frozenset(words_of(value))})


def _canonical(part: str) -> frozenset[str]:
    words = [word for whole in words_of(part) for word in re.split(r"[-'’]", whole)]
    plain = [word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in words]
    known = " ".join(_SAME.get(word, in_words(word)) for word in plain).split()
    return frozenset(known) - CARRIERS
