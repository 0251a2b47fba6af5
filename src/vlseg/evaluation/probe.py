"""The queries of a language probe: every sample asked in other words, with other words, without words, without eyes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from vlseg.data import load_image
from vlseg.evaluation.query import DISJOINT_DICE, Query, Truth, View
from vlseg.evaluation.scene import Scene, denies
from vlseg.metrics import dice_score
from vlseg.prompts import (
    FOREIGN,
    UNCOMMON,
    Phrase,
    Prompted,
    chooser,
    meaning,
    misspelt,
    negated,
    other_side,
    other_values,
    paraphrased,
    same_words,
    shuffled,
    translated,
    with_words,
)
from vlseg.records import Sample

ORIGINAL, NAMED = {"against": "original"}, {"against": "named"}


def probe_queries(scene: Scene) -> list[Query]:
    """All queries, those of a sample together, its own prompt first: the one the others are compared with.

    Only present targets are asked about in other words; absent ones are asked for with their own prompt.
    """
    queries: list[Query] = []
    for item in scene.prompted:
        text = item.wordings[0]
        queries.append(Query(item, text, item.sample, (Truth(item.sample),), "clean", reference=True))
        if not scene.masks[item.sample.id].any():
            continue
        queries += _in_other_words(scene, item, text)
        queries += _attribute_by_attribute(scene, item, text)
        queries += _of_other_things(scene, item, text)
    return queries + selection_queries(scene) + blind_queries(scene)


def _query(item: Prompted, text: str, condition: str, *truths: Truth, **more: Any) -> Query:
    return Query(item, text, more.pop("named", item.sample), truths, condition, **more)


def _in_other_words(scene: Scene, item: Prompted, text: str) -> list[Query]:
    """The same thing said otherwise, or less of it: the original target stays the truth."""
    truth = Truth(item.sample, ORIGINAL)
    if not text.strip():  # the empty prompt has no other words
        return []
    target = item.sample.target
    rng = _rng(scene, item)
    said: dict[str, str | None] = {
        "empty": "",
        "class_only": target,
        "paraphrase": next((one for one in item.wordings[1:] if not same_words(one, text)), None)
        or paraphrased(text, rng("paraphrase")),
        "typos": misspelt(text, rng("typos")),
        "shuffled": shuffled(text, rng("shuffled")),
        **{f"language_{code}": words for code, words in translated(target).items()},
    }
    return [
        _query(item, words, name, truth)
        for name, words in said.items()
        if words is not None and not same_words(words, text)
    ]


def _attribute_by_attribute(scene: Scene, item: Prompted, text: str) -> list[Query]:
    """Each attribute with another value of the split's, without its words, and with a meaningless word."""
    queries = []
    truth = Truth(item.sample, ORIGINAL)
    for phrase in scene.known[item.sample.id]:
        rng = _rng(scene, item)(phrase.attribute)
        others = other_values(scene.values, phrase)
        wrong = (with_words(text, phrase, value) for value in rng.sample(others, len(others)))
        changed = next((one for one in wrong if not _names_own(scene, item, one)), None)
        if changed is not None:
            named = _named_by(scene, item, changed)
            truths = (truth,) if named is None else (truth, Truth(named, NAMED))
            queries.append(_query(item, changed, f"wrong_{phrase.attribute}", *truths, named=named or item.sample))
        queries.append(_query(item, with_words(text, phrase, ""), f"without_{phrase.attribute}", truth))
        strange = rng.choice(UNCOMMON)
        queries.append(_query(item, with_words(text, phrase, strange), f"random_{phrase.attribute}", truth))
    return queries


def _of_other_things(scene: Scene, item: Prompted, text: str) -> list[Query]:
    """Prompts that name something else: another image's, another structure's, nothing, or what no image holds."""
    rng = _rng(scene, item)
    original = Truth(item.sample, ORIGINAL)
    nothing = Truth(item.sample, NAMED, empty=True)
    queries = [_query(item, rng("foreign").choice(FOREIGN), "foreign", original, nothing)]
    if text.strip() and not denies(text):
        queries.append(_query(item, negated(text), "negation", original, nothing))
    mirrored = other_side(text)
    if mirrored is not None and not _names_own(scene, item, mirrored):
        meant = _named_by(scene, item, mirrored)
        truths = (original,) if meant is None else (original, Truth(meant, NAMED))
        queries.append(_query(item, mirrored, "other_side", *truths, named=meant or item.sample))
    other = _of_another_image(scene, item, rng("other_image"))
    if other is not None:
        meant = _named_by(scene, item, other)
        truths = (original,) if meant is None else (original, Truth(meant, NAMED))
        queries.append(_query(item, other, "other_image_prompt", *truths, named=meant or item.sample))
    others = [one for one in _of_image(scene, item) if not _names_own(scene, item, one.wordings[0])]
    partner = next((one for one in others if _apart(scene, item.sample, one.sample)), None)
    if partner is not None:
        truths = (original, Truth(partner.sample, NAMED))
        queries.append(_query(item, partner.wordings[0], "swapped", *truths, named=partner.sample))
    absent = next((one for one in others if not scene.masks[one.sample.id].any() and not denies(one.wordings[0])), None)
    if absent is not None:
        truths = (original, Truth(absent.sample, NAMED))
        queries.append(_query(item, absent.wordings[0], "absent_structure", *truths, named=absent.sample))
    return queries


