"""Light augmentation of an image together with its masks and prompts."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from vlseg.prompts import mirrored, mirrored_name, names_a_place

INTENSITY_PROBABILITY = 0.5
SYMMETRY_PROBABILITY = 0.5


@dataclass(frozen=True)
class Variant:
    """How an image is changed: intensity as (gamma, contrast, brightness), mirrored axes in order, quarter turns."""

    intensity: tuple[float, float, float] | None = None
    axes: tuple[str, ...] = ()
    turns: int = 0

    def image(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) float32 in [0, 1], changed."""
        return self.mask(image if self.intensity is None else _with_intensity(image, *self.intensity))

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """(H, W) or (H, W, 3) with the same geometry."""
        for axis in self.axes:
            mask = np.flip(mask, AXES[axis])
        return np.rot90(mask, self.turns) if self.turns else mask


AXES = {"horizontal": 1, "vertical": 0}


def augment(
    image: np.ndarray,
    masks: Sequence[np.ndarray],
    texts: Sequence[str],
    symmetries: frozenset[str],
    rng: np.random.Generator,
) -> tuple[np.ndarray, list[np.ndarray], list[str]]:
    """One random variant of an image (H, W, 3), its masks (H, W) and their prompts; see `draw_variant`."""
    variant, words = draw_variant(texts, symmetries, rng)
    return variant.image(image), [variant.mask(mask) for mask in masks], words


def draw_variant(
    texts: Sequence[str], symmetries: frozenset[str], rng: np.random.Generator, known: Collection[str] | None = None
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
    """
    intensity = _draw_intensity(rng) if rng.random() < INTENSITY_PROBABILITY else None
    words, axes, turns = list(texts), [], 0
    for axis in AXES:
        if axis in symmetries and rng.random() < SYMMETRY_PROBABILITY:
            rewritten = mirrored_all(words, axis, known)
            if rewritten is not None:
                axes.append(axis)
                words = rewritten
    if "rotation" in symmetries and not any(names_a_place(text) for text in words):
        turns = int(rng.integers(4))
    return Variant(intensity, tuple(axes), turns), words


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
