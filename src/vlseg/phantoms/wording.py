"""Prompts of dressed phantoms: the published forms, filled with words that are measured on the made-up truth.

The forms are those of MedVLSM's released annotations (Poudel et al. 2024) and, for sets without such, the names that
preparing gives. General descriptions and reports are in words of our own.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlseg.data.measure import color_word, location_words, number_of_regions, shape_word, size_words
from vlseg.phantoms.dresses import Dress

Texts = dict[str, str | list[str]]
Mask = NDArray[np.bool_]


@lru_cache(maxsize=1)
def _english() -> Any:
    import inflect

    return inflect.engine()


def in_words(number: int) -> str:
    """E.g. "twelve", "seventy-three"."""
    return str(_english().number_to_words(number))


def photo(dress: Dress, mask: Mask, image: NDArray[np.uint8]) -> Texts:
    """p0 to p9 of a set with one target: a word, and adjectives before it."""
    if not mask.any():
        nothing = f"no {dress.word}"
        single: Texts = {f"p{index}": nothing for index in range(1, 7)}
        return {"p0": "", **single, **{f"p{index}": [nothing] for index in (7, 8, 9)}}
    adjectives = (
        shape_word(mask),
        color_word(mask, (image / 255).astype(np.float32)),
        size_words(mask),
        in_words(number_of_regions(mask)),
    )
    texts: Texts = {"p0": "", "p1": dress.word}
    grown = dress.word
    for index, adjective in enumerate(adjectives, start=2):
        grown = texts[f"p{index}"] = f"{adjective} {grown}"
    place = f"located in {location_words(mask)} of the image"
    full = [f"{grown} which {said}" for said in dress.described]
    return texts | {
        "p6": f"{grown}, {place}",
        "p7": [f"{dress.word} which {said}" for said in dress.described],
        "p8": full,
        "p9": [f"{text} {place}" for text in full],
    }


def busi(mask: Mask, kind: str) -> Texts:
    """p0 to p6 of a breast ultrasound; `kind` is benign, malignant or normal."""
    end = "in the breast ultrasound image."
    if kind == "normal":
        return {"p0": "", **{f"p{index}": f"No tumor {end}" for index in range(1, 7)}}
    number = number_of_regions(mask)
    tumor, count = ("tumor" if number == 1 else "tumors"), in_words(number)
    size, shape = size_words(mask), f"{shape_word(mask)}-shaped"
    place = f"at the {location_words(mask)}"
    form = {"benign": "regular", "malignant": "irregular"}[kind]
    kinds = (kind, f"{form}-shaped")
    return {
        "p0": "",
        "p1": f"Tumor {end}",
        "p2": [f"{one.capitalize()} tumor {end}" for one in kinds],
        "p3": [f"{count.capitalize()} {one} {tumor} {end}" for one in kinds],
        "p4": [f"{count.capitalize()} {size} {one} {tumor} {end}" for one in kinds],
        "p5": [f"{count.capitalize()} {size} {one} {tumor} {place} {end}" for one in kinds],
        "p6": [f"{count.capitalize()} {size} {shape} {one} {tumor} {place} {end}" for one in (kind, form)],
    }


def camus(mask: Mask, target: str, known: Mapping[str, str]) -> Texts:
    """p0 to p7 of one structure of the heart; `known` are view, phase, sex, age (digits) and quality."""
    name = target.capitalize()
    who = f"{in_words(int(known['age']))}-year-old {known['sex']}"
    shaped = f"{name} of {shape_word(mask)} shape"

    def both(before: str, *after: str) -> list[str]:
        return [f"{' '.join((before, where, *after))}." for where in ("of the heart", "in the cardiac ultrasound")]

    view, phase = f"in {known['view']}", f"at {known['phase']}"
    quality = f"with {known['quality']} image quality"
    return {
        "p0": "",
        "p1": both(name),
        "p2": both(f"{name} {view}"),
        "p3": both(f"{name} {view}", phase),
        "p4": both(f"{name} {view}", phase, f"of a {known['sex']}"),
        "p5": both(f"{name} {view}", phase, f"of a {who}"),
        "p6": both(f"{name} {view}", phase, f"of a {who} {quality}"),
        "p7": both(f"{shaped} {view}", phase, f"of a {who} {quality}"),
    }


def chexlocalize(mask: Mask, finding: str, view: str, findings: Sequence[str]) -> Texts:
    """p0 to p6 of one finding; `findings` are all of the image."""
    seen = f"in the {view} of a Chest Xray"
    listed = ", ".join(findings).replace("Airspace Opacity", "Lung Opacity") + " are present."
    shaped = f"{finding} of shape {shape_word(mask)}"
    placed = f"{shaped}, and located in {location_words(mask)} of the {view} of a Chest Xray."
    return {
        "p0": "",
        "p1": f"{finding} in a chest Xray.",
        "p2": f"{finding} {seen}.",
        "p3": f"{shaped} {seen}.",
        "p4": placed,
        "p5": f"{placed} {listed}",
        "p6": f"{finding} in a Chest Xray. {listed} ",  # the published ones end so
    }


def report(mask: Mask, target: str) -> Texts:
    """What preparing names "empty", "class" and "text"."""
    number = number_of_regions(mask)
    count = in_words(number).capitalize()
    areas = "area" if number == 1 else "areas"
    said = f"{count} {size_words(mask)} {areas} of {target}, {location_words(mask)}."
    return {"empty": "", "class": target, "text": said}
