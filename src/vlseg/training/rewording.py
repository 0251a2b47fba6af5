"""Other words in training for what an image's prompt says: the class alone, or less of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vlseg.data.seeds import generator
from vlseg.prompts import Prompted, phrases, with_words
from vlseg.records import Dataset, DatasetInfo


@dataclass(frozen=True)
class Rewording:
    """How an epoch's prompts are changed: a function of (seed, epoch, sample) alone.

    Attributes:
        seed, epoch: of the choices.
        class_share: probability that a prompt is replaced by its target's name.
        dropout: probability that an attribute's words are left out, each for itself.
        infos: dataset info by dataset name.
    """

    seed: int
    epoch: int
    class_share: float
    dropout: float
    infos: Mapping[str, DatasetInfo]

    def text(self, item: Prompted, text: str, others: Sequence[Prompted]) -> str:
        """What the model is told of a sample instead of `text`.

        The class takes a prompt's place only where its truth is the same: `others`, the samples of the image, hold
        no further object of that target. The empty prompt stays empty.
        """
        if not text.strip():
            return text
        rng = generator(self.seed, "rewording", self.epoch, item.sample.dataset, item.sample.id)
        if rng.random() < self.class_share and _alone(item, others):
            return item.sample.target or text
        return self._shortened(item, text, rng) if self.dropout else text

    def _shortened(self, item: Prompted, text: str, rng: np.random.Generator) -> str:
        """Without the words of some attributes; what is left has words."""
        sample, dataset = item.sample, Dataset(self.infos[item.sample.dataset], ())
        by_alias = {alias: key for key, alias in dataset.info.aliases.items()}
        key = item.prompt if item.prompt in sample.prompts else by_alias.get(item.prompt)
        names = list(dict.fromkeys(phrase.attribute for phrase in phrases(dataset, sample, key, text)))
        for name in [name for name in names if rng.random() < self.dropout]:
            phrase = next((one for one in phrases(dataset, sample, key, text) if one.attribute == name), None)
            text = (with_words(text, phrase, "") or text) if phrase else text
        return text


def _alone(item: Prompted, others: Sequence[Prompted]) -> bool:
    """No other sample of the image, as the same reader sees it, is of the target."""
    same = [one for one in others if (one.sample.target, one.sample.reader) == (item.sample.target, item.sample.reader)]
    return item.sample.target is not None and len(same) <= 1
