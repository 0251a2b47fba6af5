"""Sentences read once for all samples, and one image asked with them."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from torch import Tensor

from vlseg.attacks.samples import Samples, parts
from vlseg.attacks.text_embedding import TokenVectors
from vlseg.attacks.text_plan import TextAttack
from vlseg.attacks.text_words import Lexicon, Wording, wording_of
from vlseg.models import ImageFeatures, Inputs, PromptFeatures, Rows

KEPT_BYTES = 2**28
"""Of sentences' features that are kept for other samples."""


@dataclass(frozen=True)
class Best:
    """What served the goal most so far: success decides, then the loss."""

    success: float
    loss: float
    dice: float
    wording: Wording

    @property
    def rank(self) -> tuple[float, float]:
        """Larger is better."""
        return self.success, self.loss


class Reader:
    """The model as a reader of sentences: each is read once for all samples, as long as there is room."""

    def __init__(self, attack: TextAttack, samples: Samples, lexicon: Lexicon, rows: int) -> None:
        self.attack, self.samples, self.lexicon, self.rows = attack, samples, lexicon, rows
        told = samples.prompts
        assert told is not None  # the model reads
        rows_of = dict(zip(samples.told, samples.prompt, strict=True))
        self.kept = OrderedDict((text, told[[row]]) for text, row in rows_of.items())
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


class Asked:
    """One sample, asked with other sentences."""

    def __init__(self, reader: Reader, number: int, features: ImageFeatures) -> None:
        self.reader, self.number, self.features = reader, number, features
        self.samples, self.attack = reader.samples, reader.attack
        self.inputs: Inputs = self.samples.canvas(number).inputs
        self.prompt = self.samples.told[number]
        self.answered: dict[str, Best] = {}
        self.gradients = 0
        self.area: int | None = None  # of the answer to its own sentence, which is asked first
        (self.start,) = self.ask([wording_of(self.prompt)])

    @property
    def queries(self) -> int:
        """Sentences asked so far but for its own."""
        return len(self.answered) - 1

    def ask(self, wordings: Sequence[Wording]) -> list[Best]:
        """What comes of each; those that were asked before are known."""
        told = {one.text: one for one in wordings}
        for some in parts([text for text in told if text not in self.answered], self.reader.rows):
            logits = self._logits(self.reader.read(some))
            rows = [self.number] * len(some)
            answers = self.samples.answers(logits, self.inputs[[0] * len(some)])
            if self.area is None:
                self.area = int(answers[0].sum())
            dice, success = self.samples.scores(answers, rows, [self.area] * len(some))
            losses = self.samples.objective(rows).losses(logits)
            for row, text in enumerate(some):
                self.answered[text] = Best(float(success[row]), float(losses[row]), float(dice[row]), told[text])
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
