"""The text-blind ceiling against brute force and against masks found by chance."""

from itertools import product

import numpy as np
import pytest

from vlseg.metrics.ceiling import best_text_blind_mask, text_blind_ceiling


def mean_dice(mask: np.ndarray, truths: np.ndarray) -> float:
    present = [truth for truth in truths if truth.any()]
    return float(np.mean([2 * (mask & t).sum() / (mask.sum() + t.sum()) for t in present]))


@pytest.mark.parametrize("seed", range(12))
def test_equals_the_best_of_all_masks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truths = rng.random((int(rng.integers(1, 5)), 2, 4)) < rng.uniform(0.1, 0.7)
    truths[0, 0, 0] = True
    masks = np.array(list(product([False, True], repeat=8))).reshape(-1, 2, 4)
    assert best_text_blind_mask(truths)[0] == pytest.approx(max(mean_dice(mask, truths) for mask in masks))


def test_no_random_mask_is_better_and_the_counts_reach_it() -> None:
    rng = np.random.default_rng(0)
    truths = np.zeros((4, 24, 24), dtype=bool)
    for truth in truths[:3]:
        y, x = rng.integers(0, 14, 2)
        truth[y : y + 9, x : x + 7] = True
    best, counts = best_text_blind_mask(truths)
    for _ in range(500):
        chosen = rng.random(2) * 1.2
        noise = rng.random((24, 24))
        mask = (truths.sum(axis=0) * chosen[0] > noise) | (truths[rng.integers(3)] & (noise < chosen[1]))
        assert mean_dice(mask, truths) <= best + 1e-12
    mask = np.zeros((24, 24), dtype=bool)
    for atom, number in counts.items():
        where = np.argwhere((truths == np.array(atom)[:, None, None]).all(axis=0))[:number]
        mask[tuple(where.T)] = True
    assert mean_dice(mask, truths) == pytest.approx(best)


def test_counting_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    truths = np.random.default_rng(3).random((3, 9, 9)) < 0.3
    whole = best_text_blind_mask(truths)
    monkeypatch.setattr("vlseg.metrics.ceiling.AREAS_AT_ONCE", 7)
    assert best_text_blind_mask(truths) == whole


def test_dataset_value_weighs_entries_and_skips_empty_truths() -> None:
    left, right = np.zeros((2, 4, 4), dtype=bool)
    left[:, :2], right[:, 2:] = True, True
    empty = np.zeros_like(left)
    # Two equal halves: taking both gives 2/3 each. One truth alone: 1.
    assert text_blind_ceiling([np.stack([left, right, empty])]) == pytest.approx(2 / 3)
    assert text_blind_ceiling([np.stack([left, right]), np.stack([left, empty])]) == pytest.approx((4 / 3 + 1) / 3)
    assert text_blind_ceiling([np.stack([empty])]) is None
    assert text_blind_ceiling([]) is None
    assert best_text_blind_mask(np.stack([empty])) == (0.0, {})
