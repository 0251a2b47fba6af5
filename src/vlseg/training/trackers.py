"""The numbers of a run in the trackers that its user asked for, beside history.csv: scalars and settings, no images.

Nothing leaves the machine unless the user says so in the tracker's own variables (see `tracker_libraries`). What a
tracker does wrong never reaches the training: one warning, and it is left out from there on.
"""

import contextlib
import re
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlseg.records import InputError, RunConfig, RunRecord, write_text
from vlseg.training.history import PARTS, HistoryRow
from vlseg.training.tracker_libraries import LIBRARIES, Point, Tracked, Tracker

FOLDER = "trackers"
"""In a run's folder: the run's id, and what trackers keep there."""


def check_installed(names: Sequence[str]) -> None:
    """That the libraries of the trackers are there.

    Raises:
        InputError: one or more are not; names the extras.
    """
    lacking = [name for name in dict.fromkeys(names) if not LIBRARIES[name].installed()]
    if lacking:
        raise InputError(
            f"trackers: {', '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not installed here; "
            f"pip install 'vlseg[{','.join(lacking)}]'"
        )


class Tracking:
    """A run's trackers, opened; without any it does nothing and writes nothing.

    A resumed run goes on in the same place: every metric is written once for each step, because each tracker is asked
    for the last step that it has.
    """

    def __init__(self, run: Path, config: RunConfig, name: str) -> None:
        self._open: dict[str, Tracker] = {}
        self._seen: dict[str, dict[str, int]] = {}
        self._sent = 0
        for tracker in dict.fromkeys(config.trackers):
            with self._apart(tracker), _quiet():
                tracked = Tracked(_run_id(run / FOLDER), name, run / FOLDER, flat(config.model_dump()))
                opened = LIBRARIES[tracker].open(tracked)
                self._seen[tracker] = dict(opened.seen())
                self._open[tracker] = opened

    def rows(self, rows: Sequence[HistoryRow]) -> None:
        """Tell the rows of history.csv; all so far, of which the new ones are written."""
        if self._open and len(rows) > self._sent:
            self.points([_point(row) for row in rows[self._sent :]])
        self._sent = len(rows)

    def points(self, points: Sequence[Point]) -> None:
        """Tell values at steps; a metric that a tracker has at this step or a later one is left out."""
        clean = [(step, {_metric(name): value for name, value in values.items()}) for step, values in points]

        def log(name: str, tracker: Tracker) -> None:
            seen = self._seen[name]
            new = []
            for step, values in clean:
                unseen = {metric: value for metric, value in values.items() if step > seen.get(metric, -1)}
                seen.update(dict.fromkeys(unseen, step))
                if unseen:
                    new.append((step, unseen))
            if new:
                tracker.log(new)

        self._each(log)

    def end(self, record: RunRecord) -> None:
        """Tell how the run ended: of one that is done its summary and threshold, at the last step."""
        if record.status == "done":
            values = numbers({**record.summary, "threshold": record.threshold})
            self.points([(record.summary["steps"], {f"summary/{name}": value for name, value in values.items()})])
        self.close(record.status)

    def close(self, status: str | None = None) -> None:
        """Let go of every tracker; `status` is the run's, None where it was set before."""
        self._each(lambda _, tracker: tracker.close(status))
        self._open = {}

    def _each(self, act: Callable[[str, Tracker], None]) -> None:
        for name, tracker in list(self._open.items()):
            with self._apart(name), _quiet():
                act(name, tracker)

    @contextlib.contextmanager
    def _apart(self, name: str) -> Iterator[None]:
        """Keep whatever a tracker raises from the training."""
        try:
            yield
        except Exception as error:
            self._open.pop(name, None)
            why = " ".join(str(error).split())[:300] or type(error).__name__
            print(f"tracker {name}: failed and is left out from here on ({why})", file=sys.stderr)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Stdout is for results; the libraries' own deprecations are no business of the user."""
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _run_id(folder: Path) -> str:
    """The id that the run has in every tracker, made when it is first tracked."""
    path = folder / "id"
    if not path.exists():
        write_text(path, uuid.uuid4().hex + "\n")
    return path.read_text(encoding="utf-8").strip()


def _point(row: HistoryRow) -> Point:
    if row.val_dice is not None:
        return row.step, {"val_dice": row.val_dice}
    assert row.loss is not None
    told = {"loss": row.loss, "learning_rate": row.learning_rate, "epoch": row.epoch, "seconds": row.seconds}
    parts = {name: value for name in PARTS if (value := getattr(row, name)) is not None}
    return row.step, {**told, **parts}


def _metric(name: str) -> str:
    """The name with the characters that every tracker takes."""
    return re.sub(r"[^\w./ -]", "_", name)


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Those of the values that are numbers."""
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        inside = isinstance(value, Mapping) and value
        found |= flat(value, f"{before}{key}.") if inside else {f"{before}{key}": value}
    return found
