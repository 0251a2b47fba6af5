"""How images are normalised for an encoder: as its published weights were trained."""

from collections.abc import Mapping, Sequence

import timm

from vlseg.models.images import IMAGENET_MEAN, IMAGENET_STD
from vlseg.records import InputError

Normalisation = dict[str, list[float]]

IMAGENET: Normalisation = {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)}
HALVES: Normalisation = {"mean": [0.5] * 3, "std": [0.5] * 3}
DPN: Normalisation = {"mean": [124 / 255, 117 / 255, 104 / 255], "std": [1 / (0.0167 * 255)] * 3}

BY_ENCODER: tuple[tuple[str, Normalisation], ...] = (
    ("timm-tf_efficientnet_lite", HALVES),
    ("inception", HALVES),
    ("xception", HALVES),
    ("dpn", DPN),
)
"""By how the library's name starts; the others take ImageNet's mean and deviation. The library itself keeps them on the
hub alone; these are those of timm's networks of the same names."""

BY_WEIGHTS: dict[str, Normalisation] = {"advprop": HALVES}
"""Of encoders that are published with several weights."""


def normalisation_of(encoder: str, weights: str | None = None) -> Normalisation:
    """Mean and deviation of the channels, RGB in [0, 1].

    Args:
        encoder: a name of segmentation-models-pytorch's, or "tu-" and one of timm's.
        weights: the name of its weights, where several are published.
    """
    if weights in BY_WEIGHTS:
        return BY_WEIGHTS[weights]
    if encoder.startswith("tu-"):
        known = timm.models.get_pretrained_cfg(encoder.removeprefix("tu-"))
        return IMAGENET if known is None else {"mean": list(known.mean), "std": list(known.std)}
    return next((own for start, own in BY_ENCODER if encoder.startswith(start)), IMAGENET)


def checked(given: Mapping[str, Sequence[float]]) -> Normalisation:
    """A normalisation that a user names.

    Raises:
        InputError: not a mean and a deviation for each of three channels.
    """
    values = dict(given) if isinstance(given, Mapping) else {}
    if (
        set(values) != {"mean", "std"}
        or not all(map(_is_of_three_channels, values.values()))
        or min(values["std"]) <= 0
    ):
        raise InputError(
            f"normalisation: is {given!r}, and must be {{mean: [R, G, B], std: [R, G, B]}} of images in [0, 1], std "
            "above 0"
        )
    return {key: [float(number) for number in channels] for key, channels in values.items()}


def _is_of_three_channels(value: object) -> bool:
    numbers = list(value) if isinstance(value, Sequence) else []
    return len(numbers) == 3 and all(isinstance(number, int | float) for number in numbers)
