"""What must be known of a model to run it without PyTorch, beside its three graphs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
        tokenizer: of the `tokenizers` library, where `words` names its file.
        any_size: whether the graphs serve every size of the input.
    """

    mean: Sequence[float]
    std: Sequence[float]
    fit: Literal["stretch", "letterbox"] = "stretch"
    words: Mapping[str, Any] | None = None
    tokenizer: Any = None
    any_size: bool = False


@runtime_checkable
class Exportable(Protocol):
    """A segmenter that runs elsewhere, too."""

    def portable(self) -> Portable:
        """What its graphs do not hold.

        Raises:
            InputError: this one cannot be exported, and why.
        """
        ...


def used_columns(mask: Tensor) -> int:
    """The columns of (B, L) behind which every row is padding.

    In an exported graph, which takes any mask, all of them: whoever runs it leaves out what nobody reads.
    """
    return mask.shape[1] if torch.compiler.is_exporting() else int(mask.sum(dim=1).max())


def library_words(tokenizer: Any, length: int, *, trimmed: bool, kind: str) -> dict[str, Any]:
    """`Portable.words` of a tokenizer of the `tokenizers` library.

    Args:
        tokenizer: transformers'.
        length: tokens of a row.
        trimmed: whether columns that are padding in every row may be left out.
        kind: "clip" or "bert".
    """
    told = {"kind": kind, "file": "tokenizer.json", "length": length, "padding": tokenizer.pad_token_id}
    return told | ({"trimmed": "attention_mask"} if trimmed else {})
