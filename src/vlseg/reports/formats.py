"""Numbers as tables show them: template filters."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from vlseg.metrics import Aggregate, Comparison, Index
from vlseg.reports.words.numbers import decimal, points, why


class Footnotes:
    """Why values or intervals of one table are missing: each reason once, with a number."""

    def __init__(self) -> None:
        self.reasons: dict[str, int] = {}

    def __call__(self, one: Any) -> str:
        """The mark of an Estimate, Comparison or the like that lacks its interval; empty where it has one."""
        values = one if isinstance(one, Mapping) else vars(one)
        if values.get("ci95") is not None or not values.get("reason"):
            return ""
        number = self.reasons.setdefault(why(values["reason"]), len(self.reasons) + 1)
        return "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(number))


def index(one: Index) -> str:
    """An index with its interval, or why there is none."""
    if one.value is None:
        return f"none ({one.reason})"
    ends = f"[{decimal(one.ci95[0])}, {decimal(one.ci95[1])}]" if one.ci95 else f"({why(one.reason)})"
    return f"{decimal(one.value)} {ends}, n = {one.n}"


def points_of(one: Comparison) -> str:
    """A paired change in points with its interval."""
    return points(one.difference, one.ci95)


def part_name(column: str) -> str:
    """The column by which scores are parted, for people."""
    return "share of image" if column == "size-bin" else column


def moment(when: datetime | None) -> str:
    """To the second."""
    return "–" if when is None else when.strftime("%Y-%m-%d %H:%M:%S %Z").strip()


def omitted(counts: Mapping[str, int]) -> str:
    """Samples that a pair does not compare, by reason."""
    words = {
        "only_first": "scored in the first alone",
        "only_second": "scored in the second alone",
        "undefined": "without a value in one or both",
        "other_truth": "with another truth under the other prompt",
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
