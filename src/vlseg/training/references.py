"""Whose mask a sample without one is held against: that of the labelled training sample with the closest text."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vlseg.data.seeds import generator
from vlseg.models import Rows, Segmenter
from vlseg.models.additions.extended import Extended
from vlseg.models.device import autocast
from vlseg.models.features import prompt_features
from vlseg.prompts import Prompted
from vlseg.training.batches import Known

TEXTS_AT_ONCE = 32


class References:
    """For each sample without a mask, the labelled ones whose text is closest by cosine similarity.

    A sample's text is its first wording. Samples of the same target are asked first; others only where no labelled one
    has it. Several labelled samples may have the closest text (all of them where the text is the class): one of them is
    drawn for each epoch, by (seed, epoch, sample), so that the loss is that of their mean in the long run.
    """

    def __init__(
        self,
        labelled: Sequence[Prompted],
        unlabelled: Sequence[Prompted],
        vectors: Callable[[Sequence[str]], Tensor],
        seed: int,
    ) -> None:
        """`vectors` gives one unit vector (D,) for each text."""
        self._seed = seed
        texts = list(dict.fromkeys(_text(item) for item in (*labelled, *unlabelled)))
        number = {text: row for row, text in enumerate(texts)}
        known = vectors(texts)
        self._by_target: dict[str | None, dict[str, list[Prompted]]] = {}
        for item in labelled:
            of_target = self._by_target.setdefault(item.sample.target, {})
            of_target.setdefault(_text(item), []).append(item)
        self._all: dict[str, list[Prompted]] = {}
        for of_target in self._by_target.values():
            for text, items in of_target.items():
                self._all.setdefault(text, []).extend(items)
        asked = dict.fromkeys((item.sample.target, _text(item)) for item in unlabelled)
        self._closest = {(target, text): self._find(target, text, number, known) for target, text in asked}

    def _find(self, target: str | None, text: str, number: Mapping[str, int], vectors: Tensor) -> str:
        """The labelled text that is closest; the same text where there is one."""
        known = list(self._candidates(target))
        if text in known:
            return text
        likeness = vectors[[number[one] for one in known]] @ vectors[number[text]]
        return known[int(likeness.argmax())]

    def _candidates(self, target: str | None) -> Mapping[str, list[Prompted]]:
        return self._by_target.get(target) or self._all

    def of(self, item: Prompted, epoch: int) -> Prompted:
        """The labelled sample whose mask a sample without one is held against in an epoch."""
        sample = item.sample
        closest = self._candidates(sample.target)[self._closest[sample.target, _text(item)]]
        return closest[int(generator(self._seed, "reference", epoch, sample.dataset, sample.id).integers(len(closest)))]


def text_vectors(
    model: Segmenter, texts: Sequence[str], device: torch.device, precision: str, known: Known | None = None
) -> Tensor:
    """A unit vector for each text, (N, D), from the prompt features that the model has now.

    A sentence's own vectors (B, D) where the model has any, one after another; else the means of its words' (B, L, D)
    over the words that are there. Of a text encoder that trains they are those that the run starts from.
    """
    found = []
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        some = texts[start : start + TEXTS_AT_ONCE]
        if known is not None and known.prompts:
            rows = [prompt_features(model, known.store, text, device=device, precision=precision) for text in some]
            found.append(_sentences(Rows.join(rows)).cpu())
            continue
        with torch.no_grad(), autocast(precision, device):
            tokens = model.tokenize(some)
            told = tokens.to(device) if tokens is not None else None
            encoded = model.encode_prompts(told)
            if isinstance(model, Extended) and encoded is told:  # it reads them with each image: here without one
                encoded = model.model.encode_prompts(told)
        assert encoded is not None  # asked only of models that read
        found.append(_sentences(encoded).cpu())
    return torch.cat(found)


def _sentences(rows: Rows) -> Tensor:
    floating = {name: tensor.float() for name, tensor in rows.tensors.items() if tensor.is_floating_point()}
    vectors = [tensor for tensor in floating.values() if tensor.ndim == 2]
    if not vectors:
        vectors = [_mean(tensor, name, rows.tensors) for name, tensor in floating.items() if tensor.ndim == 3]
    return F.normalize(torch.cat([F.normalize(vector, dim=1) for vector in vectors], dim=1), dim=1)


def _mean(vectors: Tensor, name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    """(B, D) over the words that are there: a flag (B, L) of the same owner says which."""
    owner = name.rpartition(".")[0]
    for other, words in tensors.items():
        if words.dtype == torch.bool and words.shape == vectors.shape[:2] and other.rpartition(".")[0] == owner:
            weights = words.float()[..., None]
            return (vectors * weights).sum(1) / weights.sum(1).clamp(min=1)
    return vectors.mean(1)


def _text(item: Prompted) -> str:
    return item.wordings[0]
