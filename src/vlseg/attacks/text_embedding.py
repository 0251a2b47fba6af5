"""The vectors that a model has for a sentence's tokens, found by watching it read.

Whatever `nn.Embedding` of the model is given the token ids holds them, so no model needs to tell; hashed words have
two, members of an ensemble one each. Vectors of positions are given the same ids for any sentence and are not meant.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vlseg.attacks.samples import parts
from vlseg.models import PromptFeatures, Segmenter, Tokens, as_module
from vlseg.records import InputError

NEAR = 16
"""Words that count as near to one."""
WORDS_AT_ONCE = 1024


@dataclass(frozen=True)
class Table:
    """A token embedding, and which of the model's tokens it is given: `tokens[name]`, or column `column` of it."""

    module: nn.Embedding
    name: str
    column: int | None

    def ids(self, tokens: Tokens) -> Tensor:
        """(B, L)."""
        whole = tokens.tensors[self.name]
        return whole if self.column is None else whole[..., self.column]


class TokenVectors:
    """The token embeddings of a model at rest that reads."""

    def __init__(self, model: Segmenter, device: torch.device) -> None:
        """Watch it read two sentences.

        Raises:
            InputError: no embedding is given the tokens.
        """
        self.model, self.device = model, device
        self.tables = _tables(model, self._tokens(["one word", "two more words"]))
        if not self.tables:
            raise InputError(
                f"model: {model.spec.name} has no token embedding to go by; take method greedy, and no source near"
            )
        self.empty = [table.ids(self._tokens([""]))[0] for table in self.tables]

    def ids(self, sentences: Sequence[str]) -> list[Tensor]:
        """Of each table, (N, L)."""
        tokens = self._tokens(sentences)
        return [table.ids(tokens) for table in self.tables]

    def lengths(self, ids: Sequence[Tensor]) -> list[tuple[int, ...]]:
        """Of each sentence: how many tokens each table is given, up to the last that is no padding."""
        columns = []
        for one, empty in zip(ids, self.empty, strict=True):
            places = torch.arange(1, one.shape[1] + 1, device=one.device)
            columns.append(((one != empty[-1]) * places).amax(1).tolist())
        return list(zip(*columns, strict=True))

    def gradients(
        self, sentences: Sequence[str], losses_of: Callable[[PromptFeatures], Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """The losses (R,) at some sentences, and their gradients at each table's vectors, (R, L', width).

        Raises:
            InputError: none reaches them.
        """
        tokens = self._tokens(sentences)
        with torch.enable_grad(), _added(self.tables) as leaves:
            features = self.model.encode_prompts(tokens)
            assert features is not None  # the model reads
            losses = losses_of(features)
            if not losses.requires_grad:
                raise InputError(
                    f"model: no gradient reaches the words of {self.model.spec.name} (protocol "
                    f"'{self.model.spec.protocol}'); take method greedy"
                )
            given = [leaves[table.module] for table in self.tables]
            gradients = torch.autograd.grad(losses.sum(), given, allow_unused=True, materialize_grads=True)
        return losses.detach(), list(gradients)

    def slopes(self, gradients: Sequence[Tensor], here: Sequence[Tensor], there: Sequence[Tensor]) -> Tensor:
        """What the loss gains, (N,), to first order.

        Args:
            gradients: at one sentence, of each table (L', width).
            here: its ids, of each table (L,).
            there: those of other sentences, (N, L).
        """
        total = torch.zeros(len(there[0]), device=self.device)
        for table, gradient, old, new in zip(self.tables, gradients, here, there, strict=True):
            length = len(gradient)
            both = torch.cat([old[None], new])[:, :length]
            distinct, places = torch.unique(both, return_inverse=True)
            products = table.module(distinct) @ gradient.T  # (ids, L')
            each = products[places, torch.arange(length, device=places.device)].sum(1)
            total += each[1:] - each[0]
        return total

    def nearest(self, vocabulary: Sequence[str], count: int = NEAR) -> Callable[[str], list[str]]:
        """Gives to a word those whose mean vector has the largest cosine with its own, the nearest first."""
        means = self._means(vocabulary)

        def near(word: str) -> list[str]:
            cosines = nn.functional.cosine_similarity(self._means([word]), means)
            order = torch.argsort(cosines, descending=True, stable=True)[: count + 1].tolist()
            return [vocabulary[one] for one in order if vocabulary[one] != word][:count]

        return near

    def _means(self, words: Sequence[str]) -> Tensor:
        """(N, width): over the tokens of a word that the empty sentence has not, the tables beside each other."""
        rows = []
        for some in parts(words, WORDS_AT_ONCE):
            beside = []
            for table, ids, empty in zip(self.tables, self.ids(some), self.empty, strict=True):
                own = ~torch.isin(ids, empty)
                columns = int(own.any(0).nonzero().amax()) + 1 if bool(own.any()) else 1
                vectors = table.module(ids[:, :columns])
                weights = own[:, :columns, None].to(vectors.dtype)
                beside.append((vectors * weights).sum(1) / weights.sum(1).clamp_min(1))
            rows.append(torch.cat(beside, 1))
        return torch.cat(rows)

    def _tokens(self, sentences: Sequence[str]) -> Tokens:
        tokens = self.model.tokenize(list(sentences))
        assert tokens is not None  # the model reads
        return tokens.to(self.device)


def _tables(model: Segmenter, tokens: Tokens) -> list[Table]:
    """The embeddings that were given the ids of `tokens`."""
    seen: list[tuple[nn.Embedding, Tensor]] = []

    def watch(module: nn.Module, given: tuple[Any, ...], _: object) -> None:
        assert isinstance(module, nn.Embedding)
        seen.append((module, given[0]))

    modules = [one for one in as_module(model).modules() if isinstance(one, nn.Embedding)]
    handles = [one.register_forward_hook(watch) for one in modules]
    try:
        with torch.no_grad():
            model.encode_prompts(tokens)
    finally:
        for handle in handles:
            handle.remove()
    found: dict[int, Table] = {}
    for module, given in seen:
        for name, column, ids in _columns(tokens):
            if given.ndim == 2 and torch.equal(given, ids[:, : given.shape[1]]):
                found.setdefault(id(module), Table(module, name, column))
    return list(found.values())


def _columns(tokens: Tokens) -> Iterator[tuple[str, int | None, Tensor]]:
    """What may be ids: whole numbers (B, L) that tell two sentences apart."""
    for name, tensor in tokens.tensors.items():
        if tensor.is_floating_point() or tensor.ndim not in (2, 3):
            continue
        parts = [(None, tensor)] if tensor.ndim == 2 else list(enumerate(tensor.unbind(2)))
        for column, ids in parts:
            if not torch.equal(ids[0], ids[1]):
                yield name, column, ids


@contextmanager
def _added(tables: Sequence[Table]) -> Iterator[Mapping[nn.Module, Tensor]]:
    """While it lasts, a leaf of zeros is added to what each table gives; the leaves, once it has."""
    leaves: dict[nn.Module, Tensor] = {}

    def add(module: nn.Module, _: object, vectors: Tensor) -> Tensor:
        leaves[module] = torch.zeros_like(vectors).requires_grad_()
        return vectors + leaves[module]

    handles = [table.module.register_forward_hook(add) for table in tables]
    try:
        yield leaves
    finally:
        for handle in handles:
            handle.remove()
