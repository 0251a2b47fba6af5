"""Other ways to say a prompt, or not to say it: what a model that reads should and should not mind.

Strings only.
"""

import hashlib
import re
from collections.abc import Mapping
from random import Random

from vlseg.prompts.meaning import words_of
from vlseg.prompts.mirror import mirrored

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
    return f"no {_inside(text)}"


def paraphrased(text: str, rng: Random) -> str:
    """The text in one of a few frames that change nothing; "the" is not put before another article."""
    frames = [frame for frame in PARAPHRASES if frame != "the {text}" or not re.match(r"(?:the|an?)\b", text, re.I)]
    return rng.choice(frames).format(text=text.rstrip("."))


def _inside(text: str) -> str:
    """The text as it stands within a sentence; abbreviations keep their capitals."""
    first = re.match(r"\S+", text)
    return f"{text[:1].lower()}{text[1:]}" if first and first[0][1:].islower() else text


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


def other_side(text: str) -> str | None:
    """The text with left and right in each other's place; None where it then says the same or cannot be said.

    Both sides named alike ("left and right", "upper left lung and upper right lung") have no other side; "lower left
    and all right lung" has one. A structure that has no mirror image (the left ventricle) keeps its side.
    """
    changed = mirrored(text, "horizontal")
    return None if changed is None or _places_named(changed) == _places_named(text) else changed


def _places_named(text: str) -> frozenset[tuple[str, ...]]:
    """What is listed, each thing by its words; "left and right" is one place."""
    parts = re.split(r"[,;.]|\b(?:and|or)\b", BOTH_SIDES.sub("both", text), flags=re.IGNORECASE)
    return frozenset(words_of(part) for part in parts)


BOTH_SIDES = re.compile(
    r"\b(left|right)\b(?:\s*[,&/-]\s*|\s+(?:and|or|plus|to|as well as)\s+)(?:the\s+)?(?!\1)(?:left|right)\b",
    re.IGNORECASE,
)


def translated(target: str | None) -> dict[str, str]:
    """The target's name by language; empty where it is not known."""
    return dict(TRANSLATIONS.get((target or "").lower(), {}))
