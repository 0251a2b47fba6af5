"""The short text of a table's cell."""

from dataclasses import dataclass

from vlseg.reports.words.numbers import NONE, Interval


@dataclass(frozen=True)
class Cell:
    """A value with its interval in words, and what must be known to read it.

    Attributes:
        text: e.g. "96 % [93, 98]"; "–" where there is none.
        note: a few words under it: why there is no value or interval, or what it is measured against.
        value: the number itself, for a bar: a share or a difference in [-1, 1]; None where there is none.
        ci95: its interval, on the value's scale.
    """

    text: str = NONE
    note: str = ""
    value: float | None = None
    ci95: Interval | None = None
