"""Runs an hour, and the time left."""

from datetime import UTC, datetime, timedelta

import pytest

from vlseg.records.study import LedgerRecord
from vlseg.studies.status import _rate

START = datetime(2026, 1, 1, tzinfo=UTC)


def ended(minutes: float, seconds: float = 60.0) -> LedgerRecord:
    when = (START + timedelta(minutes=minutes)).isoformat(timespec="seconds")
    return LedgerRecord(name="r", kind="train", identity="0", status="done", token=1, ended=when, seconds=seconds)


def test_one_run_a_minute() -> None:
    assert _rate([ended(minute) for minute in range(10)]) == pytest.approx(60)


def test_two_workers_make_twice_as_many() -> None:
    assert _rate([ended(minute / 2) for minute in range(21)]) == pytest.approx(120)


@pytest.mark.parametrize("pause", [5, 20, 600])
def test_a_pause_between_sittings_does_not_count(pause: float) -> None:
    first = [ended(minute) for minute in range(10)]
    second = [ended(9 + pause + minute) for minute in range(1, 11)]
    assert _rate(first + second) == pytest.approx(60, rel=0.01)


def test_a_long_run_is_no_pause() -> None:
    records = [ended(0), ended(1), ended(61, seconds=3600)]
    assert _rate(records) == pytest.approx(2 / 61 * 60, rel=0.01)


def test_a_run_alone_has_no_rate() -> None:
    assert _rate([ended(1)]) is None
    assert _rate([]) is None
