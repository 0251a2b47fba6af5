"""Masks for files: one model load, each image encoded once, each prompt encoded once."""

import hashlib
import math
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vlseg.data import made_ahead
from vlseg.evaluation.familiarity import UNKNOWN
from vlseg.evaluation.image_files import FoundImages
from vlseg.evaluation.judging import state_of
from vlseg.evaluation.mask_names import Key, Names, PredictedMask, key_of
from vlseg.evaluation.overlays import overlay
from vlseg.evaluation.predict import Prediction
from vlseg.evaluation.predictor import PROMPTS_KEPT, Predictor
from vlseg.records import InputError, replacing

WRITERS = 2
"""Threads that write masks while the next image is read and answered."""


@dataclass(frozen=True)
class Wanted:
    """A mask of an image.

    `name` is what its file is called before the prompt, below the folder; `threshold` acts on probabilities, None = the
    predictor's.
    """

    prompt: str
    name: str
    threshold: float | None = None


@dataclass(frozen=True)
class Ask:
    """What is wanted of an image, each prompt once."""

    image: Path
    wanted: tuple[Wanted, ...]


@dataclass(frozen=True)
class Written:
    """What asks gave: the masks that are there now, one line for each failure, and how many were there before."""

    masks: list[PredictedMask]
    failures: list[str]
    kept: int = 0


@dataclass(frozen=True)
class _Read:
    """An image for what is still wanted of it; `pixels` None where that is nothing, an error where it is unreadable."""

    wanted: tuple[Wanted, ...]
    there: tuple[PredictedMask, ...]
    pixels: np.ndarray | InputError | None
    digest: str


def predict_files(
    predictor: Predictor,
    found: FoundImages,
    prompts: Sequence[str],
    out: Path,
    *,
    on_image: Callable[[], None] = lambda: None,
) -> tuple[list[PredictedMask], list[str]]:
    """Write masks (0/255, the image's size), overlays and predictions.json into `out`.

    An unreadable image among several does not stop the others. Predictions that are in `out` already stay, but for
    those of the same images and prompts, which are replaced.

    Returns:
        The written masks, and one line for each image that could not be read or answer that is not a number.

    Raises:
        InputError: no image could be read, or `out` cannot be written or holds predictions of another model.
    """
    unique = list(dict.fromkeys(prompts))
    asks = [Ask(path, tuple(Wanted(prompt, found.name(path)) for prompt in unique)) for path in found.images]
    written = _Writing(predictor, asks, Names(out, predictor)).run(on_image)
    return written.masks, written.failures


def predict_missing(
    predictor: Predictor, asks: Sequence[Ask], out: Path, *, on_image: Callable[[], None] = lambda: None
) -> Written:
    """As `predict_files`, of images with prompts of their own, for the masks that are not in `out` already.

    A mask is there if it and its overlay are, of the same bytes of the image, the same weights and settings of the
    model, threshold and precision; else it is made anew, under the same name.

    Args:
        predictor: answers.
        asks: each image once.
        out: the folder.
        on_image: called after each image.

    Raises:
        InputError: see `predict_files`; masks of other images or prompts than asked for are of another model.
    """
    keys = {key_of(ask.image, wanted.prompt) for ask in asks for wanted in ask.wanted}
    return _Writing(predictor, asks, Names(out, predictor, keys), missing_only=True).run(on_image)


