"""A seeded split that keeps groups together and does not look at their size."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TypeVar

SHARES: Mapping[str, float] = {"train": 0.8, "val": 0.1, "test": 0.1}
_TURNS = 10
_LEAST = 10
"""Groups from which a stratum is parted by itself: at 10 % each split then gets about one of them."""

Key = TypeVar("Key", bound=Hashable)


def split_by_group(
    groups: Sequence[str],
    seed: int,
    shares: Mapping[str, float] = SHARES,
    strata: Sequence[Collection[Hashable]] | None = None,
) -> list[str]:
    """The split of each item; all items of a group are in one.

    Groups lie on a circle in random order, each as long as it has items; the circle, turned by a random angle, is cut
    into arcs of the shares, and a group goes where its middle lies. So the chance of a group to be in a split is the
    split's share, whatever its size (systematic sampling with a random start: Madow and Madow 1944), and sizes miss
    the shares by about one group. Seeds 0 to 9, 10 to 19 and so on turn one circle by about a tenth each, so that
    nearly every group is tested within ten seeds, and all within fifty. A group that holds more than half of the
    items is in the largest split always: no other place comes near the shares. A split left empty or thin by a large
    group beside it is filled up; with as many groups as splits or more, every split whose share is positive gets one.
    The order of the items does not matter.

    Args:
        groups: (n,) the group of each item.
        seed: another seed, another split.
        shares: by split, adding to 1.
        strata: (n,) what is present in each item, e.g. its targets: groups in which the same things are present are
            parted by themselves, where there are enough of them.
    """
    sizes = Counter(groups)
    wanted = {split: share * len(groups) for split, share in shares.items() if share > 0}
    held: dict[str, list[str]] = {split: [] for split in wanted}
    main = max(wanted, key=lambda split: wanted[split])
    rest = dict(wanted)
    turn, step = divmod(seed, _TURNS)
    ordered = sorted(sizes, key=lambda group: (_draw(turn, group), group))
    for group in [group for group in ordered if 2 * sizes[group] > len(groups) and shares[main] > 0.5]:
        held[main].append(group)
        ordered.remove(group)
        rest[main] = max(0.0, rest[main] - sizes[group])
    for name, inside in _strata(ordered, groups, strata).items():
        start = _draw(turn, f"start\x1f{name}") + (step + _draw(seed, f"jitter\x1f{name}") / 2) / _TURNS
        for group, place in circle(inside, sizes, start).items():
            held[_arc(place, rest)].append(group)
    _fill_thin(held, sizes, wanted, seed)
    where = {group: split for split, inside in held.items() for group in inside}
    return [where[group] for group in groups]


def draw_splits(
    groups: Sequence[str],
    official: Sequence[str | None],
    seed: int,
    val_share: float = 0.1,
    strata: Sequence[Collection[Hashable]] | None = None,
) -> list[str]:
    """Official splits as they are; what has none is drawn 80/10/10 by group.

    Where only training and test are official, `val_share` of the training items (by group) becomes val.
    """
    if all(split is None for split in official):
        return split_by_group(groups, seed, strata=strata)
    splits = [split or "train" for split in official]
    if "val" in official or "train" not in splits:
        return splits
    rest = [index for index, split in enumerate(splits) if split == "train"]
    shares = {"train": 1 - val_share, "val": val_share}
    kinds = [strata[index] for index in rest] if strata is not None else None
    for index, split in zip(rest, split_by_group([groups[index] for index in rest], seed, shares, kinds), strict=True):
        splits[index] = split
    return splits


def circle(ordered: Sequence[Key], sizes: Mapping[Key, int], start: float) -> dict[Key, float]:
    """Where the middle of each group lies, in [0, 1), when they lie one after the other from `start` on."""
    total = sum(sizes[group] for group in ordered)
    places: dict[Key, float] = {}
    passed = 0.0
    for group in ordered:
        places[group] = (start + (passed + sizes[group] / 2) / total) % 1
        passed += sizes[group]
    return places


def _strata(
    ordered: Sequence[str], groups: Sequence[str], strata: Sequence[Collection[Hashable]] | None
) -> dict[str, list[str]]:
    """Groups by what is present in any of their items; kinds of which there are few make one stratum."""
    present: dict[str, set[Hashable]] = defaultdict(set)
    for group, things in zip(groups, strata or [()] * len(groups), strict=True):
        present[group].update(things)
    kinds: dict[str, list[str]] = defaultdict(list)
    for group in ordered:
        kinds[repr(sorted(map(str, present[group])))].append(group)
    large = {name: inside for name, inside in kinds.items() if len(inside) >= _LEAST}
    few = {group for name, inside in kinds.items() if name not in large for group in inside}
    return {**large, "few": [group for group in ordered if group in few]} if few else large


def _arc(place: float, wanted: Mapping[str, float]) -> str:
    """The split whose arc holds the place."""
    total = sum(wanted.values())
    end, last = 0.0, ""
    for split, share in wanted.items():
        if share > 0:
            end, last = end + share / total, split
            if place < end:
                return split
    return last


def _fill_thin(held: dict[str, list[str]], sizes: Mapping[str, int], wanted: Mapping[str, float], seed: int) -> None:
    """Groups, at random, from the split that has most of them to one not half full, until both are filled alike."""

    def filled(split: str) -> float:
        return sum(sizes[group] for group in held[split]) / wanted[split]

    for split in [split for split in held if filled(split) < 0.5]:
        giver = max(held, key=lambda name: len(held[name]))
        order = sorted(held[giver], key=lambda group: _draw(seed, f"{split}\x1f{group}"))
        while len(held[giver]) > 1 and (not held[split] or filled(split) < filled(giver)):
            group = order.pop(0)
            held[giver].remove(group)
            held[split].append(group)


def _draw(seed: int, name: str) -> float:
    """A number in [0, 1) that depends on seed and name alone."""
    digest = hashlib.sha256(f"{seed}\x1f{name}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
