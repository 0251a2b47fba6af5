"""Which parameters a regime trains; frozen parts stay in eval mode and never get a gradient."""

from collections.abc import Callable
from typing import Any

from torch import nn

from vlseg.models import Segmenter, as_module
from vlseg.records import InputError, unknown_name

ENCODERS = frozenset({"image_encoder", "text_encoder"})
REGIMES: dict[str, Callable[[str], bool]] = {
    "full": lambda part: True,
    "freeze_text_encoder": lambda part: part != "text_encoder",
    "freeze_encoders": lambda part: part not in ENCODERS,
    "decoder": lambda part: part == "mask_decoder",
}
"""Whether a part trains. `freeze_encoders` differs from `decoder` where a model has further parts
(adapters, heads)."""


def apply_regime(model: Segmenter, regime: str) -> list[nn.Module]:
    """Set requires_grad on every parameter; return the modules that train.

    Raises:
        InputError: unknown regime, or one that leaves nothing to train.
    """
    if regime not in REGIMES:
        raise unknown_name("regime", regime, REGIMES)
    network = as_module(model)
    network.requires_grad_(False)
    training = [module for part, modules in model.parts().items() if REGIMES[regime](part) for module in modules]
    for module in training:
        module.requires_grad_(True)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise InputError(f"regime: '{regime}' leaves nothing of '{model.spec.name}' to train; take full")
    return training


def parameter_groups(model: Segmenter, encoder_rate: float) -> list[dict[str, Any]]:
    """What trains, for an optimiser: encoders at `encoder_rate` of the learning rate ("share"), the rest at 1."""
    encoders = [m for part, modules in model.parts().items() if part in ENCODERS for m in modules]
    inside = {id(parameter) for module in encoders for parameter in module.parameters()}
    trained = [parameter for parameter in as_module(model).parameters() if parameter.requires_grad]
    if encoder_rate == 1.0:
        return [{"params": trained, "share": 1.0}]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if (id(p) in inside) == encoder], "share": encoder_rate if encoder else 1.0}
        for encoder in (False, True)
    ]
    return [group for group in groups if group["params"]]


def train_mode(model: Segmenter, training: list[nn.Module]) -> None:
    """Train mode for what trains; eval mode for the rest (no dropout, no batch-norm drift)."""
    as_module(model).eval()
    for module in training:
        module.train()
