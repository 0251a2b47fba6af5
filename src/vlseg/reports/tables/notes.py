"""Footnotes of a table's cells: what a reader must know before believing a number."""

from collections.abc import Mapping, Sequence
from typing import Any

from vlseg.records import LEAKING
from vlseg.reports.published import PublishedCell
from vlseg.reports.tables.values import Item

UNIT_NOTE = "distances in "
"""Begins the note of a cell whose distances are not in pixels."""


def seed_notes(by_seed: Mapping[str, Sequence[Item]]) -> list[str]:
    """How many seeds there are, which lack a fold or a value, and where there is no interval."""
    notes = []
    usable = {seed: [one for one in inside if one.measured.value is not None] for seed, inside in by_seed.items()}
    having = [seed for seed, inside in usable.items() if inside]
    if len(having) == 1:
        kind = usable[having[0]][0].cell.kind
        alone = {"masks": "mask files of one run", "worth": "over all seeds at once"}.get(kind, "not trained here")
        notes.append(f"{'one seed' if having[0] else alone}: no range")
    for seed, inside in by_seed.items():
        for one in inside:
            if one.measured.value is None:
                notes.append(f"{_run(seed, one)} left out: {one.measured.reason}")
    folds = {seed: {one.labels.get("fold", "") for one in inside} for seed, inside in usable.items() if inside}
    every = set().union(*folds.values())
    notes += [f"seed {seed} lacks fold {', '.join(sorted(every - own))}" for seed, own in folds.items() if every - own]
    measured = [one.measured for inside in usable.values() for one in inside]
    lacking = list(dict.fromkeys(one.no_interval for one in measured if one.half_width is None))
    if lacking and all(one.half_width is None for one in measured):
        notes.append(f"no interval ({'; '.join(lacking)})")
    elif lacking:
        notes.append(f"some runs have no interval ({'; '.join(lacking)})")
    if len(counts := {one.n for one in measured}) > 1:
        notes.append(f"n differs between runs ({', '.join(sorted(map(str, counts)))})")
    return notes


def _run(seed: str, item: Item) -> str:
    fold = item.labels.get("fold", "")
    return " ".join(filter(None, [f"seed {seed}" if seed else "a run", f"fold {fold}" if fold else ""]))


def cell_notes(items: Sequence[Item], distance: bool) -> tuple[bool | None, list[str]]:
    """Whether the prompts tell of the truth (None: not known), and notes on that, on groups and on units."""
    notes: dict[str, None] = {}
    leaks: bool | None = None
    for item in items:
        values = item.cell.values
        read = values.get("told", "prompt") in ("prompt", "unknown")
        deployable = values.get("deployable")
        if deployable is not None:
            leaks = bool(leaks) or (not deployable and read)
        sources = values.get("prompt_sources", values.get("prompt_source")) or ()
        if deployable is False and read:
            found = [source for source in sources if source in LEAKING]
            notes[_leak(found)] = None
        notes |= {_left_out(row): None for row in values.get("seeds", ()) if any(row.get("left_out", {}).values())}
        if values.get("note"):
            notes[str(values["note"]).removesuffix(".")] = None
        unit = values.get("distance_unit", "px")
        if distance and unit != "px":
            notes[f"{UNIT_NOTE}{unit}"] = None
    return leaks, list(notes)


LEFT_OUT = {
    "only_first": "asked under the honest prompt alone",
    "only_second": "asked under the leaking prompt alone",
    "undefined": "without a value",
    "other_truth": "of another truth under each",
}
"""What a worth does not compare, by the names in its record."""


def _left_out(row: Mapping[str, Any]) -> str:
    """Of a worth: how few of the samples both prompts were asked about with one truth."""
    told = [f"{count} {LEFT_OUT[name]}" for name, count in row["left_out"].items() if count]
    return f"compared are {row['n']} samples, left out {', '.join(told)}"


def _leak(sources: Sequence[str]) -> str:
    known = [source for source in sources if source != "unknown"]
    if not known:
        return "where the prompt's words come from is not known: they may tell of the truth"
    return f"the prompt tells of the truth: it has words from the {' and the '.join(sorted(known))}"


def published_notes(cell: PublishedCell, unit: str, ours: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether a published value is a measurement of the same thing as ours, and notes on it."""
    notes = [note for note in (cell.note, cell.reason) if note]
    if cell.others:
        notes.append(f"other sources give {' and '.join(f'{one:g}' for one in cell.others)}")
    if cell.differs:
        notes.append(f"not comparable: {cell.differs}")
    other_unit = unit == "px" and any(note.startswith(UNIT_NOTE) for note in ours)
    if other_unit:
        notes.append("not comparable: published in pixels")
    return not cell.differs and not other_unit, notes
