"""Everything that segments: the contract, the named builders, loading from a folder or the hub."""

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from vlseg.models.protocol import (
    ImageFeatures,
    Inputs,
    Output,
    PromptFeatures,
    Rows,
    Segmenter,
    Spec,
    Tokens,
    as_module,
)
from vlseg.records import InputError, unknown_name

Builder = Callable[..., Segmenter]


def _clipseg(**arguments: Any) -> Segmenter:
    from vlseg.models.clipseg import build_clipseg

    return build_clipseg(**arguments)


def _clipseg_tiny(**arguments: Any) -> Segmenter:
    from vlseg.models.clipseg_tiny import build_clipseg_tiny

    return build_clipseg_tiny(**arguments)


def _unet(**arguments: Any) -> Segmenter:
    from vlseg.models.unet import build_unet

    return build_unet(**arguments)


def _unet_target(**arguments: Any) -> Segmenter:
    from vlseg.models.unet import build_unet_target

    return build_unet_target(**arguments)


MODELS: dict[str, Builder] = {
    "clipseg": _clipseg,
    "clipseg-tiny": _clipseg_tiny,
    "unet": _unet,
    "unet-target": _unet_target,
}
"""Builders by name. Each takes image_size, targets and protocol as keywords."""


def build_model(
    name: str,
    *,
    arguments: Mapping[str, Any] | None = None,
    targets: tuple[str, ...] = (),
    protocol: str = "corrected",
) -> Segmenter:
    """The named model with random weights from torch's global generator (seed it first).

    Raises:
        InputError: unknown model or argument.
    """
    builder = _find_builder(name)
    try:
        return builder(targets=targets, protocol=protocol, **dict(arguments or {}))
    except TypeError as error:
        raise InputError(f"model_arguments of '{name}': {error}") from error


def load_model(source: str, *, revision: str | None = None, protocol: str | None = None) -> Segmenter:
    """A model from a folder (ours or in the published layout) or from a hub id.

    Raises:
        InputError: not there, unreachable, broken, or weights that do not fit.
    """
    folder = Path(source) if Path(source).is_dir() else _download(source, revision)
    from vlseg.models.folder import load_strictly, read_config

    config = read_config(folder)
    ours = config.get("vlseg")
    name = str(ours["model"] if ours else config.get("model_type"))
    if name == "clipseg":
        from vlseg.models.clipseg import load_clipseg

        return load_clipseg(folder, protocol=protocol)
    if not ours:
        raise InputError(f"{folder / 'config.json'}: model_type '{name}' is not supported (supported: clipseg)")
    import safetensors.torch

    model = build_model(
        name,
        arguments=ours["arguments"],
        targets=tuple(ours["targets"]),
        protocol=protocol or ours["protocol"],
    )
    weights = folder / "model.safetensors"
    if not weights.exists():
        raise InputError(f"{weights}: not found; the model folder is incomplete")
    load_strictly(as_module(model), safetensors.torch.load_file(weights), str(folder))
    return model


def _find_builder(name: str) -> Builder:
    if name in MODELS:
        return MODELS[name]
    outside = {point.name: point for point in entry_points(group="vlseg.models")}
    if name in outside:
        builder: Builder = outside[name].load()
        return builder
    raise unknown_name("model", name, [*MODELS, *outside])


def _download(source: str, revision: str | None) -> Path:
    """A snapshot of a hub repository from the local cache, else from the network."""
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise InputError(f"weights '{source}': no such folder, and not a hub id of the form owner/name")
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.txt", "model.safetensors", "pytorch_model.bin"]
    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=patterns))
    except Exception as error:  # the hub raises many kinds: offline, not found, gated, disk full
        raise InputError(
            f"weights '{source}': not in the local cache and not downloadable here ({type(error).__name__}); "
            "fetch its config.json, model.safetensors, vocab.json and merges.txt into a folder and give that folder"
        ) from error


__all__ = [
    "MODELS",
    "ImageFeatures",
    "Inputs",
    "Output",
    "PromptFeatures",
    "Rows",
    "Segmenter",
    "Spec",
    "Tokens",
    "as_module",
    "build_model",
    "load_model",
]
