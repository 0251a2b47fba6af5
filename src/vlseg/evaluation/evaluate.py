"""Scoring a model on a dataset: one row per (image, target, wording, condition) at native size."""

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vlseg.data import image_key, load_image, load_mask, made_ahead
from vlseg.evaluation.overlays import panel_row
from vlseg.evaluation.predict import Prediction, answer_prompts, predict_image
from vlseg.evaluation.query import Query, Truth, View
from vlseg.metrics import (
    Calibration,
    PairScores,
    band,
    brier_score,
    count_lesions,
    dice_score,
    iou_score,
    precision_recall,
    score_pair,
)
from vlseg.models import Segmenter
from vlseg.models.features import FeatureStore, image_features
from vlseg.prompts import Prompted
from vlseg.records import DatasetInfo, Sample, SampleScore, is_deployable, replacing, write_text

SCORERS = max(1, min(4, os.cpu_count() or 1))
"""Threads that score answers while the model gives the next ones."""
NSD_TOLERANCE = 2.0
"""Pixels, or mm where the spacing is known."""


@dataclass(frozen=True)
class Setting:
    """What is the same for every row of one evaluation."""

    model: str
    protocol: str
    run_id: str
    seed: int
    device: torch.device
    threshold: float
    precision: str = "fp32"
    nsd_tolerance: float = NSD_TOLERANCE


class MaskReader:
    """Truths by sample, each file read once and kept at one bit a pixel; threads may share it."""

    def __init__(self, infos: Mapping[str, DatasetInfo]) -> None:
        self._infos = infos
        self._packed: dict[tuple[str, str], tuple[np.ndarray, tuple[int, int]]] = {}

    def __call__(self, sample: Sample, size: tuple[int, ...]) -> np.ndarray | None:
        """(H, W) bool, or None where there is no truth."""
        if not sample.mask_paths:
            return None
        key = (sample.dataset, sample.id)
        if key not in self._packed:
            mask = load_mask(sample, self._infos[sample.dataset], (size[0], size[1]))
            self._packed[key] = np.packbits(mask), (mask.shape[0], mask.shape[1])
        bits, (height, width) = self._packed[key]
        return np.unpackbits(bits, count=height * width).view(np.bool_).reshape(height, width)


@dataclass
class Gallery:
    """A few rows of image | truth | prediction, spread evenly over the samples."""

    folder: Path
    wanted: frozenset[str]
    entries: list[dict[str, object]] = field(default_factory=list)

    def offer(self, query: Query, image: np.ndarray, truth: np.ndarray | None, prediction: Prediction) -> None:
        """Keep the picture when its sample is wanted and has none yet."""
        sample = query.truths[-1].sample
        key = query.prompted.sample.id
        if key not in self.wanted or any(entry["sample_id"] == key for entry in self.entries):
            return
        name = f"{len(self.entries):03d}.png"
        with replacing(self.folder / name) as temporary:
            panel_row(image, truth, prediction.mask).save(temporary, format="PNG")
        dice = None if truth is None else dice_score(prediction.mask, truth)
        self.entries.append(
            {
                "file": name,
                "sample_id": key,
                "image_id": sample.image_id,
                "prompt": query.wording,
                "target": query.named.target,
                "dice": dice,
                "condition": query.condition,
            }
        )

    def close(self) -> None:
        """Write index.json."""
        write_text(self.folder / "index.json", json.dumps(self.entries, indent=1) + "\n")


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
        prompts = [_prompt(model, query) for query in group]
        for view, members in _runs([query.view for query in group]):
            asked = [prompts[index] for index in members]
            if store is not None and infos is not None and view is None:
                sample = group[members[0]].prompted.sample
                yield from _from_store(model, store, sample, infos[sample.dataset], asked, setting, image)
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


