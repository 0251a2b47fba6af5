"""The table of robustness in words: names of its rows, the sentence above it, the notes below it."""

from collections.abc import Mapping, Sequence
from typing import Any

from vlseg.metrics import Robustness, RobustnessRow, budget_words
from vlseg.records import EvaluationSpec
from vlseg.reports.attacks import search_name
from vlseg.reports.words.numbers import counted, estimate, points

KINDS: Mapping[str, str] = {
    "natural": "corruptions",
    "noise": "noise",
    "attack": "attacks on the image",
    "words": "attacks on the sentence",
}
"""Kinds of rows that a whole table has, in words."""


def row_name(row: RobustnessRow) -> str:
    """What was done, e.g. "corrupted, severity 3", "pgd 8/255", "greedy, 2 typos"."""
    if row.kind == "clean":
        return "as it is"
    if row.kind == "same":
        return "as it is, the same samples"
    if row.severity is not None:
        return f"{'scanner-like' if row.kind == 'scanner' else 'corrupted'}, severity {row.severity}"
    return attack_words(row.arguments)


def attack_words(arguments: Mapping[str, Any]) -> str:
    """An attack's search and budget, e.g. "pgd to erase, after JPEG, 8/255", "greedy, 2 typos"."""
    name, budget = search_name(arguments), budget_words(arguments).removeprefix("epsilon ")
    return f"{name}{',' if ',' in name or arguments.get('words') else ''} {budget}"


def about_robustness(table: Robustness) -> str:
    """The largest loss of each kind, and what was there to lose; of attacks that want another mask only if alone."""
    clean, *rest = table.rows
    start = f"As it is, mean Dice is {estimate(clean.dice)}"
    if rest[0].kind == "same":
        start += f", on the {counted(len(rest[0].samples), 'sample')} of what follows {estimate(rest[0].dice)}"
    used = [row for row in rest if not row.targeted] or rest
    losses = []
    for kinds in (("natural",), ("scanner",), ("noise",), ("attack",), ("published",), ("words",)):
        for part in _meanings([row for row in used if row.kind in kinds]):
            known = [row for row in part if row.change is not None and row.change.difference is not None]
            losses += [min(known, key=_difference)] if known else []
    if not losses:
        return f"{start}."
    of = "the same samples" if len({row.samples for row in losses}) == 1 else "each one's own samples"
    told = "; ".join(_loss(row) for row in losses)
    return f"{start}. The largest loss of each kind, in points, with and without on {of}: {told}."


def worst_words(row: RobustnessRow) -> str:
    """Of a mean over corruptions the worst one, e.g. "contrast −31"."""
    return "" if row.worst is None else f"{row.worst[0].replace('_', ' ')} {points(row.worst[1])}"


def robustness_notes(table: Robustness, spec: EvaluationSpec) -> list[str]:
    """What whoever reads the numbers must know of these rows.

    Args:
        table: of a run.
        spec: of one of its evaluations.
    """
    notes = []
    if not table.same_samples:
        counts = [len(row.samples) for row in table.rows if not row.targeted]
        shared = f"; below, the rows on the {_shared(table)} that they share" if table.common else ""
        notes.append(
            f"The rows are of different samples, {min(counts)} to {max(counts)}: compare their changes, which are of "
            f"the same samples with and without, not their Dice{shared}"
        )
    if any(row.targeted for row in table.rows):
        notes.append("Attacks that want another mask are of the samples for which there is one")
    if table.first_wording:
        notes.append("Every row is of the first wording of each prompt; scores over all wordings stand elsewhere")
    if {"natural", "scanner"} & table.kinds:
        notes.append("Corruptions: of each sample the mean over all kinds at that severity")
    if "attack" in table.kinds:
        notes.append("Attacks: of the searches of one budget the one that leaves least; a better one may find worse")
    if "words" in table.kinds:
        notes.append(
            "Words: where the meaning is kept a loss is a fault; where it is not, the other answer may be the right one"
        )
    if "published" in table.kinds:
        notes.append("Published attacks are in units of the normalised input, scored with wordings drawn anew")
    return [*notes, *missing_words(table, spec)]


def missing_words(table: Robustness, spec: EvaluationSpec) -> list[str]:
    """What no row is about, and why."""
    notes = []
    if spec.told == "prompt" or "words" in table.kinds:
        gone = [words for kind, words in KINDS.items() if kind not in table.kinds]
    else:
        gone = [words for kind, words in KINDS.items() if kind not in table.kinds and kind != "words"]
        notes.append("No words are changed: the model reads none")
    if gone:
        notes.append(f"Not measured as the rest was: {', '.join(gone)}")
    return notes


def _shared(table: Robustness) -> str:
    return counted(len(table.common[0].samples), "sample")


def _meanings(rows: Sequence[RobustnessRow]) -> list[list[RobustnessRow]]:
    """Changed words whose meaning is kept and those where it is not; other rows together."""
    if not rows or rows[0].kind != "words":
        return [list(rows)]
    return [[row for row in rows if row.keeps_meaning is kept] for kept in (True, False)]


def _difference(row: RobustnessRow) -> float:
    assert row.change is not None
    return row.change.difference or 0.0


def _loss(row: RobustnessRow) -> str:
    assert row.change is not None
    meaning = " (meaning kept)" if row.kind == "words" and row.keeps_meaning else ""
    worst = f" (worst: {worst_words(row)})" if row.worst is not None and row.corruptions > 1 else ""
    return f"{row_name(row)}{meaning} {points(row.change.difference, row.change.ci95)}{worst}"
