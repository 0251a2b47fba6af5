"""Small copies of the images that were scored, and the outlines of truth and answer of every row."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlseg.evaluation.outlines import grid_size, outline
from vlseg.evaluation.predict import Prediction
from vlseg.evaluation.query import Query, Truth
from vlseg.evaluation.truths import MaskReader
from vlseg.records import Sample
from vlseg.records.pictures import GRID, Outline, SmallImage

QUALITY = 75
"""Of WebP, in percent: below it fine vessels of a fundus are lost, 90 takes twice the bytes."""
EFFORT = 2
"""Of WebP, 0 to 6: files are 4 % larger than with the usual 4, in less than half of the time."""


def small_image(sample: Sample, image: NDArray[np.float32]) -> SmallImage:
    """A copy of a sample's image whose longer side is GRID pixels at most.

    Args:
        sample: names dataset and image.
        image: (H, W, 3) in [0, 1], as the model gets it: upright, the intensities by the dataset's policy.
    """
    width, height = grid_size(image.shape)
    picture = Image.fromarray(np.round(np.clip(image, 0, 1) * 255).astype(np.uint8))
    if max(picture.size) > GRID:
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, format="WEBP", quality=QUALITY, method=EFFORT)
    return SmallImage(sample.dataset, sample.image_id, width, height, file.getvalue())


class Outliner:
    """Outlines of the rows of answers; a truth that several rows share is traced once. Threads may share it."""

    def __init__(self, masks: MaskReader) -> None:
        self._masks = masks
        self._truths: dict[tuple[str, str], str | None] = {}

    def __call__(self, query: Query, prediction: Prediction) -> Sequence[Outline]:
        """One for each truth that the answer is held against, in order.

        The answer's is None where another image was shown than the sample's (`Query.elsewhere`); a corrupted image is
        the sample's.
        """
        size = prediction.mask.shape
        answer = None if query.elsewhere else outline(prediction.mask)
        return [Outline(self._truth(truth, size), answer) for truth in query.truths]

    def _truth(self, truth: Truth, size: tuple[int, ...]) -> str | None:
        if truth.empty:
            return ""
        if truth.mask is not None:
            return outline(truth.mask)
        sample = truth.sample
        key = (sample.dataset, sample.id)
        if key not in self._truths:
            mask = self._masks(sample, size)
            self._truths[key] = None if mask is None else outline(mask)
        return self._truths[key]
