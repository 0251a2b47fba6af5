"""A made-up dataset on which words matter: one image has different masks for different prompts.

The truth of a prompt is the union of all objects that satisfy it, worked out from the objects' attributes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlseg.metrics import Asked, Ceilings, ceilings
from vlseg.phantoms.scene import LEVELS, Level, Scene, draw_scene
from vlseg.records import SPLITS, InputError, replacing_folder, unknown_name

VERSION = 1
"""Of the generator: raised when the same seed gives other files."""
SMALLEST_SIZE = 32
ABSENT_SHARE = 0.15
CLASS_ONLY_SHARE = 0.35
"""Share of images with an entry that gives nothing but a class."""
IMAGES_PER_PATIENT = 3
DEFAULT_COUNTS: Mapping[str, int] = {"train": 1600, "val": 60, "test": 200}

Kind = Literal["object", "class", "absent"]


@dataclass(frozen=True)
class PhantomSummary:
    """What was written: where, and per split the number of entries and the ceilings of `class+attributes`."""

    path: Path
    entries: Mapping[str, int]
    ceilings: Mapping[str, Ceilings]


@dataclass(frozen=True)
class PhantomEntry:
    """One prompt of a phantom: the attributes it names, in words, and its truth.

    `named` always holds "class"; `mask` (size, size) is the union of the objects that satisfy `named`.
    """

    kind: Kind
    named: Mapping[str, str]
    wordings: tuple[str, ...]
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Phantom:
    """One image with its entries. `patient` is made up; a patient's images are all in one split."""

    id: str
    patient: str
    scene: Scene
    entries: tuple[PhantomEntry, ...]


def make_phantom(split: str, index: int, *, level: Level = "easy", size: int = 96, seed: int = 0) -> Phantom:
    """The `index`-th phantom of a split; depends on nothing but the arguments."""
    number = index // IMAGES_PER_PATIENT
    stream = list(SPLITS).index(split)
    rng = np.random.default_rng([seed, stream, 0, index])
    patient = np.random.default_rng([seed, stream, 1, number])
    scene = draw_scene(rng, patient, level, size)
    # Golden-ratio steps spread the draw evenly over any run of images: the share is met in small sets too.
    evenly = (index * 0.6180339887498949 + 0.37 * seed) % 1.0
    entries = _draw_entries(rng, scene, level, evenly)
    return Phantom(f"{split}-{index:05d}", f"{split}-patient-{number:04d}", scene, entries)


def satisfying(objects: tuple[Mapping[str, str], ...], named: Mapping[str, str]) -> list[int]:
    """Indices of the objects that have every named attribute."""
    return [i for i, thing in enumerate(objects) if all(thing[name] == value for name, value in named.items())]


def write_phantoms(
    out: Path,
    level: Level = "easy",
    counts: Mapping[str, int] = DEFAULT_COUNTS,
    size: int = 96,
    seed: int = 0,
) -> PhantomSummary:
    """Write a phantom dataset in medvlsm's layout: images/, masks/ (0/255), anns/*.json, dataset.json.

    Args:
        out: new or empty folder; appears whole or not at all.
        level: "easy" (two classes told by tone, clear contrast) or "hard" (class told by texture, more of
            all, absent prompts that miss by one attribute).
        counts: images per split; a split left out or 0 has no annotation file. The content of an image does
            not depend on them.
        size: side of the square images, pixels, at least 32.
        seed: not negative.

    Raises:
        InputError: a value out of range, or `out` holds something or cannot be written.
    """
    if level not in LEVELS:
        raise unknown_name("level", level, LEVELS)
    check_place(out, counts, size, seed)
    with replacing_folder(out) as part:
        return _write_all(part, out, level, counts, size, seed)


def check_place(out: Path, counts: Mapping[str, int], size: int, seed: int) -> None:
    """Raises: InputError: `out` is in use, an unknown split, or a number out of range."""
    for split, count in counts.items():
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        if count < 0:
            raise InputError(f"counts: {split} is {count}; give the number of images, 0 or more")
    if not sum(counts.values()):
        raise InputError("counts: no images asked for; give at least one split a number above 0")
    if size < SMALLEST_SIZE:
        raise InputError(f"size: {size} is too small to draw in; give at least {SMALLEST_SIZE}")
    if seed < 0:
        raise InputError(f"seed: {seed} is negative; give 0 or more")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"out: {out} is not an empty folder; choose another one or remove it")


def _write_all(part: Path, out: Path, level: Level, counts: Mapping[str, int], size: int, seed: int) -> PhantomSummary:
    for folder in ("images", "masks", "anns"):
        (part / folder).mkdir()
    entries: dict[str, int] = {}
    found: dict[str, Ceilings] = {}
    for split in SPLITS:
        if not counts.get(split):
            continue
        rows: list[dict[str, Any]] = []
        asked: list[Asked] = []
        for index in range(counts[split]):
            phantom = make_phantom(split, index, level=level, size=size, seed=seed)
            rows += _write_phantom(part, phantom)
            asked += [Asked(index, one.named["class"], frozenset(one.wordings), one.mask) for one in phantom.entries]
        _write_json(part / "anns" / f"{split}.json", rows)
        entries[split], found[split] = len(rows), ceilings(asked)
    _write_json(part / "dataset.json", _card(level, size, seed, found))
    return PhantomSummary(out, entries, found)


