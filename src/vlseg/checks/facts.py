"""What a check needs to know of image and mask files: each file is read once, and only small facts are kept."""

import hashlib
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from vlseg.checks.alignment import alignment, small_grey
from vlseg.checks.near import Descriptor, describe_image
from vlseg.data.images import decode_image, deep_mode, page_count
from vlseg.data.mask_levels import MaskSummary, summarise
from vlseg.data.masks import mask_pixels
from vlseg.records import InputError, Sample

WORKERS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True, eq=False)
class FileFacts:
    """Facts of one file.

    Attributes:
        exists: whether there is one.
        problem: the reading error's line.
        digest: SHA-256 of an image's bytes.
        shape: (H, W) upright.
        bits: per channel, as stored.
        turned: True when EXIF asks to turn or mirror the stored pixels.
        summary: of a mask's values.
        fits: of a mask, how well its outline lies on edges of the image; see `alignment`.
        descriptor: of an image, to find near duplicates.
        pages: of an image file, of which the first is read.
    """

    exists: bool
    problem: str | None = None
    digest: str | None = None
    shape: tuple[int, int] | None = None
    bits: int = 8
    turned: bool = False
    summary: MaskSummary | None = None
    fits: dict[str, float] | None = None
    descriptor: Descriptor | None = None
    pages: int = 1


def gather(samples: Sequence[Sample], *, thumbnails: bool) -> dict[Path, FileFacts]:
    """Facts of every image and mask file, in threads: decoding does not hold the interpreter.

    Args:
        samples: of the dataset.
        thumbnails: keep what near duplicates are found by.
    """
    jobs: dict[Path, dict[Path, int | None]] = {}
    for sample in samples:
        masks = jobs.setdefault(sample.image_path, {})
        masks |= dict.fromkeys(sample.mask_paths, sample.mask_value)
    facts: dict[Path, FileFacts] = {}
    with ThreadPoolExecutor(WORKERS) as pool:
        for found in pool.map(lambda path: _image_with_masks(path, jobs[path], thumbnails), jobs):
            facts |= found
    return facts


def _image_with_masks(path: Path, masks: dict[Path, int | None], thumbnails: bool) -> dict[Path, FileFacts]:
    image, grey = _image_facts(path, thumbnails)
    return {path: image} | {mask: _mask_facts(mask, value, grey) for mask, value in masks.items()}


def _image_facts(path: Path, thumbnails: bool) -> tuple[FileFacts, NDArray[np.float32] | None]:
    """Decodes the image fully: a truncated file is found only so."""
    if not path.is_file():
        return FileFacts(exists=False), None
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    try:
        bits, turned = _stored(content)
        image = decode_image(io.BytesIO(content), str(path))
    except InputError as error:
        return FileFacts(exists=True, problem=str(error), digest=digest), None
    descriptor = describe_image(path) if thumbnails else None
    shape = (image.height, image.width)
    return FileFacts(True, None, digest, shape, bits, turned, None, None, descriptor, page_count(content)), small_grey(
        image
    )


def _stored(content: bytes) -> tuple[int, bool]:
    """Bits per channel and whether EXIF turns the picture, from the header; (8, False) where it cannot be read."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            sixteen = image.mode.startswith("I") or deep_mode(image) is not None  # before the tags: they load pixels
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            deep = 16 if sixteen else 32 if image.mode == "F" else 8
            return deep, orientation not in (0, 1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 8, False  # decoding gives the error its line


def _mask_facts(path: Path, mask_value: int | None, grey: NDArray[np.float32] | None) -> FileFacts:
    if not path.is_file():
        return FileFacts(exists=False)
    content = path.read_bytes()
    try:
        bits, turned = _stored(content)
        image = decode_image(io.BytesIO(content), str(path), one_page=True)
        values, colours = mask_pixels(image, str(path), index=mask_value is not None)
    except InputError as error:
        return FileFacts(exists=True, problem=str(error))
    summary = summarise(values, colours)
    mask = values == mask_value if mask_value is not None else values > summary.largest / 2
    shape = (values.shape[0], values.shape[1])
    fits = alignment(grey, mask) if grey is not None and summary.largest > 0 else None
    return FileFacts(True, None, None, shape, bits, turned, summary, fits)
