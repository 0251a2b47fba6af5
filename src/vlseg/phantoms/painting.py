"""Pictures of dressed phantoms: a ground, and things on it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlseg.phantoms.dresses import RADII, Ground
from vlseg.phantoms.scene import GAP, Floats, outline, scan, smooth_noise, tissue

Mask = NDArray[np.bool_]
Rng = np.random.Generator
Colour = Sequence[float] | Floats
"""RGB in [0, 1]."""


@dataclass(frozen=True)
class Canvas:
    """A square of `size` pixels that holds an image of `height` x `width` in its middle."""

    size: int
    height: int
    width: int

    @property
    def window(self) -> tuple[slice, slice]:
        """The image's rows and columns."""
        top, left = (self.size - self.height) // 2, (self.size - self.width) // 2
        return slice(top, top + self.height), slice(left, left + self.width)

    def at(self, y: float, x: float) -> Floats:
        """A place in shares of the image in shares of the canvas."""
        rows, columns = self.window
        return np.array([rows.start + y * self.height, columns.start + x * self.width]) / self.size

    def radius(self, size: str, rng: Rng) -> float:
        """A radius of that word in shares of the canvas."""
        return float(rng.uniform(*RADII[size])) * min(self.height, self.width) / self.size


def canvas_of(size: int, ratio: float) -> Canvas:
    """The canvas of images with `size` pixels on their longer side and that width over height."""
    short = round(size * min(ratio, 1 / ratio))
    return Canvas(size, short if ratio > 1 else size, size if ratio > 1 else short)


def place(canvas: Canvas, rng: Rng, shape: str, size: str, others: Sequence[Floats]) -> Floats | None:
    """The soft mask of one thing anywhere in the image, clear of the others; None where there is no room."""
    clear = np.zeros((canvas.size, canvas.size), dtype=bool)
    clear[canvas.window] = True
    for other in others:
        clear &= ndimage.distance_transform_edt(other <= 0.5) > GAP * canvas.size
    radius = canvas.radius(size, rng)
    for attempt in range(60):
        alpha = outline(rng, shape, canvas.at(*rng.uniform(0.12, 0.88, 2)), radius, canvas.size)
        if clear[alpha > 0.5].all():
            return alpha
        if attempt >= 20:
            radius *= 0.98
    return None


def heart(canvas: Canvas, rng: Rng) -> list[Floats]:
    """Left ventricle, the muscle around it, and the atrium below: three soft masks that do not overlap."""
    side = min(canvas.height, canvas.width) / canvas.size
    centre, radius = canvas.at(rng.uniform(0.36, 0.42), rng.uniform(0.46, 0.54)), rng.uniform(0.15, 0.18) * side
    # The same draws twice: wall and cavity have one centre, one turn and one outline.
    same = int(rng.integers(2**32))
    cavity, heart_ = (
        outline(np.random.default_rng(same), "round", centre, radius * scale, canvas.size) for scale in (1.0, 1.55)
    )
    below = centre + np.array([radius * 2.3, 0.0])
    atrium = outline(rng, str(rng.choice(["round", "elongated"])), below, radius * rng.uniform(0.6, 0.75), canvas.size)
    wall = np.clip(heart_ - cavity, 0, 1)
    return [cavity, wall, np.clip(atrium - heart_, 0, 1)]


def paint(
    ground: Ground, canvas: Canvas, rng: Rng, patient: Rng, things: Sequence[tuple[Floats, Sequence[float]]]
) -> NDArray[np.uint8]:
    """The image (height, width, 3): each thing, a soft mask with its colour, over those before it.

    `patient` sets what the images of a patient share.
    """
    picture = GROUNDS[ground](canvas, rng, patient)
    for alpha, tone in things:
        inside = np.asarray(tone) * (1 + 0.06 * smooth_noise(rng, canvas.size, 0.03))[..., None]
        picture = picture * (1 - alpha[..., None]) + inside * alpha[..., None]
    if ground == "ultrasound":
        picture = np.repeat(scan(picture[..., 0], rng, patient)[..., None] / 255, 3, axis=2)
    else:
        picture = picture + 0.012 * rng.standard_normal((canvas.size, canvas.size, 1))
    return np.asarray(np.clip(picture[canvas.window], 0, 1) * 255, dtype=np.uint8)


