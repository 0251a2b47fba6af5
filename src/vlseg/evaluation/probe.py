"""The queries of a language probe: every sample asked in other words, with other words, without words, without eyes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from vlseg.data import load_image
from vlseg.evaluation.query import DISJOINT_DICE, Query, Truth
from vlseg.metrics import dice_score
from vlseg.prompts import (
    FOREIGN,
    UNCOMMON,
    Phrase,
    Prompted,
    chooser,
    misspelt,
    negated,
    other_values,
    paraphrased,
    phrases,
    resolve_name,
    shuffled,
    translated,
    with_words,
)
from vlseg.records import Dataset, Sample

ORIGINAL, NAMED = {"against": "original"}, {"against": "named"}


@dataclass(frozen=True)
class Scene:
    """What the queries of one dataset are made from.

    Attributes:
        dataset: with all its splits, for the values that attributes take.
        prompted: the samples to ask about, with a truth.
        masks: (H, W) bool by sample id.
        seed: of every choice.
    """

    dataset: Dataset
    prompted: Sequence[Prompted]
    masks: Mapping[str, np.ndarray]
    seed: int


def probe_queries(scene: Scene) -> list[Query]:
    """All queries, those of a sample together, its own prompt first: the one the others are compared with.

    Only present targets are asked about in other words; absent ones are asked for with their own prompt.
    """
    key = resolve_name(scene.dataset, scene.prompted[0].prompt) if scene.prompted else None
    found = {item.sample.id: phrases(scene.dataset, item.sample, key, item.wordings[0]) for item in scene.prompted}
    every = [phrase for one in found.values() for phrase in one]
    mean = _mean_image(scene)
    queries: list[Query] = []
    for item in scene.prompted:
        text = item.wordings[0]
        queries.append(Query(item, text, item.sample, (Truth(item.sample),), "clean", reference=True))
        if not scene.masks[item.sample.id].any():
            continue
        queries += _in_other_words(scene, item, text)
        queries += _attribute_by_attribute(scene, item, text, found[item.sample.id], every)
        queries += _of_other_things(scene, item, text)
        queries += _without_eyes(scene, item, text, mean)
    return queries + selection_queries(scene)


def _query(item: Prompted, text: str, condition: str, *truths: Truth, **more: Any) -> Query:
    return Query(item, text, more.pop("named", item.sample), truths, condition, **more)


def _in_other_words(scene: Scene, item: Prompted, text: str) -> list[Query]:
    """The same thing said otherwise, or less of it: the original target stays the truth."""
    target = item.sample.target
    rng = _rng(scene, item)
    said: dict[str, str | None] = {
        "empty": "",
        "class_only": target if target and target.lower() != text.lower() else None,
        "paraphrase": next((one for one in item.wordings[1:] if one != text), None)
        or paraphrased(text, rng("paraphrase")),
        "typos": misspelt(text, rng("typos")),
        "shuffled": shuffled(text, rng("shuffled")),
        **{f"language_{code}": words for code, words in translated(target).items()},
    }
    truth = Truth(item.sample, ORIGINAL)
    return [_query(item, words, name, truth) for name, words in said.items() if words is not None]


def _attribute_by_attribute(
    scene: Scene, item: Prompted, text: str, own: Sequence[Phrase], every: Sequence[Phrase]
) -> list[Query]:
    """Each attribute with another value of the dataset's, without its words, and with a meaningless word."""
    queries = []
    truth = Truth(item.sample, ORIGINAL)
    for phrase in own:
        rng = _rng(scene, item)(phrase.attribute)
        others = other_values(every, phrase)
        if others:
            words = rng.choice(others)
            queries.append(_query(item, with_words(text, phrase, words), f"wrong_{phrase.attribute}", truth))
        queries.append(_query(item, with_words(text, phrase, ""), f"without_{phrase.attribute}", truth))
        strange = rng.choice(UNCOMMON)
        queries.append(_query(item, with_words(text, phrase, strange), f"random_{phrase.attribute}", truth))
    return queries


