"""Where learned vectors enter a model: as words of its sentences, as tokens of its images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vlseg.models.additions.towers import Tower, Towers
from vlseg.models.protocol import ImageFeatures, Tokens

Vectors = Callable[[int], Tensor]
"""The vectors at the input of a block, counted from 0: (n, width), or (B, n, width) where each row has its own."""


@dataclass(frozen=True)
class InText:
    """Vectors behind the first token of every sentence.

    Fillers stand for them among the tokens, so that positions, masks and the end-of-text token are the model's own
    affair. Their place decides, not their id: a sentence may hold the filler's word.
    """

    towers: Towers
    length: int
    vectors: Vectors

    def enter(self, tower: Tower, depth: int) -> None:
        """Put the vectors in place of the fillers' embeddings, and at each further one of the first `depth` blocks."""
        assert self.towers.token_embedding is not None  # of a text tower
        self.towers.token_embedding.register_forward_hook(self._embedded)
        for index in range(1, depth):
            tower.blocks[index].register_forward_pre_hook(partial(self._before, index, tower.batch_first))

    def tokenize(self, tokens: Tokens) -> Tokens:
        """Tokens with the fillers in; what does not fit the context goes, from before the last token."""
        ids, mask = tokens.tensors[self.towers.ids], tokens.tensors[self.towers.mask]
        columns = min(ids.shape[1] + self.length, self.towers.context)
        rows, count = torch.arange(len(ids)), mask.sum(dim=1)
        last = ids[rows, count - 1]
        ids = torch.cat([ids[:, :1], ids.new_full((len(ids), self.length), self.towers.filler), ids[:, 1:]], dim=1)
        mask = torch.cat([mask.new_ones(len(mask), self.length), mask], dim=1)[:, :columns]
        ids = ids[:, :columns].clone()
        ids[rows, mask.sum(dim=1) - 1] = last
        return Tokens({**tokens.tensors, self.towers.ids: ids, self.towers.mask: mask})

    def portable_words(self, words: Mapping[str, Any]) -> dict[str, Any]:
        """`Portable.words` of the model's own tokens, with the fillers that `tokenize` puts in."""
        return {**words, "fillers": [self.towers.filler] * self.length}

    def _embedded(self, module: nn.Module, given: Any, output: Tensor) -> Tensor:
        return _replaced(output, self.vectors(0), 1)

    def _before(self, index: int, batch_first: bool, module: nn.Module, given: Any) -> Any:
        hidden = _replaced(_turned(given[0], batch_first), self.vectors(index), 1)
        return (_turned(hidden, batch_first), *given[1:])


@dataclass(frozen=True)
class InImage:
    """Vectors behind the last token of every image, which the decoder does not get."""

    length: int
    vectors: Vectors

    def enter(self, tower: Tower, depth: int) -> None:
        """Put the vectors behind the tokens, and in their place at each further one of the first `depth` blocks."""
        first = tower.blocks[0] if tower.entry is None else tower.entry
        first.register_forward_pre_hook(partial(self._before, 0, tower.batch_first))
        for index in range(1, depth):
            tower.blocks[index].register_forward_pre_hook(partial(self._before, index, tower.batch_first))

    def leave(self, image: ImageFeatures) -> ImageFeatures:
        """Taps without the vectors' tokens."""
        return ImageFeatures({**image.tensors, "taps": image.tensors["taps"][:, :, : -self.length]})

    def _before(self, index: int, batch_first: bool, module: nn.Module, given: Any) -> Any:
        hidden = _turned(given[0], batch_first)
        end = hidden.shape[1] - (self.length if index else 0)
        return (_turned(_replaced(hidden, self.vectors(index), end), batch_first), *given[1:])


def _replaced(hidden: Tensor, vectors: Tensor, start: int) -> Tensor:
    """(B, L, width) with the vectors from column `start` on."""
    rows = vectors.to(hidden.dtype).expand(hidden.shape[0], -1, -1)
    return torch.cat([hidden[:, :start], rows, hidden[:, start + rows.shape[1] :]], dim=1)


def _turned(hidden: Tensor, batch_first: bool) -> Tensor:
    return hidden if batch_first else hidden.transpose(0, 1)
