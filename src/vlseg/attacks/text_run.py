"""An attack on the sentences of samples: images are encoded once, sentences in batches."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

import torch
from torch import Tensor

from vlseg.attacks.plan import Attack, Budget
from vlseg.attacks.run import clean_answers
from vlseg.attacks.samples import Samples, at_rest, parts, samples_of
from vlseg.attacks.search import Clean
from vlseg.attacks.text_embedding import TokenVectors
from vlseg.attacks.text_plan import TextAttack
from vlseg.attacks.text_words import Change, Lexicon, Wording, changed, changes, drawn, wording_of
from vlseg.models import ImageFeatures, Inputs, PromptFeatures, Rows, Segmenter
from vlseg.records import InputError

KEPT_BYTES = 2**28
"""Of sentences' features that are kept for other samples."""
RANKED = 4096
"""Sentences that a step of "gradient" estimates at most; drawn where there are more."""
GROUPS, REFERENCES = 4, 4
"""Numbers of tokens for which a step of "gradient" takes gradients, the commonest, and of how many sentences each."""


@dataclass(frozen=True)
class TextAttacked:
    """What became of N samples in S steps, in the samples' order.

    Attributes:
        attack: what was done.
        prompts, sentences: N, before and after; equal where nothing that was asked served the goal more.
        keeps_meaning: whether the sentences ask for the same. Where not, a worse mask may be the right answer.
        spent: (N,) of the budget.
        clean_dice, dice: (N,) Dice with the truth at the mask's own size, before and after.
        success: (N,) how far the goal was reached, in [0, 1].
        queries: (N,) sentences that the model was asked about this image, the clean one not counted.
        gradients: (N,) sentences whose gradient was taken besides.
        dices: (N, S + 1) Dice of the sentence that served the goal most so far, the clean one first.
    """

    attack: TextAttack
    prompts: list[str]
    sentences: list[str]
    keeps_meaning: bool
    spent: Tensor
    clean_dice: Tensor
    dice: Tensor
    success: Tensor
    queries: Tensor
    gradients: Tensor
    dices: Tensor


@dataclass(frozen=True)
class _Best:
    """What served the goal most so far: success decides, then the loss."""

    success: float
    loss: float
    dice: float
    wording: Wording

    @property
    def rank(self) -> tuple[float, float]:
        return self.success, self.loss


def run_text_attack(
    attack: TextAttack,
    model: Segmenter,
    images: Sequence[Tensor],
    prompts: Sequence[str],
    masks: Sequence[Tensor],
    *,
    lexicon: Lexicon | None = None,
    wanted: Sequence[Tensor] | None = None,
    threshold: float | None = None,
    rows: int = 16,
) -> TextAttacked:
    """Attack every sample's sentence; the image stays as it is.

    The Dice of a sample is that of the sentence that served the goal most among all that were asked, its own included:
    success at the image's own size and the threshold decides, among equals the loss. Draws derive from the seed and the
    sentence, so that samples of one sentence are asked the same where the search allows it, and these are read once.

    Args:
        attack: what to do.
        model: one that reads, on the device where it computes; left as it was.
        images: N of (3, H_i, W_i), RGB in [0, 1]; samples of one image share the tensor.
        prompts: N sentences.
        masks: N of (H_i, W_i), the truth, 0/1.
        lexicon: where words are from, and which ones no typo may make.
        wanted: N of (H_i, W_i), the mask to make, or to move to.
        threshold: on probabilities; None: the model's.
        rows: sentences in one pass.

    Raises:
        InputError: what does not fit together, a model that reads no sentences, or, of the method "gradient" and the
            source "near", one without token vectors.
    """
    lexicon = lexicon or Lexicon()
    _check(attack, model, lexicon)
    plain = Attack(Budget(epsilon=0, place="native"), attack.goal)
    with at_rest(model), torch.inference_mode(False), torch.no_grad():
        samples = samples_of(plain, model, images, prompts, masks, wanted, threshold)
        clean = clean_answers(samples, rows)
        reader = _Reader(attack, samples, lexicon, rows)
        found: list[tuple[list[_Best], int, int]] = [([], 0, 0)] * len(samples)
        for image in range(len(samples.canvases)):
            features = model.encode_image(samples.canvases[image].inputs)
            for number in (one for one in range(len(samples)) if samples.image[one] == image):
                asked = _Asked(reader, clean, number, features)
                found[number] = list(_search(asked)), asked.queries, asked.gradients
    last = [curve[-1] for curve, _, _ in found]
    return TextAttacked(
        attack,
        list(prompts),
        [one.wording.text for one in last],
        attack.keeps_meaning,
        spent=torch.tensor([one.wording.spent for one in last]),
        clean_dice=clean.dice,
        dice=torch.tensor([one.dice for one in last], dtype=torch.float64),
        success=torch.tensor([one.success for one in last], dtype=torch.float64),
        queries=torch.tensor([queries for _, queries, _ in found]),
        gradients=torch.tensor([gradients for _, _, gradients in found]),
        dices=torch.tensor([[one.dice for one in curve] for curve, _, _ in found], dtype=torch.float64),
    )


