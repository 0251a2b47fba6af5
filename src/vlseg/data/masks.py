"""Reading masks: which pixels are foreground. What their values do not tell is an error, not a guess."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlseg.data.images import open_image
from vlseg.data.keys import file_status
from vlseg.data.mask_colours import WHITE, colours_of, is_grey
from vlseg.data.mask_levels import (
    MEND,
    Colour,
    MaskSummary,
    Odd,
    judge,
    odd_values,
    several_colours,
    summarise,
    two_valued,
)
from vlseg.records import InputError

Mask = NDArray[np.bool_]
Pixels = tuple[NDArray[np.int64], tuple[Colour, ...] | None]

DISAGREE = 0.05
"""Share of the foreground in which transparency and colour of a mask may differ (soft borders)."""


def mask_values(path: Path, *, index: bool = False) -> NDArray[np.int64]:
    """The mask as one channel of whole numbers (H, W).

    Palette: of its colours, or the palette's index with `index`. 1-bit: 0 and 255. Colour: the largest channel.
    Alpha: where the colour is constant it is the mask.

    Raises:
        InputError: undecodable, several differing pages, fractions, alpha and colour that contradict each other, or
            with `index` several colours, whose largest channels may be the same.
    """
    return image_values(open_image(path, one_page=True), str(path), index=index)


def image_values(image: Image.Image, name: str, *, index: bool = False) -> NDArray[np.int64]:
    """`mask_values` of a decoded image; `name` stands in the errors."""
    values, colours = mask_pixels(image, name, index=index)
    if index:
        _one_colour(colours, name)
    return values


def _one_colour(colours: tuple[Colour, ...] | None, name: str) -> None:
    """No value tells two colours apart whose largest channels are the same."""
    if colours is not None and len(colours) > 1:
        raise InputError(f"{name}: {several_colours(colours)}")


def mask_pixels(image: Image.Image, name: str, *, index: bool = False) -> Pixels:
    """`image_values`, and the colours beside black; None where the file is grey.

    Raises:
        InputError: see `mask_values`.
    """
    if image.mode == "P" and index:
        return np.asarray(image).astype(np.int64), None
    if image.mode == "P":
        _distinct_palette(image, name)
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode == "1":
        image = image.convert("L")
    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA"):
        return _without_alpha(image, name)
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        image = image.convert("RGB")
    array = np.asarray(image)
    if array.ndim == 3:
        return _colour_pixels(array)
    whole = np.rint(array)
    if array.dtype.kind == "f" and np.abs(array - whole).max() > 1e-3:
        raise InputError(f"{name}: a mask with fractions ({array[array != whole][0]:g}); save it as 0/255")
    return np.asarray(whole, dtype=np.int64), None


def _colour_pixels(rgb: NDArray[np.uint8]) -> Pixels:
    values = rgb.max(axis=2).astype(np.int64)
    return values, None if is_grey(rgb) else colours_of(rgb)


def _distinct_palette(image: Image.Image, name: str) -> None:
    """Indices that look alike cannot be told apart by their colours."""
    used = [number for number, count in enumerate(image.histogram()) if count]
    colours = np.asarray(image.convert("RGBA").convert("RGB"))
    indices = np.asarray(image)
    shown = {tuple(colours[tuple(np.argwhere(indices == number)[0])].tolist()) for number in used}
    if len(shown) < len(used):
        raise InputError(
            f"{name}: the palette gives the indices {', '.join(map(str, used[:6]))} only {len(shown)} colours; {MEND}"
        )


def _without_alpha(image: Image.Image, name: str) -> Pixels:
    array = np.asarray(image.convert("RGBA"))
    rgb, alpha = array[:, :, :3], array[:, :, 3].astype(np.int64)
    if np.ptp(alpha) == 0:
        return _colour_pixels(rgb)
    if (rgb == rgb[:1, :1]).all():
        return alpha, None
    values, colours = _colour_pixels(rgb)
    bright, opaque = 2 * values > values.max(), 2 * alpha > alpha.max()
    if (bright != opaque).sum() > DISAGREE * (bright | opaque).sum():
        raise InputError(
            f"{name}: its transparency and its colours are different masks; save it as 0/255 without alpha"
        )
    return values, colours


def summarise_image(image: Image.Image, name: str, *, index: bool = False) -> MaskSummary:
    """The summary of a decoded mask; by far the fastest for files of two grey values.

    Raises:
        InputError: see `mask_values`.
    """
    if image.mode in ("L", "1"):
        every = np.array(image.histogram())
        present = np.flatnonzero(every)
        if len(present) <= 2:
            return two_valued(present, every[present], (WHITE,) if present[-1] > 0 else ())
    return summarise(*mask_pixels(image, name, index=index))


def mask_range(paths: Iterable[Path]) -> int:
    """The largest value in a set of mask files, when their values say what foreground is: what exceeds half of it.

    Raises:
        InputError: a file that cannot be read, or values or colours that leave open what foreground is (see `judge`).
    """
    summaries = {str(path): _summary_of(path) for path in paths}
    mask_max = max((summary.largest for summary in summaries.values()), default=0) or 255
    refuse(judge(summaries, mask_max), len(summaries))
    return mask_max


def _summary_of(path: Path) -> MaskSummary:
    """Of a file; in one process it is decoded again only when its size, dates or inode have changed."""
    try:
        status = file_status(path)
    except OSError:
        return summarise_image(open_image(path, one_page=True), str(path))  # which says what is wrong
    return _remembered(path, status)


@lru_cache(maxsize=20_000)
def _remembered(path: Path, status: tuple[int, ...]) -> MaskSummary:
    return summarise_image(open_image(path, one_page=True), str(path))


def refuse(odd: Sequence[Odd], files: int) -> None:
    """Raises when there is a mask whose values do not say what foreground is.

    Raises:
        InputError: one line with the first file, how many there are, what is wrong and the mend.
    """
    if odd:
        more = f" (so do {len(odd) - 1} more of {files} masks)" if len(odd) > 1 else ""
        raise InputError(f"{odd[0].name}: {odd[0].text}{more}")


def foreground(
    values: NDArray[np.int64],
    path: Path,
    *,
    mask_max: int,
    mask_value: int | None = None,
    colours: tuple[Colour, ...] | None = None,
    united: bool = False,
) -> NDArray[np.bool_]:
    """(H, W) bool: values equal to `mask_value`, else above half of `mask_max`, the set's largest value.

    Args:
        values: (H, W).
        path: stands in the errors.
        mask_max: the largest value in the set's masks.
        mask_value: the foreground's label.
        colours: of the mask, see `mask_pixels`.
        united: colours are declared to mean one thing.

    Raises:
        InputError: a label map without a `mask_value`, several colours with or without one, or values that do not fit
            the other masks' (0/1 among 0/255).
    """
    if mask_value is not None:
        _one_colour(colours, str(path))
        return np.asarray(values == mask_value)
    problem = odd_values(summarise(values, colours), mask_max, united=united)
    if problem:
        raise InputError(f"{path}: {problem[1]}")
    return values > mask_max / 2


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
        values, colours = mask_pixels(open_image(path, one_page=True), str(path), index=mask_value is not None)
        expected = size if union is None else (union.shape[0], union.shape[1])
        if expected is not None and values.shape != expected:
            raise InputError(
                f"{path}: is {values.shape[1]}x{values.shape[0]} pixels, its image {image or paths[0]} is "
                f"{expected[1]}x{expected[0]}; a mask must have its image's size"
            )
        found = foreground(values, path, mask_max=mask_max, mask_value=mask_value, colours=colours)
        union = found if union is None else union | found
    if union is None:
        raise InputError("mask: no file is given")
    return union
