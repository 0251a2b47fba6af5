"""A split in which groups and near-copies stand whole."""

from collections import defaultdict

import numpy as np
import pytest

from vlseg.data.assign import Placed
from vlseg.data.cards import Item
from vlseg.data.regroup import regroup


def placed(index: int, *splits: str, group: str | None = None) -> Placed:
    return Placed(Item(f"{index:03d}.png", "", (), group=group), tuple((split, {"at": split}) for split in splits))


def test_what_hangs_together_through_others_is_one_group() -> None:
    images = [placed(n, "train" if n % 2 else "test", group="p1" if n in (2, 3) else None) for n in range(40)]
    # 0-1 copies, 1-2 copies, 2 and 3 one patient, 3-4 copies: five images, though no pair joins 0 and 4.
    result, lines = regroup(images, [(0, 1), (2, 1), (3, 4)], seed=0)
    assert {one.group for one in result[:5]} == {"p1"}
    assert len({one.entries[0][0] for one in result[:5]}) == 1
    assert all(one.group is None for one in result[5:])
    assert "36 groups, 3 pairs of near-copies joined" in lines[0]
    assert lines[1].startswith("before, 1 groups were in several splits, e.g. p1; 3 of 20 test images")
    assert lines[3].startswith("38 images name no patient")


@pytest.mark.parametrize("seed", range(5))
def test_random_links_never_stand_in_two_splits_and_the_shares_stay(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = ["train"] * 240 + ["val"] * 30 + ["test"] * 30
    images = [
        placed(n, split, group=f"g{rng.integers(60)}" if rng.uniform() < 0.5 else None) for n, split in enumerate(names)
    ]
    links = [tuple(sorted(rng.choice(300, 2, replace=False).tolist())) for _ in range(40)]
    result, lines = regroup(images, [(a, b) for a, b in links], seed)
    # Independent: reachability by powers of the adjacency matrix.
    near = np.eye(300, dtype=bool)
    for a, b in links:
        near[a, b] = near[b, a] = True
    for a in range(300):
        for b in range(300):
            near[a, b] |= images[a].item.group is not None and images[a].item.group == images[b].item.group
    for _ in range(9):
        near = (near.astype(np.float32) @ near.astype(np.float32)) > 0
    split = [one.entries[0][0] for one in result]
    assert all(split[a] == split[b] for a, b in np.argwhere(near))
    by_group = defaultdict(set)
    for index, one in enumerate(result):
        by_group[one.group or f"alone {index}"].add(index)
    assert {frozenset(inside) for inside in by_group.values()} == {frozenset(np.flatnonzero(row)) for row in near}
    moved = sum(old != new for old, new in zip(names, split, strict=True))
    assert lines[0].startswith(f"{moved} of 300 images moved")
    torn = sum(any(names[b] == "train" for b in np.flatnonzero(near[a])) for a in range(270, 300))
    assert f"; {torn} of 30 test images had one of their group in train" in lines[1]
    largest = int(near.sum(axis=1).max())
    for name, count in (("train", 240), ("val", 30), ("test", 30)):
        assert abs(split.count(name) - count) <= largest


def test_an_image_listed_in_two_splits_stands_in_one_with_the_entries_of_the_first() -> None:
    images = [placed(0, "train", "test"), *(placed(n, "train") for n in range(1, 30)), placed(30, "test", "test")]
    result, _ = regroup(images, [], seed=1)
    assert [values for _, values in result[0].entries] == [{"at": "train"}]
    assert len(result[30].entries) == 2
    assert len({split for split, _ in result[30].entries}) == 1


def test_the_order_of_pairs_does_not_matter() -> None:
    images = [placed(n, "train" if n < 20 else "test") for n in range(30)]
    links = [(0, 25), (25, 7), (3, 9)]
    assert regroup(images, links, 3) == regroup(images, [(b, a) for a, b in reversed(links)], 3)
