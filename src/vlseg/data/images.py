"""Reading images: any common format to RGB in [0, 1], EXIF orientation applied."""

from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from vlseg.records import InputError, IntensityPolicy

_DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
PERCENTILES = (0.5, 99.5)


def open_image(path: Path) -> Image.Image:
    """The decoded image, upright by its EXIF orientation.

    Raises:
        InputError: missing, empty, truncated, too large, or of no known format.
    """
    try:
        with path.open("rb") as stream:
            return decode_image(stream, str(path))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error})") from error


def decode_image(stream: IO[bytes], name: str) -> Image.Image:
    """The image in a stream, upright by its EXIF orientation; `name` stands in the errors.

    Raises:
        InputError: empty, truncated, too large, or of no known format.
    """
    try:
        with Image.open(stream) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except UnidentifiedImageError as error:
        stream.seek(0)
        if not stream.read(1):
            raise InputError(f"{name}: the file is empty (0 bytes); copy it again") from error
        raise InputError(f"{name}: not an image in a format that can be read") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{name}: has too many pixels ({error}); make it smaller") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{name}: cannot be decoded ({error}); it may be truncated, copy it again") from error


def read_image(path: Path, policy: IntensityPolicy | None = None) -> NDArray[np.float32]:
    """RGB as (H, W, 3) float32 in [0, 1]; grey is repeated, alpha dropped, CMYK and palettes converted.

    Above 8 bit the dataset's policy decides what becomes 0 and 1.

    Raises:
        InputError: see `open_image`.
    """
    return unit_range(read_pixels(path, policy))


def read_pixels(path: Path, policy: IntensityPolicy | None = None) -> NDArray[np.uint8] | NDArray[np.float32]:
    """As `read_image`, but 8-bit images stay (H, W, 3) uint8: a quarter of the memory, for what keeps many.

    Raises:
        InputError: see `open_image`.
    """
    image = open_image(path)
    if image.mode in _DEEP_MODES:
        grey = _scale(np.asarray(image).astype(np.float64), policy or IntensityPolicy(), _depth(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.asarray(image.convert("RGB"))


def unit_range(pixels: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Pixels of `read_pixels` as float32 in [0, 1]."""
    return pixels.astype(np.float32) / np.float32(255) if pixels.dtype == np.uint8 else pixels.astype(np.float32)


def _depth(image: Image.Image) -> float:
    """The largest value the file's type can hold. A 32-bit mode is how PNG's 16 bits are often opened."""
    return 1.0 if image.mode == "F" else 65535.0


def _scale(values: NDArray[np.float64], policy: IntensityPolicy, full: float) -> NDArray[np.float32]:
    if policy.kind == "bits_stored":
        low, high = 0.0, float(2 ** (policy.bits or 16) - 1)
    elif policy.kind == "window":
        low = 0.0 if policy.low is None else policy.low
        high = full if policy.high is None else policy.high
    elif policy.kind == "percentile":
        low, high = (float(value) for value in np.percentile(values, PERCENTILES))
    else:
        low, high = 0.0, full
    scaled = (values - low) / max(high - low, np.finfo(np.float64).tiny)
    return np.clip(scaled, 0, 1).astype(np.float32)
