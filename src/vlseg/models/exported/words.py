"""Sentences to the numbers that an exported model reads, with nothing but Python and numpy.

Two tokenizers of the `tokenizers` library are known from its own file (tokenizer.json): CLIP's byte pairs and BERT's
word pieces; beside them hashed words and names of targets, which need no file.
"""

import json
import re
import unicodedata
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")


def tokenize(told: Mapping[str, Any], folder: Path, prompts: Sequence[str]) -> Arrays:
    """Prompts to named int64 arrays, one row each.

    Args:
        told: what config.json says of the words: "kind" ("clip", "bert", "hashed", "targets", or several "beside" each
            other) and its settings.
        folder: where the tokenizers' files lie.
        prompts: sentences, or names of targets.

    Raises:
        ValueError: a target that the model does not know.
    """
    if told["kind"] == "beside":
        parts = {part: tokenize(own, folder, prompts) for part, own in told["parts"].items()}
        return {f"{part}.{name}": one for part, tokens in parts.items() for name, one in tokens.items()}
    if told["kind"] == "targets":
        return {"target": np.array([target_number(told["targets"], prompt) for prompt in prompts], np.int64)}
    if told["kind"] == "hashed":
        return {"buckets": np.stack([_hashed(told, prompt) for prompt in prompts])}
    split = _tokenizer(str(folder / told["file"]))
    ids, mask = (np.zeros((len(prompts), told["length"]), np.int64) for _ in range(2))
    before = told.get("fillers", [])  # where the graph puts learned vectors
    for row, prompt in enumerate(prompts):
        found = [split.start, *before, *split(prompt)[: told["length"] - 2 - len(before)], split.end]
        ids[row, : len(found)], mask[row, : len(found)] = found, 1
    ids[mask == 0] = told["padding"]
    return {"input_ids": ids, "attention_mask": mask}


def trimmed(told: Mapping[str, Any], tokens: Mapping[str, np.ndarray]) -> Arrays:
    """Tokens without the columns that are padding in every row, where that changes nothing."""
    if told["kind"] == "beside":
        apart = {
            part: {name.removeprefix(f"{part}."): one for name, one in tokens.items() if name.startswith(f"{part}.")}
            for part in told["parts"]
        }
        cut = {part: trimmed(own, apart[part]) for part, own in told["parts"].items()}
        return {f"{part}.{name}": one for part, own in cut.items() for name, one in own.items()}
    by = told.get("trimmed")
    if not by:
        return dict(tokens)
    used = tokens[by][..., 0] != told["padding"] if by == "buckets" else tokens[by] != 0
    length = max(1, int(used.sum(axis=1).max()))
    return {name: one[:, :length] for name, one in tokens.items()}


def widened(told: Mapping[str, Any], features: Mapping[str, np.ndarray], length: int) -> Arrays:
    """Features of `trimmed` tokens, those of words filled up to `length` columns: rows of all prompts are alike."""
    found = dict(features)
    for name, filler in told.get("widened", {}).items():
        lacking = [(0, 0), (0, length - found[name].shape[1])] + [(0, 0)] * (found[name].ndim - 2)
        found[name] = np.pad(found[name], lacking, constant_values=filler)
    return found


def target_number(targets: Sequence[str], name: str) -> int:
    """Which of a model's targets it is.

    Raises:
        ValueError: it is none of them.
    """
    if name not in targets:
        raise ValueError(f"'{name}' is no target of this model (known: {', '.join(targets)})")
    return list(targets).index(name)


def _hashed(told: Mapping[str, Any], prompt: str) -> np.ndarray:
    row = np.full((1 + told["length"], 2), told["padding"], np.int64)
    row[0] = told["start"]
    for place, word in enumerate(re.findall(r"\w+", prompt.lower())[: told["length"]], 1):
        for table, salt in enumerate(told["salts"]):
            row[place, table] = told["first"] + zlib.crc32(salt.encode() + word.encode()) % (
                told["buckets"] - told["first"]
            )
    return row


class _Split:
    """A tokenizer.json; words that it adds whole (its special ones) are found first, as they are spelt."""

    def __init__(self, path: str) -> None:
        self.file = json.loads(Path(path).read_text(encoding="utf-8"))
        self.model = self.file["model"]
        self.vocabulary: dict[str, int] = self.model["vocab"]
        self.whole = {one["content"]: one["id"] for one in self.file["added_tokens"]}
        listed = sorted(self.whole, key=len, reverse=True)
        self.apart = re.compile("(" + "|".join(map(re.escape, listed)) + ")") if listed else None

    def __call__(self, text: str) -> list[int]:
        parts = self.apart.split(text) if self.apart else [text]
        return [one for part in parts for one in ([self.whole[part]] if part in self.whole else self.pieces(part))]

    def pieces(self, text: str) -> list[int]:
        raise NotImplementedError


