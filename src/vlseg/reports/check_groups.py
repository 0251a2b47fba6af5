"""The findings of a dataset check as a reader wants them: one group a problem, whatever the splits and datasets."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from vlseg.records import SEVERITIES, SPLITS, Case, DatasetStatistics, Finding, Severity
from vlseg.reports.check_codes import ABOUT_WORDING, CODES, WORDING, WORDING_CODES, About

EXAMPLES = 3
"""Of a group, in words and with pictures."""
LONGEST = 500
"""Characters of an example or a name, at most."""
NAMED = 6
"""Datasets and kinds that are named one by one, at most."""
_One = TypeVar("_One")
SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class Part:
    """One kind within a group: what it is, how many cases, where they are, and of which prompts."""

    message: str
    count: int
    where: str
    prompts: str


@dataclass(frozen=True)
class Group:
    """Everything that is one problem to its reader.

    Attributes:
        key: the code, or "wording".
        severity: of all its findings.
        about: its title, what is counted, and what to do.
        parts: by kind, largest first, at most NAMED; kinds may concern the same entries.
        more: kinds beyond those.
        shared: of a leak, how many images of a split have their like in one that is used earlier, in words.
        examples: at most EXAMPLES, of different kinds and splits where there are several.
        cases: the same many, with images.
    """

    key: str
    severity: Severity
    about: About
    parts: tuple[Part, ...]
    more: int
    shared: tuple[str, ...]
    examples: tuple[str, ...]
    cases: tuple[Case, ...]

    @property
    def count(self) -> str:
        """The cases in words: "14 entries"; of several kinds only their number, as they may concern the same ones."""
        if len(self.parts) > 1:
            return f"{len(self.parts) + self.more:,} kinds"
        return counted(self.parts[0].count, self.about.unit, self.about.units)


def group_findings(findings: Iterable[Finding], statistics: Sequence[DatasetStatistics]) -> list[Group]:
    """The groups, errors before warnings before notes, each severity in the order of `CODES`."""
    together: dict[tuple[Severity, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        together[(finding.severity, WORDING if finding.code in WORDING_CODES else finding.code)].append(finding)
    order = {code: index for index, code in enumerate([*CODES, WORDING])}
    several = len(statistics) > 1
    images = images_by_split(statistics)
    keys = sorted(together, key=lambda key: (SEVERITIES.index(key[0]), order.get(key[1], len(order)), key[1]))
    return [_group(code, severity, together[(severity, code)], images, several) for severity, code in keys]


def count_groups(groups: Iterable[Group]) -> str:
    """In words: "no error, 2 warnings, 5 notes", where splits, datasets and wording do not count apart."""
    found = [group.severity for group in groups]
    return ", ".join(counted(found.count(one), one, f"{one}s", none="no") for one in SEVERITIES)


def images_by_split(statistics: Iterable[DatasetStatistics]) -> dict[str, int]:
    """Distinct images of each split, of all datasets."""
    totals = dict.fromkeys(SPLITS, 0)
    for one in statistics:
        for split, count in one.images.items():
            totals[split] = totals.get(split, 0) + count
    return totals


def shared_images(findings: Iterable[Finding]) -> dict[tuple[str, str], int]:
    """By split and earlier split, images of the one with their like in the other."""
    totals: dict[tuple[str, str], int] = defaultdict(int)
    for finding in findings:
        for one in finding.shared:
            totals[(one.split, one.other)] += one.images
    return totals


def counted(number: int, unit: str, units: str, *, none: str = "0") -> str:
    """In words: "1 entry", "1,279 entries", "0 entries" or "no entry"."""
    return f"{number:,} {unit if number == 1 else units}" if number else f"{none} {unit if none == 'no' else units}"


def prompts_of(prompts: Iterable[str]) -> str:
    """In words: "prompt p1", "prompts p1 to p6", "prompts p1, p3 and text"; of none "".

    "to" only where all between are meant.
    """
    names = sorted(set(prompts), key=lambda name: (len(name), name))
    numbered = [f"p{number}" for number in range(100)]
    start = numbered.index(names[0]) if names and names[0] in numbered else None
    if start is not None and len(names) > 2 and names == numbered[start : start + len(names)]:
        return f"prompts {names[0]} to {names[-1]}"
    return f"prompt{'s' if len(names) > 1 else ''} {listed([shortened(name) for name in names])}" if names else ""


def numbers_of(one: DatasetStatistics) -> str:
    """In words: "busi: entries: 80 train, 20 val, 20 test, an image each"."""
    splits = [split for split in SPLITS if split in one.entries]
    entries = ", ".join(f"{one.entries[split]:,} {split}" for split in splits)
    images = " and ".join(f"{one.images.get(split, 0):,}" for split in splits if one.entries[split])
    each = all(one.images.get(split, 0) == one.entries[split] for split in splits)
    return f"{shortened(one.dataset)}: {entries} entries, {'an image each' if each else f'of {images} images'}"


def listed(words: Sequence[str], most: int = NAMED) -> str:
    """In words: "a, b and c"; beyond `most`, "a, b and 7 more"."""
    shown = [*words] if len(words) <= most else [*words[:most], f"{len(words) - most:,} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else ""


def shortened(text: str) -> str:
    """The text, in LONGEST characters at most."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _group(code: str, severity: Severity, found: list[Finding], images: Mapping[str, int], several: bool) -> Group:
    kinds: dict[str, list[Finding]] = defaultdict(list)
    for finding in found:
        kinds[WORDING_CODES.get(finding.code, finding.message)].append(finding)
    parts = sorted((_part(message, inside, several) for message, inside in kinds.items()), key=lambda one: -one.count)
    largest = sorted(kinds.values(), key=lambda inside: -sum(one.count for one in inside))
    ordered = _in_turn(largest)
    about = ABOUT_WORDING if code == WORDING else CODES.get(f"{severity} {code}") or CODES.get(code)
    return Group(
        key=code,
        severity=severity,
        about=about or About(shortened(found[0].message), "case", "cases", ""),
        parts=tuple(parts[:NAMED]),
        more=max(0, len(parts) - NAMED),
        shared=_shared_words(found, images),
        examples=tuple(shortened(one) for one in _in_turn([one.examples for one in ordered])[:EXAMPLES]),
        cases=tuple(_in_turn([one.cases for one in ordered])[:EXAMPLES]),
    )


