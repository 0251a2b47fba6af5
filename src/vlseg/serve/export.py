"""Masks of an image as files: each says what it is for."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from vlseg import __version__
from vlseg.data import unit_range
from vlseg.evaluation import overlay
from vlseg.records.names import slug
from vlseg.serve.pictures import NOTICE, png, read_mask_png
from vlseg.serve.polygons import check_edges, polygons
from vlseg.serve.schemas import ExportAsk, ExportItem
from vlseg.serve.store import Stored

KINDS: Mapping[str, tuple[str, str]] = {
    "masks": ("application/zip", "masks.zip"),
    "coco": ("application/json", "coco.json"),
    "overlay": ("image/png", "overlay.png"),
    "session": ("application/json", "session.json"),
}
"""Media type and file name of what can be exported."""
IMAGE_NAME = "image.png"
"""In place of a file name: the server was told none."""
README = """{notice}

Masks of one image of {width}x{height} pixels, 0 and 255: one file for each prompt, in prompts.json.
Written by vlseg {version}.
"""


def exported(ask: ExportAsk, image: Stored) -> bytes:
    """The file.

    Raises:
        Refused: a mask that is none of this image's size, or too fine for polygons.
    """
    masks = [read_mask_png(item.mask, image.size, f"items.{number}.mask") for number, item in enumerate(ask.items)]
    pairs = list(zip(ask.items, masks, strict=True))
    if ask.what == "masks":
        return _masks(pairs, image)
    if ask.what == "overlay":
        return _overlay(pairs, image)
    values = _coco(pairs, image) if ask.what == "coco" else _session(pairs, image)
    return (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode()


Pairs = Sequence[tuple[ExportItem, np.ndarray]]


def _masks(pairs: Pairs, image: Stored) -> bytes:
    buffer = io.BytesIO()
    listed = []
    with zipfile.ZipFile(buffer, "w") as archive:
        told = README.format(notice=NOTICE, width=image.size[1], height=image.size[0], version=__version__)
        archive.writestr("README.txt", told)
        for number, (item, mask) in enumerate(pairs, start=1):
            name = f"{number:02}__{slug(item.prompt)}.png"
            archive.writestr(name, png(Image.fromarray(mask.astype(np.uint8) * 255)))
            listed.append({"file": name, **_told(item, mask)})
        values = {"notice": NOTICE, "masks": listed}
        archive.writestr("prompts.json", json.dumps(values, indent=1, ensure_ascii=False) + "\n")
    return buffer.getvalue()


def _told(item: ExportItem, mask: np.ndarray) -> dict[str, Any]:
    return {
        "prompt": item.prompt,
        "threshold": item.threshold,
        "edited": item.edited,
        "area_px": int(np.count_nonzero(mask)),
    }


def _overlay(pairs: Pairs, image: Stored) -> bytes:
    pixels = unit_range(image.pixels)
    for item, mask in pairs:
        colour = tuple(bytes.fromhex(item.colour[1:]))
        pixels = unit_range(np.asarray(overlay(pixels, mask, (colour[0], colour[1], colour[2]))))
    return png(Image.fromarray(np.rint(pixels * 255).astype(np.uint8)))


def _coco(pairs: Pairs, image: Stored) -> dict[str, Any]:
    """A category for each prompt, an annotation for each mask that is not empty."""
    check_edges(mask for _, mask in pairs)
    height, width = image.size
    prompts = list(dict.fromkeys(item.prompt for item, _ in pairs))
    annotations: list[dict[str, Any]] = []
    for item, mask in pairs:
        found = polygons(mask)
        if not found:
            continue
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        left, top = int(columns[0]), int(rows[0])
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": 1,
                "category_id": prompts.index(item.prompt) + 1,
                "segmentation": found,
                "area": int(np.count_nonzero(mask)),
                "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
                "iscrowd": 0,
                "vlseg": _told(item, mask),
            }
        )
    return {
        "info": {"description": NOTICE, "version": __version__},
        "images": [{"id": 1, "file_name": IMAGE_NAME, "width": width, "height": height}],
        "annotations": annotations,
        "categories": [{"id": number, "name": prompt} for number, prompt in enumerate(prompts, start=1)],
    }


def _session(pairs: Pairs, image: Stored) -> dict[str, Any]:
    items = [{**_told(item, mask), "colour": item.colour, "mask": item.mask} for item, mask in pairs]
    return {
        "notice": NOTICE,
        "vlseg": __version__,
        "image": {"width": image.size[1], "height": image.size[0], "spacing_mm": image.spacing_mm},
        "items": items,
    }
