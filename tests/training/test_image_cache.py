"""Decoded images in memory: nothing lost in 8 bit; larger ones resized once where that is wanted."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from vlseg.data import load_image, load_mask
from vlseg.jobs.datasets import Pool, open_pool
from vlseg.jobs.train import train_run
from vlseg.records import IntensityPolicy, RunConfig
from vlseg.training.batches import ImageCache

MakeDataset = Callable[..., Path]


@pytest.fixture
def large(make_dataset: MakeDataset) -> Pool:
    return open_pool([str(make_dataset(counts=(3, 1, 1), size=200))], "p1")


def test_images_and_masks_are_what_was_read(large: Pool) -> None:
    cache = ImageCache(large.infos)
    for item in large.split("train"):
        info = large.infos[item.sample.dataset]
        for _ in range(2):
            assert np.array_equal(cache.image(item), load_image(item.sample, info))
            assert cache.size(item) == (200, 200)
            mask = cache.mask(item, (200, 200))
            assert mask.dtype == np.bool_
            assert np.array_equal(mask, load_mask(item.sample, info, (200, 200)))
    kept = [array for array in cache._arrays.values() if array.ndim == 3]
    assert {array.dtype for array in kept} == {np.dtype(np.uint8)}


def test_reduced_once_is_close_to_resized_each_time(large: Pool) -> None:
    cache = ImageCache(large.infos, reduced_to=64)
    for item in large.split("train"):
        image, mask = cache.image(item), cache.mask(item, cache.size(item))
        assert (image.shape, mask.shape, cache.size(item)) == ((64, 64, 3), (64, 64), (200, 200))
        own = torch.from_numpy(load_image(item.sample, large.infos[item.sample.dataset]).transpose(2, 0, 1))[None]
        direct = F.interpolate(own, size=(64, 64), mode="bilinear", antialias=True)[0].numpy().transpose(1, 2, 0)
        assert np.abs(image - direct).max() <= 1.01 / 255
        truth = torch.from_numpy(load_mask(item.sample, large.infos[item.sample.dataset], None)).float()[None, None]
        smaller = F.interpolate(truth, size=(64, 64), mode="bilinear", antialias=True)[0, 0].numpy()
        assert np.abs(mask - smaller).max() <= 1.01 / 255


def test_the_shorter_side_is_kept_long_enough_and_small_images_are_left(tmp_path: Path) -> None:
    cache = ImageCache({}, reduced_to=50)
    assert cache._reduced(np.zeros((400, 100, 3), np.uint8)).shape == (200, 50, 3)
    assert cache._reduced(np.zeros((60, 40), np.uint8)).shape == (60, 40)
    deep = np.random.default_rng(0).random((400, 100, 3), dtype=np.float32)
    assert cache._reduced(deep) is deep  # more than 8 bit: rounding would lose


def test_deep_images_stay_deep(large: Pool, tmp_path: Path) -> None:
    item = large.split("train")[0]
    values = np.random.default_rng(0).integers(0, 65535, (200, 200), dtype=np.uint16)
    Image.fromarray(values).save(item.sample.image_path)
    image = ImageCache(large.infos).image(item)
    assert np.array_equal(image, load_image(item.sample, large.infos[item.sample.dataset]))
    assert len(np.unique(image)) > 256
    assert large.infos[item.sample.dataset].intensity == IntensityPolicy()


def test_the_budget_holds_with_threads(large: Pool) -> None:
    cache = ImageCache(large.infos, budget=150_000)  # an image has 120,000 bytes
    items = large.split("train") * 20
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(cache.image, items))
    for item, image in zip(items, found, strict=True):
        assert np.array_equal(image, load_image(item.sample, large.infos[item.sample.dataset]))
    assert cache._used == sum(array.nbytes for array in cache._arrays.values()) <= 150_000


@pytest.mark.parametrize("image_cache", ["native", "reduced"])
def test_threads_do_not_change_a_run(image_cache: str, make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset(counts=(4, 1, 1), size=100)
    ends = []
    for workers in (0, 2):
        config = RunConfig.model_validate(
            {
                "model": "clipseg-tiny",
                "model_arguments": {"image_size": 32},
                "data": [str(data)],
                "prompt": "p1",
                "device": "cpu",
                "threads": 1,
                "batch_size": 2,
                "max_steps": 4,
                "workers": workers,
                "image_cache": image_cache,
            }
        )
        train_run(config, tmp_path / f"{workers}")
        ends.append((tmp_path / f"{workers}" / "model" / "model.safetensors").read_bytes())
    assert ends[0] == ends[1]
