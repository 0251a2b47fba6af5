"""Training runs: records of what failed, pooled data, weights as a start, thresholds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vlseg.jobs.datasets import open_pool
from vlseg.jobs.train import train_run
from vlseg.models import as_module, load_model
from vlseg.records import InputError, RunConfig, read_record

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
