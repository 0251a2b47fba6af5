"""What a table is, before it is written down."""

from collections.abc import Mapping
from dataclasses import dataclass

from vlseg.records.study import TableSpec
from vlseg.reports.published import PublishedCell, PublishedTable

Labels = Mapping[str, str]
Place = tuple[str, ...]
"""The values of the row's labels, or of the column's."""
Key = tuple[Place, Place]
"""Row and column."""


@dataclass(frozen=True)
class Frame:
    """What all places of a table share; `scale` is what a number is shown times."""

    spec: TableSpec
    row_labels: Place
    column_labels: Place
    scale: float
    decimals: int
    published: PublishedTable | None
    phantoms: bool

    @property
    def root(self) -> str:
        """The first part of the metric's path."""
        return self.spec.metric.partition(".")[0]

    def named(self, key: Key) -> dict[str, str]:
        """The labels that a place has by its row and column."""
        names = (*self.row_labels, *self.column_labels)
        return dict(zip(names, (*key[0], *key[1]), strict=True))

    def key(self, labels: Labels) -> Key:
        """Where labels stand."""
        return place_of(labels, self.row_labels), place_of(labels, self.column_labels)


def place_of(labels: Labels, names: Place) -> Place:
    """The values of the names; a label that is not there is empty."""
    return tuple(labels.get(name, "") for name in names)


@dataclass(frozen=True)
class Run:
    """One seed's number as shown; that of several folds is their mean, `half_width` their widest."""

    seed: str
    value: float
    half_width: float | None
    n: int | None
    folds: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Entry:
    """What a table has at one place; numbers are as shown.

    Attributes:
        row, column: where it stands.
        labels: those that all its cells share.
        runs: by seed, in order.
        mean: over seeds; None with the reason in `hole`, which is empty where the study plans nothing here.
        spread: largest minus smallest over seeds; None with one seed.
        half_width: of the widest of the seeds' intervals; None where there is none.
        trained: another seed would give another number; False of models as their weights are.
        n: samples; None where the seeds differ.
        published: what stands beside, `beside` its value as shown.
        difference: ours minus the published value; None where the two are not comparable.
        flagged: whether the difference is more than noise; None where that cannot be judged, see `FLAG_RULE`.
        best: of its column, among comparable cells.
        leaks: whether the prompt tells of the truth; None where it is not known.
        notes: footnotes of ours; `beside_notes` of the published value's.
    """

    row: Place
    column: Place
    labels: Labels
    runs: tuple[Run, ...] = ()
    mean: float | None = None
    spread: float | None = None
    half_width: float | None = None
    trained: bool = True
    n: int | None = None
    published: PublishedCell | None = None
    beside: float | None = None
    difference: float | None = None
    flagged: bool | None = None
    best: bool = False
    leaks: bool | None = None
    hole: str = ""
    notes: tuple[str, ...] = ()
    beside_notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Everything that is shown of a table, whatever it is written as.

    Attributes:
        rows, columns: in the order shown.
        entries: by (row, column); a place without one is no part of the study.
        above: what must be read first; `notes`: what holds for the whole table.
    """

    frame: Frame
    rows: tuple[Place, ...]
    columns: tuple[Place, ...]
    entries: Mapping[tuple[Place, Place], Entry]
    above: tuple[str, ...]
    notes: tuple[str, ...]
