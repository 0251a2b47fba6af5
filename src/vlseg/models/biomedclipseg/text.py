"""BiomedCLIP's text encoder alone, for a model that reads its vectors word by word."""

from pathlib import Path
from typing import Any

from transformers import BertTokenizer

from vlseg.models.biomedclipseg.build import FILES
from vlseg.models.biomedclipseg.network import SHAPES, Text
from vlseg.models.biomedclipseg.tokenizer import load_tokenizer
from vlseg.models.folder import load_strictly
from vlseg.models.tensors import find_weights, network_in, read_tensors
from vlseg.records import InputError

OPEN_CLIP = "open_clip_config.json"
"""What tells a folder in open_clip's layout."""
WORDS = "text.transformer.embeddings.word_embeddings.weight"


def read_text_tower(folder: Path) -> tuple[Any, BertTokenizer]:
    """PubMedBERT without pooler as BiomedCLIP trained it, and its tokenizer; the image encoder is left behind.

    Args:
        folder: BiomedCLIP's hub files, in open_clip's layout.

    Raises:
        InputError: another network of open_clip's, tensors missing, or no tokenizer.
    """
    file = find_weights(folder, FILES)
    found = network_in(read_tensors(file), (WORDS,))
    sizes = tuple(found.tensors[WORDS].shape) if found else ()
    shape = next((one for one in SHAPES.values() if (one.vocabulary, one.text_width) == sizes), None)
    if found is None or shape is None:
        told = f"{sizes[0]} words of width {sizes[1]}" if len(sizes) == 2 else f"no {WORDS}"
        raise InputError(
            f"text: {file}: is no BiomedCLIP ({told}); of open_clip's layout its files alone are read: give them, or a "
            "folder in transformers' layout"
        )
    text = Text(shape)
    tensors = {key.removeprefix("text."): one for key, one in found.tensors.items() if key.startswith("text.")}
    load_strictly(text, tensors, str(file))
    return text.transformer, load_tokenizer(folder)
