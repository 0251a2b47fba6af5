"""What would spoil a result, found before training. Nothing is written, nothing stops at the first find."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vlseg.checks.across import check_across
from vlseg.checks.annotations import read_samples
from vlseg.checks.balance import check_balance, statistics
from vlseg.checks.collect import Collector, view
from vlseg.checks.entries import check_entries, check_names_across_splits, check_prompts
from vlseg.checks.facts import FileFacts, gather
from vlseg.checks.files import check_files
from vlseg.checks.near_copies import check_near
from vlseg.checks.near_pairs import Bar
from vlseg.data import read_info
from vlseg.records import DatasetStatistics, Finding, InputError, Sample


@dataclass(frozen=True)
class Checked:
    """What is known of one dataset after its check.

    `absent` are the ids of samples whose mask is empty, `present` of those where it is not, where masks were read.
    """

    name: str
    samples: tuple[Sample, ...]
    findings: tuple[Finding, ...]
    statistics: DatasetStatistics
    absent: frozenset[str]
    present: frozenset[str]


def check_dataset(
    paths: Sequence[Path],
    *,
    target: str | None = None,
    anns_only: bool = False,
    near: bool = True,
    name_targets: Callable[[Sequence[Sample]], Sequence[Sample]] = tuple,
    bar: Bar = iter,
) -> tuple[list[Checked], list[Finding]]:
    """Each dataset's check, and what is found between datasets used together.

    Args:
        paths: dataset folders.
        target: names the masks of a plain images/ + masks/ pair.
        anns_only: read annotation files only, not images or masks.
        near: compare all images with each other.
        name_targets: fills in the targets of samples whose texts name them.
        bar: passes blocks of image comparisons on, and shows how many are done.

    Raises:
        InputError: a path that is no folder, or holds nothing that looks like a dataset.
    """
    for path in paths:
        if not path.is_dir():
            raise InputError(f"{path}: no such folder; give a dataset folder")
    checked, files = [], []
    for path in paths:
        one, facts = _check_one(path, target, anns_only, near, name_targets)
        checked.append(one)
        files.append(facts)
    across = Collector(" + ".join(one.name for one in checked))
    if len(paths) > 1:
        check_across(paths, [one.samples for one in checked], files, across)
    if near and not anns_only:
        check_near([(one.name, one.samples, facts) for one, facts in zip(checked, files, strict=True)], across, bar)
    return checked, across.findings()


def _check_one(
    path: Path,
    target: str | None,
    anns_only: bool,
    near: bool,
    name_targets: Callable[[Sequence[Sample]], Sequence[Sample]],
) -> tuple[Checked, dict[Path, FileFacts]]:
    found = Collector(path.resolve().name)
    samples = name_targets(read_samples(path, target, found))
    check_entries(samples, found)
    # In other layouts "unknown" is what the reader puts where nobody said; an annotation file says it itself.
    said = {} if (path / "anns").is_dir() or not samples else read_info(path).prompt_sources
    check_prompts(samples, {key for key, sources in said.items() if "unknown" not in sources}, found)
    facts: dict[Path, FileFacts] = {}
    areas: dict[str, float] = {}
    if anns_only:
        check_names_across_splits(samples, found)
    else:
        facts = gather(samples, thumbnails=near)
        areas = check_files(path, samples, facts, found)
    check_balance(samples, areas, found)
    numbers = statistics(found.dataset, samples, areas)
    absent = frozenset(name for name, area in areas.items() if area == 0)
    checked = Checked(
        found.dataset, tuple(samples), tuple(found.findings()), numbers, absent, frozenset(areas.keys() - absent)
    )
    return checked, facts


__all__ = ["Checked", "check_dataset", "view"]
