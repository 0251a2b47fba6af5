"""Where and how exactly a run computes: device, mixed precision, the gradients' scale under fp16."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from vlseg.models.device import autocast

SMALLEST_SCALE = 1e-4
"""Below it gradients overflow whatever they are multiplied with: thirty steps in a row were left out."""


class Arithmetic:
    """Forward and backward passes and optimiser steps on one device, in one precision.

    Under fp16 the loss is multiplied before the backward pass, so that small gradients do not become 0, and gradients
    are divided by that again before they are clipped and taken. A step whose gradients overflow is left out and the
    factor halved.
    """

    def __init__(self, precision: str, device: torch.device) -> None:
        self.precision, self.device = precision, device
        self.scaler = torch.amp.GradScaler(device.type) if precision == "fp16" else None

    def autocast(self) -> AbstractContextManager[object]:
        """Around forward passes."""
        return autocast(self.precision, self.device)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss."""
        self.scaled(loss).backward()  # type: ignore[no-untyped-call]

    def scaled(self, loss: Tensor) -> Tensor:
        """What to take gradients of, so that small ones do not become 0: a multiple of the loss."""
        return self.scaler.scale(loss) if self.scaler else loss

    def step(self, optimizer: torch.optim.Optimizer, clip_norm: float | None) -> bool:
        """Take the gradients, their norm at most `clip_norm`, and forget them; False where the step was left out.

        Raises:
            FloatingPointError: gradients that are not finite, under fp16 at every scale.
        """
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        if clip_norm is not None:
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            norm = float(torch.nn.utils.clip_grad_norm_(weights, clip_norm))
            if self.scaler is None and not math.isfinite(norm):
                raise FloatingPointError(f"the gradients' norm is {norm}; lower learning_rate or use fp32")
        taken = self._taken(optimizer)
        optimizer.zero_grad()
        return taken

    def _taken(self, optimizer: torch.optim.Optimizer) -> bool:
        if self.scaler is None:
            optimizer.step()
            return True
        before = self.scaler.get_scale()
        self.scaler.step(optimizer)
        self.scaler.update()
        if self.scaler.get_scale() < SMALLEST_SCALE:
            raise FloatingPointError("the gradients overflow in fp16 at every scale; use bf16 or fp32")
        return self.scaler.get_scale() >= before

    def state(self) -> dict[str, Any]:
        """What a resumed run needs; plain values."""
        return self.scaler.state_dict() if self.scaler else {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""
        if self.scaler is not None:
            self.scaler.load_state_dict(state)


@contextmanager
def deterministic_on_cpu(device: torch.device) -> Iterator[None]:
    """Exact resume is promised on the CPU; GPUs lack deterministic forms of some operations used here."""
    before = torch.are_deterministic_algorithms_enabled()
    deterministic: Any = torch.utils.deterministic  # its attributes are set at import, unseen by type checkers
    filling = deterministic.fill_uninitialized_memory
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True)
        # Would write NaN over every new tensor first: a debugging aid that costs time and decides nothing.
        deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        deterministic.fill_uninitialized_memory = filling
