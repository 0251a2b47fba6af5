"""What `vlseg models` says of each model."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from vlseg.models import MODELS, as_module, build_model
from vlseg.records import unknown_name


@dataclass(frozen=True)
class ModelCard:
    """One line of the table; `weights` is a hub id or "random", `parameters` counts all of them."""

    name: str
    image_size: int
    parameters: int
    text_encoder: str | None
    weights: str
    licence: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


_FACTS: dict[str, tuple[str | None, str, str]] = {
    "clipseg": ("CLIP, 77 tokens", "CIDAS/clipseg-rd64-refined", "Apache-2.0 by its hub card"),
    "clipseg-tiny": ("hashed words, 77", "random", "ours, Apache-2.0"),
    "unet": (None, "random", "ours, Apache-2.0"),
    "unet-target": (None, "random", "ours, Apache-2.0"),
}


def model_cards(name: str | None = None) -> list[ModelCard]:
    """Cards of all models, or of one. Built without memory for the weights (torch's meta device).

    Raises:
        InputError: unknown model.
    """
    if name is not None and name not in MODELS:
        raise unknown_name("model", name, MODELS)
    return [_card(known) for known in MODELS if name in (None, known)]


def _card(name: str) -> ModelCard:
    with torch.device("meta"):
        model = build_model(name, targets=("target",))
    parameters = sum(parameter.numel() for parameter in as_module(model).parameters())
    text, weights, licence = _FACTS[name]
    return ModelCard(name, model.spec.image_size[0], parameters, text, weights, licence)