def _part(message: str, found: Sequence[Finding], several: bool) -> Part:
    prompts = [name for finding in found for name in finding.prompts]
    return Part(shortened(message), sum(one.count for one in found), _where(found, several), prompts_of(prompts))


def _where(found: Sequence[Finding], several: bool) -> str:
    """Counts by split, and by dataset where there are several."""
    by_dataset: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for finding in found:
        by_dataset[finding.dataset][finding.split or ""] += finding.count
    words = []
    for dataset, counts in list(by_dataset.items())[:NAMED]:
        mixed = len(counts) > 1
        order = sorted(counts, key=lambda split: (*SPLITS, split).index(split))
        splits = ", ".join(f"{split or 'across'} {counts[split]:,}" for split in order if split or mixed)
        alone = f"{shortened(dataset)} {sum(counts.values()):,}"
        words.append(splits if not several else f"{shortened(dataset)}: {splits}" if splits else alone)
    left = len(by_dataset) - NAMED
    return "; ".join(one for one in [*words, f"{left:,} datasets more" if left > 0 else ""] if one)


def _shared_words(found: Sequence[Finding], images: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(
        f"{split} against {other}: {count:,} of {images.get(split, 0):,} {SPLIT_NAMES[split]} images"
        for (split, other), count in shared_images(found).items()
    )


def _in_turn(rows: Sequence[Sequence[_One]]) -> list[_One]:
    """The first of every row, then the second of every row, and so on."""
    return [row[at] for at in range(max(map(len, rows), default=0)) for row in rows if at < len(row)]
