"""One perturbation for all images of a dataset."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vlseg.attacks.apply import laid_on
from vlseg.attacks.balls import drawn_start, generator
from vlseg.attacks.plan import Attack
from vlseg.attacks.rules import Pgd
from vlseg.attacks.run import clean_answers
from vlseg.attacks.samples import Samples, at_rest, chunks, parts, samples_of
from vlseg.attacks.search import Batch, Clean
from vlseg.models import Segmenter
from vlseg.records import InputError

BATCH = 16
"""Samples an update."""


@dataclass(frozen=True)
class Universal:
    """A perturbation found on some samples; `apply_changes` lays it over these or others.

    Attributes:
        change: (3, h, w) at the network's size, within the budget.
        success: S + 1 numbers, the mean over the samples at the start and after each pass.
        kept: the pass whose change this is.
    """

    change: Tensor
    success: list[float]
    kept: int


def fit_universal(
    attack: Attack,
    model: Segmenter,
    images: Sequence[Tensor],
    prompts: Sequence[str],
    masks: Sequence[Tensor],
    *,
    wanted: Sequence[Tensor] | None = None,
    threshold: float | None = None,
    rows: int = 16,
) -> Universal:
    """Ascend the samples' mean loss by one change, batch by batch.

    A pass takes the samples in an order that derives from the seed and the images, `BATCH` an update. The samples'
    gradients count alike, each divided by its mean absolute value: one image that is easily broken would else decide
    alone. Without a step size it is 2.5 epsilon over the number of updates, at most epsilon. With keep="worst" the
    change of the pass with the most success on these samples is kept, with "last" that of the last.

    Args:
        attack: with the search "universal"; its steps are passes.
        model, images, prompts, masks, wanted, threshold, rows: as in `run_attack`.

    Raises:
        InputError: another search, what does not fit together, or a model that no gradient passes through.
    """
    found, budget = attack.search, attack.budget
    if found.method != "universal" or found.steps is None:
        raise InputError(f"method: fit_universal searches by 'universal', not '{found.method}'; use run_attack")
    with at_rest(model), torch.inference_mode(False):
        samples = samples_of(attack, model, images, prompts, masks, wanted, threshold)
        clean = clean_answers(samples, rows)
        image = samples.canvases[0].image
        change = image.new_zeros(3, *model.spec.image_size)
        if found.random_start:
            rng = generator("universal", found.seed, "start")
            change = drawn_start(change.shape, budget.norm, budget.epsilon, rng).to(change)
        updates = found.steps * -(-len(samples) // BATCH)
        size = attack.step_size if found.step_size else min(1.0, 2.5 / updates) * budget.epsilon
        rule = Pgd(torch.zeros_like(change)[None], budget, size, found.momentum)
        changes, success = [change], [_success(samples, change, rows, clean)]
        for turn in range(found.steps):
            for some in parts(_order(samples, found.seed, turn), BATCH):
                gradient = _gradient(samples, some, change, rows, clean)
                change = rule(change[None], gradient[None], gradient.new_zeros(1))[0]
            changes.append(change)
            success.append(_success(samples, change, rows, clean))
    kept = success.index(max(success)) if found.keep == "worst" else found.steps
    return Universal(changes[kept], success, kept)


def _order(samples: Samples, seed: int, turn: int) -> list[int]:
    """The samples by a draw for each: the same for a sample wherever it stands."""

    def drawn(number: int) -> float:
        mine = generator("universal", seed, turn, samples.canvas(number).key, samples.told[number])
        return float(torch.rand((), generator=mine))

    return sorted(range(len(samples)), key=drawn)


def _gradient(samples: Samples, some: Sequence[int], change: Tensor, rows: int, clean: Clean) -> Tensor:
    total = torch.zeros_like(change)
    for batch in _batches(samples, some, rows, clean):
        with torch.enable_grad():
            leaf = change.detach().requires_grad_()
            laid = laid_on(leaf, batch.clean.shape[1:], samples.attack.budget)
        _, _, _, gradients = batch.climb((batch.clean + laid.detach()).clamp(0, 1), None)
        scale = gradients.abs().flatten(1).mean(1).clamp_min(torch.finfo(gradients.dtype).tiny)
        mean = (gradients / scale[:, None, None, None]).sum(0)
        (own,) = torch.autograd.grad(laid, leaf, mean)
        total += own
    return total


def _success(samples: Samples, change: Tensor, rows: int, clean: Clean) -> float:
    total = 0.0
    for batch in _batches(samples, range(len(samples)), rows, clean):
        laid = laid_on(change, batch.clean.shape[1:], samples.attack.budget)
        total += float(batch.look((batch.clean + laid).clamp(0, 1), alike=True)[2].sum())
    return total / len(samples)


def _batches(samples: Samples, some: Sequence[int], rows: int, clean: Clean) -> Iterator[Batch]:
    return (Batch(samples, chunk, clean) for chunk in chunks(samples, 1, rows, some))
