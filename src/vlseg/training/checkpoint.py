"""Checkpoints: everything a run needs to go on as if it had never stopped."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlseg.records import InputError, replacing

CHECKPOINT_FORMAT = 3


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values, whole or not at all.

    Raises:
        InputError: the folder cannot be written, the disk is full.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save({"format": CHECKPOINT_FORMAT, **state}, file)
        except RuntimeError as error:  # how torch's writer says that a write failed
            raise InputError(f"{path}: cannot be written ({_reason(error)}); free space and resume") from error


def _reason(error: BaseException) -> str:
    """The system's own words where they are known."""
    inner = error.__context__
    return str(inner.strerror) if isinstance(inner, OSError) and inner.strerror else str(error).splitlines()[0]


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; nothing in it is executed.

    Raises:
        InputError: not a checkpoint of this format.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise InputError(f"{path}: not a readable checkpoint; remove it and train without --resume") from error
    if state.get("format") != CHECKPOINT_FORMAT:
        raise InputError(f"{path}: checkpoint format {state.get('format')} is unknown; train without --resume")
    return state


def rng_state() -> dict[str, Tensor]:
    """The generators' states. Draws derive from (seed, step), so these matter to outside code only."""
    state = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_rng_state(state: Mapping[str, Tensor]) -> None:
    """Restore what `rng_state` gave."""
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
