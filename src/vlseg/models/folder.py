"""A model on disk: config.json (with our part under "vlseg") and model.safetensors."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vlseg.models.saving import save_tensors
from vlseg.records import InputError, read_json, write_text

MODEL_FORMAT = 1
ADDED_FORMAT = 2
"""Of folders that hold what was added to a model, and not the model."""
EXPORTED_FORMAT = 3
"""Of folders that hold a model's graphs."""


def write_model(folder: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Write config.json and model.safetensors; `config` already holds the "vlseg" part."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    save_tensors(folder / "model.safetensors", tensors, {"format": "pt"})
    write_text(folder / "config.json", json.dumps(config, indent=1) + "\n")


def our_part(name: str, protocol: str, targets: tuple[str, ...], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The "vlseg" part of config.json: what rebuilds the model."""
    return {
        "format_version": MODEL_FORMAT,
        "model": name,
        "protocol": protocol,
        "targets": list(targets),
        "arguments": dict(arguments),
    }


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a model folder.

    Raises:
        InputError: missing or broken.
    """
    path = folder / "config.json"
    config = read_json(path, "a model folder holds config.json and model.safetensors")
    if not isinstance(config, dict):
        raise InputError(f"{path}: must hold one JSON object")
    return config


def saved_part(config: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """The "vlseg" part of a config.json; None where it has none: `save` did not write the folder.

    Raises:
        InputError: incomplete, or of a newer version.
    """
    part = config.get("vlseg")
    if part is None:
        return None
    kinds = {"format_version": int, "model": str, "protocol": str, "targets": list, "arguments": dict}
    wrong = [key for key, kind in kinds.items() if not isinstance(part, dict) or not isinstance(part.get(key), kind)]
    if wrong:
        raise InputError(f"{folder / 'config.json'}: its part 'vlseg' has no usable {', '.join(wrong)}; save it again")
    if part["format_version"] > EXPORTED_FORMAT:
        raise InputError(
            f"{folder / 'config.json'}: is of model format {part['format_version']}, and this vlseg reads up to "
            f"{EXPORTED_FORMAT}; update vlseg"
        )
    return dict(part)


def load_strictly(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Load every tensor, whatever precision it was stored in: nothing stays random.

    A missing, left-over or wrongly shaped one is an error that names it, and so is one with NaN or infinite values.
    Batch norm's counters alone may be missing: nothing reads them.

    Raises:
        InputError: lists up to five offending keys of each kind, of the first wrongly shaped one both shapes.
    """
    expected = module.state_dict()
    check_fit(expected, weights, where)
    module.load_state_dict({**expected, **weights})


def check_fit(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor], where: str) -> None:
    """Refuse weights that are not exactly the expected ones, by name and shape, or not finite.

    Raises:
        InputError: as `load_strictly`.
    """
    missing = [key for key in expected if key not in weights and not key.endswith("num_batches_tracked")]
    left_over = [key for key in weights if key not in expected]
    both = [key for key in expected if key in weights]
    misshaped = [key for key in both if expected[key].shape != weights[key].shape]
    kinds = [key for key in both if expected[key].is_floating_point() and not weights[key].is_floating_point()]
    problems = [
        f"{len(keys)} {word} ({', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''})"
        for word, keys in (("missing", missing), ("left over", left_over), ("of another shape", misshaped))
        if keys
    ]
    if misshaped:
        theirs, ours = (shape(one[misshaped[0]].shape) for one in (weights, expected))
        problems.append(f"{misshaped[0]} is {theirs} in the file, {ours} in the model")
    if kinds:
        problems.append(f"{kinds[0]} is {weights[kinds[0]].dtype} in the file: quantised weights are not read")
    if problems:
        raise InputError(f"{where}: weights do not fit the model: {'; '.join(problems)}")
    check_finite({key: weights[key] for key in both}, where)


def check_finite(weights: Mapping[str, Tensor], where: str) -> None:
    """Refuse weights that no training can have meant.

    Raises:
        InputError: NaN or infinite values; names the tensor.
    """
    for key, tensor in weights.items():
        if not _finite(tensor):
            raise InputError(
                f"{where}: {key} holds values that are not finite (NaN or infinity); the training that wrote it "
                "failed: take an earlier checkpoint"
            )


def shape(sizes: Sequence[int]) -> str:
    """In words."""
    return "x".join(map(str, sizes)) or "one number"


def _finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    low, high = tensor.float().aminmax()  # NaN passes through both
    return bool(torch.isfinite(low) and torch.isfinite(high))


def note_protocol(own: str, used: str, where: str) -> None:
    """Warn of weights that are used otherwise than they were trained."""
    if used != own:
        warnings.warn(f"{where}: trained under protocol '{own}', used under '{used}'", stacklevel=3)


def unnamed_targets(count: int) -> tuple[str, ...]:
    """Names for the outputs of weights that do not say whose they are."""
    return tuple(f"output {number}" for number in range(count))


def target_axes(module: nn.Module, wider: nn.Module) -> dict[str, int]:
    """The tensors that have a row for each target, and its axis: those that are longer in a module with one more."""
    more = wider.state_dict()
    return {
        key: next(axis for axis, size in enumerate(tensor.shape) if size != more[key].shape[axis])
        for key, tensor in module.state_dict().items()
        if key in more and tensor.shape != more[key].shape
    }


def carry_over(
    source: nn.Module, into: nn.Module, axes: Mapping[str, int], rows: Sequence[tuple[int, int]], where: str
) -> None:
    """Copy every tensor; of those with a row for each target only some rows, the others stay.

    Args:
        source: where from.
        into: where to; the same architecture.
        axes: see `target_axes`.
        rows: pairs of a target's position in `source` and in `into`.
        where: names the source in the error.

    Raises:
        InputError: names or shapes differ otherwise than by targets.
    """
    theirs, ours = source.state_dict(), into.state_dict()
    different = [key for key in ours if key not in axes and (key not in theirs or theirs[key].shape != ours[key].shape)]
    if theirs.keys() != ours.keys() or different:
        named = [*different, *(key for key in theirs if key not in ours)]
        raise InputError(
            f"{where}: is built otherwise than this model ({', '.join(named[:5])}); give its model_arguments"
        )
    result = {key: theirs[key] if key not in axes else ours[key].clone() for key in ours}
    for key, axis in axes.items():
        for their_row, our_row in rows:
            result[key].select(axis, our_row).copy_(theirs[key].select(axis, their_row))
    into.load_state_dict(result)
