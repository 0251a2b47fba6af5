"""What a server answers is what the predictor answers."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from served import pixels, predictor, run
from tiny_models import NAMES

from vlseg.evaluation import Predictor
from vlseg.serve.engine import PROMPT_BYTES, Encoded, Engine, Known, _Place, hundredths
from vlseg.serve.limits import Refused

ONE = ThreadPoolExecutor(1)
PROMPTS = {True: ["polyp", "a small dark cyst", ""], False: ["dark cyst", "bright nodule", "dark cyst"]}


def asked_of(model: Predictor) -> list[str]:
    return PROMPTS[model.model.spec.uses_text]


@pytest.mark.parametrize("name", NAMES)
def test_a_request_alone_gets_the_predictors_bits(name: str) -> None:
    model = predictor(name)
    prompts = asked_of(model)
    engine = Engine([(model, ONE)])

    async def asked() -> list:
        encoded = await engine.encode(pixels())
        return await engine.answer(encoded, prompts, probability=True)

    found = run(asked())
    wanted = predictor(name).segment(pixels(), prompts)
    for one, want in zip(found, wanted, strict=True):
        assert np.array_equal(one.mask, want.mask)
        assert np.array_equal(one.hundredths, hundredths(want.probability))
        assert one.presence == want.presence


@pytest.mark.parametrize("name", ["clipseg-tiny", "clipseg", "unet", "unet-target", "lvit", "cris"])
def test_in_a_batch_answers_differ_by_rounding_alone(name: str) -> None:
    """Images of several sizes, each with prompts of its own, encoded and decoded together."""
    model, seen = predictor(name), []
    engine = Engine([(model, ONE)], crowd=lambda: 99, seen=lambda step, count: seen.append((step, count)))
    images = [pixels(seed, (36 + 5 * seed, 50 - 3 * seed)) for seed in range(5)]
    prompts = asked_of(model)

    async def asked(seed: int, image: np.ndarray) -> list:
        encoded = await engine.encode(image)
        return await engine.answer(encoded, prompts[: 1 + seed % 3], probability=True)

    async def all_asked() -> list:
        return await asyncio.gather(*(asked(seed, image) for seed, image in enumerate(images)))

    found = run(all_asked())
    assert ("encode", 5) in seen
    assert max(count for step, count in seen if step == "decode") > 1
    alone = predictor(name)
    for seed, (image, answers) in enumerate(zip(images, found, strict=True)):
        for one, want in zip(answers, alone.segment(image, prompts[: 1 + seed % 3]), strict=True):
            assert one.mask.shape == image.shape[:2]
            unsure = np.abs(want.probability - want_threshold(alone)) < 1e-4
            assert np.array_equal(one.mask[~unsure], want.mask[~unsure])
            assert np.abs(one.hundredths.astype(int) - hundredths(want.probability)).max() <= 1
            assert one.presence == pytest.approx(want.presence, abs=1e-4)


def want_threshold(model: Predictor) -> float:
    return model.threshold


def test_more_prompts_than_are_decoded_at_once() -> None:
    prompts = [f"thing {number}" for number in range(37)]
    engine = Engine([(predictor(), ONE)])

    async def asked() -> list:
        return await engine.answer(await engine.encode(pixels()), prompts)

    wanted = predictor().segment(pixels(), prompts)
    for one, want in zip(run(asked()), wanted, strict=True):
        assert np.array_equal(one.mask, want.mask)
        assert one.hundredths is None


def test_each_request_has_its_own_threshold() -> None:
    engine = Engine([(predictor(), ONE)], crowd=lambda: 9)
    limits = [0.0, 0.4, 0.5, 0.9]

    async def asked() -> list:
        encoded = await engine.encode(pixels())
        return await asyncio.gather(*(engine.answer(encoded, ["polyp"], threshold=limit) for limit in limits))

    (want,) = predictor().segment(pixels(), ["polyp"])
    areas = [int(found[0].mask.sum()) for found in run(asked())]
    assert areas == [int((want.probability > limit).sum()) for limit in limits]
    assert len(set(areas)) > 2


def test_a_session_remembers_its_prompts_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    model = predictor()
    engine, encoded_prompts = Engine([(model, ONE)]), []
    tokenize = model.model.tokenize
    monkeypatch.setattr(model.model, "tokenize", lambda texts: encoded_prompts.append(list(texts)) or tokenize(texts))
    mine: Known = {}
    theirs: Known = {}

    async def asked() -> None:
        encoded = await engine.encode(pixels())
        await engine.answer(encoded, ["polyp", "cyst"], known=mine)
        await engine.answer(encoded, ["cyst", "nodule"], known=mine)
        await engine.answer(encoded, ["cyst"], known=theirs)

    run(asked())
    assert encoded_prompts == [["polyp", "cyst"], ["nodule"], ["cyst"]]
    assert (list(mine), list(theirs)) == (["polyp", "cyst", "nodule"], ["cyst"])


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, known = Engine([(predictor(), ONE)]), {}
    size = 96 * 4
    monkeypatch.setattr("vlseg.serve.engine.PROMPT_BYTES", 3 * size)

    async def asked() -> None:
        encoded = await engine.encode(pixels())
        for number in range(9):
            await engine.answer(encoded, [f"thing {number}"], known=known)

    run(asked())
    assert list(known) == ["thing 6", "thing 7", "thing 8"]
    assert size < PROMPT_BYTES


def test_hundredths_are_the_thresholds_a_probability_is_above() -> None:
    edges = np.array([k / 100 for k in range(101)], dtype=np.float32)
    around = np.concatenate([edges, np.nextafter(edges, 2), np.nextafter(edges, -1)]).clip(0, 1)
    probability = np.concatenate([around, np.random.default_rng(0).random(10_000, dtype=np.float32)])[None]
    found = hundredths(probability)
    assert (found.min(), found.max()) == (0, 100)
    for k in range(101):
        assert np.array_equal(found > k, probability > k / 100), k


def test_an_answer_that_is_no_number_is_none() -> None:
    model = predictor()
    with torch.no_grad():
        next(model.model.mask_decoder.parameters()).fill_(float("nan"))
    engine = Engine([(model, ONE)])

    async def asked() -> list:
        return await engine.answer(await engine.encode(pixels()), ["polyp"], probability=True)

    (found,) = run(asked())
    assert (found.finite, found.presence, found.mask.any(), found.hundredths.any()) == (False, None, False, False)


def test_copies_on_several_devices_share_the_images() -> None:
    """Each image stays where it was encoded; prompts of a place are remembered there."""
    places = [(predictor(), ThreadPoolExecutor(1)) for _ in range(2)]
    engine = Engine(places)

    async def asked(seed: int, known: list[Known]) -> tuple[int, np.ndarray]:
        encoded = await engine.encode(pixels(seed))
        (found,) = await engine.answer(encoded, ["polyp"], known=known[encoded.place])
        return encoded.place, found.mask

    async def all_asked() -> list[tuple[int, np.ndarray]]:
        known: list[Known] = [{}, {}]
        return await asyncio.gather(*(asked(seed, known) for seed in range(8)))

    found = run(all_asked())
    assert sorted(place for place, _ in found) == [0] * 4 + [1] * 4
    for seed, (_, mask) in enumerate(found):
        (want,) = predictor().segment(pixels(seed), ["polyp"])
        sure = np.abs(want.probability - 0.5) > 1e-4
        assert np.array_equal(mask[sure], want.mask[sure])


def test_an_image_whose_turn_would_come_too_late_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what an image took before: at first nothing is known, and all are taken."""
    real = _Place._encode_batch

    def slow(place: _Place, images: list[np.ndarray]) -> list:
        time.sleep(0.3 * len(images))
        return real(place, images)

    monkeypatch.setattr(_Place, "_encode_batch", slow)
    engine = Engine([(predictor(), ONE)], crowd=lambda: 99, patience=1.0)

    async def asked(count: int) -> list:
        return await asyncio.gather(*(engine.encode(pixels()) for _ in range(count)), return_exceptions=True)

    async def twice() -> tuple[list, list, list]:
        return await asked(2), await asked(9), await asked(2)

    first, many, after = run(twice())
    refused = [one for one in many if isinstance(one, Refused)]
    assert {one.status for one in refused} == {429}
    assert all(one.retry_after == 1 for one in refused)
    assert 3 <= len(refused) <= 6
    assert not any(isinstance(one, Exception) for one in [*first, *after])
    assert sum(isinstance(one, Encoded) for one in many) == 9 - len(refused)
