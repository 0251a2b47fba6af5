"""Everything that segments: the contract, the named builders, loading from a folder or the hub."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from vlseg.models.folder import load_strictly, read_config
from vlseg.models.manifest import ANY_FILES, PUBLISHED
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


@dataclass(frozen=True)
class Entry:
    """Where a model is built and, where it comes in files of others, loaded: functions of a module below this one.

    `fixed` are arguments of both that the name stands for. Nothing is imported before it is needed.
    """

    module: str
    build: str
    load: str | None = None
    fixed: Mapping[str, str] = field(default_factory=dict)


MODELS: dict[str, Entry] = {
    "clipseg": Entry("clipseg", "build_clipseg", "load_clipseg"),
    "clipseg-rd64": Entry("clipseg", "build_clipseg", "load_clipseg", {"name": "clipseg-rd64"}),
    "cris": Entry("cris", "build_cris", "load_cris"),
    "biomedclipseg": Entry("biomedclipseg", "build_biomedclipseg", "load_biomedclipseg"),
    "biomedclipseg-d": Entry("biomedclipseg", "build_biomedclipseg", "load_biomedclipseg", {"name": "biomedclipseg-d"}),
    "smp-unet": Entry("smp", "build_smp", fixed={"name": "smp-unet"}),
    "smp-unetplusplus": Entry("smp", "build_smp", fixed={"name": "smp-unetplusplus"}),
    "smp-deeplabv3plus": Entry("smp", "build_smp", fixed={"name": "smp-deeplabv3plus"}),
    "ensemble": Entry("ensemble", "build_ensemble", "load_ensemble"),
    "clipseg-tiny": Entry("clipseg_tiny", "build_clipseg_tiny"),
    "unet": Entry("unet", "build_unet"),
    "unet-target": Entry("unet", "build_unet_target"),
}
"""By name. Builders take targets, protocol and the model's own arguments as keywords."""


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
    return _call(_builder(name), name, {"targets": targets, "protocol": protocol, **(arguments or {})})


def load_model(
    source: str,
    *,
    name: str | None = None,
    revision: str | None = None,
    protocol: str | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Segmenter:
    """A model from a run's or model's folder (ours or in a published layout), from a published file, or from a hub id.

    Args:
        source: folder, file or hub id.
        name: which model it is; needed for files, and where a layout serves several.
        revision: of a hub id.
        protocol: instead of the weights' own.
        arguments: further ones for published layouts, e.g. {"clip": FOLDER} beside CLIPSeg's original decoder.

    Raises:
        InputError: not there, unreachable, broken, or weights that do not fit.
    """
    path = Path(source) if Path(source).exists() else _download(source, revision, name)
    if (path / "run.json").exists():
        path = path / "model"
    if path.is_file():
        if name is None:
            raise InputError(
                f"{path}: a file does not say which model it is; give the model's name and --weights {path}"
            )
        return _load(name, path, protocol, arguments)
    config = read_config(path) if (path / "config.json").exists() else {}
    ours = config.get("vlseg")
    if ours and protocol not in (None, ours["protocol"]):
        warnings.warn(f"{path}: trained under protocol '{ours['protocol']}', used under '{protocol}'", stacklevel=2)
    if ours and ours["model"] in ("clipseg", "clipseg-rd64", "ensemble"):  # their folders are made of others'
        return _load(ours["model"], path, protocol, {})
    if ours:
        return _load_ours(path, config, protocol)
    return _load(_published_name(path, config, name), path, protocol, arguments)


def _load_ours(path: Path, config: Mapping[str, Any], protocol: str | None) -> Segmenter:
    """A folder that `save` wrote."""
    import safetensors.torch

    ours = config["vlseg"]
    arguments = dict(ours["arguments"])
    if ours["model"].startswith("biomedclipseg"):
        arguments["tokenizer"] = str(path)
    model = build_model(
        ours["model"], arguments=arguments, targets=tuple(ours["targets"]), protocol=protocol or ours["protocol"]
    )
    weights = path / "model.safetensors"
    if not weights.exists():
        raise InputError(f"{weights}: not found; the model folder is incomplete")
    load_strictly(as_module(model), safetensors.torch.load_file(weights), str(path))
    return model


def _published_name(path: Path, config: Mapping[str, Any], name: str | None) -> str:
    """Which model a folder in somebody else's layout is."""
    if config.get("model_type") == "clipseg":
        plain = not config.get("use_complex_transposed_convolution", False)
        return "clipseg-rd64" if plain else "clipseg"
    if (path / "open_clip_config.json").exists():
        return name or "biomedclipseg"
    if name is not None and name in MODELS and MODELS[name].load:
        return name
    if not config:
        raise InputError(f"{path}: holds no config.json; give a run folder, a model folder, or a published file")
    raise InputError(
        f"{path / 'config.json'}: model_type '{config.get('model_type')}' is not supported (supported: clipseg)"
    )


def _load(name: str, path: Path, protocol: str | None, arguments: Mapping[str, Any] | None) -> Segmenter:
    if name not in MODELS:
        raise unknown_name("model", name, MODELS)
    entry = MODELS[name]
    if entry.load is None:
        raise InputError(f"{path}: '{name}' has no published files; give a run or a model folder of vlseg")
    loader: Builder = getattr(import_module(f"vlseg.models.{entry.module}"), entry.load)
    fixed = entry.fixed if entry.module == "biomedclipseg" else {}
    return _call(loader, name, {"path": path, "protocol": protocol, **fixed, **(arguments or {})})


def _builder(name: str) -> Builder:
    if name in MODELS:
        entry = MODELS[name]
        build: Builder = getattr(import_module(f"vlseg.models.{entry.module}"), entry.build)
        return partial(build, **entry.fixed)
    outside = {point.name: point for point in entry_points(group="vlseg.models")}
    if name in outside:
        builder: Builder = outside[name].load()
        return builder
    raise unknown_name("model", name, [*MODELS, *outside])


def _call(function: Builder, name: str, arguments: Mapping[str, Any]) -> Segmenter:
    try:
        return function(**arguments)
    except TypeError as error:
        raise InputError(f"model_arguments of '{name}': {error}") from error


def _download(source: str, revision: str | None, name: str | None) -> Path:
    """A snapshot of a hub repository from the local cache, else from the network, at its pinned revision."""
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise InputError(f"weights '{source}': no such file or folder, and not a hub id of the form owner/name")
    from huggingface_hub import snapshot_download

    known = PUBLISHED.get(source)
    try:
        return Path(
            snapshot_download(
                source,
                revision=revision or (known.revision if known else None),
                allow_patterns=list(known.files if known else ANY_FILES),
            )
        )
    except Exception as error:  # the hub raises many kinds: offline, not found, gated, disk full
        wanted = ", ".join(known.files) if known else "config.json, model.safetensors, vocab.json and merges.txt"
        raise InputError(
            f"weights '{source}': not in the local cache and not downloadable here ({type(error).__name__}); "
            f"fetch its {wanted} into a folder and give that folder with --weights"
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
