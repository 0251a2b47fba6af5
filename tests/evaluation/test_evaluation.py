"""Predictions and queries against a segmenter whose answers are known."""

import importlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import vlseg
from vlseg.evaluation import (
    MaskReader,
    Setting,
    clean_queries,
    evaluate,
    mean_dice,
    model_answers,
    predict_image,
    swapped_queries,
)
from vlseg.jobs.datasets import Pool, open_pool
from vlseg.metrics import Calibration
from vlseg.models import ImageFeatures, Inputs, Output, PromptFeatures, Rows, Spec, Tokens
from vlseg.models.images import resize_and_normalise, resize_masks, restore_bilinear
from vlseg.records import InputError

MakeDataset = Callable[..., Path]
CPU = torch.device("cpu")
SETTING = Setting("oracle", "corrected", "run", 3, CPU, 0.5)


class Oracle(torch.nn.Module):
    """Segments bright or dark discs by threshold, as the words say; deaf ones always say "bright"."""

    def __init__(self, *, deaf: bool = False) -> None:
        super().__init__()
        self.spec = Spec(name="oracle", uses_text=True, image_size=(32, 32))
        self.deaf = deaf
        self.encoded = 0

    def prepare(self, rgb: Sequence[Tensor]) -> Inputs:
        return resize_and_normalise(rgb, (32, 32), (0.0,) * 3, (1.0,) * 3)

    def prepare_masks(self, masks: Sequence[Tensor]) -> Tensor:
        return resize_masks(masks, (32, 32))

    def tokenize(self, prompts: Sequence[str]) -> Tokens:
        return Rows({"dark": torch.tensor([0.0 if self.deaf else float("dark" in text) for text in prompts])})

    def encode_image(self, inputs: Inputs) -> ImageFeatures:
        self.encoded += 1
        return Rows({"grey": inputs.tensors["pixel_values"].mean(1, keepdim=True)})

    def encode_prompts(self, tokens: Tokens | None) -> PromptFeatures:
        assert tokens is not None
        return tokens

    def decode(self, image: ImageFeatures, prompts: PromptFeatures | None) -> Output:
        assert prompts is not None
        grey, dark = image.tensors["grey"], prompts.tensors["dark"][:, None, None, None]
        return Output(torch.where(dark > 0, 0.27 - grey, grey - 0.62) * 200)

    def restore(self, logits: Tensor, inputs: Inputs) -> list[Tensor]:
        return restore_bilinear(logits, inputs)

    def forward(self, inputs: Inputs, tokens: Tokens | None) -> Output:
        return self.decode(self.encode_image(inputs), self.encode_prompts(tokens))

    def parts(self) -> dict[str, list[torch.nn.Module]]:
        return {}

    def save(self, folder: Path) -> None:
        raise NotImplementedError


@pytest.fixture
def pool(make_dataset: MakeDataset) -> Pool:
    return open_pool([str(make_dataset(counts=(2, 2, 6)))], "p1")


def swapped_dice(model: Oracle, pool: Pool) -> dict[str, float]:
    prompted = pool.split("test")
    masks = {i.sample.id: MaskReader(pool.infos)(i.sample, (32, 32)) for i in prompted}
    queries = swapped_queries(prompted, {key: mask for key, mask in masks.items() if mask is not None})
    rows = evaluate(model_answers(model, SETTING), queries, pool.infos, SETTING)
    return {
        against: float(np.mean([r.dice for r in rows if against in r.condition_arguments and r.dice is not None]))
        for against in ("original", "named")
    }


def test_one_that_reads_follows_swapped_prompts_and_a_deaf_one_does_not(pool: Pool) -> None:
    reading, deaf = swapped_dice(Oracle(), pool), swapped_dice(Oracle(deaf=True), pool)
    assert reading["named"] > 0.9 > 0.1 > reading["original"]
    assert deaf["named"] == pytest.approx(deaf["original"], abs=0.05)