def _from_store(
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


def evaluate(
    answer: Answer,
    queries: Sequence[Query],
    infos: Mapping[str, DatasetInfo],
    setting: Setting,
    *,
    gallery: Gallery | None = None,
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
        gallery: takes pictures where given.
        calibration: takes the pixels of the band around truth and prediction of the clean queries where given.
        on_image: called after each image, for a progress bar.
    """
    masks = MaskReader(infos)
    scores: list[SampleScore] = []
    waiting: deque[tuple[Query, np.ndarray, Prediction, Future[_Scored]]] = deque()

    def finish() -> None:
        query, image, prediction, future = waiting.popleft()
        scored = future.result()
        scores.extend(scored.rows)
        if calibration is not None:
            calibration.join(scored.calibration)
        if gallery is not None:
            gallery.offer(query, image, scored.truth, prediction)

    with ThreadPoolExecutor(SCORERS, thread_name_prefix="score") as pool:
        for image, group in _by_image(queries, infos, masks):
            own: dict[str, np.ndarray] = {}
            for query, prediction in zip(group, answer(image, group), strict=True):
                key = query.prompted.sample.id
                if query.reference:
                    own.setdefault(key, prediction.mask)
                calibrate = calibration is not None and query.condition == "clean"
                job = pool.submit(_scored, query, prediction, masks, setting, own.get(key), calibrate)
                waiting.append((query, image, prediction, job))
                if len(waiting) > 2 * SCORERS:
                    finish()
            on_image()
        while waiting:
            finish()
    return scores


@dataclass(frozen=True)
class _Scored:
    """What is made of one answer: its rows, its pixels' calibration, and the truth that a picture shows."""

    rows: list[SampleScore]
    calibration: Calibration
    truth: np.ndarray | None


def _scored(
    query: Query,
    prediction: Prediction,
    masks: MaskReader,
    setting: Setting,
    own: np.ndarray | None,
    calibrate: bool,
) -> _Scored:
    size = prediction.mask.shape
    rows, pixels = [], Calibration()
    for truth in query.truths:
        mask = np.zeros(size, dtype=bool) if truth.empty else masks(truth.sample, size)
        near = band(prediction.mask, mask) if prediction.soft and mask is not None else None
        rows.append(_row(query, truth, mask, near, prediction, setting, own))
        if calibrate and mask is not None and near is not None:
            pixels.add(prediction.probability, mask, near)
    shown = masks(query.truths[-1].sample, size) if query.truths else None
    return _Scored(rows, pixels, shown)


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
    groups = _groups(queries)
    samples = [group[0].prompted.sample for group in groups]
    images: Iterator[np.ndarray | None] = repeat(None)
    if store is None:
        images = made_ahead(lambda index: load_image(samples[index], infos[samples[index].dataset]), len(groups), 1)
    for sample, group, image in zip(samples, groups, images, strict=False):
        prompts = [_prompt(model, query) for query in group]
        if store is not None:
            predictions = _from_store(model, store, sample, infos[sample.dataset], prompts, setting)
        else:
            assert image is not None
            predictions = predict_image(model, image, prompts, device=device, precision=precision)
        for query, prediction in zip(group, predictions, strict=True):
            truth = masks(query.prompted.sample, prediction.mask.shape)
            assert truth is not None  # queries are of samples with a truth
            sums += [dice_score(prediction.probability > threshold, truth) for threshold in thresholds]
    return [float(total) for total in sums / max(1, len(queries))]


def read_truths(prompted: Sequence[Prompted], infos: Mapping[str, DatasetInfo]) -> dict[str, np.ndarray]:
    """Masks by sample id, for the samples that have one. Of one dataset: two may name their samples alike."""
    return {
        item.sample.id: load_mask(item.sample, infos[item.sample.dataset], None)
        for item in prompted
        if item.sample.mask_paths
    }


def gallery_for(folder: Path, queries: Sequence[Query], count: int = 12) -> Gallery:
    """A gallery of `count` samples spread evenly over the queries."""
    ids = list(dict.fromkeys(query.prompted.sample.id for query in queries))
    step = max(1, len(ids) // count)
    return Gallery(folder, frozenset(ids[::step][:count]))


def _by_image(
    queries: Sequence[Query], infos: Mapping[str, DatasetInfo], masks: MaskReader
) -> Iterator[tuple[np.ndarray, list[Query]]]:
    """Each image (H, W, 3), read once, with its queries; the next one is read with its truths meanwhile."""
    groups = _groups(queries)

    def load(index: int) -> np.ndarray:
        sample = groups[index][0].prompted.sample
        image = load_image(sample, infos[sample.dataset])
        for query in groups[index]:
            for truth in query.truths:
                masks(truth.sample, image.shape[:2])
        return image

    yield from zip(made_ahead(load, len(groups), 1), groups, strict=True)


def _groups(queries: Sequence[Query]) -> list[list[Query]]:
    """The queries of each image."""
    groups: dict[tuple[str, str], list[Query]] = {}
    for query in queries:
        sample = query.prompted.sample
        groups.setdefault((sample.dataset, sample.image_id), []).append(query)
    return list(groups.values())


def _prompt(model: Segmenter, query: Query) -> str:
    return query.wording if model.spec.uses_text else (query.named.target or "")


def _row(
    query: Query,
    truth: Truth,
    mask: np.ndarray | None,
    near: np.ndarray | None,
    prediction: Prediction,
    setting: Setting,
    own: np.ndarray | None,
) -> SampleScore:
    sample, pred = truth.sample, prediction.mask
    pair, further = None, {}
    if mask is not None:
        pair = score_pair(pred, mask, spacing=sample.spacing, nsd_tolerance=setting.nsd_tolerance)
        further = _further(prediction, mask, near)
    scale = sample.spacing or (1.0, 1.0)
    values = pair or PairScores(None, None, None, None, None, None)
    return SampleScore(
        dataset=sample.dataset,
        split=sample.split,
        sample_id=query.prompted.sample.id,
        image_id=sample.image_id,
        group=sample.group,
        site=sample.site,
        target=sample.target,
        named_target=query.named.target,
        prompt=query.prompted.prompt,
        wording=query.wording,
        prompt_sources=",".join(sorted(query.prompted.sources)),
        deployable=is_deployable(query.prompted.sources),
        condition=query.condition,
        condition_arguments=json.dumps(dict(truth.arguments), sort_keys=True),
        model=setting.model,
        run_id=setting.run_id,
        seed=setting.seed,
        protocol=setting.protocol,
        threshold=setting.threshold,
        precision=setting.precision,
        dice=values.dice,
        iou=values.iou,
        hd95=values.hd95,
        hd=values.hd,
        nsd=values.nsd,
        nsd_tolerance=setting.nsd_tolerance,
        assd=values.assd,
        distance_unit="mm" if sample.spacing else "px",
        spacing=f"{scale[0]:g},{scale[1]:g}" if sample.spacing else None,
        image_diagonal=float(np.hypot(pred.shape[0] * scale[0], pred.shape[1] * scale[1])),
        presence_score=prediction.presence,
        area=int(pred.sum()),
        area_error=None if mask is None else int(pred.sum()) - int(mask.sum()),
        empty_target=None if mask is None else not mask.any(),
        empty_pred=not pred.any(),
        pixels=int(pred.size),
        uncertainty=prediction.uncertainty,
        overlap=None if own is None or query.reference else iou_score(pred, own),
        own_dice=None if own is None or mask is None or query.reference else dice_score(own, mask),
        attributes=json.dumps({one.name: one.value for one in sample.attributes}, ensure_ascii=False),
        **further,
    )


def _further(prediction: Prediction, mask: np.ndarray, near: np.ndarray | None) -> dict[str, Any]:
    """The columns beyond overlap and distances."""
    precision, recall = precision_recall(prediction.mask, mask)
    lesions = count_lesions(prediction.mask, mask)
    return {
        "pixel_precision": precision,
        "pixel_recall": recall,
        "lesions": lesions.true,
        "lesions_found": lesions.found,
        "false_lesions": lesions.false,
        "brier": None if near is None else brier_score(prediction.probability, mask, near),
    }
