"""One HTML page of one or several runs."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from vlseg.metrics import (
    EMPTY_RULE,
    Aggregate,
    Comparison,
    Estimate,
    Index,
    aggregate,
    columns,
    corruption_effects,
    independent_note,
    subgroups,
)
from vlseg.records import EvaluationSpec, SampleScore, verdict, write_text
from vlseg.reports.figures import (
    differences,
    language_slopes,
    learning_curves,
    reliability,
    severities,
    swapped_prompts,
)
from vlseg.reports.load import EvaluationOnDisk, RunOnDisk, alike, load_run
from vlseg.reports.sections import attribute_table, by_attribute, cross_dataset, leak_worths, risk_coverages

WORST = 10
MOST_SUBGROUPS = 12


def write_report(runs: Sequence[Path], out: Path, *, title: str, comparison: Mapping[str, Any] | None = None) -> Path:
    """Write a page that opens offline and needs no script: results, curves, pictures, language test.

    Args:
        runs: run folders.
        out: the HTML file.
        title: its heading.
        comparison: of the runs, as `vlseg compare` gives it, or {"reason": why there is none}.

    Raises:
        InputError: a folder without a readable run.json, or `out` cannot be written.
    """
    loaded = [load_run(run) for run in runs]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vlseg.reports"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(
        estimate=_estimate,
        number=_number,
        share=_share,
        verdict=verdict,
        told=_told,
        index=_index,
        change=_change,
        bounds=_bounds,
        signed=_signed,
        omitted=_omitted,
        pvalue=_pvalue,
    )
    probes = [_probe(run, evaluation) for run in loaded for evaluation in run.under("probe")]
    values = {
        "title": title,
        "runs": [_run(run) for run in loaded],
        "tables": _table(loaded),
        "curves": learning_curves([(run.record.id, run.history) for run in loaded]),
        "comparison": comparison,
        "probes": probes,
        "attributes": attribute_table(probes),
        "worths": leak_worths(loaded),
        "subgroups": [_subgroups(run, evaluation) for run in loaded for evaluation in run.clean],
        "calibrations": _calibrations(loaded),
        "corrupted": [_corrupted(run, evaluation) for run in loaded for evaluation in run.under("corrupted")],
        "risks": risk_coverages(loaded),
        "crossings": cross_dataset(loaded),
        "language": [_language(run, evaluation) for run in loaded for evaluation in run.swapped],
        "empty_rule": EMPTY_RULE,
        "independent_note": independent_note([row for run in loaded for e in run.evaluations for row in e.scores])
        or "",
        "any_made_up": any(e.spec.phantoms for run in loaded for e in run.clean),
        "any_ceiling": any(e.spec.text_blind_ceiling is not None for run in loaded for e in run.clean),
    }
    write_text(out, environment.get_template("report.html.j2").render(values))
    return out


def _run(run: RunOnDisk) -> dict[str, Any]:
    return {
        "id": run.record.id,
        "record": run.record,
        "worst": _worst(run.clean),
    }


def _table(runs: Sequence[RunOnDisk]) -> list[dict[str, Any]]:
    """One row per evaluation, and one per dataset where it pooled several."""
    rows = []
    for run in runs:
        # Of earlier versions "blind" may also be a leaking prompt's answers without the image, in two conditions.
        controls = [one for one in run.under("blind") if "rule" in one.spec.condition_arguments]
        for evaluation in (*run.clean, *controls):
            parts = evaluation.by_dataset()
            spec = evaluation.spec
            # Of the whole: ceilings are computed over all that were asked about together.
            found = (spec.text_blind_ceiling, spec.class_ceiling, spec.ceiling_reason)
            named = [(spec.dataset, evaluation.whole, found)]
            named += [(name, part, (None, None, None)) for name, part in parts.items() if len(parts) > 1]
            rows += [
                {
                    "run": run.record,
                    "evaluation": evaluation,
                    "spec": spec,
                    "dataset": name,
                    "made_up": [made for made in spec.phantoms if name in (made, spec.dataset)],
                    "aggregate": one,
                    "ceilings": ceilings,
                }
                for name, one, ceilings in named
            ]
    return rows


TOLD = {"prompt": "the prompt", "target": "the target's class", "nothing": "nothing", "unknown": "–"}


def _told(spec: EvaluationSpec) -> str:
    """What the answers could know beside the image."""
    rule = spec.condition_arguments.get("rule")
    return f"{TOLD[spec.told]}; answers {rule}" if rule else TOLD[spec.told]


def _worst(evaluations: Sequence[EvaluationOnDisk]) -> list[tuple[str, SampleScore]]:
    """The rows with the lowest Dice, each with its evaluation's name."""
    rows = [(one.name, row) for one in evaluations for row in one.scores if row.dice is not None]
    return sorted(rows, key=lambda found: (found[1].dice or 0.0, found[1].sample_id, found[0]))[:WORST]


