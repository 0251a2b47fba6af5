"""Pixels of an exported model's images and masks: files, sizes, places; numpy and Pillow alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def resized(image: np.ndarray, size: tuple[int, int], *, antialias: bool) -> np.ndarray:
    """(H, W, C) float32 to (h, w, C), bilinear as PyTorch's interpolate without aligned corners."""
    if image.shape[:2] == tuple(size):
        return image
    rows = _along_first(image, size[0], antialias)
    return _along_first(rows.swapaxes(0, 1), size[1], antialias).swapaxes(0, 1)


def _along_first(image: np.ndarray, length: int, antialias: bool) -> np.ndarray:
    if image.shape[0] == length:
        return image
    # Places in single precision, as PyTorch has them: a large image's would differ otherwise.
    half, scale = np.float32(0.5), np.float32(image.shape[0]) / np.float32(length)
    if not antialias:
        centres = np.clip((np.arange(length, dtype=np.float32) + half) * scale - half, 0, None)
        low = np.minimum(centres.astype(np.int64), image.shape[0] - 1)
        high = np.minimum(low + 1, image.shape[0] - 1)
        share = (centres - low).astype(np.float32).reshape(-1, *[1] * (image.ndim - 1))
        mixed: np.ndarray = image[low] * (1 - share) + image[high] * share
        return mixed
    flat = np.ascontiguousarray(image).reshape(image.shape[0], -1)
    result = np.empty((length, flat.shape[1]), np.float32)
    support = max(scale, np.float32(1))
    for place in range(length):  # a triangle as wide as what a new pixel stands for
        centre = scale * np.float32(place + 0.5)
        begin = max(0, int(centre - support + half))
        end = min(image.shape[0], int(centre + support + half))
        weights = np.clip(1 - np.abs((np.arange(begin, end, dtype=np.float32) - centre + half) / support), 0, None)
        result[place] = (weights / weights.sum()) @ flat[begin:end]
    return result.reshape(length, *image.shape[1:])


def placed(original: Sequence[int], size: Sequence[int], fit: str) -> tuple[int, int, int, int]:
    """Top, left, rows and columns of the image within the input: all of it, or with its own aspect ratio, centred."""
    if fit == "stretch":
        return 0, 0, size[0], size[1]
    scale = min(size[0] / original[0], size[1] / original[1])
    rows, columns = (max(1, min(full, round(own * scale))) for own, full in zip(original, size, strict=True))
    return (size[0] - rows) // 2, (size[1] - columns) // 2, rows, columns


def read_image(path: Path) -> np.ndarray:
    """An image file as (H, W, 3) uint8, upright.

    Raises:
        ValueError: it cannot be read, or has more than 8 bits.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            deep = opened.mode in ("I", "F") or opened.mode.startswith("I;")
            if deep or any(";16" in str(tile[-1]) for tile in getattr(opened, "tile", [])):
                raise ValueError(f"{path}: has more than 8 bits; convert it to 8 bits as the training's were read")
            upright = ImageOps.exif_transpose(opened)
            if upright.mode == "P":
                upright.info.pop("transparency", None)  # dropped in any case; Pillow warns of it
            return np.asarray(upright.convert("RGB"))
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file") from error
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: cannot be read as an image ({error})") from error


def write_mask(path: Path, mask: np.ndarray) -> None:
    """A mask (H, W) bool as a PNG of 0 and 255, whole or not at all."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    told = PngInfo()
    told.add_text("Comment", "Research use, not a medical device.")
    half = path.with_name(f".{path.name}.part")
    Image.fromarray(mask.astype(np.uint8) * 255).save(half, format="PNG", pnginfo=told)
    half.replace(path)
