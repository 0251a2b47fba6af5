"""Datasets given together, as for pooled training or tests on another set."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations, product
from pathlib import Path

from scipy.stats import binom

from vlseg.checks.collect import Collector, identity, view
from vlseg.checks.facts import FileFacts
from vlseg.records import Sample, Severity

SAME = 0.9
"""Share of images with equal texts from which one annotation file may be the other's copy."""
CHANCE = 1e-6
"""Probability, were texts given to images at random, below which equal texts are no chance."""


def check_across(
    paths: Sequence[Path],
    datasets: Sequence[Sequence[Sample]],
    facts: Sequence[Mapping[Path, FileFacts]],
    found: Collector,
) -> None:
    """Annotation files that are another dataset's, and image files that two datasets share."""
    for first, second in combinations(range(len(paths)), 2):
        names = f"{paths[first].name} and {paths[second].name}"
        pair = (datasets[first], datasets[second])
        _check_lists(names, (paths[first], paths[second]), pair, (facts[first], facts[second]), found)
        _check_foreign(names, pair[0], pair[1], found)
        _check_foreign(names, pair[1], pair[0], found)
        _check_contents(names, datasets[first], datasets[second], facts[first], facts[second], found)


def _check_lists(
    names: str,
    roots: tuple[Path, Path],
    datasets: tuple[Sequence[Sample], Sequence[Sample]],
    facts: tuple[Mapping[Path, FileFacts], Mapping[Path, FileFacts]],
    found: Collector,
) -> None:
    """Annotations that are the other's, by what is in them: equal names and a class's name tell nothing."""
    texts = [_texts_by_name(samples) for samples in datasets]
    equal = [name for name in texts[0] if texts[0][name] == texts[1].get(name)]
    if not equal or len(equal) < SAME * min(map(len, texts)):
        return
    digests = [{path.name: fact.digest for path, fact in known.items()} for known in facts]
    alike = sum(digests[0].get(name) is not None and digests[0][name] == digests[1].get(name) for name in equal)
    if alike >= SAME * len(equal):
        message = "two datasets are one: the same images with the same annotations"
    elif _by_chance(texts[0], texts[1], len(equal)) < CHANCE:
        message = "two datasets have the same annotations: one of the files is the other dataset's"
    else:
        return
    detail = f"byte-identical: {', '.join(_identical(*roots))}" if _identical(*roots) else f"{len(equal)} images"
    found.add("same_annotations", "error", None, message, f"{names}: {detail}")


def _texts_by_name(samples: Sequence[Sample]) -> dict[str, tuple[str, ...]]:
    texts: dict[str, list[str]] = defaultdict(list)
    for sample in samples:
        texts[sample.image_path.name].append(repr(sorted(sample.prompts.items())))
    return {name: tuple(sorted(inside)) for name, inside in texts.items()}


def _by_chance(one: Mapping[str, tuple[str, ...]], two: Mapping[str, tuple[str, ...]], equal: int) -> float:
    """Probability that so many images of one name have equal texts, were each set's texts dealt out at random."""
    first, second = Counter(one.values()), Counter(two.values())
    same = sum(count * second[texts] for texts, count in first.items()) / (len(one) * len(two))
    return float(binom.sf(equal - 1, len(one.keys() & two.keys()), same))


def _identical(first: Path, second: Path) -> list[str]:
    return [
        file.name
        for file in sorted((first / "anns").glob("*.json"))
        if (second / "anns" / file.name).exists() and (second / "anns" / file.name).read_bytes() == file.read_bytes()
    ]


def _check_foreign(names: str, own: Sequence[Sample], other: Sequence[Sample], found: Collector) -> None:
    """Annotations whose images are not in their own dataset, but in the other."""
    wanted = {sample.image_path.name for sample in own if not sample.image_path.exists()}
    files = {sample.image_path.name: sample.image_path for sample in other}
    there = {name for name in wanted & files.keys() if files[name].exists()}
    if len(there) > len({sample.image_path.name for sample in own}) / 2:
        message = "annotations name images that are not in their dataset, but in the other one"
        example = f"{names}: {', '.join(sorted(there)[:3])} ({len(there)} images)"
        found.add("same_annotations", "error", None, message, example)


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
        pairs = list(product(_one_a_split(here[digest]), _one_a_split(there[digest])))
        other, sample = max(pairs, key=lambda pair: pair[0].split != pair[1].split)
        example = f"{names}: {other.split}/{other.image_path.name} and {sample.split}/{sample.image_path.name}"
        leaks = other.split != sample.split
        message = (
            "an image of one dataset is in another split of the other"
            if leaks
            else ("two datasets hold the same image; together it counts twice")
        )
        severity: Severity = "error" if leaks else "warning"
        alike = product({identity(s) for s in here[digest]}, {identity(s) for s in there[digest]})
        found.add("shared_image", severity, None, message, example, view(other), view(sample), alike=alike)


def _by_content(samples: Sequence[Sample], facts: Mapping[Path, FileFacts]) -> dict[str, list[Sample]]:
    """The samples by the bytes of their image files."""
    found: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        fact = facts.get(sample.image_path)
        if fact is not None and fact.digest:
            found[fact.digest].append(sample)
    return found


def _one_a_split(samples: Sequence[Sample]) -> list[Sample]:
    return list({sample.split: sample for sample in reversed(samples)}.values())[::-1]
