"""What is maximised, and how far a goal is reached; one number per row."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vlseg.attacks.plan import Goal
from vlseg.losses import soft_dice_losses


@dataclass(frozen=True)
class Objective:
    """A goal for some rows.

    Attributes:
        mask: (B, 1, h, w) in [0, 1] on the network's grid: the truth of "untargeted", else what is wanted.
        threshold: on probabilities, which tells a pixel that is right.
    """

    goal: Goal
    mask: Tensor
    threshold: float

    @property
    def towards(self) -> bool:
        """A mask is wished for, not fled from."""
        return self.goal.kind != "untargeted"

    def losses(self, logits: Tensor, share: float | None = None) -> Tensor:
        """What is maximised, (B,).

        Args:
            logits: (B, 1, h, w).
            share: of SegPGD, the weight of the pixels that have got where they should, in [0, 1/2]; the others'
                is 1 - share (Gu et al., ECCV 2022: (t - 1) / 2T at step t of T). None: all alike.
        """
        sign = -1 if self.towards else 1
        total = torch.zeros(len(logits), device=logits.device)
        if self.goal.loss != "dice":
            pixels = cross_entropy(logits, self.mask)
            if share is not None:
                pixels = pixels * torch.where(self._there(logits), share, 1 - share)
            total = total + sign * pixels.flatten(1).mean(1)
        if self.goal.loss != "ce":
            total = total + sign * soft_dice_losses(probability(logits), self.mask)
        return total

    def _there(self, logits: Tensor) -> Tensor:
        """Pixels that answer as the goal wants them to."""
        alike = (logits.detach().sigmoid() > self.threshold) == (self.mask > 0.5)
        return alike if self.towards else ~alike


def probability(logits: Tensor) -> Tensor:
    """The sigmoid, with a gradient where the answer is sure: the library's is exactly 0 from a logit of 17 on."""
    logits = logits.float()
    return torch.where(logits > 0, 1 - (-logits).sigmoid(), logits.sigmoid())


def cross_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Of each pixel, (B, 1, h, w), with a gradient where the answer is sure.

    The library's subtracts the mask from the probability: exactly 0 from a logit of 17 on, and nothing to go by.
    """
    logits, mask = logits.float(), mask.float()
    return mask * F.softplus(-logits) + (1 - mask) * F.softplus(logits)


def dice_of(pred: Tensor, mask: Tensor) -> float:
    """Dice of two masks (H, W) of bool: `vlseg.metrics.dice_score` where they are."""
    total = int(pred.sum()) + int(mask.sum())
    return 1.0 if total == 0 else 2.0 * int((pred & mask).sum()) / total


def success_of(goal: Goal, pred: Tensor, truth: Tensor, wanted: Tensor | None, clean_area: int) -> float:
    """How far the goal is reached, in [0, 1].

    "untargeted": 1 - Dice with the truth. "make" and "move": Dice with what is wanted. "erase": the share of the clean
    answer's area that is gone; 1 where it was empty and stays so.
    """
    if goal.kind == "untargeted":
        return 1 - dice_of(pred, truth)
    if goal.kind == "erase":
        area = int(pred.sum())
        return float(area == 0) if clean_area == 0 else max(0.0, 1 - area / clean_area)
    assert wanted is not None  # checked before
    return dice_of(pred, wanted)
