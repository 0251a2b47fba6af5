"""Sentences about one evaluation's scores and prompt, and about a pair of runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from vlseg.metrics import SMOOTHED, Aggregate, Comparison
from vlseg.records import LEAKING, EvaluationSpec, origin
from vlseg.reports.words.numbers import counted, difference, estimate, p_value, percent, share_of, why
from vlseg.reports.words.reading import ALPHA, shown, upright

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
    empty = share_of(aggregate.absent_empty, absent, "absent one")
    if absent == aggregate.n:
        if absent == 1:
            empty = percent(aggregate.absent_empty)
            return f"The one target asked for is not there; an empty mask is {empty} of the answers about it."
        asked = f"None of the {counted(aggregate.n, 'target')} asked for is there"
        return f"{asked}; an empty mask was given for {percent(aggregate.absent_empty)} of them."
    present = aggregate.dice_present
    reason = "" if present.ci95 else f" ({why(present.reason, groups_known=aggregate.groups_known)})"
    dice = f"Dice {estimate(present)}{reason} over {counted(present.n, 'target')} that {_be(present.n)} there"
    left = f", and an empty mask for {empty}" if absent else ""
    subject = f"{who} reaches " if who else ""
    return f"{subject}{dice}{left}{alone(spec)}{_where(spec)}."


def alone(spec: EvaluationSpec) -> str:
    """Where one of the structures in the data was asked for alone; else empty."""
    return f", asked for {spec.target} alone" if spec.target else ""


def _be(number: int) -> str:
    return "is" if number == 1 else "are"


def _where(spec: EvaluationSpec) -> str:
    """What must be known of the images to read the score."""
    if spec.condition == "swapped":
        return ", asked with another object's words"
    if spec.condition == "blind":
        return ", one mask an image whatever is asked"
    plain = ", on the images as they are" if spec.condition in ("corrupted", SMOOTHED) else ""
    if spec.split == "train":
        return f"{plain}, on images of the training split"
    if spec.split == "val":
        return f"{plain}, on the val split, by which trainings choose their weights"
    return plain


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
    if set(spec.prompt_sources) == {"none"}:
        return "Asked without any words."
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
    name = NAMES.get(metric, metric)
    on = f"on the same {counted(n, 'sample')}"
    beside = f" They differ in {_unlike(pair['differs'])}." if pair.get("differs") else ""
    if pair["reason"] == "all differences are zero":
        return f"{first} and {second} have the same {name} {on}, sample by sample.{beside}"
    p = pair["p_holm"] if pair.get("p_holm") is not None else pair["p"]
    family = pair.get("family", 1)
    tested = "p" if family == 1 else f"p after Holm's correction over {family} pairs"
    told = f"{tested} {'' if (p or 1.0) < 0.001 else '= '}{p_value(p)}"
    change, sure = _change(pair), differs(pair)
    if sure == 0:
        size = difference(change.difference, change.ci95, metric, word="points")
        found = f"No difference of {name} between {second} and {first} could be shown {on}"
        return f"{found}: {size}; {told}{_power(pair, metric)}.{beside}"
    size = difference(*upright(change), metric, sign=False, word="points")
    better = " (lower is better)" if metric in LOWER_IS_BETTER else ""
    way = "higher" if sure > 0 else "lower"
    return f"{second} has a {name} {size} {way} than {first}{better} {on}; {told}.{beside}"


def _unlike(stated: Sequence[str]) -> str:
    """E.g. "told (prompt, target) and threshold (0.5, 0.35)"."""
    parts = [f"{name} ({values})" for name, _, values in (one.partition(" ") for one in stated)]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def differs(pair: Mapping[str, Any]) -> int:
    """1 where the second run is shown to be higher, -1 lower, else 0: by interval and by p after Holm's correction."""
    p = pair["p_holm"] if pair.get("p_holm") is not None else pair["p"]
    return shown(_change(pair)) if p is not None and p < ALPHA else 0


def _change(pair: Mapping[str, Any]) -> Comparison:
    ends = tuple(pair["ci95"]) if pair["ci95"] else None
    return Comparison(pair["difference"], ends, pair["p"], None, pair["n"], pair["n_groups"], reason=pair["reason"])


def _power(pair: Mapping[str, Any], metric: str) -> str:
    """How large a difference would have had to be."""
    least = pair.get("detectable_holm")
    if least is None:
        return ""
    return f"; {difference(least, None, metric, sign=False, word='points')} would have been found four times in five"
