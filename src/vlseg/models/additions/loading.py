"""Putting an addition onto a model, and bringing a saved one back."""

import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlseg.models.additions import lora, peft_files
from vlseg.models.additions.base import BESIDE, Base, checksum
from vlseg.models.additions.extended import ADDED_FILE, DECODER, Extended
from vlseg.models.folder import check_fit
from vlseg.models.protocol import Segmenter, as_module
from vlseg.models.tensors import read_tensors
from vlseg.records import InputError

Build = Callable[[], Segmenter]


def extend(model: Segmenter, regime: str, arguments: Mapping[str, Any], base: Base, again: Build) -> Extended:
    """Put a regime's weights onto a model that is to be trained.

    Where the decoder, or an output of it, starts from random weights it trains as well, unless `train_decoder` says
    otherwise.

    Args:
        model: what is added to; changed in place.
        regime: a name in ADDITIONS.
        arguments: the regime's own, and `train_decoder`.
        base: where the model comes from.
        again: makes the model anew as `base` says.

    Raises:
        InputError: as `Extended`.
    """
    if isinstance(model, Extended):
        if (model.regime, model.arguments) == (regime, {**model.arguments, **arguments}):
            return model
        raise InputError(
            f"regime: the weights are a model with '{model.regime}' {model.arguments or ''}, which '{regime}' "
            f"{dict(arguments) or ''} cannot go onto; {model.way_out}"
        )
    fresh = base.weights is None or getattr(model, "random_part", None) is not None
    chosen = {"train_decoder": fresh, **arguments}
    beside = None if not fresh or _comes_again(model, chosen, again) else deepcopy(model)
    return Extended(model, regime, chosen, base, beside=beside)


def _comes_again(model: Segmenter, arguments: Mapping[str, Any], again: Build) -> bool:
    """Whether what is not saved of a model comes from its arguments alone, whatever the random numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch.initial_seed() ^ 1)
        other = again()
    sums = (
        checksum(as_module(one), without=one.parts().get(DECODER, []) if arguments["train_decoder"] else [])
        for one in (model, other)
    )
    return len(set(sums)) == 1


def load_extended(
    folder: Path,
    part: Mapping[str, Any],
    load: Callable[[Base, str | None], Segmenter],
    moved: str | None = None,
) -> Extended:
    """A saved addition on what it was put onto.

    Args:
        folder: where `Extended.save` wrote.
        part: ours of its config.json.
        load: gives the model of a `Base`, from a place where its weights lie, or None.
        moved: where the base lies now, if it is not where it was.

    Raises:
        InputError: the base is not there or is another one, or the folder is incomplete.
    """
    addition = part["addition"]
    try:
        known = dict(addition["base"])
        wanted = known.pop("sha256")
        base, regime, arguments = Base(**known), addition["regime"], addition["arguments"]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{folder / 'config.json'}: its part 'addition' is incomplete ({error}); save it again"
        ) from error
    place = _place(folder, base, moved)
    model = load(base, place)
    beside = deepcopy(model) if base.weights == BESIDE else None
    found = Extended(model, regime, arguments, base if moved is None else _at(base, moved), beside=beside)
    if found.checksum != wanted:
        raise InputError(
            f"{folder}: was trained onto another model than {place or base.model} is (checksum {wanted[:12]}, not "
            f"{found.checksum[:12]}); say where that one is: --set 'model_arguments={{base: FOLDER}}'"
        )
    read = found.addition.read
    _fill(found, read(folder) if read is not None else read_tensors(_file(folder / ADDED_FILE)), folder)
    return found


def load_adapter(folder: Path, load: Callable[[str], Segmenter], given: str | None) -> Extended:
    """A LoRA adapter as PEFT saves it, on the model it was trained on.

    Layers that no mask depends on (CLIPSeg's last blocks) are left out, and told.

    Args:
        folder: with PEFT's files.
        load: gives the model that lies in a place.
        given: where the model lies; None: where the adapter's configuration says.

    Raises:
        InputError: the model is not named, is not there or has other layers, or this is no plain LoRA.
    """
    settings, tensors = peft_files.read_settings(folder), peft_files.read_tensors_of(folder)
    place = given or settings.get("base_model_name_or_path")
    if not isinstance(place, str):
        raise InputError(
            f"{folder}: is a PEFT adapter; say which model it goes onto: --set 'model_arguments={{base: FOLDER}}'"
        )
    model = load(place)
    layers = peft_files.layers_of(tensors)
    targets, encoders, unread = lora.found_in(model, layers, str(folder))
    if unread:
        warnings.warn(
            f"{folder}: no mask depends on {len(unread)} of its layers ({unread[0]}, ...): left out", stacklevel=4
        )
    arguments = {
        "rank": settings["r"],
        "alpha": settings.get("lora_alpha", 8),  # PEFT's default
        "dropout": settings.get("lora_dropout", 0.0),
        "rslora": bool(settings.get("use_rslora", False)),
        "encoders": encoders,
        "targets": targets,
        "train_decoder": bool(settings.get("modules_to_save")),
    }
    found = Extended(model, "lora", arguments, _at(Base(model.spec.name, place, None, {}), place))
    assert found.addition.read is not None
    left = tuple(f"{peft_files.PREFIX}{layer}." for layer in unread)
    _fill(found, {key: one for key, one in found.addition.read(folder).items() if not key.startswith(left)}, folder)
    return found


def _fill(model: Extended, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Put the stored tensors in; the model is in eval mode then."""
    stored = model.stored()
    check_fit(stored, tensors, str(folder))
    with torch.no_grad():
        for name, tensor in stored.items():
            tensor.copy_(tensors[name])
    as_module(model).eval()


def _file(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"{path}: not found; the model folder is incomplete")
    return path


def _place(folder: Path, base: Base, moved: str | None) -> str | None:
    """Where the base's weights lie: a path or a hub id; None where its arguments say all."""
    if moved is not None or base.weights is None:
        return moved
    if base.weights == BESIDE:
        if not (folder / BESIDE).is_dir():
            raise InputError(f"{folder / BESIDE}: not found; the model folder is incomplete")
        return str(folder / BESIDE)
    place = Path(base.weights)
    if place.is_absolute() and not place.exists():
        raise InputError(
            f"{folder}: was trained onto {place}, which is not there any more; put it back there, or, unless this is a "
            "member of an ensemble, say where it is now: --set 'model_arguments={base: FOLDER}'"
        )
    return base.weights


def _at(base: Base, moved: str) -> Base:
    place = Path(moved)
    return Base(base.model, str(place.absolute()) if place.exists() else moved, None, base.arguments)