def _language(run: RunOnDisk, swapped: EvaluationOnDisk) -> dict[str, Any]:
    """The three bars: own prompt, swapped prompt against the original, against the named target."""
    asked = {(row.dataset, row.sample_id) for row in swapped.scores}
    bars: list[tuple[str, Estimate]] = []
    for clean in run.clean:
        if alike(clean.spec, swapped.spec):
            rows = [row for row in clean.scores if (row.dataset, row.sample_id) in asked]
            bars.append(("own prompt, own target", aggregate(rows, groups_known=clean.spec.groups_known).dice))
    bars.append(("swapped prompt, original target", swapped.against("original").dice))
    bars.append(("swapped prompt, named target", swapped.against("named").dice))
    return {
        "run": run.record,
        "spec": swapped.spec,
        "name": swapped.name,
        "counts": swapped.counts(),
        "figure": swapped_prompts(bars),
        "bars": bars,
        "n": len(asked),
    }


def _probe(run: RunOnDisk, evaluation: EvaluationOnDisk) -> dict[str, Any]:
    use = evaluation.use
    return {
        "run": run.record,
        "spec": evaluation.spec,
        "name": evaluation.name,
        "counts": evaluation.counts(),
        "use": use,
        "attributes": by_attribute(use),
        "slopes": language_slopes(use.effects),
        "figure": differences(
            [(one.name, one.original) for one in use.effects], measured="change of Dice with the own target, points"
        ),
    }


def _subgroups(run: RunOnDisk, evaluation: EvaluationOnDisk) -> dict[str, Any]:
    """The columns by which the rows fall into two to twelve parts."""
    parts: dict[str, dict[str, Aggregate]] = {}
    for column in columns(evaluation.scores, known_only=True):
        if column in ("wording", "group", "dataset"):
            continue
        found = subgroups(evaluation.scores, column, groups_known=evaluation.spec.groups_known)
        if 2 <= len(found) <= MOST_SUBGROUPS:
            parts[column] = found
    return {
        "run": run.record,
        "spec": evaluation.spec,
        "name": evaluation.name,
        "counts": evaluation.counts(),
        "parts": parts,
    }


def _calibrations(runs: Sequence[RunOnDisk]) -> dict[str, Any] | None:
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


def _corrupted(run: RunOnDisk, evaluation: EvaluationOnDisk) -> dict[str, Any]:
    effects = corruption_effects(evaluation.scores, groups_known=evaluation.spec.groups_known)
    plain = [row.dice for row in evaluation.scores if row.condition == "clean" and row.dice is not None]
    clean = sum(plain) / len(plain) if plain else 0.0
    figure = severities(effects, clean)
    return {
        "run": run.record,
        "spec": evaluation.spec,
        "name": evaluation.name,
        "counts": evaluation.counts(),
        "effects": effects,
        "clean": clean,
        "figure": figure,
    }


def _index(index: Index) -> str:
    if index.value is None:
        return f"none: {index.reason}"
    return f"{index.value:.3f} {_bounds(index.ci95, index.reason)}, n = {index.n}"


def _change(comparison: Comparison) -> str:
    if comparison.difference is None:
        return f"– ({comparison.reason})"
    return f"{comparison.difference:+.3f} {_bounds(comparison.ci95, comparison.reason)}"


def _bounds(ci95: tuple[float, float] | None, reason: str | None) -> str:
    return f"[{ci95[0]:.3f}, {ci95[1]:.3f}]" if ci95 else f"(no interval: {reason})"


def _estimate(estimate: Estimate) -> str:
    if estimate.mean is None:
        return "–"
    if estimate.ci95 is None:
        return f"{_number(estimate.mean)} (no interval: {estimate.reason})"
    return f"{_number(estimate.mean)} [{_number(estimate.ci95[0])}, {_number(estimate.ci95[1])}]"


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"


def _omitted(counts: Mapping[str, int]) -> str:
    """Samples that a pair does not compare, by reason."""
    words = {
        "only_first": "in the first alone",
        "only_second": "in the second alone",
        "undefined": "without a value",
        "other_truth": "with another truth",
    }
    return ", ".join(f"{counts[name]} {text}" for name, text in words.items() if counts.get(name)) or "none"


def _pvalue(value: float | None) -> str:
    """A p-value is never zero."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"
