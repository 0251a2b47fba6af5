"""Bytes that somebody sent to pixels: by content, within the limits, as `vlseg predict` reads the same file."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlseg.records import IntensityPolicy
from vlseg.serve.limits import Limits


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
    """The image in `data`, as `Predictor.read` gives it for the same file.

    Args:
        data: the file's content.
        name: of the field, for messages ("image"); never the client's file name, which nothing depends on.
        limits: bytes, pixels and frames count.
        intensity: of the model (`Predictor.intensity`); None = files above 8 bit are refused.

    Raises:
        Refused: with 413 (too large), 415 (no such format) or 422 (cannot be read).
    """
    raise NotImplementedError
