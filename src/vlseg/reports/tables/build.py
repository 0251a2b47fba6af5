"""A study's cells as tables: ours beside what was published, the difference, and whether it is more than noise."""

from collections.abc import Collection, Iterable, Sequence

from vlseg.records.study import Cell, Hole, TableSpec
from vlseg.reports.tables.entries import beside, entry_of, holes_at, natural, with_holes
from vlseg.reports.tables.marks import general_notes, mark_best, protocol_notes
from vlseg.reports.tables.table import Frame, Key, Place, Table, place_of
from vlseg.reports.tables.values import PLAIN, Item, hole_fits, items_of, names_of, published_of

PHANTOMS = "Made-up data (phantoms): nothing here is comparable with published numbers, so that no difference is taken."


def build_table(cells: Sequence[Cell], spec: TableSpec, holes: Sequence[Hole] = (), *, phantoms: bool = False) -> Table:
    """The table that `spec` describes.

    Args:
        cells: of the study, in any order; those that the table is not about are passed over.
        spec: see docs/studies.md.
        holes: what was not done and why; one with a label of a row or column is shown there.
        phantoms: the data are made up; published values are shown, no difference is taken.

    Raises:
        InputError: two cells of the same labels, cells of one place that differ in more than seed and fold, a metric
            that no cell has, or a published table that is not known or of another metric.
    """
    frame = _frame(spec, phantoms)
    found: dict[Key, list[Item]] = {}
    for item in items_of(cells, spec):
        found.setdefault(frame.key(item.labels), []).append(item)
    entries = {key: entry_of(key, items, frame) for key, items in found.items()}
    fitting = [hole for hole in holes if hole_fits(hole, spec)]
    named = {*frame.row_labels, *frame.column_labels}
    placed = [hole for hole in fitting if hole.labels.keys() & named]
    rows = _ordered([row for row, _ in entries], placed, frame, frame.row_labels)
    columns = _ordered([column for _, column in entries], placed, frame, frame.column_labels)
    for key, inside in holes_at(placed, entries, rows, columns, frame).items():
        entries[key] = with_holes(key, entries.get(key), inside)
    for key in ((row, column) for row in rows for column in columns):
        if (entry := beside(key, entries.get(key), frame)) is not None:
            entries[key] = entry
    entries, best = mark_best(entries, columns, frame)
    notes = [*([spec.note] if spec.note else []), *best, *general_notes(entries, frame)]
    notes += [f"Not done: {hole.what}: {hole.why}" for hole in fitting if not hole.labels.keys() & named]
    return Table(
        frame,
        rows,
        columns,
        protocol_notes(entries, frame),
        (PHANTOMS,) if phantoms else (),
        tuple(dict.fromkeys(notes)),
    )


def _frame(spec: TableSpec, phantoms: bool) -> Frame:
    # Distances and counts are no shares: the usual scale of 100 is not meant for them.
    plain = spec.metric.partition(".")[0] in PLAIN
    scale = 1.0 if plain and spec.scale == 100 else spec.scale
    decimals = 2 if scale >= 100 or plain else 4
    return Frame(spec, names_of(spec.rows), names_of(spec.columns), scale, decimals, published_of(spec), phantoms)


def _ordered(places: Iterable[Place], holes: Sequence[Hole], frame: Frame, names: Place) -> tuple[Place, ...]:
    """Rows or columns: those of cells, holes, and published ones that `order` names; by `order`, then by name."""
    order = frame.spec.order
    found = dict.fromkeys(places)
    found |= dict.fromkeys(place_of(hole.labels, names) for hole in holes if set(names) <= hole.labels.keys())
    found |= dict.fromkeys(_printed(found, frame, names))
    if not found and holes:
        found[("all",) * len(names)] = None
    ranks = [{value: rank for rank, value in enumerate(order.get(name, ()))} for name in names]

    def rank(place: Place) -> list[tuple[int, list[tuple[int, float, str]]]]:
        return [(known.get(value, len(known)), natural(value)) for known, value in zip(ranks, place, strict=True)]

    return tuple(sorted(found, key=rank))


def _printed(found: Collection[Place], frame: Frame, names: Place) -> list[Place]:
    """What `order` names of a published label that the study has nothing of; the other labels are empty there.

    There is none where the published table knows more than one of the labels: `order` does not say which go together.
    """
    if frame.published is None:
        return []
    known = [name for name in names if any(name in cell.labels for cell in frame.published.cells)]
    if len(known) != 1:
        return []
    at = names.index(known[0])
    printed = {cell.labels.get(known[0]) for cell in frame.published.cells} - {place[at] for place in found}
    values = [value for value in frame.spec.order.get(known[0], ()) if value in printed]
    return [tuple(value if name == known[0] else "" for name in names) for value in values]
