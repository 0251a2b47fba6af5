"""What the page shows of an evaluation under attack."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlseg.metrics import (
    ATTACKED,
    AttackEffect,
    Estimate,
    aggregate,
    attack_effects,
    budget_words,
    epsilon_words,
)
from vlseg.records.pictures import read_attack_pictures
from vlseg.reports.attacks_words import words_facts
from vlseg.reports.figures import robustness
from vlseg.reports.load import EvaluationOnDisk, data_uri
from vlseg.reports.words.numbers import decimal, estimate, gradient_words, points


@dataclass(frozen=True)
class Line:
    """One attack of the table.

    Attributes:
        name: of the search, and what else was done.
        epsilon: in words.
        noise: Dice under noise of the same budget; None where there is none.
        again: JSON with which `vlseg attack --attack` does it again; empty for the published one.
    """

    name: str
    epsilon: str
    effect: AttackEffect
    noise: Estimate | None
    again: str


def attack_facts(evaluation: EvaluationOnDisk, name: str) -> dict[str, Any]:
    """Of attacks on images sentence, lines and figure (`name` is of its files); of those on sentences `words`."""
    asked = evaluation.spec.condition_arguments.get("attacks", [])
    every = attack_effects(evaluation.scores, groups_known=evaluation.spec.groups_known, attacks=asked)
    effects = [one for one in every if not one.words]
    clean_rows = [row for row in evaluation.scores if row.condition == "clean"]
    clean = aggregate(clean_rows, groups_known=evaluation.spec.groups_known).dice
    lines = _lines(effects)
    return {
        "clean": clean,
        "lines": lines,
        "sentence": _sentence(lines, clean),
        "figure": robustness(_curves(lines, clean), levels=_levels(effects), name=f"attacks-{name}"),
        "looks": looks(evaluation),
        "wants": any(one.wanted for one in every),
        "words": words_facts(evaluation, [one for one in every if one.words]),
        "gradients": [
            (f"{search_name(one['attack'])}, {budget_words(one['attack'])}", gradient_words(one), one)
            for one in evaluation.spec.attack_notes.get("gradients", [])
        ],
    }


@dataclass(frozen=True)
class Look:
    """One sample under one attack: three pictures from left to right.

    Attributes:
        sample: target, sample, dataset.
        fact: what the attack did.
        width, height: of the outlines' grid.
        panels: caption, data URL, truth and answer as outlines; None: not drawn.
    """

    sample: list[str]
    fact: str
    width: int
    height: int
    panels: list[tuple[str, str, str | None, str | None]]


def looks(evaluation: EvaluationOnDisk) -> list[Look]:
    """What the evaluation kept pictures of.

    Raises:
        InputError: files that cannot be read.
    """
    kept, found = evaluation.pictures, []
    if kept is None:
        return []
    rows = {}
    for place, row in enumerate(evaluation.scores):
        arguments = json.loads(row.condition_arguments)
        if arguments.pop("against", "original") == "original":
            told = json.dumps(arguments, sort_keys=True) if row.condition == ATTACKED else ""
            rows[row.dataset, row.sample_id, told] = place
    for one in read_attack_pictures(evaluation.folder):
        key = one.dataset, one.sample_id
        own, after = (evaluation.scores[rows[(*key, told)]] for told in ("", one.arguments))
        lines = [kept.outlines[rows[(*key, told)]] for told in ("", one.arguments)]
        image = kept.images[one.dataset, own.image_id]
        arguments = json.loads(one.arguments)
        fact = f"{search_name(arguments)}, {budget_words(arguments)}: "
        fact += f"Dice {decimal(own.dice)} as it is, {decimal(after.dice)} under attack"
        panels = [
            ("As it is", one.before, lines[0].truth, lines[0].answer),
            ("The change, ten times", one.change, None, None),
            ("Under attack", one.after, lines[1].truth, lines[1].answer),
        ]
        shown = [(caption, data_uri("image/webp", file), *drawn) for caption, file, *drawn in panels]
        named = [word for word in (own.target, own.sample_id, own.dataset) if word]
        found.append(Look(named, fact, image.width, image.height, shown))  # type: ignore[arg-type]
    return found


def search_name(arguments: Mapping[str, Any]) -> str:
    """Of an attack's arguments, e.g. "pgd to erase, after JPEG, found on run1"."""
    goal = arguments["goal"]["kind"]
    parts = [f"{'published ' if arguments.get('published') else ''}{arguments['search']['method']}"]
    parts[0] += f" to {goal}" if goal != "untargeted" else ""
    if not arguments.get("words"):
        parts[0] += f" ({arguments['budget']['norm']})" if arguments["budget"]["norm"] != "linf" else ""
        parts[0] += " at native size" if arguments["budget"]["place"] == "native" else ""
    trip = {"8bit": "after rounding to 8 bits", "jpeg": "after JPEG"}.get(arguments.get("round_trip", ""))
    parts += [trip] if trip else []
    parts += [f"found on {arguments['found_on']}"] if "found_on" in arguments else []
    return ", ".join(parts)


def _lines(effects: Sequence[AttackEffect]) -> list[Line]:
    searched = [one for one in effects if not one.control] or list(effects)
    noise = {_looks(one): one.dice for one in effects if one.control and one not in searched}
    return [
        Line(
            search_name(one.arguments),
            epsilon_words(one.epsilon, normalised=one.published),
            one,
            None if one.published else noise.get(_looks(one)),
            "" if one.published else json.dumps({part: one.arguments[part] for part in ("budget", "goal", "search")}),
        )
        for one in searched
    ]


def _looks(effect: AttackEffect) -> str:
    """Equal for a search and for the noise beside it, which looks at as many images; of a universal change at one."""
    search = effect.arguments["search"]
    steps = 1 if effect.method == "universal" else search["steps"]
    return json.dumps([effect.arguments["budget"], steps, search["restarts"]], sort_keys=True)


def _curves(lines: Sequence[Line], clean: Estimate) -> dict[str, dict[float, Estimate]]:
    """By search over epsilon of the image's range, and noise of the same budgets."""
    curves: dict[str, dict[float, Estimate]] = {}
    for line in lines:
        place = float(line.effect.arguments.get("epsilon_of_range", line.effect.epsilon))
        curves.setdefault(line.name, {0.0: clean})[place] = line.effect.dice
    for line in lines:
        if line.noise is not None:
            curves.setdefault("noise", {0.0: clean})[line.effect.epsilon] = line.noise
    return curves


def _levels(effects: Sequence[AttackEffect]) -> bool:
    return all(one.arguments["budget"]["norm"] == "linf" for one in effects)


def _sentence(lines: Sequence[Line], clean: Estimate) -> str:
    """Of the attack that leaves least."""
    known = [line for line in lines if line.effect.dice.mean is not None]
    if not known or clean.mean is None:
        return ""
    worst = min(known, key=lambda line: line.effect.dice.mean or 0.0)
    effect = worst.effect
    told = f"Of a mean Dice of {decimal(clean.mean)}, {worst.name} with epsilon {worst.epsilon} leaves "
    told += f"{estimate(effect.dice)} ({points(effect.change.difference, effect.change.ci95, word='points')})"
    if worst.noise is not None and worst.noise.mean is not None:
        told += f"; random noise of that budget leaves {decimal(worst.noise.mean)}"
    return f"{told}. A better search may find worse."
