"""What the page of a study is made from: plain values out of its plan and its ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from vlseg.records.study import Cell, Hole, LedgerRecord
from vlseg.reports.tables import Table

RunState = Literal["done", "failed", "waits", "outdated", "running", "interrupted", "planned"]
STATES: dict[RunState, str] = {
    "done": "done",
    "failed": "failed",
    "waits": "waits",
    "outdated": "outdated",
    "running": "at work",
    "interrupted": "laid down",
    "planned": "to be made",
}
"""By state, in words; `waits`: for a run that failed; `outdated`: there is a result, of other data or weights."""


@dataclass(frozen=True)
class StudyRun:
    """One run of a study.

    Attributes:
        kind: train, evaluate, probe, masks or worth.
        why: it has no result; empty of one that has.
        record: what the last attempt became; None where none is of the wanted identity.
        place: its folder within the study's; empty where there is none.
        size: bytes of what the ledger keeps of it.
        environment: of a training, from its run.json: peak_memory_bytes, device, precision, threads, packages; else {}.
    """

    name: str
    kind: str
    parts: tuple[str, ...]
    labels: Mapping[str, str]
    data: tuple[str, ...]
    state: RunState
    why: str = ""
    record: LedgerRecord | None = None
    place: str = ""
    size: int = 0
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """That the attempt took which ended it; None where it has not ended."""
        return self.record.seconds if self.record is not None else None


@dataclass(frozen=True)
class StudySearch:
    """A search: names of its trials' runs in the order asked, the settings searched for, how many trials are wanted."""

    name: str
    settings: tuple[str, ...]
    runs: tuple[str, ...]
    wanted: int


@dataclass(frozen=True)
class StudyFacts:
    """A study.

    Attributes:
        folder: its name, which commands on the page are given; they are meant from the folder that holds it.
        holes: missing data and weights, and what the study leaves out.
        sizes: bytes by folder of the study.
    """

    name: str
    title: str
    note: str
    phantoms: bool
    folder: str
    runs: Sequence[StudyRun]
    cells: Sequence[Cell]
    tables: Sequence[Table]
    holes: Sequence[Hole] = ()
    searches: Sequence[StudySearch] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
