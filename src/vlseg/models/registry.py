"""Every model by name: vlseg's own, and those of other packages."""

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from vlseg.models.architecture import Architecture
from vlseg.records import InputError, read_json, unknown_name

GROUP = "vlseg.models"
"""Entry points of other packages, of the same form as below."""

MODELS: dict[str, str] = {
    "clipseg": "vlseg.models.clipseg:CLIPSEG",
    "clipseg-rd64": "vlseg.models.clipseg:CLIPSEG_RD64",
    "cris": "vlseg.models.cris:CRIS",
    "biomedclipseg": "vlseg.models.biomedclipseg:BIOMEDCLIPSEG",
    "biomedclipseg-d": "vlseg.models.biomedclipseg:BIOMEDCLIPSEG_D",
    "smp-unet": "vlseg.models.smp:UNET",
    "smp-unetplusplus": "vlseg.models.smp:UNETPLUSPLUS",
    "smp-deeplabv3plus": "vlseg.models.smp:DEEPLABV3PLUS",
    "unet-d": "vlseg.models.vlsm_ensemble:UNET_D",
    "vlsm-ensemble-a": "vlseg.models.vlsm_ensemble:VLSM_ENSEMBLE_A",
    "vlsm-ensemble-b": "vlseg.models.vlsm_ensemble:VLSM_ENSEMBLE_B",
    "vlsm-ensemble-c": "vlseg.models.vlsm_ensemble:VLSM_ENSEMBLE_C",
    "lvit": "vlseg.models.lvit:LVIT",
    "lvit-tw": "vlseg.models.lvit:LVIT_TW",
    "lvit-unet": "vlseg.models.lvit:LVIT_UNET",
    "ensemble": "vlseg.models.ensemble:ENSEMBLE",
    "clipseg-tiny": "vlseg.models.clipseg_tiny:CLIPSEG_TINY",
    "guide": "vlseg.models.guide:GUIDE",
    "unet": "vlseg.models.unet:UNET",
    "unet-target": "vlseg.models.unet:UNET_TARGET",
}
"""By name, where the `Architecture` stands. Nothing is imported before it is asked for."""

DEFAULT_MODEL = "guide"
"""What is trained where no model is named."""


def architecture_of(name: str) -> Architecture:
    """What the model's folder says of it; a builder alone is an architecture without files.

    Raises:
        InputError: unknown model.
    """
    outside = {} if name in MODELS else _outside()
    if name not in MODELS and name not in outside:
        raise unknown_name("model", name, [*MODELS, *outside])
    found = (EntryPoint(name, MODELS[name], GROUP) if name in MODELS else outside[name]).load()
    return found if isinstance(found, Architecture) else Architecture(build=found)


def known_models() -> list[str]:
    """Names of vlseg's own models and of other packages'."""
    return list(dict.fromkeys([*MODELS, *_outside()]))


def whose(folder: Path, config: Mapping[str, Any], name: str | None) -> str:
    """Which model a folder in somebody else's layout is, by asking each.

    Args:
        folder: not written by `save`.
        config: its config.json, {} where it has none.
        name: the model that is wanted, where the user says; decides where several, or none, recognise the folder.

    Raises:
        InputError: no model recognises it and none that has a loader is named.
    """
    found = next((names for names in _recognised(folder, config) if names), [])
    if found:
        return name if name in found else found[0]
    if name is not None and architecture_of(name).load is not None:
        return name
    readers = [one for one in MODELS if architecture_of(one).load is not None and not architecture_of(one).composed]
    holds = f"is of model_type '{config['model_type']}'" if "model_type" in config else "is of a kind"
    told = f"{folder / 'config.json'}: {holds}" if config else f"{folder}: holds no config.json, and files"
    raise InputError(
        f"{told} that no model recognises; give a run or model folder, or say which model it is (with files of others: "
        f"{', '.join(readers)})"
    )


def model_of(weights: str) -> str:
    """The model of a run's or a model's folder, ours or in a layout that one recognises.

    Raises:
        InputError: a file, a hub id, or a folder that does not say whose it is.
    """
    folder = model_folder(Path(weights))
    if not folder.is_dir():
        raise InputError(
            f"--weights: {weights} is no folder of a run or model here, so nothing says whose they are: give --model"
        )
    config = read_json(folder / "config.json", "give --model") if (folder / "config.json").exists() else {}
    return _saved(config) or whose(folder, config, None)


def saved_model(place: Path) -> str | None:
    """The model of a run's or model's folder that vlseg wrote; None of anything else."""
    file = model_folder(place) / "config.json"
    return _saved(read_json(file, "give another folder")) if file.is_file() else None


def _saved(config: Any) -> str | None:
    ours = config.get("vlseg") if isinstance(config, dict) else None
    name = ours.get("model") if isinstance(ours, dict) else None
    return name if isinstance(name, str) else None


def model_folder(path: Path) -> Path:
    """A run's model, or the place itself."""
    return path / "model" if (path / "run.json").exists() else path


def _recognised(folder: Path, config: Mapping[str, Any]) -> Iterator[list[str]]:
    """Names of the models that recognise it: vlseg's own, and only after them other packages'."""
    yield [one for one in MODELS if architecture_of(one).recognises(folder, config)]
    yield [one for one in _outside() if one not in MODELS and architecture_of(one).recognises(folder, config)]


def _outside() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
