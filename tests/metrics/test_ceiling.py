"""Both ceilings against brute force and against masks found by chance."""

from itertools import product

import numpy as np
import pytest

from vlseg.metrics.ceiling import (
    CLASS_TELLS_ALL,
    CLASS_UNKNOWN,
    NO_CHOICE,
    Asked,
    best_text_blind_mask,
    ceilings,
    text_blind_ceiling,
)


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


def asked(image: int, target: str | None, words: str, *pixels: int) -> Asked:
    mask = np.zeros((2, 3), dtype=bool)
    mask.ravel()[list(pixels)] = True
    return Asked(image, target, frozenset({words}), mask)


def best_of_all_answers(rows: list[Asked], told: list[object]) -> float:
    """Brute force: the best mean Dice of any model that gives one mask for each image and thing it is told."""
    masks = np.array(list(product([False, True], repeat=6))).reshape(-1, 2, 3)
    present = [(one, key) for one, key in zip(rows, told, strict=True) if one.mask.any()]
    total = 0.0
    for key in dict.fromkeys(key for _, key in present):
        truths = np.stack([one.mask for one, other in present if other == key])
        total += max(mean_dice(mask, truths) for mask in masks) * len(truths)
    return total / len(present)


@pytest.mark.parametrize("seed", range(6))
def test_both_ceilings_equal_the_best_of_all_answers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [
        asked(
            image, f"class {rng.integers(2)}", f"words {number}", *np.flatnonzero(rng.random(6) < rng.uniform(0.1, 0.8))
        )
        for image in range(3)
        for number in range(4)
    ]
    found = ceilings(rows)
    assert found.reason is None
    assert found.text_blind == pytest.approx(best_of_all_answers(rows, [one.image for one in rows]))
    assert found.by_class == pytest.approx(best_of_all_answers(rows, [(one.image, one.target) for one in rows]))
    assert found.by_class >= found.text_blind


def test_no_ceiling_where_words_could_not_help_either() -> None:
    two_readers = [asked(0, "polyp", "polyp", 0, 1), asked(0, "polyp", "polyp", 1, 2)]
    assert ceilings(two_readers) == ceilings([]) == ceilings(two_readers[:1])
    assert ceilings(two_readers).reason == NO_CHOICE
    present_and_absent = [asked(0, "polyp", "polyp", 0), asked(0, "cyst", "cyst")]
    assert ceilings(present_and_absent).reason == NO_CHOICE
    same_thing_named_twice = [asked(0, "polyp", "polyp", 0), asked(0, "polyp", "a small polyp", 0)]
    assert ceilings(same_thing_named_twice).reason == NO_CHOICE
    # A second reader of one of two structures does not take the choice away, wherever he stands in the list.
    for rows in ([*two_readers, asked(0, "cyst", "cyst", 0, 1)], [asked(0, "cyst", "cyst", 1, 2), *two_readers]):
        found = ceilings(rows)
        assert (found.by_class, found.reason) == (None, CLASS_TELLS_ALL)
        assert found.text_blind == pytest.approx(best_of_all_answers(rows, [0] * len(rows)))


def test_the_class_alone_tells_apart_or_is_unknown() -> None:
    left_and_right = [asked(0, "left lung", "left", 0), asked(0, "right lung", "right", 5)]
    assert ceilings(left_and_right).text_blind == pytest.approx(2 / 3)
    assert ceilings(left_and_right).reason == CLASS_TELLS_ALL
    nameless = [asked(0, None, "left", 0), asked(0, None, "right", 5)]
    assert ceilings(nameless).text_blind == pytest.approx(2 / 3)
    assert ceilings(nameless).reason == CLASS_UNKNOWN
