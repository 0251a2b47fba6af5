"""vlseg.load(...).segment(...): a model ready for images."""

import hashlib
import io
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vlseg.data import unit_range
from vlseg.data.images import decode_pixels, read_pixels
from vlseg.evaluation.familiarity import Familiarity, Verdict
from vlseg.evaluation.judging import Judging, read_judging
from vlseg.evaluation.predict import (
    Prediction,
    answer_prompts,
    check_prompts,
    encode_images,
    ready,
    recall_prompts,
    recalls_prompts,
)
from vlseg.evaluation.presence import PresenceCalibration
from vlseg.models import ImageFeatures, Inputs, PromptFeatures, Rows, Segmenter, known_models, load_model
from vlseg.models.device import device_for, resolve_device, set_threads, slow_precision
from vlseg.models.exported.kept import check_engine, on_engine
from vlseg.models.exported.segmenter import Exported, is_exported
from vlseg.models.hub import locate
from vlseg.models.manifest import default_weights, whence
from vlseg.models.registry import model_folder, saved_model
from vlseg.models.run_settings import kept_settings
from vlseg.models.tensors import model_digest
from vlseg.models.undrawn import Undrawn
from vlseg.prompts import Vocabulary
from vlseg.records import InputError, IntensityPolicy, finished_run

PROMPTS_KEPT = 512
DEFAULT_INTENSITY = IntensityPolicy()
NOTHING_STORED = Judging()


class Predictor:
    """A loaded model with its threshold and image reading policy.

    `intensity` None: not known which, so that images above 8 bit are refused. `judging`: what says whether an image is
    like those of the training, makes the presence score a probability, and knows the training's words.
    It keeps the last image, the digest of its file, its features, and those of some hundred prompts in memory, nothing
    else.
    """

    def __init__(
        self,
        model: Segmenter,
        *,
        device: str = "auto",
        precision: str = "fp32",
        threshold: float | None = None,
        intensity: IntensityPolicy | None = DEFAULT_INTENSITY,
        judging: Judging = NOTHING_STORED,
    ) -> None:
        self.device = device_for(model.spec.engine, device, precision)
        self.model = ready(model, self.device)
        self.precision = precision
        self.threshold = model.spec.threshold if threshold is None else threshold
        self.intensity = intensity
        self.familiarity: Familiarity | None = judging.familiarity
        self.presence: PresenceCalibration | None = judging.presence
        self.vocabulary: Vocabulary | None = judging.vocabulary
        self._last: tuple[np.ndarray, ImageFeatures, Inputs] | None = None
        self._file: tuple[bytes, np.ndarray] | None = None
        self.prompts_kept = PROMPTS_KEPT
        self._known: dict[str, Rows] = {}

    @cached_property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of the model's specification and of all its weights and buffers."""
        return model_digest(self.model)

    def segment(self, image: str | Path | Image.Image | np.ndarray, prompts: Sequence[str]) -> list[Prediction]:
        """One prediction per prompt at the image's own size; the image is encoded once.

        Args:
            image: a file, a PIL image, or an array (H, W, 3): uint8, or float in [0, 1].
            prompts: sentences; for models that read no text, names of targets.

        Raises:
            InputError: an unreadable image, no prompts, or a target the model does not know.
        """
        if not prompts:
            raise InputError("prompt: give at least one")
        check_prompts(self.model, prompts)
        features, inputs = self._image_features(self._pixels(image))
        predictions = answer_prompts(
            self.model,
            features,
            inputs,
            prompts,
            device=self.device,
            precision=self.precision,
            threshold=self.threshold,
            encode=self._prompt_features if recalls_prompts(self.model) else None,
        )
        return list(predictions)

    def judge(self, image: str | Path | Image.Image | np.ndarray) -> Verdict | None:
        """Whether the image is like those that the model was trained on; None where nothing is stored to judge by.

        Asked before or after `segment` of the same image, which is encoded once for both.

        Raises:
            InputError: an unreadable image, or what is stored is another model's.
        """
        if self.familiarity is None:
            return None
        pixels = self._pixels(image)
        return self.familiarity.judge(pixels, self._image_features(pixels)[0])

    def read(self, path: Path) -> np.ndarray:
        """An image file as (H, W, 3) float32 in [0, 1], above 8 bit as the run's training data were read.

        Raises:
            InputError: unreadable; or above 8 bit, and the run's data sets were not read alike.
        """
        return self._as_trained(read_pixels(path, self.intensity or IntensityPolicy()), path)

    def _as_trained(self, pixels: np.ndarray, path: Path) -> np.ndarray:
        if self.intensity is None and pixels.dtype != np.uint8:
            raise InputError(
                f"{path}: has more than 8 bits, and the sets that this run was trained on read those differently "
                "(intensities in run.json); convert it to 8 bits as its set is read, or score it with its set by "
                "vlseg evaluate"
            )
        return unit_range(pixels)

    def _image_features(self, pixels: np.ndarray) -> tuple[ImageFeatures, Inputs]:
        """Of the image, or of the one before where it is the same: another prompt on it costs text and decoder only."""
        if self._last is None or not np.array_equal(self._last[0], pixels):
            features, inputs = encode_images(self.model, [pixels], device=self.device, precision=self.precision)
            # A copy: the caller's array may change.
            self._last = (pixels.copy(), features, inputs)
        return self._last[1], self._last[2]

    def _prompt_features(self, prompts: Sequence[str]) -> PromptFeatures:
        """Of each prompt, those of the last few hundred from memory."""
        rows = recall_prompts(self.model, prompts, self._known, self.device)
        while len(self._known) > self.prompts_kept:
            self._known.pop(next(iter(self._known)))
        return rows

    def forget(self, prompts: Sequence[str]) -> None:
        """Drop the features of prompts that will not be asked again."""
        for prompt in prompts:
            self._known.pop(prompt, None)

    def _pixels(self, image: str | Path | Image.Image | np.ndarray) -> np.ndarray:
        if isinstance(image, str | Path):
            return self._file_pixels(Path(image))
        array = np.asarray(image.convert("RGB")) if isinstance(image, Image.Image) else image
        if array.ndim != 3 or array.shape[2] != 3:
            raise InputError(f"image: an array must be (H, W, 3), this one is {array.shape}")
        return unit_range(array)

    def _file_pixels(self, path: Path) -> np.ndarray:
        """Of the file before where its bytes are the same: to decode them takes as long as the answer to a prompt."""
        try:
            content = path.read_bytes()
        except OSError:
            return self.read(path)  # which says what is wrong
        digest = hashlib.sha256(content).digest()  # not the bytes, in whose tags may stand who it is
        if self._file is None or self._file[0] != digest:
            pixels = decode_pixels(io.BytesIO(content), str(path), self.intensity or IntensityPolicy())
            self._file = digest, self._as_trained(pixels, path)
        return self._file[1]


