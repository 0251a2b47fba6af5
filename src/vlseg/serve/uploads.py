"""Bytes that somebody sent to pixels: by content, within the limits, as `vlseg predict` reads the same file."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlseg.records import IntensityPolicy
from vlseg.serve.limits import Limits, Refused


@dataclass(frozen=True)
class Upload:
    """A read image.

    Attributes:
        pixels: (H, W, 3), uint8, or float32 in [0, 1] for files above 8 bit; upright.
        spacing_mm: (y, x) of a pixel, or None where the file tells none that can be trusted.
    """

    pixels: NDArray[np.uint8] | NDArray[np.float32]
    spacing_mm: tuple[float, float] | None = None


def read_upload(
    data: bytes, name: str, limits: Limits, intensity: IntensityPolicy | None = IntensityPolicy()
) -> Upload:
    """The image in `data`.

    Raises:
        Refused: with 413 (too large), 415 (no such format) or 422 (cannot be read).
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > limits.pixels:
                raise Refused(413, "too_many_pixels", f"{name}: has over {limits.pixels} pixels; make it smaller")
            return Upload(np.asarray(image.convert("RGB")))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Refused(415, "not_an_image", f"{name}: cannot be read as an image; send a PNG or JPEG file") from error
