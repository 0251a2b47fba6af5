"""The blind control: a model that reads no text, answering everything about an image with one mask.

Scored as usual, such a model is told the target's class: the channel, or the embedding, of the named target is taken.
Here one rule holds for all prompts: one class's answer, or the union of all, whichever is better on val.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from vlseg.data import load_image, load_mask
from vlseg.evaluation.answers import Answer
from vlseg.evaluation.predict import Prediction
from vlseg.evaluation.query import Query
from vlseg.metrics import dice_score
from vlseg.models import Spec
from vlseg.prompts import Prompted
from vlseg.records import DatasetInfo, InputError

UNION = "the union of all"


def text_blind_rules(spec: Spec) -> dict[str, tuple[str, ...]]:
    """Which classes' answers are united, by the rule's name.

    Raises:
        InputError: a model that reads the prompt.
    """
    if spec.uses_text:
        raise InputError(
            f"condition blind: '{spec.name}' reads the prompt; it is for models that do not, such as 'unet'"
        )
    return {target: (target,) for target in spec.targets} | {UNION: spec.targets}


def choose_text_blind_rule(
    answer: Answer, rules: Mapping[str, tuple[str, ...]], val: Sequence[Prompted], infos: Mapping[str, DatasetInfo]
) -> str:
    """The rule with the highest mean Dice over the present targets of `val`; the union where val has none.

    Args:
        answer: of the model, see `model_answers`.
        rules: see `text_blind_rules`.
        val: prompted samples, never those that are scored afterwards.
        infos: dataset info by dataset name.
    """
    sums = dict.fromkeys((UNION, *rules), 0.0)
    images: dict[tuple[str, str], list[Prompted]] = {}
    for item in val:
        if item.sample.mask_paths:
            images.setdefault((item.sample.dataset, item.sample.image_id), []).append(item)
    for items in images.values():
        info = infos[items[0].sample.dataset]
        query = Query(items[0], items[0].wordings[0], items[0].sample, ())
        masks = [load_mask(item.sample, info, None) for item in items]
        told = _told(answer, load_image(items[0].sample, info), query, rules[UNION])
        for name, targets in rules.items():
            united = np.any([told[target].mask for target in targets], axis=0)
            sums[name] += sum(dice_score(united, mask) for mask in masks if mask.any())
    return max(sums, key=lambda name: sums[name])


def text_blind(answer: Answer, targets: Sequence[str]) -> Answer:
    """The same prediction for every query of an image: the union of the answers about `targets`."""

    def one_for_all(image: np.ndarray, group: Sequence[Query]) -> Iterable[Prediction]:
        told = list(_told(answer, image, group[0], targets).values())
        united = Prediction(
            np.max([one.probability for one in told], axis=0),
            np.any([one.mask for one in told], axis=0),
            max(one.presence or 0.0 for one in told),
        )
        return [united] * len(group)

    return one_for_all


def _told(answer: Answer, image: np.ndarray, query: Query, targets: Sequence[str]) -> dict[str, Prediction]:
    """The answer about each target."""
    asked = [replace(query, named=replace(query.named, target=target)) for target in targets]
    return dict(zip(targets, answer(image, asked), strict=True))
