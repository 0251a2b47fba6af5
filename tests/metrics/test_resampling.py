"""Resamples drawn piece by piece are those drawn in one go, to the same bit."""

import numpy as np
import pytest

from vlseg.metrics import bootstrap
from vlseg.metrics.bootstrap import BOOTSTRAP_SEED, REPLICATES, Clusters


def in_one_go(gathered: Clusters) -> tuple[np.ndarray, np.ndarray]:
    """The definition, with all draws and all sizes at once."""
    order = np.lexsort((gathered.sums, gathered.counts))
    drawn = np.random.default_rng(BOOTSTRAP_SEED).integers(len(order), size=(REPLICATES, len(order)))
    sums, counts = gathered.sums[order][drawn], gathered.counts[order][drawn]
    means = sums.sum(axis=1) / counts.sum(axis=1)
    residuals = sums - means[:, None] * counts
    number = len(order)
    return means, np.sqrt((residuals**2).sum(axis=1) * number / (number - 1)) / counts.sum(axis=1)


@pytest.mark.parametrize("groups", [10, 11, 97, 1500])
@pytest.mark.parametrize("sizes", ["one", "three", "mixed"])
def test_pieces_do_not_change_a_bit(groups: int, sizes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(groups)
    counts = {"one": np.ones(groups), "three": np.full(groups, 3.0), "mixed": rng.integers(1, 5, groups) * 1.0}[sizes]
    gathered = Clusters(rng.random(groups) * counts, counts)
    expected_means, expected_errors = in_one_go(gathered)
    for most in (bootstrap._DRAWS_AT_ONCE, 1000, 1):  # 1: a resample a piece
        monkeypatch.setattr(bootstrap, "_DRAWS_AT_ONCE", most)
        means, errors = bootstrap._resampled(gathered, studentised=True)
        assert means.tobytes() == expected_means.tobytes()
        assert errors.tobytes() == expected_errors.tobytes()
        assert bootstrap._resampled(gathered, studentised=False)[0].tobytes() == expected_means.tobytes()
