"""A saved folder in the hands of transformers, where that is one of its own."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vlseg.models.protocol import Segmenter


def transformers_class(folder: Path) -> str | None:
    """The name of the class of transformers that opens a model's folder; None where none does."""
    named = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or [None]
    return str(named[0]) if named[0] else None


@torch.no_grad()
def transformers_logits(folder: Path, model: Segmenter, images: Sequence[Tensor], prompts: Sequence[str]) -> Tensor:
    """What that class answers, one prompt for each image, at the network's size.

    Args:
        folder: see `transformers_class`, which says that there is one.
        model: gives the inputs, as prepared images and tokens.
        images: (3, H, W) in [0, 1].
        prompts: as many.

    Returns:
        (B, 1, h, w).
    """
    import transformers

    name = transformers_class(folder)
    assert name is not None
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        theirs = getattr(transformers, name).from_pretrained(folder).eval()
    finally:
        logger.setLevel(level)
    tokens = model.tokenize(prompts)
    assert tokens is not None
    pixels = model.prepare(images).tensors["pixel_values"]
    logits: Tensor = theirs(pixel_values=pixels, **tokens.tensors, interpolate_pos_encoding=True).logits
    return logits.reshape(len(prompts), 1, *logits.shape[-2:])