def test_rows_of_a_clean_evaluation(pool: Pool) -> None:
    model = Oracle()
    rows = evaluate(model_answers(model, SETTING), clean_queries(pool.split("test")), pool.infos, SETTING)
    assert len(rows) == 12
    assert model.encoded == 6  # once an image
    first = rows[0]
    assert (first.run_id, first.seed, first.model, first.condition) == ("run", 3, "oracle", "clean")
    assert (first.prompt, first.wording, first.prompt_sources, first.deployable) == ("p1", "bright disc", "class", True)
    assert first.distance_unit == "px"
    assert first.image_diagonal == pytest.approx(32 * 2**0.5)
    assert np.mean([row.dice for row in rows if row.dice is not None]) > 0.9
    assert all(row.area_error is not None and abs(row.area_error) < 40 for row in rows)


def test_mean_dice_at_several_thresholds_equals_the_rows(pool: Pool) -> None:
    prompted = pool.split("test")
    dice = mean_dice(Oracle(), prompted, pool.infos, device=CPU, precision="fp32", thresholds=[0.3, 0.5])
    for value, threshold in zip(dice, (0.3, 0.5), strict=True):
        setting = replace(SETTING, threshold=threshold)
        rows = evaluate(model_answers(Oracle(), setting), clean_queries(prompted), pool.infos, setting)
        assert value == pytest.approx(float(np.mean([row.dice for row in rows if row.dice is not None])))


def test_probabilities_lie_at_the_images_own_size() -> None:
    rgb = np.full((45, 21, 3), 0.9, np.float32)
    found = list(predict_image(Oracle(), rgb, ["bright", "dark"] * 20, device=CPU))
    assert len(found) == 40
    assert found[0].probability.shape == (45, 21)
    assert found[0].mask.all()
    assert not found[1].mask.any()
    assert found[0].presence > 0.99 > 0.01 > found[1].presence


def test_no_prompt_is_an_error() -> None:
    with pytest.raises(InputError, match="prompt"):
        list(predict_image(Oracle(), np.zeros((4, 4, 3), np.float32), [], device=CPU))


def test_python_api(trained: Path) -> None:
    model = vlseg.load(trained / "run", device="cpu", threads=1)
    path = trained / "data" / "images" / "test0.png"
    by_path, other = model.segment(path, ["bright disc", "dark disc"])
    assert by_path.mask.shape == (32, 32)
    assert not np.array_equal(by_path.probability, other.probability)
    with Image.open(path) as image:
        from_image = model.segment(image, ["bright disc"])[0]
    from_array = model.segment(np.asarray(Image.open(path).convert("RGB")), ["bright disc"])[0]
    np.testing.assert_array_equal(from_array.probability, from_image.probability)
    # Another number of prompts in a batch adds up in another order.
    np.testing.assert_allclose(by_path.probability, from_array.probability, atol=1e-5)
    with pytest.raises(InputError, match="array"):
        model.segment(np.zeros((4, 4)), ["x"])


def test_a_generator_left_alone_does_not_switch_gradients_off() -> None:
    image = np.full((32, 32, 3), 0.5, dtype=np.float32)
    first, second = (predict_image(Oracle(), image, ["dark", "bright"], device=CPU) for _ in range(2))
    for _ in zip(first, second, strict=True):
        assert not torch.is_inference_mode_enabled()
    left = predict_image(Oracle(), image, ["dark"] * 20, device=CPU)
    next(left)
    assert not torch.is_inference_mode_enabled()


class Drawing(Oracle):
    """Three draws: as the answer, nothing, and everything."""

    def decode(self, image: ImageFeatures, prompts: PromptFeatures | None) -> Output:
        logits = super().decode(image, prompts).logits
        return Output(
            logits, samples=torch.stack([logits, torch.full_like(logits, -9.0), torch.full_like(logits, 9.0)])
        )


