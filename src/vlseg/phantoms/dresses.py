"""What each dressed phantom looks like and how its texts are put together: one row a dataset."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Family = Literal["photo", "busi", "camus", "chexlocalize", "report"]
"""Which published form the prompts have, see `vlseg.phantoms.wording`."""
Ground = Literal["endoscopy", "skin", "foot", "ultrasound", "x-ray", "slice", "histology"]
Tone = tuple[float, float, float]
"""RGB in [0, 1]."""


@dataclass(frozen=True)
class Dress:
    """One dataset.

    Attributes:
        family: of the prompts.
        ground: what lies behind the targets.
        ratios: width over height of the images, in turn.
        suffix: of the image files.
        tones: colours that a target may have.
        sizes: words of `RADII` that a target may have.
        shapes: outlines that a target may have, see `vlseg.phantoms.scene.outline`.
        most: targets of one image, at the most.
        word: photo: what the prompts call the target.
        described: photo: general descriptions, each follows "which".
        absent_every: one image in so many shows nothing and its prompts say so; 0 = none.
    """

    family: Family
    ground: Ground
    ratios: tuple[float, ...]
    suffix: str
    tones: tuple[Tone, ...]
    sizes: tuple[str, ...] = ("small", "medium")
    shapes: tuple[str, ...] = ("round", "elongated")
    most: int = 1
    word: str = ""
    described: tuple[str, ...] = ()
    absent_every: int = 0


RADII: Mapping[str, tuple[float, float]] = {
    "speck": (0.05, 0.07),
    "small": (0.1, 0.14),
    "medium": (0.2, 0.25),
    "large": (0.38, 0.42),
}
"""Radius of the circle of equal area, in shorter sides of the image. What the prompts call a target's size is measured
on its mask."""

_MUCOUS = ((0.93, 0.88, 0.84), (0.9, 0.8, 0.4), (0.42, 0.24, 0.15), (0.9, 0.6, 0.6))
_POLYPS = (
    "bulges from the lining of the bowel",
    "sits on a stalk or lies flat on the wall",
    "is a knob of tissue inside the gut",
    "is a raised patch on the mucosa",
    "grows out of the inner wall of the colon",
)
_LESIONS = (
    "is a dark patch of skin",
    "is a mark with an uneven border",
    "is a pigmented spot",
    "differs in colour from the skin around it",
    "is a blotch on the skin",
)
_ULCERS = (
    "is an open wound of the foot",
    "is broken skin on a toe or sole",
    "is a raw area of the foot",
    "is a hole in the skin of the foot",
    "is a wound that does not heal",
)


def _polyps(*ratios: float, suffix: str = ".png", absent_every: int = 0, sizes: tuple[str, ...] = ("small",)) -> Dress:
    return Dress(
        "photo",
        "endoscopy",
        ratios,
        suffix,
        _MUCOUS,
        sizes,
        ("round", "elongated", "irregular"),
        2,
        "polyp",
        _POLYPS,
        absent_every,
    )


DRESSES: Mapping[str, Dress] = {
    "kvasir-seg": _polyps(1.17, 1.0, 1.25, suffix=".jpg", sizes=("small", "medium", "medium", "large")),
    "cvc-clinicdb": _polyps(1.33, sizes=("small", "medium")),
    "bkai-igh": _polyps(1.29, suffix=".jpeg", sizes=("small", "small", "medium"), absent_every=50),
    "cvc-300": _polyps(1.15),
    "cvc-colondb": _polyps(1.15, sizes=("small", "medium")),
    "etis": _polyps(1.27),
    "isic-2016": Dress(
        "photo",
        "skin",
        (1.34, 1.5, 1.33),
        ".jpg",
        ((0.36, 0.22, 0.14), (0.45, 0.28, 0.2), (0.16, 0.12, 0.11), (0.66, 0.22, 0.2)),
        ("small", "medium", "large"),
        ("round", "elongated", "irregular"),
        1,
        "skin melanoma",
        _LESIONS,
    ),
    "dfuc-2022": Dress(
        "photo",
        "foot",
        (1.33,),
        ".jpg",
        ((0.7, 0.16, 0.16), (0.42, 0.22, 0.15), (0.86, 0.76, 0.36), (0.12, 0.1, 0.1)),
        ("small", "small", "medium"),
        ("round", "elongated", "irregular"),
        2,
        "foot ulcer",
        _ULCERS,
    ),
    "camus": Dress("camus", "ultrasound", (0.8, 0.9), ".png", ()),
    "busi": Dress(
        "busi",
        "ultrasound",
        (1.2, 1.0, 1.4),
        ".png",
        ((0.08, 0.08, 0.08), (0.14, 0.14, 0.14)),
        ("small", "small", "medium"),
        most=2,
        absent_every=6,
    ),
    "chexlocalize": Dress("chexlocalize", "x-ray", (0.83, 1.2), ".jpg", ()),
    "qata-cov19": Dress("report", "x-ray", (1.0,), ".png", ((0.78, 0.78, 0.78), (0.66, 0.66, 0.66)), most=2),
    "mosmeddata-plus": Dress(
        "report", "slice", (1.0,), ".png", ((0.6, 0.6, 0.6), (0.75, 0.75, 0.75)), ("small",), ("irregular", "round"), 3
    ),
    "monuseg": Dress(
        "report", "histology", (1.0,), ".png", ((0.3, 0.16, 0.45), (0.38, 0.2, 0.5)), ("speck",), ("round",), 12
    ),
}
"""By the name of the dataset's card."""


@dataclass(frozen=True)
class Finding:
    """How one finding of a chest X-ray is drawn: where (y, x as shares of the image), how large, how bright."""

    places: tuple[tuple[float, float], ...]
    shape: str
    size: str
    tone: float


FINDINGS: Mapping[str, Finding] = {
    "Airspace Opacity": Finding(((0.4, 0.3), (0.4, 0.7)), "irregular", "small", 0.55),
    "Atelectasis": Finding(((0.6, 0.28), (0.6, 0.72)), "elongated", "small", 0.6),
    "Cardiomegaly": Finding(((0.68, 0.55),), "round", "medium", 0.72),
    "Consolidation": Finding(((0.45, 0.3), (0.45, 0.7)), "round", "small", 0.78),
    "Edema": Finding(((0.48, 0.32), (0.48, 0.68)), "irregular", "medium", 0.48),
    "Enlarged Cardiomediastinum": Finding(((0.35, 0.5),), "elongated", "medium", 0.7),
    "Lung Lesion": Finding(((0.3, 0.3), (0.3, 0.7)), "round", "speck", 0.85),
    "Pleural Effusion": Finding(((0.82, 0.24), (0.82, 0.76)), "elongated", "small", 0.82),
    "Pneumothorax": Finding(((0.2, 0.24), (0.2, 0.76)), "round", "small", 0.06),
    "Support Devices": Finding(((0.25, 0.5), (0.15, 0.4)), "elongated", "speck", 0.98),
}
"""By the name in the published texts; its lower case is the target."""
