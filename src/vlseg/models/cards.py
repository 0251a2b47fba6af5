"""What `vlseg models` says of each model."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from vlseg.models import Published, architecture_of, as_module, build_model, known_models
from vlseg.records import unknown_name


@dataclass(frozen=True)
class ModelCard:
    """One line of the table.

    `parameters` counts all of them, `decoder` those of the mask decoder, None where the members decide; `weights` and
    `licence` are the first published ones' place and licence, `published` all of them.
    """

    name: str
    about: str
    image_size: int | None
    parameters: int | None
    decoder: int | None
    text_encoder: str | None
    protocols: tuple[str, ...]
    weights: str
    licence: str
    published: tuple[Published, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def model_cards(name: str | None = None) -> list[ModelCard]:
    """Cards of all models, or of one. Built without memory for the weights (torch's meta device).

    Raises:
        InputError: unknown model.
    """
    names = known_models()
    if name is not None and name not in names:
        raise unknown_name("model", name, names)
    return [_card(known) for known in names if name in (None, known)]


def _card(name: str) -> ModelCard:
    architecture = architecture_of(name)
    if architecture.composed:
        theirs = "its members'"
        return ModelCard(name, architecture.about, None, None, None, theirs, (theirs,), theirs, theirs, ())
    with torch.device("meta"):
        model = build_model(name, targets=("target",))
    published = architecture.published
    return ModelCard(
        name=name,
        about=architecture.about,
        image_size=model.spec.image_size[0],
        parameters=_count([as_module(model)]),
        decoder=_count(model.parts()["mask_decoder"]),
        text_encoder=architecture.text_encoder or ("its own" if model.spec.uses_text else None),
        protocols=architecture.protocols or (model.spec.protocol,),
        weights=published[0].place if published else "random",
        licence=published[0].licence if published else "random weights, yours once trained",
        published=published,
    )


def _count(modules: Sequence[nn.Module]) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())
