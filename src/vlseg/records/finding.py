"""What a check of a dataset finds."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One kind of problem in one split (or across splits: None). `count` cases, a few as examples.

    `files` are the images or masks of these examples, for a page that shows them.
    """

    code: str
    severity: Severity
    dataset: str
    split: str | None
    count: int
    examples: tuple[str, ...]
    message: str
    files: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"files": [str(file) for file in self.files]}


def count_by_severity(findings: Iterable[Finding]) -> dict[str, int]:
    """Number of findings (kinds, not cases) by severity."""
    counts = {"error": 0, "warning": 0, "note": 0}
    for finding in findings:
        counts[finding.severity] += 1
    return counts


AREA_EDGES = (0.0, 0.001, 0.01, 0.05, 0.1, 0.3, 0.6, 1.0)
"""Shares of the image that part the bins of the mask areas; empty masks are counted apart."""


@dataclass(frozen=True)
class DatasetStatistics:
    """Numbers of a dataset, by split.

    Attributes:
        dataset: its name.
        images: distinct images by split.
        entries: entries by split.
        groups: distinct known groups by split.
        targets: entries by target, by split.
        absent: entries whose mask is empty, by split; None where masks were not read.
        areas: by split, number of non-empty masks whose share of the image is in (AREA_EDGES[i], AREA_EDGES[i + 1]].
    """

    dataset: str
    images: dict[str, int]
    entries: dict[str, int]
    groups: dict[str, int]
    targets: dict[str, dict[str, int]]
    absent: dict[str, int] | None
    areas: dict[str, list[int]] | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"area_edges": list(AREA_EDGES)}
