"""What `vlseg models` says of each model."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from vlseg.models import as_module, build_model, known_models
from vlseg.models.manifest import WEIGHTS, Published
from vlseg.records import unknown_name


@dataclass(frozen=True)
class ModelCard:
    """One line of the table.

    `parameters` counts all of them, `decoder` those of the mask decoder, None where the members decide; `weights` and
    `licence` are the first published ones' place and licence, `published` all of them.
    """

    name: str
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


_BOTH = ("corrected", "published")
_FACTS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "clipseg": ("CLIP, 77 tokens", _BOTH),
    "clipseg-rd64": ("CLIP, 77 tokens", _BOTH),
    "cris": ("CLIP, 77 tokens", ("corrected", "original", "medvlsm", "attention_mask")),
    "biomedclipseg": ("PubMedBERT, 256 tokens", _BOTH),
    "biomedclipseg-d": ("PubMedBERT, 256 tokens", _BOTH),
    "smp-unet": (None, _BOTH),
    "smp-unetplusplus": (None, _BOTH),
    "smp-deeplabv3plus": (None, _BOTH),
    "clipseg-tiny": ("hashed words, 77", ("corrected",)),
    "unet": (None, ("corrected",)),
    "unet-target": (None, ("corrected",)),
}
"""Text encoder and protocols, of models that have more to tell than their spec."""


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
    if name == "ensemble":  # what its members are
        licence = "its members'"
        return ModelCard(name, None, None, None, "its members'", ("its members'",), "its members'", licence, ())
    with torch.device("meta"):
        model = build_model(name, targets=("target",))
    text, protocols = _FACTS.get(name, ("its own" if model.spec.uses_text else None, (model.spec.protocol,)))
    published = tuple(one for source in SOURCES.get(name, (name,)) for one in WEIGHTS if one.model == source)
    return ModelCard(
        name=name,
        image_size=model.spec.image_size[0],
        parameters=_count([as_module(model)]),
        decoder=_count(model.parts()["mask_decoder"]),
        text_encoder=text,
        protocols=protocols,
        weights=published[0].place if published else "random",
        licence=published[0].licence if published else "random weights, yours once trained",
        published=published,
    )


SOURCES = {"biomedclipseg-d": ("biomedclipseg", "clipseg")}
"""Models whose weights are published under other models' names."""


def _count(modules: Sequence[nn.Module]) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())