def _of_other_things(scene: Scene, item: Prompted, text: str) -> list[Query]:
    """Prompts that name something else: another image's, another structure's, nothing, or what no image holds."""
    rng = _rng(scene, item)
    original = Truth(item.sample, ORIGINAL)
    nothing = Truth(item.sample, NAMED, empty=True)
    queries = [
        _query(item, negated(text), "negation", original, nothing),
        _query(item, rng("foreign").choice(FOREIGN), "foreign", original, nothing),
    ]
    elsewhere = sorted(
        {
            other.wordings[0]
            for other in scene.prompted
            if other.sample.image_id != item.sample.image_id
            and other.sample.target == item.sample.target
            and other.wordings[0] != text
        }
    )
    if elsewhere:
        queries.append(_query(item, rng("other_image").choice(elsewhere), "other_image_prompt", original))
    partner = next((one for one in _same_image(scene, item) if _disjoint(scene, item.sample, one.sample)), None)
    if partner is not None:
        truths = (original, Truth(partner.sample, NAMED))
        queries.append(_query(item, partner.wordings[0], "swapped", *truths, named=partner.sample))
    return queries


def _without_eyes(scene: Scene, item: Prompted, text: str, mean: Callable[[Sample], np.ndarray]) -> list[Query]:
    """The true prompt on an image that does not show the target: what the words alone give."""
    truth = Truth(item.sample, ORIGINAL)
    queries = [_query(item, text, "mean_image", truth, image=mean(item.sample))]
    others = [one.sample for one in scene.prompted if one.sample.image_path != item.sample.image_path]
    if others:
        other = _rng(scene, item)("other_image").choice(others)
        shown = _resized(load_image(other, scene.dataset.info), scene.masks[item.sample.id].shape)
        queries.append(_query(item, text, "other_image", truth, image=shown))
    return queries


def selection_queries(scene: Scene) -> list[Query]:
    """Each of two or more disjoint present targets of an image asked for, and held against all of them."""
    by_image: dict[str, list[Prompted]] = {}
    for item in scene.prompted:
        if scene.masks[item.sample.id].any():
            by_image.setdefault(item.sample.image_id, []).append(item)
    queries = []
    for items in by_image.values():
        kept: list[Prompted] = []
        for item in items:
            if all(_disjoint(scene, item.sample, one.sample) and item.wordings != one.wordings for one in kept):
                kept.append(item)
        if len(kept) >= 2:
            for item in kept:
                truths = tuple(
                    Truth(one.sample, {"asked": item.sample.id, "held_against": one.sample.id}) for one in kept
                )
                queries.append(_query(item, item.wordings[0], "selection", *truths))
    return queries


def _same_image(scene: Scene, item: Prompted) -> list[Prompted]:
    """The other present targets of the image, in order, starting after this one."""
    items = [
        one
        for one in scene.prompted
        if one.sample.image_id == item.sample.image_id and scene.masks[one.sample.id].any()
    ]
    position = items.index(item)
    return items[position + 1 :] + items[:position]


def _disjoint(scene: Scene, first: Sample, second: Sample) -> bool:
    return dice_score(scene.masks[first.id], scene.masks[second.id]) <= DISJOINT_DICE


def _rng(scene: Scene, item: Prompted) -> Callable[[str], Any]:
    return lambda condition: chooser(scene.seed, item.sample.dataset, item.sample.id, condition)


def _mean_image(scene: Scene) -> Callable[[Sample], np.ndarray]:
    """The mean of the samples' images, at any sample's size; each image is read once."""
    side = 128
    images = {item.sample.image_path: item.sample for item in scene.prompted}
    total = np.zeros((side, side, 3), dtype=np.float64)
    for sample in images.values():
        total += _resized(load_image(sample, scene.dataset.info), (side, side))
    mean = (total / max(1, len(images))).astype(np.float32)
    sizes: dict[tuple[int, ...], np.ndarray] = {}

    def at(sample: Sample) -> np.ndarray:
        shape = scene.masks[sample.id].shape
        if shape not in sizes:
            sizes[shape] = _resized(mean, shape)
        return sizes[shape]

    return at


def _resized(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if image.shape[:2] == tuple(shape[:2]):
        return image
    picture = Image.fromarray(np.round(np.clip(image, 0, 1) * 255).astype(np.uint8))
    resized = picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float32) / np.float32(255)
