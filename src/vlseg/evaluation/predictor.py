"""vlseg.load(...).segment(...): a model ready for images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vlseg.data import read_image
from vlseg.evaluation.predict import Prediction, predict_image, ready
from vlseg.models import MODELS, Segmenter, load_model
from vlseg.models.device import resolve_device, set_threads
from vlseg.models.manifest import default_weights
from vlseg.records import InputError, IntensityPolicy, read_record


class Predictor:
    """A loaded model with its threshold and image reading policy."""

    def __init__(
        self,
        model: Segmenter,
        *,
        device: str = "auto",
        precision: str = "fp32",
        threshold: float | None = None,
        intensity: IntensityPolicy | None = None,
    ) -> None:
        self.device = resolve_device(device)
        self.model = ready(model, self.device)
        self.precision = precision
        self.threshold = model.spec.threshold if threshold is None else threshold
        self.intensity = intensity or IntensityPolicy()

    def segment(self, image: str | Path | Image.Image | np.ndarray, prompts: Sequence[str]) -> list[Prediction]:
        """One prediction per prompt at the image's own size; the image is encoded once.

        Args:
            image: a file, a PIL image, or an array (H, W, 3): uint8, or float in [0, 1].
            prompts: sentences; for models that read no text, names of targets.

        Raises:
            InputError: an unreadable image, no prompts, or a target the model does not know.
        """
        predictions = predict_image(
            self.model,
            self._pixels(image),
            prompts,
            device=self.device,
            precision=self.precision,
            threshold=self.threshold,
        )
        return list(predictions)

    def _pixels(self, image: str | Path | Image.Image | np.ndarray) -> np.ndarray:
        if isinstance(image, str | Path):
            return read_image(Path(image), self.intensity)
        array = np.asarray(image.convert("RGB")) if isinstance(image, Image.Image) else image
        if array.ndim != 3 or array.shape[2] != 3:
            raise InputError(f"image: an array must be (H, W, 3), this one is {array.shape}")
        return array.astype(np.float32) / 255 if array.dtype == np.uint8 else array.astype(np.float32)


def load(
    source: str | Path,
    *,
    weights: str | None = None,
    revision: str | None = None,
    device: str = "auto",
    precision: str = "fp32",
    threads: int | None = None,
    threshold: float | None = None,
) -> Predictor:
    """A predictor from a run's folder, a model's folder, a hub id, or a model's name with `weights`.

    Raises:
        InputError: nothing usable there. A model's name without weights is refused: random weights
            predict nothing.
    """
    set_threads(threads)
    folder = Path(source)
    if (folder / "run.json").exists():
        record = read_record(folder / "run.json")
        if not (folder / "model").is_dir():
            raise InputError(
                f"{folder}: the run has no model yet (status {record.status}); finish it with "
                f"vlseg train --resume --out {folder}"
            )
        intensity = IntensityPolicy(**record.intensity)
        model = load_model(str(folder / "model"))
        limit = record.threshold if threshold is None else threshold
        return Predictor(model, device=device, precision=precision, threshold=limit, intensity=intensity)
    name = str(source) if str(source) in MODELS else None
    place = weights or default_weights(str(source)) or str(source)
    if place in MODELS:
        raise InputError(f"model '{source}': give --weights (a folder or hub id); random weights predict nothing")
    model = load_model(place, name=name, revision=revision)
    return Predictor(model, device=device, precision=precision, threshold=threshold)
