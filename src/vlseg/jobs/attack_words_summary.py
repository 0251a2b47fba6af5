"""What `vlseg attack --words` says of its rows, as plain values."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from vlseg.jobs.attack_plan import Planned
from vlseg.jobs.attack_words_plan import random_beside
from vlseg.jobs.scoring import Evaluated
from vlseg.metrics import AttackEffect, budget_words, rewordings


def word_results(
    planned: Sequence[Planned], effects: Sequence[AttackEffect], evaluated: Evaluated
) -> list[dict[str, Any]]:
    """A row for each attack on sentences; random sentences of the same budget are part of it."""
    controls = {one.words: effect for one, effect in zip(planned, effects, strict=True) if one.control}
    asked = {_key(one["attack"]): one for one in evaluated.spec.attack_notes.get("asked", [])}
    rows = []
    for one, effect in zip(planned, effects, strict=True):
        if one.control or one.words is None:
            continue
        control = controls.get(random_beside(one.words))
        own = asked.get(_key(effect.arguments), {})
        beside = {} if control is None else asked.get(_key(control.arguments), {})
        rows.append(
            {
                "changes": budget_words(effect.arguments),
                "budget": effect.arguments["budget"],
                "keeps_meaning": effect.keeps_meaning,
                "robust_dice": effect.dice.mean,
                "ci95": effect.dice.ci95,
                "reason": effect.dice.reason,
                "n": effect.dice.n,
                "left_out": evaluated.aggregate.n - effect.dice.n,
                "clean_dice": effect.clean_dice,
                "method": effect.method,
                "drop": asdict(effect.change),
                "random_dice": control.dice.mean if control else None,
                "random_ci95": control.dice.ci95 if control else None,
                "queries": own.get("queries"),
                "gradients": own.get("gradients"),
                "random_queries": beside.get("queries"),
                "presence": effect.presence,
                "clean_presence": effect.clean_presence,
                "left_empty": effect.left_empty,
                "clean_left_empty": effect.clean_left_empty,
                "wanted_dice": effect.wanted.mean if effect.wanted else None,
                "wanted_ci95": effect.wanted.ci95 if effect.wanted else None,
                "sentences": [asdict(pair) for pair in rewordings(evaluated.scores, effect.arguments)],
                "attack": one.name,
            }
        )
    return rows


def _key(arguments: object) -> str:
    return json.dumps(arguments, sort_keys=True)
