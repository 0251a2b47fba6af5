"""A tokenizer without a vocabulary: words are hashed, so any text has tokens and nothing needs a file."""

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from vlseg.models.portable import trimming
from vlseg.models.protocol import Tokens

MAX_WORDS = 77
BUCKETS = 1024
PADDING, START, FIRST_WORD = 0, 1, 2
SALTS = (b"a:", b"b:")
"""Two hashes per word: two words are the same to the model only where both collide, one pair in a million."""


def words_of(text: str) -> list[str]:
    """Lower-cased words in any script; punctuation separates."""
    return re.findall(r"\w+", text.lower())


def hash_word(word: str) -> tuple[int, int]:
    """The word's bucket in each of the two tables, in [FIRST_WORD, BUCKETS)."""
    data = word.encode("utf-8")
    first, second = (FIRST_WORD + zlib.crc32(salt + data) % (BUCKETS - FIRST_WORD) for salt in SALTS)
    return first, second


def hash_prompts(prompts: Sequence[str]) -> Tokens:
    """`buckets` (B, 1 + longest, 2) int64: a start token, then up to 77 words, then padding (0).

    The empty text is the start token alone. Rows of unequal calls can be joined after padding; padding
    changes no result.
    """
    rows = [[(START, START), *(hash_word(word) for word in words_of(text)[:MAX_WORDS])] for text in prompts]
    buckets = torch.zeros(len(rows), 1 + MAX_WORDS, 2, dtype=torch.int64)
    for buckets_row, row in zip(buckets, rows, strict=True):
        buckets_row[: len(row)] = torch.tensor(row)
    return Tokens({"buckets": buckets})


def portable_words(widened: Mapping[str, int] | None = None) -> dict[str, Any]:
    """`Portable.words` of hashed words; `widened` as in `library_words`."""
    told = {"kind": "hashed", "length": MAX_WORDS, "buckets": BUCKETS, "padding": PADDING, "start": START}
    told |= {"first": FIRST_WORD, "salts": [salt.decode() for salt in SALTS]}
    return told | trimming("buckets", widened)
