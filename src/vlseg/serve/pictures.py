"""Masks and maps as PNG and back."""

import base64
import io

import numpy as np
from PIL import Image, PngImagePlugin

from vlseg.serve.limits import Refused

NOTICE = "Research use, not a medical device."


def png(image: Image.Image, *, level: int = 6) -> bytes:
    """The bytes of a PNG file that says what it is for, in its text chunk "Comment"."""
    told = PngImagePlugin.PngInfo()
    told.add_text("Comment", NOTICE)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=told, compress_level=level)
    return buffer.getvalue()


def mask_png(mask: np.ndarray) -> bytes:
    """A mask (H, W) as PNG of one bit."""
    return png(Image.fromarray(mask))


def grey_png(values: np.ndarray) -> bytes:
    """(H, W) uint8 as PNG of 8 bits."""
    return png(Image.fromarray(values), level=1)


def as_text(content: bytes) -> str:
    """In base64."""
    return base64.b64encode(content).decode()


def read_mask_png(text: str, size: tuple[int, int], field: str) -> np.ndarray:
    """A mask (H, W) bool from a PNG in base64: foreground is above half of what its mode can hold.

    Raises:
        Refused: not base64, no PNG, another size, or of colours (422); a picture of another size is not decoded.
    """
    try:
        content = base64.b64decode(text, validate=True)
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.size != (size[1], size[0]):
                raise Refused(
                    422,
                    "mask_size",
                    f"{field}: is {image.width}x{image.height}, the image is {size[1]}x{size[0]}; send its size",
                )
            if image.mode not in ("1", "L"):
                raise Refused(422, "mask_colours", f"{field}: send a PNG of 1 bit or of 8 bits of grey, 0 and 255")
            return np.asarray(image.convert("L")) > 127
    except Refused:
        raise
    except Exception as error:  # whatever the decoder stumbles over in a malformed file is the file's fault
        raise Refused(422, "not_a_mask", f"{field}: is no PNG in base64; send one") from error
