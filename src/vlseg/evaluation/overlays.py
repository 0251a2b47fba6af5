"""The picture of a prediction: its area and border over the image."""

import numpy as np
import scipy
from PIL import Image

PREDICTION_COLOUR = (0, 188, 212)


def overlay(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int] = PREDICTION_COLOUR) -> Image.Image:
    """The image with the mask as a translucent area and a solid outline.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        mask: (H, W) bool.
        colour: RGB, 0 to 255.
    """
    pixels = image * 255.0
    paint = np.asarray(colour, dtype=np.float32)
    thickness = max(1, round(max(mask.shape) / 256))
    inner = scipy.ndimage.binary_erosion(mask, iterations=thickness)
    pixels[mask] = 0.7 * pixels[mask] + 0.3 * paint
    pixels[mask & ~inner] = paint
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
