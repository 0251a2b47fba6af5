"""`vlseg attack --check-gradients`: does a search by gradient fall short because the gradient leads nowhere?"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor

from vlseg.attacks import Masking, check_masking
from vlseg.jobs.attack_pictures import shown_attacks
from vlseg.jobs.attack_plan import Planned
from vlseg.jobs.attack_rows import Side
from vlseg.jobs.attack_samples import Chosen
from vlseg.jobs.attack_search import attackable, found_by, key_of, read_some

CHECKED_SAMPLES = 32
"""At most, spread over those that are attacked: SPSA alone asks 640 images a sample."""


def check_gradients(sides: Sequence[Side], chosen: Chosen) -> list[dict[str, Any]]:
    """Of each search with its largest budget, the white box on the first side's model against SPSA and transfers.

    Args:
        sides: the model that is checked, and those from which attacks are transferred to it.
        chosen: the samples that are attacked.

    Returns:
        By search its attack, the mean success of all, and the signs in words.
    """
    last = len(chosen.items) - 1
    places = np.unique(np.linspace(0, last, min(CHECKED_SAMPLES, last + 1)).round().astype(int))
    items = [chosen.items[int(place)] for place in places]
    return [_checked(one, sides, Chosen(items, chosen.wanted)) for one in shown_attacks(sides[0].planned)]


def _checked(one: Planned, sides: Sequence[Side], chosen: Chosen) -> dict[str, Any]:
    assert one.attack is not None
    first, target = sides[0], attackable(sides[0].job)
    some = read_some(chosen.items, first.job.pool.infos, target, chosen.wanted)
    found: Masking = check_masking(
        one.attack,
        target.model,
        some.images,
        some.prompts,
        some.masks,
        changes={side.job.setting.run_id: _changes(one, side, chosen) for side in sides[1:]},
        wanted=some.wanted,
        threshold=target.threshold,
    )
    return {
        "attack": asdict(one.attack),
        "n": len(chosen.items),
        "white": float(found.white.mean()),
        "spsa": float(found.spsa.mean()),
        "transferred": {name: float(success.mean()) for name, success in found.given.items()},
        "no_gradient": found.no_gradient,
        "signs": list(found.signs),
    }


def _changes(one: Planned, side: Side, chosen: Chosen) -> list[Tensor]:
    """What the attack finds on another model, asked under its own prompt."""
    target = attackable(side.job)
    items = [side.items[key_of(item)] for item in chosen.items]
    some = read_some(items, side.job.pool.infos, target, chosen.wanted)
    found = found_by(one, target, some, None, changes=True)
    return [found[key].change for key in some.keys]
