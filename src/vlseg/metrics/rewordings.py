"""What attacks on sentences made of them, from score rows alone; and budgets in words."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlseg.metrics.attacks import ATTACKED, epsilon_words
from vlseg.records import SampleScore

_CHANGES = {
    "typos": ("typo", "typos"),
    "synonyms": ("synonym", "synonyms"),
    "vocabulary": ("other word", "other words"),
    "near": ("near word", "near words"),
    "suffix": ("word appended", "words appended"),
    "order": ("swap of words", "swaps of words"),
}


def budget_words(arguments: Mapping[str, Any]) -> str:
    """An attack's budget for people: "epsilon 8/255", "2 typos", "1 word appended (meaning not kept)"."""
    budget = arguments["budget"]
    if not arguments.get("words"):
        return f"epsilon {epsilon_words(budget['epsilon'], normalised=bool(arguments.get('published')))}"
    kind = budget["source"] if budget["unit"] == "words" else budget["unit"]
    told = f"{budget['size']} {_CHANGES[kind][budget['size'] != 1]}"
    told += " with their ends" if budget.get("ends") else ""
    return told if budget["keeps_meaning"] else f"{told} (meaning not kept)"


@dataclass(frozen=True)
class Rewording:
    """A sentence and what an attack made of it, for n samples; mean Dice before and after."""

    before: str
    after: str
    n: int
    clean_dice: float
    dice: float


def rewordings(rows: Sequence[SampleScore], arguments: Mapping[str, Any], most: int = 5) -> list[Rewording]:
    """The sentences that an attack found, those first that took most Dice in sum; unchanged ones are left out.

    Args:
        rows: of one evaluation of condition "attack".
        arguments: of the attack.
        most: of them.
    """
    clean = {(row.dataset, row.sample_id): row for row in rows if row.condition == "clean"}
    pairs: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in rows:
        given = json.loads(row.condition_arguments) if row.condition == ATTACKED else {}
        if given.pop("against", "original") != "original" or given != arguments or row.dice is None:
            continue
        own = clean.get((row.dataset, row.sample_id))
        if own is not None and own.dice is not None and own.wording != row.wording:
            pairs.setdefault((own.wording, row.wording), []).append((own.dice, row.dice))
    found = sorted(pairs.items(), key=lambda pair: (sum(after - own for own, after in pair[1]), pair[0]))
    return [
        Rewording(
            *texts, len(dices), sum(own for own, _ in dices) / len(dices), sum(one for _, one in dices) / len(dices)
        )
        for texts, dices in found[:most]
    ]
