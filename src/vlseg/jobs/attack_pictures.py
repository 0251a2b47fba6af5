"""Pictures of a few attacked samples: image, change and attacked image; patient data, kept where they are asked for."""

import io
import json
from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from vlseg.jobs.attack_plan import Planned
from vlseg.jobs.attack_search import Found, Key, key_of
from vlseg.prompts import Prompted
from vlseg.records.pictures import GRID, AttackPicture

SHOWN = 3
"""Samples, spread over those that are attacked."""
TIMES = 10
"""So much larger a change is shown."""


def shown_samples(items: Sequence[Prompted]) -> set[Key]:
    """First, middle and last."""
    return {key_of(items[int(place)]) for place in np.linspace(0, len(items) - 1, SHOWN)}


def shown_attacks(plans: Sequence[Planned]) -> list[Planned]:
    """The one of each search with the largest budget, noise aside where it is beside another."""
    largest: dict[tuple[bool, str], Planned] = {}
    for one in sorted((one for one in plans if not one.control), key=_epsilon):
        largest[one.published is not None, one.arguments()["search"]["method"]] = one
    return list(largest.values())


def attack_picture(key: Key, one: Planned, found: Found) -> AttackPicture:
    """Of one sample under one attack."""
    assert found.image is not None  # kept where pictures are asked for
    grey = 0.5 + TIMES * found.change
    arguments = json.dumps(one.arguments(), sort_keys=True)
    return AttackPicture(*key, arguments, *map(_file, (found.image, found.image + found.change, grey)))


def _epsilon(one: Planned) -> float:
    return float(one.arguments()["budget"]["epsilon"])


def _file(image: Tensor) -> bytes:
    levels = (image.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    picture = Image.fromarray(levels)
    if max(picture.size) > GRID:
        picture.thumbnail((GRID, GRID), Image.Resampling.BOX)
    file = io.BytesIO()
    picture.save(file, format="WEBP", quality=90)
    return file.getvalue()
