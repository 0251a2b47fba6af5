"""What takes the place of a sentence in the controls: one learned token, or one for each target."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vlseg.models.protocol import Tokens
from vlseg.records import unknown_name

WIDTH = 384
"""Of a token: that of all-MiniLM-L6-v2's, so that the decoder is the same."""


class Nothing(nn.Module):
    """One learned token for every image; there is nothing to encode."""

    part = "mask_decoder"
    uses_text, uses_target = False, False

    def __init__(self) -> None:
        super().__init__()
        self.width = WIDTH
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))

    def tokenize(self, prompts: Sequence[str]) -> None:
        """Nothing is told."""
        return

    def for_images(self, count: int) -> tuple[Tensor, Tensor]:
        """The token (count, 1, WIDTH) and words (count, 1) bool."""
        return self.token.expand(count, -1, -1), torch.ones(count, 1, dtype=torch.bool, device=self.token.device)

    def portable_words(self) -> None:
        """Nothing is read."""

    def save(self, folder: Path) -> None:
        """Nothing."""


class TargetTokens(nn.Module):
    """A learned token for each target."""

    part = "mask_decoder"
    uses_text, uses_target = False, True

    def __init__(self, targets: Sequence[str]) -> None:
        super().__init__()
        self.width = WIDTH
        self.targets = tuple(targets)
        self.tokens = nn.Embedding(len(self.targets), WIDTH)

    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        """Names of targets to `target` (B,), their indices.

        Raises:
            InputError: a name the model was not built for; the known ones are listed.
        """
        for name in prompts:
            if name not in self.targets:
                raise unknown_name("target", name, self.targets)
        return Tokens({"target": torch.tensor([self.targets.index(name) for name in prompts], dtype=torch.int64)})

    def forward(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Vectors (B, 1, WIDTH) and words (B, 1) bool."""
        vectors = self.tokens(tokens.tensors["target"])[:, None]
        return vectors, torch.ones(vectors.shape[:2], dtype=torch.bool, device=vectors.device)

    def portable_words(self) -> dict[str, Any]:
        """See `Portable.words`."""
        return {"kind": "targets", "targets": list(self.targets)}

    def save(self, folder: Path) -> None:
        """Nothing."""
