"""Segmentation losses on logits: pure functions of tensors (B, 1, h, w)."""

from collections.abc import Callable

from torch import Tensor
from torch.linalg import vector_norm
from torch.nn import functional as F

SMOOTH = 1e-5
"""Keeps Dice defined when truth and prediction are empty (the value MONAI uses)."""


def soft_dice_losses(probabilities: Tensor, mask: Tensor) -> Tensor:
    """1 - Dice, (B,) in [0, 1], of probabilities and masks (B, 1, h, w) in [0, 1]."""
    probabilities = probabilities.flatten(1)
    truth = mask.float().flatten(1)
    overlap = (probabilities * truth).sum(1)
    total = probabilities.sum(1) + truth.sum(1)
    return 1 - (2 * overlap + SMOOTH) / (total + SMOOTH)


def soft_dice_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """1 - Dice of probabilities, per sample, averaged; in [0, 1].

    Args:
        logits: (B, 1, h, w).
        mask: (B, 1, h, w) in [0, 1].
    """
    return soft_dice_losses(logits.float().sigmoid(), mask).mean()


def dice_bce_loss(logits: Tensor, mask: Tensor, *, bce_weight: float = 1.0, positive_weight: float = 1.0) -> Tensor:
    """Soft Dice loss plus `bce_weight` times binary cross-entropy, both on logits (ours)."""
    weight = None if positive_weight == 1 else logits.new_tensor(positive_weight, dtype=logits.float().dtype)
    cross_entropy = F.binary_cross_entropy_with_logits(logits.float(), mask.float(), pos_weight=weight)
    return soft_dice_loss(logits, mask) + bce_weight * cross_entropy


def published_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """What MedVLSM's DiceCELoss computed: Dice alone.

    With MONAI 1.1.0 its cross-entropy over the single channel was a softmax over one class, which is 0
    everywhere (naamiinepal/medvlsm, src/models/base_module.py and configs/model).
    """
    return soft_dice_loss(logits, mask)


def presence_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of "is anything there?" on each map's largest logit.

    An absent target adds little to the other terms: a handful of wrong pixels costs cross-entropy almost
    nothing. Here one wrong pixel counts as much as a missed object.
    """
    present = (mask.flatten(1).amax(1) > 0).float()
    return F.binary_cross_entropy_with_logits(logits.float().flatten(1).amax(1), present)


def present_dice_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Soft Dice loss over the maps that have foreground; 0 where none has.

    What MedVLSM's CNNs were trained with (src/losses/tuned_dice_loss.py), which gave NaN without any foreground.
    """
    present = mask.flatten(1).amax(1) > 0
    return soft_dice_loss(logits[present], mask[present]) if bool(present.any()) else 0.0 * logits.float().sum()


def lvit_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Half Dice with squares in its denominator, per sample, half cross-entropy balanced over the batch (LViT's).

    Foreground and background count half each, however many pixels they have in the batch: a row's share depends on its
    neighbours, and a batch without foreground has only the background's half (HUANGLIZI/LViT, utils.py).
    """
    probabilities, truth = logits.float().sigmoid().flatten(1), mask.float().flatten(1)
    overlap = (probabilities * truth).sum(1)
    total = probabilities.square().sum(1) + truth.square().sum(1)
    smooth = 4 * SMOOTH  # they weigh both maps by a half first
    dice = (1 - (2 * overlap + smooth) / (total + smooth)).mean()
    each = F.binary_cross_entropy_with_logits(logits.float(), mask.float(), reduction="none").flatten(1)
    foreground, background = (truth > 0.5).float(), (truth < 0.5).float()
    halves = [(each * side).sum() / side.sum().clamp(min=1) for side in (foreground, background)]
    return 0.5 * dice + 0.25 * (halves[0] + halves[1])


def language_vision_loss(logits: Tensor, reference: Tensor) -> Tensor:
    """1 - the cosine of probabilities and a reference mask, per sample, averaged; in [0, 1].

    LViT's LV loss (Li et al., arXiv 2206.14718), whose reference is the mask that belongs to the closest text. An empty
    reference has no direction and says nothing: its loss is 0.

    Args:
        logits: (B, 1, h, w).
        reference: (B, 1, h, w) in [0, 1].
    """
    probabilities, mask = logits.float().sigmoid().flatten(1), reference.float().flatten(1)
    lengths = vector_norm(probabilities, dim=1) * vector_norm(mask, dim=1)
    cosine: Tensor = ((probabilities * mask).sum(1) + SMOOTH) / (lengths + SMOOTH)
    return (1 - cosine).mean()


PUBLISHED_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "published": published_loss,
    "present_dice": present_dice_loss,
    "lvit": lvit_loss,
}
"""By RunConfig.loss."""
