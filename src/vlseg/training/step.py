"""One step's forward pass and its loss."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from vlseg.losses import PUBLISHED_LOSSES, dice_bce_loss, language_vision_loss, presence_loss
from vlseg.models import Output, Rows, Segmenter
from vlseg.records import RunConfig


class TrainingStep(nn.Module):
    """The forward pass of a step: each image and each distinct row is encoded once, then decoded per prompt."""

    def __init__(self, segmenter: Segmenter, *, compiled: bool = False) -> None:
        """`compiled`: image encoder and decoder through torch.compile; prompts differ in length from step to step."""
        super().__init__()
        self.segmenter = segmenter
        self._encode_image: Callable[[Rows], Rows] = segmenter.encode_image
        self._decode: Callable[[Rows, Rows | None], Output] = segmenter.decode
        if compiled:
            self._encode_image, self._decode = torch.compile(self._encode_image), torch.compile(self._decode)

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        tokens: Mapping[str, Tensor],
        image_of: Tensor,
        prompt_of: Tensor,
        channel_of: Tensor,
        encoded: bool,
        encoded_prompts: bool,
        one_each: bool = False,
    ) -> Tensor:
        """Logits (R, 1, h, w) of the R prompts, in the channel of their target; arguments as in `Batch`."""
        # Kept features are widened here, on the device: half the bytes to move.
        image = Rows(inputs).widened() if encoded else self._encode_image(Rows(inputs))
        told = Rows(tokens) if tokens else None
        prompts = told if encoded_prompts else self.segmenter.encode_prompts(told)
        if one_each:
            logits = self._decode(image, None if prompts is None else prompts[prompt_of]).logits
        elif prompts is None:  # nothing is told: one answer an image, of which each row takes its channel
            logits = self._decode(image, None).logits[image_of]
        else:  # one answer for each image and thing told, however many rows ask for it
            pairs, row_of = torch.unique(image_of * len(prompts) + prompt_of, return_inverse=True)
            if len(pairs) == len(row_of):
                logits = self._decode(image[image_of], prompts[prompt_of]).logits
            else:
                logits = self._decode(image[pairs // len(prompts)], prompts[pairs % len(prompts)]).logits[row_of]
        return logits if logits.shape[1] == 1 else logits.take_along_dim(channel_of[:, None, None, None], dim=1)


def configured_loss(config: RunConfig, logits: Tensor, masks: Tensor) -> Tensor:
    """The loss that a configuration names, of logits (R, 1, h, w) against masks (R, 1, h, w) in [0, 1]."""
    if config.loss != "dice_bce":
        return PUBLISHED_LOSSES[config.loss](logits, masks)
    weights = {"bce_weight": config.bce_weight, "positive_weight": config.positive_weight}
    loss = dice_bce_loss(logits, masks, **weights)
    return loss + config.presence_weight * presence_loss(logits, masks) if config.presence_weight else loss


def training_loss(
    config: RunConfig, logits: Tensor, masks: Tensor, pseudo: Tensor | None = None, references: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean over all rows: the configured loss of those with a mask, and of the others `pseudo_loss` and `lv_weight`
    times the unlikeness to their references.

    Args:
        config: names the loss.
        logits: (R, 1, h, w).
        masks: (R, 1, h, w) in [0, 1].
        pseudo: (R,) bool, the mask is a pseudo-label; None where none is.
        references: (U, 1, h, w) of the rows with a pseudo-label.

    Returns:
        The loss, and where there are pseudo-labels what it is made of, by its column in history.csv: each the mean over
        the rows that have it.
    """
    if pseudo is None:
        return configured_loss(config, logits, masks), {}
    share = float(pseudo.float().mean())
    pseudo = pseudo.to(logits.device)
    unlabelled = pseudo_loss(config, logits[pseudo], masks[pseudo])
    parts, loss = {"pseudo_loss": unlabelled}, unlabelled
    if references is not None:
        parts["lv_loss"] = language_vision_loss(logits[pseudo], references.to(logits.device))
        loss = loss + config.lv_weight * parts["lv_loss"]
    if share < 1:
        parts["labelled_loss"] = configured_loss(config, logits[~pseudo], masks[~pseudo])
        loss = share * loss + (1 - share) * parts["labelled_loss"]
    return loss, parts


def pseudo_loss(config: RunConfig, logits: Tensor, labels: Tensor) -> Tensor:
    """Dice and cross-entropy of logits against pseudo-labels, both (U, 1, h, w).

    With loss=lvit both in LViT's own form; whatever else the configured loss is has no part in this.
    """
    if config.loss == "lvit":
        return PUBLISHED_LOSSES["lvit"](logits, labels)
    return dice_bce_loss(logits, labels, bce_weight=config.bce_weight, positive_weight=config.positive_weight)


def counted_rows(config: RunConfig, masks: Tensor) -> int:
    """Over how many of the rows of `masks` (R, 1, h, w) `configured_loss` is the mean.

    The loss of a whole is the mean of its parts' losses, each weighted by this.
    """
    if config.loss == "present_dice":
        return int((masks.flatten(1).amax(1) > 0).sum())
    return len(masks)
