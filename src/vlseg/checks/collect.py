"""Cases of the same kind gathered to findings."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from vlseg.records import SEVERITIES, Case, Finding, Sample, Severity, Shared, View

EXAMPLES = 5
FILES = 24
"""Files of one finding that are kept to be shown, about."""

EARLIER = (("test", "train"), ("test", "val"), ("val", "train"))
"""Splits and those that are used before them: what training or the choice of the epoch has seen."""

Image = tuple[str, str, Path, str]
"""Split, dataset, file and image id: what tells an image among all that are checked together."""


@dataclass
class _Gathered:
    count: int = 0
    cases: list[Case] = field(default_factory=list)
    files: int = 0
    prompts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    shared: dict[tuple[str, str], set[Image]] = field(default_factory=lambda: defaultdict(set))


@dataclass
class Collector:
    """Cases by (code, severity, split, message), in order of first appearance."""

    dataset: str
    gathered: dict[tuple[str, Severity, str | None, str], _Gathered] = field(default_factory=dict)

    def add(
        self,
        code: str,
        severity: Severity,
        split: str | None,
        message: str,
        example: str,
        *views: View,
        prompt: str | None = None,
        alike: Iterable[tuple[Image, Image]] = (),
    ) -> None:
        """One case, with the images that show it.

        Args:
            code, severity, split, message: of the finding.
            example: the case in words.
            views: its images.
            prompt: whose words it is about.
            alike: of a leak, pairs of images that are alike.
        """
        one = self.gathered.setdefault((code, severity, split, message), _Gathered())
        one.count += 1
        if len(one.cases) < EXAMPLES or one.files < FILES:
            one.cases.append(Case(example, views))
            one.files += sum(1 + len(view.masks) for view in views)
        if prompt is not None:
            one.prompts[prompt] += 1
        for pair in alike:
            for first, second in (pair, pair[::-1]):
                if (first[0], second[0]) in EARLIER:
                    one.shared[(first[0], second[0])].add(first)

    def findings(self) -> list[Finding]:
        """Worst first."""
        found = [
            Finding(
                code=code,
                severity=severity,
                dataset=self.dataset,
                split=split,
                count=one.count,
                examples=tuple(case.example for case in one.cases[:EXAMPLES]),
                message=message,
                cases=tuple(case for case in one.cases if case.views),
                shared=tuple(Shared(*pair, len(one.shared[pair])) for pair in EARLIER if pair in one.shared),
                prompts=dict(one.prompts),
            )
            for (code, severity, split, message), one in self.gathered.items()
        ]
        return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def identity(sample: Sample) -> Image:
    """The sample's image."""
    return sample.split, sample.dataset, sample.image_path, sample.image_id


def between_splits(samples: Iterable[Sample]) -> list[tuple[Image, Image]]:
    """Each image with one of every other split, of samples that all show the same."""
    images = dict.fromkeys(identity(sample) for sample in samples)
    firsts = {image[0]: image for image in reversed(images)}
    return [(image, other) for image in images for split, other in firsts.items() if split != image[0]]


def view(sample: Sample, *masks: Path, file: Path | None = None) -> View:
    """The sample's image with the outline of `masks`; with `file`, that file by itself."""
    shown = file or sample.image_path
    return View(f"{sample.split}: {shown.name}", shown, tuple(masks), sample.mask_value)


def one_a_split(samples: Iterable[Sample]) -> list[View]:
    """The first image of each split."""
    firsts: dict[str, Sample] = {}
    for sample in samples:
        firsts.setdefault(sample.split, sample)
    return [view(sample) for sample in firsts.values()]
