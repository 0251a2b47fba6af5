"""A model's answers to the queries of an image."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np
import torch

from vlseg.data import image_key, load_image
from vlseg.evaluation.predict import Prediction, answer_prompts, predict_image
from vlseg.evaluation.query import Query, View
from vlseg.evaluation.setting import Setting
from vlseg.models import Segmenter
from vlseg.models.features import FeatureStore, image_features
from vlseg.records import DatasetInfo, Sample

Answer = Callable[[np.ndarray, Sequence[Query]], Iterable[Prediction]]
"""Predictions for the queries of one image (H, W, 3), in order."""


def model_answers(
    model: Segmenter,
    setting: Setting,
    store: FeatureStore | None = None,
    infos: Mapping[str, DatasetInfo] | None = None,
) -> Answer:
    """The answers of a model on the setting's device, in eval mode.

    With a store (and the datasets' infos) images whose features it has are not encoded again.
    """

    def answer(image: np.ndarray, group: Sequence[Query]) -> Iterable[Prediction]:
        prompts = [prompt_of(model, query) for query in group]
        for view, members in _runs([query.view for query in group]):
            asked = [prompts[index] for index in members]
            if store is not None and infos is not None and view is None:
                sample = group[members[0]].prompted.sample
                yield from answers_from_store(model, store, sample, infos[sample.dataset], asked, setting, image)
                continue
            yield from predict_image(
                model,
                image if view is None else view(image),
                asked,
                device=setting.device,
                precision=setting.precision,
                threshold=setting.threshold,
            )

    return answer


def answers_from_store(
    model: Segmenter,
    store: FeatureStore,
    sample: Sample,
    info: DatasetInfo,
    prompts: Sequence[str],
    setting: Setting,
    image: np.ndarray | None = None,
) -> Iterator[Prediction]:
    """Answers on features that are kept; the image is read only where they are not."""

    def pixels() -> torch.Tensor:
        array = load_image(sample, info) if image is None else image
        return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))

    features, inputs = image_features(
        model, store, image_key(sample, info), pixels, device=setting.device, precision=setting.precision
    )
    yield from answer_prompts(
        model,
        features.to(setting.device).widened(),
        inputs,
        prompts,
        device=setting.device,
        precision=setting.precision,
        threshold=setting.threshold,
    )


def _runs(views: Sequence[View | None]) -> Iterator[tuple[View | None, list[int]]]:
    """Neighbours that see the same image together, so that it is encoded once."""
    for _, members in groupby(range(len(views)), key=lambda index: id(views[index])):
        indices = list(members)
        yield views[indices[0]], indices


def prompt_of(model: Segmenter, query: Query) -> str:
    """What the model is given: the sentence, or the name of the target where it reads no text."""
    return query.wording if model.spec.uses_text else (query.named.target or "")
