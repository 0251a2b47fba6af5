"""The outlines of row i are those of row i, the small image is what the model got."""

import functools
import importlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import filled
from PIL import Image

from vlseg.data import load_image
from vlseg.evaluation import (
    Prediction,
    Query,
    Scene,
    Setting,
    clean_queries,
    corrupted_queries,
    evaluate,
    probe_queries,
    read_truths,
    swapped_queries,
)
from vlseg.evaluation.pictures import small_image
from vlseg.jobs.datasets import Pool, open_pool
from vlseg.metrics import dice_score
from vlseg.phantoms import write_phantoms
from vlseg.records import Sample, SampleScore
from vlseg.records.pictures import Pictures, SmallImage

MakeDataset = Callable[..., Path]
SETTING = Setting("known", "corrected", "run", 0, torch.device("cpu"), 0.5)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("pictures") / "phantoms"
    write_phantoms(folder, level="easy", counts={"train": 1, "val": 2, "test": 4}, size=32, seed=3)
    return open_pool([str(folder)], "class+attributes")


def answer(image: np.ndarray, group: Sequence[Query]) -> Iterable[Prediction]:
    """Another disc for each sentence, none for some."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    for query in group:
        draw = np.random.default_rng(list(f"{query.wording} {query.condition} {query.prompted.sample.id}".encode()))
        y, x, radius = draw.uniform(0, image.shape[0], 3)
        mask = (rows - y) ** 2 + (columns - x) ** 2 < (radius / 3) ** 2 if radius > 6 else np.zeros(rows.shape, bool)
        yield Prediction(mask.astype(np.float32), mask, float(mask.any()))


def probe(pool: Pool) -> list[Query]:
    prompted = pool.split("test")
    val = [replace(query, condition="val") for query in clean_queries(pool.split("val"))]
    return probe_queries(Scene(pool.datasets[0], prompted, read_truths(prompted, pool.infos), 0)) + val


QUERIES: dict[str, Callable[[Pool], list[Query]]] = {
    "clean": lambda pool: clean_queries(pool.split("test")),
    "swapped": lambda pool: swapped_queries(pool.split("test"), read_truths(pool.split("test"), pool.infos)),
    "corrupted": lambda pool: corrupted_queries(pool.split("test")[:3], 0),
    "probe": probe,
}


def scored(queries: list[Query], pool: Pool, give: Any = answer) -> tuple[list[SampleScore], Pictures]:
    pictures = Pictures({}, [])
    return evaluate(give, queries, pool.infos, SETTING, pictures=pictures), pictures


@functools.cache
def drawn(data: str, image: SmallImage) -> np.ndarray:
    return filled(data, image.width, image.height, (32, 32))


@pytest.mark.parametrize("name", QUERIES)
def test_outlines_belong_to_their_rows(name: str, pool: Pool) -> None:
    """Dice of the two outlines is the row's, row by row, whatever a query is held against."""
    rows, pictures = scored(QUERIES[name](pool), pool)
    assert len(pictures.outlines) == len(rows)
    assert {(row.dataset, row.image_id) for row in rows} == set(pictures.images)
    elsewhere = {"mean_image", "other_image"}
    for row, lines in zip(rows, pictures.outlines, strict=True):
        image = pictures.images[row.dataset, row.image_id]
        assert lines.truth is not None  # phantoms have all truths
        truth = drawn(lines.truth, image)
        assert (lines.truth == "") == row.empty_target
        assert (lines.answer is None) == (row.condition in elsewhere)
        if lines.answer is not None:
            shown = drawn(lines.answer, image)
            assert (lines.answer == "") == row.empty_pred
            assert abs(int(shown.sum()) - row.area) <= 2
            assert dice_score(shown, truth) == pytest.approx(row.dice, abs=0.03)
    if name != "clean":
        assert len({row.condition_arguments for row in rows}) > 1
    assert elsewhere <= {row.condition for row in rows} or name != "probe"


@pytest.mark.parametrize("name", ["clean", "probe"])
def test_pictures_change_no_score(name: str, pool: Pool) -> None:
    queries = QUERIES[name](pool)
    assert evaluate(answer, queries, pool.infos, SETTING) == scored(queries, pool)[0]


def test_without_a_truth_there_is_no_outline_of_it(pool: Pool) -> None:
    item = pool.split("test")[0]
    blank = replace(item.sample, mask_paths=())
    queries = clean_queries([replace(item, sample=blank)])
    rows, pictures = scored(queries, pool)
    assert {row.dice for row in rows} == {None}
    assert all(lines.truth is None and lines.answer is not None for lines in pictures.outlines)


