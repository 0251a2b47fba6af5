"""Looking for a sentence, step by step."""

from collections.abc import Iterator, Sequence
from random import Random

import torch

from vlseg.attacks.text_asked import Asked, Best, Reader
from vlseg.attacks.text_words import Change, Wording, changed, changes, drawn

RANKED = 4096
"""Sentences that a step of "gradient" estimates at most; drawn where there are more."""
GROUPS, REFERENCES = 4, 4
"""Numbers of tokens for which a step of "gradient" takes gradients, the commonest, and of how many sentences each."""


def search_words(asked: Asked) -> Iterator[Best]:
    """The best so far: at the start and after each step."""
    reader, found = asked.reader, asked.attack.search
    start = best = asked.start
    current = start.wording
    yield best
    for step in range(asked.attack.steps):
        if found.method == "random":
            rng = asked.rng("random", step)
            made = [_drawn(start.wording, reader, rng) for _ in range(found.candidates)]
            some = _distinct(made, start.wording)
        else:
            some = _chosen(asked, current, step)
        if some:
            answers = asked.ask(some)
            at = max(range(len(some)), key=lambda one: answers[one].rank)
            current = some[at]
            if answers[at].rank > best.rank:
                best = answers[at]
        yield best


def _drawn(wording: Wording, reader: Reader, rng: Random) -> Wording:
    return drawn(wording, reader.attack.budget, reader.lexicon, reader.pool, rng)


def _chosen(asked: Asked, current: Wording, step: int) -> list[Wording]:
    """The sentences to ask, one change away from the current one.

    Estimates can mislead, most where vectors of unknown words are random: half of the sentences are drawn all the same.
    """
    reader, found = asked.reader, asked.attack.search
    every = changes(current, asked.attack.budget, reader.lexicon, reader.pool)
    rng = asked.rng("step", step, current.text)
    if found.method == "greedy":
        return _applied(current, every, found.candidates, rng)
    some = _applied(current, every, RANKED, rng)
    if len(some) <= found.candidates:
        return some
    ranked, first = _ranked(asked, some), -(-found.candidates // 2)
    return [*ranked[:first], *rng.sample(ranked[first:], found.candidates - first)]


def _applied(current: Wording, every: Sequence[Change], count: int, rng: Random) -> list[Wording]:
    """At most so many of the changes, drawn where there are more."""
    some = every if len(every) <= count else rng.sample(every, count)
    return _distinct([changed(current, one) for one in some], current)


def _distinct(wordings: Sequence[Wording], but: Wording) -> list[Wording]:
    """One for each text."""
    told = {one.text: one for one in wordings}
    told.pop(but.text, None)
    return list(told.values())


def _ranked(asked: Asked, some: list[Wording]) -> list[Wording]:
    """The sentences by their loss as gradients estimate it, the largest first.

    A gradient tells of sentences of as many tokens as the one it was taken at: sentences are estimated by number of
    tokens, the mean from `REFERENCES` drawn among them, that is, where one goes and not where one is. At a sentence
    that the model was trained on the loss is lowest, and the gradient there tells nothing of other words.
    """
    vectors = asked.reader.vectors
    assert vectors is not None  # made where the method is "gradient"
    ids = vectors.ids([one.text for one in some])
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, length in enumerate(vectors.lengths(ids)):
        groups.setdefault(length, []).append(row)
    known = sorted(groups.values(), key=len, reverse=True)[:GROUPS]
    rng = asked.rng("references", *(some[group[0]].text for group in known))
    taken = [rng.sample(group, min(REFERENCES, len(group))) for group in known]
    estimates = [float("-inf")] * len(some)
    for group, references in zip(known, taken, strict=True):
        losses, gradients = vectors.gradients([some[row].text for row in references], asked.losses)
        asked.gradients += len(references)
        there = [one[group] for one in ids]
        total = torch.zeros(len(group), device=losses.device)
        for place, row in enumerate(references):
            gained = vectors.slopes([one[place] for one in gradients], [one[row] for one in ids], there)
            total += (losses[place] + gained) / len(references)
        for row, estimate in zip(group, total.tolist(), strict=True):
            estimates[row] = estimate
    order = sorted(range(len(some)), key=lambda row: -estimates[row])
    return [some[row] for row in order]
