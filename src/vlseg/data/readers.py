"""Several readers' masks of one image: one consensus, and how far they agree."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vlseg.data.volumes import simple_itk
from vlseg.metrics import Estimate, bootstrap_mean, dice_score
from vlseg.records import InputError

Combine = Literal["apart", "majority", "staple"]
Mask = NDArray[np.bool_]


def consensus(masks: Sequence[Mask], how: Combine) -> Mask:
    """One mask (H, W) of several of the same size.

    `majority`: foreground where more than half of the readers drew it, so that two readers must agree.
    `staple`: foreground where its probability exceeds 0.5 under STAPLE (Warfield et al., TMI 2004), by SimpleITK.

    Raises:
        InputError: masks of different sizes, or SimpleITK is needed and not installed.
    """
    if len({mask.shape for mask in masks}) > 1:
        raise InputError("the readers' masks of one image have different sizes; bring them to the image's size")
    stack = np.stack(masks)
    if how == "majority" or len(masks) == 1 or not stack.any() or stack.all():
        return np.asarray(2 * stack.sum(axis=0) > len(masks))
    itk = simple_itk()
    images = [itk.GetImageFromArray(mask.astype(np.uint8)) for mask in masks]
    return np.asarray(itk.GetArrayFromImage(itk.STAPLE(images, 1.0)) > 0.5)


def reader_agreement(
    cases: Sequence[Mapping[str, Mask]], groups: Sequence[str | None] | None = None
) -> dict[tuple[str, str], Estimate]:
    """Mean Dice with its 95 % interval for each pair of readers, over the images that both drew.

    Args:
        cases: of each image, masks (H, W) by reader.
        groups: of each image, for the bootstrap; None = every image by itself.
    """
    readers = sorted({reader for case in cases for reader in case})
    named = groups or [None] * len(cases)
    result = {}
    for first, second in combinations(readers, 2):
        both = [index for index, case in enumerate(cases) if first in case and second in case]
        if not both:
            continue
        scores = [dice_score(cases[index][first], cases[index][second]) for index in both]
        keys = [named[index] or f"image {index}" for index in both]
        result[(first, second)] = bootstrap_mean(scores, keys, bounds=(0.0, 1.0))
    return result
