"""A study in sentences: what stands on the first screen of its page, each by a rule over the records."""

import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlseg.records import LEAKING
from vlseg.records.study import LEFT_OUT, Cell
from vlseg.reports.study_facts import StudyFacts, StudyRun
from vlseg.reports.tables import Entry, Table
from vlseg.reports.tables.entries import natural
from vlseg.reports.tables.layout import number

SOME = 3
"""Names that are told of many."""
REPEATED = ("seed", "fold", "part", "data")
"""Labels that do not make another model of a training."""
TOLD = {
    "failed": "{n} failed",
    "waits": "{n} wait for one that failed",
    "outdated": "{n} are outdated",
    "running": "{n} are at work",
    "interrupted": "{n} were laid down half done",
    "planned": "{n} are still to be made",
}
TOLD_ONE = {
    "waits": "1 waits for one that failed",
    "outdated": "1 is outdated",
    "running": "1 is at work",
    "interrupted": "1 was laid down half done",
    "planned": "1 is still to be made",
}


def first_screen(facts: StudyFacts) -> list[str]:
    """What came of the study; a sentence is there only where the records have something for it."""
    told = [
        how_far(facts),
        made_up(facts),
        beside_published(facts.tables),
        chosen(facts.cells),
        telling(facts.cells),
        leaks(facts.cells),
    ]
    return [sentence for sentence in told if sentence]


def how_far(facts: StudyFacts) -> str:
    """How many runs are done, failed, waiting; what is missing."""
    counts: Counter[str] = Counter(run.state for run in facts.runs)
    total, done = len(facts.runs), counts["done"]
    rest = [
        (TOLD_ONE.get(state, text) if counts[state] == 1 else text).format(n=counts[state])
        for state, text in TOLD.items()
        if counts[state]
    ]
    if not total:
        told = "No run is planned yet."
    elif done == total:
        told = "The only run is done." if total == 1 else f"All {total:,} runs are done."
    else:
        first = f"{done:,} of {total:,} runs {'is' if done == 1 else 'are'} done"
        told = f"{', '.join([first, *rest])}."
    asked, wanted = sum(len(one.runs) for one in facts.searches), sum(one.wanted for one in facts.searches)
    if asked < wanted:
        told += f" Of the {wanted} trials searched with, {wanted - asked} have not been asked for yet."
    missing = list(dict.fromkeys(hole.what for hole in facts.holes if hole.what != LEFT_OUT))
    if missing:
        told += f" Missing here: {some(missing)}; what needs {'it' if len(missing) == 1 else 'them'} is left out."
    return told


def made_up(facts: StudyFacts) -> str:
    """Of phantoms."""
    if not facts.phantoms:
        return ""
    told = "Made-up images: no number here says anything about the real sets"
    beside = any(entry.published is not None for table in facts.tables for entry in table.entries.values())
    return told + (", so that no difference from published values is taken." if beside else ".")


@dataclass(frozen=True)
class Difference:
    """Ours beside a published value, in the table's unit; `flagged` as in `Entry`."""

    table: Table
    entry: Entry
    value: float
    flagged: bool | None

    @property
    def unit(self) -> str:
        """Pixels, or points of what is shown times 100."""
        cell = self.table.frame.published
        if cell is not None and cell.unit == "px":
            return "px"
        return "points" if self.table.frame.scale == 100 else self.table.frame.spec.metric


def differences(tables: Sequence[Table]) -> list[Difference]:
    """All that were taken, each once though several tables may show it."""
    found: dict[Hashable, Difference] = {}
    for table in tables:
        for entry in table.entries.values():
            beside = entry.published
            if beside is None or entry.difference is None:
                continue
            published = (beside.source, tuple(sorted(beside.labels.items())), table.frame.spec.metric)
            key = (published, tuple(sorted(entry.labels.items())), entry.mean)
            found.setdefault(key, Difference(table, entry, entry.difference, entry.flagged))
    return list(found.values())


def beside_published(tables: Sequence[Table]) -> str:
    """How many differences lie within noise, and the largest; empty where none was taken."""
    taken = differences(tables)
    judged = [one for one in taken if one.flagged is not None]
    why = "no interval, or fewer than three seeds of a trained model"
    if not taken:
        return ""
    if not judged:
        what = "The difference" if len(taken) == 1 else f"None of the {len(taken)} differences"
        return f"{what} from {published(len(taken))} can{'not' if len(taken) == 1 else ''} be judged: {why}."
    within = sum(not one.flagged for one in judged)
    (unit, _), *others = Counter(one.unit for one in judged).most_common()
    largest = max((one for one in judged if one.unit == unit), key=lambda one: abs(one.value))
    many = len(judged)
    told = (
        f"The one published value that can be judged lies {'within' if within else 'beyond'} noise"
        if many == 1
        else f"Of {many} differences from published values that can be judged, {within or 'none'} "
        f"{'lies' if within == 1 else 'lie'} within noise"
    )
    first = f"the largest in {unit}" if others else "the largest"
    told += f"; {'the difference' if many == 1 else first} is {_difference(largest)}."
    more = len(taken) - many
    return told + (f" {more} more cannot be judged: {why}." if more else "")


def published(count: int) -> str:
    """Published values, one or several."""
    return "the published value" if count == 1 else "published values"


def _difference(one: Difference) -> str:
    entry, frame = one.entry, one.table.frame
    where = " / ".join(filter(None, (*entry.row, *entry.column)))
    ours, theirs = (number(value or 0.0, frame.decimals) for value in (entry.mean, entry.beside))
    return f"{number(one.value, frame.decimals, sign=True)} {one.unit} ({where}: {ours}, published {theirs})"


