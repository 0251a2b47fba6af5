"""Light augmentation of an image together with its masks and prompts."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from vlseg.prompts import mirrored, mirrored_name, names_a_place

INTENSITY_PROBABILITY = 0.5
SYMMETRY_PROBABILITY = 0.5


class Augmentation(NamedTuple):
    """What the variants of an epoch depend on; see `draw_variant`."""

    seed: int
    epoch: int
    zoom: float = 0.0
    rotate: float = 0.0


@dataclass(frozen=True)
class Variant:
    """How an image is changed.

    Attributes:
        intensity: gamma, contrast, brightness.
        axes: mirrored, in order.
        turns: quarter turns.
        scale, angle: about the middle; degrees, against the clock.
    """

    intensity: tuple[float, float, float] | None = None
    axes: tuple[str, ...] = ()
    turns: int = 0
    scale: float = 1.0
    angle: float = 0.0

    def image(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) float32 in [0, 1], changed; black where nothing was seen."""
        changed = self._turned(image if self.intensity is None else _with_intensity(image, *self.intensity))
        return self._warped(changed) if self._warps else changed

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """(H, W), bool or float32 in [0, 1], with the same geometry; float32 where it was scaled or turned.

        Edges are soft then, as on the network's grid: of a vessel one pixel wide nothing may fall between two places.
        """
        changed = self._turned(mask)
        return self._warped(changed.astype(np.float32)[..., None])[..., 0] if self._warps else changed

    def map(self, grid: np.ndarray, size: tuple[int, int], *, stretched: bool) -> np.ndarray:
        """(h, w) float32 on the network's grid, with the same geometry, on the same grid.

        Args:
            grid: a map of the image as it is.
            size: the image's (H, W).
            stretched: the image fills the grid, whatever its sides; else it keeps its aspect ratio in it.
        """
        turned = np.ascontiguousarray(self._turned(grid))
        if turned.shape != grid.shape:
            resized = F.interpolate(torch.from_numpy(turned)[None, None], size=grid.shape, mode="bilinear")
            turned = resized[0, 0].numpy()
        if not self._warps:
            return turned
        sides = (size[::-1] if self.turns % 2 else size) if stretched else None
        return self._warped(turned[..., None], sides)[..., 0]

    @property
    def _warps(self) -> bool:
        return self.scale != 1 or self.angle != 0

    def _turned(self, array: np.ndarray) -> np.ndarray:
        for axis in self.axes:
            array = np.flip(array, AXES[axis])
        return np.rot90(array, self.turns) if self.turns else array

    def _warped(self, array: np.ndarray, sides: tuple[int, ...] | None = None) -> np.ndarray:
        """(H, W, C) of the same size, every pixel from where it comes from, between the nearest four.

        `sides` (height, width) are those of what the array is stretched from; None = its own.
        """
        height, width = sides or array.shape[:2]
        across, down = math.cos(math.radians(self.angle)) / self.scale, math.sin(math.radians(self.angle)) / self.scale
        # Places run from -1 to 1 on both axes, however long they are: the angle is one of pixels.
        back = torch.tensor([[across, -down * height / width, 0], [down * width / height, across, 0]])
        grid = F.affine_grid(back[None], [1, 1, *array.shape[:2]], align_corners=False)
        pixels = torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))[None]
        found: np.ndarray = F.grid_sample(pixels, grid, mode="bilinear", align_corners=False)[0].numpy()
        return found.transpose(1, 2, 0)


AXES = {"horizontal": 1, "vertical": 0}


def augment(
    image: np.ndarray,
    masks: Sequence[np.ndarray],
    texts: Sequence[str],
    symmetries: frozenset[str],
    rng: np.random.Generator,
    *,
    zoom: float = 0.0,
    rotate: float = 0.0,
) -> tuple[np.ndarray, list[np.ndarray], list[str]]:
    """One random variant of an image (H, W, 3), its masks (H, W) and their prompts; see `draw_variant`."""
    variant, words = draw_variant(texts, symmetries, rng, zoom=zoom, rotate=rotate)
    return variant.image(image), [variant.mask(mask) for mask in masks], words


def draw_variant(
    texts: Sequence[str],
    symmetries: frozenset[str],
    rng: np.random.Generator,
    known: Collection[str] | None = None,
    *,
    zoom: float = 0.0,
    rotate: float = 0.0,
) -> tuple[Variant, list[str]]:
    """One random variant, and the texts as they are on it.

    Brightness, contrast and gamma change a little. A mirror image or a quarter turn happens only where
    the dataset allows that symmetry and every location word of every prompt can be rewritten.

    Args:
        texts: what the model is told of the image: prompts, or the names of targets.
        symmetries: allowed ones of "horizontal", "vertical", "rotation".
        rng: the only source of chance.
        known: the targets that a model knows which is told a target's name instead of reading: the left lung of a
            mirrored image is its right lung where it knows one; else the image is not mirrored.
        zoom: the image is scaled about its middle by up to 1 + `zoom`, or down to the inverse. What lies left of the
            middle stays left of it.
        rotate: and turned by up to so many degrees, either way.
    """
    intensity = _draw_intensity(rng) if rng.random() < INTENSITY_PROBABILITY else None
    words, axes, turns = list(texts), [], 0
    for axis in AXES:
        if axis in symmetries and rng.random() < SYMMETRY_PROBABILITY:
            rewritten = mirrored_all(words, axis, known)
            if rewritten is not None:
                axes.append(axis)
                words = rewritten
    if "rotation" in symmetries:
        drawn = int(rng.integers(4))  # whatever the words are, so that what follows does not hang on them
        turns = 0 if any(names_a_place(text) for text in words) else drawn
    # Drawn last, so that runs without them see what they always saw.
    scale = float((1 + zoom) ** rng.uniform(-1, 1)) if zoom else 1.0
    angle = float(rng.uniform(-rotate, rotate)) if rotate else 0.0
    return Variant(intensity, tuple(axes), turns, scale, angle), words


def mirrored_all(texts: Sequence[str], axis: str, known: Collection[str] | None = None) -> list[str] | None:
    """Every text for the mirrored image; None where one has no such form, or none that is `known`."""
    found = [mirrored(text, axis) if known is None else mirrored_name(text, axis, known) for text in texts]
    kept = [text for text in found if text is not None]
    return kept if len(kept) == len(found) else None


def _draw_intensity(rng: np.random.Generator) -> tuple[float, float, float]:
    return float(rng.uniform(0.9, 1.1)), float(rng.uniform(0.9, 1.1)), float(rng.uniform(-0.05, 0.05))


def _with_intensity(image: np.ndarray, gamma: float, contrast: float, brightness: float) -> np.ndarray:
    g, c, b = (np.float32(value) for value in (gamma, contrast, brightness))
    changed: np.ndarray = np.clip((image**g - 0.5) * c + 0.5 + b, 0, 1).astype(np.float32)
    return changed
