"""The ten vectors of a sentence that LViT's published network reads.

Its code had them from bert-embedding, a package that no current Python installs: BERT's last layer, the pieces of a
word averaged, 25 pieces at most, cut after ten words.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from vlseg.models.guide.text import HashedWords, Sentences
from vlseg.models.lvit.pieces import TOKENS
from vlseg.models.protocol import Rows, Tokens

MAX_PIECES = 25
FILLER, FILLED_UP_TO = " EOF XXX", 9
"""What the published code puts behind a text for each word, parted by spaces, that it has less than nine."""


class TenWords(nn.Module):
    """The first ten words and signs of each text, by any text encoder."""

    def __init__(self, encoder: Sentences | HashedWords) -> None:
        super().__init__()
        self.encoder = encoder
        self.width = encoder.width
        if isinstance(encoder, Sentences):
            encoder.length = min(encoder.length, MAX_PIECES)

    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        """The encoder's tokens, and `word_of` (B, L): which of the ten words each belongs to, -1 for none.

        A text that is filled up as published and still gives fewer than ten words, where that code failed, is filled up
        once more.
        """
        texts = [text + FILLER * max(0, FILLED_UP_TO - len(text.split())) for text in prompts]
        counts = (self._word_of(self.encoder.tokenize(texts)).amax(dim=1) + 1).tolist()
        tokens = self.encoder.tokenize(
            [text if count >= TOKENS else text + FILLER for text, count in zip(texts, counts, strict=True)]
        )
        word_of = self._word_of(tokens)
        return Tokens({**tokens.tensors, "word_of": torch.where(word_of < TOKENS, word_of, -1)})

    def forward(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Vectors (B, 10, width), zero where too few pieces were left for ten words, and ten times True (B, 10)."""
        vectors, _ = self.encoder(tokens)
        word_of = tokens.tensors["word_of"]
        numbers = torch.arange(TOKENS, device=word_of.device)
        belongs = (word_of[:, None] == numbers[:, None]).to(vectors.dtype)
        means = belongs @ vectors / belongs.sum(dim=2, keepdim=True).clamp(min=1)
        return means, torch.ones(means.shape[:2], dtype=torch.bool, device=means.device)

    def _word_of(self, tokens: Rows) -> Tensor:
        if isinstance(self.encoder, HashedWords):
            there = tokens.tensors["buckets"][..., 0] != 0
            return torch.where(there, there.cumsum(dim=1) - 2, -1)  # the first is no word: it starts the text
        tokenizer = self.encoder.tokenizer
        named = ("cls", "sep", "pad", "bos", "eos")
        signs = {getattr(tokenizer, f"{name}_token_id", None) for name in named}
        rows = []
        for ids in tokens.tensors["input_ids"].tolist():
            number, row = -1, []
            for one, piece in zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True):
                number += one not in signs and not piece.startswith("##")
                row.append(-1 if one in signs else number)
            rows.append(row)
        return torch.tensor(rows)

    def save(self, folder: Path) -> None:
        """What the encoder needs."""
        self.encoder.save(folder)
