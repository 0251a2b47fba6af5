"""How sure an answer is: agreement with the answer on the mirrored image."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from vlseg.evaluation.answers import Answer
from vlseg.evaluation.predict import Prediction
from vlseg.evaluation.query import Query
from vlseg.metrics import dice_score
from vlseg.prompts import mirrored
from vlseg.records import DatasetInfo, InputError


def with_flip_uncertainty(answer: Answer, infos: Mapping[str, DatasetInfo]) -> Answer:
    """The answers with `uncertainty` = 1 - Dice between the mask and that of the mirrored image, mirrored back.

    Words of place change sides with the image. A prompt whose words have no known mirrored form gets None.

    Raises:
        InputError: the dataset allows no mirroring from left to right (chest X-rays, echocardiograms).
    """
    unfit = [info.name for info in infos.values() if "horizontal" not in info.symmetries]
    if unfit:
        raise InputError(
            f"--uncertainty flip: {unfit[0]} does not list 'horizontal' among the symmetries of its dataset.json"
        )

    def answer_twice(image: np.ndarray, group: Sequence[Query]) -> Iterable[Prediction]:
        texts = [mirrored(query.wording, "horizontal") for query in group]
        turned = np.ascontiguousarray(image[:, ::-1])
        flipped = [replace(query, wording=text or query.wording) for query, text in zip(group, texts, strict=True)]
        for first, second, text in zip(answer(image, group), answer(turned, flipped), texts, strict=True):
            if text is None:
                yield first
            else:
                back = np.ascontiguousarray(second.mask[:, ::-1])
                yield replace(first, uncertainty=1.0 - dice_score(first.mask, back))

    return answer_twice
