"""The score rows of one answer."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlseg.evaluation.pictures import Outliner
from vlseg.evaluation.predict import Prediction
from vlseg.evaluation.query import Query, Truth
from vlseg.evaluation.setting import Setting
from vlseg.evaluation.truths import MaskReader
from vlseg.metrics import (
    Calibration,
    PairScores,
    band,
    brier_score,
    certified_accuracy,
    certified_dice,
    count_lesions,
    dice_score,
    iou_score,
    precision_recall,
    score_pair,
)
from vlseg.records import SampleScore, is_deployable
from vlseg.records.pictures import Outline


@dataclass(frozen=True)
class Scored:
    """What is made of one answer: its rows, their outlines where asked for, and its pixels' calibration."""

    rows: list[SampleScore]
    calibration: Calibration
    outlines: Sequence[Outline] = ()


def scored(
    query: Query,
    prediction: Prediction,
    masks: MaskReader,
    setting: Setting,
    own: np.ndarray | None,
    calibrate: bool,
    outliner: Outliner | None = None,
) -> Scored:
    """The rows of one answer, a row for each truth that it is held against."""
    size = prediction.mask.shape
    rows, pixels = [], Calibration()
    for truth in query.truths:
        mask = _truth(truth, masks, size)
        near = band(prediction.mask, mask) if prediction.soft and mask is not None else None
        rows.append(_row(query, truth, mask, near, prediction, setting, own))
        if calibrate and mask is not None and near is not None:
            pixels.add(prediction.probability, mask, near)
    return Scored(rows, pixels, outliner(query, prediction) if outliner else ())


def _truth(truth: Truth, masks: MaskReader, size: tuple[int, ...]) -> np.ndarray | None:
    if truth.empty:
        return np.zeros(size, dtype=bool)
    return masks(truth.sample, size) if truth.mask is None else truth.mask


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
        **_certificate(prediction, mask),
    }


def _certificate(prediction: Prediction, mask: np.ndarray) -> dict[str, float]:
    """The columns of a smoothed model alone."""
    abstained = prediction.abstained
    if abstained is None:
        return {}
    return {
        "abstained": float(abstained.mean()),
        "certified_dice": certified_dice(prediction.mask, abstained, mask),
        "certified_accuracy": certified_accuracy(prediction.mask, abstained, mask),
    }
