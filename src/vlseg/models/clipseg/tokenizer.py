"""CLIP's byte-pair tokenizer: from a model folder, or from the vocabulary that open_clip ships."""

import gzip
import importlib.util
from pathlib import Path

from transformers import CLIPTokenizer

from vlseg.records import InputError

VOCABULARY_SIZE = 49408
CONTEXT_LENGTH = 77


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer files of a model folder; where it has none, CLIP's own.

    Raises:
        InputError: the files give another vocabulary than CLIP's (transformers builds a two-word
            tokenizer, without failing, when it cannot read them).
    """
    if not any((folder / name).exists() for name in ("vocab.json", "tokenizer.json")):
        return clip_tokenizer()
    tokenizer: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder)
    if len(tokenizer) != VOCABULARY_SIZE:
        raise InputError(
            f"{folder}: its tokenizer has {len(tokenizer)} words, CLIP's has {VOCABULARY_SIZE}; "
            "copy vocab.json, merges.txt and tokenizer_config.json of the published model into it"
        )
    return tokenizer


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer, built offline from the merges file in the open_clip package (read, not imported)."""
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
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=CONTEXT_LENGTH)


def _byte_symbols() -> list[str]:
    """The printable stand-ins of the 256 bytes in CLIP's order (printable bytes first)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]
