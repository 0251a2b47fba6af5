"""CLIP's byte-pair tokenizer: from a model folder, or from the vocabulary that open_clip ships."""

import gzip
import hashlib
import importlib.util
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import CLIPTokenizer

from vlseg.records import InputError

VOCABULARY_SIZE = 49408
CONTEXT_LENGTH = 77
FILLER = 343
"""The token of the letter x and a space: nothing ends at it."""
FILES = (
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
"""All that the library reads of a tokenizer."""


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer files of a model folder; where it has none, CLIP's own.

    Raises:
        InputError: the files give another vocabulary than CLIP's (transformers builds a two-word
            tokenizer, without failing, when it cannot read them).
    """
    found = {name: folder / name for name in FILES if (folder / name).exists()}
    if not found.keys() & {"vocab.json", "tokenizer.json"}:
        return clip_tokenizer()
    if {name: _digest(path) for name, path in found.items()} in _own_files():  # the library takes ten times as long
        return clip_tokenizer()
    tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder)
    if len(tokenizer) != VOCABULARY_SIZE:
        raise InputError(
            f"{folder}: its tokenizer has {len(tokenizer)} words, CLIP's has {VOCABULARY_SIZE}; "
            "copy vocab.json, merges.txt and tokenizer_config.json of the published model into it"
        )
    return tokenizer


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer, built offline from the merges file in the open_clip package (read, not imported).

    Every caller has its own: the library's change while they are used.
    """
    vocabulary, merges = _vocabulary()
    return CLIPTokenizer(vocab=dict(vocabulary), merges=list(merges), model_max_length=CONTEXT_LENGTH)


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[Mapping[str, int], tuple[tuple[str, str], ...]]:
    """Ids by word, and the merges."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise InputError("package open_clip_torch is missing, which holds CLIP's vocabulary; install it")
    packed = Path(spec.origin).parent / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(packed.read_bytes()).decode("utf-8").split("\n")
    # First line: version. CLIP uses as many merges as fill its 49152 - 256 - 2 places.
    merges = [(first, second) for first, second in (line.split() for line in lines[1 : 49152 - 256 - 2 + 1])]
    symbols = _byte_symbols()
    words = [*symbols, *(symbol + "</w>" for symbol in symbols), *(first + second for first, second in merges)]
    vocabulary = {word: index for index, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    return vocabulary, tuple(merges)


@lru_cache(maxsize=1)
def _own_files() -> tuple[Mapping[str, str], ...]:
    """Digests of the files that `clip_tokenizer` saves: new, and after it was asked, which the library writes down."""
    tokenizer, saved = clip_tokenizer(), []
    for _ in range(2):
        with TemporaryDirectory() as folder:
            tokenizer.save_pretrained(folder)
            saved.append({path.name: _digest(path) for path in Path(folder).iterdir()})
        tokenizer([""], padding="max_length", truncation=True, max_length=CONTEXT_LENGTH)
    return tuple(saved)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _byte_symbols() -> list[str]:
    """The printable stand-ins of the 256 bytes in CLIP's order (printable bytes first)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]
