"""One HTML page of a study: what came out, beside what was published, what is missing, what it took."""

import csv
import io
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlseg.metrics import EMPTY_RULE
from vlseg.records import write_text
from vlseg.records.study import LEFT_OUT, Cell, Hole
from vlseg.reports.environment import page_environment
from vlseg.reports.figures import Figure
from vlseg.reports.published import TAGS
from vlseg.reports.study_cost import cost, environment_of, peak, sittings, told_bytes
from vlseg.reports.study_drawing import Drawing
from vlseg.reports.study_facts import STATES, StudyFacts, StudyRun, StudySearch
from vlseg.reports.study_words import failures, first_screen, interval, some, worths
from vlseg.reports.tables import to_html
from vlseg.reports.tables.build import PHANTOMS
from vlseg.reports.tables.html import is_wide
from vlseg.reports.tables.layout import EMPTY_PLACE
from vlseg.reports.tables.marks import FLAG_RULE

HEADINGS = {
    "ranks": "Methods by their rank over datasets",
    "matrix": "Trained on one dataset, asked about others",
    "prompts": "Dice by prompt",
    "slopes": "Own words and other words",
    "intervals": "Dice with intervals",
}
"""Over the figures of a kind, in the order of the page."""
OPEN = 2
"""Figures of a kind that are shown before the reader asks for the rest."""
PRINTED = 100
"""Runs up to which their table is printed, too."""
MOST = 20
"""Lines of a list before the rest is counted."""


def write_study_page(facts: StudyFacts, folder: Path, figures: Sequence[tuple[Drawing, Figure]] = ()) -> Path:
    """Write report.html, which opens offline and needs no script, and runs.csv beside it; the page.

    Args:
        facts: of the study.
        folder: STUDY/report.
        figures: shown before the tables.

    Raises:
        InputError: the folder cannot be written.
    """
    said = {EMPTY_RULE, FLAG_RULE, EMPTY_PLACE, PHANTOMS}
    rows = [run_row(run) for run in facts.runs]
    values = {
        "title": facts.title or facts.name,
        "facts": facts,
        "place": f"./{facts.folder}",
        "command": shlex.quote(f"./{facts.folder}"),
        "sentences": first_screen(facts),
        "figures": {
            kind: (heading, found)
            for kind, heading in HEADINGS.items()
            if (found := [figure for drawing, figure in figures if drawing.kind == kind])
        },
        "open": OPEN,
        "printed": PRINTED,
        "tables": [(one.frame.spec, to_html(one, said=said), is_wide(one)) for one in facts.tables],
        "failures": failures(facts.runs),
        "waiting": _names(facts.runs, "waits"),
        "outdated": _names(facts.runs, "outdated"),
        "unfinished": [run for run in facts.runs if run.state in ("running", "interrupted")],
        "missing": missing(facts.holes),
        "rest": " --skip-missing" if missing(facts.holes) else "",
        "left_out": Counter(hole.why for hole in facts.holes if hole.what == LEFT_OUT),
        "worths": [_worth(cell) for cell in worths(facts.cells)],
        "searches": [_search(one, facts.runs) for one in facts.searches],
        "columns": COLUMNS,
        "rows": rows,
        "cost": cost(facts.runs),
        "peak": peak(facts.runs),
        "sizes": {name: told_bytes(size) for name, size in facts.sizes.items()},
        "environment": environment_of(facts.runs),
        "sittings": sittings(facts.runs),
        "tags": {
            tag: TAGS[tag]
            for tag in TAGS
            if any(e.published and e.published.tag == tag for table in facts.tables for e in table.entries.values())
        },
        "rules": [EMPTY_RULE, FLAG_RULE, EMPTY_PLACE],
        "some": some,
        "most": MOST,
    }
    write_text(folder / "runs.csv", _csv(rows))
    page = folder / "report.html"
    write_text(page, page_environment().get_template("study.html.j2").render(values))
    return page


def _names(runs: Sequence[StudyRun], state: str) -> list[str]:
    return [run.name for run in runs if run.state == state]


def missing(holes: Sequence[Hole]) -> dict[str, dict[str, list[str]]]:
    """Missing data and weights with what would mend it, and the parts that go without."""
    found: dict[str, dict[str, list[str]]] = {}
    for hole in holes:
        if hole.what != LEFT_OUT:
            parts = found.setdefault(hole.what, {}).setdefault(hole.why, [])
            parts += [part for part in hole.parts if part not in parts]
    return found


# A row for each run -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """What stands in a place of the table of runs, and the number that it is sorted by, where it is one."""

    text: str
    number: float | None = None


COLUMNS = ("run", "part", "model", "data", "prompt", "seed", "state", "Dice", "seconds", "peak GiB")


