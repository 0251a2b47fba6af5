"""Whether a mask lies on its image: outlines of structures follow edges, mirrored or shifted ones do not."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from vlseg.data.masks import Mask

SIDE = 192
SIGMA = 1.5
SHIFT = 0.08
"""Share of the side by which masks are shifted to compare."""
_FULL = 0.9


def small_grey(image: Image.Image) -> NDArray[np.float32]:
    """(h, w) grey levels, the longer side at most 192 pixels."""
    deep = image.mode.startswith("I") or image.mode == "F"
    grey = Image.fromarray(np.asarray(image).astype(np.float32)) if deep else image.convert("RGB").convert("L")
    scale = min(1.0, SIDE / max(image.size))
    size = (max(8, round(image.width * scale)), max(8, round(image.height * scale)))
    return np.asarray(grey.resize(size, Image.Resampling.BOX), dtype=np.float32)


def alignment(grey: NDArray[np.float32], mask: Mask) -> dict[str, float] | None:
    """Mean gradient of the image along the mask's outline, as a multiple of the whole image's mean gradient.

    "as given", and for the mask mirrored, turned or shifted; None for masks without an outline and flat images.

    Args:
        grey: (h, w), see `small_grey`.
        mask: (H, W) bool.
    """
    small = np.asarray(Image.fromarray(mask).resize((grey.shape[1], grey.shape[0]), Image.Resampling.NEAREST))
    if not small.any() or small.mean() > _FULL:
        return None
    gradient = ndimage.gaussian_gradient_magnitude(grey, SIGMA)
    base = float(gradient.mean())
    if base <= 0:
        return None
    outline = ndimage.binary_dilation(small) ^ ndimage.binary_erosion(small, border_value=1)
    rows, columns = (max(1, round(SHIFT * side)) for side in outline.shape)
    placed = {
        "as given": outline,
        "mirrored left to right": outline[:, ::-1],
        "mirrored top to bottom": outline[::-1],
        "turned by 180 degrees": outline[::-1, ::-1],
        "shifted right": _shifted(outline, 0, columns),
        "shifted left": _shifted(outline, 0, -columns),
        "shifted down": _shifted(outline, rows, 0),
        "shifted up": _shifted(outline, -rows, 0),
    }
    return {name: float(gradient[one].mean()) / base if one.any() else 0.0 for name, one in placed.items()}


def _shifted(outline: Mask, rows: int, columns: int) -> Mask:
    moved = np.zeros_like(outline)
    height, width = outline.shape
    top, left = max(0, rows), max(0, columns)
    source = outline[max(0, -rows) : height - top, max(0, -columns) : width - left]
    moved[top : top + source.shape[0], left : left + source.shape[1]] = source
    return moved
