"""What the page shows of attacks on sentences."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlseg.metrics import AttackEffect, Estimate, Rewording, budget_words, rewordings
from vlseg.reports.load import EvaluationOnDisk
from vlseg.reports.words.numbers import decimal, estimate, points

WORST = 3
"""Sentences of each attack."""


@dataclass(frozen=True)
class WordsLine:
    """One attack of the table.

    Attributes:
        name: of the search, and what else was done.
        changes: the budget in words, and that the meaning is not kept where it is not.
        random: Dice under random sentences of the same budget; None where they were not asked.
        queries, random_queries: sentences asked of a sample on average; None: not recorded.
        worst: sentences before and after.
        again: JSON with which `vlseg attack --attack` does it again.
    """

    name: str
    changes: str
    effect: AttackEffect
    random: Estimate | None
    queries: float | None
    random_queries: float | None
    worst: list[Rewording]
    again: str


def words_facts(evaluation: EvaluationOnDisk, effects: Sequence[AttackEffect]) -> dict[str, Any] | None:
    """Sentences, lines, and how many samples at most had nothing to change; None without such attacks."""
    if not effects:
        return None
    searched = [one for one in effects if not one.control] or list(effects)
    controls = {_draws(one): one for one in effects if one.control and one not in searched}
    asked = {_key(one["attack"]): one["queries"] for one in evaluation.spec.attack_notes.get("asked", [])}
    lines = [_line(evaluation, one, controls.get(_draws(one)), asked) for one in searched]
    n = len({(row.dataset, row.sample_id) for row in evaluation.scores if row.condition == "clean"})
    return {
        "lines": lines,
        "sentences": [told for kept in (True, False) if (told := _sentence(lines, kept=kept))],
        "left_out": max(n - line.effect.dice.n for line in lines),
        "lexicon": evaluation.spec.condition_arguments.get("lexicon"),
    }


def _line(
    evaluation: EvaluationOnDisk, effect: AttackEffect, control: AttackEffect | None, asked: Mapping[str, float]
) -> WordsLine:
    arguments = effect.arguments
    goal, found_on = arguments["goal"]["kind"], arguments.get("found_on")
    name = effect.method + (f" to {goal}" if goal != "untargeted" else "")
    return WordsLine(
        name + (f", found on {found_on}" if found_on else ""),
        budget_words(arguments),
        effect,
        control.dice if control else None,
        asked.get(_key(arguments)),
        asked.get(_key(control.arguments)) if control else None,
        rewordings(evaluation.scores, arguments, WORST),
        json.dumps({part: arguments[part] for part in ("budget", "goal", "search", "words")}),
    )


def _draws(effect: AttackEffect) -> str:
    """Equal for a search and for the random sentences beside it, of which as many are drawn as it may ask."""
    search = {name: value for name, value in effect.arguments["search"].items() if name != "method"}
    rest = {name: value for name, value in effect.arguments.items() if name not in ("search", "found_on")}
    return _key([search, rest])


def _key(arguments: object) -> str:
    return json.dumps(arguments, sort_keys=True)


def _sentence(lines: Sequence[WordsLine], *, kept: bool) -> str:
    """Of the attack that leaves least, among those that keep the meaning, or those that do not."""
    known = [line for line in lines if line.effect.keeps_meaning == kept and line.effect.dice.mean is not None]
    if not known:
        return ""
    worst = min(known, key=lambda line: line.effect.dice.mean or 0.0)
    effect = worst.effect
    leave = "leaves" if effect.amount == 1 else "leave"
    told = f"Of a mean Dice of {decimal(effect.clean_dice)}, {worst.changes}, by {worst.name}, {leave}"
    told += f" {estimate(effect.dice)} ({points(effect.change.difference, effect.change.ci95, word='points')})"
    if worst.random is not None and worst.random.mean is not None:
        told += f"; random ones leave {decimal(worst.random.mean)}"
    if kept:
        return f"{told}. The sentence asks for the same as before. A better search may find worse."
    return f"{told}. The sentence may ask for something else, and a lower Dice may be the right answer."
