"""Writing tensors: whole or not at all, and a full disk said in one line."""

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from vlseg.records import InputError, replacing


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file.

    Args:
        path: the file; its folder is made.
        tensors: on the CPU, contiguous.
        metadata: words for the file's head.

    Raises:
        InputError: the folder cannot be written, the disk is full.
    """
    with replacing(path) as temporary:
        try:
            safetensors.torch.save_file(dict(tensors), temporary, metadata=dict(metadata) if metadata else None)
        except safetensors.SafetensorError as error:
            reason = str(error).rpartition("I/O error: ")[2].partition(" (os error")[0]
            raise InputError(f"{path}: cannot be written ({reason}); free space, or choose another folder") from error
