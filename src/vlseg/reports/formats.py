"""Numbers as tables show them: template filters."""

import math
from collections.abc import Mapping
from typing import Any

from vlseg.metrics import Aggregate, Index


class Footnotes:
    """Why values or intervals of one table are missing: each reason once, with a number."""

    def __init__(self) -> None:
        self.reasons: dict[str, int] = {}

    def __call__(self, one: Any) -> str:
        """The mark of an Estimate, Comparison or the like that lacks its interval; empty where it has one."""
        values = one if isinstance(one, Mapping) else vars(one)
        if values.get("ci95") is not None or not values.get("reason"):
            return ""
        number = self.reasons.setdefault(values["reason"], len(self.reasons) + 1)
        return "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(number))


def number(value: float | None) -> str:
    """Three decimals, one from ten on; an en dash where there is none."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def signed(value: float | None) -> str:
    """A difference."""
    return "–" if value is None else f"{value:+.3f}"


def share(value: float | None) -> str:
    """A share in [0, 1] as a percentage."""
    return "–" if value is None else f"{100 * value:.0f} %"


def pvalue(value: float | None) -> str:
    """A p-value is never zero."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def index(one: Index) -> str:
    """An index with its interval, or why there is none."""
    if one.value is None:
        return f"none: {one.reason}"
    ends = f"[{one.ci95[0]:.3f}, {one.ci95[1]:.3f}]" if one.ci95 else f"(no interval: {one.reason})"
    return f"{one.value:.3f} {ends}, n = {one.n}"


def omitted(counts: Mapping[str, int]) -> str:
    """Samples that a pair does not compare, by reason."""
    words = {
        "only_first": "in the first alone",
        "only_second": "in the second alone",
        "undefined": "without a value",
        "other_truth": "with another truth",
    }
    return ", ".join(f"{counts[name]} {text}" for name, text in words.items() if counts.get(name)) or "none"


def counted(one: Aggregate) -> str:
    """Of how many images and groups, and how many targets are absent."""
    parts = [f"{one.n_images} image{'s' * (one.n_images != 1)}"]
    if one.groups_known:
        parts.append(f"{one.n_groups} group{'s' * (one.n_groups != 1)}")
    if one.n_empty_truths:
        parts.append(f"{one.n_empty_truths} absent")
    if one.n_without_truth:
        parts.append(f"{one.n_without_truth} without truth")
    return ", ".join(parts)
