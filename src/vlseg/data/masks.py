"""Reading masks: which pixels are foreground, and never a silently empty mask."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlseg.data.images import open_image
from vlseg.records import InputError

Mask = NDArray[np.bool_]

RINGING = 0.2
"""Lossy compression moves mask values; up to this share of the range they still count as 0 or as full."""


def mask_values(path: Path, *, index: bool = False) -> NDArray[np.int64]:
    """The mask as one channel of whole numbers (H, W).

    Palette: luminance of its colours, or the palette's index with `index`. 1-bit: 0 and 255. RGB: the
    largest channel. Alpha is ignored unless the colour is constant; then alpha is the mask.

    Raises:
        InputError: undecodable.
    """
    return image_values(open_image(path), index=index)


def image_values(image: Image.Image, *, index: bool = False) -> NDArray[np.int64]:
    """`mask_values` of a decoded image."""
    if image.mode == "P" and index:
        return np.asarray(image).astype(np.int64)
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode == "1":
        image = image.convert("L")
    if image.mode in ("LA", "RGBA", "PA"):
        return _without_alpha(image)
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGB")
    array = np.asarray(image)
    values = array.max(axis=2) if array.ndim == 3 else array
    return np.asarray(np.rint(values), dtype=np.int64)


def _without_alpha(image: Image.Image) -> NDArray[np.int64]:
    array = np.asarray(image.convert("RGBA")).astype(np.int64)
    colour = array[:, :, :3].max(axis=2)
    constant = (array[:, :, :3] == array[:1, :1, :3]).all()
    return array[:, :, 3] if constant and np.ptp(array[:, :, 3]) > 0 else colour


def foreground(
    values: NDArray[np.int64], path: Path, *, mask_max: int, mask_value: int | None = None
) -> NDArray[np.bool_]:
    """(H, W) bool: values equal to `mask_value`, else above half of `mask_max`, the set's largest value.

    Raises:
        InputError: a label map without a `mask_value`, or values that do not fit the other masks'
            (0/1 among 0/255).
    """
    if mask_value is not None:
        return np.asarray(values == mask_value)
    problem = odd_values(summarise(values), mask_max)
    if problem:
        raise InputError(f"{path}: {problem}")
    return values > mask_max / 2


@dataclass(frozen=True)
class MaskSummary:
    """The values of one mask: which, how many pixels of each, and those that cover areas.

    A value covers an area when some pixel and its four neighbours have it: labels do, the grey fringe that
    resizing or compression leaves along borders does not.
    """

    present: NDArray[np.int64]
    counts: NDArray[np.int64]
    solid: NDArray[np.int64]

    @property
    def largest(self) -> int:
        """The largest value."""
        return int(self.present[-1])

    def area(self, mask_max: int, mask_value: int | None = None) -> float:
        """Share of the pixels that are foreground, in [0, 1]."""
        chosen = self.present == mask_value if mask_value is not None else self.present > mask_max / 2
        return float(self.counts[chosen].sum() / self.counts.sum())


def summarise(values: NDArray[np.int64]) -> MaskSummary:
    """The summary of (H, W) values."""
    if int(values.min()) >= 0 and int(values.max()) < 65536:  # sorting takes ten times as long
        every = np.bincount(values.ravel())
        present = np.flatnonzero(every)
        counts = every[present]
    else:
        present, counts = np.unique(values, return_counts=True)
    solid = present
    if len(present) > 2:
        same = np.ones(values.shape, dtype=bool)
        for axis in (0, 1):
            for shift in (1, -1):
                same &= np.roll(values, shift, axis=axis) == values
        solid = np.unique(values[same])
    return MaskSummary(present.astype(np.int64), counts.astype(np.int64), solid.astype(np.int64))


def odd_values(summary: MaskSummary, mask_max: int) -> str | None:
    """What is wrong with a mask's values, given the largest value in its dataset; None when nothing is."""
    present, largest = summary.present, summary.largest
    if 0 < largest <= mask_max * RINGING:
        return f"its largest value is {largest} where the other masks go up to {mask_max}; rescale it to 0/{mask_max}"
    low, high = mask_max * RINGING, mask_max * (1 - RINGING)
    if len(present) > 2 and ((summary.solid > low) & (summary.solid < high)).any():
        shown = ", ".join(str(value) for value in present[:6])
        return f"holds several labels ({shown}{', ...' if len(present) > 6 else ''}); say which with mask_value"
    return None


def read_mask(
    paths: Sequence[Path],
    *,
    mask_max: int = 255,
    mask_value: int | None = None,
    size: tuple[int, int] | None = None,
    image: Path | None = None,
) -> NDArray[np.bool_]:
    """The union of the masks in the files, (H, W) bool.

    Args:
        paths: at least one.
        mask_max: the largest value in the dataset's masks.
        mask_value: the foreground's label, for label maps.
        size: (H, W) that every mask must have; `image` is the file it comes from.
        image: named in the error.

    Raises:
        InputError: unreadable, of another size, or with values that do not fit.
    """
    union: NDArray[np.bool_] | None = None
    for path in paths:
        values = mask_values(path, index=mask_value is not None)
        expected = size if union is None else (union.shape[0], union.shape[1])
        if expected is not None and values.shape != expected:
            raise InputError(
                f"{path}: is {values.shape[1]}x{values.shape[0]} pixels, its image {image or paths[0]} is "
                f"{expected[1]}x{expected[0]}; a mask must have its image's size"
            )
        found = foreground(values, path, mask_max=mask_max, mask_value=mask_value)
        union = found if union is None else union | found
    if union is None:
        raise InputError("mask: no file is given")
    return union
