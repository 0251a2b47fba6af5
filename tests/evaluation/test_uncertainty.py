"""The answer on the mirrored image: asked for in mirrored words, or by the mirrored target."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vlseg.evaluation import Prediction, Query, clean_queries, with_flip_uncertainty
from vlseg.prompts import Prompted
from vlseg.records import DatasetInfo, InputError, Sample

INFOS = {"d": DatasetInfo("d", Path(), Path(), symmetries=frozenset({"horizontal"}))}
WIDTH = 8


def queries(*names: str) -> list[Query]:
    samples = [Sample(name, "i", Path("i.png"), (), name, {}, "d", "test") for name in names]
    return clean_queries([Prompted(sample, (f"the {sample.target}",), "p", frozenset()) for sample in samples])


class Sided:
    """Answers with the half of the picture that it is told: by the words, or by the target's name."""

    def __init__(self, reads: bool) -> None:
        self.reads = reads
        self.asked: list[tuple[str, bool]] = []

    def __call__(self, image: np.ndarray, group: Sequence[Query]) -> Iterable[Prediction]:
        for query in group:
            told = query.wording if self.reads else str(query.named.target)
            shown = image if query.view is None else query.view(image)
            self.asked.append((told, bool(shown[0, 0, 0] > shown[0, -1, 0])))
            mask = np.zeros(image.shape[:2], dtype=bool)
            mask[:, : WIDTH // 2] = "left" in told
            mask[:, WIDTH // 2 :] = "right" in told
            yield Prediction(mask.astype(np.float32), mask, 0.5)


def picture() -> np.ndarray:
    image = np.zeros((4, WIDTH, 3), np.float32)
    image[:, 0] = 1
    return image


@pytest.mark.parametrize("reads", [True, False])
def test_a_model_that_finds_the_side_it_is_told_is_sure(reads: bool) -> None:
    known = None if reads else ("left lung", "right lung")
    model = Sided(reads)
    found = list(with_flip_uncertainty(model, INFOS, known)(picture(), queries("left lung", "right lung")))
    assert [one.uncertainty for one in found] == [0, 0]
    assert [one.mask[0, 0] for one in found] == [True, False]
    article = "the " if reads else ""
    assert set(model.asked) == {
        (f"{article}{side} lung", shown) for side in ("left", "right") for shown in (True, False)
    }


def test_a_side_without_a_counterpart_has_no_uncertainty() -> None:
    answer = with_flip_uncertainty(Sided(False), INFOS, ("left lung", "heart"))
    assert [one.uncertainty for one in answer(picture(), queries("left lung", "heart"))] == [None, 0]
    reading = with_flip_uncertainty(Sided(True), INFOS)
    assert [one.uncertainty for one in reading(picture(), queries("left ventricle", "left lung"))] == [None, 0]


def test_the_mirrored_image_is_a_view_so_that_no_kept_feature_stands_for_it() -> None:
    """Features are kept by image: the answer on the mirrored one must not be made of those of the image as it is."""
    views = []

    def answer(image: np.ndarray, group: Sequence[Query]) -> Iterable[Prediction]:
        assert image[0, 0, 0] == 1  # always the image as it is
        views.append([query.view for query in group])
        mask = np.zeros(image.shape[:2], dtype=bool)
        return [Prediction(mask.astype(np.float32), mask, 0.5) for _ in group]

    def darker(image: np.ndarray) -> np.ndarray:
        return image * np.float32(0.5)

    group = queries("left lung", "right lung")
    group = [*group, *(replace(query, view=darker) for query in group)]
    list(with_flip_uncertainty(answer, INFOS)(picture(), group))
    (turned,) = [one for one in views if one[0] is not None]
    assert turned[0] is turned[1] is not turned[2] is turned[3]  # encoded once each
    for view, level in ((turned[0], 1.0), (turned[2], 0.5)):
        assert view is not None
        assert view(picture())[0, -1, 0] == level
        assert view(picture())[0, 0, 0] == 0


def test_a_dataset_that_cannot_be_mirrored_is_refused() -> None:
    with pytest.raises(InputError, match="symmetries"):
        with_flip_uncertainty(Sided(True), {"d": DatasetInfo("d", Path(), Path())})
