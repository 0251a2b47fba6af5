"""Defects in the texts of prompts, and their mending. Strings only."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from vlseg.prompts.spelling import Spelling, spelling_of
from vlseg.records import Sample

LONG = 60
"""Words and punctuation marks from which CLIP's 77 tokens, two of them its own, are likely not enough."""

_PLURAL = frozenset(
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
    "nineteen twenty several multiple many".split()
)
_STOPS = frozenset("which that with in at located on near and from".split())
_BEFORE_ARTICLE = frozenset(
    "of in on at by to from with without for into over under near within like as is are was were be has have having "
    "shows showing resembling resemble resembles forms forming often mostly usually and or but which that than not "
    "inside between along around through above below behind beside across against".split()
)
_NEGATION = r"(?:no|without|absence of|free of|lacks?|lacking|absent)"
MIN_EMPTY, MIN_PRESENT = 2, 5
"""Samples from which a text that stands with empty masks only is taken to tell so."""


@dataclass(frozen=True)
class TextCase:
    """One defect of one text of one sample.

    `code` is one of announces_absence, number_agreement, repeated_word, stray_blank, stray_article,
    sentence_answer, misspelling, long_prompt; `key` the prompt's name; `detail` what exactly.
    """

    code: str
    key: str
    sample: str
    split: str
    text: str
    detail: str


def proofread(samples: Sequence[Sample], *, empty: Collection[str] = ()) -> list[TextCase]:
    """All defects, in the order of the samples.

    Args:
        samples: of one dataset.
        empty: ids of samples whose mask is empty, where masks were read; a text that stands only with these
            tells that the mask is empty, whatever its words.
    """
    texts = (text for sample in samples for wordings in sample.prompts.values() for text in wordings)
    spelling = spelling_of(set(texts))
    telling = _telling(samples, frozenset(empty))
    cases = []
    for sample in samples:
        noun = head_noun(sample.target, sample.prompts)
        for key, wordings in sample.prompts.items():
            for text in wordings:
                for code, detail in _defects(text, noun):
                    cases.append(TextCase(code, key, sample.id, sample.split, text, detail))
                for detail in _misspelt(text, spelling):
                    cases.append(TextCase("misspelling", key, sample.id, sample.split, text, detail))
                if (key, text) in telling and not _absent(text, noun):
                    detail = "stands only where the mask is empty"
                    cases.append(TextCase("announces_absence", key, sample.id, sample.split, text, detail))
    return cases


def head_noun(target: str | None, prompts: Mapping[str, Sequence[str]]) -> str | None:
    """The noun that names the target: of the target itself, else of the class prompt's first phrase."""
    name = target
    if name is None:
        wordings = prompts.get("class") or prompts.get("p1") or ("",)
        name = re.sub(r"^no ", "", wordings[0].strip().lower())
    words = re.findall(r"[a-z]+", re.split(r"[,.]| in | of | on ", name.lower())[0])
    return words[-1] if words else None


@cache
def _defects(text: str, noun: str | None) -> tuple[tuple[str, str], ...]:
    return tuple(_found(text, noun))


def _found(text: str, noun: str | None) -> Iterator[tuple[str, str]]:
    if noun and _absent(text, noun):
        yield "announces_absence", f"says that there is no {noun}"
    if noun and (wrong := _disagreement(text, noun)):
        yield "number_agreement", wrong
    if match := _REPEATED.search(text) or _repeated_place(text):
        yield "repeated_word", f"'{match[0]}'"
    if text != text.strip() or "  " in text or " ," in text:
        yield "stray_blank", "a blank too many"
    for match in re.finditer(r"([A-Za-z]+) (an?) [A-Za-z]", text):
        if match[1].lower() not in _BEFORE_ARTICLE and not match[1].lower().endswith(("ly", "ing")):
            yield "stray_article", f"'{match[1]} {match[2]}'"
            break
    if match := re.search(r"\b(?:it is|it's|its a|this is|there is)\b", text, re.IGNORECASE):
        yield "sentence_answer", f"'{match[0]}'"
    length = len(re.findall(r"[A-Za-z0-9]+|[^\sA-Za-z0-9]", text))
    if length > LONG:
        yield "long_prompt", f"{length} words and marks"


_KINDS = frozenset({"category", "class", "covid", "grade", "level", "segment", "stage", "type", "zone"})
"""After these a number is a name, as in "COVID-19" (where "-" makes one word of both), and counts nothing."""
_REPEATED = re.compile(r"\b([A-Za-z]+) \1\b", re.IGNORECASE)
_PLACE = r"(?:(?:top|bottom|upper|lower|left|right|center|middle)(?: left| right)?)"
_PLACES = re.compile(rf"\b{_PLACE}(?:, {_PLACE})+\b", re.IGNORECASE)


def _repeated_place(text: str) -> re.Match[str] | None:
    """A list of places that names one twice."""
    lists = (match for match in _PLACES.finditer(text))
    return next((match for match in lists if len(set(_places(match))) < len(_places(match))), None)


