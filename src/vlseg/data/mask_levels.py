"""Whether the values of a set's masks say what foreground is: one rule, over all files together."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

RINGING = 0.2
"""Lossy compression moves mask values; up to this share of the range they still count as 0 or as full."""
EXACT = 64
"""Below this largest value masks hold label numbers, which no compression has moved: every value is a level."""
THIN = 0.1
"""Share of the foreground that may lie at middle values without being a border's fringe. Resized and compressed
masks of retinal vessels, the thinnest structures, reach 0.05; thin labels at half of the range 0.2 and more."""
LEVEL = 0.8
"""Share of a value's pixels that are no fringe from which it is a level of its own, however rare."""
COLOUR_MEND = "make one target of each with `vlseg data prepare own --mask-map FILE`, or save the masks as 0/255"
"""Where colours differ, a single value cannot say which is foreground."""
MEND = f"say which value is foreground with mask_value (in dataset.json or an entry), {COLOUR_MEND}"

Colour = tuple[int, int, int]
T = TypeVar("T")


@dataclass(frozen=True)
class MaskSummary:
    """The values of one mask.

    Attributes:
        present: (n,) values, ascending.
        counts: (n,) pixels of each.
        solid: (n,) of these, pixels whose four neighbours have the same value: labels cover areas, the grey fringe
            that resizing or compression leaves along borders does not.
        apart: (n,) of these, pixels without a higher or without a lower value among the eight neighbours: a fringe
            lies between two values, a thin line or a dot of its own value does not.
        colours: of the foreground, each scaled to its largest channel; white for grey masks.
    """

    present: NDArray[np.int64]
    counts: NDArray[np.int64]
    solid: NDArray[np.int64]
    apart: NDArray[np.int64]
    colours: tuple[Colour, ...] = ()

    @property
    def largest(self) -> int:
        """The largest value."""
        return int(self.present[-1])

    def area(self, mask_max: int, mask_value: int | None = None) -> float:
        """Share of the pixels that are foreground, in [0, 1]."""
        chosen = self.present == mask_value if mask_value is not None else self.present > mask_max / 2
        return float(self.counts[chosen].sum() / self.counts.sum())


@dataclass(frozen=True)
class Odd:
    """A mask whose values do not say what foreground is: the finding's code, the file, and what is wrong."""

    code: str
    name: str
    text: str


def summarise(values: NDArray[np.int64], colours: tuple[Colour, ...] | None = None) -> MaskSummary:
    """The summary of (H, W) values."""
    low, high = int(values.min()), int(values.max())
    if low >= 0 and high < 65536:  # sorting takes ten times as long
        values = values.astype(np.uint8 if high < 256 else np.uint16)
        every = np.bincount(values.ravel())
        present = np.flatnonzero(every)
        counts = every[present]
    else:
        present, counts = np.unique(values, return_counts=True)
    if colours is None:
        colours = ((255, 255, 255),) if high > 0 else ()
    if len(present) <= 2:
        return two_valued(present, counts, colours)
    higher = _around(values, np.maximum) > values
    lower = _around(values, np.minimum) < values
    solid = _counts(values[same_as_neighbours(values)], present)
    return MaskSummary(present.astype(np.int64), counts, solid, _counts(values[~(higher & lower)], present), colours)


def _around(values: NDArray[np.integer], choose: np.ufunc) -> NDArray[np.integer]:
    """(H, W) the largest or smallest of each pixel's 3 x 3; many times as fast as scipy's filters."""
    padded = np.pad(values, 1, mode="edge")
    rows = choose(choose(padded[:-2], padded[1:-1]), padded[2:])
    return np.asarray(choose(choose(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:]))


def two_valued(present: NDArray[np.int64], counts: NDArray[np.int64], colours: tuple[Colour, ...]) -> MaskSummary:
    """The summary of a mask of one or two values: each is a level."""
    present, counts = present.astype(np.int64), counts.astype(np.int64)
    return MaskSummary(present, counts, counts, counts, colours)


def _counts(values: NDArray[np.integer], present: NDArray[np.integer]) -> NDArray[np.int64]:
    if present[0] >= 0 and present[-1] < 65536:
        return np.asarray(np.bincount(values, minlength=int(present[-1]) + 1)[present], dtype=np.int64)
    return np.asarray(np.bincount(np.searchsorted(present, values), minlength=len(present)), dtype=np.int64)


def same_as_neighbours(values: NDArray[np.integer]) -> NDArray[np.bool_]:
    """(H, W) bool: the pixel and its four neighbours have one value; beyond the border they have its own."""
    same = np.ones(values.shape, dtype=bool)
    rows, columns = values[1:] == values[:-1], values[:, 1:] == values[:, :-1]
    same[1:] &= rows
    same[:-1] &= rows
    same[:, 1:] &= columns
    same[:, :-1] &= columns
    return same


def ends(mask_max: int) -> tuple[float, float]:
    """The values up to which a pixel counts as 0, and from which it counts as full."""
    return (mask_max * RINGING, mask_max * (1 - RINGING)) if mask_max >= EXACT else (0.0, float(mask_max))


