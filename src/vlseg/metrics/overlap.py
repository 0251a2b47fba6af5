"""Overlap of two masks. Both empty counts as 1, one empty as 0."""

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def dice_score(pred: Mask, target: Mask) -> float:
    """2|P & T| / (|P| + |T|), in [0, 1].

    Args:
        pred: (H, W) bool.
        target: (H, W) bool.
    """
    total = int(np.count_nonzero(pred)) + int(np.count_nonzero(target))
    return 1.0 if total == 0 else 2.0 * int(np.count_nonzero(pred & target)) / total


def iou_score(pred: Mask, target: Mask) -> float:
    """|P & T| / |P | T|, in [0, 1].

    Args:
        pred: (H, W) bool.
        target: (H, W) bool.
    """
    union = int(np.count_nonzero(pred | target))
    return 1.0 if union == 0 else int(np.count_nonzero(pred & target)) / union
