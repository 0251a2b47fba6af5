"""A study of 40 runs whose processes are killed at random: made once each, as if it had been left alone."""

import os
from pathlib import Path

import pytest
from study_chaos import differences, disturbed, undisturbed, write_study

KILLS = int(os.environ.get("VLSEG_KILLS", "30"))
SEEDS = [int(seed) for seed in os.environ.get("VLSEG_SEEDS", "0").split()]


@pytest.mark.long
@pytest.mark.timeout(4 * 3600)
def test_a_study_under_fire_ends_as_one_left_alone(tmp_path: Path) -> None:
    """Files, states, weights, scores and kept values; see benchmarks/study_chaos.py."""
    file = write_study(tmp_path)
    total, _ = undisturbed(file, tmp_path / "usual")
    assert total == 40
    for seed in SEEDS:
        told = disturbed(file, tmp_path / f"chaos-{seed}", seed, KILLS, total)
        print(told)
        assert sum(count for name, count in told["signals"].items() if "SIGKILL" in name) == KILLS
        assert differences(tmp_path / "usual", tmp_path / f"chaos-{seed}") == []