class _Clip(_Split):
    """Byte pairs with a mark at each word's end."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        pairs = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in self.model["merges"]]
        self.ranks = {pair: rank for rank, pair in enumerate(pairs)}
        self.unknown = self.whole.get(self.model["unk_token"], 0)
        post = self.file["post_processor"]
        self.start, self.end = post["cls"][1], post["sep"][1]

    def pieces(self, text: str) -> list[int]:
        text = "".join(one.lower() for one in unicodedata.normalize("NFC", text))  # no Greek rule for a word's end
        return [self.vocabulary.get(piece, self.unknown) for word in _clip_words(text) for piece in self._merged(word)]

    def _merged(self, word: str) -> list[str]:
        symbols = [BYTES[byte] for byte in word.encode("utf-8")]
        symbols[-1] += self.model["end_of_word_suffix"]
        while len(symbols) > 1:
            ranked = [(self.ranks.get(pair, len(self.ranks)), at) for at, pair in enumerate(pairwise(symbols))]
            rank, at = min(ranked)
            if rank == len(self.ranks):
                break
            symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
        return symbols


class _Bert(_Split):
    """Word pieces, lower-cased and without accents where the file says so."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        special = self.file["post_processor"]["special_tokens"]
        self.start, self.end = (special[name]["ids"][0] for name in ("[CLS]", "[SEP]"))
        self.unknown = self.vocabulary[self.model["unk_token"]]

    def pieces(self, text: str) -> list[int]:
        return [one for word in self._words(text) for one in self._word(word)]

    def _words(self, text: str) -> list[str]:
        rule = self.file["normalizer"]
        if rule["clean_text"]:
            text = "".join(" " if _blank(one) else one for one in text if not _control(one))
        if rule["handle_chinese_chars"]:
            text = "".join(f" {one} " if _ideograph(one) else one for one in text)
        if rule["strip_accents"] or (rule["strip_accents"] is None and rule["lowercase"]):
            text = "".join(one for one in unicodedata.normalize("NFD", text) if unicodedata.category(one) != "Mn")
        text = "".join(one.lower() for one in text) if rule["lowercase"] else text
        return "".join(f" {one} " if _punctuation(one) else one for one in text).split()

    def _word(self, word: str) -> list[int]:
        if len(word) > self.model["max_input_chars_per_word"]:
            return [self.unknown]
        found, begin = [], 0
        while begin < len(word):
            prefix = self.model["continuing_subword_prefix"] if begin else ""
            ends = (end for end in range(len(word), begin, -1) if prefix + word[begin:end] in self.vocabulary)
            if (end := next(ends, 0)) == 0:
                return [self.unknown]
            found.append(self.vocabulary[prefix + word[begin:end]])
            begin = end
        return found


@lru_cache(maxsize=4)
def _tokenizer(path: str) -> Any:
    try:
        kind = json.loads(Path(path).read_text(encoding="utf-8"))["model"]["type"]
        return {"BPE": _Clip, "WordPiece": _Bert}[kind](path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: is missing or no tokenizer that vlseg exported; export the model again") from error


def _byte_symbols() -> dict[int, str]:
    """The printable stand-in of each byte."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + at) for at, byte in enumerate(others)}


BYTES = _byte_symbols()


def _clip_words(text: str) -> list[str]:
    """Runs of letters, single digits, runs of other signs, and English contractions; blanks part them."""
    words, begin = [], 0
    while begin < len(text):
        kind, end = _kind(text[begin]), begin + 1
        short = next((one for one in CONTRACTIONS if text.startswith(one, begin)), None)
        if short is not None:
            end = begin + len(short)
        elif kind in "LS":
            while end < len(text) and _kind(text[end]) == kind:
                end += 1
        if kind != " ":
            words.append(text[begin:end])
        begin = end
    return words


def _kind(one: str) -> str:
    """L: a letter, N: a number, a blank, S: any other sign."""
    if one.isspace() and not "\x1c" <= one <= "\x1f":
        return " "
    first = unicodedata.category(one)[0]
    return first if first in "LN" else "S"


def _blank(one: str) -> bool:
    return one in "\t\n\r " or unicodedata.category(one) == "Zs"


def _control(one: str) -> bool:
    return one in "\x00\ufffd" or (one not in "\t\n\r" and unicodedata.category(one) in ("Cc", "Cf", "Co"))


def _punctuation(one: str) -> bool:
    if one.isascii():
        return one.isprintable() and not one.isalnum() and one != " "
    return unicodedata.category(one).startswith("P")


IDEOGRAPHS = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)


def _ideograph(one: str) -> bool:
    return any(low <= ord(one) <= high for low, high in IDEOGRAPHS)