def test_a_truth_that_rows_share_is_traced_once(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    import vlseg.evaluation.pictures as module

    traced: list[bytes] = []

    def counted(mask: np.ndarray) -> str:
        traced.append(mask.tobytes())
        return "M0 0z"

    monkeypatch.setattr(module, "outline", counted)
    monkeypatch.setattr(importlib.import_module("vlseg.evaluation.evaluate"), "SCORERS", 1)
    queries = probe(pool)
    scored(queries, pool, _nothing)
    truths = {(one.sample.dataset, one.sample.id) for query in queries for one in query.truths if not one.empty}
    answers = sum(not query.elsewhere for query in queries)
    assert 0 < answers < len(queries)
    assert len(traced) == answers + len(truths)
    assert sum(len(query.truths) for query in queries) > 5 * len(truths)


def decoded(small: SmallImage) -> np.ndarray:
    with Image.open(io.BytesIO(small.content)) as image:
        assert image.format == "WEBP"
        return np.asarray(image.convert("RGB"), dtype=float) / 255


def named(sample: Sample) -> tuple[str, str]:
    return sample.dataset, sample.image_id


@pytest.mark.parametrize(
    ("shape", "size", "grid"),
    [
        ((400, 640), (256, 160), (256, 160)),
        ((640, 400), (160, 256), (160, 256)),
        ((32, 48), (48, 32), (256, 171)),  # never enlarged
        ((2, 1500), (256, 1), (256, 1)),
        ((256, 256), (256, 256), (256, 256)),
    ],
)
def test_small_images(pool: Pool, shape: tuple[int, int], size: tuple[int, int], grid: tuple[int, int]) -> None:
    sample = pool.split("test")[0].sample
    ramp = np.linspace(0, 1, shape[0] * shape[1], dtype=np.float32).reshape(shape)
    small = small_image(sample, np.stack([ramp, 1 - ramp, 0 * ramp + 0.5], axis=-1))
    assert (small.dataset, small.image_id) == named(sample)
    assert (small.width, small.height) == grid
    pixels = decoded(small)
    assert pixels.shape[:2] == size[::-1]
    assert len(small.content) < 10_000
    if min(size) > 10:
        assert pixels[2, 2, 0] < 0.1
        assert pixels[-3, -3, 0] > 0.9


def test_the_picture_is_the_plain_image_under_corruption_and_views(pool: Pool) -> None:
    rows, pictures = scored(QUERIES["corrupted"](pool) + QUERIES["probe"](pool), pool)
    sample = pool.split("test")[0].sample
    image = load_image(sample, pool.infos[sample.dataset])
    assert np.abs(decoded(pictures.images[named(sample)]) - image).mean() < 0.05
    assert len(rows) > len(pictures.images)


def test_turned_and_deep_images_are_shown_as_the_model_gets_them(make_dataset: MakeDataset) -> None:
    """Upright by EXIF, 16 bit by the dataset's policy: outlines lie on the pixels that were scored."""
    root = make_dataset(counts=(1, 1, 2))
    turned, deep = root / "images" / "test0.png", root / "images" / "test1.png"
    with Image.open(turned) as image:
        upright = np.asarray(image)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter to the right
    Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(turned, exif=exif)
    with Image.open(deep) as image:
        plain = np.asarray(image)
    Image.fromarray(plain.astype(np.uint16) * 100 + 1000).save(deep)
    info = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(info | {"intensity": {"kind": "window", "low": 1000, "high": 26500}}))
    pool = open_pool([str(root)], "p1")
    rows, pictures = scored(clean_queries(pool.split("test")), pool, _bright)
    assert len(pictures.images) == 2
    for (_, name), small in pictures.images.items():
        expected = upright if "test0" in name else plain
        assert np.abs(decoded(small)[..., 0] * 255 - expected).mean() < 12
    for row, lines in zip(rows, pictures.outlines, strict=True):
        if row.target == "bright disc":
            assert row.dice is not None
            assert row.dice > 0.9
            inside = drawn(lines.answer or "", pictures.images[row.dataset, row.image_id])
            assert decoded(pictures.images[row.dataset, row.image_id])[inside].mean() > 0.65


def _bright(image: np.ndarray, group: Sequence[Query]) -> Iterable[Prediction]:
    mask = image.mean(axis=-1) > 0.62
    return [Prediction(mask.astype(np.float32), mask, 1.0)] * len(group)


def _nothing(image: np.ndarray, group: Sequence[Query]) -> Iterable[Prediction]:
    mask = np.zeros(image.shape[:2], dtype=bool)
    return [Prediction(mask, mask, 0.0)] * len(group)
