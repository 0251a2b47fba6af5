"""PEFT's files of an adapter: adapter_config.json and adapter_model.safetensors (or .bin), with its names."""

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

    whole: Any = LoraConfig(**{**config, "inference_mode": True})
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in whole.to_dict().items()}
    save_tensors(folder / WEIGHTS, tensors, {"format": "pt"})
    write_text(folder / CONFIG, json.dumps(plain, indent=2, sort_keys=True) + "\n")


def read_tensors_of(folder: Path) -> dict[str, Tensor]:
    """The adapter's tensors by PEFT's names.

    Raises:
        InputError: they are not there, or cannot be read.
    """
    found = next((folder / name for name in (WEIGHTS, "adapter_model.bin") if (folder / name).exists()), None)
    if found is None:
        raise InputError(f"{folder / WEIGHTS}: not found; the folder of the adapter is incomplete")
    return read_tensors(found)


def is_adapter(folder: Path) -> bool:
    """Whether PEFT saved an adapter there (ours, beside whose files config.json lies, are asked for before)."""
    return (folder / CONFIG).is_file()


def read_settings(folder: Path) -> dict[str, Any]:
    """What an adapter that PEFT saved says of itself: of `adapter_config.json` all that is not empty.

    Raises:
        InputError: it is no plain LoRA.
    """
    values = read_json(folder / CONFIG, "PEFT writes it beside the adapter's weights")
    if not isinstance(values, dict) or type(values.get("r")) is not int:
        raise InputError(f"{folder / CONFIG}: says no rank of a LoRA ('r'); save the adapter again")
    kind, bias = values.get("peft_type", "LORA"), values.get("bias", "none")
    beyond = [key for key in BEYOND if values.get(key)]
    if kind != "LORA" or bias != "none" or beyond:
        told = f"peft_type {kind}" if kind != "LORA" else f"bias {bias}" if bias != "none" else ", ".join(beyond)
        raise InputError(f"{folder / CONFIG}: {told} is not read; merge the adapter by PEFT and give the whole model")
    return {key: value for key, value in values.items() if value}


BEYOND = (
    *("use_dora", "rank_pattern", "alpha_pattern", "fan_in_fan_out", "trainable_token_indices", "target_parameters"),
    *("layer_replication", "use_qalora", "lora_bias", "alora_invocation_tokens"),
)
"""Of PEFT's settings of LoRA: those that make it another computation."""


def layers_of(tensors: Mapping[str, Tensor]) -> list[str]:
    """The layers that an adapter's tensors were put beside."""
    return [key.removeprefix(PREFIX).partition(".lora_A.")[0] for key in tensors if ".lora_A." in key]
