"""What is asked of a model: a sentence on an image, and the truths that the answer is held against."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vlseg.metrics import dice_score
from vlseg.prompts import Prompted, same_words
from vlseg.records import Sample

DISJOINT_DICE = 0.2
"""Two targets count as different things up to this Dice of their masks."""


View = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Truth:
    """A sample whose mask an answer is compared with, and the row's condition arguments.

    `empty`: nothing should be segmented, whatever the sample's mask. `mask`: (H, W) bool, to compare with instead.
    """

    sample: Sample
    arguments: Mapping[str, Any] = field(default_factory=dict)
    empty: bool = False
    mask: np.ndarray | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Query:
    """One sentence on one image.

    Attributes:
        prompted: the sample asked about: its image, prompt name and provenance.
        wording: the sentence given to the model.
        named: the sample that the sentence names (another one when prompts are swapped).
        truths: one score row each.
        condition: "clean", "swapped", ...
        reference: True when the answer is the one that other conditions of the sample are compared with.
        view: makes what is shown from the sample's own image, (H, W, 3) float32 in [0, 1] of the same size.
            Neighbours with the same view object are encoded once.
        elsewhere: True where the view shows something else than the sample's image.
    """

    prompted: Prompted
    wording: str
    named: Sample
    truths: tuple[Truth, ...]
    condition: str = "clean"
    reference: bool = False
    view: View | None = field(default=None, compare=False)
    elsewhere: bool = False


def clean_queries(prompted: Sequence[Prompted]) -> list[Query]:
    """Every wording of every sample against its own truth."""
    return [Query(item, wording, item.sample, (Truth(item.sample),)) for item in prompted for wording in item.wordings]


def swapped_queries(prompted: Sequence[Prompted], masks: Mapping[str, np.ndarray]) -> list[Query]:
    """Each present object asked for with the prompt of another object of the same image.

    The partner is the next one (cyclically, in order of the samples) whose mask is disjoint from this
    one's and whose prompt has other words. Each answer is scored against the original target and against the one that
    was named.

    Args:
        prompted: samples of one split.
        masks: (H, W) bool by sample id, for the samples with a truth.
    """
    by_image: dict[str, list[Prompted]] = {}
    for item in prompted:
        if item.sample.id in masks and masks[item.sample.id].any():
            by_image.setdefault(item.sample.image_id, []).append(item)
    queries = []
    for items in by_image.values():
        for position, item in enumerate(items):
            others = items[position + 1 :] + items[:position]
            partner = next((other for other in others if _apart(masks, item, other)), None)
            if partner is not None:
                truths = (
                    Truth(item.sample, {"against": "original"}),
                    Truth(partner.sample, {"against": "named"}),
                )
                queries.append(Query(item, partner.wordings[0], partner.sample, truths, "swapped"))
    return queries


def by_image(queries: Sequence[Query]) -> list[list[Query]]:
    """The queries of each image."""
    groups: dict[tuple[str, str], list[Query]] = {}
    for query in queries:
        sample = query.prompted.sample
        groups.setdefault((sample.dataset, sample.image_id), []).append(query)
    return list(groups.values())


def _apart(masks: Mapping[str, np.ndarray], first: Prompted, second: Prompted) -> bool:
    if any(same_words(second.wordings[0], wording) for wording in first.wordings):
        return False
    return dice_score(masks[first.sample.id], masks[second.sample.id]) <= DISJOINT_DICE