def _flat(canvas: Canvas, rng: Rng, colour: Colour, rough: float) -> Floats:
    """One colour (size, size, 3) with smooth blotches."""
    blotches = 1 + rough * smooth_noise(rng, canvas.size, 0.08)
    return np.asarray(np.array(colour) * blotches[..., None])


def _blob(canvas: Canvas, y: float, x: float, height: float, width: float) -> Floats:
    """An ellipse (size, size, 1), soft at its edge; centre and half axes in shares of the image."""
    axis = (np.arange(canvas.size) + 0.5) / canvas.size
    middle, ends = canvas.at(y, x), canvas.at(y + height, x + width)
    far = np.hypot(
        (axis[:, None] - middle[0]) / (ends[0] - middle[0]), (axis[None] - middle[1]) / (ends[1] - middle[1])
    )
    return np.asarray(1 / (1 + np.exp(np.clip((far - 1) * 18, -40, 40))))[..., None]


def _mix(below: Floats, colour: Colour, alpha: Floats) -> Floats:
    return below * (1 - alpha) + np.array(colour) * alpha


def _endoscopy(canvas: Canvas, rng: Rng, patient: Rng) -> Floats:
    wall = _flat(canvas, rng, (0.66, 0.3, 0.22), 0.08)
    lumen = _blob(canvas, patient.uniform(0.3, 0.7), patient.uniform(0.3, 0.7), 0.18, 0.18)
    return _mix(wall, (0.2, 0.07, 0.05), lumen * 0.8) * (0.35 + 0.65 * _blob(canvas, 0.5, 0.5, 0.62, 0.62))


def _skin(canvas: Canvas, rng: Rng, patient: Rng) -> Floats:
    return _flat(canvas, rng, np.array((0.88, 0.7, 0.6)) * patient.uniform(0.85, 1.05), 0.03)


def _foot(canvas: Canvas, rng: Rng, patient: Rng) -> Floats:
    cloth = _flat(canvas, rng, (0.2, 0.35, 0.5), 0.04)
    return _mix(cloth, np.array((0.84, 0.62, 0.52)) * patient.uniform(0.85, 1.05), _blob(canvas, 0.5, 0.5, 0.5, 0.56))


def _ultrasound(canvas: Canvas, rng: Rng, patient: Rng) -> Floats:
    return np.repeat(tissue(rng, patient, canvas.size)[..., None], 3, axis=2)


def _lungs(canvas: Canvas, body: Floats, tone: float) -> Floats:
    for x in (0.29, 0.71):
        body = _mix(body, (tone,) * 3, _blob(canvas, 0.48, x, 0.38, 0.17))
    return body


def _x_ray(canvas: Canvas, rng: Rng, patient: Rng) -> Floats:
    return _lungs(canvas, _flat(canvas, rng, (patient.uniform(0.58, 0.66),) * 3, 0.03), 0.24)


def _slice(canvas: Canvas, rng: Rng, patient: Rng) -> Floats:
    air = np.zeros((canvas.size, canvas.size, 3))
    body = _mix(air, (patient.uniform(0.48, 0.55),) * 3, _blob(canvas, 0.5, 0.5, 0.44, 0.48))
    return _lungs(canvas, body, 0.12)


def _histology(canvas: Canvas, rng: Rng, patient: Rng) -> Floats:
    return _flat(canvas, rng, np.array((0.9, 0.66, 0.8)) * patient.uniform(0.92, 1.05), 0.06)


GROUNDS: Mapping[Ground, Callable[[Canvas, Rng, Rng], Floats]] = {
    "endoscopy": _endoscopy,
    "skin": _skin,
    "foot": _foot,
    "ultrasound": _ultrasound,
    "x-ray": _x_ray,
    "slice": _slice,
    "histology": _histology,
}
"""Each gives (size, size, 3) in about [0, 1]."""
