"""Which parameters a regime trains; frozen parts stay in eval mode and never get a gradient."""

from collections.abc import Callable
from typing import Any

from torch import nn

from vlseg.models import Segmenter, as_module
from vlseg.models.additions import ADDITIONS
from vlseg.models.additions.extended import Extended
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


def trained_parts(model: Segmenter, regime: str) -> dict[str, list[nn.Module]]:
    """The parts of a model that a regime trains; what a regime adds to a model trains whole.

    Raises:
        InputError: unknown regime, or one that adds weights which this model has not.
    """
    if isinstance(model, Extended):
        if regime != model.regime:
            raise InputError(
                f"regime: the weights are a model with '{model.regime}'; go on with --regime {model.regime}, or "
                f"{model.way_out}"
            )
        return model.parts()
    if regime in ADDITIONS:
        raise InputError(f"regime: '{regime}' adds weights, which '{model.spec.name}' has not; see additions.extend")
    if regime not in REGIMES:
        raise unknown_name("regime", regime, [*REGIMES, *ADDITIONS])
    return {part: modules for part, modules in model.parts().items() if REGIMES[regime](part)}


def apply_regime(model: Segmenter, regime: str) -> list[nn.Module]:
    """Set requires_grad on every parameter; return the modules that train.

    Raises:
        InputError: as `trained_parts`, or nothing is left to train.
    """
    trained = trained_parts(model, regime)
    network = as_module(model)
    network.requires_grad_(False)
    training = [module for modules in trained.values() for module in modules]
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
