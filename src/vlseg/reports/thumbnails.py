"""Small copies of many images within a number of bytes: the more images, the smaller."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from vlseg.records.pictures import GRID
from vlseg.reports.load import data_uri

SIDES = (GRID, 192, 160, 128, 112, 96, 88, 80, 72, 64, 56, 48)
"""Longer side in pixels; the first is what evaluations keep and is taken as it is."""
QUALITY = 55
"""Of WebP, where an image is made smaller."""
TRIED = 40
"""Images that a size is estimated from, spread over all."""


@dataclass(frozen=True)
class Thumbnails:
    """Data URLs in the order of the images, and the longer side they were made with."""

    urls: list[str]
    side: int


def thumbnails(contents: Sequence[bytes], budget: int) -> Thumbnails:
    """All images in the largest of SIDES whose data URLs take at most `budget` bytes together, or in the smallest.

    Args:
        contents: WebP files.
        budget: bytes.

    Raises:
        OSError: a file that is no image.
    """
    tried = contents[:: max(1, len(contents) // TRIED)]
    for side in SIDES:
        last = side == SIDES[-1]
        if (
            not last
            and sum(len(_url(content, side)) for content in tried) / max(1, len(tried)) * len(contents) > budget
        ):
            continue
        urls = [_url(content, side) for content in contents]
        if last or sum(map(len, urls)) <= budget:
            return Thumbnails(urls, side)
    raise AssertionError("the last of SIDES returns")


def _url(content: bytes, side: int) -> str:
    if side < GRID:
        with Image.open(io.BytesIO(content)) as image:
            if max(image.size) > side:
                image.thumbnail(
                    (side, side), Image.Resampling.BOX if max(image.size) > 2 * side else Image.Resampling.BILINEAR
                )
                buffer = io.BytesIO()
                image.save(buffer, format="WEBP", quality=QUALITY)
                content = min(content, buffer.getvalue(), key=len)
    return data_uri("image/webp", content)
