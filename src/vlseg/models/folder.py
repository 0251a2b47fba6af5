"""A model on disk: config.json (with our part under "vlseg") and model.safetensors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from vlseg.records import InputError, read_json, replacing, write_text

MODEL_FORMAT = 1


def write_model(folder: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Write config.json and model.safetensors; `config` already holds the "vlseg" part."""
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "model.safetensors") as temporary:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        safetensors.torch.save_file(tensors, temporary, metadata={"format": "pt"})
    write_text(folder / "config.json", json.dumps(config, indent=1) + "\n")


def our_part(name: str, protocol: str, targets: tuple[str, ...], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The "vlseg" part of config.json: what rebuilds the model."""
    return {
        "format_version": MODEL_FORMAT,
        "model": name,
        "protocol": protocol,
        "targets": list(targets),
        "arguments": dict(arguments),
    }


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a model folder.

    Raises:
        InputError: missing or broken.
    """
    path = folder / "config.json"
    config = read_json(path, "a model folder holds config.json and model.safetensors")
    if not isinstance(config, dict):
        raise InputError(f"{path}: must hold one JSON object")
    return config


def load_strictly(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Load every tensor; a missing, left-over or wrongly shaped one is an error that names it.

    Raises:
        InputError: lists up to five offending keys of each kind.
    """
    expected = module.state_dict()
    missing = [key for key in expected if key not in weights]
    left_over = [key for key in weights if key not in expected]
    misshaped = [key for key in expected if key in weights and expected[key].shape != weights[key].shape]
    problems = [
        f"{len(keys)} {word} ({', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''})"
        for word, keys in (("missing", missing), ("left over", left_over), ("of another shape", misshaped))
        if keys
    ]
    if problems:
        raise InputError(f"{where}: weights do not fit the model: {'; '.join(problems)}")
    module.load_state_dict(dict(weights))


TARGET_SHARE = 0.05
"""At most so much of a network may belong to its targets: more means that the two are not one architecture."""


def carry_over(source: nn.Module, into: nn.Module, where: str) -> list[str]:
    """Copy every tensor that has the same name and shape; return the names of those that start anew.

    Raises:
        InputError: names differ, or more than the outputs' own tensors have another shape.
    """
    theirs, ours = source.state_dict(), into.state_dict()
    if theirs.keys() != ours.keys():
        raise InputError(f"{where}: is built otherwise than this model; give the same model_arguments")
    anew = [key for key, tensor in ours.items() if theirs[key].shape != tensor.shape]
    if sum(ours[key].numel() for key in anew) > TARGET_SHARE * sum(tensor.numel() for tensor in ours.values()):
        raise InputError(f"{where}: most of its tensors have other shapes ({', '.join(anew[:5])}, ...)")
    into.load_state_dict({key: ours[key] if key in anew else tensor for key, tensor in theirs.items()})
    return anew
