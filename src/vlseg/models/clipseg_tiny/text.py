"""The text encoder: hashed word vectors, one transformer layer, mean over words."""

import torch
from torch import Tensor, nn

from vlseg.models.clipseg_tiny.tokenizer import BUCKETS, MAX_WORDS, PADDING
from vlseg.models.portable import used_columns


class TextEncoder(nn.Module):
    """Buckets (B, L, 2) to sentence vectors (B, width)."""

    def __init__(self, width: int = 96, heads: int = 4) -> None:
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(BUCKETS, width) for _ in range(2)])
        self.positions = nn.Parameter(torch.randn(1 + MAX_WORDS, width) * 0.1)
        self.layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, buckets: Tensor) -> Tensor:
        """(B, L, 2) int64 to (B, width)."""
        vectors, words = self.words(buckets)
        pooled: Tensor = (vectors * words[..., None]).sum(dim=1) / words.sum(dim=1, keepdim=True) ** 0.5
        return pooled

    def words(self, buckets: Tensor) -> tuple[Tensor, Tensor]:
        """The words one by one: vectors (B, l, width), l being the longest text's, and which are words (B, l) bool."""
        words = buckets[..., 0] != PADDING
        # Columns that are padding in every row change nothing.
        length = used_columns(words)
        buckets, words = buckets[:, :length], words[:, :length]
        vectors = self.tables[0](buckets[..., 0]) + self.tables[1](buckets[..., 1])
        mixed = self.layer(vectors + self.positions[:length], src_key_padding_mask=~words)
        return self.norm(mixed) + vectors, words  # the sum lets plain word meaning through early
