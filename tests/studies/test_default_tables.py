"""The tables of a study that names none: whatever its parts ask, they can be made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlseg.records.study import parse_study
from vlseg.studies.expand import expand
from vlseg.studies.tables import check_tables, default_tables

MakeDataset = Callable[..., Path]

ASKED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "plain": ({}, []),
    "prompts": ({"prompts": ["p1", "p2"]}, []),
    "seeds": ({"seeds": [0, 1]}, []),
    "conditions": ({"evaluate": [{"conditions": ["clean", "swapped"]}]}, []),
    "another condition": ({"evaluate": [{"conditions": ["swapped", "corrupted"]}]}, ["condition"]),
    "splits": ({"evaluate": [{}, {"split": "val"}]}, ["split"]),
    "prompts asked anew": ({"prompts": ["p1", "p2"], "evaluate": [{}, {"prompts": ["p1"]}]}, ["prompt"]),
    "axes": ({"axes": {"learning_rate": [0.1, 0.2]}, "shares": [0.5, 1.0]}, ["share", "learning_rate"]),
    "labels": ({"axes": {"label_share": [0.25, 0.5, 1.0]}, "set": {"pseudo_labels": "epi"}}, ["label_share"]),
    "pseudo-labels": (
        {"axes": {"pseudo_labels": ["none", "epi"]}, "set": {"label_share": 0.25}},
        ["pseudo_labels"],
    ),
    "regimes": ({"regimes": ["full", "decoder"]}, ["regime"]),
}


@pytest.mark.parametrize("case", ASKED)
def test_what_differs_stands_in_the_rows(case: str, make_dataset: MakeDataset) -> None:
    more, rows = ASKED[case]
    part = {"name": "p", "models": ["clipseg-tiny"], "data": ["a"], "prompts": ["p1"], **more}
    plan = expand(parse_study({"name": "s", "data": {"a": str(make_dataset())}, "parts": [part]}, "here"))
    tables = default_tables(plan)
    assert [table.rows for table in tables] == [["model", "trained_on", "asked", *rows]]
    check_tables(plan.model_copy(update={"study": plan.study.model_copy(update={"tables": tables})}))