def check_threshold(threshold: float | None) -> None:
    """Raises: InputError: outside of [0, 1], or not a number."""
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"threshold: {threshold} is no probability; give a number from 0 to 1")


def load(
    source: str | Path,
    *,
    weights: str | None = None,
    revision: str | None = None,
    device: str = "auto",
    precision: str = "fp32",
    threads: int | None = None,
    threshold: float | None = None,
    protocol: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    engine: str | None = None,
) -> Predictor:
    """A predictor from a run's folder, a model's folder, a hub id, or a model's name with `weights`.

    `protocol` and `arguments` are those of `load_model`. `engine`: "torch", or "onnx" or "openvino", for which a model
    that is not exported is exported once and kept (`vlseg.models.exported.kept`); None = the model's own.

    Raises:
        InputError: nothing usable there. A model's name without weights, and weights that leave a part random, are
            refused: they predict nothing.
    """
    check_threshold(threshold)
    check_engine(engine, device, precision)
    set_threads(threads)
    if slow := slow_precision(precision, resolve_device(device)):
        print(slow, file=sys.stderr)
    folder = Path(source)
    if (folder / "run.json").exists():
        record = finished_run(folder)
        intensity = None if record.intensities else IntensityPolicy(**record.intensity)
        with Undrawn():
            loaded = load_model(str(folder / "model"), protocol=protocol, arguments=arguments)
        model = on_engine(loaded, engine)
        limit = record.threshold if threshold is None else threshold
        judging = _stored(folder / "model", model)
        return Predictor(
            model, device=device, precision=precision, threshold=limit, intensity=intensity, judging=judging
        )
    names = known_models()
    name = str(source) if str(source) in names else None
    place = weights or default_weights(str(source)) or str(source)
    if place in names:
        raise InputError(f"model '{source}': random weights predict nothing; {whence(place)}")
    if engine is not None and is_exported(model_folder(locate(place, revision))):
        arguments = {**(arguments or {}), "engine": engine}
    # Files of others may fill a part alone; what they leave as drawn is told below.
    with Undrawn() if saved_model(Path(place)) else nullcontext():
        model = load_model(place, name=name, revision=revision, protocol=protocol, arguments=arguments)
    random_part = getattr(model, "random_part", None)
    if random_part:
        raise InputError(
            f"{place}: leaves the {random_part} of '{source}' random, which predicts nothing; train it first"
        )
    found = model_folder(locate(place, revision))
    kept, intensity = kept_settings(found), DEFAULT_INTENSITY
    if isinstance(model, Exported):
        intensity = model.intensity
    elif kept is not None:
        threshold, intensity = kept.threshold if threshold is None else threshold, kept.intensity
    judging = _stored(found, model)
    return Predictor(
        on_engine(model, engine),
        device=device,
        precision=precision,
        threshold=threshold,
        intensity=intensity,
        judging=judging,
    )


def _stored(folder: Path, model: Segmenter) -> Judging:
    """What is stored in the model's folder; what does not fit how the model is used is named on stderr."""
    judging = read_judging(folder, model.spec)
    for line in judging.missing:
        print(line, file=sys.stderr)
    return judging
