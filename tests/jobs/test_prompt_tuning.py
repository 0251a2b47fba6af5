"""Runs with learned words: asked in other sentences, and several trained at once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import made

from vlseg.jobs.together import train_together
from vlseg.jobs.train import train_run
from vlseg.records import RunConfig

MakeDataset = Callable[..., Path]


def config(data: Path, base: Path, regime: str, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "model": "clipseg",
        "weights": str(base),
        "regime": regime,
        "data": [str(data)],
        "prompt": "p1",
        "device": "cpu",
        "threads": 1,
        "batch_size": 2,
        "max_steps": 3,
        "augment": False,
    }
    return RunConfig(**(values | changes))


@pytest.mark.slow
@pytest.mark.parametrize("regime", ["coop", "cocoop", "maple"])
def test_a_run_is_probed_and_asked_in_other_sentences(
    regime: str, make_dataset: MakeDataset, tmp_path: Path, vlseg: Callable[..., Any]
) -> None:
    data, run = make_dataset(counts=(4, 1, 2)), tmp_path / "run"
    made("clipseg").save(tmp_path / "base")
    train_run(config(data, tmp_path / "base", regime, learning_rate=0.1), run)
    done = vlseg("probe", run, "--data", data, "--device", "cpu", "--json")
    assert done.code == 0, done.err
    image = next((data / "images").rglob("*.png"))
    asked = [flag for prompt in ("a bright thing", "", "word " * 100) for flag in ("--prompt", prompt)]
    done = vlseg("predict", run, "--image", image, *asked, "--out", tmp_path / "masks", "--device", "cpu")
    assert done.code == 0, done.err
    done = vlseg("evaluate", run, "--data", data, "--device", "cpu", "--cache", tmp_path / "kept", "--json")
    assert done.code == 0, done.err


@pytest.mark.slow
@pytest.mark.parametrize("regime", ["coop", "cocoop"])
def test_runs_that_share_kept_features_become_what_each_is_alone(
    regime: str, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    data, kept = make_dataset(counts=(4, 1, 1)), {"feature_cache": str(tmp_path / "kept")}
    made("clipseg").save(tmp_path / "base")
    runs = {str(seed): config(data, tmp_path / "base", regime, seed=seed, **kept) for seed in (0, 1)}
    train_together({tmp_path / "both" / name: one for name, one in runs.items()})
    for name, one in runs.items():
        train_run(one, tmp_path / "alone" / name)
        both, alone = (
            load_file(tmp_path / place / name / "model" / "added.safetensors") for place in ("both", "alone")
        )
        assert all(torch.equal(both[key], alone[key]) for key in alone)
    filled = {path.parents[1] for path in (tmp_path / "kept").rglob("*.safetensors")}
    assert len(filled) == 1  # the base's images; what is read of prompts changes and is not kept
