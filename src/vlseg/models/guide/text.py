"""Text encoders that give a vector for each word: any of transformers', and hashed words learned from scratch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging

from vlseg.models.biomedclipseg.text import OPEN_CLIP, read_text_tower
from vlseg.models.clipseg_tiny.text import TextEncoder
from vlseg.models.clipseg_tiny.tokenizer import hash_prompts, portable_words
from vlseg.models.folder import check_finite, shape
from vlseg.models.guide import TEXT_FOLDER
from vlseg.models.portable import library_words, used_columns
from vlseg.models.protocol import Tokens
from vlseg.models.tensors import find_weights, read_tensors
from vlseg.records import InputError

MAX_TOKENS = 128
FILES = ("model.safetensors", "pytorch_model.bin")
UNREAD = ("pooler.",)
"""Of a text encoder's weights: what makes one vector of a sentence."""
WIDENED = {"vectors": 0, "words": 0}
"""What the features of words are filled up with (see `library_words`)."""


class Sentences(nn.Module):
    """A text encoder of transformers with its tokenizer: the vectors of the last layer."""

    part = "text_encoder"
    uses_text, uses_target = True, False

    def __init__(self, tower: Any, tokenizer: Any) -> None:
        super().__init__()
        self.tower = tower
        self.tokenizer = tokenizer
        self.width = int(tower.config.hidden_size)
        places = int(getattr(tower.config, "max_position_embeddings", MAX_TOKENS))
        self.length = min(MAX_TOKENS, places, int(tokenizer.model_max_length))

    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        """`input_ids` and `attention_mask` (B, L); longer texts are cut."""
        encoded = self.tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=self.length, return_tensors="pt"
        )
        return Tokens({"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]})

    def forward(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Vectors (B, L, width), zero where there is no word, and words (B, L) bool."""
        words = tokens.tensors["attention_mask"].bool()
        # Columns that are padding in every row are masked: leaving them out changes nothing.
        length = used_columns(words)
        ids, mask = tokens.tensors["input_ids"][:, :length], tokens.tensors["attention_mask"][:, :length]
        vectors = self.tower(input_ids=ids, attention_mask=mask).last_hidden_state
        return _padded(vectors, words), words

    def portable_words(self) -> dict[str, Any]:
        """See `Portable.words`.

        Raises:
            InputError: a tokenizer that needs more than Python.
        """
        kind = {"BPE": "clip", "WordPiece": "bert"}.get(type(self.tokenizer.backend_tokenizer.model).__name__)
        if kind is None:
            raise InputError("the text encoder's tokenizer is neither CLIP's nor BERT's; there is no runner for it")
        return library_words(self.tokenizer, self.length, kind=kind, widened=WIDENED)

    def save(self, folder: Path) -> None:
        """Configuration and tokenizer; the weights lie with the rest of the model's."""
        self.tower.config.save_pretrained(folder / TEXT_FOLDER)
        self.tokenizer.save_pretrained(folder / TEXT_FOLDER)


class HashedWords(nn.Module):
    """The hashed words of clipseg-tiny, learned together with the decoder: a part of its own, no encoder."""

    part = "words"
    uses_text, uses_target = True, False

    def __init__(self) -> None:
        super().__init__()
        self.encoder = TextEncoder()
        self.width = int(self.encoder.positions.shape[1])

    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        """`buckets` (B, 78, 2); words behind the 77th are cut."""
        return hash_prompts(prompts)

    def forward(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """As `Sentences`."""
        buckets = tokens.tensors["buckets"]
        vectors, words = self.encoder.words(buckets)
        whole = F.pad(words, (0, buckets.shape[1] - words.shape[1]))
        return _padded(vectors, whole), whole

    def portable_words(self) -> dict[str, Any]:
        """See `Portable.words`."""
        return portable_words(WIDENED)

    def save(self, folder: Path) -> None:
        """Nothing: words are hashed."""


def load_sentences(folder: Path, *, weights: bool) -> Sentences:
    """A text encoder from a folder in transformers' layout, or from BiomedCLIP's in open_clip's.

    Args:
        folder: with config.json, or open_clip_config.json alone, and tokenizer files.
        weights: read them as well; otherwise they are random and filled by whoever asks.

    Raises:
        InputError: no text encoder or tokenizer there; weights that cannot be read, do not fit or are not finite.
    """
    if weights and (folder / OPEN_CLIP).is_file() and not (folder / "config.json").is_file():
        return Sentences(*read_text_tower(folder))
    tensors = read_tensors(find_weights(folder, FILES)) if weights else None
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_config(config) if tensors is None else _filled(config, tensors, folder)
    except (OSError, ValueError, KeyError, ImportError) as error:
        why = " ".join(str(error).split())[:160]
        raise InputError(f"text: {folder} holds no text encoder that transformers reads ({why})") from error
    tower = getattr(model, "text_model", model)
    if not hasattr(tower.config, "hidden_size") or not hasattr(tower.config, "vocab_size"):
        raise InputError(
            f"text: {folder} holds a '{config.model_type}', which is no text encoder; give BERT's or CLIP's"
        )
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):  # transformers makes one up, without failing
        raise InputError(
            f"text: {folder}: holds no vocabulary; copy the tokenizer files (tokenizer.json, vocab.txt, or vocab.json "
            "and merges.txt) of the published encoder into it"
        )
    if tokenizer.pad_token is None or len(tokenizer) > tower.config.vocab_size:
        raise InputError(
            f"text: {folder}: its tokenizer ({len(tokenizer)} words, padding {tokenizer.pad_token!r}) does not fit its "
            f"encoder ({tower.config.vocab_size} words); give a folder with the encoder's own"
        )
    tokenizer.padding_side = "right"
    if getattr(tower, "pooler", None) is not None:
        tower.pooler = None  # one vector of a sentence: nothing reads it
    return Sentences(tower.float(), tokenizer)


def _filled(config: Any, tensors: Mapping[str, Tensor], folder: Path) -> Any:
    """The encoder with these weights: all that it reads are there, fit and are finite."""
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()  # a hundred small tensors are there at once
    logging.set_verbosity_error()  # what is wrong is said below
    with torch.device("meta"):
        kind = type(AutoModel.from_config(config))  # AutoModel itself takes files only
    try:
        model, report = kind.from_pretrained(
            None, config=config, state_dict=dict(tensors), output_loading_info=True, ignore_mismatched_sizes=True
        )
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
    missing = sorted(key for key in report["missing_keys"] if not any(name in key for name in UNREAD))
    if missing:
        raise InputError(f"text: {folder}: its weights lack {len(missing)} tensors ({', '.join(missing[:5])})")
    if report["mismatched_keys"]:
        name, theirs, ours = min(report["mismatched_keys"])
        raise InputError(
            f"text: {folder}: {name} is {shape(theirs)} in the file, {shape(ours)} by its config.json; give the folder "
            "with the encoder's own"
        )
    check_finite(tensors, f"text: {folder}")
    return model


def _padded(vectors: Tensor, words: Tensor) -> Tensor:
    """(B, l, width) to (B, L, width), zero where `words` (B, L) says that there is none."""
    missing = words.shape[1] - vectors.shape[1]
    whole = F.pad(vectors, (0, 0, 0, missing))
    return torch.where(words[..., None], whole, torch.zeros_like(whole))
