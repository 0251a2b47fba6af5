"""One place of a table: over seeds and folds, beside what was published, or a hole."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from vlseg.records import InputError
from vlseg.records.study import Hole
from vlseg.reports.tables.notes import cell_notes, published_notes, seed_notes
from vlseg.reports.tables.table import Entry, Frame, Key, Labels, Place, Run, place_of
from vlseg.reports.tables.values import DISTANCES, Item, bound, wanted

RUNS = frozenset({"seed", "fold", "part"})
"""What the cells of one place may differ in."""
SHORT = 24
"""Letters of a reason that stands in its place without a footnote, and without the names of runs."""
MIN_SEEDS = 3
"""Fewer of a trained model say too little of what another seed would give: with one, up to four in five models that
are as good as published would be flagged, with two up to a third (docs/studies-tables.md)."""


def entry_of(key: Key, items: list[Item], frame: Frame) -> Entry:
    """Over the seeds and folds of one place."""
    items = _once(items, frame.spec.name)
    labels = {name: value for name, value in items[0].labels.items() if name not in RUNS}
    by_seed: dict[str, list[Item]] = {}
    for item in sorted(
        items, key=lambda one: (natural(one.labels.get("seed", "")), natural(one.labels.get("fold", "")))
    ):
        by_seed.setdefault(item.labels.get("seed", ""), []).append(item)
    runs = tuple(run for seed, inside in by_seed.items() if (run := _run(seed, inside, frame.scale)) is not None)
    leaks, notes = cell_notes(items, frame.root in DISTANCES)
    if not runs:
        reason = next((one.measured.reason for one in items), "") or "no value"
        return Entry(*key, labels, leaks=leaks, hole=f"no value: {reason}", notes=tuple(notes))
    values = [run.value for run in runs]
    widths = [run.half_width for run in runs if run.half_width is not None]
    counts = {run.n for run in runs}
    return Entry(
        *key,
        labels,
        runs,
        mean=sum(values) / len(values),
        spread=max(values) - min(values) if len(values) > 1 else None,
        half_width=max(widths) if widths else None,
        trained=any(one.cell.kind in ("masks", "worth") or one.labels.get("seed") for one in items),
        n=counts.pop() if len(counts) == 1 else None,
        leaks=leaks,
        notes=(*seed_notes(by_seed), *notes),
    )


def _run(seed: str, items: Sequence[Item], scale: float) -> Run | None:
    """One seed; None where none of its folds has a value."""
    having = [(one.labels.get("fold", ""), one.measured) for one in items if one.measured.value is not None]
    if not having:
        return None
    folds = tuple((fold, scale * (one.value or 0.0)) for fold, one in having)
    widths = [scale * one.half_width for _, one in having if one.half_width is not None]
    counts = [one.n for _, one in having if one.n is not None]
    # Folds that validate share the test set; others' n would add up to nothing that is shown.
    n = counts[0] if counts and len(set(counts)) == 1 else None
    return Run(
        seed, sum(v for _, v in folds) / len(folds), max(widths) if widths else None, n, folds if folds[0][0] else ()
    )


def _once(items: list[Item], table: str) -> list[Item]:
    """Each run once: several parts may want the same.

    Raises:
        InputError: two cells of the same labels, or cells that differ in more than seed and fold.
    """
    first = items[0]
    kept: dict[tuple[str, str], Item] = {}
    for item in items:
        one = (item.labels.get("seed", ""), item.labels.get("fold", ""))
        for name in {*first.labels, *item.labels} - RUNS:
            a, b = first.labels.get(name, ""), item.labels.get(name, "")
            if a != b:
                raise InputError(
                    f"table '{table}': one place holds cells whose {name} is '{a}' and '{b}' ({_told(first)}; "
                    f"{_told(item)}); name {name} in rows, columns or where"
                )
        other = kept.setdefault(one, item)
        if other is item:
            continue
        apart = other.labels.get("part", "") != item.labels.get("part", "")
        one_run = other.cell.values is item.cell.values or repr(other.cell.values) == repr(
            item.cell.values
        )  # NaN != NaN
        if not apart or not one_run:
            mend = "name part in where" if apart else "a study holds each once"
            raise InputError(f"table '{table}': two cells of the same labels: {_told(other)}; {_told(item)}; {mend}")
    return list(kept.values())


def _told(item: Item) -> str:
    told = ", ".join(f"{name} {value}" for name, value in item.labels.items() if value)
    value = item.measured.value
    return f"{item.cell.kind} of {told}" + ("" if value is None else f" = {value:.4g}")


def beside(key: Key, entry: Entry | None, frame: Frame) -> Entry | None:
    """The entry with what was published of it; None where there is neither."""
    published = frame.published
    if published is None:
        return entry
    given = {name: next(iter(some)) for name, some in wanted(frame.spec).items() if len(some) == 1}
    told = entry.labels if entry is not None else {}
    labels = {**given, **frame.named(key), **told, **(bound(published.metric, frame.spec.metric) or {})}
    cell = published.find(labels)
    if cell is None:
        return entry
    entry = entry or Entry(*key, labels)
    value = None if cell.value is None else cell.value * frame.scale / (1 if published.unit == "px" else 100)
    comparable, notes = published_notes(cell, published.unit, entry.notes)
    if any(run.folds for run in entry.runs):
        comparable = False
        notes.append("not comparable: ours are folds, each trained without a part of the images")
    entry = replace(entry, published=cell, beside=value, beside_notes=tuple(notes))
    if entry.mean is None or value is None or frame.phantoms or not comparable:
        return entry
    difference = entry.mean - value
    judged = entry.half_width is not None and (len(entry.runs) >= MIN_SEEDS or not entry.trained)
    noise = (entry.spread or 0.0) + (entry.half_width or 0.0)
    return replace(entry, difference=difference, flagged=abs(difference) > noise if judged else None)


def holes_at(
    holes: Sequence[Hole], entries: Mapping[Key, Entry], rows: Sequence[Place], columns: Sequence[Place], frame: Frame
) -> dict[Key, list[Hole]]:
    """In which places each hole stands: all that its labels allow; what it does not name may be any."""
    found: dict[Key, list[Hole]] = {}
    for hole in holes:
        own = {name: value for name, value in hole.labels.items() if name not in RUNS}
        sides = _allowed(hole.labels, rows, frame.row_labels), _allowed(hole.labels, columns, frame.column_labels)
        for key in ((row, column) for row in sides[0] for column in sides[1]):
            entry = entries.get(key)
            if entry is None or all(entry.labels.get(name, value) == value for name, value in own.items()):
                found.setdefault(key, []).append(hole)
    return found


def with_holes(key: Key, entry: Entry | None, holes: Sequence[Hole]) -> Entry:
    """The entry with what is missing of it: all, or some of its seeds and folds."""
    told = _holes_told(holes)
    if entry is None:
        shared = [set(hole.labels.items()) for hole in holes]
        labels = {name: value for name, value in set.intersection(*shared) if name not in RUNS}
        return Entry(*key, labels, hole=told)
    if entry.mean is None:
        return replace(entry, hole=f"{entry.hole}; {told}")
    if any(hole.labels.get(name) for hole in holes for name in ("seed", "fold")):
        return replace(entry, notes=(*entry.notes, f"missing: {told}"))
    return entry


def _holes_told(holes: Sequence[Hole]) -> str:
    """By reason; of many runs with one reason a few are named, and of one reason that speaks for itself none."""
    whats: dict[str, list[str]] = {}
    for hole in holes:
        whats.setdefault(hole.why, []).append(hole.what)
    if len(whats) == 1 and len(why := next(iter(whats))) <= SHORT:
        return why
    return "; ".join(f"{why} ({_some(names)})" for why, names in whats.items())


def _some(names: Sequence[str]) -> str:
    names = list(dict.fromkeys(filter(None, names)))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _allowed(labels: Labels, places: Sequence[Place], names: Place) -> Sequence[Place]:
    if all(name in labels for name in names):
        return [place_of(labels, names)]
    return [p for p in places if all(labels.get(n, v) == v for n, v in zip(names, p, strict=True))]


def natural(text: str) -> list[tuple[int, float, str]]:
    """Digits by their value: p2 before p10."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return [(0, float(part), "") if part[:1].isdecimal() else (1, 0.0, part) for part in parts if part]
