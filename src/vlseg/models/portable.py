"""What must be known of a model to run it without PyTorch, beside its three graphs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True)
class Portable:
    """How a model gets from pixels and sentences to its graphs' inputs.

    Attributes:
        mean: per channel, taken off pixels in [0, 1].
        std: per channel, what the rest is divided by.
        fit: how an image lies in the input: "stretch" to its size, or "letterbox", centred with its own aspect ratio.
        words: what `exported.words.tokenize` must know; None: nothing is read.
        tokenizers: transformers' own, by the files that `words` names.
        any_size: of what the sides of an input must be multiples, where the graphs serve every size; 0 where they serve
            the model's own alone.
    """

    mean: Sequence[float]
    std: Sequence[float]
    fit: Literal["stretch", "letterbox"] = "stretch"
    words: Mapping[str, Any] | None = None
    tokenizers: Mapping[str, Any] = field(default_factory=dict)
    any_size: int = 0


@runtime_checkable
class Exportable(Protocol):
    """A segmenter that runs elsewhere, too."""

    def portable(self) -> Portable:
        """What its graphs do not hold.

        Raises:
            InputError: this one cannot be exported, and why.
        """
        ...


TOKENIZER = "tokenizer.json"
"""Where a tokenizer of the `tokenizers` library lies beside the graphs."""


def used_columns(mask: Tensor) -> int:
    """The columns of (B, L) behind which every row is padding.

    In an exported graph, which takes any mask, all of them: whoever runs it leaves out what nobody reads.
    """
    return mask.shape[1] if torch.compiler.is_exporting() else int(mask.sum(dim=1).max())


def library_words(
    tokenizer: Any, length: int, *, kind: str, trimmed: bool = True, widened: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """`Portable.words` of a tokenizer of the `tokenizers` library.

    Args:
        tokenizer: transformers'.
        length: tokens of a row.
        kind: "clip" or "bert".
        trimmed: whether columns that are padding in every row may be left out.
        widened: the features that are of the tokens' length, and what fills them up to it again.
    """
    told = {"kind": kind, "file": TOKENIZER, "length": length, "padding": tokenizer.pad_token_id}
    return told | trimming("attention_mask" if trimmed else "", widened)


def untrimmed(words: Mapping[str, Any]) -> dict[str, Any]:
    """`Portable.words` of which no column is left out."""
    return {name: one for name, one in words.items() if name not in ("trimmed", "widened")}


def trimming(by: str, widened: Mapping[str, int] | None = None) -> dict[str, Any]:
    """The part of `Portable.words` on columns that are padding in every row, told by the tokens `by` ("": none is)."""
    return {} if not by else {"trimmed": by} | ({"widened": dict(widened)} if widened else {})
