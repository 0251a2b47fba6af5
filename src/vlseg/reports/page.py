"""One HTML page of one or several runs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from vlseg.metrics import ATTACKED, EMPTY_RULE, SMOOTHED, Comparison, independent_note
from vlseg.records import write_text
from vlseg.reports.environment import page_environment
from vlseg.reports.examples import examples
from vlseg.reports.figures import Figure, differences, intervals, learning_curves
from vlseg.reports.gallery import gallery
from vlseg.reports.load import RunOnDisk, load_run
from vlseg.reports.parts import attacks, corruption, probe, smoothing, subgroup, subgroup_columns, swapping
from vlseg.reports.results import Row, result_rows, worst
from vlseg.reports.robustness import robustness_facts
from vlseg.reports.sections import attribute_table, by_prompt, calibrations, cross_dataset, leak_worths, risk_coverages
from vlseg.reports.words import first_screen

MOST_SHOWN = 12
"""Evaluations of one kind that have a section of their own."""


def write_report(
    runs: Sequence[Path],
    out: Path,
    *,
    title: str,
    comparison: Mapping[str, Any] | None = None,
    images: bool = True,
    figures: Path | None = None,
) -> Path:
    """Write a page that opens offline: what was found in words, examples, one table, figures, all samples.

    It works without script; a script sorts and filters the samples.

    Args:
        runs: run folders.
        out: the HTML file.
        title: its heading.
        comparison: of the runs, as `vlseg compare` gives it, or {"reason": why there is none}.
        images: show small copies of the images: patient data, to be kept as the images are.
        figures: a folder for each figure as NAME.svg and NAME.png.

    Raises:
        InputError: a folder without a readable run.json, or `out` cannot be written.
    """
    loaded = [load_run(run) for run in runs]
    rows = result_rows(loaded)
    values = {
        "title": title,
        "images": images,
        **_first_screen(loaded, rows, comparison, images),
        **_sections(loaded, comparison),
    }
    write_text(out, page_environment().get_template("report.html.j2").render(values))
    if figures is not None:
        for figure in _named_apart(_all_figures(values)):
            figure.write(figures)
    return out


def _intervals(rows: Sequence[Row]) -> Figure | None:
    """The main table's scores below each other; None for a single one."""
    if len(rows) < 2:
        return None
    one_dataset = len({row.dataset for row in rows}) == 1
    ceilings = {row.ceilings[1] for row in rows} if one_dataset else set()
    lines = {"the best with the class alone": ceilings.pop()} if len(ceilings) == 1 else {}
    return intervals([(row.label(dataset=not one_dataset), row.aggregate.dice_present) for row in rows], lines=lines)


def _differences(comparison: Mapping[str, Any] | None) -> Figure | None:
    """All pairs of runs."""
    names = {field.name for field in fields(Comparison)}
    pairs = (comparison or {}).get("pairs", [])
    values = [
        (f"{pair['second']} minus {pair['first']}", Comparison(**{name: pair[name] for name in names}))
        for pair in pairs
    ]
    return differences(values, name="run-against-run", measured="points of Dice over all targets")


def _all_figures(values: Any) -> Iterator[Figure]:
    """Every figure among what a template gets."""
    if isinstance(values, Figure):
        yield values
    elif isinstance(values, Mapping):
        yield from (figure for inside in values.values() for figure in _all_figures(inside))
    elif isinstance(values, list):
        yield from (figure for inside in values for figure in _all_figures(inside))


def _named_apart(found: Iterable[Figure]) -> Iterator[Figure]:
    """Long names are cut, and cut ones may be alike: those get a number, so that no file replaces another."""
    taken: set[str] = set()
    for figure in found:
        names = chain([figure.name], (f"{figure.name}-{number}" for number in count(2)))
        name = next(one for one in names if one.casefold() not in taken)
        taken.add(name.casefold())
        yield replace(figure, name=name)


def _first_screen(
    runs: Sequence[RunOnDisk], rows: Sequence[Row], comparison: Mapping[str, Any] | None, images: bool
) -> dict[str, Any]:
    """Sentences, examples and the main table."""
    specs = [row.spec for row in rows]
    return {
        "runs": [run.record for run in runs],
        "sentences": first_screen(runs, comparison),
        "examples": examples(runs) if images and rows else None,
        "gallery": gallery(runs) if images else None,
        "rows": rows,
        "intervals": _intervals(rows),
        "worst": worst(runs),
        "any_groups": any(spec.groups_known for spec in specs),
        "any_made_up": any(spec.phantoms for spec in specs),
        "any_ceiling": any(spec.text_blind_ceiling is not None for spec in specs),
        "empty_rule": EMPTY_RULE,
        "independent_note": independent_note([score for row in rows for score in row.evaluation.scores]) or "",
    }


def _sections(runs: Sequence[RunOnDisk], comparison: Mapping[str, Any] | None) -> dict[str, Any]:
    """What stands below the main table; of many evaluations of one kind the first ones, `left_out` counts the rest."""
    found = {
        "language": [(run, one) for run in runs for one in run.under("swapped")],
        "probes": [(run, one) for run in runs for one in run.under("probe")],
        "subgroups": [(run, one) for run in runs for one in run.clean if subgroup_columns(one)],
        "corrupted": [(run, one) for run in runs for one in run.under("corrupted")],
        "attacked": [(run, one) for run in runs for one in run.under(ATTACKED)],
        "smoothed": [(run, one) for run in runs for one in run.under(SMOOTHED)],
    }
    robust = [facts for run in runs for facts in robustness_facts(run)]
    makers = {
        "language": swapping,
        "probes": probe,
        "subgroups": subgroup,
        "corrupted": corruption,
        "attacked": attacks,
        "smoothed": smoothing,
    }
    parts = {name: [makers[name](run, one) for run, one in pairs[:MOST_SHOWN]] for name, pairs in found.items()}
    counts = {name: len(pairs) for name, pairs in found.items()}
    return {
        **parts,
        "robust": robust[:MOST_SHOWN],
        "left_out": {name: max(0, many - MOST_SHOWN) for name, many in {**counts, "robust": len(robust)}.items()},
        "attributes": attribute_table(parts["probes"]),
        "by_prompt": by_prompt(runs),
        "comparison": comparison,
        "differences": _differences(comparison),
        "worths": leak_worths(runs),
        "crossings": cross_dataset(runs),
        "calibrations": calibrations(runs),
        "risks": risk_coverages(runs),
        "curves": learning_curves([(run.record.id, run.history) for run in runs]),
    }
