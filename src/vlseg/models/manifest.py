"""Where published weights come from, over all models: place, pinned revision, checksum."""

from vlseg.models.architecture import Published
from vlseg.models.packaged import PACKAGED
from vlseg.models.registry import MODELS, architecture_of, known_models

ANY_FILES = (
    "*.json",
    "*.txt",
    "model.safetensors",
    "model-*.safetensors",
    "pytorch_model.bin",
    "pytorch_model-*.bin",
)
"""What is fetched from a hub repository that is not listed: weights whole or in shards, configuration, vocabulary."""


def published() -> tuple[Published, ...]:
    """All weights that vlseg's own models know of, and those in packages."""
    models = (one for name in MODELS for one in architecture_of(name).published)
    return tuple(dict.fromkeys([*models, *PACKAGED.values()]))


def published_at(place: str) -> Published | None:
    """The weights of a hub id or address, also where it is a mirror."""
    return next((one for one in published() if place in (one.place, *one.mirrors)), None)


def whence(model: str) -> str:
    """One line: where to get weights for a model that has no default ones."""
    known = architecture_of(model).published
    told = [one.note for one in known if one.whole]
    told = told or [f"published are {one.note}" for one in known if one.package is None]
    if known and not told:
        told = [f"published are parts of it alone: vlseg train --model {model} makes a run"]
    return "; ".join(["give --weights RUN, FOLDER, FILE or a hub id", *told])


def default_weights(model: str) -> str | None:
    """The hub id that a model's bare name stands for, where it can segment as it is; None for what is no model."""
    known = architecture_of(model).published if model in known_models() else ()
    return next((one.place for one in known if one.whole and one.on_hub), None)
