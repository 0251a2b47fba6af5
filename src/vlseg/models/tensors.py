"""Published weight files as plain tensors, whatever they are wrapped in."""

import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from vlseg.records import InputError

WRAPPERS = ("state_dict", "model")
"""Keys under which training codes keep their weights."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pt, .pth, .bin or .ckpt file, or of a TorchScript archive (OpenAI's CLIP).

    Pickles are read with `weights_only`: nothing in them is executed.

    Raises:
        InputError: no such file, not readable so, or no tensors in it.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        values = _unpickled(path)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"{path}: cannot be read as weights ({reason}); files that hold more than tensors and plain values are "
            "refused: save its state_dict alone with torch.save"
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(values, dict) and isinstance(values.get(wrapper), Mapping):
            values = values[wrapper]
    tensors = {key: value for key, value in values.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"{path}: holds no tensors")
    return tensors


def _unpickled(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            scripted = any(name.endswith("/constants.pkl") for name in archive.namelist())
        if scripted:  # its own reader, in C++, builds plain values and tensors alone
            return torch.jit.load(str(path), map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    return torch.load(path, map_location="cpu", weights_only=True)


def without_prefix(weights: Mapping[str, Tensor], prefixes: Sequence[str]) -> dict[str, Tensor]:
    """The keys without each prefix, in this order, that all of them have; without old position tables."""
    result = {key: tensor for key, tensor in weights.items() if not key.endswith(".position_ids")}
    for prefix in prefixes:
        if result and all(key.startswith(prefix) for key in result):
            result = {key.removeprefix(prefix): tensor for key, tensor in result.items()}
    return result


def find_weights(folder: Path, names: Sequence[str]) -> Path:
    """The first of these files that the folder holds.

    Raises:
        InputError: none of them.
    """
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise InputError(f"{folder}: holds none of {', '.join(names)}; put the weights file there")
