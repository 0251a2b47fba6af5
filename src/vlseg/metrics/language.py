"""Does it read the prompt? Indices and effects, from score rows alone. docs/probe.md derives them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vlseg.metrics.bootstrap import Estimate, bootstrap_mean
from vlseg.metrics.indices import Index, Rows, group_of, presence_index, selection_index
from vlseg.metrics.paired import Comparison, compare_paired, holm
from vlseg.records import SampleScore


@dataclass(frozen=True)
class Effect:
    """What a condition does to the answers, over the samples it was applied to.

    Attributes:
        name: of the condition.
        original: paired change of the Dice with the original target, condition minus own prompt.
        dice: mean Dice with the original target under the condition.
        named: mean Dice with what the changed prompt names, where it names something.
        towards: paired change of the Dice with what the changed prompt names, against the own prompt's answer.
        overlap: mean IoU of the answer with the answer to the own prompt.
    """

    name: str
    original: Comparison
    dice: float | None
    named: Estimate | None
    overlap: Estimate
    towards: Comparison | None = None


@dataclass(frozen=True)
class LanguageUse:
    """What a probe found. `chose_none` is the share of answers that the selection index leaves out.

    The family of `p_holm` is all conditions of the probe: their changes of the Dice with the own target. The changes
    towards what is named, where something is, are a second family.

    `not_asked`: conditions that this data cannot put, with the reason.
    """

    selection: Index
    chose_none: Index
    presence: Index
    effects: list[Effect]
    not_asked: dict[str, str] = field(default_factory=dict)


CONDITIONS = {
    "empty": "no present target whose prompt has words",
    "class_only": "the prompts are the targets' names alone, or no target is named",
    "wrong_X": "no attribute is known in the prompts, or each has one value",
    "without_X": "no attribute is known in the prompts",
    "random_X": "no attribute is known in the prompts",
    "other_side": "no prompt names a side, or only both alike, or a structure or place without a mirror image",
    "other_image_prompt": "no other image's prompt for a structure says something else of it",
    "swapped": "no image has two targets that do not overlap",
    "absent_structure": "no image has a target that the data say is absent, with a prompt that names it",
    "negation": "no present target whose prompt has words",
    "foreign": "no present target",
    "paraphrase": "no present target whose prompt has words",
    "typos": "no word of five letters or more",
    "language_X": "no translation of the targets' names is known",
    "shuffled": "no prompt has two different words",
    "mean_image": "fewer than two images, or no present target",
    "other_image": "fewer than two images, or no present target",
}
"""What a probe asks (X = an attribute or a language), and why data may not allow it."""


def language_use(rows: Rows, *, groups_known: bool) -> LanguageUse:
    """Both indices and all effects from the rows of a probe.

    Args:
        rows: of all conditions; those of the condition "val" (own prompts on the val split) serve the threshold of
            the presence index alone.
        groups_known: whether the group column names patients or sequences.
    """
    val = [row for row in rows if row.condition == "val"]
    probed = [row for row in rows if row.condition != "val"]
    clean = [row for row in probed if row.condition == "clean"]
    found = effects(probed, groups_known=groups_known)
    selection, chose_none = selection_index(
        [row for row in probed if row.condition == "selection"], groups_known=groups_known
    )
    return LanguageUse(
        selection,
        chose_none,
        presence_index(clean, val, groups_known=groups_known),
        _corrected(found),
        _not_asked([effect.name for effect in found]),
    )


def _corrected(found: Sequence[Effect]) -> list[Effect]:
    """The effects with Holm's correction in each of the two families."""
    adjusted = holm([effect.original.p for effect in found])
    towards = holm([effect.towards.p if effect.towards else None for effect in found])
    return [
        replace(
            effect,
            original=replace(effect.original, p_holm=p),
            towards=replace(effect.towards, p_holm=q) if effect.towards else None,
        )
        for effect, p, q in zip(found, adjusted, towards, strict=True)
    ]


def _not_asked(names: Sequence[str]) -> dict[str, str]:
    """The conditions that no name belongs to, with the reason."""

    def asked(condition: str) -> bool:
        stem = condition.removesuffix("X")
        return any(name == condition or (stem != condition and name.startswith(stem)) for name in names)

    return {condition: reason for condition, reason in CONDITIONS.items() if not asked(condition)}


def effects(rows: Rows, *, groups_known: bool) -> list[Effect]:
    """The effect of every condition but "clean" and "selection", in order of first appearance."""
    clean = {_key(row): row for row in rows if row.condition == "clean" and row.dice is not None}
    names = dict.fromkeys(row.condition for row in rows if row.condition not in ("clean", "selection"))
    parts = {name: [row for row in rows if row.condition == name] for name in names}
    second = sum(bool(_towards(inside)) for inside in parts.values())
    return [_effect(name, inside, clean, groups_known, (len(names), second)) for name, inside in parts.items()]


def corruption_effects(rows: Rows, *, groups_known: bool) -> dict[tuple[str, int], Effect]:
    """By corruption and severity, what it does against the image as it is."""
    clean = {_key(row): row for row in rows if row.condition == "clean" and row.dice is not None}
    parts: dict[tuple[str, int], list[SampleScore]] = {}
    for row in rows:
        if row.condition != "clean":
            parts.setdefault((row.condition, json.loads(row.condition_arguments)["severity"]), []).append(row)
    return {key: _effect(key[0], inside, clean, groups_known) for key, inside in parts.items()}


def _effect(
    name: str,
    rows: Rows,
    clean: dict[tuple[str, str], SampleScore],
    groups_known: bool,
    families: tuple[int, int] = (1, 1),
) -> Effect:
    """`families`: how many tests Holm's correction covers, of the own target and of what is named."""
    original = [row for row in rows if _against(row) == "original" and row.dice is not None and _key(row) in clean]
    named = [row for row in rows if _against(row) == "named" and row.dice is not None]
    moved = _towards(rows)
    groups = [group_of(row, groups_known) for row in original]
    comparison = compare_paired(
        [clean[_key(row)].dice or 0.0 for row in original],
        [row.dice or 0.0 for row in original],
        groups,
        largest=1.0,
        family=families[0],
    )
    overlaps = [(row.overlap, group) for row, group in zip(original, groups, strict=True) if row.overlap is not None]
    return Effect(
        name=name,
        original=comparison,
        dice=float(np.mean([row.dice or 0.0 for row in original])) if original else None,
        named=bootstrap_mean(
            [row.dice or 0.0 for row in named], [group_of(row, groups_known) for row in named], bounds=(0, 1)
        )
        if named
        else None,
        overlap=bootstrap_mean([value for value, _ in overlaps], [group for _, group in overlaps], bounds=(0, 1)),
        towards=compare_paired(
            [row.own_dice or 0.0 for row in moved],
            [row.dice or 0.0 for row in moved],
            [group_of(row, groups_known) for row in moved],
            largest=1.0,
            family=families[1],
        )
        if moved
        else None,
    )


def _against(row: SampleScore) -> str:
    against: str = json.loads(row.condition_arguments).get("against", "original")
    return against


def _towards(rows: Rows) -> list[SampleScore]:
    """Rows held against what the words name, where the answer to the own prompt was held against it, too."""
    return [row for row in rows if _against(row) == "named" and row.dice is not None and row.own_dice is not None]


def _key(row: SampleScore) -> tuple[str, str]:
    return row.dataset, row.sample_id
