"""One HTML page of a dataset check: whether the data can be used, what would spoil a result, then the rest."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from vlseg.records import AREA_EDGES, SPLITS, Case, DatasetStatistics, Finding, Looked, View, write_text
from vlseg.reports.check_groups import count_groups, group_findings, listed, numbers_of, shortened
from vlseg.reports.check_sentences import first_sentences, looked_for
from vlseg.reports.environment import page_environment
from vlseg.reports.load import data_uri

DATASETS = 30
"""Datasets whose numbers are shown, at most."""
NUMBERS = 4
"""Datasets whose numbers stand on the first screen, at most."""
TARGETS = 12
"""Targets of a split that are named, at most."""
VIEWS = 3
"""Images of a case, at most."""


def write_check_page(
    findings: Sequence[Finding],
    statistics: Sequence[DatasetStatistics],
    looked: Looked,
    out: Path,
    draw: Callable[[View], bytes | None] | None = None,
) -> Path:
    """Write a page that opens offline: sentences, groups of findings with pictures, numbers by split, mask areas.

    Its size does not grow with the findings: at most three cases of a group are shown. With pictures it holds small
    copies of images: patient data, to be kept like the dataset itself.

    Args:
        findings: of all datasets.
        statistics: one a dataset.
        looked: what was looked at.
        out: the page.
        draw: a small WebP picture of a view, or None where it cannot be shown; without it there are no pictures.

    Raises:
        InputError: `out` cannot be written.
    """
    environment = page_environment().overlay(trim_blocks=True, lstrip_blocks=True)
    groups = group_findings(findings, statistics)
    shown = statistics[:DATASETS]
    values = {
        "title": f"Check of {listed([shortened(one.dataset) for one in shown[:3]], 2)}" if shown else "Dataset check",
        "sentences": first_sentences(findings, statistics, looked),
        "numbers": [numbers_of(one) for one in statistics[:NUMBERS]],
        "unnamed": len(statistics) - NUMBERS,
        "counts": count_groups(groups),
        "groups": [(group, [_pictures(case, draw) for case in group.cases] if draw else []) for group in groups],
        "looked_for": looked_for(looked),
        "datasets": [(one, _rows(one), _histogram(one)) for one in shown],
        "left_out": len(statistics) - len(shown),
        "pictures": draw is not None,
    }
    write_text(out, environment.get_template("check.html.j2").render(values))
    return out


def _pictures(case: Case, draw: Callable[[View], bytes | None]) -> dict[str, Any]:
    """The case's words and its pictures: name, data URL (None: cannot be shown), and what it shows in words."""
    pictures = []
    for view in case.views[:VIEWS]:
        content = draw(view)
        url = None if content is None else data_uri("image/webp", content)
        told = f"{shortened(view.name)}{', with the outline of its mask' if view.masks else ''}"
        pictures.append({"name": shortened(view.name), "url": url, "alt": told})
    names = [view.name for view in case.views]
    named = case.example == ", ".join(names) or any(name.endswith(case.example) for name in names)
    return {"example": "" if named else shortened(case.example), "pictures": pictures}


def _rows(one: DatasetStatistics) -> list[dict[str, Any]]:
    """A row a split: images, entries, groups, absent and targets, in words."""
    rows = []
    for split in [split for split in SPLITS if split in one.entries]:
        targets = sorted(one.targets.get(split, {}).items(), key=lambda item: (-item[1], item[0]))
        absent = "not read" if one.absent is None else f"{one.absent.get(split, 0):,}"
        rows.append(
            {
                "split": split,
                "images": f"{one.images.get(split, 0):,}",
                "entries": f"{one.entries[split]:,}",
                "groups": f"{one.groups[split]:,}" if one.groups.get(split) else "unknown",
                "absent": absent,
                "targets": listed([f"{shortened(name)} {count:,}" for name, count in targets], TARGETS) or "none",
            }
        )
    return rows


def _histogram(one: DatasetStatistics) -> list[dict[str, Any]]:
    """Rows of the table of mask areas: the bin in words, by split the count and its percentage of the largest."""
    if one.areas is None:
        return []
    largest = {split: max(counts, default=0) or 1 for split, counts in one.areas.items()}
    rows = []
    for index, (low, high) in enumerate(pairwise(AREA_EDGES)):
        counts = {split: values[index] for split, values in one.areas.items()}
        bars = {split: round(100 * count / largest[split]) for split, count in counts.items()}
        rows.append({"bin": f"{100 * low:g} to {100 * high:g} %", "counts": counts, "bars": bars})
    return rows
