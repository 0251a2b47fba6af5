"""Datasets given together, as for pooled training or tests on another set."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from vlseg.checks.collect import Collector
from vlseg.checks.facts import FileFacts
from vlseg.records import Sample

SAME = 0.9
"""Share of equal entries from which one annotation file is taken for the other's copy."""


def check_across(
    paths: Sequence[Path],
    datasets: Sequence[Sequence[Sample]],
    facts: Sequence[Mapping[Path, FileFacts]],
    found: Collector,
) -> None:
    """Annotation files that are another dataset's, and image files that two datasets share."""
    for first, second in combinations(range(len(paths)), 2):
        names = f"{paths[first].name} and {paths[second].name}"
        _check_lists(names, paths[first], paths[second], datasets[first], datasets[second], found)
        _check_contents(names, datasets[first], datasets[second], facts[first], facts[second], found)


def _check_lists(
    names: str, first: Path, second: Path, one: Sequence[Sample], two: Sequence[Sample], found: Collector
) -> None:
    lists = [Counter((s.image_path.name, repr(sorted(s.prompts.items()))) for s in samples) for samples in (one, two)]
    shared = (lists[0] & lists[1]).total()
    if not one or not two or shared < SAME * min(len(one), len(two)):
        return
    identical = [
        file.name
        for file in sorted((first / "anns").glob("*.json"))
        if (second / "anns" / file.name).exists() and (second / "anns" / file.name).read_bytes() == file.read_bytes()
    ]
    detail = f"byte-identical: {', '.join(identical)}" if identical else f"{shared} entries are equal"
    message = "two datasets have the same annotations: one of the files is the other dataset's"
    found.add("same_annotations", "error", None, message, f"{names}: {detail}")


def _check_contents(
    names: str,
    one: Sequence[Sample],
    two: Sequence[Sample],
    first: Mapping[Path, FileFacts],
    second: Mapping[Path, FileFacts],
    found: Collector,
) -> None:
    here, there = _by_content(one, first), _by_content(two, second)
    for digest in (key for key in here if key in there):
        pairs = [(other, sample) for other in here[digest] for sample in there[digest]]
        other, sample = max(pairs, key=lambda pair: pair[0].split != pair[1].split)
        example = f"{names}: {other.split}/{other.image_path.name} and {sample.split}/{sample.image_path.name}"
        leaks = other.split != sample.split
        message = (
            "an image of one dataset is in another split of the other"
            if leaks
            else ("two datasets hold the same image; together it counts twice")
        )
        found.add("shared_image", "error" if leaks else "warning", None, message, example, sample.image_path)


def _by_content(samples: Sequence[Sample], facts: Mapping[Path, FileFacts]) -> dict[str, list[Sample]]:
    """One sample for each split that holds an image file of these bytes."""
    found: dict[str, dict[str, Sample]] = defaultdict(dict)
    for sample in samples:
        fact = facts.get(sample.image_path)
        if fact is not None and fact.digest:
            found[fact.digest].setdefault(sample.split, sample)
    return {digest: list(by_split.values()) for digest, by_split in found.items()}
