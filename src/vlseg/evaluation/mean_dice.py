"""Mean Dice of a split, without rows: what validation needs."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat

import numpy as np
import torch

from vlseg.data import load_image, made_ahead
from vlseg.evaluation.answers import answers_from_store, prompt_of
from vlseg.evaluation.predict import predict_image
from vlseg.evaluation.query import Query, by_image
from vlseg.evaluation.setting import Setting
from vlseg.evaluation.truths import MaskReader
from vlseg.metrics import dice_score
from vlseg.models import Segmenter
from vlseg.models.features import FeatureStore
from vlseg.prompts import Prompted
from vlseg.records import DatasetInfo


def mean_dice(
    model: Segmenter,
    prompted: Sequence[Prompted],
    infos: Mapping[str, DatasetInfo],
    *,
    device: torch.device,
    precision: str,
    thresholds: Sequence[float],
    store: FeatureStore | None = None,
    masks: MaskReader | None = None,
) -> list[float]:
    """Mean Dice at native size for each threshold, over samples with a truth, first wording of each.

    With a store, images whose features it has are neither read nor encoded; with `masks` from an earlier call, neither
    are the truths read again.
    """
    masks = masks or MaskReader(infos)
    queries = [Query(item, item.wordings[0], item.sample, ()) for item in prompted if item.sample.mask_paths]
    setting = Setting(model.spec.name, model.spec.protocol, "", 0, device, 0.5, precision)
    sums = np.zeros(len(thresholds))
    groups = by_image(queries)
    samples = [group[0].prompted.sample for group in groups]
    images: Iterator[np.ndarray | None] = repeat(None)
    if store is None:
        images = made_ahead(lambda index: load_image(samples[index], infos[samples[index].dataset]), len(groups), 1)
    for sample, group, image in zip(samples, groups, images, strict=False):
        prompts = [prompt_of(model, query) for query in group]
        if store is not None:
            predictions = answers_from_store(model, store, sample, infos[sample.dataset], prompts, setting)
        else:
            assert image is not None
            predictions = predict_image(model, image, prompts, device=device, precision=precision)
        for query, prediction in zip(group, predictions, strict=True):
            truth = masks(query.prompted.sample, prediction.mask.shape)
            assert truth is not None  # queries are of samples with a truth
            sums += [dice_score(prediction.probability > threshold, truth) for threshold in thresholds]
    return [float(total) for total in sums / max(1, len(queries))]
