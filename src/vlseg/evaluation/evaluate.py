"""Scoring a model on a dataset: one row per (image, target, wording, condition) at native size."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from vlseg.data import load_image, made_ahead
from vlseg.evaluation.answers import Answer
from vlseg.evaluation.pictures import Outliner, small_image
from vlseg.evaluation.query import Query, by_image
from vlseg.evaluation.rows import Scored, scored
from vlseg.evaluation.setting import Setting
from vlseg.evaluation.truths import MaskReader
from vlseg.metrics import Calibration
from vlseg.records import DatasetInfo, SampleScore
from vlseg.records.pictures import Pictures

SCORERS = max(1, min(4, os.cpu_count() or 1))
"""Threads that score answers while the model gives the next ones."""


def evaluate(
    answer: Answer,
    queries: Sequence[Query],
    infos: Mapping[str, DatasetInfo],
    setting: Setting,
    *,
    pictures: Pictures | None = None,
    calibration: Calibration | None = None,
    on_image: Callable[[], None] = lambda: None,
) -> list[SampleScore]:
    """Score rows of all queries, in the order of the queries' images.

    Reading, the model and scoring overlap; the rows do not depend on it.

    Args:
        answer: gives the predictions, see `model_answers`.
        queries: see `query`.
        infos: dataset info by dataset name.
        setting: run id, seed, device, threshold, precision.
        pictures: takes a small copy of each image, and the outlines of truth and answer of each row, where given.
        calibration: takes the pixels of the band around truth and prediction of the clean queries where given.
        on_image: called after each image, for a progress bar.
    """
    masks = MaskReader(infos)
    outliner = Outliner(masks) if pictures is not None else None
    scores: list[SampleScore] = []
    waiting: deque[Future[Scored]] = deque()

    def finish() -> None:
        found = waiting.popleft().result()
        scores.extend(found.rows)
        if calibration is not None:
            calibration.join(found.calibration)
        if pictures is not None:
            pictures.outlines.extend(found.outlines)

    with ThreadPoolExecutor(SCORERS, thread_name_prefix="score") as pool:
        for image, group in _with_images(queries, infos, masks):
            own: dict[str, np.ndarray] = {}
            if pictures is not None:
                sample = group[0].prompted.sample
                pictures.images[sample.dataset, sample.image_id] = small_image(sample, image)
            for query, prediction in zip(group, answer(image, group), strict=True):
                key = query.prompted.sample.id
                if query.reference:
                    own.setdefault(key, prediction.mask)
                calibrate = calibration is not None and query.condition == "clean"
                job = pool.submit(scored, query, prediction, masks, setting, own.get(key), calibrate, outliner)
                waiting.append(job)
                if len(waiting) > 2 * SCORERS:
                    finish()
            on_image()
        while waiting:
            finish()
    return scores


def _with_images(
    queries: Sequence[Query], infos: Mapping[str, DatasetInfo], masks: MaskReader
) -> Iterator[tuple[np.ndarray, list[Query]]]:
    """Each image (H, W, 3), read once, with its queries; the next one is read with its truths meanwhile."""
    groups = by_image(queries)

    def load(index: int) -> np.ndarray:
        sample = groups[index][0].prompted.sample
        image = load_image(sample, infos[sample.dataset])
        for query in groups[index]:
            for truth in query.truths:
                masks(truth.sample, image.shape[:2])
        return image

    yield from zip(made_ahead(load, len(groups), 1), groups, strict=True)