def run_row(run: StudyRun) -> tuple[StudyRun, dict[str, Shown]]:
    """A run by `COLUMNS`; Dice of a training is its best on val, of several datasets the lowest and the highest."""
    labels = run.labels
    prompts = [labels.get("prompt", ""), labels.get("asked", "")]
    peak = run.environment.get("peak_memory_bytes")
    texts = {
        "run": Shown(run.name),
        "part": Shown(", ".join(run.parts)),
        "model": Shown(labels.get("model", "")),
        "data": Shown(_arrow(labels.get("trained_on", ""), "" if run.kind == "train" else _joined(run.data))),
        "prompt": Shown(_arrow(*prompts)),
        "seed": _seed(labels),
        "state": Shown(STATES[run.state]),
        "Dice": _dice(run),
        "seconds": Shown("", None) if run.seconds is None else Shown(f"{run.seconds:.1f}", run.seconds),
        "peak GiB": Shown(f"{peak / 2**30:.2f}", peak / 2**30) if isinstance(peak, int) else Shown(""),
    }
    return run, texts


def _arrow(trained: str, asked: str) -> str:
    """What was trained on (or with), and what is asked, where that is another."""
    return f"{trained} → {asked}" if trained and asked and trained != asked else trained or asked


def _joined(names: Sequence[str]) -> str:
    return ", ".join(names)


def _seed(labels: Mapping[str, str]) -> Shown:
    seed, fold = labels.get("seed", ""), labels.get("fold", "")
    text = f"{seed} fold {fold}" if fold else seed
    return Shown(text, float(seed) if seed.isdecimal() else None)


def _dice(run: StudyRun) -> Shown:
    values = run.record.values if run.record is not None and run.state == "done" else {}
    if run.kind == "train":
        best = values.get("", {}).get("best_val_dice")
        return Shown(f"{best:.3f} (val)", best) if isinstance(best, float) else Shown("")
    found = [one["dice"].get("mean") for one in values.values() if isinstance(one.get("dice"), Mapping)]
    known = [value for value in found if isinstance(value, int | float)]
    if not known:
        return Shown("")
    low, high = min(known), max(known)
    return Shown(f"{low:.3f}" if low == high else f"{low:.3f} to {high:.3f}", sum(known) / len(known))


def _csv(rows: Sequence[tuple[StudyRun, Mapping[str, Shown]]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*COLUMNS, "kind", "folder", "started", "ended", "host", "why"])
    for run, texts in rows:
        record = run.record
        own = [texts[name].text for name in COLUMNS]
        when = [record.started, record.ended, record.host] if record is not None else ["", "", ""]
        writer.writerow([*own, run.kind, run.place, *when, run.why])
    return out.getvalue()


# Searches and worths ------------------------------------------------------------------------------------------------


def _search(search: StudySearch, runs: Sequence[StudyRun]) -> dict[str, Any]:
    """The trials of a search, the best first; those without a value last, in the order asked."""
    by_name = {run.name: run for run in runs}
    trials: list[dict[str, Any]] = []
    for place, name in enumerate(search.runs):
        run = by_name.get(name)
        record = run.record if run is not None and run.state == "done" else None
        value = record.values.get("", {}).get("best_val_dice") if record is not None else None
        labels = run.labels if run is not None else {}
        trials.append(
            {
                "number": place,
                "run": name,
                "settings": [labels.get(key, "") for key in search.settings],
                "value": value if isinstance(value, float) else None,
                "state": STATES[run.state] if run is not None else "gone",
            }
        )
    trials.sort(key=lambda one: (one["value"] is None, -(one["value"] or 0.0), one["number"]))
    return {"search": search, "trials": trials}


def _worth(cell: Cell) -> dict[str, Any]:
    """What a leak is worth, with its controls as means over seeds."""
    values, seeds = cell.values, list(cell.values.get("seeds", ()))
    lacking = values["worth"].get("mean") is None
    return {
        "labels": cell.labels,
        "record": values,
        "worth": ("no value", values["worth"].get("reason")) if lacking else interval(values["worth"]),
        "means": {name: _mean(seeds, key) for name, key in CONTROLS.items()},
        "seeds": len(seeds),
        "counts": sorted({row.get("n") for row in seeds if row.get("n") is not None}),
        "differs": values.get("differs") or [],
    }


CONTROLS = {
    "trained and asked with it": "leaking",
    "trained and asked with the honest prompt": "honest",
    "trained with it, asked with the honest prompt": "leaking_model_honest_prompt",
    "its words alone, on the mean image": "blind_mean_image",
    "its words alone, on another image": "blind_other_image",
}
"""What stands beside the worth of a leak, by the names in its record."""


def _mean(rows: Sequence[Mapping[str, Any]], key: str) -> str:
    found = [row[key] for row in rows if isinstance(row.get(key), int | float)]
    return f"{100 * sum(found) / len(found):.1f}" if found and len(found) == len(rows) else "–"
