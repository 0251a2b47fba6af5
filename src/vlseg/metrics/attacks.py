"""What attacks did, from score rows alone."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from vlseg.metrics.bootstrap import Estimate, bootstrap_mean
from vlseg.metrics.indices import group_of
from vlseg.metrics.paired import Comparison, compare_paired
from vlseg.records import SampleScore

Rows = Sequence[SampleScore]
ATTACKED = "attack"
"""The condition of rows under attack."""
CONTROLS = frozenset({"noise", "random"})
"""Searches that look for nothing: noise on the image, random sentences."""
NOTHING_TO_CHANGE = "no sample had anything to change"


@dataclass(frozen=True)
class Answered:
    """Whether answers claim that something is there; None where there is no such target, or a row without a score.

    Attributes:
        left_empty: share of targets that are there which are answered by an empty mask.
        presence: mean presence score of targets that are there.
        absent_presence: mean presence score of targets that are not there.
    """

    left_empty: float | None
    presence: float | None
    absent_presence: float | None


def answered(samples: Sequence[Rows]) -> Answered:
    """Of samples, each with one row or, where it is answered under several conditions, the mean of them."""
    there = [rows for rows in samples if rows[0].empty_target is False]
    absent = [rows for rows in samples if rows[0].empty_target]
    return Answered(
        left_empty=_mean([_mean([float(row.empty_pred) for row in rows]) for rows in there]),
        presence=_mean([_mean([row.presence_score for row in rows]) for rows in there]),
        absent_presence=_mean([_mean([row.presence_score for row in rows]) for rows in absent]),
    )


@dataclass(frozen=True)
class AttackEffect:
    """One attack on the samples of an evaluation.

    Attributes:
        arguments: what was done: budget, goal and search as `vlseg.attacks` writes them, and what else was done.
        dice: with the truth, under attack (robust Dice).
        change: of Dice against the same samples as they are.
        presence, clean_presence: mean presence score of targets that are there, under attack and as they are.
        absent_presence, clean_absent_presence: mean presence score of targets that are not there.
        left_empty, clean_left_empty: share of targets that are there which are answered by an empty mask.
        wanted: Dice with the mask that the attack wanted; None where it wanted none.
    """

    arguments: Mapping[str, Any]
    dice: Estimate
    change: Comparison
    presence: float | None
    clean_presence: float | None
    absent_presence: float | None
    clean_absent_presence: float | None
    left_empty: float | None
    clean_left_empty: float | None
    wanted: Estimate | None = None

    @property
    def epsilon(self) -> float:
        """Of the budget of an attack on the image, in its own units."""
        return float(self.arguments["budget"]["epsilon"])

    @property
    def words(self) -> bool:
        """On the sentence, and not on the image."""
        return bool(self.arguments.get("words"))

    @property
    def amount(self) -> float:
        """Of the budget, in its own units: epsilon, or how many changes of the sentence."""
        return float(self.arguments["budget"]["size"]) if self.words else self.epsilon

    @property
    def clean_dice(self) -> float | None:
        """Mean Dice of the same samples as they are."""
        mean, change = self.dice.mean, self.change.difference
        return None if mean is None or change is None else mean - change

    @property
    def keeps_meaning(self) -> bool:
        """The same was asked for; where not, a lower Dice may be the right answer."""
        return bool(self.arguments["budget"].get("keeps_meaning", True))

    @property
    def control(self) -> bool:
        """Looks for nothing."""
        return self.method in CONTROLS

    @property
    def method(self) -> str:
        """Of the search."""
        return str(self.arguments["search"]["method"])

    @property
    def published(self) -> bool:
        """Done as the published study did it, in its units."""
        return bool(self.arguments.get("published"))


def attack_effects(rows: Rows, *, groups_known: bool, attacks: Sequence[Mapping[str, Any]] = ()) -> list[AttackEffect]:
    """By attack, in order of first appearance.

    Samples that an attack on the sentence could not change have no row under it, and do not count.

    Args:
        rows: of one evaluation of condition "attack": its clean rows and those of every attack.
        groups_known: whether the group column names patients or sequences.
        attacks: arguments of those that were asked for, as the record has them; these come first, without rows as well.
    """
    clean = {_key(row): row for row in rows if row.condition == "clean" and row.dice is not None}
    parts: dict[str, dict[str, list[SampleScore]]] = {json.dumps(one, sort_keys=True): {} for one in attacks}
    for row in rows:
        if row.condition == ATTACKED and row.dice is not None and _key(row) in clean:
            arguments = json.loads(row.condition_arguments)
            against = arguments.pop("against", "original")
            parts.setdefault(json.dumps(arguments, sort_keys=True), {}).setdefault(against, []).append(row)
    return [_effect(json.loads(name), part, clean, groups_known) for name, part in parts.items()]


def rising(effects: Sequence[AttackEffect]) -> list[tuple[AttackEffect, AttackEffect]]:
    """Neighbouring budgets of one attack under which the mean Dice rises: the larger one holds all of the smaller one.

    Of untargeted searches: what goes for another mask, and a control, need not lower Dice further.
    """
    alike: dict[str, list[AttackEffect]] = {}
    for effect in effects:
        if effect.arguments["goal"]["kind"] != "untargeted" or effect.control or effect.dice.mean is None:
            continue
        rest = {name: value for name, value in effect.arguments.items() if name != "budget"}
        budget = {name: value for name, value in effect.arguments["budget"].items() if name not in ("epsilon", "size")}
        grows = "steps" if effect.words else "step_size"  # with the budget
        search = {name: value for name, value in rest.get("search", {}).items() if name != grows}
        alike.setdefault(json.dumps([rest | {"search": search}, budget], sort_keys=True), []).append(effect)
    found = []
    for same in alike.values():
        ordered = sorted(same, key=lambda one: one.amount)
        found += [pair for pair in pairwise(ordered) if (pair[1].dice.mean or 0.0) > (pair[0].dice.mean or 0.0)]
    return found


def epsilon_words(value: float, *, normalised: bool = False) -> str:
    """An attack's budget: "8/255", in halves of grey levels of 8 bits where it is some of them, else as it is.

    Args:
        value: in units of the image's range.
        normalised: in units of the normalised input instead.
    """
    levels = value * 255
    if normalised or not 0.5 <= levels <= 255 or abs(levels * 2 - round(levels * 2)) > 1e-6:
        return f"{value:.3g}{' normalised' if normalised else ''}"
    return f"{levels:g}/255"


def _effect(
    arguments: Mapping[str, Any],
    part: Mapping[str, Rows],
    clean: Mapping[tuple[str, str], SampleScore],
    groups_known: bool,
) -> AttackEffect:
    rows = part.get("original", [])
    groups = [group_of(row, groups_known) for row in rows]
    before = [clean[_key(row)] for row in rows]
    dices = [row.dice or 0.0 for row in rows]
    after, own = (answered([[row] for row in some]) for some in (rows, before))
    wanted = part.get("wanted")
    dice = bootstrap_mean(dices, groups, bounds=(0.0, 1.0))
    change = compare_paired([row.dice or 0.0 for row in before], dices, groups, largest=1.0)
    if not rows:
        dice, change = replace(dice, reason=NOTHING_TO_CHANGE), replace(change, reason=NOTHING_TO_CHANGE)
    return AttackEffect(
        arguments=arguments,
        dice=dice,
        change=change,
        presence=after.presence,
        clean_presence=own.presence,
        absent_presence=after.absent_presence,
        clean_absent_presence=own.absent_presence,
        left_empty=after.left_empty,
        clean_left_empty=own.left_empty,
        wanted=bootstrap_mean(
            [row.dice or 0.0 for row in wanted], [group_of(row, groups_known) for row in wanted], bounds=(0.0, 1.0)
        )
        if wanted
        else None,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _key(row: SampleScore) -> tuple[str, str]:
    return row.dataset, row.sample_id
