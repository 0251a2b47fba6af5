"""What the page shows of a run's robustness: the table of each way in which it was measured, and its figure."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

from vlseg.metrics import Robustness, independent_note, robustness, way_of
from vlseg.records import MEASURED, EvaluationSpec
from vlseg.reports.figures import Figure, intervals
from vlseg.reports.load import EvaluationOnDisk, RunOnDisk
from vlseg.reports.results import told
from vlseg.reports.words.numbers import counted
from vlseg.reports.words.robust import about_robustness, robustness_notes, row_name


def robustness_facts(run: RunOnDisk) -> list[dict[str, Any]]:
    """Of each way in which the run was measured under more than one condition; its own prompt comes first."""
    ways: dict[Hashable, list[EvaluationOnDisk]] = {}
    for one in sorted(run.evaluations, key=lambda one: (one.spec.prompt != run.record.prompt, one.name)):
        ways.setdefault(way_of(one.spec), []).append(one)
    found = []
    for alike in ways.values():
        table = robustness([(one.spec, one.scores) for one in alike])
        if table is not None:
            found.append((table, min(alike, key=lambda one: one.spec.condition != "clean"), alike))
    specs = [first.spec for _, first, _ in found]
    return [
        {
            "run": run.record,
            "spec": first.spec,
            "name": _apart(first.spec, specs),
            "table": table,
            "lines": [(table.rows, "")] + ([(table.common, _common(table))] if table.common else []),
            "sentence": about_robustness(table),
            "notes": robustness_notes(table, first.spec),
            "figure": _figure(table, f"robustness-{run.record.id}-{first.name}"),
            "groups_known": any(row.group is not None for one in alike for row in one.scores),
            "independent": independent_note([row for one in alike for row in one.scores]) or "",
        }
        for table, first, alike in found
    ]


def _common(table: Robustness) -> str:
    return f"On the {counted(len(table.common[0].samples), 'sample')} that these rows share"


def _figure(table: Robustness, name: str) -> Figure | None:
    """Dice by condition; a row that is of other samples than most says of how many."""
    usual, _ = Counter(row.samples for row in table.rows).most_common(1)[0]
    labels = [row_name(row) + ("" if row.samples == usual else f", n {len(row.samples)}") for row in table.rows]
    values = [(label, row.dice) for label, row in zip(labels, table.rows, strict=True)]
    same = all(row.samples == usual for row in table.rows)
    caption = "" if same else f"Of {counted(len(usual), 'sample')} where nothing else is said."
    return intervals(values, name=name, measured="mean Dice over all targets", caption=caption)


def _apart(spec: EvaluationSpec, others: Sequence[EvaluationSpec]) -> str:
    """What tells a table from others whose headings read alike, e.g. "threshold 0.3"; empty as a rule."""

    def heading(one: EvaluationSpec) -> tuple[str | None, ...]:
        return one.dataset, one.split, one.target, one.prompt, told(one)

    same = [one for one in others if heading(one) == heading(spec)]
    fields = [name for name in MEASURED if len({str(getattr(one, name)) for one in same}) > 1]
    return ", ".join(f"{name.replace('_', ' ')} {getattr(spec, name)}" for name in fields if name != "cached_features")
