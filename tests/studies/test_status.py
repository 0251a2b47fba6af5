"""What is left of a study, and what its runs became."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vlseg.records.ledger import record_of, state_of
from vlseg.records.study import LedgerRecord, Plan, Planned, parse_study
from vlseg.studies.run import values_of
from vlseg.studies.status import status

Close = Callable[..., None]


def planned(name: str, kind: str, *needs: str) -> Planned:
    labels = {"model": "m", "trained_on": "d"}
    return Planned(name=name, kind=kind, labels=labels, parts=["p"], config={}, data={}, needs=[*needs], identity="now")


@pytest.fixture
def close(tmp_path: Path) -> Close:
    def closed(run: Planned, state: str, identity: str = "now") -> None:
        folder = tmp_path / "ledger" / run.name / f"{state}-0001"
        folder.mkdir(parents=True)
        values = {"d": {"dice": 0.5}}
        record = LedgerRecord(
            name=run.name, kind=run.kind, identity=identity, status=state, token=1, values=values, error="why"
        )
        record.write(folder)

    return closed


def plan_of(*runs: Planned) -> Plan:
    study = parse_study({"name": "s", "parts": [{"name": "p", "models": ["unet"], "data": ["d"]}]}, "test")
    return Plan(study=study, runs=list(runs))


def test_what_waits_for_a_failed_run_is_not_left_to_do(close: Close, tmp_path: Path) -> None:
    first, second, third = planned("a", "train"), planned("b", "train", "a"), planned("c", "evaluate", "b")
    other = planned("d", "evaluate")
    close(first, "failed")
    found = status(tmp_path, plan_of(third, first, second))
    assert (found.blocked, found.left, found.counts["planned"]) == (["c", "b"], 0, 2)
    assert status(tmp_path, plan_of(third, first, second, other)).left == 1


def test_a_record_of_another_identity_is_not_what_the_run_became(close: Close, tmp_path: Path) -> None:
    """Data, weights or a room's protocol have changed since: its values stand for nothing that is wanted now."""
    now, before, failed, never = (planned(name, "evaluate") for name in "abcd")
    close(now, "done")
    close(before, "done", "before")
    close(failed, "failed")
    assert state_of(tmp_path, "b") is not None
    kept = [record_of(tmp_path, run) for run in (now, before, failed, never)]
    assert [None if record is None else record.status for record in kept] == ["done", None, "failed", None]
    assert [values_of(tmp_path, run) for run in (now, before, failed, never)] == [{"d": {"dice": 0.5}}, {}, {}, {}]