def chosen(cells: Sequence[Cell]) -> str:
    """How many of the probed models are shown to choose the named one of several targets more often than chance.

    A model is what was trained alike, over its seeds and folds and all data that it was probed on. That is shown where
    every one of its intervals of the selection index lies above 0; it is not judged where one is missing.
    """
    models: dict[Hashable, list[Mapping[str, Any]]] = {}
    for cell in cells:
        if cell.kind == "probe" and "selection_index" in cell.values:
            key = tuple(sorted((name, value) for name, value in cell.labels.items() if name not in REPEATED))
            models.setdefault(key, []).append(cell.values["selection_index"])
    if not models:
        return ""
    judged = [found for found in models.values() if all(one.get("ci95") for one in found)]
    above = sum(all(one["ci95"][0] > 0 for one in found) for found in judged)
    reasons = Counter(
        str(one.get("reason") or "no interval") for found in models.values() for one in found if not one.get("ci95")
    )
    why = f"{'most often ' if len(reasons) > 1 else ''}{reasons.most_common(1)[0][0]}" if reasons else ""
    if not judged:
        what = "the model probed chooses" if len(models) == 1 else f"the {len(models)} models probed choose"
        return f"Whether {what} the named target among several cannot be judged: {why}."
    told = f"Of {len(judged)} models probed" if len(judged) > 1 else "The one model probed"
    if len(judged) > 1:
        told += f", {above or 'none'} {'are' if above > 1 else 'is'} shown to choose"
    else:
        told += " is shown to choose" if above else " is not shown to choose"
    told += " the named target among several more often than chance."
    more = len(models) - len(judged)
    return told + (f" {more} more cannot be judged: {why}." if more else "")


def telling(cells: Sequence[Cell]) -> str:
    """How many scores are under prompts that tell of the truth; empty where none is, or nothing is known of them."""
    found: dict[Hashable, Cell] = {}
    for cell in cells:
        if cell.kind in ("evaluate", "masks") and cell.values.get("deployable") is not None:
            key = tuple(sorted((name, value) for name, value in cell.labels.items() if name != "part"))
            found.setdefault(key, cell)
    leaking = [
        cell
        for cell in found.values()
        if not cell.values["deployable"] and cell.values.get("told", "prompt") in ("prompt", "unknown")
    ]
    if not leaking:
        return ""
    known = all(set(cell.values.get("prompt_source") or ()) & LEAKING - {"unknown"} for cell in leaking)
    prompts = some(sorted({cell.labels.get("asked", "") for cell in leaking}, key=natural))
    are = "is" if len(leaking) == 1 else "are"
    told = f"Of {len(found)} scores {len(leaking)} {are}" if len(found) > 1 else "The only score is"
    told += f" under prompts that tell of the truth{'' if known else ', or may'} ({prompts})"
    return f"{told}: nobody has these before the truth is known." if known else f"{told}."


def leaks(cells: Sequence[Cell]) -> str:
    """What prompts that tell of the truth are worth; empty where nothing measured it."""
    having = [cell for cell in worths(cells) if cell.values["worth"].get("mean") is not None]
    if not having:
        return ""
    first = max(having, key=lambda cell: float(cell.values["worth"]["mean"]))
    values = first.values
    prompt, honest, dataset = values["leaking_prompt"], values["honest_prompt"], first.labels.get("data", "")
    told, why = interval(values["worth"])
    where = "; ".join(filter(None, [f"{first.labels.get('model', '')} on {dataset}", why]))
    worth = f"{told} points of Dice over '{honest}' ({where})"
    if len(having) == 1:
        return f"The prompt '{prompt}', which tells of the truth, is worth {worth}."
    return f"Of {len(having)} leaks measured, the largest is that of '{prompt}', which is worth {worth}."


def worths(cells: Sequence[Cell]) -> list[Cell]:
    """What leaks are worth, each once though several parts may want it."""
    found: dict[str, Cell] = {}
    for cell in cells:
        if cell.kind == "worth" and "worth" in cell.values:
            found.setdefault(repr(cell.values) + cell.labels.get("model", ""), cell)
    return list(found.values())


def interval(worth: Mapping[str, Any]) -> tuple[str, str]:
    """A mean over seeds in points with its interval, and why there is none; "" where there is."""
    told = number(100 * worth["mean"], 1, sign=True)
    ends = worth.get("ci95")
    if ends:
        return f"{told} [{number(100 * ends[0], 1)}, {number(100 * ends[1], 1)}]", ""
    return told, f"no interval: {worth.get('reason') or 'none is kept'}"


def some(names: Sequence[str], most: int = SOME) -> str:
    """Names, of many the first ones."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


@dataclass(frozen=True)
class Failures:
    """Runs that failed alike: the reason of the first, and whether the others' differ in numbers or names."""

    error: str
    names: tuple[str, ...]
    alike: bool


def failures(runs: Sequence[StudyRun]) -> list[Failures]:
    """The runs that failed, by reason, the most frequent first.

    Reasons are alike where they differ in numbers or in the run's own name alone.
    """
    groups: dict[str, list[tuple[str, str]]] = {}
    for run in runs:
        if run.state == "failed":
            error = (run.record.error if run.record is not None else None) or "no reason is kept"
            plain = re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "0", error.replace(run.name, "RUN"))
            groups.setdefault(plain, []).append((run.name, error))
    found = [
        Failures(inside[0][1], tuple(name for name, _ in inside), len({error for _, error in inside}) > 1)
        for inside in groups.values()
    ]
    return sorted(found, key=lambda one: -len(one.names))
