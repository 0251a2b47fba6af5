"""Tables of the page that join several evaluations: comparisons, other data, attributes, leaks, risk-coverage."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vlseg.metrics import Effect, LanguageUse, RiskCoverage, crossing, group_of, risk_coverage
from vlseg.records import WORTH_FILE, SampleScore
from vlseg.reports.figures import Figure, attributes, domain_shift, prompt_curves, reliability, risk_curves
from vlseg.reports.load import EvaluationOnDisk, RunOnDisk, trained_on
from vlseg.reports.tables.entries import natural

KINDS = ("wrong", "random", "without")
PROMPTS = 3
"""Of one run, from which on a curve over prompts says something."""


def cross_dataset(runs: Sequence[RunOnDisk]) -> dict[str, Any] | None:
    """A matrix: runs by the datasets they were scored on; None where no run was scored off its training data."""
    rows = [row for run in runs if (row := _crossing(run)) is not None]
    if not rows:
        return None
    names = list(dict.fromkeys(name for row in rows for name in row["means"]))
    shown = [
        (
            f"{row['run'].id}, asked with {row['spec'].prompt}",
            {name: row["means"][name]["mean"] if name in row["means"] else None for name in names},
            [name for name, cell in row["means"].items() if cell["seen"]],
        )
        for row in rows
    ]
    return {"datasets": names, "rows": rows, "figure": domain_shift(shown)}


def _crossing(run: RunOnDisk) -> dict[str, Any] | None:
    used = [one for one in run.clean if one.spec.prompt == run.record.prompt and one.spec.split == "test"]
    samples: dict[tuple[str, str], list[SampleScore]] = {}
    states: dict[str, str] = {}

    def one_data(evaluation: EvaluationOnDisk, row: SampleScore) -> bool:
        """Of several states of one dataset, the one that comes first."""
        spec = evaluation.spec
        state = spec.data_fingerprints.get(row.dataset) or spec.data_fingerprint
        return states.setdefault(row.dataset, state) == state

    for evaluation in _one_way(used):
        rows = [row for row in evaluation.scores if row.dice is not None and one_data(evaluation, row)]
        # A sample that several evaluations hold, alone and in a pool, counts once.
        new = {(row.dataset, row.sample_id) for row in rows} - samples.keys()
        for row in rows:
            if (row.dataset, row.sample_id) in new:
                samples.setdefault((row.dataset, row.sample_id), []).append(row)
    values: dict[str, list[float]] = {}
    groups: dict[str, list[tuple[str, str]]] = {}
    for (name, _), rows in samples.items():
        values.setdefault(name, []).append(sum(row.dice or 0.0 for row in rows) / len(rows))
        groups.setdefault(name, []).append(group_of(rows[0], True))
    trained = trained_on(run.record, {name for one in used for name in one.spec.phantoms})
    found = crossing(values, groups, trained)
    if found.cross_dataset is None:
        return None
    means = {
        name: {"mean": sum(one) / len(one), "n": len(one), "groups": len(set(groups[name])), "seen": name in trained}
        for name, one in values.items()
    }
    spec = _one_way(used)[0].spec
    unused = len(used) - len(_one_way(used))
    return {"run": run.record, "spec": spec, "means": means, "crossing": found, "unused": unused}


def _one_way(evaluations: Sequence[EvaluationOnDisk]) -> list[EvaluationOnDisk]:
    """Those measured as the run itself would be: its own threshold and protocol, and one precision and tolerance.

    Of several ways the one with most datasets; of as many, the first by name of folder.
    """
    ways: dict[tuple[object, ...], list[EvaluationOnDisk]] = {}
    for one in evaluations:
        spec = one.spec
        way = (spec.threshold_origin == "fixed", spec.threshold, spec.protocol, spec.precision, spec.nsd_tolerance)
        ways.setdefault(way, []).append(one)

    def preference(way: tuple[object, ...]) -> tuple[bool, int]:
        return bool(way[0]), -len({row.dataset for one in ways[way] for row in one.scores})

    return ways[min(ways, key=preference)] if ways else []


def by_attribute(use: LanguageUse) -> dict[str, dict[str, Effect]]:
    """Attribute to kind of change ("wrong", "random", "without") to its effect."""
    table: dict[str, dict[str, Effect]] = {}
    for effect in use.effects:
        kind, _, name = effect.name.partition("_")
        if kind in KINDS:
            table.setdefault(name, {})[kind] = effect
    return table


def attribute_table(probes: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Attributes by dataset, as Poudel et al. show them: change of Dice in points, wrong value / random word.

    Args:
        probes: each with "run", "spec" and "attributes" (see `by_attribute`).
    """
    shown = [probe for probe in probes if probe["attributes"]]
    if not shown:
        return None
    names = list(dict.fromkeys(name for probe in shown for name in probe["attributes"]))
    rows = [(name, [_points(probe["attributes"].get(name, {})) for probe in shown]) for name in names]
    figure = attributes([(f"{one['run'].id}, {one['name']}", one["attributes"]) for one in shown])
    return {"probes": shown, "rows": rows, "figure": figure}


