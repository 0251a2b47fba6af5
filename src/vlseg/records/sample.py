"""What is segmented: samples, their prompts with provenance, and the dataset they belong to."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

Split = Literal["train", "val", "test"]
SPLITS: tuple[str, ...] = get_args(Split)

Source = Literal["none", "class", "metadata", "image", "user", "label", "mask", "unknown"]
SOURCES: tuple[Source, ...] = get_args(Source)
LEAKING: frozenset[Source] = frozenset({"label", "mask", "unknown"})
"""Sources that a user at a bedside does not have: a prompt built from one is not deployable."""


def is_deployable(sources: frozenset[Source]) -> bool:
    """True when every word of the prompt could be written without sight of the truth."""
    return not sources & LEAKING


def verdict(sources: Collection[str]) -> str:
    """In words: "deployable", "sources unknown" or "leaks the label"."""
    leaks = LEAKING & set(sources)
    return "deployable" if not leaks else "sources unknown" if leaks == {"unknown"} else "leaks the label"


def origin(sources: Collection[str], *, made_up: bool = False) -> str:
    """Where a prompt's words come from, in words for tables, e.g. "from the mask".

    Args:
        sources: of the prompt.
        made_up: the images are phantoms: their words come from the scene.
    """
    leaks = [words for source, words in _ORIGIN.items() if source in sources]
    if made_up and leaks:
        return "from the made-up scene, as someone who sees it would say it"
    if leaks:
        return " and ".join(leaks)
    return "no words" if set(sources) <= {"none"} and sources else "a user has it" if sources else _ORIGIN["unknown"]


_ORIGIN = {"mask": "from the mask", "label": "from the image's label", "unknown": "source unknown"}


@dataclass(frozen=True)
class Attribute:
    """One described property: (name, value, source), e.g. ("size", "small", "mask").

    `referring` chooses between things present (side, place, size among several); the others
    only describe (age, sex, image quality).
    """

    name: str
    value: str
    source: Source = "unknown"
    referring: bool = False


@dataclass(frozen=True)
class Sample:
    """One thing to segment in one image.

    `mask_paths` are united: the truth is foreground where any of them is. Empty = unlabelled.
    `prompts` maps a prompt name to its wordings (one or more). `group` is the patient or the
    video sequence (None = unknown). `spacing` is (y, x) in mm with its source, or None. `reader` is
    who drew the mask, where several did and their masks are kept apart.
    """

    id: str
    image_id: str
    image_path: Path
    mask_paths: tuple[Path, ...]
    target: str | None
    prompts: Mapping[str, tuple[str, ...]]
    dataset: str
    split: str
    attributes: tuple[Attribute, ...] = ()
    prompt_sources: Mapping[str, frozenset[Source]] = field(default_factory=dict)
    group: str | None = None
    site: str | None = None
    spacing: tuple[float, float] | None = None
    spacing_source: str | None = None
    mask_value: int | None = None
    reader: str | None = None


@dataclass(frozen=True)
class IntensityPolicy:
    """How pixel values above 8 bit become [0, 1]; 8-bit files are always divided by 255.

    `full_range`: divide by the largest value of the file's type; `bits_stored`: divide by
    2**bits - 1; `percentile`: the file's own 0.5 to 99.5 percentiles; `window`: low to high.
    """

    kind: Literal["full_range", "bits_stored", "percentile", "window"] = "full_range"
    bits: int | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class DatasetInfo:
    """What holds for the whole set.

    `prompt_sources` is the provenance per prompt name, over the whole set (a leak is a property
    of the scheme, not of one string). `mask_max` is the largest value met in the set's masks;
    foreground is above half of it; `mask_value` is the foreground's value where entries give none. Image and mask
    files lie below `files`, which is `root` unless dataset.json points elsewhere: in images/ and masks/, or with
    `names_from_root` wherever its layout has them; `masks` is the folder from which masks are named, where that is not
    `files`. With `absent`, a target that an image in another layout has no object of is an entry with an empty mask.
    `left_out` says in words what was found and not used.
    `symmetries` are the allowed ones of
    ("horizontal", "vertical", "rotation"). `aliases` maps p0..p9 to content names. `generator` says what drew
    the images of a phantom; empty = they were taken. `modality` says with what, in the words of the cards.
    """

    name: str
    root: Path
    files: Path
    names_from_root: bool = False
    masks: Path | None = None
    absent: bool = False
    left_out: tuple[str, ...] = ()
    licence: str | None = None
    targets: tuple[str, ...] = ()
    intensity: IntensityPolicy = IntensityPolicy()
    symmetries: frozenset[str] = frozenset()
    groups_known: bool = False
    scheme: str | None = None
    prompt_sources: Mapping[str, frozenset[Source]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    mask_max: int = 255
    mask_value: int | None = None
    fingerprint: str = ""
    text_blind_ceiling: float | None = None
    generator: Mapping[str, Any] = field(default_factory=dict)
    modality: str = ""


@dataclass(frozen=True)
class Dataset:
    """The info and the samples, in a fixed order (split, then order of the annotation file)."""

    info: DatasetInfo
    samples: tuple[Sample, ...]

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of one split, in order."""
        return tuple(sample for sample in self.samples if sample.split == name)