def odd_values(summary: MaskSummary, mask_max: int, *, united: bool = False) -> tuple[str, str] | None:
    """What is wrong with one mask, given the largest value in its set, as (code, words); None when nothing is.

    Args:
        summary: of the mask.
        mask_max: the largest value in the set.
        united: colours are declared to mean one thing.
    """
    if summary.present[0] < 0:
        return "label_map", f"holds negative values ({_shown(summary.present[summary.present < 0], summary)}); {MEND}"
    if len(summary.colours) > 1 and not united:
        return "label_map", several_colours(summary.colours)
    low, high = ends(mask_max)
    if 0 < summary.largest <= low:
        return "odd_mask_values", (
            f"its largest value is {summary.largest} where the other masks go up to {mask_max}; rescale it to "
            f"0/{mask_max}, or where these are labels {MEND}"
        )
    middle = (summary.present > low) & (summary.present < high)
    labels = summary.present[middle & (summary.solid > 0)]
    if not len(labels):
        labels = _crowded(summary, summary.present <= low, summary.present >= high)
    if len(labels):
        beside = f"where full is {mask_max}" if summary.largest < mask_max else f"beside 0 and {mask_max}"
        return "label_map", f"holds several labels ({_shown(labels, summary)} {beside}); {MEND}"
    return None


def _crowded(summary: MaskSummary, *bands: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Levels that share one end of the range, such as 1 beside 0 or 254 beside 255: of ringing few pixels are solid."""
    for band in bands:
        levels = summary.present[band & (2 * summary.solid > summary.counts)]
        if len(levels) > 1:
            return levels
    return summary.present[:0]


def judge(summaries: Mapping[str, MaskSummary], mask_max: int, *, united: bool = False) -> list[Odd]:
    """What is wrong with the masks of a set, by file; empty when their values say what foreground is.

    A set of 0 and one value is fine whatever the value. Any further value that covers areas is odd, and so are thin
    lines and dots of a value of their own, and colours that differ. Fringes of resizing and compression are not.

    Args:
        summaries: of every mask of the set, by the name that stands in the result.
        mask_max: the largest value in the set.
        united: colours are declared to mean one thing.
    """
    found = []
    for name, summary in summaries.items():
        odd = odd_values(summary, mask_max, united=united)
        if odd is not None:
            found.append(Odd(odd[0], name, odd[1]))
    if found:
        return found
    apart = ([] if united else _colours_apart(summaries)) or _levels_apart(summaries)
    return apart or _thin_labels(summaries, mask_max)


def _colours_apart(summaries: Mapping[str, MaskSummary]) -> list[Odd]:
    """Files of another colour than most have."""
    files: dict[Colour, list[str]] = {}
    for name, summary in summaries.items():
        for colour in summary.colours:
            like = next((other for other in files if not far(colour, other)), colour)
            files.setdefault(like, []).append(name)
    return _unlike_most(
        files, lambda colour, n, usual: f"is {hexed(colour)} where {n} others are {hexed(usual)}; {COLOUR_MEND}"
    )


def _levels_apart(summaries: Mapping[str, MaskSummary]) -> list[Odd]:
    """Files of 0 and one value, which no compression has moved, where that is not the value most have."""
    files: dict[int, list[str]] = {}
    for name, summary in summaries.items():
        if len(summary.present) == 2 and summary.present[0] == 0:
            files.setdefault(summary.largest, []).append(name)
    return _unlike_most(
        files, lambda value, n, usual: f"holds 0 and {value} where {n} others hold 0 and {usual}; {MEND}"
    )


def _unlike_most(files: Mapping[T, Sequence[str]], words: Callable[[T, int, T], str]) -> list[Odd]:
    """Files of another kind than most are; `words` says so of a kind, the number of the usual ones, and theirs."""
    if len(files) < 2:
        return []
    usual = max(files, key=lambda kind: len(files[kind]))
    return [
        Odd("label_map", name, words(kind, len(files[usual]), usual))
        for kind, names in files.items()
        if kind != usual
        for name in names
    ]


def _thin_labels(summaries: Mapping[str, MaskSummary], mask_max: int) -> list[Odd]:
    low, high = ends(mask_max)
    apart: dict[int, int] = {}
    counts: dict[int, int] = {}
    foreground = 0
    for summary in summaries.values():
        foreground += int(summary.counts[summary.present > low].sum())
        for index in np.flatnonzero((summary.present > low) & (summary.present < high)):
            value = int(summary.present[index])
            apart[value] = apart.get(value, 0) + int(summary.apart[index])
            counts[value] = counts.get(value, 0) + int(summary.counts[index])
    total = sum(counts.values())
    levels = [
        value
        for value, count in counts.items()
        if apart[value] >= 4 and apart[value] >= LEVEL * count and 2 * count >= total
    ]
    if not levels and sum(apart.values()) <= THIN * foreground:
        return []
    levels = levels or [max(apart, key=lambda value: apart[value])]
    files = [(name, s) for name, s in summaries.items() if s.apart[np.isin(s.present, levels)].sum() > 0]
    return [
        Odd(
            "label_map",
            name,
            f"holds thin structures at {_shown(np.array(levels), summary)} beside 0 and {mask_max}, which are no "
            f"fringe of larger ones; {MEND}",
        )
        for name, summary in files
    ]


def _shown(values: Iterable[int] | NDArray[np.int64], summary: MaskSummary) -> str:
    """E.g. "127: 900 px, 200: 30 px"; at most six."""
    counts = dict(zip(summary.present.tolist(), summary.counts.tolist(), strict=True))
    listed = [f"{int(value)}: {counts.get(int(value), 0)} px" for value in values]
    return ", ".join(listed[:6]) + (", ..." if len(listed) > 6 else "")


def several_colours(colours: Iterable[Colour]) -> str:
    """What is wrong with a mask of several colours."""
    return f"holds several colours ({', '.join(map(hexed, colours))}); {COLOUR_MEND}"


def far(one: Colour, other: Colour) -> bool:
    """True when two colours differ by more than compression makes them."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) > 255 * RINGING


def hexed(colour: Colour) -> str:
    """E.g. "#ff0000"."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
