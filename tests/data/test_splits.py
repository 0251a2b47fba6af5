"""Splits by group: blind to size, every group tested at some seed, shares kept, kinds of images in every split."""

import numpy as np
import pytest

from vlseg.data import split_by_group

SEEDS = 50


def items(sizes: list[int]) -> list[str]:
    return [f"g{index}" for index, size in enumerate(sizes) for _ in range(size)]


def where(sizes: list[int], seed: int) -> list[str]:
    """The split of each group."""
    groups = items(sizes)
    found = dict(zip(groups, split_by_group(groups, seed), strict=True))
    return [found[f"g{index}"] for index in range(len(sizes))]


def patients(seed: int, count: int = 100, most: int = 37) -> list[int]:
    return [int(size) for size in np.random.default_rng(seed).integers(1, most + 1, count)]


def shares(sizes: list[int], splits: list[str]) -> np.ndarray:
    return np.array([sum(n for n, s in zip(sizes, splits, strict=True) if s == k) for k in ("train", "val", "test")])


@pytest.mark.parametrize("sizes", [patients(1), patients(2), patients(3, 29, 26)], ids=["100", "100b", "29"])
def test_size_and_split_are_uncorrelated_and_every_group_is_tested(sizes: list[int]) -> None:
    """Pearson's r of size and number of seeds in val or test, over G groups: without a relation its standard
    deviation is 1 / sqrt(G - 1). Largest groups first gave r below -0.6 and tested 60 of 100 groups never."""
    splits = np.array([where(sizes, seed) for seed in range(SEEDS)])
    for split in ("val", "test"):
        times = (splits == split).sum(axis=0)
        assert abs(np.corrcoef(sizes, times)[0, 1]) < 4 / np.sqrt(len(sizes) - 1)
        assert times.min() >= 1
    tested = [np.mean(np.array(sizes)[row == "test"]) for row in splits]
    error = np.std(tested) / np.sqrt(SEEDS)
    assert abs(np.mean(tested) - np.mean(sizes)) < 4 * error + 0.05 * np.mean(sizes)
    assert len({tuple(row) for row in splits}) == SEEDS


def test_the_chance_to_be_tested_does_not_depend_on_size() -> None:
    """One group of 37 among ninety-nine of 3: tested at a tenth of 1000 seeds, like all (standard error 1 %)."""
    sizes = [37] + [3] * 99
    tested = np.array([[split == "test" for split in where(sizes, seed)] for seed in range(1000)])
    assert tested[:, 0].mean() == pytest.approx(0.1, abs=0.03)
    assert tested[:, 1:].mean() == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize("seed", range(0, SEEDS, 7))
def test_shares_are_met_up_to_a_group(seed: int) -> None:
    sizes = patients(4)
    missed = np.abs(shares(sizes, where(sizes, seed)) - np.array([0.8, 0.1, 0.1]) * sum(sizes))
    assert missed.max() <= max(sizes)


@pytest.mark.parametrize("seed", range(0, SEEDS, 7))
def test_a_group_of_more_than_half_trains(seed: int) -> None:
    sizes = [300] + [5] * 40
    splits = where(sizes, seed)
    assert splits[0] == "train"
    np.testing.assert_allclose(shares(sizes, splits), [400, 50, 50], atol=5)


def test_a_large_group_beside_a_small_split_does_not_empty_it() -> None:
    sizes = [60, *[5] * 40]
    for seed in range(SEEDS):
        assert shares(sizes, where(sizes, seed)).min() >= 0.05 * sum(sizes)


@pytest.mark.parametrize("sizes", [[5, 5, 5], [1, 2, 200], [1, 1, 1, 1], [10, 20, 30, 40, 50]])
def test_every_split_gets_a_group_where_there_are_enough(sizes: list[int]) -> None:
    for seed in range(SEEDS):
        assert set(where(sizes, seed)) == {"train", "val", "test"}


def test_order_of_items_does_not_matter() -> None:
    groups = items(patients(5, 40))
    found = dict(zip(groups, split_by_group(groups, 3), strict=True))
    shuffled = [groups[index] for index in np.random.default_rng(0).permutation(len(groups))]
    assert dict(zip(shuffled, split_by_group(shuffled, 3), strict=True)) == found
    assert split_by_group(shuffled, 3) == [found[group] for group in shuffled]


def test_kinds_of_images_keep_their_shares() -> None:
    """400 images of which 40 are empty: each split holds its share of both kinds, at every seed."""
    groups = [f"image {index}" for index in range(400)]
    strata = [() if index < 40 else ("polyp",) for index in range(400)]
    for seed in range(20):
        splits = np.array(split_by_group(groups, seed, strata=strata))
        for split, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
            assert abs((splits[:40] == split).sum() - 40 * share) <= 1
            assert abs((splits[40:] == split).sum() - 360 * share) <= 1


def test_kinds_too_few_to_part_are_parted_together() -> None:
    groups = [f"g{index}" for index in range(50)]
    strata = [(f"kind {index}",) for index in range(50)]
    splits = split_by_group(groups, 0, strata=strata)
    assert [splits.count(split) for split in ("train", "val", "test")] == [40, 5, 5]


def test_thousands_of_images_are_split_at_once() -> None:
    groups = [f"image {index}" for index in range(20_000)]
    splits = split_by_group(groups, 0, strata=[(str(index % 3),) for index in range(20_000)])
    assert splits.count("test") == pytest.approx(2000, abs=3)