def _points(kinds: dict[str, Effect]) -> str:
    values = [kinds[kind].original.difference if kind in kinds else None for kind in ("wrong", "random")]
    return " / ".join("–" if value is None else f"{100 * value:+.1f}" for value in values)


def leak_worths(runs: Sequence[RunOnDisk]) -> list[dict[str, Any]]:
    """What `vlseg prompts worth` wrote into the runs; the same result in several runs once.

    Earlier versions' columns are not all over the same samples: of theirs there is no more than `outdated`, True.
    """
    texts = [
        (run.folder / WORTH_FILE).read_text(encoding="utf-8") for run in runs if (run.folder / WORTH_FILE).exists()
    ]
    found = [json.loads(text) for text in dict.fromkeys(texts)]
    return [one | {"outdated": not {"differs", "note", "seeds"} <= one.keys()} for one in found]


def risk_coverages(runs: Sequence[RunOnDisk]) -> dict[str, Any] | None:
    """Curves of the evaluations whose rows have a case uncertainty; None where there are none."""
    found: list[tuple[str, EvaluationOnDisk, RiskCoverage]] = []
    for run in runs:
        for evaluation in run.clean:
            rows = [row for row in evaluation.scores if row.dice is not None and row.uncertainty is not None]
            curve = risk_coverage(
                np.array([row.dice for row in rows], dtype=float),
                np.array([row.uncertainty for row in rows], dtype=float),
            )
            if curve is not None:
                label = f"{run.record.id}, {evaluation.name}"
                found.append((label, evaluation, curve))
    if not found:
        return None
    return {"rows": found, "figure": risk_curves([(label, curve) for label, _, curve in found])}


def calibrations(runs: Sequence[RunOnDisk]) -> dict[str, Any] | None:
    """Reliability curves of the evaluations that have one."""
    found = [
        (f"{run.record.id}, {evaluation.name}", evaluation.calibration, evaluation)
        for run in runs
        for evaluation in run.clean
        if evaluation.calibration and evaluation.calibration["curve"]
    ]
    if not found:
        return None
    figure = reliability([(label, calibration["curve"]) for label, calibration, _ in found])
    return {"rows": found, "figure": figure}


def by_prompt(runs: Sequence[RunOnDisk]) -> list[Figure]:
    """For each dataset and split on which a run was asked with three prompts or more: Dice by prompt, a line a run."""
    asked: dict[tuple[str, ...], dict[tuple[str, ...], dict[str, EvaluationOnDisk]]] = {}
    for run in runs:
        for one in run.clean:
            spec = one.spec
            if spec.told == "prompt":
                where = (spec.dataset, spec.split, spec.data_fingerprint, spec.target or "")
                way = (run.record.id, str(run.folder), spec.protocol, str(spec.threshold), spec.precision)
                asked.setdefault(where, {}).setdefault(way, {}).setdefault(spec.prompt, one)
    drawn: list[Figure] = []
    for (dataset, split, _, target), ways in asked.items():
        many = {way: by for way, by in ways.items() if len(by) >= PROMPTS}
        used = sorted({prompt for by in many.values() for prompt in by}, key=natural)
        leaking = {prompt for by in many.values() for prompt, one in by.items() if not one.spec.deployable}
        ids = [way[0] for way in many]
        curves = {
            way[0] if ids.count(way[0]) == 1 else ", ".join(way): {
                prompt: by[prompt].whole.dice_present for prompt in used if prompt in by
            }
            for way, by in many.items()
        }
        name = "-".join(filter(None, ("prompts", dataset, split, target)))
        number = sum(one.name == name or one.name.startswith(f"{name}-state-") for one in drawn)
        figure = prompt_curves(curves, leaking, name=f"{name}-state-{number + 1}" if number else name)
        if curves and figure is not None:
            more = (f"{target} alone" if target else "", "another state of its data" if number else "")
            of = ", ".join(filter(None, (dataset, f"{split} split", *more)))
            drawn.append(replace(figure, caption=f"{of}. {figure.caption}"))
    return drawn
