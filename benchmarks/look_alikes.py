"""Made-up chest films that look alike, and copies of images changed in the ways that files get changed.

How alike films are is set by two factors: `own`, how strong what only one film shows is, and `build`, how far patients
differ in shape. Calibrated on correlations after full alignment (`near_recall.py calibration`): films of different
patients are more alike here than the real ones at hand in every difficulty, so that the check has the harder work.
"""

from collections.abc import Callable
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

Pixels = NDArray[np.float64]
Change = Callable[[Image.Image], Image.Image]
SITES = 150  # frames of the chest films
DIFFICULTIES = {"easy": (2.5, 1.0), "chest": (1.0, 1.0), "hard": (1.0, 0.5), "extreme": (0.6, 0.3)}  # own, build


@cache
def template(side: int) -> Pixels:
    """A chest: flanks, lungs, spine, heart, ribs."""
    yy, xx = np.mgrid[:side, :side] / side - 0.5
    chest = 150 - 60 * (np.abs(xx) > 0.42) + 50 * np.exp(-((xx / 0.05) ** 2))
    chest += 35 * np.exp(-(((xx - 0.06) / 0.13) ** 2 + ((yy - 0.15) / 0.14) ** 2))
    for middle in (-0.2, 0.2):
        chest -= 90 * np.exp(-((((xx - middle) / 0.13) ** 2 + (yy / 0.3) ** 2) ** 2))
    for top in np.linspace(-0.38, 0.3, 9):
        rib = yy - top - 1.2 * xx**2 - 0.1 * np.abs(xx)
        chest += 20 * np.exp(-((rib / 0.012) ** 2)) * (np.abs(xx) < 0.4)
    return np.asarray(chest)


