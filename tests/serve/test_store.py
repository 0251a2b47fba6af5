"""Images in memory: whose they are, how long, how many, how large."""

import re

import numpy as np
import pytest

from vlseg.serve.limits import Limits, Refused
from vlseg.serve.store import Store

KIB = np.zeros((16, 20, 3), dtype=np.uint8)
BYTES = KIB.nbytes


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def store(**limits: object) -> Store:
    return Store(Limits(**limits), clock=Clock())


def test_another_sessions_id_is_no_id() -> None:
    kept = store()
    mine = kept.add("mine", KIB, None, {})
    assert kept.get("mine", mine.id) is mine
    for session, id in (("theirs", mine.id), ("mine", mine.id[:-1]), ("mine", "")):
        with pytest.raises(Refused) as refused:
            kept.get(session, id)
        assert refused.value.status == 404
    with pytest.raises(Refused):
        kept.drop("theirs", mine.id)
    assert kept.get("mine", mine.id) is mine


def test_ids_are_random() -> None:
    kept = store(images_per_session=500)
    ids = {kept.add("one", KIB, None, {}).id for _ in range(300)}
    assert len(ids) == 300
    assert all(re.fullmatch(r"[\w-]{22}", id) for id in ids)


def test_who_is_refused_loses_nothing() -> None:
    kept = Store(Limits(images_per_session=2), memory=3 * BYTES, clock=Clock())
    mine = [kept.add("mine", KIB, None, {}) for _ in range(2)]
    with pytest.raises(Refused):
        kept.add("mine", np.zeros((64, 20, 3), dtype=np.uint8), None, {})
    assert [kept.get("mine", one.id) for one in mine] == mine


def test_images_go_some_time_after_their_last_use() -> None:
    kept = store(keep_seconds=100)
    used, unused = kept.add("one", KIB, None, {}), kept.add("one", KIB, None, {})
    kept.clock.now = 99
    kept.get("one", used.id)
    kept.clock.now = 100
    with pytest.raises(Refused):
        kept.get("one", unused.id)
    assert (kept.count, kept.nbytes) == (1, BYTES)
    kept.clock.now = 199
    kept.sweep()
    assert (kept.count, kept.nbytes) == (0, 0)


def test_a_session_loses_the_one_it_used_longest_ago() -> None:
    kept = store(images_per_session=2)
    first, second = kept.add("one", KIB, None, {}), kept.add("one", KIB, None, {})
    other = kept.add("other", KIB, None, {})
    kept.get("one", first.id)
    third = kept.add("one", KIB, None, {})
    assert kept.get("one", first.id)
    assert kept.get("one", third.id)
    assert kept.get("other", other.id)
    with pytest.raises(Refused):
        kept.get("one", second.id)


def test_a_full_memory_makes_nobody_elses_room() -> None:
    kept = Store(Limits(images_per_session=8), memory=3 * BYTES, clock=Clock())
    theirs = [kept.add("theirs", KIB, None, {}) for _ in range(2)]
    mine = kept.add("mine", KIB, None, {})
    newer = kept.add("mine", KIB, None, {})
    with pytest.raises(Refused):
        kept.get("mine", mine.id)
    assert kept.get("mine", newer.id)
    with pytest.raises(Refused) as refused:
        kept.add("third", KIB, None, {})
    assert refused.value.status == 429
    assert [kept.get("theirs", image.id) for image in theirs] == theirs
    assert kept.nbytes == 3 * BYTES


def test_sessions_are_bounded_and_end() -> None:
    kept = store(sessions=2, keep_seconds=10)
    one = kept.add("one", KIB, None, {})
    kept.add("two", KIB, None, {})
    with pytest.raises(Refused) as refused:
        kept.add("three", KIB, None, {})
    assert refused.value.status == 429
    kept.drop("one", one.id)
    assert kept.add("three", KIB, None, {})
    kept.clock.now = 10
    assert kept.add("four", KIB, None, {})
    assert kept.count == 1


def test_prompts_are_remembered_for_a_session_that_keeps_images() -> None:
    kept = store(keep_seconds=10)
    kept.add("one", KIB, None, {})
    known = kept.known("one", "model")
    known["polyp"] = None
    assert kept.known("one", "model") is known
    assert kept.known("one", "other model") == {}
    assert kept.known("nobody", "model") == {}
    kept.clock.now = 10
    kept.sweep()
    assert kept.known("one", "model") == {}