class _Writing:
    """One pass over asks."""

    def __init__(self, predictor: Predictor, asks: Sequence[Ask], names: Names, *, missing_only: bool = False) -> None:
        self.predictor, self.asks, self.names = predictor, asks, names
        self.missing_only = missing_only
        self.failures: list[str] = []
        self.kept = 0
        self._masks: dict[Key, PredictedMask] = {}
        self._waiting: deque[Future[PredictedMask]] = deque()

    def run(self, on_image: Callable[[], None]) -> Written:
        """All asks; what is written is listed also when this is interrupted."""
        still = Counter(wanted.prompt for ask in self.asks for wanted in ask.wanted)
        self.predictor.prompts_kept = max(PROMPTS_KEPT, len(still))
        try:
            with ThreadPoolExecutor(WRITERS, thread_name_prefix="write") as writers:
                for ask, read in zip(self.asks, made_ahead(self._read, len(self.asks), 1), strict=True):
                    self.kept += len(read.there)
                    self._masks |= {key_of(mask.image, mask.prompt): mask for mask in read.there}
                    if isinstance(read.pixels, InputError):
                        self.failures.append(str(read.pixels))
                    elif read.pixels is not None:
                        self._answer(ask.image, read, read.pixels, writers)
                    still.subtract(wanted.prompt for wanted in ask.wanted)
                    self.predictor.forget([wanted.prompt for wanted in ask.wanted if not still[wanted.prompt]])
                    on_image()
                while self._waiting:
                    self._note_first()
        finally:
            self.predictor.prompts_kept = PROMPTS_KEPT
            try:
                for job in self._waiting:
                    if job.done() and not job.cancelled() and job.exception() is None:
                        self._note(job)
            finally:
                self.names.write()
        keys = (key_of(ask.image, wanted.prompt) for ask in self.asks for wanted in ask.wanted)
        masks = [self._masks[key] for key in keys if key in self._masks]
        if not masks:
            raise InputError(self.failures[0])
        return Written(masks, self.failures, self.kept)

    def _read(self, index: int) -> _Read:
        ask = self.asks[index]
        try:
            with ask.image.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        except OSError:
            digest = ""  # reading the pixels says why
        there = [self._there(ask.image, one, digest) if self.missing_only else None for one in ask.wanted]
        wanted = tuple(one for one, mask in zip(ask.wanted, there, strict=True) if mask is None)
        masks = tuple(mask for mask in there if mask is not None)
        try:
            return _Read(wanted, masks, self.predictor.read(ask.image) if wanted else None, digest)
        except InputError as error:
            return _Read(wanted, masks, error, digest)

    def _there(self, image: Path, wanted: Wanted, digest: str) -> PredictedMask | None:
        """The mask that need not be made."""
        row = self.names.there(key_of(image, wanted.prompt))
        own = {
            "image_digest": digest,
            "model": self.predictor.model.spec.name,
            "digest": self.predictor.digest,
            "threshold": self._threshold(wanted),
            "precision": self.predictor.precision,
        }
        names = {field.name for field in fields(PredictedMask)}
        if row is None or not row.keys() >= names or any(row[name] != value for name, value in own.items()):
            return None
        lies = {"mask": str(self.names.out / row["file"]), "overlay": str(self.names.out / "overlays" / row["file"])}
        return PredictedMask(**{**{name: row[name] for name in names}, **lies, "image": str(image)})

    def _threshold(self, wanted: Wanted) -> float:
        return self.predictor.threshold if wanted.threshold is None else wanted.threshold

    def _answer(self, image: Path, read: _Read, pixels: np.ndarray, writers: ThreadPoolExecutor) -> None:
        predictions = self.predictor.segment(pixels, [wanted.prompt for wanted in read.wanted])
        verdict = self.predictor.judge(pixels)
        familiar = dict(UNKNOWN) if verdict is None else verdict.to_json()
        for wanted, prediction in zip(read.wanted, predictions, strict=True):
            number = not np.isnan(prediction.probability).any()
            if not number:
                self.failures.append(
                    f'{image}: the answer to "{wanted.prompt}" is not a number; do the weights hold NaN?'
                )
            about = {
                "image": str(image),
                "prompt": wanted.prompt,
                "file": f"{self.names.give(image, wanted.name, wanted.prompt)}.png",
                "model": self.predictor.model.spec.name,
                "digest": self.predictor.digest,
                "threshold": self._threshold(wanted),
                "precision": self.predictor.precision,
                "familiar": familiar,
                "unknown_words": self.predictor.vocabulary.unknown(wanted.prompt) if self.predictor.vocabulary else [],
                "image_digest": read.digest if number else None,
            }
            self._waiting.append(writers.submit(_write, self.names.out, pixels, prediction, about))
            if len(self._waiting) > 2 * WRITERS:
                self._note_first()

    def _note_first(self) -> None:
        """Of those that wait; it leaves them only when it is noted, as Ctrl-C may come in between."""
        self._note(self._waiting[0])
        self._waiting.popleft()

    def _note(self, job: Future[PredictedMask]) -> None:
        mask = job.result()
        self.names.done(mask)
        self._masks[key_of(mask.image, mask.prompt)] = mask


def _write(out: Path, pixels: np.ndarray, prediction: Prediction, about: dict[str, Any]) -> PredictedMask:
    """The mask and the picture of one answer."""
    mask = prediction.probability > about["threshold"]
    mask_path, overlay_path = out / about["file"], out / "overlays" / about["file"]
    with replacing(mask_path) as temporary:
        Image.fromarray(mask.astype("uint8") * 255).save(temporary, format="PNG")
    with replacing(overlay_path) as temporary:
        overlay(pixels, mask).save(temporary, format="PNG")
    area = int(mask.sum())
    presence, finite = prediction.presence, bool(np.isfinite(prediction.probability).all())
    return PredictedMask(
        mask=str(mask_path),
        overlay=str(overlay_path),
        area_px=area,
        present=area > 0,
        presence=presence if presence is not None and math.isfinite(presence) else None,
        height=mask.shape[0],
        width=mask.shape[1],
        state=state_of(area, about["familiar"]["state"], finite=finite),
        **about,
    )