class _Reader:
    """The model as a reader of sentences: each is read once for all samples, as long as there is room."""

    def __init__(self, attack: TextAttack, samples: Samples, lexicon: Lexicon, rows: int) -> None:
        self.attack, self.samples, self.lexicon, self.rows = attack, samples, lexicon, rows
        self.kept: OrderedDict[str, PromptFeatures] = OrderedDict()
        self.device = samples.grids.device
        watched = attack.search.method == "gradient" or attack.budget.source == "near"
        self.vectors = TokenVectors(samples.model, self.device) if watched else None
        self.pool = cache(self._pools())

    def read(self, sentences: Sequence[str]) -> PromptFeatures:
        """One row for each."""
        new = [one for one in dict.fromkeys(sentences) if one not in self.kept]
        for some in parts(new, self.rows):
            tokens = self.samples.model.tokenize(some)
            features = self.samples.model.encode_prompts(None if tokens is None else tokens.to(self.device))
            assert features is not None  # the model reads
            self.kept.update((one, features[[row]]) for row, one in enumerate(some))
        found = Rows.join([self.kept[one] for one in sentences])
        size = sum(tensor.nbytes for tensor in found.tensors.values()) // len(sentences)
        while len(self.kept) * size > KEPT_BYTES and len(self.kept) > len(new):
            self.kept.popitem(last=False)
        return found

    def _pools(self) -> Callable[[str], Sequence[str]]:
        """What may be put in a word's place."""
        source = self.attack.budget.source
        if source == "near" and self.vectors is not None:
            return self.vectors.nearest(self.lexicon.vocabulary)
        if source == "synonyms":
            return lambda word: self.lexicon.synonyms.get(word, ())
        return lambda word: self.lexicon.vocabulary


class _Asked:
    """One sample, asked with other sentences."""

    def __init__(self, reader: _Reader, clean: Clean, number: int, features: ImageFeatures) -> None:
        self.reader, self.clean, self.number, self.features = reader, clean, number, features
        self.samples, self.attack = reader.samples, reader.attack
        self.inputs: Inputs = self.samples.canvas(number).inputs
        self.prompt = self.samples.told[number]
        success, loss, dice = (float(one[number]) for one in (clean.success, clean.loss, clean.dice))
        self.start = _Best(success, loss, dice, wording_of(self.prompt))
        self.answered = {self.prompt: self.start}
        self.gradients = 0

    @property
    def queries(self) -> int:
        """Sentences asked so far but for its own."""
        return len(self.answered) - 1

    def ask(self, wordings: Sequence[Wording]) -> list[_Best]:
        """What comes of each; those that were asked before are known."""
        told = {one.text: one for one in wordings}
        for some in parts([text for text in told if text not in self.answered], self.reader.rows):
            logits = self._logits(self.reader.read(some))
            rows = [self.number] * len(some)
            answers = self.samples.answers(logits, self.inputs[[0] * len(some)])
            dice, success = self.samples.scores(answers, rows, [self.clean.areas[self.number]] * len(some))
            losses = self.samples.objective(rows).losses(logits)
            for row, text in enumerate(some):
                self.answered[text] = _Best(float(success[row]), float(losses[row]), float(dice[row]), told[text])
        return [self.answered[one.text] for one in wordings]

    def losses(self, prompts: PromptFeatures) -> Tensor:
        """Of sentences, with their gradients."""
        return self.samples.objective([self.number] * len(prompts)).losses(self._logits(prompts))

    def rng(self, *what: object) -> Random:
        """Draws for this sentence, whatever the image."""
        told = ("words", self.attack.search.seed, self.prompt, *what)
        return Random("\x1f".join(map(str, told)))

    def _logits(self, prompts: PromptFeatures) -> Tensor:
        logits = self.samples.model.decode(self.features[[0] * len(prompts)], prompts).logits
        return logits[:, :1]


def _search(asked: _Asked) -> Iterator[_Best]:
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


def _drawn(wording: Wording, reader: _Reader, rng: Random) -> Wording:
    return drawn(wording, reader.attack.budget, reader.lexicon, reader.pool, rng)


def _chosen(asked: _Asked, current: Wording, step: int) -> list[Wording]:
    """The sentences to ask, one change away from the current one."""
    reader, found = asked.reader, asked.attack.search
    every = changes(current, asked.attack.budget, reader.lexicon, reader.pool)
    rng = asked.rng("step", step, current.text)
    if found.method == "greedy":
        return _applied(current, every, found.candidates, rng)
    some = _applied(current, every, RANKED, rng)
    return _ranked(asked, some)[: found.candidates] if len(some) > found.candidates else some


def _applied(current: Wording, every: Sequence[Change], count: int, rng: Random) -> list[Wording]:
    """At most so many of the changes, drawn where there are more."""
    some = every if len(every) <= count else rng.sample(every, count)
    return _distinct([changed(current, one) for one in some], current)


def _distinct(wordings: Sequence[Wording], but: Wording) -> list[Wording]:
    """One for each text."""
    told = {one.text: one for one in wordings}
    told.pop(but.text, None)
    return list(told.values())


def _ranked(asked: _Asked, some: list[Wording]) -> list[Wording]:
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


def _check(attack: TextAttack, model: Segmenter, lexicon: Lexicon) -> None:
    name, source = model.spec.name, attack.budget.source
    if not model.spec.uses_text:
        raise InputError(f"model: {name} reads no sentences, so there is none to attack; take run_attack on its images")
    if source in ("vocabulary", "near") and not lexicon.vocabulary:
        raise InputError("lexicon: has no vocabulary; give Lexicon(vocabulary_of(the dataset's sentences))")
    if source == "synonyms" and not lexicon.synonyms:
        raise InputError("lexicon: has no synonyms; give Lexicon(synonyms=...), or take the source vocabulary")
