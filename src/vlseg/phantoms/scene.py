"""What is in a phantom and how it looks: objects with attributes, drawn as a speckled ultrasound-like image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Level = Literal["easy", "hard"]
Floats = NDArray[np.float64]

LOCATIONS: Mapping[str, tuple[float, float]] = {
    "upper left": (0.27, 0.26),
    "upper right": (0.27, 0.74),
    "lower left": (0.74, 0.26),
    "lower right": (0.74, 0.74),
}
"""Centres (y, x) as fractions of the image's side."""

CENTRE_JITTER, GAP, EDGE = 0.035, 0.03, 0.012
"""Fractions of the side: how far a centre strays, how close two objects may come, width of the soft edge."""


@dataclass(frozen=True)
class LevelRules:
    """What a level draws from. `sizes` are ranges of the radius of the circle of equal area, per side length.

    `values` holds the choices per attribute, the class included; `tones` the echo level of the tissue's 0.42.
    """

    values: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, tuple[float, float]]
    tones: Mapping[str, tuple[float, float]]
    counts: tuple[int, ...]


LEVELS: Mapping[Level, LevelRules] = {
    "easy": LevelRules(
        values={
            "class": ("dark cyst", "bright nodule"),
            "shape": ("round", "elongated"),
            "size": ("small", "large"),
            "location": tuple(LOCATIONS),
        },
        sizes={"small": (0.065, 0.08), "large": (0.12, 0.14)},
        tones={"dark": (0.06, 0.12), "bright": (0.8, 0.95)},
        counts=(2, 3, 3),
    ),
    "hard": LevelRules(
        values={
            "class": ("cyst", "nodule"),
            "brightness": ("dark", "bright"),
            "shape": ("round", "elongated", "irregular", "ring"),
            "size": ("small", "medium", "large"),
            "location": tuple(LOCATIONS),
        },
        sizes={"small": (0.06, 0.07), "medium": (0.088, 0.1), "large": (0.12, 0.14)},
        tones={"dark": (0.2, 0.28), "bright": (0.58, 0.68)},
        counts=(2, 3, 4),
    ),
}


@dataclass(frozen=True)
class Scene:
    """One phantom. `objects[i]` are the attributes of the object whose mask is `masks[i]`.

    Attributes:
        image: (size, size), uint8.
        masks: (number of objects, size, size), bool, pairwise disjoint.
    """

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    objects: tuple[Mapping[str, str], ...]


def draw_scene(rng: np.random.Generator, patient: np.random.Generator, level: Level, size: int) -> Scene:
    """One phantom; `patient` sets what the images of a patient share (fan, tissue, gain)."""
    rules = LEVELS[level]
    objects = _draw_objects(rng, rules)
    echo = tissue(rng, patient, size)
    alphas: list[Floats] = []
    for thing in objects:
        alpha = _place(rng, rules, thing, alphas, size)
        alphas.append(alpha)
        echo = echo * (1 - alpha) + alpha * _interior(rng, rules, thing, alpha, size)
    return Scene(scan(echo, rng, patient), np.stack(alphas) > 0.5, objects)


def _draw_objects(rng: np.random.Generator, rules: LevelRules) -> tuple[Mapping[str, str], ...]:
    """Attributes of the objects, one per quadrant; two of a class in most images, so that class is not enough."""
    number = int(rng.choice(rules.counts))
    places = rng.permutation(len(LOCATIONS))[:number]
    objects = []
    for place in places:
        thing = {name: str(rng.choice(choices)) for name, choices in rules.values.items()}
        objects.append(thing | {"location": tuple(LOCATIONS)[place]})
    if rng.random() < 0.4:
        objects[1]["class"] = objects[0]["class"]
    return tuple(objects)


def _place(
    rng: np.random.Generator, rules: LevelRules, thing: Mapping[str, str], others: list[Floats], size: int
) -> Floats:
    """The object's soft mask (size, size) in [0, 1], somewhere near its quadrant's centre, clear of the others."""
    clear = np.ones((size, size), dtype=bool)
    for other in others:
        clear &= ndimage.distance_transform_edt(other <= 0.5) > GAP * size
    centre = np.array(LOCATIONS[thing["location"]])
    radius = rng.uniform(*rules.sizes[thing["size"]])
    # Shrinking the stray and turning again ends in a place that is free: quadrants do not overlap.
    for attempt in range(100):
        stray = CENTRE_JITTER * max(0.0, 1 - attempt / 50)
        alpha = outline(rng, thing["shape"], centre + rng.uniform(-stray, stray, 2), radius, size)
        if clear[alpha > 0.5].all():
            break
    return alpha


