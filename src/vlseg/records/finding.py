"""What a check of a dataset finds."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Worst first."""


@dataclass(frozen=True)
class View:
    """One image of a case, for a page that shows it.

    Attributes:
        name: split and file in words, e.g. "test: 32_normal.png".
        file: the image, or a mask that is shown by itself.
        masks: whose outline is drawn into the image.
        mask_value: the foreground's value, where one is declared.
    """

    name: str
    file: Path
    masks: tuple[Path, ...] = ()
    mask_value: int | None = None


@dataclass(frozen=True)
class Case:
    """One example in words, and the images that show it, side by side."""

    example: str
    views: tuple[View, ...] = ()


@dataclass(frozen=True)
class Shared:
    """`images` distinct images of `split` have their like (the same, a near-copy, one of the same patient) in `other`.

    Of the splits val and test against those that are used before them; `other` may be another dataset's.
    """

    split: str
    other: str
    images: int


@dataclass(frozen=True)
class Finding:
    """One kind of problem in one split (or across splits: None). `count` cases, a few as examples.

    Attributes:
        cases: the first of them with images, for a page that shows them.
        shared: of a leak, how many images of one split it concerns.
        prompts: of defects in texts, the number of entries by prompt name.
    """

    code: str
    severity: Severity
    dataset: str
    split: str | None
    count: int
    examples: tuple[str, ...]
    message: str
    cases: tuple[Case, ...] = ()
    shared: tuple[Shared, ...] = ()
    prompts: Mapping[str, int] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Path, ...]:
        """Images and masks of the cases."""
        return tuple(file for case in self.cases for view in case.views for file in (view.file, *view.masks))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "code": self.code,
            "severity": self.severity,
            "dataset": self.dataset,
            "split": self.split,
            "count": self.count,
            "examples": list(self.examples),
            "message": self.message,
            "files": [str(file) for file in self.files],
            "shared": [asdict(one) for one in self.shared],
            "prompts": dict(self.prompts),
        }


def count_by_severity(findings: Iterable[Finding]) -> dict[str, int]:
    """Number of findings (kinds, not cases) by severity."""
    counts: dict[str, int] = dict.fromkeys(SEVERITIES, 0)
    for finding in findings:
        counts[finding.severity] += 1
    return counts


@dataclass(frozen=True)
class Looked:
    """What a check looked at beside the annotation files: the image and mask files; all images against each other."""

    files: bool = True
    near: bool = True


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
