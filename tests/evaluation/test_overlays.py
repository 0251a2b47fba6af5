"""The border of a mask in its picture."""

import numpy as np
import pytest
from scipy import ndimage

from vlseg.evaluation.overlays import PREDICTION_COLOUR, overlay


@pytest.mark.parametrize("size", [(1, 1), (7, 30), (300, 40), (900, 33)])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.97, 1.0])
def test_the_border_is_what_an_erosion_takes_off(size: tuple[int, int], share: float) -> None:
    mask = np.random.default_rng(0).random(size) < share
    mask[: size[0] // 2] = share > 0.5
    thickness = max(1, round(max(size) / 256))
    border = mask & ~ndimage.binary_erosion(mask, iterations=thickness)
    shown = np.asarray(overlay(np.zeros((*size, 3), np.float32), mask))
    assert np.array_equal((shown == PREDICTION_COLOUR).all(axis=2), border)
