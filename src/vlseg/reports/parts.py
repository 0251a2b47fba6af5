"""What the page shows of one evaluation: a probe, swapped prompts, parts of the data, corruptions."""

from typing import Any

from vlseg.metrics import Aggregate, Estimate, aggregate, columns, corruption_effects, parted, subgroups
from vlseg.reports.attacks import attack_facts
from vlseg.reports.certificates import certificate_facts
from vlseg.reports.figures import differences, intervals, language_slopes, severities, swapped_prompts
from vlseg.reports.formats import part_name
from vlseg.reports.load import EvaluationOnDisk, RunOnDisk, alike
from vlseg.reports.results import beside
from vlseg.reports.sections import by_attribute
from vlseg.reports.words.numbers import condition_name

NO_SUBGROUPS = ("wording", "group", "dataset")
MOST_SUBGROUPS = 12


def _part(run: RunOnDisk, evaluation: EvaluationOnDisk) -> dict[str, Any]:
    """What the head and the rules of a section are made of; `name` where the run has several that read alike."""
    name = beside(evaluation, run.under(evaluation.spec.condition))
    return {"run": run.record, "evaluation": evaluation, "spec": evaluation.spec, "name": name}


def _name(run: RunOnDisk, evaluation: EvaluationOnDisk) -> str:
    """Of a figure's files: no other evaluation of the page has it."""
    return f"{run.record.id}-{evaluation.name}"


def swapping(run: RunOnDisk, swapped: EvaluationOnDisk) -> dict[str, Any]:
    """Own prompt, swapped prompt against the original, swapped prompt against the named target."""
    asked = {(row.dataset, row.sample_id) for row in swapped.scores}
    bars: list[tuple[str, Estimate]] = []
    for clean in run.clean:
        if alike(clean.spec, swapped.spec):
            rows = [row for row in clean.scores if (row.dataset, row.sample_id) in asked]
            bars.append(("own prompt, own target", aggregate(rows, groups_known=clean.spec.groups_known).dice))
    bars.append(("swapped prompt, original target", swapped.against("original").dice))
    bars.append(("swapped prompt, named target", swapped.against("named").dice))
    return {
        **_part(run, swapped),
        "figure": swapped_prompts(bars, name=f"swapped-{_name(run, swapped)}"),
        "bars": bars,
        "n": len(asked),
    }


def probe(run: RunOnDisk, evaluation: EvaluationOnDisk) -> dict[str, Any]:
    """Indices and effects."""
    use, name = evaluation.use, _name(run, evaluation)
    changes = [(condition_name(effect.name), effect.original) for effect in use.effects]
    measured = "change of Dice with the own target, points"
    return {
        **_part(run, evaluation),
        "use": use,
        "attributes": by_attribute(use),
        "figure": language_slopes(use.effects, name=f"language-use-{name}"),
        "changes": differences(changes, name=f"conditions-{name}", measured=measured),
    }


def attacks(run: RunOnDisk, evaluation: EvaluationOnDisk) -> dict[str, Any]:
    """Dice under attack by budget."""
    return {**_part(run, evaluation), **attack_facts(evaluation, _name(run, evaluation))}


def smoothing(run: RunOnDisk, evaluation: EvaluationOnDisk) -> dict[str, Any]:
    """What is certified, by sigma."""
    return {**_part(run, evaluation), **certificate_facts(evaluation)}


def subgroup_columns(evaluation: EvaluationOnDisk) -> list[str]:
    """The columns by which the rows fall into two to twelve parts, each way of parting them once."""
    names = [name for name in columns(evaluation.scores, known_only=True) if name not in NO_SUBGROUPS]
    # The target is often an attribute as well, under another name: the same parts once.
    found: dict[frozenset[frozenset[int]], str] = {}
    for name in sorted(names, key=lambda one: one != "target"):
        parts = parted(evaluation.scores, name).values()
        if 2 <= len(parts) <= MOST_SUBGROUPS:
            found.setdefault(frozenset(frozenset(map(id, part)) for part in parts), name)
    return sorted(found.values())


def subgroup(run: RunOnDisk, evaluation: EvaluationOnDisk) -> dict[str, Any]:
    """The scores by `subgroup_columns`."""
    parts: dict[str, dict[str, Aggregate]] = {
        name: subgroups(evaluation.scores, name, groups_known=evaluation.spec.groups_known)
        for name in subgroup_columns(evaluation)
    }
    values = [
        (f"{part_name(column)}: {name}", one.dice_present)
        for column, found in parts.items()
        for name, one in found.items()
        if one.dice_present.mean is not None
    ]
    figure = intervals(values, name=f"parts-{_name(run, evaluation)}")
    return {**_part(run, evaluation), "parts": parts, "figure": figure}


def corruption(run: RunOnDisk, evaluation: EvaluationOnDisk) -> dict[str, Any]:
    """Dice by corruption and severity; that of the images as they are in `clean`."""
    effects = corruption_effects(evaluation.scores, groups_known=evaluation.spec.groups_known)
    plain = [row.dice for row in evaluation.scores if row.condition == "clean" and row.dice is not None]
    clean = sum(plain) / len(plain) if plain else 0.0
    figure = severities(effects, clean, name=f"severities-{_name(run, evaluation)}")
    return {**_part(run, evaluation), "effects": effects, "clean": clean, "figure": figure}
