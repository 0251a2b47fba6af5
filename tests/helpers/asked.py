"""Models whose use of words is known, asked about made-up images; rows by the real metric functions.

An image holds K discs that do not overlap; the words for one are its place. A model is a function of the image's masks
and the number of the one that the words name.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from vlseg.metrics import dice_score, iou_score
from vlseg.records import EvaluationSpec, RunRecord, SampleScore
from vlseg.reports.load import EvaluationOnDisk, RunOnDisk

Masks = Sequence[np.ndarray]
Model = Callable[[Masks, int, np.random.Generator], np.ndarray]
SIDE = 32

MODELS: dict[str, Model] = {
    "oracle": lambda masks, named, rng: masks[named],
    "constant": lambda masks, named, rng: masks[0],
    "other": lambda masks, named, rng: masks[(named + 1) % len(masks)],
    "everything": lambda masks, named, rng: np.ones_like(masks[0]),
    "nothing": lambda masks, named, rng: np.zeros_like(masks[0]),
    "random": lambda masks, named, rng: masks[int(rng.integers(len(masks)))],
    "nearly": lambda masks, named, rng: masks[named] if rng.random() < 0.95 else masks[(named + 1) % len(masks)],
    "hardly": lambda masks, named, rng: masks[named] if rng.random() < 0.55 else masks[(named + 1) % len(masks)],
    "shy": lambda masks, named, rng: masks[named] if rng.random() < 0.4 else np.zeros_like(masks[0]),
}


def discs(number: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Up to four discs of different sizes, one a quarter of the image."""
    yy, xx = np.mgrid[:SIDE, :SIDE]
    centres = [(8, 8), (8, 24), (24, 8), (24, 24)][:number]
    return [np.hypot(yy - y, xx - x) < rng.uniform(3, 7) for y, x in centres]


def score_row(answer: np.ndarray, truth: np.ndarray, **fields: Any) -> SampleScore:
    """A row with the scores of the answer."""
    dice = dice_score(answer, truth)
    plain: dict[str, Any] = {
        "dataset": "made", "split": "test", "sample_id": "s", "image_id": "i", "group": None, "site": None,
        "target": "disc", "named_target": "disc", "prompt": "place", "wording": "disc", "prompt_sources": "class,user",
        "deployable": True, "condition": "clean", "condition_arguments": "{}", "model": "m", "run_id": "m", "seed": 0,
        "protocol": "corrected", "threshold": 0.5, "precision": "fp32", "dice": dice, "iou": iou_score(answer, truth),
        "hd95": None, "hd": None, "nsd": None, "nsd_tolerance": 2.0, "assd": None, "distance_unit": "px",
        "spacing": None, "image_diagonal": 45.0, "presence_score": None, "area": int(answer.sum()),
        "area_error": int(answer.sum()) - int(truth.sum()), "empty_target": not truth.any(),
        "empty_pred": not answer.any(),
    }  # fmt: skip
    return SampleScore(**{**plain, **fields})


def ask(model: Model, condition: str, *, images: int = 60, things: int = 2, seed: int = 0) -> list[SampleScore]:
    """The rows of one condition: "clean", "selection" or "swapped" (with the next one's words)."""
    rows = []
    for image in range(images):
        masks = discs(things, np.random.default_rng([seed, image]))
        rng = np.random.default_rng([seed, image, len(condition)])
        for own in range(things):
            named = (own + 1) % things if condition == "swapped" else own
            answer = model(masks, named, rng)
            said = {"wording": f"disc at place {named}", "condition": condition, "image_id": f"i{image}"}
            said["sample_id"] = f"s{image}-{own}"
            truths = {
                "clean": [(own, {})],
                "selection": [
                    (one, {"asked": f"{image}-{own}", "held_against": f"{image}-{one}"}) for one in range(things)
                ],
                "swapped": [(own, {"against": "original"}), (named, {"against": "named"})],
            }[condition]
            rows += [
                score_row(answer, masks[one], condition_arguments=json.dumps(told), **said) for one, told in truths
            ]
    return rows


def spec(**changes: Any) -> EvaluationSpec:
    """Of an evaluation on the images."""
    plain: dict[str, Any] = {
        "id": "x", "model": "m", "run_id": "m", "dataset": "made", "data_fingerprint": "f",
        "data_fingerprints": {"made": "f"}, "split": "test", "prompt": "place", "prompt_sources": ["class", "user"],
        "deployable": True, "protocol": "corrected",
    }  # fmt: skip
    return EvaluationSpec(**{**plain, **changes})


def evaluated(rows: list[SampleScore], **changes: Any) -> EvaluationOnDisk:
    """As it would be read from disk."""
    return EvaluationOnDisk(Path(changes.get("condition", "clean")), spec(**changes), rows)


def a_run(name: str, *evaluations: EvaluationOnDisk, status: str = "done", **config: Any) -> RunOnDisk:
    """A run that was trained on the images."""
    record = RunRecord(
        id=name, status=status, config={"model": "m", "data": ["made"], **config}, protocol="corrected", device="cpu",
        precision="fp32", threads=1, seeds={"run": 0}, started=datetime(2026, 1, 1, tzinfo=UTC), dataset="made",
        datasets=["made"], data_fingerprint="f", prompt=evaluations[0].spec.prompt if evaluations else "place",
    )  # type: ignore[arg-type]  # fmt: skip
    return RunOnDisk(Path(name), record, [], list(evaluations))


def blurred(rows: list[SampleScore], loss: float, seed: int = 0) -> list[SampleScore]:
    """The same with Dice lower by about so much."""
    rng = np.random.default_rng(seed)
    return [replace(row, dice=float(np.clip(row.dice - loss * rng.uniform(0.5, 1.5), 0, 1))) for row in rows]  # type: ignore[operator]
