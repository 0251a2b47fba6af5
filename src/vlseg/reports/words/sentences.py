"""Sentences about one evaluation's scores and prompt, and about a pair of runs."""

from collections.abc import Mapping
from typing import Any

from vlseg.metrics import Aggregate, Comparison
from vlseg.records import LEAKING, EvaluationSpec, origin
from vlseg.reports.words.numbers import counted, decimal, estimate, p_value, percent, points, signed, why
from vlseg.reports.words.reading import ALPHA, shown, upright

POINTS = ("dice", "iou", "nsd", "pixel_precision", "pixel_recall")
"""Metrics in [0, 1], whose differences are in points."""
LOWER_IS_BETTER = ("hd95", "hd95_penalised", "hd", "assd", "brier")
NAMES = {
    "dice": "Dice", "iou": "IoU", "nsd": "NSD", "hd95": "HD95", "hd95_penalised": "penalised HD95", "hd": "HD",
    "assd": "ASSD", "pixel_precision": "pixel precision", "pixel_recall": "pixel recall", "brier": "Brier score",
}  # fmt: skip


def about_scores(aggregate: Aggregate, spec: EvaluationSpec, *, who: str = "") -> str:
    """How well present targets are outlined and absent ones left empty.

    Args:
        aggregate: of the evaluation's plain rows.
        spec: of the evaluation.
        who: the subject; without one the sentence begins with the score.
    """
    if aggregate.n == 0:
        return f"None of the {counted(aggregate.n_without_truth, 'sample')} has a truth, so nothing could be scored."
    absent = aggregate.n_empty_truths
    empty = f"{percent(aggregate.absent_empty)} of {counted(absent, 'absent one', 'absent ones')}"
    if absent == aggregate.n:
        asked = f"None of the {counted(aggregate.n, 'target')} asked for is there"
        return f"{asked}: {who or 'the model'} answered {percent(aggregate.absent_empty)} of them with an empty mask."
    present = aggregate.dice_present
    reason = "" if present.ci95 else f" ({why(present.reason, groups_known=aggregate.groups_known)})"
    dice = f"Dice {estimate(present)}{reason} over {counted(present.n, 'target')} that {_be(present.n)} there"
    left = f", and an empty mask for {empty}" if absent else ""
    subject = f"{who} reaches " if who else ""
    return f"{subject}{dice}{left}{_where(spec)}."


def _be(number: int) -> str:
    return "is" if number == 1 else "are"


def _where(spec: EvaluationSpec) -> str:
    """What must be known of the images to read the score."""
    if spec.condition == "swapped":
        return ", asked with another object's words"
    if spec.condition == "blind":
        return ", one mask an image whatever is asked"
    if spec.split == "train":
        return ", on images of the training split"
    if spec.split == "val":
        return ", on the val split, which training chooses its weights by"
    return ""


def about_leak(spec: EvaluationSpec) -> str:
    """Who could have written the prompt; of phantoms that they are made up. Empty where no words were read."""
    made_up = set(spec.phantoms)
    names = set(spec.data_fingerprints) or {spec.dataset}
    all_made_up = bool(made_up) and made_up >= names
    parts = []
    if made_up:
        which = "The images" if all_made_up else f"The images of {', '.join(spec.phantoms)}"
        scene = ""
        if all_made_up and spec.told == "prompt" and LEAKING & set(spec.prompt_sources):
            scene = f", and the words come {origin(spec.prompt_sources, made_up=True)}"
        parts.append(f"{which} are made up{scene}: no score on them is one on real images.")
    if not all_made_up and spec.told in ("prompt", "unknown"):
        parts.append(_about_sources(spec))
    return " ".join(parts)


def _about_sources(spec: EvaluationSpec) -> str:
    leaks = LEAKING & set(spec.prompt_sources)
    if spec.told == "unknown":
        return "The masks are taken as they are: whether a prompt, or the truth, was used to make them is not known."
    if leaks & {"mask", "label"}:
        words = origin(spec.prompt_sources)
        return f"Scores under a prompt that was written with sight of the truth ({words}), which a user does not have."
    if leaks or not spec.prompt_sources:
        return "Where the prompt's words come from is not known: they may have been written with sight of the truth."
    return "The prompt's words are ones that a user has before looking at the truth."


def about_comparison(pair: Mapping[str, Any], *, metric: str = "dice") -> str:
    """Whether one run scores higher than another on the same samples.

    Args:
        pair: of `vlseg compare`'s "pairs": second minus first.
        metric: what was compared.
    """
    first, second, n = pair["first"], pair["second"], pair["n"]
    if pair["difference"] is None:
        return f"{first} and {second} have no sample in common to compare."
    change = Comparison(
        pair["difference"], tuple(pair["ci95"]) if pair["ci95"] else None, pair["p"], None, n, pair["n_groups"]
    )
    name = NAMES.get(metric, metric)
    on = f"on the same {counted(n, 'sample')}"
    if pair["reason"] == "all differences are zero":
        return f"{first} and {second} have the same {name} {on}, sample by sample."
    p = pair["p_holm"] if pair.get("p_holm") is not None else pair["p"]
    family = pair.get("family", 1)
    tested = "p" if family == 1 else f"p after Holm's correction over {family} pairs"
    told = f"{tested} {'' if (p or 1.0) < 0.001 else '= '}{p_value(p)}"
    sure = shown(change) if p is not None and p < ALPHA else 0
    differs = f" They differ in {'; '.join(pair['differs'])}." if pair.get("differs") else ""
    if sure == 0:
        size = _size(change.difference, change.ci95, metric, sign=True)
        found = f"No difference of {name} between {second} and {first} could be shown {on}"
        return f"{found}: {size}; {told}{_power(pair, metric)}.{differs}"
    size = _size(*upright(change), metric, sign=False)
    better = " (lower is better)" if metric in LOWER_IS_BETTER else ""
    way = "higher" if sure > 0 else "lower"
    return f"{second} has a {name} {size} {way} than {first}{better} {on}; {told}.{differs}"


def _size(value: float | None, ends: tuple[float, float] | None, metric: str, *, sign: bool) -> str:
    if metric in POINTS:
        return points(value, ends, sign=sign, word="points")
    show = signed if sign else decimal
    return f"{show(value)} [{show(ends[0])}, {show(ends[1])}]" if ends else show(value)


def _power(pair: Mapping[str, Any], metric: str) -> str:
    """How large a difference would have had to be."""
    least = pair.get("detectable_holm")
    return (
        "" if least is None else f"; {_size(least, None, metric, sign=False)} would have been found four times in five"
    )
