"""Published weight files as plain tensors, whatever they are wrapped in."""

import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import safetensors.torch
import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from vlseg.records import InputError

WRAPPERS = ("state_dict", "model")
"""Keys under which training codes keep their weights."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pt, .pth, .bin or .ckpt file, or of a TorchScript archive (OpenAI's CLIP).

    Pickles are read with `weights_only`: nothing in them is executed. What else training codes keep beside the weights
    (Lightning: optimisers, losses, paths) is read as inert stand-ins and left out.

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
        told = " ".join(str(error).split())
        reason = (told.partition("WeightsUnpickler error: ")[2] or told)[:160]
        raise InputError(
            f"{path}: cannot be read as weights ({reason}); if another program reads it, save its state_dict alone "
            "with torch.save"
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
        unknown = get_unsafe_globals_in_checkpoint(path)
        with safe_globals([(StandIn, name) for name in unknown]):
            return torch.load(path, map_location="cpu", weights_only=True)
    return torch.load(path, map_location="cpu", weights_only=True)


class StandIn:
    """In place of any class or function that a pickle names: takes all arguments, imports and does nothing."""

    def __new__(cls, *_: object, **__: object) -> Self:
        """Whatever it is made with."""
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        """Forget it."""


def without_prefix(weights: Mapping[str, Tensor], prefixes: Sequence[str]) -> dict[str, Tensor]:
    """The keys without each prefix, in this order, that all of them have; without old position tables."""
    result = {key: tensor for key, tensor in weights.items() if not key.endswith(".position_ids")}
    for prefix in prefixes:
        if result and all(key.startswith(prefix) for key in result):
            result = {key.removeprefix(prefix): tensor for key, tensor in result.items()}
    return result


def starts(weights: Mapping[str, Tensor], prefix: str | tuple[str, ...]) -> bool:
    """Whether any key starts so."""
    return any(key.startswith(prefix) for key in weights)


def find_weights(folder: Path, names: Sequence[str]) -> Path:
    """The first of these files that the folder holds.

    Raises:
        InputError: none of them.
    """
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise InputError(f"{folder}: holds none of {', '.join(names)}; put the weights file there")
