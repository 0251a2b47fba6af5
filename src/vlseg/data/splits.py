"""A seeded split that keeps groups together."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

SHARES: Mapping[str, float] = {"train": 0.8, "val": 0.1, "test": 0.1}


def split_by_group(groups: Sequence[str], seed: int, shares: Mapping[str, float] = SHARES) -> list[str]:
    """The split of each item; all items of a group are in one.

    Groups, the largest first and otherwise in an order that depends on seed and name alone, go where most items are
    still wanted, so that sizes come as near to the shares as groups allow. The order of the items does not matter.
    With as many groups as splits or more, every split whose share is positive gets one.

    Args:
        groups: (n,) the group of each item.
        seed: another seed, another split.
        shares: by split, adding to 1.
    """
    sizes = Counter(groups)
    order = sorted(sizes, key=lambda group: (-sizes[group], _number(seed, group)))
    wanted = {split: share * len(groups) for split, share in shares.items() if share > 0}
    held: dict[str, list[str]] = {split: [] for split in wanted}
    for group in order:
        split = max(wanted, key=lambda name: wanted[name])
        held[split].append(group)
        wanted[split] -= sizes[group]
    for split in held:
        fullest = max(held, key=lambda name: len(held[name]))
        if not held[split] and len(held[fullest]) > 1:
            held[split].append(held[fullest].pop())
    where = {group: split for split, inside in held.items() for group in inside}
    return [where[group] for group in groups]


def _number(seed: int, group: str) -> bytes:
    return hashlib.sha256(f"{seed}\x1f{group}".encode()).digest()
