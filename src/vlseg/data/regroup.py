"""A split drawn anew, in which groups and near-copies stand whole."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from vlseg.data.assign import Placed
from vlseg.data.splits import split_by_group
from vlseg.records import SPLITS

_NAMED = 3


def regroup(
    placed: Sequence[Placed],
    copies: Iterable[tuple[int, int]],
    seed: int,
    present: Sequence[Collection[str]] | None = None,
) -> tuple[list[Placed], list[str]]:
    """The images in a new split of the old one's shares, and what changed, one line each.

    Images of one group, and images that are copies of one another, are joined, and what is joined goes to one split.
    An image that several splits list keeps the entries of the first of them.

    Args:
        placed: the images with the splits that list them.
        copies: pairs of indices into `placed` that look the same.
        seed: of the drawing.
        present: targets that each image shows; see `split_by_group`.
    """
    before = [_first(one) for one in placed]
    pairs = list(copies)
    joined = _joined(placed, pairs)
    counts = Counter(before)
    shares = {split: counts[split] / len(placed) for split in SPLITS if counts[split]}
    after = split_by_group(joined, seed, shares, present)
    members = Counter(joined)
    result = []
    for one, group, old, new in zip(placed, joined, before, after, strict=True):
        entries = tuple((new, values) for split, values in one.entries if split == old)
        told = group if one.item.group is not None or members[group] > 1 else None
        result.append(replace(one, entries=entries, group=told))
    return result, _told(placed, joined, before, after, len(pairs))


def _first(placed: Placed) -> str:
    return placed.entries[0][0]


def _joined(placed: Sequence[Placed], copies: Sequence[tuple[int, int]]) -> list[str]:
    """A name for each image: the same for all that hang together by group or as copies, directly or through others."""
    leader = list(range(len(placed)))

    def lead(index: int) -> int:
        while leader[index] != index:
            leader[index] = leader[leader[index]]
            index = leader[index]
        return index

    firsts: dict[str, int] = {}
    same = [(firsts.setdefault(one.item.group, at), at) for at, one in enumerate(placed) if one.item.group is not None]
    for first, second in (*same, *copies):
        leader[lead(second)] = lead(first)
    names: dict[int, set[str]] = defaultdict(set)
    for at, one in enumerate(placed):
        names[lead(at)].add(one.item.group if one.item.group is not None else f"image {one.item.image}")
    # Groups before images: a patient's name stays his where an image without one joins him.
    told = {at: min(inside, key=lambda name: (name.startswith("image "), name)) for at, inside in names.items()}
    return [told[lead(at)] for at in range(len(placed))]


def _told(
    placed: Sequence[Placed], joined: Sequence[str], before: Sequence[str], after: Sequence[str], copies: int
) -> list[str]:
    splits: dict[str, set[str]] = defaultdict(set)
    for one, group in zip(placed, joined, strict=True):
        splits[group].update(split for split, _ in one.entries)
    torn = [group for group, inside in splits.items() if len(inside) > 1]
    trained = {group for group, inside in splits.items() if "train" in inside}
    tested = [group for group, split in zip(joined, before, strict=True) if split == "test"]
    moved = sum(old != new for old, new in zip(before, after, strict=True))
    sizes = Counter(after)
    alone = sum(one.item.group is None for one in placed)
    lines = [
        f"{moved} of {len(placed)} images moved to another split: {len(set(joined))} groups, "
        f"{copies} pairs of near-copies joined; now {', '.join(f'{sizes[split]} {split}' for split in SPLITS)}",
        f"before, {len(torn)} groups were in several splits"
        + (f", e.g. {', '.join(sorted(torn)[:_NAMED])}" if torn else "")
        + f"; {sum(group in trained for group in tested)} of {len(tested)} test images had one of their group in train",
        "scores on this split are not comparable with published ones, and are lower where those came from a leak",
    ]
    if alone:
        lines.append(f"{alone} images name no patient: only near-copies keep them together")
    return lines
