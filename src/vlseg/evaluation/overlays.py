"""Pictures of predictions: outlines over the image, and rows of image | truth | prediction."""

import numpy as np
from PIL import Image
from scipy import ndimage

TRUTH_COLOUR, PREDICTION_COLOUR = (255, 176, 0), (0, 188, 212)
PANEL_WIDTH = 256
_GAP = 4


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
    inner = ndimage.binary_erosion(mask, iterations=thickness)
    pixels[mask] = 0.7 * pixels[mask] + 0.3 * paint
    pixels[mask & ~inner] = paint
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def panel_row(image: np.ndarray, truth: np.ndarray | None, prediction: np.ndarray) -> Image.Image:
    """Image, truth and prediction side by side, each PANEL_WIDTH wide; an unknown truth is left blank."""
    parts = [
        Image.fromarray((image * 255).astype(np.uint8)),
        overlay(image, truth, TRUTH_COLOUR) if truth is not None else None,
        overlay(image, prediction),
    ]
    height = max(1, round(PANEL_WIDTH * image.shape[0] / image.shape[1]))
    row = Image.new("RGB", (PANEL_WIDTH * 3 + _GAP * 2, height), (255, 255, 255))
    for position, part in enumerate(parts):
        if part is not None:
            enlarging = part.width < PANEL_WIDTH
            method = Image.Resampling.NEAREST if enlarging else Image.Resampling.LANCZOS
            row.paste(part.resize((PANEL_WIDTH, height), method), (position * (PANEL_WIDTH + _GAP), 0))
    return row
