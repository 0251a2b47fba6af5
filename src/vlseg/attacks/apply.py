"""Changes that are given: of another model (transfer), or one for all images (universal)."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vlseg.attacks.balls import projected
from vlseg.attacks.plan import Attack, Budget
from vlseg.attacks.run import Attacked, clean_answers, gathered
from vlseg.attacks.samples import Samples, at_rest, chunks, samples_of
from vlseg.attacks.search import Batch, Clean, Trace
from vlseg.models import Segmenter
from vlseg.records import InputError


def apply_changes(
    attack: Attack,
    model: Segmenter,
    images: Sequence[Tensor],
    prompts: Sequence[str],
    masks: Sequence[Tensor],
    changes: Sequence[Tensor],
    *,
    wanted: Sequence[Tensor] | None = None,
    threshold: float | None = None,
    rows: int = 16,
) -> Attacked:
    """What given changes do, each laid over its sample's image; nothing is searched for and nothing chosen.

    `Attacked` has one restart and step 0 alone: `dice` is what the change does, be it more or less than without.

    Args:
        attack: its budget and goal; its name stands in the result.
        changes: N of (3, h, w), such as `[after - before for ...]` of another model's `Attacked`; one that all samples
            share is one tensor. Brought to the image's size (bilinear, antialiased) and into the budget.
        model, images, prompts, masks, wanted, threshold, rows: as in `run_attack`.

    Raises:
        InputError: what does not fit together.
    """
    if len(changes) != len(images):
        raise InputError(f"changes: are {len(changes)} for {len(images)} samples; give one for each")
    with at_rest(model), torch.inference_mode(False):
        samples = samples_of(attack, model, images, prompts, masks, wanted, threshold)
        clean = clean_answers(samples, rows)
        traces = _traces(samples, changes, rows, clean)
        return gathered(samples, clean, traces, given=True)


def _traces(samples: Samples, changes: Sequence[Tensor], rows: int, clean: Clean) -> Iterator[Trace]:
    shared = len({id(change) for change in changes}) == 1
    for chunk in chunks(samples, 1, rows):
        batch = Batch(samples, chunk, clean)
        size = batch.clean.shape[1:]
        laid = [laid_on(changes[sample].to(batch.clean), size, samples.attack.budget) for sample, _ in chunk]
        raw = batch.clean + torch.stack(laid)
        image = raw.clamp(0, 1)
        loss, dice, success = batch.look(image, alike=shared)
        curves = loss.cpu()[:, None], dice[:, None]
        yield Trace(chunk, image, raw, loss.cpu(), dice, success, torch.zeros(len(chunk)).long(), *curves)


def laid_on(change: Tensor, size: torch.Size, budget: Budget) -> Tensor:
    """A change (3, h, w) at another size (3, H, W), within the budget. Differentiable."""
    if change.shape != size:
        whole = change[None]
        change = F.interpolate(whole, size=size[-2:], mode="bilinear", antialias=True, align_corners=False)[0]
    return projected(change[None], budget.norm, budget.epsilon)[0]
