"""Which words of a sentence are an attribute's. Strings only."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

from vlseg.prompts.meaning import CARRIERS, WORD, meaning, words_of
from vlseg.prompts.template import in_words, plural
from vlseg.records import Attribute, Dataset, Sample

Span = tuple[int, int]

_SIDES = frozenset("left right".split())
# What may stand after a side that is a place; any other noun makes "left" a part of a structure's name.
_AFTER_PLACE = frozenset(
    "of in on at and or with which that side half part corner edge border third quadrant region area top bottom upper "
    "lower center centre middle as is are from to".split()
)
_PRONOUN_AFTER = _AFTER_PLACE | {"is", "by", "near", "above", "below", "who", "we"}
_PRONOUN_BEFORE = frozenset(
    "the this that each every which any no other last first an another only right left some".split()
)
_BEFORE_VALUE = re.compile(
    r"(?:,\s*|\s+|^)(?:and\s+)?(?:located\s+)?(?:in|at|on|near|of|with|that is|findings:)(?:\s+(?:the|a|an))*\s+$"
    r"|,\s*$",
    re.IGNORECASE,
)
_AFTER_VALUE = re.compile(
    r"(?:-year-old|-shaped)?(?:\s+(?:side|half|part|corner|view|patient|image quality|quality|cycle))?"
    r"(?:\s+(?:of|in) the image)?(?=$|[,.;]|\s+(?:in|at|on|of|with|from)\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Phrase:
    """The words of a text that an attribute adds: its value `text[start:end]`, and what carries it.

    `carriers`: spans that go with the value when the attribute is left out ("located in", "of the image"). They leave
    out what other attributes need as well ("of a [seventy-year-old] [male]").
    """

    attribute: str
    start: int
    end: int
    words: str
    carriers: tuple[Span, ...] = ()


def phrases(dataset: Dataset, sample: Sample, key: str | None, text: str) -> list[Phrase]:
    """Where each attribute stands in a text.

    By the sample's attributes whose value stands in the text; else, where annotation keys add one attribute each (as
    the published schemes do), by the words that the text of one key has more than that of the key before.

    Args:
        dataset: whose `info.aliases` say what each key holds.
        sample: with its attributes and the texts of its other keys.
        key: the annotation key that `text` belongs to; None for the built-in prompts.
        text: one wording.
    """
    return _listed(sample, text) or _added(dataset, sample, key, text)


def other_values(every: Sequence[Phrase], phrase: Phrase) -> list[str]:
    """What the attribute is called elsewhere, where that means something else than here, sorted.

    Values that share no word with this one are all there is where there are such: "top left" is half right for "left".
    """
    here = meaning(phrase.words)
    spelt: dict[str, str] = {}
    for one in every:
        if one.attribute == phrase.attribute and meaning(one.words) != here:
            spelt[one.words.casefold()] = max(one.words, spelt.get(one.words.casefold(), ""))
    own = frozenset().union(*here)
    values = [spelt[key] for key in sorted(spelt)]
    return [value for value in values if not own & frozenset().union(*meaning(value))] or values


def with_words(text: str, phrase: Phrase, words: str) -> str:
    """The text with another value in the phrase's place; with "", without the attribute and its carriers."""
    if phrase.words[:1].isupper():
        words = words[:1].upper() + words[1:]
    if words:
        changed = f"{text[: phrase.start]}{words}{text[phrase.end :]}"
    else:
        changed, done = "", 0
        for start, end in sorted([*phrase.carriers, (phrase.start, phrase.end)]):
            changed += re.sub(r",\s*$", " ", text[done:start])
            done = end
        changed += text[done:]
    spaced = re.sub(r"\s+([,.;])", r"\1", re.sub(r"\s+", " ", changed))
    tidy = re.sub(r"\.(?:\s*\.)+", ".", re.sub(r",(?=[,.;])", "", spaced)).strip(" ,")
    return tidy[:1].upper() + tidy[1:] if text[:1].isupper() else tidy


