"""Other ways to say a prompt, or not to say it: what a model that reads should and should not mind.

Every choice is drawn from (seed, sample id, condition) alone. Strings only.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from random import Random

from vlseg.records import Dataset, Sample

UNCOMMON = (
    "abacus bassoon calliope davenport ellipsis fjord gargoyle haberdasher ibex jodhpurs kumquat lanyard marzipan "
    "nasturtium obelisk palimpsest quince rhubarb sextant tarpaulin ukulele viaduct wainscot xylophone yurt zeppelin"
).split()
"""English words that no caption of a medical image holds."""

FOREIGN = ("bicycle", "coffee cup", "palm tree")
"""Things that are in no medical image."""

PARAPHRASES = ("the {text}", "a picture that shows {text}", "please mark {text}", "{text}, as seen here")

TRANSLATIONS: Mapping[str, Mapping[str, str]] = {
    "polyp": {"es": "pólipo", "fr": "polype", "de": "Schleimhautwucherung"},
    "skin lesion": {"es": "lesión cutánea", "fr": "lésion cutanée", "de": "Hautläsion"},
    "skin melanoma": {"es": "melanoma cutáneo", "fr": "mélanome de la peau", "de": "Hautmelanom"},
    "foot ulcer": {"es": "úlcera del pie", "fr": "ulcère du pied", "de": "Fußgeschwür"},
    "breast tumor": {"es": "tumor de mama", "fr": "tumeur du sein", "de": "Brusttumor"},
    "left ventricular cavity": {"es": "cavidad del ventrículo izquierdo", "fr": "cavité du ventricule gauche"},
    "myocardium": {"es": "miocardio", "fr": "myocarde", "de": "Herzmuskel"},
    "left atrium cavity": {"es": "cavidad de la aurícula izquierda", "fr": "cavité de l'oreillette gauche"},
    "nuclei": {"es": "núcleos", "fr": "noyaux", "de": "Zellkerne"},
    "retinal blood vessels": {"es": "vasos sanguíneos de la retina", "fr": "vaisseaux rétiniens"},
    "cardiomegaly": {"es": "cardiomegalia", "fr": "cardiomégalie", "de": "Kardiomegalie"},
    "pleural effusion": {"es": "derrame pleural", "fr": "épanchement pleural", "de": "Pleuraerguss"},
    "dark cyst": {"es": "quiste oscuro", "fr": "kyste sombre", "de": "dunkle Zyste"},
    "bright nodule": {"es": "nódulo brillante", "fr": "nodule brillant", "de": "heller Knoten"},
    "cyst": {"es": "quiste", "fr": "kyste", "de": "Zyste"},
    "nodule": {"es": "nódulo", "fr": "nodule", "de": "Knoten"},
}


def chooser(*parts: object) -> Random:
    """A random generator that depends on the parts alone."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return Random(int.from_bytes(digest[:8], "little"))


def negated(text: str) -> str:
    """The text with "no" before it."""
    return f"no {text[:1].lower()}{text[1:]}"


def paraphrased(text: str, rng: Random) -> str:
    """The text in one of a few frames that change nothing."""
    return rng.choice(PARAPHRASES).format(text=text.rstrip("."))


def misspelt(text: str, rng: Random) -> str | None:
    """Two neighbouring letters of each word of five letters or more swapped; None where there is none."""
    changed = False

    def swap(match: re.Match[str]) -> str:
        nonlocal changed
        word = match[0]
        places = [place for place in range(1, len(word) - 2) if word[place] != word[place + 1]]
        if not places:
            return word
        changed = True
        place = rng.choice(places)
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]

    result = re.sub(r"[A-Za-z]{5,}", swap, text)
    return result if changed else None


def shuffled(text: str, rng: Random) -> str | None:
    """The words in another order; None for texts of one word or of equal words."""
    words = text.split()
    if len(set(words)) < 2:
        return None
    while True:
        order = words[:]
        rng.shuffle(order)
        if order != words:
            return " ".join(order)


def translated(target: str | None) -> dict[str, str]:
    """The target's name by language; empty where it is not known."""
    return dict(TRANSLATIONS.get((target or "").lower(), {}))


@dataclass(frozen=True)
class Phrase:
    """The words that an attribute adds to a text: `text[start:end]`."""

    attribute: str
    start: int
    end: int
    words: str


def phrases(dataset: Dataset, sample: Sample, key: str | None, text: str) -> list[Phrase]:
    """Where each attribute stands in a text.

    By the sample's attributes whose value stands in the text as it is; else, in a published scheme whose keys add one
    attribute each, by what the text of one key has more than that of the key before.
    """
    found = []
    for attribute in sample.attributes:
        match = re.search(rf"\b{re.escape(attribute.value)}\b", text, re.IGNORECASE) if attribute.value else None
        if match:
            found.append(Phrase(attribute.name, match.start(), match.end(), match[0]))
    return found or _added(dataset, sample, key, text)


def _added(dataset: Dataset, sample: Sample, key: str | None, text: str) -> list[Phrase]:
    """The runs of words by which a key's text grows over the ones before it, found again in `text`."""
    chain = _chain(dataset, key)
    found = []
    for before, after, attribute in chain:
        if before not in sample.prompts or after not in sample.prompts:
            continue
        old, new = sample.prompts[before][0].split(), sample.prompts[after][0].split()
        matcher = SequenceMatcher(a=[w.lower() for w in old], b=[w.lower() for w in new], autojunk=False)
        runs = [" ".join(new[j1:j2]) for tag, _, _, j1, j2 in matcher.get_opcodes() if tag in ("insert", "replace")]
        for run in runs[:1]:
            words = run.strip(" ,.")
            place = text.lower().find(words.lower())
            if words and place >= 0:
                found.append(Phrase(attribute, place, place + len(words), text[place : place + len(words)]))
    return found


def _chain(dataset: Dataset, key: str | None) -> list[tuple[str, str, str]]:
    """(key before, key after, attribute added) of the published keys whose content the key's content includes."""
    aliases = dataset.info.aliases
    if key is None or key not in aliases:
        return []
    content = {name: frozenset(alias.split("+")) for name, alias in aliases.items()}
    steps = []
    for before, less in content.items():
        for after, more in content.items():
            added = more - less
            if less < more <= content[key] and len(added) == 1 and "empty" not in less:
                steps.append((before, after, next(iter(added))))
    return list({attribute: step for step in steps for attribute in [step[2]]}.values())


def with_words(text: str, phrase: Phrase, words: str) -> str:
    """The text with other words, or none, in the phrase's place."""
    changed = f"{text[: phrase.start]}{words}{text[phrase.end :]}"
    spaced = re.sub(r"\s+([,.])", r"\1", re.sub(r"\s+", " ", changed))
    return re.sub(r",(?=[,.])", "", spaced).strip(" ,")


def other_values(every: Sequence[Phrase], phrase: Phrase) -> list[str]:
    """What the attribute is called elsewhere in the dataset, other than here, sorted."""
    values = {one.words.lower() for one in every if one.attribute == phrase.attribute}
    return sorted(values - {phrase.words.lower()})
