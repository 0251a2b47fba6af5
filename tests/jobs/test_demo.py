"""The demo's clock."""

import pytest

from vlseg.jobs.demo import TimeLeft


@pytest.mark.parametrize("slower", [0.5, 1.0, 4.0])
def test_the_time_left_is_known_from_the_first_second_and_follows_the_machine(slower: float) -> None:
    typical = {"draw": 20.0, "train": 100.0, "test": 30.0}
    time = [1000.0]
    clock = TimeLeft(typical, now=lambda: time[0])
    clock.begin("draw")
    assert clock.seconds == pytest.approx(150)
    assert clock.share == 0
    time[0] += 20 * slower
    clock.begin("train")
    true = 130 * slower
    assert abs(clock.seconds - true) < 0.7 * abs(130 - true) + 1e-9  # most of the error is gone after the first phase
    seen = []
    for _ in range(10):
        time[0] += 10 * slower
        seen.append(clock.seconds)
    assert seen == sorted(seen, reverse=True)
    assert all(left > 30 * min(slower, 1) for left in seen)
    clock.begin("test")
    assert clock.seconds == pytest.approx(30 * slower, rel=0.25)
    time[0] += 1000
    assert clock.seconds > 0  # never below nothing, however long it takes
    clock.begin(None)
    assert clock.seconds == 0
    assert clock.share == 1


def test_a_phase_that_was_done_before_says_nothing_of_the_machine() -> None:
    time = [0.0]
    clock = TimeLeft({"draw": 20.0, "train": 100.0, "test": 30.0}, now=lambda: time[0])
    for phase in ("draw", "train", "test"):
        clock.begin(phase)
        time[0] += 0.5
    assert clock.seconds == pytest.approx(29.5)
