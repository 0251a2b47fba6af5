"""PEFT's files of an adapter: adapter_config.json and adapter_model.safetensors, with its names."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vlseg.models.saving import save_tensors
from vlseg.models.tensors import read_tensors
from vlseg.records import InputError, read_json, write_text

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
"""Before each name: PEFT's model, which holds the network as `base_model.model`."""


def write(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Both files.

    Args:
        folder: exists.
        config: of PEFT's LoraConfig; what is not named has its default.
        tensors: on the CPU, by PEFT's names.
    """
    from peft import LoraConfig

    values = LoraConfig(**{**config, "inference_mode": True}).to_dict()
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in values.items()}
    save_tensors(folder / WEIGHTS, tensors, {"format": "pt"})
    write_text(folder / CONFIG, json.dumps(plain, indent=2, sort_keys=True) + "\n")


def read_tensors_of(folder: Path) -> dict[str, Tensor]:
    """The adapter's tensors by PEFT's names.

    Raises:
        InputError: they are not there, or cannot be read.
    """
    if not (folder / WEIGHTS).exists():
        raise InputError(f"{folder / WEIGHTS}: not found; the folder of the adapter is incomplete")
    return read_tensors(folder / WEIGHTS)
