"""From one image to the next: the step rules of the searches that follow a gradient."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil

import torch
from torch import Tensor

from vlseg.attacks.balls import projected, steepest
from vlseg.attacks.plan import Attack, Budget

Rule = Callable[[Tensor, Tensor, Tensor], Tensor]
"""The image (B, 3, h, w), the gradient of what is maximised there, and its value (B,), to the change that comes next:
within the ball, not yet clipped to [0, 1]. Called once a step, in order."""


def rule_for(attack: Attack, clean: Tensor) -> Rule:
    """A new rule for the images (B, 3, h, w)."""
    assert attack.search.steps is not None  # set when it was made
    if attack.search.method == "apgd":
        return Apgd(clean, attack.budget, attack.search.steps)
    return Pgd(clean, attack.budget, attack.step_size, attack.search.momentum)


@dataclass
class Pgd:
    """Steps of one length along the steepest direction, with momentum where one is given (MI-FGSM)."""

    clean: Tensor
    budget: Budget
    step_size: float
    momentum: float = 0.0
    _sum: Tensor | None = None

    def __call__(self, image: Tensor, gradient: Tensor, values: Tensor) -> Tensor:
        """See `Rule`."""
        if self.momentum:
            scale = gradient.abs().flatten(1).mean(1).clamp_min(torch.finfo(gradient.dtype).tiny)
            gradient = gradient / scale[:, None, None, None]
            self._sum = gradient if self._sum is None else self.momentum * self._sum + gradient
            gradient = self._sum
        change = image - self.clean + self.step_size * steepest(gradient, self.budget.norm)
        return projected(change, self.budget.norm, self.budget.epsilon)


MOMENTUM, RISES = 0.75, 0.75
"""APGD's weight of the new step, and the share of steps since a checkpoint that must have risen."""


def checkpoints(steps: int) -> list[int]:
    """Steps after which APGD may halve its step size (Croce and Hein 2020, section 3.1)."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return sorted({ceil(round(share * steps, 6)) for share in shares[1:] if share < 1})


@dataclass
class Apgd:
    """Auto-PGD (Croce and Hein, ICML 2020): steps of 2 epsilon with momentum, halved by row where they stop to help.

    At a checkpoint a row whose value rose in less than three quarters of the steps since the last one, or whose best
    value and step size stayed as they were, halves its step size and goes on from its best image.
    """

    clean: Tensor
    budget: Budget
    steps: int
    _step: int = 0
    _state: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, image: Tensor, gradient: Tensor, values: Tensor) -> Tensor:
        """See `Rule`."""
        state, marks = self._state, checkpoints(self.steps)
        if self._step == 0:
            state |= {"size": torch.full_like(values, 2 * self.budget.epsilon), "before": image, "value": values}
            state |= {"best": values, "image": image, "gradient": gradient, "best_at_mark": values}
            state |= {"rises": torch.zeros_like(values), "halved": torch.zeros_like(values, dtype=torch.bool)}
        state["rises"] = state["rises"] + (values > state["value"])
        state["value"] = values
        better = values > state["best"]
        state["best"] = torch.where(better, values, state["best"])
        for name, new in (("image", image), ("gradient", gradient)):
            state[name] = torch.where(_each(better), new, state[name])
        if self._step in marks:
            since = self._step - max((mark for mark in marks if mark < self._step), default=0)
            halve = self._checked(since)
            image = torch.where(_each(halve), state["image"], image)
            gradient = torch.where(_each(halve), state["gradient"], gradient)
        return self._next(image, gradient)

    def _checked(self, since: int) -> Tensor:
        """Which rows halve their step size; the count starts anew."""
        state = self._state
        stuck = ~state["halved"] & (state["best"] <= state["best_at_mark"])
        halve = (state["rises"] < RISES * since) | stuck
        state["size"] = torch.where(halve, state["size"] / 2, state["size"])
        state |= {"halved": halve, "best_at_mark": state["best"], "rises": torch.zeros_like(state["rises"])}
        return halve

    def _next(self, image: Tensor, gradient: Tensor) -> Tensor:
        norm, epsilon = self.budget.norm, self.budget.epsilon
        change = image - self.clean
        ahead = projected(change + _each(self._state["size"]) * steepest(gradient, norm), norm, epsilon)
        ahead = (self.clean + ahead).clamp(0, 1) - self.clean
        if self._step > 0:
            moved = MOMENTUM * (ahead - change) + (1 - MOMENTUM) * (image - self._state["before"])
            ahead = projected(change + moved, norm, epsilon)
        self._state["before"] = image
        self._step += 1
        return ahead


def _each(values: Tensor) -> Tensor:
    return values[:, None, None, None]
