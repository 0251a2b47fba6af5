"""Runs with images that have no mask, in a size that a test can train."""

from pathlib import Path
from typing import Any

import torch
from tiny_models import TINY
from torch import Tensor

from vlseg.jobs.datasets import open_pool
from vlseg.jobs.subsets import choose
from vlseg.models import as_module, build_model, load_model
from vlseg.records import RunConfig
from vlseg.training.loop import Fit


def semi_config(data: Path, name: str = "clipseg-tiny", **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "model": name,
        "model_arguments": dict(TINY[name]),
        "data": [str(data)],
        "prompt": "p2",
        "device": "cpu",
        "threads": 1,
        "batch_size": 2,
        "epochs": 4,
        "warmup_steps": 1,
        "patience": None,
        "label_share": 0.5,
        "pseudo_labels": "epi",
    }
    return RunConfig(**(values | changes))


def weights(run: Path) -> dict[str, Tensor]:
    return as_module(load_model(str(run))).state_dict()


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def fit_of(data: Path, folder: Path, settings: RunConfig) -> Fit:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    pool = open_pool(settings.data, settings.prompt)
    model = build_model(settings.model, arguments=settings.model_arguments, targets=pool.targets)
    return Fit(model, choose(pool.split("train"), [], settings).train, pool.infos, settings, folder)
