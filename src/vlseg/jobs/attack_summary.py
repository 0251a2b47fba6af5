"""What `vlseg attack` says of its rows, as plain values."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from vlseg.jobs.attack import AttackedRun
from vlseg.jobs.attack_plan import noise_beside
from vlseg.jobs.attack_words_summary import word_results
from vlseg.metrics import AttackEffect, attack_effects, budget_words, epsilon_words, rising


def effects_of(attacked: AttackedRun) -> list[AttackEffect]:
    """By attack, in order."""
    evaluated, attacks = attacked.evaluated, [one.arguments() for one in attacked.planned]
    return attack_effects(evaluated.scores, groups_known=evaluated.spec.groups_known, attacks=attacks)


def summary(runs: Sequence[AttackedRun]) -> dict[str, Any]:
    """The machine-readable last line of `vlseg attack`; the first model's own results stand on top."""
    first = runs[0]
    spec, whole = first.evaluated.spec, first.evaluated.aggregate
    found = [effects_of(one) for one in runs]
    effects = found[0]
    words = any(effect.words for effect in effects)
    results = word_results(first.planned, effects, first.evaluated) if words else _results(first, effects)
    methods = list(dict.fromkeys(row["method"] for row in results))
    rises = rising(effects)
    return {
        "method": "+".join(methods),
        "clean_dice": whole.dice.mean,
        "clean_ci95": whole.dice.ci95,
        "n": whole.n,
        "n_groups": whole.n_groups,
        "groups_known": whole.groups_known,
        "results": results,
        "monotone": not rises,
        "rises": [told(*pair) for pair in rises],
        "matrix": [row for pair in zip(runs, found, strict=True) for row in _matrix(*pair)] if len(runs) > 1 else [],
        "dataset": spec.dataset,
        "split": spec.split,
        "prompt": spec.prompt,
        "prompt_source": spec.prompt_sources,
        "threshold": spec.threshold,
        "scores": str(first.evaluated.folder / "scores.parquet"),
        **({"lexicon": spec.condition_arguments["lexicon"]} if words else {}),
        **({"gradients": gradients} if (gradients := _gradients(runs)) else {}),
    }


def _gradients(runs: Sequence[AttackedRun]) -> list[dict[str, Any]]:
    """What a check of the gradients found, of each model that was checked."""
    return [
        {"run": one.evaluated.spec.run_id, **check}
        for one in runs
        for check in one.evaluated.spec.attack_notes.get("gradients", [])
    ]


def told(smaller: AttackEffect, larger: AttackEffect) -> str:
    """Of a mean that rises with the budget."""
    ends = [f"{one.dice.mean:.4f} at {_amount(one)}" for one in (smaller, larger)]
    more = "steps or candidates" if larger.words else "steps or restarts"
    return (
        f"{larger.method}: Dice rises from {' to '.join(ends)}: the larger budget holds all of the smaller one, so "
        f"this search falls short there; take more {more}"
    )


def _amount(effect: AttackEffect) -> str:
    return budget_words(effect.arguments) if effect.words else f"epsilon {effect.epsilon:g}"


def _results(attacked: AttackedRun, effects: Sequence[AttackEffect]) -> list[dict[str, Any]]:
    """A row for each attack; noise of the same budget is part of it."""
    rows, noise = [], {}
    for one, effect in zip(attacked.planned, effects, strict=True):
        if one.control:
            noise[one.attack] = effect
    for one, effect in zip(attacked.planned, effects, strict=True):
        if one.control:
            continue
        control = None if one.attack is None else noise.get(noise_beside(one.attack))
        rows.append(
            {
                "epsilon": effect.epsilon,
                "robust_dice": effect.dice.mean,
                "ci95": effect.dice.ci95,
                "reason": effect.dice.reason,
                "n": effect.dice.n,
                "method": effect.method,
                "published": effect.published,
                "drop": asdict(effect.change),
                "noise_dice": control.dice.mean if control else None,
                "noise_ci95": control.dice.ci95 if control else None,
                "presence": effect.presence,
                "clean_presence": effect.clean_presence,
                "absent_presence": effect.absent_presence,
                "clean_absent_presence": effect.clean_absent_presence,
                "left_empty": effect.left_empty,
                "clean_left_empty": effect.clean_left_empty,
                "wanted_dice": effect.wanted.mean if effect.wanted else None,
                "wanted_ci95": effect.wanted.ci95 if effect.wanted else None,
                "round_trip": effect.arguments.get("round_trip"),
                "attack": one.name,
            }
        )
    return rows


def _matrix(attacked: AttackedRun, effects: Sequence[AttackEffect]) -> list[dict[str, Any]]:
    """Found on one model, scored on another."""
    spec = attacked.evaluated.spec
    return [
        {
            "found_on": attacked.found_on,
            "onto": spec.run_id,
            "method": effect.method,
            **({"budget": effect.arguments["budget"]} if effect.words else {"epsilon": effect.epsilon}),
            "clean_dice": attacked.evaluated.aggregate.dice.mean,
            "dice": effect.dice.mean,
            "ci95": effect.dice.ci95,
            "drop": asdict(effect.change),
            "scores": str(attacked.evaluated.folder / "scores.parquet"),
        }
        for one, effect in zip(attacked.planned, effects, strict=True)
        if not one.control
    ]


def study_values(attacked: AttackedRun) -> dict[str, Any]:
    """What tables of a study read: `clean`, and by name of the budget `attacks`, each an estimate with its control."""
    values = summary([attacked])
    attacks = []
    for row in values["results"]:
        control = "random" if "random_dice" in row else "noise"
        beside = {"mean": row[f"{control}_dice"], "ci95": row[f"{control}_ci95"], "n": row["n"], "reason": None}
        attacks.append(
            {
                "name": _study_name(row),
                "dice": {"mean": row["robust_dice"], "ci95": row["ci95"], "n": row["n"], "reason": row["reason"]},
                "drop": row["drop"],
                control: beside,
                **{key: row[key] for key in ("presence", "left_empty", "wanted_dice", "attack")},
            }
        )
    clean = attacked.evaluated.aggregate.to_json()["dice"]
    kept = ("method", "n", "monotone", "prompt", "threshold", "prompt_source")
    return {"clean": clean, "attacks": attacks, **{key: values[key] for key in kept}}


def _study_name(row: dict[str, Any]) -> str:
    if "budget" in row:
        return f"{row['method']} {row['changes']}"
    told = f"{row['epsilon']:g}" if row["published"] else epsilon_words(row["epsilon"])
    return f"{'published ' if row['published'] else ''}{row['method']} {told}"
