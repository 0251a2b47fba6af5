"""What is marked and noted over a whole table."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vlseg.metrics import EMPTY_RULE
from vlseg.reports.published import TAGS
from vlseg.reports.tables.table import Entry, Frame, Key, Place, place_of
from vlseg.reports.tables.values import HIGHER, LOWER

TEST = ("data", "split", "condition")
"""Labels that cells must share to be compared."""
FLAG_RULE = (
    "A difference is flagged (!) where it is larger than the range over our seeds plus half of our widest 95 % "
    "interval, and not judged (?) where there is no interval or a trained model has fewer than three seeds."
)


def mark_best(
    entries: Mapping[Key, Entry], columns: Sequence[Place], frame: Frame
) -> tuple[dict[Key, Entry], list[str]]:
    """Best of each column: among cells of the same data, split, condition, n, and kind of prompt."""
    marked = dict(entries)
    if frame.root not in HIGHER | LOWER:
        return marked, []
    told: dict[str, list[str]] = {}
    for name, inside in _alike(entries, columns, frame):
        winners, why = _winners(inside, frame)
        if why:
            told.setdefault(why, []).append(name)
        for entry in winners:
            marked[entry.row, entry.column] = replace(entry, best=True)
    notes = [f"{', '.join(dict.fromkeys(names))}: {why}." for why, names in told.items()]
    if any(entry.best for entry in marked.values()):
        leaks = {entry.leaks for entry in entries.values() if entry.mean is not None}
        apart = "; where prompts tell of the truth and where they do not are marked apart" if len(leaks) > 1 else ""
        notes.insert(0, f"Bold: best of its column among cells of the same data and n{apart}.")
    return marked, notes


def _alike(entries: Mapping[Key, Entry], columns: Sequence[Place], frame: Frame) -> list[tuple[str, list[Entry]]]:
    """What is compared with each other, under the column's name, and the dataset's where the column does not say it."""
    found: dict[tuple[Place, Place, bool | None], list[Entry]] = {}
    for entry in entries.values():
        if entry.mean is not None:
            found.setdefault((entry.column, place_of(entry.labels, TEST), entry.leaks), []).append(entry)
    order = {column: place for place, column in enumerate(columns)}
    several = "data" not in frame.column_labels
    return [
        (" / ".join([*column, test[0]] if several and test[0] else column), inside)
        for (column, test, _), inside in sorted(found.items(), key=lambda one: (order[one[0][0]], one[0][1]))
    ]


def _winners(inside: Sequence[Entry], frame: Frame) -> tuple[list[Entry], str]:
    """The best, all of a tie; none with the reason, or where there is nothing to compare."""
    counts = [sorted({str(run.n) for run in entry.runs}) for entry in inside]
    if any(count != counts[0] or len(count) > 1 for count in counts):
        differing = dict.fromkeys(n for count in counts for n in count)
        return [], f"n differs ({', '.join(differing)}), no best is marked"
    shown = [round(entry.mean or 0.0, frame.decimals) for entry in inside]
    best = max(shown) if frame.root in HIGHER else min(shown)
    winners = [entry for entry, value in zip(inside, shown, strict=True) if value == best]
    if len(inside) < 2:
        return [], ""
    if len(winners) == len(inside):
        return [], "all are equal as shown, no best is marked"
    return winners, f"{len(winners)} share the best value as shown" if len(winners) > 1 else ""


def protocol_notes(entries: Mapping[Key, Entry], frame: Frame) -> dict[Key, Entry]:
    """Where a table mixes protocols that it does not tell apart by row or column, each cell says its own."""
    used = {e.labels.get("protocol", "") for e in entries.values() if e.mean is not None} - {""}
    if len(used) < 2 or "protocol" in (*frame.row_labels, *frame.column_labels):
        return dict(entries)
    return {
        key: replace(e, notes=(*e.notes, f"protocol {name}")) if e.runs and (name := e.labels.get("protocol")) else e
        for key, e in entries.items()
    }


def general_notes(entries: Mapping[Key, Entry], frame: Frame) -> list[str]:
    """What holds for the table: the rule for empty masks, where published numbers come from, when one is flagged."""
    notes = [] if entries else ["No cell of the study belongs to this table."]
    if frame.spec.kind not in ("probe", "worth"):
        notes.append(EMPTY_RULE)
    published = frame.published
    beside = [entry.published for entry in entries.values() if entry.published is not None]
    if published is None or not beside:
        return notes
    tags = ", ".join(f"{tag} = {TAGS[tag]}" for tag in TAGS if any(cell.tag == tag for cell in beside))
    sources = dict.fromkeys(cell.source for cell in beside)
    notes += [f"Published: {'; '.join(sources)} ({tags})."]
    notes += [f"Published: {note}" for note in published.notes]
    return notes if frame.phantoms else [*notes, FLAG_RULE]
