"""What a table reads out of a study's cells: which cells it is about, and their number, its interval and n."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlseg.metrics import Aggregate
from vlseg.records import InputError, unknown_name
from vlseg.records.study import Cell, Hole, TableSpec, several
from vlseg.reports.published import PublishedTable, published_table

Labels = Mapping[str, str]
MEANS = ("mean", "value", "delta_dice", "difference")
"""Under which of these keys a number stands that has an interval beside it."""
EVALUATED = (*Aggregate.__dataclass_fields__, "ceilings", "named", "corruptions", "certificates")
KNOWN = {
    "probe": ("selection_index", "chose_none", "presence_index", "attributes", "tests"),
    "attack": ("clean", "attacks"),
    "worth": ("worth", "seeds"),
}
"""First parts of metrics, by kind of run; of evaluations and mask files `EVALUATED`."""
HIGHER = frozenset(
    {"dice", "dice_present", "dice_macro", "iou", "nsd", "absent_empty", "presence", "pixel_precision", "pixel_recall"}
    | {"lesion_sensitivity", "selection_index", "presence_index"}
)
LOWER = frozenset({"hd", "hd95", "hd95_penalised", "assd", "area_error_size", "false_lesions", "brier", "chose_none"})
DISTANCES = frozenset({"hd", "hd95", "hd95_penalised", "assd"})
PLAIN = (
    DISTANCES
    | {"area_error", "area_error_size", "false_lesions"}
    | {name for name in Aggregate.__dataclass_fields__ if name.startswith("n_") or name == "n"}
)
"""Pixels, millimetres and counts: shown as they are, where the table does not say how."""


@dataclass(frozen=True)
class Measured:
    """A cell's number in its own unit: `value` None with its reason; `half_width` None with `no_interval`."""

    value: float | None
    half_width: float | None
    n: int | None
    reason: str = ""
    no_interval: str = ""


@dataclass(frozen=True)
class Item:
    """A cell of the study that belongs to a table, under its labels and those that the metric's path adds."""

    labels: Labels
    measured: Measured
    cell: Cell


def check_specs(specs: Sequence[TableSpec], labels: Sequence[str] | None = None) -> None:
    """That tables can be made, before anything is run for them.

    Args:
        specs: of a study.
        labels: every label that its cells will have; None = not known yet.

    Raises:
        InputError: a name that is no file's or taken, an unknown published table, one of another metric, an unknown
            metric, or a label that no cell will have.
    """
    seen: dict[str, str] = {}
    for spec in specs:
        here = f"table '{spec.name}'"
        if not spec.name.replace("-", "").replace("_", "").replace(".", "").isalnum() or spec.name.startswith("."):
            raise InputError(f"{here}: a name may hold letters, digits, '-', '_' and '.'; it becomes a file's")
        if spec.name.lower() in {"index", *seen}:
            taken = seen.get(spec.name.lower(), "the page of all tables")
            raise InputError(f"{here}: the name is taken ({taken}); give it another")
        seen[spec.name.lower()] = f"table '{spec.name}'"
        root = spec.metric.partition(".")[0]
        known = KNOWN.get(spec.kind or "", EVALUATED)
        if root not in known:
            raise InputError(f"{here}: {unknown_name('metric', root, known)}")
        published_of(spec)
        if labels is not None:
            for name in {*names_of(spec.rows), *names_of(spec.columns), *spec.where, *spec.order}:
                if name not in {*labels, "kind", *placeholders(spec.metric)}:
                    raise InputError(f"{here}: {unknown_name('label', name, labels)}")


def published_of(spec: TableSpec) -> PublishedTable | None:
    """The published table that stands beside; None where the spec asks for none.

    Raises:
        InputError: an unknown one, or one of another metric.
    """
    if spec.published is None:
        return None
    try:
        table = published_table(spec.published)
    except InputError as error:
        raise InputError(f"table '{spec.name}': {error}") from error
    if bound(table.metric, spec.metric) is None:
        raise InputError(
            f"table '{spec.name}': shows {spec.metric}, but the published table '{table.key}' is of {table.metric}; "
            "change one of the two"
        )
    return table


def placeholders(metric: str) -> list[str]:
    """The labels that a path such as attributes.{attribute}.wrong adds."""
    return [part[1:-1] for part in metric.split(".") if part.startswith("{") and part.endswith("}")]


def bound(pattern: str, metric: str) -> dict[str, str] | None:
    """The labels that a metric gives the placeholders of a pattern; None where it is another metric."""
    ours, theirs = metric.split("."), pattern.split(".")
    if len(ours) != len(theirs):
        return None
    pairs = [(one, other) for one, other in zip(theirs, ours, strict=True) if one != other]
    if any(not placeholders(one) or placeholders(other) for one, other in pairs):
        return None
    return {placeholders(one)[0]: other for one, other in pairs}


