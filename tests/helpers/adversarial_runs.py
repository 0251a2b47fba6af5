"""Runs that train adversarially, in a size that a test can train."""

from pathlib import Path
from typing import Any

import torch
from tiny_models import TINY
from torch import Tensor

from vlseg.records import RunConfig


def config_for(data: Path, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "model": "clipseg-tiny",
        "data": [str(data)],
        "prompt": "p2",
        "device": "cpu",
        "threads": 1,
        "batch_size": 2,
        "epochs": 4,
        "warmup_steps": 2,
        "patience": None,
    }
    values |= changes
    return RunConfig(**{"model_arguments": dict(TINY[values["model"]]), **values})


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def apart(one: dict[str, Tensor], two: dict[str, Tensor]) -> float:
    """The sum of all differences."""
    return sum(float((one[name].double() - two[name].double()).abs().sum()) for name in one)
