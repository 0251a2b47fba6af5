"""Image and prompt features kept on disk: computed once, reused by every run, prompt and seed, across processes.

A store is a folder of files named by what they hold; a file appears whole or not at all, so that several processes may
fill one store and any of them may be killed. What the numbers depend on besides the image itself (weights, protocol,
precision, libraries) is the context: features of another context lie in another folder and are never returned.
"""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from vlseg.models.device import autocast
from vlseg.models.protocol import ImageFeatures, Inputs, PromptFeatures, Rows, Segmenter, Spec, as_module
from vlseg.models.saving import save_tensors
from vlseg.records import InputError, write_text

FORMAT = 2
Precision = Literal["fp16", "fp32"]
DTYPES: dict[str, torch.dtype] = {"fp16": torch.float16, "fp32": torch.float32}
RECOUNTS = 32
"""What all processes wrote is counted again after each such share of the limit."""
SIZE_KEY = "original_size"
"""Kept beside the features: what `restore` needs of the inputs."""
LIBRARIES = ("torch", "transformers", "timm", "segmentation-models-pytorch", "vlseg")
PROBE_PROMPTS = ("", "polyp", "a small, round tumour (12 mm) at the upper left of the breast", "Kehlkopf: geöffnet?")
"""How a tokenizer takes these apart tells it from another one."""
NOTES = frozenset(
    {"training", "random_part", "name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype"}
)
"""Attributes of modules and configurations that say where a model comes from or what is done with it."""


@dataclass(frozen=True)
class StoreInfo:
    """One context of a store: what it was made with, how many files, how many bytes."""

    folder: Path
    context: Mapping[str, Any]
    files: int
    bytes: int


class FeatureStore:
    """Features under one context.

    `limit` bytes are kept at most; what does not fit any more is computed each time, nothing is thrown away.
    """

    def __init__(self, folder: Path, context: Mapping[str, Any], dtype: Precision, limit: int | None = None) -> None:
        told = json.dumps({**context, "dtype": dtype, "format": FORMAT}, sort_keys=True, indent=1)
        self.folder = folder / hashlib.sha256(told.encode()).hexdigest()[:20]
        self.dtype = DTYPES[dtype]
        self.limit = limit
        if not (self.folder / "context.json").exists():
            write_text(self.folder / "context.json", told + "\n")
        self.used = self._counted = self._written()

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
        return sum(file.stat().st_size for file in self.folder.glob("*/*.safetensors"))

    def _kept(self, tensor: Tensor) -> Tensor:
        plain = tensor.detach().cpu().contiguous()
        return plain.to(self.dtype) if plain.is_floating_point() else plain

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"


def encoder_context(model: Segmenter, device: torch.device, precision: str) -> dict[str, Any]:
    """Everything that an image's and a prompt's features depend on besides image and prompt.

    Asked of the model itself, not of what it was built from: weights and buffers, settings of its modules (heads, taps,
    epsilons), what its preprocessing makes of an image and its tokenizer of some prompts. The decoder's do not count.

    Raises:
        InputError: a model whose encoders need each other.
    """
    spec = model.spec
    if spec.image_features_depend_on_text or spec.prompt_features_depend_on_image:
        raise InputError(f"feature cache: the encoders of '{spec.name}' depend on each other; train without")
    decoder = [inner for module in model.parts().get("mask_decoder", []) for inner in module.modules()]
    network = as_module(model)
    return {
        "model": spec.name,
        "protocol": spec.protocol,
        "image_size": list(spec.image_size),
        "targets": list(spec.targets) if spec.uses_target else None,
        "encoder": _weights_digest(network, decoder),
        "settings": _settings_digest(network, decoder),
        "preprocessing": _preprocessing_digest(model),
        "device": device.type,
        "processor": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "precision": precision,
        "products": torch.get_float32_matmul_precision(),
        "libraries": {name: _version(name) for name in LIBRARIES},
    }


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
    rows = store.get(f"prompt {prompt}")
    if rows is None:
        with torch.no_grad(), autocast(precision, device):
            tokens = model.tokenize([prompt])
            encoded = model.encode_prompts(tokens.to(device) if tokens is not None else None)
        assert encoded is not None  # asked only of models that read
        rows = store.put(f"prompt {prompt}", encoded)
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
        files = list(path.parent.glob("*/*.safetensors"))
        context = json.loads(path.read_text(encoding="utf-8"))
        found.append(StoreInfo(path.parent, context, len(files), sum(file.stat().st_size for file in files)))
    return found


def clear_store(folder: Path) -> int:
    """Delete all contexts, nothing else that lies in the folder; the number of bytes freed."""
    infos = store_infos(folder)
    for info in infos:
        shutil.rmtree(info.folder)
    if not any(folder.iterdir()):
        folder.rmdir()
    return sum(info.bytes for info in infos)


def _weights_digest(network: torch.nn.Module, without: Sequence[torch.nn.Module]) -> str:
    """Of all parameters and buffers but those of some modules."""
    outside = {id(tensor) for module in without for tensor in [*module.parameters(False), *module.buffers(False)]}
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict(keep_vars=True).items()):
        if id(tensor) not in outside:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _settings_digest(network: torch.nn.Module, without: Sequence[torch.nn.Module]) -> str:
    """Of the classes and plain attributes of all modules but some: what a computation is, beside its weights."""
    outside = {id(module) for module in without}
    told = [
        (name, type(module).__name__, _plain(vars(module)))
        for name, module in network.named_modules()
        if id(module) not in outside
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Numbers, words and what is made of them; None for everything else."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Mapping):
        kept = {str(key): _plain(inner) for key, inner in value.items() if key not in NOTES}
        return {key: inner for key, inner in kept.items() if not key.startswith("_") and inner is not None}
    if hasattr(value, "to_dict"):  # configurations of transformers
        return _plain(value.to_dict())
    return _plain(asdict(value)) if is_dataclass(value) and not isinstance(value, Spec | type) else None


def _preprocessing_digest(model: Segmenter) -> str:
    """Of what becomes of an image and of some prompts before the encoders see them."""
    image = torch.linspace(0, 1, 3 * 13 * 22).reshape(3, 13, 22)
    prepared, tokens = model.prepare([image]), model.tokenize(PROBE_PROMPTS) if model.spec.uses_text else None
    digest = hashlib.sha256()
    for rows in (prepared, tokens):
        for name, tensor in sorted(rows.tensors.items() if rows is not None else ()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _processor() -> str:
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def free_bytes(folder: Path) -> int:
    """Free space on the folder's disk."""
    place = folder
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(os.fspath(place)).free