def _listed(sample: Sample, text: str) -> list[Phrase]:
    """By the attributes that the dataset lists; each stands somewhere else."""
    found: list[Phrase] = []
    for attribute in sample.attributes:
        taken = [(one.start, one.end) for one in found]
        free = [match for match in _matches(attribute, sample.target, text) if not _overlap(match.span(), taken)]
        if free:
            start, end = free[0].span()
            found.append(Phrase(attribute.name, start, end, free[0][0], _around(text, start, end)))
    return found


def _matches(attribute: Attribute, target: str | None, text: str) -> list[re.Match[str]]:
    """The places where a value stands as itself: not within the target's name, no pronoun, no part of a structure."""
    pattern = _pattern(attribute.value)
    if pattern is None:
        return []
    name = (target or "").strip()
    names = [] if meaning(attribute.value) == meaning(name) else _places_of(name, text)
    found = [match for match in pattern.finditer(text) if not _overlap(match.span(), names)]
    if meaning(attribute.value) == meaning("1"):
        found = [match for match in found if not _is_pronoun(text, match)]
    if _SIDES & set(words_of(attribute.value)):
        found = [match for match in found if _is_place(text, match, name)]
    return found


def _pattern(value: str) -> re.Pattern[str] | None:
    """The value as it is or as templates write it: a number in words, a list with "and", without repetitions."""
    parts = [part.strip() for part in re.split(r"[;,]", value) if part.strip()]
    if not parts:
        return None
    joint = r"(?:\s*[,;]\s*(?:and\s+)?|\s+and\s+)"
    forms = [joint.join(map(_form, some)) for some in (parts, list(dict.fromkeys(parts)))]
    return re.compile(rf"(?<![\w-])(?:{'|'.join(forms)})(?!\w|-(?!year-old|shaped))", re.IGNORECASE)


def _form(value: str) -> str:
    return "|".join(f"(?:{re.escape(form)})" for form in dict.fromkeys((value, in_words(value)))).join(("(?:", ")"))


def _places_of(name: str, text: str) -> list[Span]:
    if not name:
        return []
    forms = "|".join(re.escape(form) for form in (plural(name), name))
    return [match.span() for match in re.finditer(rf"\b(?:{forms})\b", text, re.IGNORECASE)]


def _is_pronoun(text: str, match: re.Match[str]) -> bool:
    """Not a number: as in "the one on the left", "one of them", "this one"."""
    if not match[0].isalpha():
        return False
    before = re.search(r"([^\W\d_]+)\s+$", text[: match.start()])
    after = re.match(r"\s+([^\W\d_]+)", text[match.end() :])
    if after is None:
        return before is not None
    return after[1].casefold() in _PRONOUN_AFTER or (before is not None and before[1].casefold() in _PRONOUN_BEFORE)


def _is_place(text: str, match: re.Match[str], target: str) -> bool:
    """A side before another noun than the target's belongs to that structure: "in the left kidney"."""
    rest = text[match.end() :]
    following = re.match(r"\s+([^\W\d_]+)", rest)
    if following is None or following[1].casefold() in _AFTER_PLACE:
        return True
    return bool(target) and any(re.match(rf"\s+{re.escape(name)}\b", rest, re.I) for name in (target, plural(target)))


def _around(text: str, start: int, end: int) -> tuple[Span, ...]:
    """What goes with a value that is left out: its preposition and what closes it, where nothing else needs them."""
    suffix = re.compile(r"-year-old|-shaped").match(text, end)
    before = _BEFORE_VALUE.search(text[:start])
    after = _AFTER_VALUE.match(text, end)
    if before and after:
        return tuple(span for span in ((before.start(), start), (end, after.end())) if span[0] < span[1])
    return ((end, suffix.end()),) if suffix else ()


def _overlap(span: Span, others: Sequence[Span]) -> bool:
    return any(span[0] < end and start < span[1] for start, end in others)


