"""Everything that segments: the contract, the named builders, loading from a folder or the hub."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import torch

from vlseg.models.folder import carry_over, load_strictly, note_protocol, read_config, target_axes, unnamed_targets
from vlseg.models.hub import locate
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
    "smp-unet": Entry("smp", "build_smp", "load_smp", {"name": "smp-unet"}),
    "smp-unetplusplus": Entry("smp", "build_smp", "load_smp", {"name": "smp-unetplusplus"}),
    "smp-deeplabv3plus": Entry("smp", "build_smp", "load_smp", {"name": "smp-deeplabv3plus"}),
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
        arguments: for published layouts those of their loader, e.g. {"clip": FOLDER} beside CLIPSeg's original decoder;
            for a saved model its image_size, where it has one.

    Raises:
        InputError: not there, unreachable, broken, or weights that do not fit.
    """
    path = locate(source, revision)
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
    if ours and ours["model"] in ("clipseg", "clipseg-rd64", "ensemble"):  # their folders are made of others'
        return _load(ours["model"], path, protocol, _changed(ours, arguments, source))
    if ours:
        return _load_ours(path, config, protocol, arguments)
    return _load(_published_name(path, config, name), path, protocol, arguments)


def retargeted(
    model: Segmenter,
    targets: tuple[str, ...],
    source: str,
    *,
    revision: str | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Segmenter:
    """A model with a row or channel for each target, for other targets: those that both have keep theirs.

    Args:
        model: loaded from `source`.
        targets: the new ones, which start from random weights where they are new.
        source: folder, file or hub id.
        revision: of a hub id.
        arguments: that it was loaded with.

    Raises:
        InputError: an architecture that cannot be built again so.
    """
    spec, path = model.spec, locate(source, revision)
    path = path / "model" if (path / "run.json").exists() else path
    ours = read_config(path).get("vlseg") if (path / "config.json").exists() else None
    given = {key: value for key, value in (arguments or {}).items() if key not in INITIAL}
    again = {**ours["arguments"], **_changed(ours, given, source)} if ours else given
    fresh = build_model(spec.name, arguments=again, targets=targets, protocol=spec.protocol)
    with torch.device("meta"):
        wider = build_model(spec.name, arguments=again, targets=(*targets, ""), protocol=spec.protocol)
    known = spec.targets
    if known == unnamed_targets(len(targets)):  # a file does not say whose its outputs are; as many are these
        known = targets
    rows = [(known.index(target), row) for row, target in enumerate(targets) if target in known]
    axes = target_axes(as_module(fresh), as_module(wider))
    carry_over(as_module(model), as_module(fresh), axes, rows, source)
    return fresh


INITIAL = frozenset({"encoder_weights", "decoder", "tokenizer", "targets"})
"""Builders' arguments that say what a model starts from, not how it is built."""


def _changed(ours: Mapping[str, Any], arguments: Mapping[str, Any] | None, where: str) -> dict[str, Any]:
    """What is given of the arguments that a saved model was built with, and that its weights leave open."""
    for key, value in (arguments or {}).items():
        own = ours["arguments"].get(key, value)
        if key != "image_size" and value != own:
            raise InputError(f"{where}: is built otherwise: its {key} is {own!r}, not {value!r}; leave {key} out")
    return {key: value for key, value in (arguments or {}).items() if key == "image_size" and key in ours["arguments"]}


def _load_ours(
    path: Path, config: Mapping[str, Any], protocol: str | None, given: Mapping[str, Any] | None
) -> Segmenter:
    """A folder that `save` wrote."""
    import safetensors.torch

    ours = config["vlseg"]
    arguments = {**ours["arguments"], **_changed(ours, given, str(path))}
    if ours["model"].startswith("biomedclipseg"):
        arguments["tokenizer"] = str(path)
    model = build_model(
        ours["model"],
        arguments=arguments,
        targets=tuple(ours["targets"]),
        protocol=protocol or ours["protocol"],
    )
    note_protocol(ours["protocol"], model.spec.protocol, str(path))
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
    fixed = {} if entry.module == "clipseg" else entry.fixed  # CLIPSeg's weights say which one they are
    return _call(loader, name, {"path": path, "protocol": protocol, **fixed, **(arguments or {})})


def known_models() -> list[str]:
    """Names of vlseg's own models and of other packages'."""
    return list(dict.fromkeys([*MODELS, *(point.name for point in entry_points(group="vlseg.models"))]))


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
    "known_models",
    "load_model",
    "retargeted",
]
