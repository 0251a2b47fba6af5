"""What a certificate says, and of what."""

from collections.abc import Sequence

from vlseg.metrics import Certificate
from vlseg.reports.words.numbers import decimal, estimate, why

WHERE = {
    "input": "at the size at which it lies in the network's input, without padding",
    "native": "at its own size",
}


def about_certificates(found: Sequence[Certificate], *, groups_known: bool) -> str:
    """Of the sigma with the highest certified Dice; empty without any sample.

    Args:
        found: of one evaluation.
        groups_known: whether intervals are over patients or sequences.
    """
    known = [one for one in found if one.certified_dice.mean is not None]
    if not known:
        return ""
    best = max(known, key=lambda one: one.certified_dice.mean or 0.0)
    bound = best.certified_dice
    missing = "" if bound.ci95 else f" ({why(bound.reason, groups_known=groups_known)})"
    plain = None if best.change.difference is None else (best.dice.mean or 0.0) - best.change.difference
    return (
        f"Smoothed with sigma {best.sigma:g}, the model has a certified Dice of {estimate(bound)}{missing}: the mean "
        f"of what answers keep under changes of L2 norm up to {best.radius:.3g}. Without a change its Dice is "
        f"{decimal(best.dice.mean)}; that of the model without noise is {decimal(plain)}."
    )


def about_guarantee(one: Certificate) -> str:
    """What holds, of what, with which probability: the same for all sigmas of an evaluation."""
    return (
        "What is certified is the smoothed model, which gives each pixel the class that is likelier under the noise; "
        "of the model without noise nothing is. No change of the image whose L2 norm (over all RGB values in [0, 1] of "
        f"the image {WHERE[one.place]}) is at most the radius makes the other class likelier at a certified pixel. For "
        f"all pixels of one answer together this holds with probability {1 - one.alpha:g} or more; intervals are over "
        "images alone. Pixels that are abstained from count as background in Dice and as wrong in certified Dice. A "
        "mask made of finitely many noisy copies may still differ by chance."
    )
