"""Building a model by name, and loading it from a folder, a file or the hub.

What is special about a model stands in its own folder (see `Architecture`); here it is asked.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from vlseg.models.additions.base import Base
from vlseg.models.additions.loading import load_adapter, load_extended
from vlseg.models.additions.peft_files import is_adapter
from vlseg.models.exported.segmenter import load_exported
from vlseg.models.folder import (
    carry_over,
    load_strictly,
    note_protocol,
    read_config,
    saved_part,
    target_axes,
    unnamed_targets,
)
from vlseg.models.hub import locate
from vlseg.models.protocol import (
    Segmenter,
    as_module,
)
from vlseg.models.registry import architecture_of, model_folder, whose
from vlseg.models.tensors import read_tensors
from vlseg.records import InputError, unknown_name

RANDOM_PART = "random_part"
"""Attribute of a model that tells what of it the weights that were loaded lack."""


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
    given = {"targets": targets, "protocol": protocol, **(arguments or {})}
    return _call(architecture_of(name).build, name, given)


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
        name: which model it is; needed for files, where a layout serves several, and for a model that starts from
            another one's weights (`Architecture.starts_from`).
        revision: of a hub id.
        protocol: instead of the weights' own.
        arguments: for published layouts those of their loader, e.g. {"clip": FOLDER} beside CLIPSeg's original decoder;
            for a saved model what its weights leave open: its image_size, where it has one.

    Raises:
        InputError: not there, unreachable, broken, or weights that do not fit or are not finite.
    """
    path = model_folder(locate(source, revision))
    if path.is_file():
        if name is None:
            raise InputError(
                f"{path}: a file does not say which model it is; give the model's name and --weights {path}"
            )
        return _load(name, path, protocol, arguments)
    ours, config = _saved(path)
    if ours is None and is_adapter(path):
        return _load_adapter(path, name, protocol, arguments)
    if ours is None:
        return _load(whose(path, config, name), path, protocol, arguments)
    if "addition" in ours:
        return _load_addition(path, ours, protocol, arguments)
    if "exported" in ours:
        return load_exported(path, ours, protocol, arguments)
    if name is not None and ours["model"] in architecture_of(name).starts_from:
        return _load(name, path, protocol, arguments)
    changed = _changed(ours, arguments, source)
    if architecture_of(ours["model"]).loads_saved:
        return _load(ours["model"], path, protocol, changed)
    return _load_ours(path, ours, protocol, changed)


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
        targets: the new ones, which start from random weights where they are new (`random_part` of the result says so).
        source: folder, file or hub id.
        revision: of a hub id.
        arguments: that it was loaded with.

    Raises:
        InputError: an architecture that cannot be built again so.
    """
    spec, path = model.spec, model_folder(locate(source, revision))
    ours = _saved(path)[0] if path.is_dir() else None
    if ours is not None:
        again = {**ours["arguments"], **_changed(ours, arguments, source), **architecture_of(spec.name).restored(path)}
    else:
        starting = {"targets", *architecture_of(spec.name).initial}
        again = {key: value for key, value in (arguments or {}).items() if key not in starting}
        again |= getattr(model, "arguments", {})  # what its loader read in the files
    fresh = build_model(spec.name, arguments=again, targets=targets, protocol=spec.protocol)
    with torch.device("meta"):
        wider = build_model(spec.name, arguments=again, targets=(*targets, ""), protocol=spec.protocol)
    known = spec.targets
    if known == unnamed_targets(len(targets)):  # a file does not say whose its outputs are; as many are these
        known = targets
    rows = [(known.index(target), row) for row, target in enumerate(targets) if target in known]
    axes = target_axes(as_module(fresh), as_module(wider))
    carry_over(as_module(model), as_module(fresh), axes, rows, source)
    if len(rows) < len(targets):
        setattr(fresh, RANDOM_PART, "outputs of new targets")
    return fresh


def _saved(folder: Path) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Our part of the folder's config.json (None where `save` did not write it), and all of it."""
    config = read_config(folder) if (folder / "config.json").exists() else {}
    return saved_part(config, folder), config


