"""The same scores by site, sex, size: for whom does it work?"""

import json
from collections.abc import Sequence

from vlseg.metrics.aggregate import Aggregate, aggregate
from vlseg.records import SampleScore, unknown_name

BY_COLUMNS = ("site", "target", "group", "dataset", "wording")
SIZE_BINS = ((0.01, "up to 1 %"), (0.05, "1 to 5 %"), (0.15, "5 to 15 %"), (1.0, "above 15 %"))
_SIZES = ("empty", *(name for _, name in SIZE_BINS))

Rows = Sequence[SampleScore]


def subgroups(rows: Rows, column: str, *, groups_known: bool) -> dict[str, Aggregate]:
    """The aggregate of each part, see `parted`."""
    return {name: aggregate(part, groups_known=groups_known) for name, part in parted(rows, column).items()}


def parted(rows: Rows, column: str) -> dict[str, list[SampleScore]]:
    """The rows by the values of a column: of the score rows, an attribute, or "size-bin"; "unknown" without a value.

    size-bin: the true area's share of the image, empty, up to 1 %, up to 5 %, up to 15 %, above.

    Raises:
        InputError: a column that no row has; the known ones are listed.
    """
    values = [_value_of(row, column) for row in rows]
    if all(value is None for value in values):
        raise unknown_name("column for --by with a value here", column, columns(rows, known_only=True))
    parts: dict[str, list[SampleScore]] = {}
    for row, value in zip(rows, values, strict=True):
        parts.setdefault("unknown" if value is None else value, []).append(row)
    order = {name: rank for rank, name in enumerate(_SIZES)} if column == "size-bin" else {}
    return {name: parts[name] for name in sorted(parts, key=lambda name: (order.get(name, len(order)), name))}


def columns(rows: Rows, *, known_only: bool = False) -> list[str]:
    """What `subgroups` can part rows by; with `known_only` what it can part these rows by."""
    attributes = {name for row in rows for name in json.loads(row.attributes)}
    names = sorted({"size-bin", *BY_COLUMNS, *attributes})
    return [name for name in names if not known_only or any(_value_of(row, name) is not None for row in rows)]


def _value_of(row: SampleScore, column: str) -> str | None:
    if column == "size-bin":
        if row.area_error is None or not row.pixels:
            return None
        share = (row.area - row.area_error) / row.pixels
        return "empty" if share == 0 else next(name for edge, name in SIZE_BINS if share <= edge)
    value = getattr(row, column) if column in BY_COLUMNS else json.loads(row.attributes).get(column)
    return None if value is None else str(value)