def test_draws_give_the_uncertainty_of_a_case() -> None:
    image = np.full((32, 32, 3), 0.5, np.float32)
    image[:16] = 0.9  # half of the image is bright
    found = next(iter(predict_image(Drawing(), image, ["bright"], device=CPU)))
    assert found.uncertainty == pytest.approx(1 - (1 + 0 + 2 / 3) / 3, abs=0.02)
    assert next(iter(predict_image(Oracle(), image, ["bright"], device=CPU))).uncertainty is None


def test_another_prompt_on_the_same_image_costs_no_encoding() -> None:
    from vlseg.evaluation import Predictor

    model = Oracle()
    predictor = Predictor(model, device="cpu")
    image, other = np.full((32, 32, 3), 0.9, np.float32), np.full((32, 32, 3), 0.1, np.float32)
    first = predictor.segment(image, ["bright"])[0]
    again, dark = predictor.segment(image, ["bright", "dark"])
    assert model.encoded == 1
    np.testing.assert_array_equal(first.probability, again.probability)
    assert not dark.mask.any()
    assert predictor.segment(other, ["dark"])[0].mask.all()
    assert model.encoded == 2
    assert predictor.segment(image, ["bright"])[0].mask.all()
    assert model.encoded == 3  # one image is kept, not two
    for number in range(600):
        predictor.segment(image, [f"bright {number}"])
    assert len(predictor._known) <= 512


def test_a_file_is_decoded_again_when_its_bytes_are_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where size and time of the file say nothing of it."""
    module = importlib.import_module("vlseg.evaluation.predictor")
    decode, decoded = module.decode_pixels, []

    def counting(stream: Any, name: str, *more: Any) -> Any:
        decoded.append(name)
        return decode(stream, name, *more)

    monkeypatch.setattr(module, "decode_pixels", counting)
    path, when = tmp_path / "image.bmp", (1_000_000_000, 1_000_000_000)
    predictor = module.Predictor(Oracle(), device="cpu")
    for grey, bright in ((230, True), (25, False), (230, True)):
        Image.new("RGB", (32, 32), (grey, grey, grey)).save(path)
        os.utime(path, when)
        for prompt in ("bright", "bright one", "bright"):
            assert predictor.segment(path, [prompt])[0].mask.all() == bright
    assert len(decoded) == 3
    path.write_bytes(b"")
    with pytest.raises(InputError, match="the file is empty"):
        predictor.segment(path, ["bright"])
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        predictor.segment(path, ["bright"])


def test_rows_do_not_depend_on_who_is_scored_first(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several threads score; some answers take longer."""
    queries = clean_queries(pool.split("test"))
    plain = evaluate(model_answers(Oracle(), SETTING), queries, pool.infos, SETTING)
    module = importlib.import_module("vlseg.evaluation.evaluate")
    scored, calls = module.scored, []

    def slow(*values: Any) -> Any:
        calls.append(1)
        time.sleep(0.03 if len(calls) % 3 == 1 else 0.0)
        return scored(*values)

    monkeypatch.setattr(module, "scored", slow)
    monkeypatch.setattr(module, "SCORERS", 4)
    one, two = Calibration(), Calibration()
    again = evaluate(model_answers(Oracle(), SETTING), queries, pool.infos, SETTING, calibration=one)
    assert again == plain
    monkeypatch.setattr(module, "SCORERS", 1)
    assert evaluate(model_answers(Oracle(), SETTING), queries, pool.infos, SETTING, calibration=two) == plain
    assert one.to_json() == two.to_json()
    assert one.count.sum() > 0


def test_an_error_while_scoring_is_raised(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise InputError("mask.png: cannot be decoded")

    monkeypatch.setattr(importlib.import_module("vlseg.evaluation.evaluate"), "scored", fail)
    with pytest.raises(InputError, match="cannot be decoded"):
        evaluate(model_answers(Oracle(), SETTING), clean_queries(pool.split("test")), pool.infos, SETTING)