def _changed(ours: Mapping[str, Any], arguments: Mapping[str, Any] | None, where: str) -> dict[str, Any]:
    """What is given of the arguments that a saved model was built with, and that its weights leave open."""
    own, kind = ours["arguments"], architecture_of(ours["model"])
    given = {key: value for key, value in (arguments or {}).items() if key not in {"targets", *kind.initial}}
    for key, value in given.items():
        if key not in own:
            raise unknown_name(f"argument of the saved {ours['model']} in {where}", key, own)
        if key not in kind.resizable and value != own[key]:
            raise InputError(f"{where}: is built otherwise: its {key} is {own[key]!r}, not {value!r}; leave {key} out")
    return {key: value for key, value in given.items() if key in kind.resizable}


def _load_ours(path: Path, ours: Mapping[str, Any], protocol: str | None, changed: Mapping[str, Any]) -> Segmenter:
    """A folder that `save` wrote."""
    model = build_model(
        ours["model"],
        arguments={**ours["arguments"], **changed, **architecture_of(ours["model"]).restored(path)},
        targets=tuple(ours["targets"]),
        protocol=protocol or ours["protocol"],
    )
    note_protocol(ours["protocol"], model.spec.protocol, str(path))
    weights = path / "model.safetensors"
    if not weights.exists():
        raise InputError(f"{weights}: not found; the model folder is incomplete")
    load_strictly(as_module(model), read_tensors(weights), str(path))
    return model


def _load_addition(
    path: Path, ours: Mapping[str, Any], protocol: str | None, arguments: Mapping[str, Any] | None
) -> Segmenter:
    """What a regime added, on what it was added to, which the argument `base` says the place of where it has moved."""
    (moved, given), targets = _base_of(arguments), tuple(ours["targets"])
    protocol = protocol or ours["protocol"]

    def base_model(base: Base, place: str | None) -> Segmenter:
        chosen = {**base.arguments, **given}
        if place is None:
            return build_model(base.model, arguments=chosen, targets=targets, protocol=protocol)
        model = load_model(place, name=base.model, revision=base.revision, protocol=protocol, arguments=chosen)
        if model.spec.uses_text or model.spec.targets == targets:
            return model
        return retargeted(model, targets, place, revision=base.revision, arguments=chosen)

    return load_extended(path, ours, base_model, moved)


def _load_adapter(path: Path, name: str | None, protocol: str | None, arguments: Mapping[str, Any] | None) -> Segmenter:
    """A LoRA adapter in PEFT's layout, on the model that the argument `base`, or the adapter itself, says."""
    place, given = _base_of(arguments)
    return load_adapter(
        path, lambda base: load_model(base, name=name, protocol=protocol, arguments=given or None), place
    )


def _base_of(arguments: Mapping[str, Any] | None) -> tuple[str | None, dict[str, Any]]:
    """The argument that says where what was added to lies, and the others."""
    given = dict(arguments or {})
    place = given.pop("base", None)
    if place is not None and not isinstance(place, str):
        raise InputError(f"model_arguments: base is {place!r}; give the folder, file or hub id of what was added to")
    return place, given


def _load(name: str, path: Path, protocol: str | None, arguments: Mapping[str, Any] | None) -> Segmenter:
    loader = architecture_of(name).load
    if loader is None:
        raise InputError(f"{path}: '{name}' has no published files; give a run or a model folder of vlseg")
    return _call(loader, name, {"path": path, "protocol": protocol, **(arguments or {})})


def _call(function: Callable[..., Segmenter], name: str, arguments: Mapping[str, Any]) -> Segmenter:
    try:
        return function(**arguments)
    except TypeError as error:
        raise InputError(f"model_arguments of '{name}': {error}") from error