def _places(match: re.Match[str]) -> list[str]:
    return match[0].lower().split(", ")


def _absent(text: str, noun: str | None) -> bool:
    if not noun:
        return False
    named = rf"(?:[A-Za-z-]+ ){{0,4}}{noun}(?:s|es)?\b"
    negated = (
        rf"(?:^|\b){_NEGATION} (?:any |visible )?{named}|\b{noun}s? (?:is |are )?(?:absent|not present|not visible)\b"
    )
    match = re.search(negated, text, re.IGNORECASE)
    # "disc without a bright spot near the disc": the noun came before, so it is there.
    return match is not None and not re.search(rf"\b{noun}s?\b", text[: match.start()], re.IGNORECASE)


def _disagreement(text: str, noun: str) -> str | None:
    """A number and the first form of the noun after it, when they do not agree."""
    words = re.findall(r"[a-z][a-z0-9]*(?:-[0-9]+)+|[a-z0-9]+", text.lower())
    for index, word in enumerate(words):
        if word.isdigit() and index and words[index - 1] in _KINDS:
            continue
        several = word in _PLURAL or (word.isdigit() and int(word) > 1)
        if not several and (word != "one" or words[index + 1 : index + 2] == ["of"]):
            continue
        for later in words[index + 1 :]:
            if later in _STOPS:
                break
            if later == noun and several:
                return f"'{word} ... {noun}'"
            if later in (f"{noun}s", f"{noun}es") and not several:
                return f"'one ... {later}'"
            if later in (noun, f"{noun}s", f"{noun}es"):
                break
    return None


def _misspelt(text: str, spelling: Spelling) -> Iterator[str]:
    for word in dict.fromkeys(re.findall(r"[A-Za-z]+", text)):
        meant = spelling.suggestions.get(word.lower())
        if meant and not word.isupper():
            yield f"'{word}': perhaps {' or '.join(repr(one) for one in meant[:3])}"


def _telling(samples: Sequence[Sample], empty: frozenset[str]) -> set[tuple[str, str]]:
    """(key, text) that stand with empty masks only, where enough of both kinds are known."""
    if not empty:
        return set()
    with_empty: dict[tuple[str, str], int] = defaultdict(int)
    with_present: dict[tuple[str, str], int] = defaultdict(int)
    present: dict[str, int] = defaultdict(int)
    for sample in samples:
        for key, wordings in sample.prompts.items():
            present[key] += sample.id not in empty
            for text in wordings:
                (with_empty if sample.id in empty else with_present)[(key, text)] += 1
    return {
        case
        for case, count in with_empty.items()
        if count >= MIN_EMPTY and case not in with_present and present[case[0]] >= MIN_PRESENT
    }


def mend(text: str, spelling: Spelling, noun: str | None = None) -> tuple[str, list[str]]:
    """The text with what can be mended mended, and a line for each change; a sound text comes back as it is.

    Blanks, words that stand twice, misspellings with one clear mend, and the plural after a number.

    Args:
        text: of a prompt.
        spelling: see `spelling_of`, of the whole dataset's texts.
        noun: the noun that names the target, for the plural.
    """
    changes = []
    mended = re.sub(r"\s+", " ", text).strip().replace(" ,", ",")
    if mended != text:
        changes.append("blanks removed")
    while match := _REPEATED.search(mended):
        changes.append(f"'{match[0]}' to '{match[1]}'")
        mended = f"{mended[: match.start()]}{match[1]}{mended[match.end() :]}"
    while match := _repeated_place(mended):
        once = ", ".join(dict.fromkeys(_places(match)))
        changes.append(f"'{match[0]}' to '{once}'")
        mended = f"{mended[: match.start()]}{once}{mended[match.end() :]}"
    for word in dict.fromkeys(re.findall(r"[A-Za-z]+", mended)):
        better = spelling.mend(word)
        if better is not None:
            mended = re.sub(rf"\b{word}\b", better, mended)
            changes.append(f"'{word}' to '{better}'")
    if noun and _disagreement(mended, noun):
        mended = _agreeing(mended, noun)
        changes.append(f"number of '{noun}'")
    return mended, changes


def _agreeing(text: str, noun: str) -> str:
    """The first form of the noun after a number put into that number."""
    wrong = _disagreement(text, noun)
    if wrong is None:
        return text
    if wrong.startswith("'one"):
        return re.sub(rf"\b({noun})(?:s|es)\b", r"\1", text, count=1, flags=re.IGNORECASE)
    start = re.search(rf"\b{wrong.strip(chr(39)).split(' ...')[0]}\b", text, re.IGNORECASE)
    at = start.end() if start else 0
    plural = re.sub(rf"\b({noun})\b", lambda match: _plural(match[1]), text[at:], count=1, flags=re.IGNORECASE)
    return text[:at] + plural


@cache
def _plural(noun: str) -> str:
    import inflect

    return str(inflect.engine().plural_noun(noun))
