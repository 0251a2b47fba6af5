"""Runs as they lie on disk."""

import base64
import csv
import json
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pydantic

from vlseg.metrics import Aggregate, LanguageUse, aggregate, group_of, independent_note, language_use
from vlseg.records import (
    MEASURED,
    EvaluationSpec,
    InputError,
    RunRecord,
    SampleScore,
    from_validation,
    read_json,
    read_record,
    read_scores,
)
from vlseg.records.pictures import Pictures, read_pictures


class _Calibration(pydantic.BaseModel):
    """What is read of calibration.json; `curve` has (mean probability, frequency of foreground, pixels) a bin."""

    expected_calibration_error: float | None
    bins: int
    pixels: int
    band_share_of_diagonal: float
    curve: list[tuple[float, float, int]]


@dataclass(frozen=True)
class EvaluationOnDisk:
    """One evaluations/<id>; what is computed from its rows is computed once."""

    folder: Path
    spec: EvaluationSpec
    scores: list[SampleScore]
    calibration: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """Of its folder: it tells two evaluations of one split apart."""
        return self.folder.name

    @cached_property
    def whole(self) -> Aggregate:
        """Of all rows."""
        return aggregate(self.scores, groups_known=self.spec.groups_known)

    def against(self, what: str) -> Aggregate:
        """Of the rows whose condition compares with `what`: "original" or "named"."""
        rows = [row for row in self.scores if json.loads(row.condition_arguments).get("against") == what]
        return aggregate(rows, groups_known=self.spec.groups_known)

    @cached_property
    def use(self) -> LanguageUse:
        """Of a probe: indices and effects."""
        return language_use(self.scores, groups_known=self.spec.groups_known)

    @cached_property
    def pictures(self) -> Pictures | None:
        """Small images and the outlines of each row; None where none were kept."""
        return read_pictures(self.folder, len(self.scores))

    def counts(self) -> tuple[int, int, str | None]:
        """Samples with a truth, the groups that intervals resample, and which images are groups of their own."""
        rows = [row for row in self.scores if row.dice is not None and row.condition != "val"]
        samples = {(row.dataset, row.sample_id) for row in rows}
        groups = {group_of(row, self.spec.groups_known) for row in rows}
        return len(samples), len(groups), independent_note(rows)

    @cached_property
    def parts(self) -> dict[str, Aggregate]:
        """Of the rows of each dataset, where several were pooled."""
        names = dict.fromkeys(row.dataset for row in self.scores)
        if len(names) < 2:
            return {}
        rows = {name: [row for row in self.scores if row.dataset == name] for name in names}
        return {name: aggregate(inside, groups_known=self.spec.groups_known) for name, inside in rows.items()}


@dataclass(frozen=True)
class RunOnDisk:
    """A run's folder. `history` holds the rows of history.csv as numbers (None = blank)."""

    folder: Path
    record: RunRecord
    history: list[dict[str, float | None]] = field(default_factory=list)
    evaluations: list[EvaluationOnDisk] = field(default_factory=list)

    @property
    def clean(self) -> list[EvaluationOnDisk]:
        """Evaluations with the prompts as they are."""
        return [evaluation for evaluation in self.evaluations if evaluation.spec.condition == "clean"]

    def under(self, condition: str) -> list[EvaluationOnDisk]:
        """Evaluations under another condition: "probe", "swapped", "corrupted", "blind"."""
        return [evaluation for evaluation in self.evaluations if evaluation.spec.condition == condition]


def alike(first: EvaluationSpec, second: EvaluationSpec) -> bool:
    """True where two evaluations of a run measured the same data in the same way, whatever the condition."""
    return all(getattr(first, name) == getattr(second, name) for name in MEASURED)


def trained_on(record: RunRecord, phantoms: Collection[str]) -> tuple[str, ...]:
    """The datasets that a run was trained on, without phantoms that bear the name of a real set which was scored.

    Args:
        record: of the run.
        phantoms: names of the made-up ones among those that were scored.
    """
    return tuple(name for name in record.trained_on if name not in record.phantoms or name in phantoms)


def find_runs(folder: Path) -> list[Path]:
    """The folder itself when it is a run, else the runs in it or in its runs/.

    Raises:
        InputError: no run there.
    """
    if (folder / "run.json").exists():
        return [folder]
    for place in (folder, folder / "runs"):
        found = sorted(file.parent for file in place.glob("*/run.json"))
        if found:
            return found
    raise InputError(f"{folder}: no run.json there or one folder below; give a run folder made by vlseg train")


def load_run(folder: Path) -> RunOnDisk:
    """Everything a report shows of a run; evaluations that were cut off before spec.json are left out.

    Raises:
        InputError: no or broken run.json, or a broken file of its curve or its evaluations.
    """
    record = read_record(folder / "run.json")
    specs = sorted((folder / "evaluations").glob("*/spec.json"))
    return RunOnDisk(folder, record, _history(folder / "history.csv"), [_evaluation(spec) for spec in specs])


def _history(path: Path) -> list[dict[str, float | None]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        try:
            return [{name: float(value) if value else None for name, value in row.items()} for row in rows]
        except (ValueError, TypeError, csv.Error) as error:
            line = f"line {rows.line_num}: {error}"
            raise InputError(f"{path}: cannot be read ({line}); delete the file to do without the curve") from error


def _evaluation(path: Path) -> EvaluationOnDisk:
    spec = EvaluationSpec.read(path)
    folder = path.parent
    scores = read_scores(folder / "scores.parquet")
    # Earlier records say False where any image's group is unknown; each row resamples with its own.
    known = any(row.group is not None for row in scores)
    return EvaluationOnDisk(
        folder, spec.model_copy(update={"groups_known": known}), scores, _calibration(folder / "calibration.json")
    )


def _calibration(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    values = read_json(path, "evaluate again")
    try:
        return _Calibration.model_validate(values).model_dump()
    except pydantic.ValidationError as error:
        raise InputError(f"{from_validation(error, str(path))}; evaluate again, or delete the file") from error


def data_uri(kind: str, content: bytes) -> str:
    """The content inside the page itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
