"""Facts of made-up studies, as `studies.report` gives them to a page."""

from collections.abc import Mapping, Sequence
from typing import Any

from study_cells import labels

from vlseg.records.study import Cell, LedgerRecord
from vlseg.reports.study_facts import RunState, StudyFacts, StudyRun
from vlseg.reports.tables import build_tables


def a_run(name: str = "r", state: RunState = "done", kind: str = "evaluate", **more: Any) -> StudyRun:
    """A run; `error`, `seconds`, `ended`, `host` and `values` become its record's."""
    told = {key: more.pop(key) for key in ("error", "seconds", "ended", "host", "values") if key in more}
    record = None
    if state in ("done", "failed"):
        usual = {"name": name, "kind": kind, "identity": "i", "token": 1, "ended": "2026-11-26T08:00:00+00:00"}
        record = LedgerRecord(status=state, **{**usual, **told})
    usual = {"parts": ("p",), "labels": labels(), "data": ("kvasir-seg",), "record": record}
    return StudyRun(name=name, kind=kind, state=state, **{**usual, **more})


def facts(runs: Sequence[StudyRun] = (), cells: Sequence[Cell] = (), **more: Any) -> StudyFacts:
    specs = more.pop("specs", [])
    phantoms = more.get("phantoms", False)
    usual: Mapping[str, Any] = {"name": "s", "title": "A study", "note": "", "phantoms": False, "folder": "s"}
    tables = build_tables(cells, specs, more.get("holes", []), phantoms=phantoms)
    return StudyFacts(**{**usual, "runs": runs, "cells": cells, "tables": tables, **more})


def probed(ends: tuple[float, float] | None, reason: str | None = None, **own: Any) -> Cell:
    """A probe with this interval of its selection index."""
    value = None if ends is None and reason else 0.3
    index = {"value": value, "ci95": None if ends is None else list(ends), "n": 9, "reason": reason}
    return Cell("probe", labels(**own), {"selection_index": index, "tests": []})


def worth(mean: float | None, ends: tuple[float, float] | None = None, **own: Any) -> Cell:
    """What a leak is worth, of three seeds."""
    seeds = [
        {"seed": seed, "leaking": 0.8, "honest": 0.7 + seed / 100, "leaking_model_honest_prompt": 0.6, "n": 71}
        | {"blind_mean_image": 0.2, "blind_other_image": 0.1, "left_out": {}}
        for seed in range(3)
    ]
    reason = None if ends else "3 seeds, fewer than 5"
    found = {"mean": mean, "ci95": None if ends is None else list(ends), "n": 71, "reason": reason}
    values = {"worth": found, "leaking_prompt": "p6", "honest_prompt": "class", "seeds": seeds}
    return Cell(
        "worth", labels(**own), values | {"leaking_sources": ["mask"], "honest_sources": ["class"], "differs": []}
    )
