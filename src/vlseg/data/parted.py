"""Label maps of a source as one mask of each declared target."""

import io
import re
from dataclasses import replace
from functools import partial

import numpy as np
from PIL import Image

from vlseg.data.archives import Tree
from vlseg.data.cards.card import Item, Part
from vlseg.data.images import decode_image
from vlseg.data.mask_map import MaskMap, mapped
from vlseg.data.masks import Mask
from vlseg.records import InputError

UNNAMED = "\0"
"""Stands for the target of a label map until its map names them."""


def decode_file(tree: Tree, file: str, *, one_page: bool = False) -> Image.Image:
    """A decoded image of a source, see `decode_image`."""
    return decode_image(io.BytesIO(tree.read(file)), f"{tree.source}: {file}", one_page=one_page)


def parted(tree: Tree, item: Item, declared: MaskMap) -> Item:
    """The item with a mask of each declared target, empty where it is absent.

    Raises:
        InputError: its masks have targets already; of the masks when made, values that are not declared.
    """
    if any(part.target != UNNAMED for part in item.parts):
        raise InputError("--mask-map: the masks lie in a folder per target already; leave the option out")
    kept: dict[tuple[str, ...], dict[str, Mask]] = {}

    def mask_of(files: tuple[str, ...], target: str, size: tuple[int, int]) -> Mask:
        if files not in kept:
            kept.clear()
            kept[files] = _united(tree, files, declared, size)
        return kept[files][target]

    parts = [
        Part(target, f"{slug(target)}/{part.name}", make=partial(mask_of, part.files, target), reader=part.reader)
        for part in item.parts
        for target in declared.targets
    ]
    return replace(item, parts=tuple(parts))


def _united(tree: Tree, files: tuple[str, ...], declared: MaskMap, size: tuple[int, int]) -> dict[str, Mask]:
    found = {target: np.zeros(size, dtype=bool) for target in declared.targets}
    for file in files:
        for target, mask in mapped(decode_file(tree, file, one_page=True), f"{tree.source}: {file}", declared).items():
            if mask.shape != size:
                raise InputError(f"{tree.source}: {file}: has another size than its image")
            found[target] |= mask
    return found


def slug(target: str) -> str:
    """A folder's name for a target, which `data` reads as that target again where it is a plain word."""
    return re.sub(r"[^\w.+-]+", "_", target).strip("._") or "target"
