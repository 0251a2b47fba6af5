"""Whether robustness is only a gradient that leads nowhere.

A white box sees everything that a black box sees. Where a transferred attack, or one that only asks for values, does
more than the white box, the white box failed and its numbers say nothing (Athalye et al., ICML 2018; Carlini et al.
2019).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from vlseg.attacks.apply import apply_changes
from vlseg.attacks.plan import Attack, Search
from vlseg.attacks.run import clean_answers, run_attack
from vlseg.attacks.samples import Samples, at_rest, chunks, samples_of
from vlseg.attacks.search import Batch
from vlseg.models import Segmenter


@dataclass(frozen=True)
class Masking:
    """Success of the same budget and goal, by sample, and what is odd about it.

    Attributes:
        white, transfer, spsa: (N,) in [0, 1]; transfer None where no other model was given.
        no_gradient: the share of samples whose image has a gradient of exactly 0.
        signs: a sentence for each thing that speaks for masked gradients; none: nothing was seen, which is no proof.
        given: of changes that were given, by name, likewise (N,).
    """

    white: Tensor
    transfer: Tensor | None
    spsa: Tensor
    no_gradient: float
    signs: tuple[str, ...]
    given: Mapping[str, Tensor] = field(default_factory=dict)


def check_masking(
    attack: Attack,
    model: Segmenter,
    images: Sequence[Tensor],
    prompts: Sequence[str],
    masks: Sequence[Tensor],
    *,
    other: Segmenter | None = None,
    changes: Mapping[str, Sequence[Tensor]] | None = None,
    wanted: Sequence[Tensor] | None = None,
    threshold: float | None = None,
    rows: int = 16,
) -> Masking:
    """Compare a white-box attack with a transferred one and with SPSA of 20 steps.

    Args:
        attack: the white box.
        other: the model to transfer from, attacked in the same way.
        changes: of further attacks by name, such as those on models that are asked with other prompts: N of (3, h, w).
        model, images, prompts, masks, wanted, threshold, rows: as in `run_attack`.

    Raises:
        InputError: see `run_attack`.
    """
    white = run_attack(attack, model, images, prompts, masks, wanted=wanted, threshold=threshold, rows=rows).success
    blind = replace(attack, search=Search("spsa", seed=attack.search.seed))
    spsa = run_attack(blind, model, images, prompts, masks, wanted=wanted, threshold=threshold, rows=rows).success

    def transferred(found: Sequence[Tensor]) -> Tensor:
        return apply_changes(
            attack, model, images, prompts, masks, found, wanted=wanted, threshold=threshold, rows=rows
        ).success

    transfer = None
    if other is not None:
        made = run_attack(attack, other, images, prompts, masks, wanted=wanted, rows=rows)
        transfer = transferred([after - before for after, before in zip(made.clipped, made.images, strict=True)])
    given = {name: transferred(found) for name, found in (changes or {}).items()}
    with at_rest(model), torch.inference_mode(False):
        none = _without_gradient(samples_of(attack, model, images, prompts, masks, wanted, threshold), rows)
    return Masking(white, transfer, spsa, none, tuple(_signs(white, transfer, spsa, none, given)), given)


def _signs(white: Tensor, transfer: Tensor | None, spsa: Tensor, none: float, given: Mapping[str, Tensor]) -> list[str]:
    signs = []
    for name, black in (
        ("an attack transferred from another model", transfer),
        *((f"an attack transferred from {name}", one) for name, one in given.items()),
        ("SPSA, which sees no gradient,", spsa),
    ):
        if black is not None and float(black.mean()) > float(white.mean()):
            signs.append(
                f"{name} reaches {float(black.mean()):.3f} on average and the white box {float(white.mean()):.3f}; it "
                f"does more on {int((black > white).sum())} of {len(white)} samples"
            )
    if none > 0:
        signs.append(f"the gradient is exactly 0 at {none:.0%} of the images")
    return signs


def _without_gradient(samples: Samples, rows: int) -> float:
    """The share of samples whose image, as it is, has a gradient of 0 everywhere."""
    found, clean = 0, clean_answers(samples, rows)
    for chunk in chunks(samples, 1, rows):
        batch = Batch(samples, chunk, clean)
        found += int((batch.climb(batch.clean, None)[3].flatten(1) == 0).all(1).sum())
    return found / len(samples)
