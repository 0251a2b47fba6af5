"""Image and prompt features kept on disk: computed once, reused by every run, prompt and seed, across processes.

A store is a folder of files named by what they hold; a file appears whole or not at all, so that several processes may
fill one store and any of them may be killed. What the numbers depend on besides the image itself (weights, protocol,
precision, libraries; see `feature_keys`) is the context: features of another context lie in another folder and are
never returned.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from vlseg.models.device import autocast
from vlseg.models.exported.opening import GRAPHS
from vlseg.models.feature_keys import Contexts
from vlseg.models.protocol import ImageFeatures, Inputs, PromptFeatures, Rows, Segmenter
from vlseg.models.saving import save_tensors
from vlseg.records import InputError, write_text

FORMAT = 2
Precision = Literal["fp16", "fp32"]
DTYPES: dict[str, torch.dtype] = {"fp16": torch.float16, "fp32": torch.float32}
RECOUNTS = 32
"""What all processes wrote is counted again after each such share of the limit."""
USERS = "users"
"""In a context's folder: a small file for each that used it."""
PROMPT = "prompt "
"""How the key of a prompt's features starts."""
SIZE_KEY = "original_size"
"""Kept beside the features: what `restore` needs of the inputs."""


@dataclass(frozen=True)
class StoreInfo:
    """One context of a store: what it was made with, who used it, how many files, how many bytes."""

    folder: Path
    context: Mapping[str, Any]
    users: tuple[str, ...]
    files: int
    bytes: int


class FeatureStore:
    """Features of images under one context, of prompts under the same or their own.

    `limit` bytes are kept at most; what does not fit any more is computed each time, nothing is thrown away.
    """

    def __init__(self, folder: Path, contexts: Contexts, dtype: Precision, limit: int | None = None) -> None:
        self.folder = _opened(folder, contexts.images, dtype)
        self.prompt_folder = self.folder if contexts.prompts is None else _opened(folder, contexts.prompts, dtype)
        self.dtype = DTYPES[dtype]
        self.limit = limit
        self.used = self._counted = self._written()

    def note_user(self, name: str) -> None:
        """Remember, for whoever asks what is shared, that `name` works with these features."""
        for place in {self.folder, self.prompt_folder}:
            note = place / USERS / f"{hashlib.sha256(name.encode()).hexdigest()[:20]}.txt"
            if not note.exists():
                write_text(note, name + "\n")

    def get(self, key: str) -> Rows | None:
        """The features under a key as they were kept (see `Rows.widened`), or None.

        A file that cannot be read (a disk that filled up) counts as absent and is replaced.
        """
        path = self._path(key)
        try:
            return Rows(safetensors.torch.load_file(path))
        except FileNotFoundError:
            return None
        except (safetensors.SafetensorError, OSError):
            return None

    def put(self, key: str, rows: Rows) -> Rows:
        """Keep the features and return them as `get` will give them."""
        kept = {name: self._kept(tensor) for name, tensor in rows.tensors.items()}
        size = sum(tensor.nbytes for tensor in kept.values())
        if self.limit is not None and self.used - self._counted > self.limit // RECOUNTS:
            self.used = self._counted = self._written()  # other processes fill the store, too
        if self.limit is None or self.used + size <= self.limit:
            path = self._path(key)
            save_tensors(path, kept)
            self.used += size
        return Rows(kept)

    def _written(self) -> int:
        places = {self.folder, self.prompt_folder}
        return sum(file.stat().st_size for place in places for file in place.glob("*/*.safetensors"))

    def _kept(self, tensor: Tensor) -> Tensor:
        plain = tensor.detach().cpu().contiguous()
        return plain.to(self.dtype) if plain.is_floating_point() else plain

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()
        place = self.prompt_folder if key.startswith(PROMPT) else self.folder
        return place / name[:2] / f"{name}.safetensors"


def _opened(folder: Path, context: Mapping[str, Any], dtype: Precision) -> Path:
    """The folder of a context, with what it is."""
    told = json.dumps({**context, "dtype": dtype, "format": FORMAT}, sort_keys=True, indent=1)
    place = folder / hashlib.sha256(told.encode()).hexdigest()[:20]
    if not (place / "context.json").exists():
        write_text(place / "context.json", told + "\n")
    return place


def image_features(
    model: Segmenter,
    store: FeatureStore | None,
    key: str,
    pixels: Callable[[], Tensor],
    *,
    device: torch.device,
    precision: str,
    own_size: Callable[[], tuple[int, int]] | None = None,
) -> tuple[ImageFeatures, Inputs]:
    """Features of one image, and as much of its inputs as `restore` needs; from the store where it has them.

    From a store they come in the precision that it keeps: `widened` makes them ready for the decoder.

    Args:
        model: on `device`, its encoder in eval mode.
        store: None computes.
        key: identifies the image as the encoder sees it: its bytes, how it was read, how it was changed.
        pixels: gives (3, H, W) in [0, 1]; called only when needed.
        device: where to compute.
        precision: of the computation.
        own_size: the (H, W) to restore to, where `pixels` gives the image at another; called only when needed.
    """
    rows = store.get(f"image {key}") if store else None
    if rows is None:
        with torch.no_grad(), autocast(precision, device):
            inputs = model.prepare([pixels().to(device)])
            features = model.encode_image(inputs)
        size = inputs.tensors[SIZE_KEY] if own_size is None else torch.tensor([own_size()])
        found = Rows({**features.tensors, SIZE_KEY: size})
        rows = store.put(f"image {key}", found) if store else found
    sizes = Inputs({SIZE_KEY: rows.tensors[SIZE_KEY]})
    features = ImageFeatures({name: tensor for name, tensor in rows.tensors.items() if name != SIZE_KEY})
    return features, sizes


def prompt_features(
    model: Segmenter, store: FeatureStore, prompt: str, *, device: torch.device, precision: str
) -> PromptFeatures:
    """Features of one prompt, from the store where it has them."""
    rows = store.get(f"{PROMPT}{prompt}")
    if rows is None:
        with torch.no_grad(), autocast(precision, device):
            tokens = model.tokenize([prompt])
            encoded = model.encode_prompts(tokens.to(device) if tokens is not None else None)
        assert encoded is not None  # asked only of models that read
        rows = store.put(f"{PROMPT}{prompt}", encoded)
    return PromptFeatures(rows.widened().tensors)


def store_infos(folder: Path) -> list[StoreInfo]:
    """All contexts of a store.

    Raises:
        InputError: no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"feature cache {folder}: no such folder")
    found = []
    for path in sorted(folder.glob("*/context.json")):
        files = [*path.parent.glob("*/*.safetensors"), *path.parent.glob(f"{GRAPHS}/*")]
        context = json.loads(path.read_text(encoding="utf-8"))
        users = sorted(note.read_text(encoding="utf-8").strip() for note in (path.parent / USERS).glob("*.txt"))
        found.append(
            StoreInfo(path.parent, context, tuple(users), len(files), sum(file.stat().st_size for file in files))
        )
    return found


def clear_store(folder: Path) -> int:
    """Delete all contexts, nothing else that lies in the folder; the number of bytes freed."""
    infos = store_infos(folder)
    for info in infos:
        shutil.rmtree(info.folder)
    if not any(folder.iterdir()):
        folder.rmdir()
    return sum(info.bytes for info in infos)


def free_bytes(folder: Path) -> int:
    """Free space on the folder's disk."""
    place = folder
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(os.fspath(place)).free
