"""An attack on samples."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vlseg.attacks.plan import Attack
from vlseg.attacks.samples import Row, Samples, at_rest, chunks, parts, samples_of
from vlseg.attacks.search import Batch, Clean, Trace, search
from vlseg.models import Inputs, Rows, Segmenter
from vlseg.records import InputError

AS_IT_IS = -1
"""The step of the image without any change."""


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
        losses: (N, R, S + 1) what is maximised, at the start and after each step.
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
    threshold: float | None = None,
    rows: int = 16,
) -> Attacked:
    """Attack every sample.

    With keep="worst" the Dice of a sample is that of the worst image that the search came by in all restarts and steps,
    the unchanged image included; with "last" that of the restart whose last step is worst. Worst is what serves the
    goal most, at the image's own size and the threshold; among equals, the larger loss.

    Args:
        attack: what to do.
        model: on the device where it computes; its mode and its weights' `requires_grad` are left as they were.
        images: N of (3, H_i, W_i), RGB in [0, 1]; samples of one image share the tensor.
        prompts: N sentences; names of targets where the model reads no text.
        masks: N of (H_i, W_i), the truth, 0/1.
        wanted: N of (H_i, W_i), the mask to make, or to move to.
        threshold: on probabilities; None: the model's.
        rows: images in one pass: restarts and samples together.

    Raises:
        InputError: what does not fit together, or a model that no gradient passes through.
    """
    if attack.search.method == "universal":
        raise InputError("method: 'universal' is one change for many images; call fit_universal, then apply_changes")
    with at_rest(model), torch.inference_mode(False):
        samples = samples_of(attack, model, images, prompts, masks, wanted, threshold)
        clean = clean_answers(samples, rows)
        traces = (search(Batch(samples, chunk, clean)) for chunk in chunks(samples, attack.search.restarts, rows))
        return gathered(samples, clean, traces)


def clean_answers(samples: Samples, rows: int) -> Clean:
    """What the model says to the images as they are; each is encoded once for all its prompts."""
    dice, success = (torch.zeros(len(samples), dtype=torch.float64) for _ in range(2))
    loss, areas = torch.zeros(len(samples)), [0] * len(samples)
    with torch.no_grad():
        for chunk in parts(sorted(range(len(samples)), key=lambda one: samples.image[one]), rows):
            images = sorted({samples.image[one] for one in chunk})
            of = [images.index(samples.image[one]) for one in chunk]
            inputs = Rows.join([samples.canvases[image].inputs for image in images])
            logits = samples.logits(inputs, chunk, of)
            answers = samples.answers(logits, inputs[of])
            found = [int(answer.sum()) for answer in answers]
            dice[chunk], success[chunk] = samples.scores(answers, chunk, found)
            loss[chunk] = samples.objective(chunk).losses(logits).cpu()
            for one, area in zip(chunk, found, strict=True):
                areas[one] = area
    return Clean(dice, success, loss, areas)


def gathered(samples: Samples, clean: Clean, traces: Iterator[Trace], *, given: bool = False) -> Attacked:
    """The best row of each sample, and the curves of all; the image as it is does not count where changes are given."""
    attack, count = samples.attack, len(samples)
    images = [samples.canvas(number).image for number in range(count)]
    clipped, raw = list(images), list(images)
    dice, success, loss = clean.dice.clone(), clean.success.clone(), clean.loss.clone()
    restart, step = (torch.full((count,), AS_IT_IS) for _ in range(2))
    if given or attack.search.keep == "last":
        success[:] = -1  # less than anything that is reached
    curves: dict[Row, tuple[Tensor, Tensor]] = {}
    for trace in traces:
        for row, (number, again) in enumerate(trace.rows):
            curves[number, again] = trace.losses[row], trace.dices[row]
            if (float(trace.success[row]), float(trace.loss[row])) > (float(success[number]), float(loss[number])):
                clipped[number], raw[number] = trace.image[row].clone(), trace.raw[row].clone()
                dice[number], success[number], loss[number] = trace.dice[row], trace.success[row], trace.loss[row]
                restart[number], step[number] = again, trace.step[row]
    restarts = len(curves) // count
    losses, dices = (
        torch.stack([torch.stack([curves[number, one][side] for one in range(restarts)]) for number in range(count)])
        for side in range(2)
    )
    with torch.no_grad():
        inputs = Rows.join([samples.inputs([number], one[None]) for number, one in enumerate(clipped)])
    return Attacked(attack, images, raw, clipped, inputs, clean.dice, dice, success, restart, step, losses, dices)
