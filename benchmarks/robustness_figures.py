"""What `robustness.py` makes of score rows: curves under attack, what a search must show, and pairs of methods."""

import json
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean
from typing import Any

from vlseg.metrics import ATTACKED, bootstrap_mean, budget_words, epsilon_words, two_level_mean
from vlseg.metrics.indices import group_of
from vlseg.records import SampleScore
from vlseg.reports.attacks import search_name

CLEAN = "clean"
SEARCHES = ("fgsm", "pgd", "apgd")
"""Weakest first."""
_PLAIN = re.compile(r"(?P<method>\w+) of \d+ (?P<budget>\S+)")
"""The name of a search without a goal of its own."""


@dataclass(frozen=True)
class Scored:
    """Dice of one sample under one condition; `group` is its patient, `empty` whether its truth is."""

    dice: float
    group: Hashable
    empty: bool


Answers = Mapping[str, Mapping[str, Scored]]
"""Of one run: by condition, by sample."""


def condition(arguments: Mapping[str, Any]) -> str:
    """The name of an attack: search and how often it looks, what else was done, budget; e.g. "pgd of 20 2/255".

    On sentences search and budget; e.g. "greedy, 2 typos".
    """
    if arguments.get("words"):
        return f"{arguments['search']['method']}, {budget_words(arguments)}"
    method, looks = arguments["search"]["method"], arguments["search"]["steps"] * arguments["search"]["restarts"]
    name = search_name({key: value for key, value in arguments.items() if key != "found_on"})
    name = name.replace(method, f"{method} of {looks}", 1)
    if arguments.get("against") == "wanted":
        name += ", with what it wanted"
    published = bool(arguments.get("published"))
    return f"{name} {epsilon_words(arguments['budget']['epsilon'], normalised=published)}"


def answers(rows: Iterable[SampleScore], *, groups_known: bool) -> dict[str, dict[str, Scored]]:
    """Score rows of one evaluation under attack, by condition and sample; rows without a Dice are left out."""
    found: dict[str, dict[str, Scored]] = {}
    for row in rows:
        if row.dice is None or row.condition not in (CLEAN, ATTACKED):
            continue
        name = CLEAN if row.condition == CLEAN else condition(json.loads(row.condition_arguments))
        found.setdefault(name, {})[row.sample_id] = Scored(
            row.dice, group_of(row, groups_known), bool(row.empty_target)
        )
    return found


def table(runs: Sequence[Answers], name: str, *, present: bool = False) -> tuple[list[list[float]], list[Hashable]]:
    """Dice of each run on the same samples under a condition, (S, n), and the samples' groups (n,).

    Args:
        present: only samples whose truth is not empty.

    Raises:
        ValueError: runs that were asked about different samples.
    """
    first = runs[0][name]
    if any(run[name].keys() != first.keys() for run in runs):
        raise ValueError(f"{name}: not all runs have the same samples")
    kept = [sample for sample, one in first.items() if not (present and one.empty)]
    return [[run[name][sample].dice for sample in kept] for run in runs], [first[sample].group for sample in kept]


def over_seeds(
    runs: Sequence[Sequence[float]], groups: Sequence[Hashable], bounds: tuple[float, float] = (0.0, 1.0)
) -> dict[str, Any]:
    """The mean over samples and seeds, (S, n) values, with its 95 % interval and each seed's own mean.

    From five seeds on the interval is over seeds and groups; below it is over groups alone, of the seeds' mean.
    """
    both = two_level_mean(runs, groups, bounds=bounds)
    of = "seeds and groups"
    if both.ci95 is None:
        of = "groups"
        both = bootstrap_mean([mean(values) for values in zip(*runs, strict=True)], groups, bounds=bounds)
    told = {"mean": both.mean, "ci95": both.ci95, "of": of if both.ci95 else None, "reason": both.reason}
    return {**told, "n": both.n, "seeds": [mean(values) for values in runs]}


def curve(runs: Sequence[Answers], *, present: bool = False) -> dict[str, dict[str, Any]]:
    """Dice of one method by condition."""
    names = [name for name in runs[0] if all(name in run for run in runs)]
    return {name: over_seeds(*table(runs, name, present=present)) for name in names}


