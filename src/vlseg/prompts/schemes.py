"""The published prompt schemes of MedVLSM: what p0..p9 hold and where the words came from.

Sources follow the released annotation scripts (Poudel et al. 2024): size, number and location are computed
from the ground-truth mask; shape and colour were asked of a question-answering model with the truth drawn into
the picture; CAMUS' view, phase, sex, age and quality come from file names and study files; CheXlocalize's lists
of findings and BUSI's tumour type are image-level labels.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vlseg.records import Sample, Source


@dataclass(frozen=True)
class Scheme:
    """One scheme.

    Attributes:
        name: of the scheme.
        aliases: content name by key.
        added: the sources that each key's words draw on, all of them.
        p1: what every p1 text looks like; group "target" names the structure, where the text does.
        target: the structure, where p1 does not name it.
    """

    name: str
    aliases: Mapping[str, str]
    added: Mapping[str, frozenset[Source]]
    p1: re.Pattern[str]
    target: str | None = None


def _sources(*names: Source) -> frozenset[Source]:
    return frozenset(names)


_POLYP_KEYS = ("empty", "class", "class+shape", "class+shape+color", "class+shape+color+size")
_POLYP_ALIASES = {
    **{f"p{index}": name for index, name in enumerate(_POLYP_KEYS)},
    "p5": "class+shape+color+size+number",
    "p6": "class+shape+color+size+number+location",
    "p7": "class+description",
    "p8": "class+shape+color+size+number+description",
    "p9": "class+shape+color+size+number+description+location",
}
_FROM_MASK = _sources("class", "mask")
_POLYP_SOURCES = {
    "p0": _sources("none"),
    "p1": _sources("class"),
    "p7": _sources("class"),
    **dict.fromkeys(("p2", "p3", "p4", "p5", "p6", "p8", "p9"), _FROM_MASK),
}

SCHEMES = (
    Scheme(
        "medvlsm-photo",
        _POLYP_ALIASES,
        _POLYP_SOURCES,
        re.compile(r"(?:no )?(?P<target>polyp|skin melanoma|foot ulcer)s?"),
    ),
    Scheme(
        "medvlsm-busi",
        {
            "p0": "empty",
            "p1": "class+presence",
            "p2": "class+presence+type",
            "p3": "class+presence+type+number",
            "p4": "class+presence+type+number+size",
            "p5": "class+presence+type+number+size+location",
            "p6": "class+presence+type+number+size+location+shape",
        },
        {
            "p0": _sources("none"),
            "p1": _sources("class", "label"),
            "p2": _sources("class", "label"),
            **dict.fromkeys(("p3", "p4", "p5", "p6"), _sources("class", "label", "mask")),
        },
        re.compile(r"(?:no )?tumou?r in the breast ultrasound image\.?"),
        target="breast tumor",
    ),
    Scheme(
        "medvlsm-camus",
        {
            "p0": "empty",
            "p1": "class",
            "p2": "class+view",
            "p3": "class+view+phase",
            "p4": "class+view+phase+sex",
            "p5": "class+view+phase+sex+age",
            "p6": "class+view+phase+sex+age+quality",
            "p7": "class+view+phase+sex+age+quality+shape",
        },
        {
            "p0": _sources("none"),
            "p1": _sources("class"),
            **dict.fromkeys(("p2", "p3", "p4", "p5", "p6"), _sources("class", "metadata")),
            "p7": _sources("class", "metadata", "mask"),
        },
        re.compile(r"(?P<target>.+?) (?:of the heart|in the cardiac ultrasound)\.?"),
    ),
    Scheme(
        "medvlsm-chexlocalize",
        {
            "p0": "empty",
            "p1": "class",
            "p2": "class+view",
            "p3": "class+view+shape",
            "p4": "class+view+shape+location",
            "p5": "class+view+shape+location+findings",
            "p6": "class+findings",
        },
        {
            "p0": _sources("none"),
            "p1": _sources("class"),
            "p2": _sources("class", "metadata"),
            **dict.fromkeys(("p3", "p4"), _sources("class", "metadata", "mask")),
            "p5": _sources("class", "metadata", "mask", "label"),
            "p6": _sources("class", "label"),
        },
        re.compile(r"(?P<target>.+?) in a chest x-?ray\.?"),
    ),
)


def recognise(samples: Sequence[Sample]) -> Scheme | None:
    """The scheme whose keys hold the samples' keys and whose p1 every p1 text is; None when there is none.

    Texts decide, never the folder's name: a folder can be called anything.
    """
    if not samples or any("p1" not in sample.prompts for sample in samples):
        return None
    keys = {key for sample in samples for key in sample.prompts}
    texts = {text.strip().lower() for sample in samples for text in sample.prompts["p1"]}
    for scheme in SCHEMES:
        if keys <= scheme.aliases.keys() and all(scheme.p1.fullmatch(text) for text in texts):
            return scheme
    return None


def announces_absence(samples: Sequence[Sample]) -> bool:
    """True when some p1 text begins with "no": it tells that the mask is empty, which is a label."""
    return any(text.strip().lower().startswith("no ") for sample in samples for text in sample.prompts.get("p1", ()))


def target_of(scheme: Scheme, sample: Sample) -> str | None:
    """The structure that the sample's p1 names, in lower case."""
    found = scheme.p1.fullmatch(sample.prompts["p1"][0].strip().lower())
    named = found.groupdict().get("target") if found else None
    return named or scheme.target