def outline(rng: np.random.Generator, shape: str, centre: Floats, radius: float, size: int) -> Floats:
    """A shape of the area of a circle of `radius` (a ring: a hollow one of that outer radius), soft at its edge."""
    axis = (np.arange(size) + 0.5) / size
    y, x = axis[:, None] - centre[0], axis[None, :] - centre[1]
    angle = rng.uniform(0, np.pi)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    aspect = rng.uniform(2.0, 2.4) if shape == "elongated" else rng.uniform(1.0, 1.1)
    turn = np.arctan2(v, u)
    waves = (3, 4, 5) if shape == "irregular" else (2, 3)
    height = 0.14 if shape == "irregular" else 0.015
    wobble = 1 + sum(height * np.cos(k * turn + rng.uniform(0, 2 * np.pi)) for k in waves)
    outward = (1 - np.hypot(u / np.sqrt(aspect), v * np.sqrt(aspect)) / (radius * wobble)) * radius
    if shape == "ring":
        outward = np.minimum(outward, 0.5 * radius - outward)
    edge = max(EDGE, 0.5 / size)
    return np.asarray(1 / (1 + np.exp(-np.clip(outward / (edge * 0.5), -40, 40))))


def _interior(
    rng: np.random.Generator, rules: LevelRules, thing: Mapping[str, str], alpha: Floats, size: int
) -> Floats:
    """The echo level (size, size) inside the object. Hard: a cyst is smooth with a bright wall, a nodule is coarse."""
    tone = thing.get("brightness") or thing["class"].split()[0]
    level = rng.uniform(*rules.tones[tone])
    if "brightness" not in thing:
        return level * (1 + 0.1 * smooth_noise(rng, size, 0.03))
    if thing["class"] == "nodule":
        return np.clip(level * (1 + 0.45 * smooth_noise(rng, size, 0.014)), 0.02, 1.0)
    wall = 4 * alpha * (1 - alpha)
    return level + 0.35 * wall


def smooth_noise(rng: np.random.Generator, size: int, width: float) -> Floats:
    """Noise (size, size) of unit deviation, smooth over `width` of the side."""
    noise = ndimage.gaussian_filter(rng.standard_normal((size, size)), max(width * size, 0.3), mode="reflect")
    return np.asarray((noise - noise.mean()) / (noise.std() + 1e-9))


def tissue(rng: np.random.Generator, patient: np.random.Generator, size: int) -> Floats:
    """Echo level (size, size) of tissue: wavy layers that follow the patient, blotches that are the image's own."""
    axis = (np.arange(size) + 0.5) / size
    y, x = axis[:, None], axis[None, :]
    tilt, bend, phase = patient.uniform(-0.25, 0.25), patient.uniform(-0.3, 0.3), patient.uniform(0, 2 * np.pi)
    depth = y + tilt * (x - 0.5) + bend * (x - 0.5) ** 2 + 0.02 * smooth_noise(rng, size, 0.1)
    layers = np.sin(2 * np.pi * depth * patient.uniform(2.0, 4.0) + phase) ** 3
    fade = 1.08 - patient.uniform(0.1, 0.35) * y
    blotches = 0.055 * smooth_noise(rng, size, 0.07) + 0.025 * smooth_noise(rng, size, 0.02)
    return np.clip((0.42 + 0.05 * layers + blotches) * fade, 0.05, 1.0)


def scan(echo: Floats, rng: np.random.Generator, patient: np.random.Generator) -> NDArray[np.uint8]:
    """Speckle, the probe's fan, vignette and gain on an echo map (size, size)."""
    size = len(echo)
    # Rayleigh amplitude, blurred sideways more than in depth, as a probe's beam does.
    speckle = ndimage.gaussian_filter(rng.rayleigh(1.0, echo.shape), (0.45, 0.8)) / np.sqrt(np.pi / 2)
    noisy = echo * (1 + 0.75 * (speckle - 1)) + 0.012 * rng.standard_normal(echo.shape)
    axis = (np.arange(size) + 0.5) / size
    y, x = axis[:, None] + patient.uniform(0.85, 1.1), axis[None, :] - 0.5
    distance, half_angle = np.hypot(y, x), patient.uniform(25.0, 28.0)
    sideways = np.radians(half_angle) - np.abs(np.arctan2(x, y))
    top, bottom = distance - (y[0, 0] + 0.035), y[0, 0] + 1.0 - distance
    inside = np.clip(np.minimum(np.minimum(sideways, top), bottom) * 80 + 0.5, 0, 1)
    vignette = 1 - patient.uniform(0.25, 0.45) * ((axis[:, None] - 0.5) ** 2 + x**2) * 1.6
    gained = np.clip(noisy, 0, 1) ** patient.uniform(0.85, 1.1) * patient.uniform(0.9, 1.05)
    return np.asarray(np.clip(gained * vignette * inside, 0, 1) * 255, dtype=np.uint8)
