"""Small pictures of what a dataset check found: the image with the outline of its mask."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from vlseg.data import mask_values, open_image
from vlseg.records import InputError, View

SIDE = 256
"""Pixels of a picture's longer side, at most."""
LINE, HALO = (255, 214, 0), (0, 0, 0)
"""Bright yellow between black lines: seen on dark and bright images, and without colour."""
WIDTH = 2
"""Of the bright line, in pixels."""
_SHARES = (0.5, 99.5)
"""Percentiles that become black and white, above 8 bits."""


def draw_view(view: View) -> bytes | None:
    """A WebP file of at most SIDE pixels a side; None where the image cannot be read, or one of its masks.

    The outline runs along the foreground as the dataset's reader sees it: the declared value, else what exceeds half
    of the mask's largest.
    """
    try:
        picture = _small(open_image(view.file))
        for path in view.masks:
            values = mask_values(path, index=view.mask_value is not None)
            picture = _outlined(picture, values == view.mask_value if view.mask_value is not None else _above(values))
    except InputError:
        return None  # the check has said what is wrong with the file
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=75)
    return buffer.getvalue()


def _above(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.asarray(values > values.max() / 2)


def _small(image: Image.Image) -> Image.Image:
    """In RGB; what is not 0 to 255 is stretched to it, as are the values of label maps."""
    values = np.asarray(image)
    if values.ndim == 2 and image.mode != "P" and (image.mode not in {"L", "1"} or _dim(values)):
        numbers = np.nan_to_num(values.astype(np.float64))
        low, high = (numbers.min(), numbers.max()) if _dim(values) else np.percentile(numbers, _SHARES)
        image = Image.fromarray((np.clip((numbers - low) / max(high - low, 1e-9), 0, 1) * 255).astype(np.uint8))
    image.info.pop("transparency", None)
    picture = image.convert("RGB")
    picture.thumbnail((SIDE, SIDE))
    return picture


def _dim(values: NDArray[np.generic]) -> bool:
    """True for few levels near black, as of a label map of 0, 1 and 2."""
    return bool(values.dtype != np.bool_ and values.size and np.asarray(values).max() < 32)


def _outlined(picture: Image.Image, mask: NDArray[np.bool_]) -> Image.Image:
    """The picture with a line just inside of the mask's border; nothing where the mask is empty.

    Every part is seen, however small: a pixel of the small mask is set where any of its pixels is.
    """
    if not mask.any():
        return picture
    step = max(1, -(-max(mask.shape) // (2 * SIDE)))
    for axis in (0, 1):
        mask = np.logical_or.reduceat(mask, np.arange(0, mask.shape[axis], step), axis=axis)
    small = Image.fromarray(mask.astype(np.uint8) * 255).resize(picture.size, Image.Resampling.BOX)
    filled = small.point(lambda value: 255 if value else 0)
    grown = filled.filter(ImageFilter.MaxFilter(3))
    framed = Image.fromarray(np.pad(np.asarray(filled), WIDTH)).filter(ImageFilter.MinFilter(2 * WIDTH + 1))
    shrunk = framed.crop((WIDTH, WIDTH, picture.width + WIDTH, picture.height + WIDTH))
    outlined = picture.copy()
    outlined.paste(HALO, mask=grown)
    outlined.paste(LINE, mask=filled)
    outlined.paste(picture, mask=shrunk)
    return outlined
