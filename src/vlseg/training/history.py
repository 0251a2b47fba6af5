"""history.csv: the learning curve, and the time it took."""

import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from vlseg.records import replacing
from vlseg.training.schedule import Progress

LOG_EVERY = 10
"""Optimiser steps whose mean loss makes one row."""

PARTS = ("labelled_loss", "pseudo_loss", "lv_loss")
"""What the loss of a batch with pseudo-labels is made of."""


@dataclass(frozen=True)
class HistoryRow:
    """Mean loss of the last steps, or a validation. `seconds` counts training time over all sittings.

    What the loss is made of stands there where images without a mask are trained on: means over their rows.
    """

    step: int
    epoch: int
    loss: float | None
    learning_rate: float
    val_dice: float | None
    seconds: float
    labelled_loss: float | None = None
    pseudo_loss: float | None = None
    lv_loss: float | None = None

    def values(self) -> list[Any]:
        """Plain values, in the order of the columns."""
        return list(astuple(self))


class Journal:
    """The rows of a run so far, over all its sittings; they are only ever added to."""

    def __init__(self) -> None:
        self.rows: list[HistoryRow] = []
        self._recent: list[float] = []
        self._parts: list[dict[str, float]] = []
        self._rate = 0.0
        self._started, self._before = time.monotonic(), 0.0

    def seconds(self) -> float:
        """Time spent on the run so far."""
        return round(self._before + time.monotonic() - self._started, 2)

    def step(self, progress: Progress, loss: float, rate: float, parts: Sequence[Mapping[str, float]] = ()) -> None:
        """Note a step's loss and rate, and what the losses of its batches are made of."""
        self._recent.append(loss)
        self._parts += map(dict, parts)
        self._rate = rate
        if progress.step % LOG_EVERY == 0:
            self.close(progress)

    def close(self, progress: Progress) -> None:
        """A row of the steps since the last one, where there are any."""
        if self._recent:
            mean = sum(self._recent) / len(self._recent)
            parts = {name: _mean([one[name] for one in self._parts if name in one]) for name in PARTS}
            row = HistoryRow(progress.step, progress.epoch, mean, self._rate, None, self.seconds(), **parts)
            self.rows.append(row)
            self._recent, self._parts = [], []

    def validated(self, progress: Progress, score: float) -> None:
        """Note a validation."""
        self.rows.append(HistoryRow(progress.step, progress.epoch, None, self._rate, score, self.seconds()))

    def write(self, path: Path) -> None:
        """history.csv, anew."""
        write_history(path, self.rows)

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        rows = [row.values() for row in self.rows]
        recent = {"recent": list(self._recent), "parts": list(self._parts)}
        return {"history": rows, **recent, "rate": self._rate, "seconds": self.seconds()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        self.rows = [HistoryRow(*values) for values in state["history"]]
        self._recent, self._parts = list(state["recent"]), list(state.get("parts", []))
        self._rate, self._before = state["rate"], state["seconds"]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def write_history(path: Path, rows: Sequence[HistoryRow]) -> None:
    """Write the whole file anew; columns of what a loss is made of only where there are any."""
    empty = {name for name in PARTS if all(getattr(row, name) is None for row in rows)}
    names = [column.name for column in fields(HistoryRow) if column.name not in empty]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        found = ([getattr(row, name) for name in names] for row in rows)
        writer.writerows(["" if value is None else value for value in values] for values in found)
