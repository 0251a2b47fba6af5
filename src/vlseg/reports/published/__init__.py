"""Published numbers that stand beside a study's, each with its source and how far it can be trusted.

One file a paper; a key is FILE/TABLE, as in `medvlsm/table2/individual`. Values are as published, in the unit of their
table. A cell is found by its labels, which are those of a study's cells.
"""

from collections.abc import Mapping
from functools import cache, cached_property
from importlib.resources import files
from typing import Annotated, Literal, Self

import pydantic
import yaml

from vlseg.records import InputError, from_validation, unknown_name
from vlseg.records.run import Strict

Tag = Literal["IMG", "CODE", "HIST", "VEC", "README", "3RD", "CALC", "ABSTRACT", "MEM"]
TAGS: dict[Tag, str] = {
    "IMG": "table or figure in the authors' repository, read by eye",
    "CODE": "the authors' code or annotations",
    "HIST": "the authors' repository at an earlier state",
    "VEC": "read from the curves of the authors' plots, two decimals",
    "README": "text of the authors' repository",
    "3RD": "third parties' notes: to be checked against the paper",
    "CALC": "computed by us from what the authors released",
    "ABSTRACT": "the paper's abstract",
    "MEM": "from memory, without a source: to be verified before it is quoted",
}
"""What the tags say."""
TRAINED = Literal["own", "pool", "none"]
"""own: on the dataset that is asked about; pool: on several, or on others; none: not trained (zero-shot)."""
UNITS = Literal["percent", "points", "px"]
"""percent: a share times 100; points: a difference of two such; px: pixels."""

Number = Annotated[float, pydantic.Field(strict=True, allow_inf_nan=False)]

USUAL = {"condition": "clean", "split": "test", "share": "1", "label_share": "1"}
"""Of what a published number is where its labels do not say otherwise."""


class _Value(Strict):
    value: Number | None
    reason: str | None = None
    note: str | None = None
    differs: str | None = None
    tag: Tag | None = None
    ci95: tuple[Number, Number] | None = None
    std: Number | None = None
    others: tuple[Number, ...] = ()

    @pydantic.model_validator(mode="after")
    def _explained(self) -> Self:
        if (self.value is None) != (self.reason is not None):
            raise ValueError("a value, or null with a reason")
        return self


class _Row(Strict):
    labels: dict[str, str] = pydantic.Field({})
    values: list[_Value | Number | None]
    paper: str | None = None
    source: str | None = None
    tag: Tag | None = None
    note: str | None = None
    differs: str | None = None


class _Table(Strict):
    key: str
    title: str
    source: str
    tag: Tag
    metric: str
    unit: UNITS
    trained: TRAINED | None = None
    notes: list[str] = pydantic.Field([])
    labels: dict[str, str] = pydantic.Field({})
    columns: Annotated[dict[str, list[str]], pydantic.Field(min_length=1)]
    rows: Annotated[list[_Row], pydantic.Field(min_length=1)]


class _Paper(Strict):
    paper: str
    tables: list[_Table]


class PublishedCell(Strict):
    """One published number.

    Attributes:
        labels: what it is of, in a study's labels.
        value: in the table's unit; None where the source cannot be read, with the `reason`.
        source: paper and place.
        tag: how far it can be trusted, see `TAGS`.
        note: what a reader should know beside it.
        differs: why it is not a measurement of the same thing; then no difference is taken.
        ci95: interval, where published.
        std: over test samples, where published.
        others: what other sources give for the same cell.
    """

    labels: dict[str, str]
    value: float | None
    source: str
    tag: Tag
    reason: str | None = None
    note: str | None = None
    differs: str | None = None
    ci95: tuple[float, float] | None = None
    std: float | None = None
    others: tuple[float, ...] = ()


class PublishedTable(Strict):
    """A published table: its metric (a study table's, with {names} where a part of it is a label), unit and cells.

    `trained` says on what its models were trained; None where the labels of its cells say it, or nothing does.
    """

    key: str
    title: str
    source: str
    metric: str
    unit: UNITS
    trained: TRAINED | None
    notes: tuple[str, ...]
    cells: tuple[PublishedCell, ...]

    def find(self, labels: Mapping[str, str]) -> PublishedCell | None:
        """The cell all of whose labels are among `labels`; None where there is none, or several.

        A published number is of clean prompts, the test split and all training images with their masks unless its
        labels say otherwise; a cell of a study that is of something else, or trained on something else, has none
        beside it.
        """
        usual = all(
            _plain(labels.get(name) or value) == value for name, value in USUAL.items() if name not in self._names
        )
        if not usual or not self._trained_alike(labels):
            return None
        found = [
            cell
            for names, cells in self._index.items()
            for cell in cells.get(tuple(_plain(labels.get(name, "")) for name in names), ())
        ]
        return found[0] if len(found) == 1 else None

    def _trained_alike(self, labels: Mapping[str, str]) -> bool:
        """As far as the labels say it."""
        on = labels.get("trained_on", "")
        if self.trained is None:
            return True
        if self.trained == "none":
            return not on
        prompt = labels.get("prompt", "")
        asked_otherwise = "prompt" not in self._names and prompt and labels.get("asked", prompt) != prompt
        if labels.get("regime") == "zero_shot" or asked_otherwise:
            return False
        if self.trained == "own" or not on:
            return on in ("", labels.get("data"))
        return "trained_on" in self._names or on not in self._datasets

    @cached_property
    def _datasets(self) -> frozenset[str]:
        return frozenset(cell.labels.get("data", "") for cell in self.cells)

    @cached_property
    def _index(self) -> dict[tuple[str, ...], dict[tuple[str, ...], list[PublishedCell]]]:
        """By names of labels, then by their values."""
        index: dict[tuple[str, ...], dict[tuple[str, ...], list[PublishedCell]]] = {}
        for cell in self.cells:
            values = tuple(map(_plain, cell.labels.values()))
            index.setdefault(tuple(cell.labels), {}).setdefault(values, []).append(cell)
        return index

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(name for names in self._index for name in names)


