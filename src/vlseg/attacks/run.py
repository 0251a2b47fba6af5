"""An attack on samples."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from vlseg.attacks.plan import Attack
from vlseg.models import Inputs, Segmenter


@dataclass(frozen=True)
class Attacked:
    """What became of N samples under R restarts of S steps, in the samples' order.

    Attributes:
        attack: what was done.
        images: N of (3, h, w), RGB in [0, 1]: the image that was attacked, at the budget's place.
        raw: with the perturbation within the budget, before it was clipped to [0, 1].
        clipped: within the budget and [0, 1]; what the network was given.
        inputs: the network's inputs of `clipped`, N rows: `model.forward(inputs, tokens)` and
            `model.restore(logits, inputs)` give the attacked answer at the image's own size.
        clean_dice, dice: (N,) Dice with the truth at the mask's own size, before and after.
        success: (N,) how far the goal was reached, in [0, 1].
        restart, step: (N,) that were kept; step 0 is the start, -1 the image as it is.
        losses: (N, R, S + 1) what was maximised, at the start and after each step.
        dices: (N, R, S + 1) Dice with the truth, likewise.
    """

    attack: Attack
    images: list[Tensor]
    raw: list[Tensor]
    clipped: list[Tensor]
    inputs: Inputs
    clean_dice: Tensor
    dice: Tensor
    success: Tensor
    restart: Tensor
    step: Tensor
    losses: Tensor
    dices: Tensor


def run_attack(
    attack: Attack,
    model: Segmenter,
    images: Sequence[Tensor],
    prompts: Sequence[str],
    masks: Sequence[Tensor],
    *,
    wanted: Sequence[Tensor] | None = None,
    keys: Sequence[str] | None = None,
    perturbation: Tensor | None = None,
    threshold: float | None = None,
    rows: int = 16,
) -> Attacked:
    """Attack every sample.

    Args:
        attack: what to do.
        model: on the device where it computes; its mode, weights and their `requires_grad` are left as they were.
        images: N of (3, H_i, W_i), RGB in [0, 1]; samples of one image share the tensor.
        prompts: N sentences; names of targets where the model reads no text.
        masks: N of (H_i, W_i), the truth, 0/1.
        wanted: N of (H_i, W_i), the mask to make, or to move to.
        keys: N names from which random draws derive; None: of the image's values and the prompt.
        perturbation: of "universal", what is laid over all images.
        threshold: on probabilities; None: the model's.
        rows: images in one pass.

    Raises:
        InputError: what does not fit together, or a model that no gradient passes through.
    """
    raise NotImplementedError
