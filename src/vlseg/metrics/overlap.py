"""Overlap of two masks. Both empty counts as 1, one empty as 0."""

import numpy as np
from numpy.typing import NDArray

from vlseg.records import InputError

Mask = NDArray[np.bool_]


def check_masks(pred: Mask, target: Mask) -> None:
    """Refuse what would broadcast or count wrongly in silence.

    Raises:
        InputError: not two (H, W) bool arrays of one shape.
    """
    for name, mask in (("pred", pred), ("target", target)):
        if mask.ndim != 2 or mask.dtype != np.bool_:
            raise InputError(
                f"{name}: a mask must be bool (H, W), got {mask.dtype} of shape {mask.shape}; threshold it first"
            )
    if pred.shape != target.shape:
        raise InputError(
            f"masks of shapes {pred.shape} and {target.shape} cannot be compared; bring them to the same size"
        )


def dice_score(pred: Mask, target: Mask) -> float:
    """2|P & T| / (|P| + |T|), in [0, 1].

    Args:
        pred: (H, W) bool.
        target: (H, W) bool.

    Raises:
        InputError: see `check_masks`.
    """
    check_masks(pred, target)
    total = int(np.count_nonzero(pred)) + int(np.count_nonzero(target))
    return 1.0 if total == 0 else 2.0 * int(np.count_nonzero(pred & target)) / total


def iou_score(pred: Mask, target: Mask) -> float:
    """|P & T| / |P | T|, in [0, 1].

    Args:
        pred: (H, W) bool.
        target: (H, W) bool.

    Raises:
        InputError: see `check_masks`.
    """
    check_masks(pred, target)
    union = int(np.count_nonzero(pred | target))
    return 1.0 if union == 0 else int(np.count_nonzero(pred & target)) / union
