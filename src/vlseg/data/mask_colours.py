"""The colours of a mask: which there are, apart from what compression and resizing make of them."""

import numpy as np
from numpy.typing import NDArray

from vlseg.data.mask_levels import RINGING, Colour, far, same_as_neighbours

FEW = 16
"""Files of up to this many colours were not compressed: each of their colours means something."""
HUE = 0.2
"""Share of the bright pixels from which another hue is another label where no colour is flat."""
WHITE: Colour = (255, 255, 255)


def is_grey(rgb: NDArray[np.uint8]) -> bool:
    """True when the channels of (H, W, 3) differ by no more than compression makes them."""
    red, green, blue = rgb[:, :, 0], rgb[:, :, 1], rgb[:, :, 2]
    if (red == green).all() and (red == blue).all():
        return True
    return int(np.ptp(rgb, axis=2).max()) <= RINGING * int(rgb.max())


def codes_of(rgb: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Each colour of (H, W, 3) as one number (H, W)."""
    wide = rgb.astype(np.uint32)
    return np.asarray((wide[:, :, 0] << 16) | (wide[:, :, 1] << 8) | wide[:, :, 2])


def flat_colours(rgb: NDArray[np.uint8]) -> dict[Colour, int]:
    """The colours that cover areas, all where there are few, with their pixels, the commonest first."""
    codes = codes_of(rgb)
    present, counts = np.unique(codes, return_counts=True)
    if len(present) > FEW:
        chosen = np.isin(present, codes[same_as_neighbours(codes)])
        present, counts = present[chosen], counts[chosen]
    order = np.argsort(-counts, kind="stable")
    pairs = zip(present[order].tolist(), counts[order].tolist(), strict=True)
    return {(code >> 16, code >> 8 & 255, code & 255): count for code, count in pairs}


def colours_of(rgb: NDArray[np.uint8]) -> tuple[Colour, ...]:
    """The colours beside black of (H, W, 3), each scaled to its largest channel: fringes on black keep their hue."""
    largest = int(rgb.max())
    if is_grey(rgb):
        return (WHITE,) if largest else ()
    found: list[Colour] = []
    for colour in flat_colours(rgb):
        if max(colour) > RINGING * largest and all(far(_scaled(colour), other) for other in found):
            found.append(_scaled(colour))
    return tuple(found) if len(found) > 1 else tuple(found) + _other_hues(rgb, found)


def _other_hues(rgb: NDArray[np.uint8], found: list[Colour]) -> tuple[Colour, ...]:
    """Hues of thin structures in compressed files, where no colour is flat."""
    peak = rgb.max(axis=2)
    bright = rgb[2 * peak.astype(int) > int(peak.max())]
    hues = 2 * bright.astype(int) > bright.max(axis=1, keepdims=True)
    numbers = hues @ np.array([4, 2, 1])
    shares = np.bincount(numbers, minlength=8) / len(numbers)
    others: list[Colour] = []
    for number in np.flatnonzero(shares >= HUE):
        colour = _scaled(tuple(int(c) for c in bright[numbers == number].mean(axis=0)))
        if all(far(colour, other) for other in (*found, *others)):
            others.append(colour)
    return tuple(others)


def _scaled(colour: tuple[int, ...]) -> Colour:
    red, green, blue = (round(255 * channel / max(colour)) for channel in colour)
    return red, green, blue