def _write_phantom(folder: Path, phantom: Phantom) -> list[dict[str, Any]]:
    """Write the picture and its masks; return the annotation entries."""
    # Light compression: writing is the larger part of the time, and the files are small anyway.
    Image.fromarray(phantom.scene.image).save(folder / "images" / f"{phantom.id}.png", compress_level=1)
    rows = []
    for number, entry in enumerate(phantom.entries):
        identity = f"{phantom.id}-{number}"
        pixels = np.where(entry.mask, 255, 0).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "masks" / f"{identity}.png", compress_level=1)
        rows.append(
            {
                "id": identity,
                "image_id": phantom.id,
                "img_name": f"{phantom.id}.png",
                "mask_name": f"{identity}.png",
                "target": entry.named["class"],
                "group": phantom.patient,
                "prompts": {"empty": "", "class": entry.named["class"], "class+attributes": list(entry.wordings)},
                "attributes": [
                    {"name": name, "value": value, "source": _source(name), "referring": name != "class"}
                    for name, value in entry.named.items()
                ],
            }
        )
    return rows


def _source(attribute: str) -> str:
    """The class is given; everything else about an object the generator knows from the truth."""
    return "class" if attribute == "class" else "mask"


def _card(level: Level, size: int, seed: int, found: Mapping[str, Ceilings]) -> dict[str, Any]:
    return {
        "name": f"phantom-{level}",
        "licence": "CC0-1.0",
        "targets": list(LEVELS[level].values["class"]),
        "groups_known": True,
        "symmetries": [],
        "prompt_sources": {"empty": ["none"], "class": ["class"], "class+attributes": ["class", "mask"]},
        "generator": {"level": level, "seed": seed, "size": size, "version": VERSION},
        "text_blind_ceiling": {split: one.text_blind for split, one in found.items()},
        "class_ceiling": {split: one.by_class for split, one in found.items()},
    }


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _draw_entries(rng: np.random.Generator, scene: Scene, level: Level, evenly: float) -> tuple[PhantomEntry, ...]:
    """Entries of one image; `evenly` in [0, 1) decides whether it has one that names something absent."""
    named: list[tuple[Kind, Mapping[str, str]]] = []
    for thing in scene.objects:
        named.append(("object", _name_object(rng, scene.objects, thing)))
    if rng.random() < CLASS_ONLY_SHARE:
        named.append(("class", {"class": str(rng.choice([thing["class"] for thing in scene.objects]))}))
    if evenly < len(named) * ABSENT_SHARE / (1 - ABSENT_SHARE):
        named.append(("absent", _name_absent(rng, scene.objects, level)))
    return tuple(PhantomEntry(kind, words, _wordings(rng, words, level), _truth(scene, words)) for kind, words in named)


def _truth(scene: Scene, named: Mapping[str, str]) -> NDArray[np.bool_]:
    return np.asarray(scene.masks[satisfying(scene.objects, named)].any(axis=0))


def _name_object(
    rng: np.random.Generator, objects: tuple[Mapping[str, str], ...], thing: Mapping[str, str]
) -> dict[str, str]:
    """The class and most attributes, so that nothing else in the image fits; any one may be left out."""
    order = [str(name) for name in rng.permutation([name for name in thing if name != "class"])]
    keep = len(order) - int(rng.random() < 0.6)
    while True:
        named = {"class": thing["class"]} | {name: thing[name] for name in order[:keep]}
        if len(satisfying(objects, named)) == 1:
            return named
        keep += 1  # ends: all names include the location, which no two objects share


def _name_absent(rng: np.random.Generator, objects: tuple[Mapping[str, str], ...], level: Level) -> Mapping[str, str]:
    """Something that is not there. Easy: at least two attributes off every object; hard: one off some object."""
    choices = LEVELS[level].values
    classes = [name for name in choices["class"] if not satisfying(objects, {"class": name})]
    if classes and rng.random() < 0.3:
        return {"class": str(rng.choice(classes))}
    candidates = []
    for values in product(*choices.values()):
        named = dict(zip(choices, values, strict=True))
        misses = min(sum(thing[name] != value for name, value in named.items()) for thing in objects)
        if misses == 1 if level == "hard" else misses >= 2:
            candidates.append(named)
    return candidates[int(rng.integers(len(candidates)))]


def _wordings(rng: np.random.Generator, named: Mapping[str, str], level: Level) -> tuple[str, ...]:
    """The named attributes as text: one wording of two (easy), or both (hard)."""
    before = [named[name] for name in ("size", "shape", "brightness") if name in named]
    place = named.get("location")
    phrase = " ".join([*before, named["class"]]) + (f" in the {place}" if place else "")
    listed = ", ".join([named["class"], *before, *([place] if place else [])])
    if len(named) == 1:
        return (named["class"],)
    if level == "hard":
        return (phrase, listed)
    return (phrase,) if rng.random() < 0.5 else (listed,)
