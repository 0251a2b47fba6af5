"""Near-duplicate images, within a dataset and between datasets used together."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

from vlseg.checks.collect import EARLIER, Collector, identity, view
from vlseg.checks.facts import FileFacts
from vlseg.checks.near import near_duplicates
from vlseg.checks.near_pairs import Bar
from vlseg.records import Sample

Examined = tuple[str, Sequence[Sample], Mapping[Path, FileFacts]]


def check_near(datasets: Sequence[Examined], found: Collector, bar: Bar = iter) -> None:
    """Images that look the same: across splits (one may be trained on, the other tested), else within one.

    Byte-identical files in two splits or in two datasets are findings of their own and left out here.
    """
    files: dict[Path, tuple[str, str, str | None]] = {}
    holders: dict[Path, list[Sample]] = defaultdict(list)
    for name, samples, facts in datasets:
        for sample in samples:
            if sample.image_path in facts:
                files.setdefault(sample.image_path, (name, sample.split, facts[sample.image_path].digest))
                holders[sample.image_path].append(sample)
    every = {path: fact for _, _, facts in datasets for path, fact in facts.items()}
    paths = list(files)
    pairs = near_duplicates([every[path].descriptor for path in paths], bar=bar)
    for pair in sorted(pairs, key=lambda one: _urgency(files[paths[one.first]][1], files[paths[one.second]][1])):
        first, second = paths[pair.first], paths[pair.second]
        one, two = files[first], files[second]
        same = one[2] == two[2]
        if same and one[:2] != two[:2]:
            continue
        example = f"{_where(one, two)}{first.name} and {second.name} (similarity {pair.similarity:.2f})"
        shown = [view(holders[path][0]) for path in (first, second)]
        if one[1] != two[1]:
            message = "images in different splits look the same: one may be trained on, the other tested"
            images = [{identity(sample) for sample in holders[path]} for path in (first, second)]
            found.add("near_duplicate", "warning", None, message, example, *shown, alike=product(images[0], images[1]))
        else:
            message = "images of one split look the same; they count twice"
            found.add("near_duplicate", "note", one[1], message, example, *shown)


def _urgency(one: str, two: str) -> int:
    """Copies of trained images among those that are tested come first, so that they are the ones shown."""
    return next((index for index, pair in enumerate(EARLIER) if {one, two} == set(pair)), len(EARLIER))


def _where(one: tuple[str, str, str | None], two: tuple[str, str, str | None]) -> str:
    """The datasets and splits where they differ."""
    if one[0] != two[0]:
        return f"{one[0]}/{one[1]} and {two[0]}/{two[1]}: "
    return "" if one[1] == two[1] else f"{one[1]} and {two[1]}: "
