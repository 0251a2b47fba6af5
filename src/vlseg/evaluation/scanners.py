"""What one kind of scanner does to its pictures, in five severities, beside the corruptions of any picture.

As in `corruptions`: an image (H, W, 3) float32 in [0, 1], a severity from 1 to 5 and a seeded generator give an image
of the same shape and range; severities differ in strength, not in where things lie. Shapes and severities are ours,
after what such pictures show. A grey image stays grey, but for hairs, which are brown.
"""

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw

from vlseg.evaluation.corruptions import Corrupt, clipped

HIGHLIGHTS, HAIRS = 200, 80
"""How many are drawn; a severity shows the first of them."""


def gain(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Time gain compensation that is off: bands across the depth (rows), up to 20 to 90 % brighter or darker."""
    knobs = rng.uniform(-1, 1, 8)
    knobs /= np.abs(knobs).max()
    rows = np.interp(np.linspace(0, 7, image.shape[0]), np.arange(8), knobs)
    return clipped(image * (1 + (0.2, 0.35, 0.5, 0.7, 0.9)[severity - 1] * rows[:, None, None]))


def shadow(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """An acoustic shadow: from a point down a wedge, below 8 to 40 % of the width, takes 95 % of the light."""
    height, width = image.shape[:2]
    top, middle = rng.uniform(0.05, 0.35) * height, rng.uniform(0.25, 0.75) * width
    half = (0.08, 0.14, 0.21, 0.3, 0.4)[severity - 1] * width / 2
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    depth = np.clip((rows - top) / max(1.0, height - top), 0, 1)
    inside = np.clip((half * (0.6 + 0.4 * depth) - np.abs(columns - middle)) / max(1.0, 0.02 * width), 0, 1)
    taken = 0.95 * inside * np.clip((rows - top) / max(1.0, 0.05 * height), 0, 1)
    return clipped(image * (1 - taken[..., None]))


def highlights(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """White reflections of a wet surface: 6 to 200 soft-edged ellipses, half axes 0.5 to 3 % of the shorter side."""
    height, width = image.shape[:2]
    light = np.zeros((height, width), dtype=np.float32)
    places = rng.uniform(0, 1, (HIGHLIGHTS, 2)) * (height, width)
    sizes = np.maximum(0.7, rng.uniform(0.005, 0.03, (HIGHLIGHTS, 2)) * min(height, width))
    turns = rng.uniform(0, np.pi, HIGHLIGHTS)
    for number in range((6, 15, 40, 90, HIGHLIGHTS)[severity - 1]):
        (y, x), (long, short), turn = places[number], sizes[number], turns[number]
        reach = int(np.ceil(1.2 * max(long, short))) + 1
        top, left = max(0, int(y) - reach), max(0, int(x) - reach)
        window = light[top : int(y) + reach + 1, left : int(x) + reach + 1]
        rows, columns = np.mgrid[: window.shape[0], : window.shape[1]].astype(np.float32)
        rows, columns = rows + (top - y), columns + (left - x)
        along, across = (
            rows * np.cos(turn) + columns * np.sin(turn),
            columns * np.cos(turn) - rows * np.sin(turn),
        )
        np.maximum(window, np.clip(3 * (1.2 - np.hypot(along / long, across / short)), 0, 1), out=window)
    return clipped(image + (1 - image) * light[..., None])


def hair(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Dark bent hairs across a picture of skin: 3 to 80, each 0.4 to 1 % of the shorter side thick."""
    height, width = image.shape[:2]
    size, fine = (2 * width, 2 * height), 2 * np.array([width, height])  # twice as fine: edges are soft
    colours, cover = Image.new("RGB", size), Image.new("L", size)
    starts, turns = rng.uniform(0, 1, (HAIRS, 2)) * fine, rng.uniform(0, 2 * np.pi, HAIRS)
    bends, lengths = rng.uniform(-1.5, 1.5, HAIRS), rng.uniform(0.4, 1.2, HAIRS) * max(size)
    thick, tones = rng.uniform(0.004, 0.01, HAIRS) * min(size), rng.uniform(0.02, 0.25, HAIRS)
    for number in range((3, 8, 18, 40, HAIRS)[severity - 1]):
        angles = turns[number] + bends[number] * np.linspace(0, 1, 40)
        steps = np.stack([np.cos(angles), np.sin(angles)], 1) * lengths[number] / 40
        points = [tuple(point) for point in (starts[number] + np.cumsum(steps, 0)).tolist()]
        red, green, blue = (round(255 * tones[number] * share) for share in (1, 0.8, 0.6))
        wide = max(2, round(thick[number]))
        ImageDraw.Draw(colours).line(points, (red, green, blue), wide, joint="curve")
        ImageDraw.Draw(cover).line(points, 255, wide, joint="curve")
    own, covered = (np.asarray(one.reduce(2), dtype=np.float32) / 255 for one in (colours, cover))
    return clipped(image * (1 - covered[..., None]) + own)


def collimation(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Shutters of an X-ray tube, turned by up to 5 degrees: 5 to 40 % of the height and of the width lie behind them.

    Behind a shutter 3 % of the light is left, its edge is as blurred as a focal spot makes it.
    """
    height, width = image.shape[:2]
    shares, turn = rng.uniform(0.2, 0.8, 2), np.deg2rad(rng.uniform(-5, 5))
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    rows, columns = rows - (height - 1) / 2, columns - (width - 1) / 2
    turned = rows * np.cos(turn) - columns * np.sin(turn), columns * np.cos(turn) + rows * np.sin(turn)
    lit = np.ones((height, width), dtype=np.float32)
    behind = (0.05, 0.1, 0.18, 0.28, 0.4)[severity - 1]
    for axis, size, share in zip(turned, (height, width), shares, strict=True):
        soft = max(1.0, 0.01 * size)
        low, high = -size / 2 + behind * share * size, size / 2 - behind * (1 - share) * size
        lit *= np.clip((axis - low) / soft + 0.5, 0, 1) * np.clip((high - axis) / soft + 0.5, 0, 1)
    return clipped(image * (0.03 + 0.97 * lit[..., None]))


_ULTRASOUND: Mapping[str, Corrupt] = {"gain": gain, "shadow": shadow}
SCANNERS: Mapping[str, Mapping[str, Corrupt]] = {
    "ultrasound": _ULTRASOUND,
    "echocardiography": _ULTRASOUND,
    "endoscopy": {"highlights": highlights},
    "dermoscopy": {"hair": hair},
    "chest X-ray": {"collimation": collimation},
}
"""By modality, as the datasets' cards name it; speckle is among the corruptions of any picture."""
