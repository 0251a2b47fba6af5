"""What lets a model say found, not found or cannot judge; a folder of small files beside its weights."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import safetensors
import safetensors.numpy
import torch

from vlseg.evaluation.familiarity import Familiarity, Part, Told
from vlseg.evaluation.presence import PresenceCalibration
from vlseg.evaluation.space import Space
from vlseg.models import Spec
from vlseg.models.saving import save_tensors
from vlseg.prompts import Vocabulary
from vlseg.records import InputError, read_json, replacing_folder, write_text

FOLDER = "judging"
"""In the model's folder."""
FORMAT = 1
FAMILIARITY, SPACES = "familiarity.json", "familiarity.safetensors"
PRESENCE, VOCABULARY = "presence.json", "vocabulary.json"
AGAIN = "write it again with vlseg calibrate"

Answered = Literal["found", "not_found", "cannot_judge"]
T = TypeVar("T")


def state_of(area_px: int, familiar: str, *, finite: bool = True) -> Answered:
    """What an answer says: the thing was found, was not found by this model, or the model cannot judge this image.

    Args:
        area_px: pixels of the mask; one is enough to have found something.
        familiar: "usual", "unlike" or "unknown" (nothing is known of what is usual for the model).
        finite: whether the answer's numbers are.
    """
    if familiar == "unlike" or not finite:
        return "cannot_judge"
    return "found" if area_px > 0 else "not_found"


@dataclass(frozen=True)
class Judging:
    """What is stored with a model; None where it is not, and `missing` has a line that says why."""

    familiarity: Familiarity | None = None
    presence: PresenceCalibration | None = None
    vocabulary: Vocabulary | None = None
    missing: tuple[str, ...] = field(default=(), compare=False)


def write_judging(model_folder: Path, judging: Judging) -> None:
    """Write what there is into the model's folder, in place of what was there.

    The files belong together: what is cut off in the middle leaves none of them, neither old nor new.

    Raises:
        InputError: the folder cannot be written.
    """
    place = model_folder / FOLDER
    shutil.rmtree(place, ignore_errors=True)
    with replacing_folder(place) as folder:
        if judging.familiarity is not None:
            _write_familiarity(folder, judging.familiarity)
        if judging.presence is not None:
            _write(folder / PRESENCE, judging.presence.to_json())
        if judging.vocabulary is not None:
            _write(folder / VOCABULARY, judging.vocabulary.to_json())


def read_judging(model_folder: Path, spec: Spec | None = None) -> Judging:
    """What is stored in a model's folder; nothing, where the folder is not one or has none.

    With the `spec` that the model is used under, what was fitted to another protocol or input size is left out, and
    `missing` says so.

    Raises:
        InputError: a broken file, or one of a later format.
    """
    familiarity, presence = familiarity_of(model_folder), presence_of(model_folder)
    vocabulary = vocabulary_of_model(model_folder)
    missing: tuple[str, ...] = ()
    if spec is not None and familiarity is not None and familiarity.model != _model(spec):
        name, protocol, size = familiarity.model
        missing = (
            f"{model_folder}: which images are usual was fitted to '{name}' of protocol '{protocol}' at "
            f"{size[0]}x{size[1]}, and the model is used otherwise: it is not told; run vlseg calibrate",
        )
        familiarity, presence = None, None
    return Judging(familiarity, presence, vocabulary, missing)


def copy_judging(source: Path, target: Path) -> None:
    """What is stored in one model's folder into another's, of the same function."""
    if (source / FOLDER).is_dir():
        shutil.copytree(source / FOLDER, target / FOLDER, dirs_exist_ok=True)


def familiarity_of(model_folder: Path) -> Familiarity | None:
    """Which images are usual for a model; None where that is not stored.

    Raises:
        InputError: see `read_judging`.
    """
    return _read(model_folder / FOLDER / FAMILIARITY, lambda values: _familiarity(model_folder / FOLDER, values))


def presence_of(model_folder: Path) -> PresenceCalibration | None:
    """What makes the presence score a probability; None where that is not stored.

    Raises:
        InputError: see `read_judging`.
    """
    return _read(model_folder / FOLDER / PRESENCE, PresenceCalibration.from_json)


def vocabulary_of_model(model_folder: Path) -> Vocabulary | None:
    """The words and prompts that a model was trained with; None where they are not stored.

    Raises:
        InputError: see `read_judging`.
    """
    return _read(model_folder / FOLDER / VOCABULARY, Vocabulary.from_json)


def _model(spec: Spec) -> tuple[str, str, tuple[int, int]]:
    return spec.name, spec.protocol, (spec.image_size[0], spec.image_size[1])


def _write(path: Path, values: Mapping[str, Any]) -> None:
    write_text(path, json.dumps({"format_version": FORMAT, **values}, indent=1, ensure_ascii=False) + "\n")


def _read(path: Path, made: Callable[[dict[str, Any]], T]) -> T | None:
    if not path.is_file():
        return None
    values = read_json(path, AGAIN)
    if isinstance(values, dict) and isinstance(values.get("format_version"), int) and values["format_version"] > FORMAT:
        raise InputError(f"{path}: written by a later vlseg (format {values['format_version']}); update vlseg")
    try:
        return made(values)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"{path}: not what vlseg writes there ({error!r}); {AGAIN}") from error


def _write_familiarity(folder: Path, familiarity: Familiarity) -> None:
    tensors = {
        f"{number}.{kind}.{name}": torch.from_numpy(tensor)
        for number, part in enumerate(familiarity.parts)
        for kind, space in (("colours", part.colours), ("features", part.features))
        if space is not None
        for name, tensor in space.to_tensors().items()
    }
    name, protocol, size = familiarity.model
    values = {
        "model": {"name": name, "protocol": protocol, "image_size": list(size)},
        "features": "image encoder" if any(part.features is not None for part in familiarity.parts) else None,
        "limit": asdict(familiarity.told),
        "scales": dict(familiarity.scales),
        "parts": [
            {"dataset": part.dataset, "modality": part.modality, "chroma": list(part.chroma)}
            for part in familiarity.parts
        ],
    }
    save_tensors(folder / SPACES, tensors)
    _write(folder / FAMILIARITY, values)


def _familiarity(folder: Path, values: dict[str, Any]) -> Familiarity:
    try:
        tensors = safetensors.numpy.load_file(folder / SPACES)
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{folder / SPACES}: cannot be read ({error}); {AGAIN}") from error
    spaces: dict[str, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        place, _, name = key.rpartition(".")
        spaces.setdefault(place, {})[name] = tensor
    parts = tuple(
        Part(
            dataset=str(one["dataset"]),
            modality=str(one["modality"]),
            colours=Space.from_tensors(spaces[f"{number}.colours"]),
            features=Space.from_tensors(spaces[f"{number}.features"]) if f"{number}.features" in spaces else None,
            chroma=(float(one["chroma"][0]), float(one["chroma"][1])),
        )
        for number, one in enumerate(values["parts"])
    )
    model, size = values["model"], values["model"]["image_size"]
    return Familiarity(
        parts=parts,
        scales={name: float(scale) for name, scale in values["scales"].items()},
        told=Told(**values["limit"]),
        model=(str(model["name"]), str(model["protocol"]), (int(size[0]), int(size[1]))),
    )
