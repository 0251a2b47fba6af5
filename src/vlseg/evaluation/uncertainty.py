"""How sure an answer is: agreement with the answer on the mirrored image."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from vlseg.evaluation.answers import Answer
from vlseg.evaluation.predict import Prediction
from vlseg.evaluation.query import Query, View
from vlseg.metrics import dice_score
from vlseg.prompts import mirrored, mirrored_name
from vlseg.records import DatasetInfo, InputError


def with_flip_uncertainty(
    answer: Answer, infos: Mapping[str, DatasetInfo], known: Collection[str] | None = None
) -> Answer:
    """The answers with `uncertainty` = 1 - Dice between the mask and that of the mirrored image, mirrored back.

    Words of place change sides with the image. A prompt whose words have no known mirrored form gets None.

    Args:
        answer: of the model.
        infos: of the datasets.
        known: the targets of a model that is told a target's name instead of reading, None for one that reads. The
            left lung becomes the right lung where the model knows one; else the uncertainty is None.

    Raises:
        InputError: the dataset allows no mirroring from left to right (chest X-rays, echocardiograms).
    """
    unfit = [info.name for info in infos.values() if "horizontal" not in info.symmetries]
    if unfit:
        raise InputError(
            f"--uncertainty flip: {unfit[0]} does not list 'horizontal' among the symmetries of its dataset.json"
        )

    def answer_twice(image: np.ndarray, group: Sequence[Query]) -> Iterable[Prediction]:
        views: dict[int, View] = {}
        turned = [_turned(query, views, known) for query in group]
        asked = [query for query in turned if query is not None]
        second = iter(answer(image, asked) if asked else ())
        for first, query in zip(answer(image, group), turned, strict=True):
            if query is None:
                yield first
            else:
                back = np.ascontiguousarray(next(second).mask[:, ::-1])
                yield replace(first, uncertainty=1.0 - dice_score(first.mask, back))

    return answer_twice


def _turned(query: Query, views: dict[int, View], known: Collection[str] | None) -> Query | None:
    """The query on the mirrored image, as a view of it: features kept of the image are not those of its mirror image.

    `views` holds those made so far, one for each that there was: neighbours with one view are encoded once.
    """
    view = views.setdefault(id(query.view), _mirror(query.view))
    if known is None:
        text = mirrored(query.wording, "horizontal")
        return None if text is None else replace(query, wording=text, view=view)
    target = mirrored_name(query.named.target or "", "horizontal", known)
    return None if target is None else replace(query, named=replace(query.named, target=target), view=view)


def _mirror(view: View | None) -> View:
    def mirror(image: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray((image if view is None else view(image))[:, ::-1])

    return mirror
