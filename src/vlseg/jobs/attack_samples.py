"""Which samples are attacked, and towards which mask."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from vlseg.attacks.plan import Kind
from vlseg.data import load_mask
from vlseg.evaluation.query import DISJOINT_DICE
from vlseg.jobs.attack_search import Key, key_of
from vlseg.jobs.scoring import Job, prompted_split
from vlseg.jobs.subsets import spread
from vlseg.metrics import dice_score
from vlseg.prompts import Prompted
from vlseg.records import InputError


@dataclass(frozen=True)
class Chosen:
    """Samples, image after image, and by sample the one whose mask is wanted; None where a goal wants none."""

    items: list[Prompted]
    wanted: dict[Key, Prompted] | None


def choose(job: Job, split: str, goal: Kind, limit: int | None, seed: int) -> Chosen:
    """The samples of a split with a truth that a goal is for, spread as those of a validation.

    untargeted: all. erase: what is there. make: what is not there; wanted is the mask of the next sample (cyclically)
    that has the target. move: what is there, where the image has another target that is there and apart; wanted is the
    next one's mask.

    Raises:
        InputError: there are none.
    """
    infos = job.pool.infos
    labelled = [item for item in prompted_split(job.pool, split) if item.sample.mask_paths]

    @cache
    def empty(place: int) -> bool:
        return not _mask(labelled[place]).any()

    def _mask(item: Prompted) -> np.ndarray:
        return load_mask(item.sample, infos[item.sample.dataset], None)

    places = {key_of(item): place for place, item in enumerate(labelled)}
    wanted: dict[Key, Prompted] | None = None
    if goal == "erase":
        labelled_for = [item for place, item in enumerate(labelled) if not empty(place)]
    elif goal == "untargeted":
        labelled_for = labelled
    else:
        there = [item for place, item in enumerate(labelled) if not empty(place)]
        apart = cache(lambda one, two: dice_score(_mask(labelled[one]), _mask(labelled[two])) <= DISJOINT_DICE)
        wanted = {}
        for place, item in enumerate(labelled):
            if empty(place) == (goal == "make"):
                for other in _after(there, places, place):
                    if _fits(goal, item, other) and (goal == "make" or apart(place, places[key_of(other)])):
                        wanted[key_of(item)] = other
                        break
        labelled_for = [item for item in labelled if key_of(item) in wanted]
    if not labelled_for:
        raise InputError(f"--goal {goal}: {job.pool.name} has no sample in '{split}' for it ({_NEEDS[goal]})")
    chosen = spread(labelled_for, limit, seed, lambda item: empty(places[key_of(item)]))
    return Chosen(_by_image(chosen), wanted)


_NEEDS = {
    "untargeted": "a sample with a mask",
    "erase": "a sample whose mask is not empty",
    "make": "a sample whose mask is empty, and one of that target whose mask is not",
    "move": "an image with two targets that do not overlap",
}


def _after(there: Sequence[Prompted], places: dict[Key, int], place: int) -> list[Prompted]:
    """Samples that are there, those behind a place first."""
    later = [item for item in there if places[key_of(item)] > place]
    return later + [item for item in there if places[key_of(item)] < place]


def _fits(goal: Kind, item: Prompted, other: Prompted) -> bool:
    one, two = item.sample, other.sample
    same_image = (one.dataset, one.image_id) == (two.dataset, two.image_id)
    if goal == "move":
        return same_image and one.target != two.target
    return one.dataset == two.dataset and one.target == two.target and not same_image


def _by_image(items: Sequence[Prompted]) -> list[Prompted]:
    images: dict[Key, list[Prompted]] = {}
    for item in items:
        images.setdefault((item.sample.dataset, item.sample.image_id), []).append(item)
    return [item for inside in images.values() for item in inside]
