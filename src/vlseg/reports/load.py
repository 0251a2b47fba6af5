"""Runs as they lie on disk."""

import base64
import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlseg.metrics import Aggregate, aggregate, group_of, independent_note
from vlseg.records import EvaluationSpec, InputError, RunRecord, SampleScore, read_record, read_scores

MEASURED = (
    "dataset",
    "data_fingerprint",
    "answers",
    "model_arguments",
    "cached_features",
    "split",
    "prompt",
    "protocol",
    "threshold",
    "precision",
    "nsd_tolerance",
)
"""What evaluations of one run must share for their numbers to stand side by side."""


@dataclass(frozen=True)
class Picture:
    """One row of image | truth | prediction."""

    data_uri: str
    prompt: str
    target: str | None
    dice: float | None
    image_id: str


@dataclass(frozen=True)
class EvaluationOnDisk:
    """One evaluations/<id>."""

    spec: EvaluationSpec
    scores: list[SampleScore]
    pictures: list[Picture]
    calibration: dict[str, Any] | None = None
    name: str = ""
    """Of its folder: it tells two evaluations of one split apart."""

    def aggregate(self, against: str | None = None) -> Aggregate:
        """Of all rows, or of those whose condition compares with `against`."""
        rows = self.scores
        if against is not None:
            rows = [row for row in rows if json.loads(row.condition_arguments).get("against") == against]
        return aggregate(rows, groups_known=self.spec.groups_known)

    def counts(self) -> tuple[int, int, str | None]:
        """Samples with a truth, the groups that intervals resample, and which images are groups of their own."""
        rows = [row for row in self.scores if row.dice is not None and row.condition != "val"]
        samples = {(row.dataset, row.sample_id) for row in rows}
        groups = {group_of(row, self.spec.groups_known) for row in rows}
        return len(samples), len(groups), independent_note(rows)

    def by_dataset(self) -> dict[str, Aggregate]:
        """Of the rows of each dataset."""
        names = dict.fromkeys(row.dataset for row in self.scores)
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
        """Evaluations under another condition: "probe", "corrupted"."""
        return [evaluation for evaluation in self.evaluations if evaluation.spec.condition == condition]

    @property
    def swapped(self) -> list[EvaluationOnDisk]:
        """Evaluations with another object's prompts."""
        return [evaluation for evaluation in self.evaluations if evaluation.spec.condition == "swapped"]


def alike(first: EvaluationSpec, second: EvaluationSpec) -> bool:
    """True where two evaluations of a run measured the same data in the same way, whatever the condition."""
    return all(getattr(first, name) == getattr(second, name) for name in MEASURED)


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
        InputError: no or broken run.json, spec.json.
    """
    record = read_record(folder / "run.json")
    specs = sorted((folder / "evaluations").glob("*/spec.json"))
    return RunOnDisk(folder, record, _history(folder / "history.csv"), [_evaluation(spec) for spec in specs])


def _history(path: Path) -> list[dict[str, float | None]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(file)]


def _evaluation(path: Path) -> EvaluationOnDisk:
    spec = EvaluationSpec.read(path)
    folder = path.parent
    calibration = folder / "calibration.json"
    scores = read_scores(folder / "scores.parquet")
    # Earlier records say False where any image's group is unknown; each row resamples with its own.
    known = any(row.group is not None for row in scores)
    return EvaluationOnDisk(
        spec.model_copy(update={"groups_known": known}),
        scores,
        _pictures(folder / "overlays"),
        json.loads(calibration.read_text(encoding="utf-8")) if calibration.exists() else None,
        folder.name,
    )


def _pictures(folder: Path) -> list[Picture]:
    index = folder / "index.json"
    entries: list[dict[str, Any]] = json.loads(index.read_text(encoding="utf-8")) if index.exists() else []
    return [
        Picture(
            data_uri("image/png", (folder / entry["file"]).read_bytes()),
            entry["prompt"],
            entry["target"],
            entry["dice"],
            entry["image_id"],
        )
        for entry in entries
    ]


def data_uri(kind: str, content: bytes) -> str:
    """The content inside the page itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