def _of_another_image(scene: Scene, item: Prompted, rng: Random) -> str | None:
    """The prompt of another image for the same structure, which does not fit the target as well."""
    texts = scene.texts.get(item.sample.target, {})
    for text in rng.sample(list(texts), len(texts)):
        elsewhere = [one for one in texts[text] if one.sample.image_id != item.sample.image_id]
        told = [scene.known[one.sample.id] for one in elsewhere[:1]]
        if told and not _names_own(scene, item, text) and not _fits(item.sample, scene.known[item.sample.id], told[0]):
            return text
    return None


def _named_by(scene: Scene, item: Prompted, text: str) -> Sample | None:
    """The other sample of the image that the text names, word by word."""
    named = (one for one in _of_image(scene, item) if any(same_words(text, wording) for wording in one.wordings))
    return next((one.sample for one in named), None)


def _names_own(scene: Scene, item: Prompted, text: str) -> bool:
    """The text is one of the target's own, or that of a sample of the image which overlaps with it."""
    if any(same_words(text, wording) for wording in item.wordings):
        return True
    named = _named_by(scene, item, text)
    return named is not None and bool(scene.masks[named.id].any()) and not _apart(scene, item.sample, named)


def _fits(sample: Sample, own: Sequence[Phrase], told: Sequence[Phrase]) -> bool:
    """Attributes that are told of something are the sample's own, as far as these are known."""
    values = {one.name: meaning(one.value) for one in sample.attributes}
    values |= {one.attribute: meaning(one.words) for one in own}
    return bool(told) and all(values.get(one.attribute, meaning(one.words)) == meaning(one.words) for one in told)


def blind_queries(scene: Scene) -> list[Query]:
    """The true prompts on an image that does not show the target: what the words alone give."""
    present = [item for item in scene.prompted if scene.masks[item.sample.id].any()]
    images = {item.sample.image_path: item.sample for item in scene.prompted}
    everywhere = {item.sample.image_path: item.sample for item in scene.all}
    queries = []
    if len(images) > 1:  # the mean of one image shows it
        mean = _mean_image(scene, tuple(images.values()))
        queries = [
            _query(item, item.wordings[0], "mean_image", Truth(item.sample, ORIGINAL), view=mean, elsewhere=True)
            for item in present
        ]
    if len(everywhere) < 2:
        return queries
    # One other image for all prompts of an image: it is read and encoded once.
    others: dict[Path, View] = {}
    for path, sample in images.items():
        rng = chooser(scene.seed, sample.dataset, sample.image_id, "other_image")
        others[path] = _showing(scene, rng.choice([one for name, one in everywhere.items() if name != path]))
    return queries + [
        _query(
            item,
            item.wordings[0],
            "other_image",
            Truth(item.sample, ORIGINAL),
            view=others[item.sample.image_path],
            elsewhere=True,
        )
        for item in present
    ]


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
            # Only the first wording is asked: where it is the same, no answer could tell the targets apart.
            if all(
                _apart(scene, item.sample, one.sample) and not same_words(item.wordings[0], one.wordings[0])
                for one in kept
            ):
                kept.append(item)
        if len(kept) >= 2:
            for item in kept:
                truths = tuple(
                    Truth(one.sample, {"asked": item.sample.id, "held_against": one.sample.id}) for one in kept
                )
                queries.append(_query(item, item.wordings[0], "selection", *truths))
    return queries


def _of_image(scene: Scene, item: Prompted) -> list[Prompted]:
    """The other samples of the image, in order, starting after this one."""
    items = scene.of_image[item.sample.image_id]
    position = next(place for place, one in enumerate(items) if one is item)
    return [*items[position + 1 :], *items[:position]]


def _apart(scene: Scene, first: Sample, second: Sample) -> bool:
    """Both are there and hardly overlap."""
    one, two = scene.masks[first.id], scene.masks[second.id]
    return bool(one.any() and two.any()) and dice_score(one, two) <= DISJOINT_DICE


def _rng(scene: Scene, item: Prompted) -> Callable[[str], Any]:
    return lambda condition: chooser(scene.seed, item.sample.dataset, item.sample.id, condition)


def _showing(scene: Scene, sample: Sample) -> View:
    """Another sample's image at the size of the one it takes the place of."""
    return lambda image: _resized(load_image(sample, scene.dataset.info), image.shape)


def _mean_image(scene: Scene, samples: Sequence[Sample]) -> View:
    """The mean of the samples' images, at the size of the one it takes the place of."""
    side = 128
    total = np.zeros((side, side, 3), dtype=np.float64)
    for sample in samples:
        total += _resized(load_image(sample, scene.dataset.info), (side, side))
    mean = (total / max(1, len(samples))).astype(np.float32)
    return lambda image: _resized(mean, image.shape)


def _resized(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if image.shape[:2] == tuple(shape[:2]):
        return image
    picture = Image.fromarray(np.round(np.clip(image, 0, 1) * 255).astype(np.uint8))
    resized = picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float32) / np.float32(255)