@cache
def _plain(value: str) -> str:
    """A word as it is; numbers in one form ("1" for "1.0")."""
    try:
        return f"{float(value):g}"
    except ValueError:
        return value


def published_table(key: str) -> PublishedTable:
    """The published table of a key.

    Raises:
        InputError: an unknown key; the known ones are listed, the likeliest first.
    """
    paper = key.partition("/")[0]
    tables = _tables(paper) if paper in _papers() else {}
    if key not in tables:
        raise unknown_name("published table", key, published_keys())
    return tables[key]


def published_keys() -> list[str]:
    """All keys, sorted."""
    return sorted(key for paper in _papers() for key in _tables(paper))


def _papers() -> list[str]:
    return sorted(file.name.removesuffix(".yaml") for file in files(__name__).iterdir() if file.name.endswith(".yaml"))


@cache
def _tables(paper: str) -> dict[str, PublishedTable]:
    text = (files(__name__) / f"{paper}.yaml").read_text(encoding="utf-8")
    return parse_published(text, paper)


def parse_published(text: str, name: str) -> dict[str, PublishedTable]:
    """The tables of one file by key.

    Args:
        text: YAML.
        name: of the paper: the first part of its keys, and named in errors.

    Raises:
        InputError: broken YAML, an unknown field, rows and columns that do not fit, or labels given twice.
    """
    try:
        values = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        paper = _Paper.model_validate(values)
    except yaml.YAMLError as error:
        raise InputError(f"{name}.yaml: broken YAML ({str(error).splitlines()[0]})") from error
    except pydantic.ValidationError as error:
        raise from_validation(error, f"{name}.yaml") from error
    tables = [_expanded(table, f"{name}/{table.key}", paper.paper) for table in paper.tables]
    keys = [table.key for table in tables]
    doubled = [key for key in keys if keys.count(key) > 1]
    if doubled:
        raise InputError(f"{name}.yaml: two tables have the key '{doubled[0]}'; give each its own")
    return dict(zip(keys, tables, strict=True))


def _expanded(table: _Table, key: str, paper: str) -> PublishedTable:
    lengths = {len(names) for names in table.columns.values()}
    if len(lengths) > 1:
        raise InputError(f"{key}: the labels of its columns are of different number; give each column all of them")
    columns = [dict(zip(table.columns, names, strict=True)) for names in zip(*table.columns.values(), strict=True)]
    cells = [cell for row in table.rows for cell in _cells(table, row, columns, paper, key)]
    seen: dict[tuple[tuple[str, str], ...], PublishedCell] = {}
    for cell in cells:
        name = tuple(sorted(cell.labels.items()))
        if name in seen:
            raise InputError(f"{key}: two cells have the labels {cell.labels} ({seen[name].value}, {cell.value})")
        seen[name] = cell
    return PublishedTable(
        key=key,
        title=table.title,
        source=f"{paper}, {table.source}",
        metric=table.metric,
        unit=table.unit,
        trained=table.trained,
        notes=tuple(table.notes),
        cells=tuple(cells),
    )


def _cells(table: _Table, row: _Row, columns: list[dict[str, str]], paper: str, key: str) -> list[PublishedCell]:
    """Of one row; columns at its end may be left out."""
    if len(row.values) > len(columns):
        raise InputError(f"{key}: row {row.labels} has {len(row.values)} values in {len(columns)} columns")
    found = []
    for column, given in zip(columns, row.values, strict=False):
        if given is None:
            continue
        one = given if isinstance(given, _Value) else _Value(value=given)
        found.append(
            PublishedCell(
                labels={**table.labels, **row.labels, **column},
                value=one.value,
                source=f"{row.paper or paper}, {row.source or table.source}",
                tag=one.tag or row.tag or table.tag,
                reason=one.reason,
                note=one.note or row.note,
                differs=one.differs or row.differs,
                ci95=one.ci95,
                std=one.std,
                others=one.others,
            )
        )
    return found