def field(rng: np.random.Generator, cells: int, side: int) -> Pixels:
    """Smooth noise."""
    return ndimage.zoom(rng.normal(size=(cells, cells)), -(-side // cells), order=1)[:side, :side]


def chest(index: int, side: int, difficulty: str = "chest", sites: int = SITES) -> Pixels:
    """A film: the site's frame and markers, the patient's build, the film's own noise."""
    own, build = DIFFICULTIES[difficulty]
    site, patient = np.random.default_rng([1, index % sites]), np.random.default_rng([2, index])
    yy, xx = np.mgrid[:side, :side]
    scale = 1 + build * 0.06 * patient.normal(size=2)
    at = [
        (place - side / 2) * size + side / 2 + build * side * (0.02 * field(patient, 5, side) + 0.03 * patient.normal())
        for place, size in zip((yy, xx), scale, strict=True)
    ]
    film = ndimage.map_coordinates(template(side), at, order=1, mode="nearest")
    film += own * (5 * field(patient, 8, side) + 8 * field(patient, 28, side) + 4 * field(patient, 56, side))
    film = (film - 128) * (1 + 0.15 * patient.normal()) + 128 + 10 * patient.normal()
    top, left, bottom, right = (site.uniform(0, 0.12, 4) * side).astype(int)
    film[:top], film[:, :left], film[side - bottom :], film[:, side - right :] = 0, 0, 0, 0
    for down, across in (site.uniform(0.05, 0.85, (3, 2)) * side).astype(int):
        film[down : down + side // 16, across : across + side // 10] = 255
    return np.asarray(film)


def _levels(change: Callable[[Pixels], Pixels], image: Image.Image) -> Image.Image:
    return Image.fromarray(np.clip(change(np.asarray(image.convert("L"), float)), 0, 255).astype(np.uint8))


def _crop(shares: tuple[float, float, float, float], image: Image.Image) -> Image.Image:
    """Takes these shares off left, top, right, bottom."""
    width, height = image.size
    left, top, right, bottom = shares
    return image.crop(
        tuple(round(at) for at in (left * width, top * height, (1 - right) * width, (1 - bottom) * height))
    )


def _resize(across: float, down: float, image: Image.Image) -> Image.Image:
    return image.resize((round(image.width * across), round(image.height * down)))


def _shift(across: float, down: float, image: Image.Image) -> Image.Image:
    shifted = Image.new("L", image.size)
    shifted.paste(image.convert("L"), (round(across * image.width), round(down * image.height)))
    return shifted


def _noise(strength: float, image: Image.Image) -> Image.Image:
    rng = np.random.default_rng(np.asarray(image.convert("L"), int).sum())
    return _levels(lambda pixels: pixels + strength * rng.normal(size=pixels.shape), image)


def _text(image: Image.Image) -> Image.Image:
    """A label on black, and letters on the image itself."""
    drawn = image.convert("L")
    width, height = drawn.size
    pen = ImageDraw.Draw(drawn)
    pen.rectangle((0.03 * width, 0.03 * height, 0.3 * width, 0.09 * height), fill=0)
    pen.text((0.05 * width, 0.04 * height), "PORTABLE 12:30", fill=255)
    pen.text((0.6 * width, 0.9 * height), "R  AP", fill=255)
    return drawn


def _gamma(exponent: float, factor: float, image: Image.Image) -> Image.Image:
    return _levels(lambda pixels: 255 * factor * (pixels / 255) ** exponent, image)


def _stretch(factor: float, image: Image.Image) -> Image.Image:
    return _levels(lambda pixels: (pixels - 128) * factor + 128, image)


# What is done to the image, and the JPEG quality it is then saved with.
COPIES: dict[str, tuple[list[Change], int]] = {
    "quality 40": ([], 40),
    "quality 20": ([], 20),
    "half the size": ([partial(_resize, 0.5, 0.5)], 95),
    "twice the size": ([partial(_resize, 2, 2)], 95),
    "stretched by 10 %": ([partial(_resize, 1, 0.9)], 95),
    "shifted by 5 %": ([partial(_shift, 0.05, 0)], 95),
    "shifted by 4 % both ways": ([partial(_shift, -0.04, 0.04)], 95),
    "5 % off each side": ([partial(_crop, (0.05, 0.05, 0.05, 0.05))], 95),
    "5 % off two sides": ([partial(_crop, (0.05, 0, 0, 0.05))], 95),
    "5 % off one side": ([partial(_crop, (0.05, 0, 0, 0))], 95),
    "brighter by 10 %": ([partial(_gamma, 1, 1.1)], 95),
    "darker by 20 %": ([partial(_gamma, 1, 0.8)], 95),
    "contrast 1.3": ([partial(_stretch, 1.3)], 95),
    "contrast 0.7": ([partial(_stretch, 0.7)], 95),
    "gamma 0.7": ([partial(_gamma, 0.7, 1)], 95),
    "gamma 1.4": ([partial(_gamma, 1.4, 1)], 95),
    "noise of 5 grey levels": ([partial(_noise, 5)], 95),
    "noise of 12 grey levels": ([partial(_noise, 12)], 95),
    "text burnt in": ([_text], 95),
    "cropped, gamma, text, quality 40": (
        [partial(_crop, (0.03, 0.02, 0.04, 0.05)), partial(_gamma, 0.85, 1), _text],
        40,
    ),
}

# Not promised: how often they are found is measured all the same.
BEYOND: dict[str, tuple[list[Change], int]] = {
    "10 % off each side": ([partial(_crop, (0.1, 0.1, 0.1, 0.1))], 95),
    "turned by 3 degrees": ([lambda image: image.rotate(3, resample=Image.Resampling.BILINEAR)], 95),
    "mirrored": ([lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)], 95),
    "inverted": ([partial(_levels, lambda pixels: 255 - pixels)], 95),
}


def changed(image: Image.Image, kind: str) -> tuple[Image.Image, int]:
    """The copy, and the quality it is to be saved with."""
    changes, quality = {**COPIES, **BEYOND}[kind]
    for change in changes:
        image = change(image)
    return image.convert("L"), quality
