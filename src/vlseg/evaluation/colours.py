"""What an image's colours are like, in a few numbers that do not depend on its size."""

from collections.abc import Mapping

import numpy as np
import torch
from torch.nn import functional as F

SIDE = 96
"""The image is brought to so many pixels a side first, each the mean of those that it stands for."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
PARTS = 3
"""Rows and columns of the fields whose brightness is told."""
DARK, BRIGHT = 0.05, 0.95

NAMES: tuple[str, ...] = (
    *(f"brightness {quantile:g}" for quantile in QUANTILES),
    "dark share",
    "bright share",
    "contrast",
    "change across",
    "change down",
    "colour",
    "red against green",
    "blue against both",
    "red against green spread",
    "blue against both spread",
    *(f"field {row} {column}" for row in range(PARTS) for column in range(PARTS)),
)
"""Of the numbers, in order."""
CHROMA = NAMES.index("colour")
WORDS: Mapping[str, tuple[str, str]] = {
    "brightness": ("darker", "brighter"),
    "dark": ("less black", "more black"),
    "bright": ("less white", "more white"),
    "contrast": ("less contrast", "more contrast"),
    "change": ("smoother", "sharper or noisier"),
    "colour": ("less colour", "more colour"),
    "red": ("other colours", "other colours"),
    "blue": ("other colours", "other colours"),
    "field": ("light and dark lie elsewhere", "light and dark lie elsewhere"),
}
"""What a low number and a high one mean, by the first word of its name."""


def colour_statistics(pixels: np.ndarray) -> np.ndarray:
    """The numbers of NAMES.

    Args:
        pixels: (H, W, 3) float32, RGB in [0, 1].

    Returns:
        (len(NAMES),) float64. Quantiles, shares and the mean distance of the largest from the smallest channel
        ("colour") lie in [0, 1]; changes are mean differences between neighbours; fields are the brightness of a
        ninth of the image, less that of the whole.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    small = F.adaptive_avg_pool2d(tensor, SIDE).double()
    light = small.mean(dim=0)
    red_green, blue_both = small[0] - small[1], small[2] - (small[0] + small[1]) / 2
    fields = F.adaptive_avg_pool2d(light[None], PARTS).flatten() - light.mean()
    numbers = [
        torch.quantile(light.flatten(), torch.tensor(QUANTILES, dtype=torch.float64)),
        torch.stack(
            [
                (light < DARK).double().mean(),
                (light > BRIGHT).double().mean(),
                light.std(),
                light.diff(dim=1).abs().mean(),
                light.diff(dim=0).abs().mean(),
                (small.amax(dim=0) - small.amin(dim=0)).mean(),
                red_green.mean(),
                blue_both.mean(),
                red_green.std(),
                blue_both.std(),
            ]
        ),
        fields,
    ]
    return torch.cat(numbers).numpy()


def in_words(name: str, deviation: float) -> str:
    """What a number means that is below or above what is usual."""
    low, high = WORDS[name.split()[0]]
    return high if deviation > 0 else low