def shares_lost(clean: Sequence[float], under: Sequence[float]) -> list[float]:
    """1 - mean(under) / mean(clean), as values of samples that have it as their mean, for intervals of the ratio.

    Linearised: the ratio's own value plus each sample's first-order influence on it, which add up to 0.
    """
    before = mean(clean)
    left = mean(under) / before
    return [1 - left - (one - left * own) / before for own, one in zip(clean, under, strict=True)]


def pair(first: Sequence[Answers], second: Sequence[Answers], name: str, *, present: bool = False) -> dict[str, Any]:
    """Two methods under one condition, second minus first, sample by sample and seed by seed.

    Returns:
        `clean`: of Dice as it is; `dice`: of Dice under attack; `drop`: of what is lost, Dice as it is less Dice
        under attack; `share`: of what is lost as a share of the method's own Dice as it is.
    """
    (a, groups), (b, _) = (table(side, CLEAN, present=present) for side in (first, second))
    (c, _), (d, _) = (table(side, name, present=present) for side in (first, second))
    if any(side[0][CLEAN].keys() != first[0][name].keys() for side in (first, second)):
        raise ValueError(f"{name}: the methods have different samples")
    values: dict[str, list[list[float]]] = {"clean": [], "dice": [], "drop": [], "share": []}
    for own, other, under, other_under in zip(a, b, c, d, strict=True):
        values["clean"].append(_less(other, own))
        values["dice"].append(_less(other_under, under))
        values["drop"].append(_less(_less(other, other_under), _less(own, under)))
        values["share"].append(_less(shares_lost(other, other_under), shares_lost(own, under)))
    return {key: over_seeds(rows, groups, (-2.0, 2.0)) for key, rows in values.items()}


def _less(these: Sequence[float], those: Sequence[float]) -> list[float]:
    return [one - other for one, other in zip(these, those, strict=True)]


def shown(curves: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What untargeted searches must show on one method, each seed for itself.

    Args:
        curves: as `curve` gives them.

    Returns:
        `noise`: by condition of an iterated search, the largest share of its drop that noise of as many draws reaches
        in any seed; `stronger`: how often PGD left no more Dice than FGSM, and APGD no more than PGD, of how many;
        `falls`: how often an iterated search's Dice did not rise with the budget, of how many.
    """
    asked = [match for match in map(_PLAIN.fullmatch, curves) if match and match["method"] in SEARCHES]
    by: dict[str, dict[str, str]] = {method: {} for method in SEARCHES}
    for match in asked:
        by[match["method"]][match["budget"]] = match[0]
    clean = curves[CLEAN]["seeds"]
    noise, falls = {}, []
    for method in SEARCHES[1:]:
        for name in by[method].values():
            blind = curves[name.replace(method, "noise", 1)]["seeds"]
            trios = zip(clean, blind, curves[name]["seeds"], strict=True)
            noise[name] = max((own - random) / (own - worst) for own, random, worst in trios if own > worst)
        for small, large in pairwise(by[method].values()):
            falls += _no_more(curves[small], curves[large])
    stronger = {
        f"{strong} after {weak}": [
            one
            for budget in by[strong]
            if budget in by[weak]
            for one in _no_more(curves[by[weak][budget]], curves[by[strong][budget]])
        ]
        for weak, strong in pairwise(SEARCHES)
    }
    return {
        "noise": noise,
        "stronger": {name: [sum(found), len(found)] for name, found in stronger.items()},
        "falls": [sum(falls), len(falls)],
    }


def _no_more(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[bool]:
    """By seed, whether Dice did not rise."""
    return [two <= one for one, two in zip(before["seeds"], after["seeds"], strict=True)]


def before_and_after(runs: Sequence[Answers], name: str, *, present: bool = False) -> dict[str, Any]:
    """Dice as it is and under a condition, and what is lost, of the samples that have a row under it.

    A sentence without anything to change has none.
    """
    kept = [{CLEAN: {sample: run[CLEAN][sample] for sample in run[name]}, name: run[name]} for run in runs]
    (clean, groups), (under, _) = (table(kept, one, present=present) for one in (CLEAN, name))
    lost = [_less(own, other) for own, other in zip(clean, under, strict=True)]
    return {
        "clean": over_seeds(clean, groups),
        "dice": over_seeds(under, groups),
        "drop": over_seeds(lost, groups, (-1.0, 1.0)),
    }
