"""Image corruptions in five severities: what scanners, cables and people do to pictures.

Each takes an image (H, W, 3) float32 in [0, 1], a severity from 1 to 5 and a seeded generator, and gives an image of
the same shape and range. Noise is the same in all three channels of a grey image, which stays grey. Severities are
ours (mild to hardly readable); the kinds follow Hendrycks & Dietterich, "Benchmarking neural network robustness to
common corruptions and perturbations" (ICLR 2019), with speckle and occlusion as in ultrasound and endoscopy.
"""

import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy
from PIL import Image

from vlseg.evaluation.query import Query, Truth, View
from vlseg.prompts import Prompted, chooser

SEVERITIES = (1, 2, 3, 4, 5)

Corrupt = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def gaussian_noise(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Additive noise with a standard deviation of 0.02 to 0.32 of the range."""
    return clipped(image + _noise(image, rng) * (0.02, 0.04, 0.08, 0.16, 0.32)[severity - 1])


def speckle(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Noise in proportion to the brightness, as coherent imaging (ultrasound) has it: 0.1 to 0.8."""
    return clipped(image * (1 + _noise(image, rng) * (0.1, 0.2, 0.35, 0.55, 0.8)[severity - 1]))


def blur(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """A Gaussian blur of 0.3 to 4.8 % of the shorter side."""
    sigma = min(image.shape[:2]) * (0.003, 0.006, 0.012, 0.024, 0.048)[severity - 1]
    return clipped(scipy.ndimage.gaussian_filter(image, (sigma, sigma, 0)))


def jpeg(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """JPEG of quality 50, 25, 15, 8, 4."""
    buffer = io.BytesIO()
    picture = Image.fromarray(np.round(image * 255).astype(np.uint8))
    picture.save(buffer, format="JPEG", quality=(50, 25, 15, 8, 4)[severity - 1])
    with Image.open(buffer) as file:
        return np.asarray(file.convert("RGB"), dtype=np.float32) / np.float32(255)


def contrast(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Contrast around the image's mean lowered to 0.7 to 0.1 of what it was."""
    mean = image.mean(axis=(0, 1), keepdims=True)
    return clipped(mean + (image - mean) * (0.7, 0.5, 0.35, 0.2, 0.1)[severity - 1])


def occlusion(image: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """A black square over 2 to 32 % of the area, anywhere."""
    height, width = image.shape[:2]
    share = (0.02, 0.04, 0.08, 0.16, 0.32)[severity - 1] ** 0.5
    rows, columns = max(1, round(height * share)), max(1, round(width * share))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    covered = image.copy()
    covered[top : top + rows, left : left + columns] = 0
    return covered


CORRUPTIONS: Mapping[str, Corrupt] = {
    "gaussian_noise": gaussian_noise,
    "speckle": speckle,
    "blur": blur,
    "jpeg": jpeg,
    "contrast": contrast,
    "occlusion": occlusion,
}


def corrupted_queries(
    prompted: Sequence[Prompted], seed: int, scanners: Mapping[str, Mapping[str, Corrupt]] | None = None
) -> list[Query]:
    """Every sample's first wording on its image as it is, then under every corruption and severity.

    Args:
        prompted: the samples.
        seed: of what is drawn.
        scanners: by dataset, further corruptions of its pictures.
    """
    queries = [Query(item, item.wordings[0], item.sample, (Truth(item.sample),), reference=True) for item in prompted]
    own = {
        name: {**CORRUPTIONS, **(scanners or {}).get(name, {})} for name in {item.sample.dataset for item in prompted}
    }
    kinds = {name: corrupt for one in sorted(own) for name, corrupt in own[one].items()}
    for name, corrupt in kinds.items():
        for severity in SEVERITIES:
            views: dict[tuple[str, str], View] = {}
            for item in (one for one in prompted if name in own[one.sample.dataset]):
                image = (item.sample.dataset, item.sample.image_id)
                view = views.setdefault(image, _view(corrupt, severity, (seed, *image, name)))
                truth = Truth(item.sample, {"severity": severity})
                queries.append(Query(item, item.wordings[0], item.sample, (truth,), name, view=view))
    return queries


def _view(corrupt: Corrupt, severity: int, parts: tuple[object, ...]) -> View:
    """The noise depends on the image and the kind alone: severities differ in strength, not in what is drawn."""
    number = chooser(*parts).getrandbits(64)
    return lambda image: corrupt(image, severity, np.random.default_rng(number))


def _noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    grey = bool((image[..., :1] == image).all())
    noise = rng.standard_normal((*image.shape[:2], 1 if grey else 3), dtype=np.float32)
    return np.broadcast_to(noise, image.shape)


def clipped(image: np.ndarray) -> np.ndarray:
    """In [0, 1] and single precision."""
    result: np.ndarray = np.clip(image, 0, 1).astype(np.float32)
    return result
