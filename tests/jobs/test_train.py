"""Training runs: records of what failed, pooled data, weights as a start, thresholds."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vlseg.evaluation import load
from vlseg.jobs.datasets import open_pool
from vlseg.jobs.train import train_run
from vlseg.models import as_module, load_model
from vlseg.records import InputError, RunConfig, read_record, write_record

MakeDataset = Callable[..., Path]


def config(*data: Path, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "model": "clipseg-tiny",
        "model_arguments": {"image_size": 32},
        "data": [str(path) for path in data],
        "prompt": "p1",
        "threads": 1,
        "device": "cpu",
        "max_steps": 2,
    }
    return RunConfig(**(values | changes))


def test_failed_run_is_recorded_and_can_be_started_again(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data, out = make_dataset(), tmp_path / "run"
    image = data / "images" / "train3.png"
    sound = image.read_bytes()
    image.write_bytes(sound[:100])
    with pytest.raises(InputError, match="train3"):
        train_run(config(data, batch_size=6), out)
    record = read_record(out / "run.json")
    assert record.status == "failed"
    assert "train3.png" in str(record.error)
    image.write_bytes(sound)
    assert train_run(config(data, batch_size=6), out, resume=True).status == "done"


def test_diverged_run_is_recorded(make_dataset: MakeDataset, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(FloatingPointError):
        train_run(config(make_dataset(), learning_rate=1e30, warmup_steps=0, max_steps=20, clip_norm=None), out)
    assert read_record(out / "run.json").status == "failed"


def test_pooled_data_keeps_both_sets(make_dataset: MakeDataset, tmp_path: Path) -> None:
    first, second = make_dataset("first"), make_dataset("second", counts=(3, 1, 1))
    record = train_run(config(first, second), tmp_path / "run")
    assert record.dataset == "first+second"
    assert record.data_fingerprint.count("+") == 1
    pool = open_pool([str(first), str(second)], "p1")
    assert len(pool.split("train")) == 18
    with pytest.raises(InputError, match="two datasets are named 'first'"):
        open_pool([str(first), str(first)], "p1")


def test_fine_tuning_starts_from_weights(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset()
    train_run(config(data, max_steps=4), tmp_path / "first")
    start = as_module(load_model(str(tmp_path / "first" / "model"))).state_dict()
    weights = str(tmp_path / "first" / "model")
    train_run(config(data, weights=weights, regime="decoder", max_steps=1), tmp_path / "second")
    end = as_module(load_model(str(tmp_path / "second" / "model"))).state_dict()
    moved = {name for name in start if not torch.equal(start[name], end[name])}
    assert moved
    assert all(name.startswith("mask_decoder.") for name in moved)
    with pytest.raises(InputError, match="not a 'unet'"):
        train_run(config(data, model="unet", weights=weights), tmp_path / "third")


def test_image_only_model_needs_targets(make_dataset: MakeDataset, tmp_path: Path) -> None:
    data = make_dataset()
    for path in (data / "anns").iterdir():
        path.write_text(path.read_text().replace('"target"', '"comment"'))
    with pytest.raises(InputError, match="target"):
        train_run(config(data, model="unet"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_record_says_what_was_run(make_dataset: MakeDataset, tmp_path: Path) -> None:
    record = train_run(config(make_dataset(), seed=5, precision="bf16", threshold=0.4), tmp_path / "run")
    assert (record.status, record.precision, record.threads, record.seeds) == ("done", "bf16", 1, {"run": 5})
    assert (record.threshold, record.threshold_origin) == (0.4, "fixed")
    assert torch.__version__.startswith(record.packages["torch"])
    assert record.peak_memory_bytes is not None
    assert record.peak_memory_bytes > 10**7
    assert record.ended is not None
    assert record.config["learning_rate"] == 1e-3


def deep(path: Path, value: int) -> None:
    Image.fromarray(np.full((32, 32), value, np.uint16)).save(path)


def test_pooled_sets_that_read_deep_images_differently(make_dataset: MakeDataset, tmp_path: Path) -> None:
    """Each policy is recorded; a 16-bit image, which either could be meant for, is refused and 8-bit ones are not."""
    first, second = make_dataset("first", counts=(2, 1, 1)), make_dataset("second", counts=(2, 1, 1))
    values = json.loads((second / "dataset.json").read_text())
    (second / "dataset.json").write_text(json.dumps(values | {"intensity": {"kind": "bits_stored", "bits": 12}}))
    apart = train_run(config(first, second), tmp_path / "apart")
    assert apart.intensity == {}
    assert {name: policy["kind"] for name, policy in apart.intensities.items()} == {
        "first": "full_range",
        "second": "bits_stored",
    }
    alone = train_run(config(second), tmp_path / "alone")
    assert (alone.intensity["bits"], alone.intensities) == (12, {})
    deep(tmp_path / "deep.png", 4095)
    predictor = load(tmp_path / "apart", device="cpu")
    with pytest.raises(InputError, match="read those differently"):
        predictor.segment(tmp_path / "deep.png", ["bright disc"])
    predictor.segment(first / "images" / "test0.png", ["bright disc"])
    assert load(tmp_path / "alone", device="cpu").read(tmp_path / "deep.png").min() == 1.0


def test_seconds_are_those_spent_not_those_between(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, data = tmp_path / "run", make_dataset(counts=(2, 1, 1))
    settings = config(data, epochs=2, batch_size=2, max_steps=None)

    def stop(*_: object, **named: object) -> float:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("vlseg.training.loop.SAVE_SECONDS", 0.0)
        patch.setattr("vlseg.training.loop.SAVE_SHARE", 0.0)
        patch.setattr("vlseg.jobs.fitting.mean_dice", stop)
        with pytest.raises(KeyboardInterrupt):
            train_run(settings, out)
    record = read_record(out / "run.json")
    assert (record.status, record.error) == ("interrupted", "KeyboardInterrupt")
    earlier = record.started - timedelta(days=1)
    write_record(out / "run.json", record.model_copy(update={"started": earlier}))
    done = train_run(None, out, resume=True)
    assert done.started == earlier
    assert done.summary["seconds"] < 3600
