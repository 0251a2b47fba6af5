"""What `vlseg attack` is asked for, on images or on sentences."""

from collections.abc import Sequence

from vlseg.attacks.plan import Kind
from vlseg.jobs.attack_plan import AttackOptions, Planned, planned, published
from vlseg.jobs.attack_words_plan import asks_for_words, planned_words
from vlseg.records import InputError

CHECKED = ("fgsm", "pgd", "segpgd", "apgd")
"""Searches that follow the gradient of each image."""


def attacks_of(options: AttackOptions, deviation: float = 1.0) -> list[Planned]:
    """The attacks of the options, each followed by its control.

    Args:
        options: what was asked for.
        deviation: of the preset, what a normalised unit is in units of the image's range; where it is only to be told
            what is wrong before anything is done, it does not matter.

    Raises:
        InputError: what is no number, does not go together, or is unknown.
    """
    words = asks_for_words(options)
    if options.preset is not None and options.check_gradients:
        raise InputError("--check-gradients: is not for --preset; leave one of the two out")
    if options.preset is not None:
        return published(options, deviation)
    plans = planned_words(options) if words else planned(options)
    goal_of(plans)
    if options.check_gradients:
        _check_gradients(options, plans)
    return plans


def goal_of(plans: Sequence[Planned]) -> Kind:
    """Of all of them.

    Raises:
        InputError: there are several.
    """
    attacks = [one.attack or one.words for one in plans]
    goals = list(dict.fromkeys(one.goal.kind for one in attacks if one is not None))
    if len(goals) > 1:
        raise InputError(f"--attack: {' and '.join(goals)} are for other samples; give one goal at a time")
    return goals[0]


def _check_gradients(options: AttackOptions, plans: Sequence[Planned]) -> None:
    if options.round_trip is not None:
        raise InputError("--check-gradients: looks at images before they are written; leave --round-trip out")
    methods = [one.attack.search.method for one in plans if one.attack is not None and not one.control]
    other = next((one for one in methods if one not in CHECKED), None)
    if other is not None:
        raise InputError(
            f"--check-gradients: is of searches that follow each image's gradient, not of {other}; take "
            f"{' or '.join(CHECKED[1:])}"
        )
