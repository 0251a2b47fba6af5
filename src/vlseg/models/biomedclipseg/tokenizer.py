"""PubMedBERT's WordPiece tokenizer, from a folder or the hub; no installed package holds its vocabulary."""

import string
from pathlib import Path

from transformers import BertTokenizer

from vlseg.records import InputError

CONTEXT_LENGTH = 256
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""With ids 0 to 4, as in PubMedBERT."""


def load_tokenizer(folder: Path) -> BertTokenizer:
    """The tokenizer files (vocab.txt or tokenizer.json) of a folder.

    Raises:
        InputError: no files, or special tokens elsewhere than in PubMedBERT (transformers builds a five-word
            tokenizer, without failing, when it finds nothing).
    """
    if not any((folder / name).exists() for name in ("vocab.txt", "tokenizer.json")):
        raise InputError(
            f"{folder}: holds neither vocab.txt nor tokenizer.json; copy those of BiomedCLIP's hub repository into it"
        )
    tokenizer: BertTokenizer = BertTokenizer.from_pretrained(folder, model_max_length=CONTEXT_LENGTH)
    ids = tuple(tokenizer.convert_tokens_to_ids(word) for word in SPECIAL)
    if ids != tuple(range(len(SPECIAL))):
        raise InputError(f"{folder}: its tokenizer has {', '.join(SPECIAL)} at {ids}; PubMedBERT has them at 0 to 4")
    return tokenizer


def spelling_tokenizer() -> BertTokenizer:
    """Every printable ASCII character a word piece: for random weights, to which all vocabularies are alike."""
    characters = [*string.ascii_letters, *string.digits, *string.punctuation]
    words = [*SPECIAL, *characters, *(f"##{character}" for character in characters)]
    return BertTokenizer(vocab={word: index for index, word in enumerate(words)}, model_max_length=CONTEXT_LENGTH)