def items_of(cells: Sequence[Cell], spec: TableSpec) -> list[Item]:
    """The cells that a table is about, one item for each number.

    Raises:
        InputError: no cell that the table is about has its metric.
    """
    added = set(placeholders(spec.metric))
    early = {name: values for name, values in wanted(spec).items() if name not in added}
    late = {name: values for name, values in wanted(spec).items() if name in added}
    inside = [one for one in cells if one.kind in kinds_of(spec) and fits(one.labels, early)]
    root = spec.metric.partition(".")[0]
    if inside and not any(root in one.values for one in inside):
        known = {key for one in inside for key in one.values}
        raise InputError(f"table '{spec.name}': {unknown_name('metric', root, known)}")
    return [
        Item(labels, measured, cell)
        for cell in inside
        for extra, measured in read(cell.values, spec.metric)
        if fits(labels := {**cell.labels, **extra} if extra else cell.labels, late)
    ]


def kinds_of(spec: TableSpec) -> tuple[str, ...]:
    """Of the runs that a table is about."""
    return (spec.kind,) if spec.kind else ("evaluate", "masks")


def wanted(spec: TableSpec) -> dict[str, frozenset[str]]:
    """`where` as sets of words."""
    return {name: frozenset(several(value)) for name, value in spec.where.items() if name != "kind"}


def fits(labels: Labels, values: Mapping[str, frozenset[str]]) -> bool:
    """Whether each label has one of its values; a label that is not there is empty."""
    return all(labels.get(name, "") in some for name, some in values.items())


def hole_fits(hole: Hole, spec: TableSpec) -> bool:
    """Whether a hole may be one of the table's: what it does not say is no hindrance."""
    if hole.kind is not None and hole.kind not in kinds_of(spec):
        return False
    for name, some in wanted(spec).items():
        if name == "part" and hole.parts and "part" not in hole.labels:
            if not some & set(hole.parts):
                return False
        elif name in hole.labels and hole.labels[name] not in some:
            return False
    return True


def read(values: Mapping[str, Any], metric: str) -> Iterator[tuple[dict[str, str], Measured]]:
    """The numbers at a dotted path, each with the labels of the path's {names}; none where it is not there.

    A list is entered by its things' names (the probe's tests), or their seeds (what a leak is worth).
    """
    yield from _walk(values, metric.split("."), {}, values, None)


def _walk(
    node: Any, parts: Sequence[str], labels: dict[str, str], values: Mapping[str, Any], parent: Any
) -> Iterator[tuple[dict[str, str], Measured]]:
    if isinstance(node, list):
        node = {_name(one): one for one in node if isinstance(one, Mapping)}
    if not parts:
        yield labels, _measured(node)
        return
    if not isinstance(node, Mapping):
        return
    part, *rest = parts
    for name in placeholders(part):
        for key in node:
            yield from _step(node, key, rest, {**labels, name: str(key)}, values, parent)
        return
    if part in node:
        yield from _step(node, part, rest, labels, values, parent)


def _name(thing: Mapping[str, Any]) -> str:
    return str(thing.get("name", thing.get("seed", "")))


def _step(
    node: Mapping[str, Any],
    key: str,
    rest: Sequence[str],
    labels: dict[str, str],
    values: Mapping[str, Any],
    parent: Any,
) -> Iterator[tuple[dict[str, str], Measured]]:
    if not rest and not isinstance(node[key], Mapping | list):
        yield labels, _leaf(node, key, values, parent)
    else:
        yield from _walk(node[key], rest, labels, values, (node, key))


def _measured(node: Any) -> Measured:
    """Of an estimate with its interval."""
    key = next((key for key in MEANS if key in node), None)
    return Measured(None, None, None, reason="not a number") if key is None else _with_interval(node, key)


def _leaf(node: Mapping[str, Any], part: str, values: Mapping[str, Any], parent: Any) -> Measured:
    if part in MEANS and "ci95" in node:
        return _with_interval(node, part)
    # The probe keeps the change by attribute beside, and its interval among its tests.
    if isinstance(parent, tuple) and parent[0] is values.get("attributes"):
        for test in values.get("tests", ()):
            if test.get("name") == f"{part}_{parent[1]}":
                return _with_interval(test, "delta_dice")
    reason = node.get(f"{part}_reason") or (node.get("reason") if node is not values else None)
    return _number(node[part], node.get("n", values.get("n")), str(reason or ""))


def _with_interval(node: Mapping[str, Any], key: str) -> Measured:
    plain = _number(node[key], node.get("n"), str(node.get("reason") or ""))
    ends = node.get("ci95")
    if not isinstance(ends, Sequence) or len(ends) != 2 or not all(map(_finite, ends)):
        return (
            plain if plain.value is None else Measured(plain.value, None, plain.n, "", plain.reason or "none is kept")
        )
    return Measured(plain.value, (float(ends[1]) - float(ends[0])) / 2, plain.n, plain.reason)


def _number(value: Any, n: Any, reason: str) -> Measured:
    count = n if isinstance(n, int) else None
    if not _finite(value):
        given = "no value" if value is None else f"not a number ({value!r:.20})"
        return Measured(None, None, count, reason or given)
    return Measured(float(value), None, count, reason, reason or "none is kept for this number")


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def names_of(labels: str | Sequence[str]) -> tuple[str, ...]:
    """One label or several."""
    return (labels,) if isinstance(labels, str) else tuple(labels)
