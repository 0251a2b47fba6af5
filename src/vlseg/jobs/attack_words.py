"""Attacks on the sentences of samples: what is found, which words it is made of, and rows of it."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vlseg.attacks import Lexicon, run_text_attack, vocabulary_of
from vlseg.evaluation import Answer, Prediction, Query, evaluate
from vlseg.evaluation.query import Truth
from vlseg.jobs.attack_parts import Advance, images_of, over_parts
from vlseg.jobs.attack_plan import Planned
from vlseg.jobs.attack_rows import Side, keep, truths, wanted_mask
from vlseg.jobs.attack_samples import Chosen
from vlseg.jobs.attack_search import Key, Some, attackable, key_of, read_some
from vlseg.jobs.attack_words_plan import random_beside
from vlseg.jobs.datasets import Pool
from vlseg.jobs.scoring import Job
from vlseg.metrics import ATTACKED
from vlseg.prompts import Prompted, known_words, synonyms, texts_of
from vlseg.records import InputError, SampleScore

Sentences = Mapping[str, Mapping[Key, str]]
"""By attack, of each sample whose sentence it can change."""


def check_readers(jobs: Sequence[Job]) -> None:
    """Sentences are asked of models that read them.

    Raises:
        InputError: one reads none.
    """
    for job in jobs:
        if job.spec is None or not job.spec.uses_text:
            raise InputError(
                f"--words: {job.setting.run_id} ({job.setting.model}) reads no sentences, so there is none to attack; "
                "attack its images"
            )


def lexicon_of(pool: Pool, plans: Sequence[Planned]) -> Lexicon:
    """The words of all sentences of the prompt in all splits, their synonyms, and English words that no typo may make.

    Raises:
        InputError: they hold nothing that the attacks could change.
    """
    vocabulary = vocabulary_of(text for dataset in pool.datasets for text in texts_of(dataset, pool.prompt))
    lexicon = Lexicon(vocabulary, {word: found for word in vocabulary if (found := synonyms(word))}, known_words())
    if not vocabulary:
        raise InputError(f"--words: the sentences of prompt '{pool.prompt}' of {pool.name} hold no word; give --prompt")
    if not any(_can_change(one, lexicon) for one in plans):
        raise InputError(
            f"--words: no synonym is known of any word of prompt '{pool.prompt}' of {pool.name}; take typos or "
            "vocabulary"
        )
    return lexicon


def lexicon_facts(lexicon: Lexicon) -> dict[str, Any]:
    """What the record says of a lexicon: how many words, of how many a synonym is known, and a digest of all."""
    known = sorted(known_words())
    whole = [list(lexicon.vocabulary), {word: list(some) for word, some in lexicon.synonyms.items()}, known]
    digest = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]
    return {"words": len(lexicon.vocabulary), "with_synonyms": len(lexicon.synonyms), "digest": digest}


def words_marks(plans: Sequence[Planned]) -> list[str]:
    """What the evaluation's name says of its attacks."""
    attacks = [one.words for one in plans if one.words is not None and not one.control]
    kinds = [one.budget.source or one.budget.unit if one.budget.unit == "words" else one.budget.unit for one in attacks]
    methods = [one.search.method for one in attacks if one.search.method != "greedy"]
    goals = [one.goal.kind for one in attacks if one.goal.kind != "untargeted"]
    return list(dict.fromkeys(["words", *kinds, *methods, *goals]))


def attack_words(sides: Sequence[Side], chosen: Chosen, lexicon: Lexicon) -> None:
    """Rows of all sides: sentences are found on the first, and asked of all."""
    first = sides[0]

    def work(number: int, items: list[Prompted], advance: Advance) -> None:
        some = read_some(items, first.job.pool.infos, attackable(first.job, voting=True), chosen.wanted)
        found: dict[str, dict[Key, str]] = {}
        asked: dict[str, list[tuple[int, int]]] = {}
        for one in sorted(first.planned, key=lambda one: one.control):
            found[one.name], asked[one.name] = _found(one, first, some, lexicon, found)
            advance(len(images_of(items)))
        for side in sides:
            rows = _rows(side, items, chosen, found)
            keep(side, rows, number, asked)

    over_parts(sides, chosen.items, work)


def _found(
    one: Planned, first: Side, some: Some, lexicon: Lexicon, found: Sentences
) -> tuple[dict[Key, str], list[tuple[int, int]]]:
    """The sentences that an attack came to, and how many it asked; of samples with something to change alone.

    A control stands for the samples that the attacks beside it (in `found`) could change: where no draw gave another
    sentence (two swaps of two words), for its own.
    """
    assert one.words is not None
    if not _can_change(one, lexicon):
        return {}, []
    target = attackable(first.job, voting=one.words.search.method != "gradient")
    done = run_text_attack(
        one.words,
        target.model,
        some.images,
        some.prompts,
        some.masks,
        lexicon=lexicon,
        wanted=some.wanted,
        threshold=target.threshold,
    )
    changed = _beside(one, first, found) if one.control else set()
    sentences, asked = {}, []
    for key, sentence, queries, gradients in zip(
        some.keys, done.sentences, done.queries.tolist(), done.gradients.tolist(), strict=True
    ):
        if key in changed if one.control else queries > 0:
            sentences[key] = sentence
            asked.append((queries, gradients))
    return sentences, asked


def _beside(control: Planned, first: Side, found: Sentences) -> set[Key]:
    """The samples that the attacks which a control stands beside could change."""
    plans = [one for one in first.planned if one.words is not None and not one.control]
    return {key for one in plans if one.words and random_beside(one.words) == control.words for key in found[one.name]}


def _can_change(one: Planned, lexicon: Lexicon) -> bool:
    assert one.words is not None
    return one.words.budget.source != "synonyms" or any(lexicon.synonyms.values())


def _rows(side: Side, items: Sequence[Prompted], chosen: Chosen, found: Sentences) -> list[SampleScore]:
    """Of the samples as they are, and with the sentences that were found."""
    queries = []
    for item in (side.items[key_of(item)] for item in items):
        queries.append(Query(item, item.wordings[0], item.sample, (Truth(item.sample),), reference=True))
        wanted = wanted_mask(item, chosen, side.job)
        for one in side.planned:
            sentence = found[one.name].get(key_of(item))
            if sentence is not None:
                queries.append(Query(item, sentence, item.sample, truths(one, item, wanted), ATTACKED))
    job = side.job
    return evaluate(_once(job.answer), queries, job.pool.infos, job.setting, pictures=side.pictures)


def _once(answer: Answer) -> Answer:
    """Each sentence is asked once on an image: what is not changed has the clean answer to the last bit."""

    def answered(image: np.ndarray, group: Sequence[Query]) -> Iterable[Prediction]:
        first: dict[str, Query] = {}
        for query in group:
            first.setdefault(query.wording, query)
        known = dict(zip(first, answer(image, list(first.values())), strict=True))
        return [known[query.wording] for query in group]

    return answered
