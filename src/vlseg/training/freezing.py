"""Which parameters a regime trains; frozen parts stay in eval mode and never get a gradient."""

from collections.abc import Callable

from torch import nn

from vlseg.models import Segmenter, as_module
from vlseg.records import InputError, unknown_name

ENCODERS = frozenset({"image_encoder", "text_encoder"})
REGIMES: dict[str, Callable[[str], bool]] = {
    "full": lambda part: True,
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


def train_mode(model: Segmenter, training: list[nn.Module]) -> None:
    """Train mode for what trains; eval mode for the rest (no dropout, no batch-norm drift)."""
    as_module(model).eval()
    for module in training:
        module.train()
