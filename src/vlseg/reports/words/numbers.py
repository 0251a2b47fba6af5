"""How numbers read: one hand for page, terminal, figures and sentences.

Scores keep three decimals; differences of scores in [0, 1] are points (hundredths); shares are per cent. What is not
quite all or nothing never reads as 100 % or 0 %, a p-value never as zero, nor an end of an interval that is not zero.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from vlseg.metrics import Estimate

NONE = "–"
POINTS = ("dice", "iou", "nsd", "pixel_precision", "pixel_recall")
"""Metrics in [0, 1], whose differences are in points."""
Interval = tuple[float, float]


def decimal(value: float | None) -> str:
    """A score or a distance: "0.938", "25.8"."""
    if value is None or math.isnan(value):
        return NONE
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def signed(value: float | None) -> str:
    """A difference in the score's own unit: "+0.271"."""
    return NONE if value is None else f"+{decimal(value)}" if value >= 0 else decimal(value)


def estimate(value: Estimate) -> str:
    """E.g. "0.938 [0.927, 0.947]"; without an interval the mean alone, and `why` says the reason."""
    return interval(value.mean, value.ci95)


def interval(value: float | None, ci95: Interval | None) -> str:
    """As `estimate`, of a value and its interval."""
    if value is None or not ci95:
        return decimal(value)
    return f"{decimal(value)} [{decimal(ci95[0])}, {decimal(ci95[1])}]"


def percent(value: float | None) -> str:
    """A share in [0, 1]: "96 %"; "99.8 %" and "0.3 %" where whole numbers would say all or none."""
    return NONE if value is None else f"{_hundredths(value)} %"


def share_of(value: float | None, number: int, what: str) -> str:
    """E.g. "98 % of 105 answers", "all 105 answers", "none of 105 answers"."""
    if value in (0, 1):
        return f"{'all' if value else 'none of'} {counted(number, what)}"
    return f"{percent(value)} of {counted(number, what)}"


def share(value: float | None, ci95: Interval | None) -> str:
    """E.g. "96 % [93, 98]"."""
    text = percent(value)
    return f"{text} [{_hundredths(ci95[0])}, {_hundredths(ci95[1])}]" if ci95 and value is not None else text


def _hundredths(value: float) -> str:
    hundredths = 100 * value
    if 0 < hundredths < 0.1:
        return "< 0.1"
    if 99.9 < hundredths < 100:
        return "> 99.9"
    return f"{hundredths:.1f}" if 0 < hundredths < 0.5 or 99.5 <= hundredths < 100 else f"{hundredths:.0f}"


def points(value: float | None, ci95: Interval | None = None, *, sign: bool = True, word: str = "") -> str:
    """A difference of scores in [0, 1] in points: "+27 [+25, +29]", with `word` "+27 points [+25, +29]".

    Args:
        value: the difference.
        ci95: its interval.
        sign: write the plus; without, the direction is in the words around it.
        word: after the value.
    """
    if value is None:
        return NONE
    parts = [100 * one for one in (value, *(ci95 or ()))]
    places = _places(parts)
    told = [f"{one:{'+' if sign else ''}.{places}f}" for one in parts]
    told = [_zero(one) for one in told]
    interval = f" [{told[1]}, {told[2]}]" if ci95 else ""
    return f"{told[0]}{' ' + word if word else ''}{interval}"


def difference(
    value: float | None, ci95: Interval | None = None, metric: str = "dice", *, sign: bool = True, word: str = ""
) -> str:
    """As `points` for metrics in [0, 1]; of others in their own unit, without a word."""
    if metric in POINTS:
        return points(value, ci95, sign=sign, word=word)
    show = signed if sign else decimal
    return f"{show(value)} [{show(ci95[0])}, {show(ci95[1])}]" if ci95 and value is not None else show(value)


def _places(parts: Sequence[float]) -> int:
    """Whole points from ten on, else tenths; more where an end that is not zero would read as zero."""
    if abs(parts[0]) >= 10 and all(abs(one) >= 0.5 for one in parts):
        return 0
    smallest = min((abs(one) for one in parts if one), default=1.0)
    return 1 if smallest >= 0.05 else 2 if smallest >= 0.005 else 3


def _zero(text: str) -> str:
    """No sign before a zero."""
    return text.lstrip("+-") if not text.strip("+-0.") else text


def p_value(value: float | None) -> str:
    """E.g. "0.013"; below a thousandth "< 0.001", never zero."""
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def counted(number: int, one: str, many: str = "") -> str:
    """E.g. "1 image", "3 images"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def why(reason: str | None, *, groups_known: bool = False) -> str:
    """Why there is no interval, in short words for a footnote: "3 images: too few for an interval".

    Args:
        reason: as the metrics give it.
        groups_known: whether its groups are patients or sequences; else they are images.
    """
    if not reason:
        return ""
    things = ("patient or sequence", "patients or sequences") if groups_known else ("image", "images")
    if found := re.fullmatch(r"(\d+) groups, fewer than \d+", reason):
        return f"{counted(int(found[1]), *things)}: too few for an interval"
    if found := re.fullmatch(r"(\d+) seeds, fewer than \d+", reason):
        return f"{counted(int(found[1]), 'seed')}: too few for an interval over seeds"
    if found := re.fullmatch(r"(\d+) of (\d+) groups differ from the others, too few to resample", reason):
        differing = "differs" if found[1] == "1" else "differ"
        return f"only {found[1]} of {counted(int(found[2]), *things)} {differing} from the rest: no interval"
    return _WHY.get(reason, reason)


_WHY = {
    "no value is defined": "nothing to score",
    "all values are equal": "all alike: no interval",
    "all groups have the same mean": "all alike: no interval",
    "all seeds and groups have the same mean": "all alike: no interval",
    "no sample is in both": "no sample in common",
    "no group differs": "all alike: no interval",
    "all differences are zero": "no difference anywhere",
}


def condition_name(condition: str) -> str:
    """A condition of a probe for people: "wrong_size" is "wrong size", "language_es" "in Spanish"."""
    return _CONDITIONS.get(condition, condition.replace("_", " "))


_CONDITIONS = {
    "empty": "no words",
    "class_only": "the name alone",
    "other_image_prompt": "another image's words",
    "absent_structure": "something not there",
    "foreign": "something foreign",
    "shuffled": "words shuffled",
    "other_side": "left for right",
    "language_es": "in Spanish",
    "language_fr": "in French",
    "language_de": "in German",
    "mean_image": "on the mean image",
    "other_image": "on another image",
}


def gradient_words(check: Mapping[str, Any]) -> str:
    """Of a check of the gradients, as the record has it: "no sign of masked gradients (no proof); mean success ..."."""
    told = {"search by gradient": check["white"], "SPSA": check["spsa"]}
    told |= {f"transferred from {name}": value for name, value in check["transferred"].items()}
    signs = counted(len(check["signs"]), "sign") if check["signs"] else "no sign"
    proof = "" if check["signs"] else " (no proof)"
    success = ", ".join(f"{name} {decimal(value)}" for name, value in told.items())
    return f"{signs} of masked gradients{proof}; mean success: {success}"
