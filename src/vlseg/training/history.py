"""history.csv: the learning curve."""

import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from vlseg.records import replacing


@dataclass(frozen=True)
class HistoryRow:
    """Mean loss of the last steps, or a validation. `seconds` counts training time over all sittings."""

    step: int
    epoch: int
    loss: float | None
    learning_rate: float
    val_dice: float | None
    seconds: float

    def values(self) -> list[Any]:
        """Plain values, in the order of the columns."""
        return list(astuple(self))


def write_history(path: Path, rows: Sequence[HistoryRow]) -> None:
    """Write the whole file anew."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([column.name for column in fields(HistoryRow)])
        writer.writerows(["" if value is None else value for value in row.values()] for row in rows)