def _added(dataset: Dataset, sample: Sample, key: str | None, text: str) -> list[Phrase]:
    """By comparing the texts of keys that add one attribute each; the words of the first belong to none."""
    chain = list(_chain(dataset, key))
    # From a text that is not there nothing can be told: what comes after it begins anew.
    missing = max((place for place, (name, _) in enumerate(chain) if name not in sample.prompts), default=-1)
    chain = chain[missing + 1 :]
    if len(chain) < 2:
        return []
    old: tuple[str, ...] = ()
    labels: tuple[str | None, ...] = ()
    for name, attribute in chain:
        new = words_of(sample.prompts[name][0])
        labels = _carried(old, labels, new, attribute)
        old = new
    labels = _carried(old, labels, words_of(text), None)
    places = [match.span() for match in WORD.finditer(text)]
    order = dict.fromkeys(attribute for _, attribute in chain if attribute in labels and attribute)
    return [_phrase(text, places, labels, attribute) for attribute in order]


@lru_cache(maxsize=100_000)
def _carried(
    old: tuple[str, ...], labels: tuple[str | None, ...], new: tuple[str, ...], attribute: str | None
) -> tuple[str | None, ...]:
    """The labels of the old words on the new ones; inserted words are the attribute's, replaced ones are nobody's.

    Kept, because training asks the same of each text in every epoch.
    """
    moved: list[str | None] = [None] * len(new)
    a, b = (
        [word.removesuffix("s") for word in words] for words in (old, new)
    )  # "tumor" is still there in "two tumors"
    for kind, i1, i2, j1, j2 in SequenceMatcher(a=a, b=b, autojunk=False).get_opcodes():
        if kind == "equal":
            moved[j1:j2] = labels[i1:i2]
        elif kind == "insert" and old:
            moved[j1:j2] = [attribute] * (j2 - j1)
    return tuple(moved)


def _phrase(text: str, places: Sequence[Span], labels: Sequence[str | None], attribute: str) -> Phrase:
    """The attribute's value and its carriers, from the labels of the text's words."""
    own = [index for index, label in enumerate(labels) if label == attribute]
    runs: list[list[int]] = []
    for index in own:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    telling = [index for index in own if text[slice(*places[index])].casefold() not in CARRIERS] or own
    run = next(run for run in reversed(runs) if telling[-1] in run)
    inside = [index for index in run if index in telling]
    first, last = inside[0], inside[-1]
    shared = any(labels[index] not in (None, attribute) for index in range(own[0], own[-1]))
    start, end = places[first][0], places[last][1]
    carriers = []
    for one in [run] if shared else runs:
        low, high = places[one[0]][0], places[one[-1]][1]
        pieces = ((low, start), (end, high)) if one is run else ((low, high),)
        carriers += [piece for piece in pieces if piece[0] < piece[1]]
    return Phrase(attribute, start, end, text[start:end], tuple(carriers))


def _chain(dataset: Dataset, key: str | None) -> Sequence[tuple[str, str | None]]:
    """(key, attribute that it adds) on the longest way to `key` in steps of one attribute; the first adds none."""
    return _way(tuple(dataset.info.aliases.items()), key)


@lru_cache(maxsize=1000)
def _way(aliases: tuple[tuple[str, str], ...], key: str | None) -> Sequence[tuple[str, str | None]]:
    content = {name: frozenset(alias.split("+")) for name, alias in aliases}
    content = {name: parts for name, parts in content.items() if "empty" not in parts}
    if key is None or key not in content:
        return []

    def way(name: str) -> list[tuple[str, str | None]]:
        best: list[tuple[str, str | None]] = []
        for before, less in content.items():
            if less < content[name] and len(content[name] - less) == 1:
                found = way(before)
                if len(found) > len(best):
                    best = found
        if not best:
            return [(name, None)]
        (added,) = content[name] - content[best[-1][0]]
        return [*best, (name, added)]

    return way(key)
