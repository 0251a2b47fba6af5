"""The picture of a prediction: its area and border over the image."""

import numpy as np
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
    inner = _eroded(mask, thickness)
    pixels[mask] = 0.7 * pixels[mask] + 0.3 * paint
    pixels[mask & ~inner] = paint
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _eroded(mask: np.ndarray, steps: int) -> np.ndarray:
    """The pixels that stay when those beside another, or beside the border, are taken off so many times.

    As scipy.ndimage.binary_erosion, whose import takes longer than a small picture.
    """
    for _ in range(steps):
        wide = np.pad(mask, 1)
        mask = mask & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return mask
