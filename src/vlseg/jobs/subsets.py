"""Which samples a run trains and validates on: all, a nested share by group, or one of k folds by group."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vlseg.data import circle, split_by_group
from vlseg.data.seeds import derived_seed, generator
from vlseg.prompts import Prompted
from vlseg.records import InputError, RunConfig, write_text

SUBSET_SEED = 0
"""Subsets and folds are the same for all seeds of a run, so that seeds compare training, not data."""


@dataclass(frozen=True)
class Chosen:
    """The samples to train and to validate on."""

    train: list[Prompted]
    val: list[Prompted]


def choose(train: Sequence[Prompted], val: Sequence[Prompted], config: RunConfig) -> Chosen:
    """The samples a configuration asks for.

    With `folds` = k, train and val together are parted into k folds by group, of which number `fold` (0 to k - 1)
    validates. `train_share` keeps about that share of the images, so that 10 % is part of 25 %, and that of 50 %.
    `label_share` takes away the masks of all but that share of what is left: those samples have no truth then. The
    images that keep theirs are those that a `train_share` of the same size would keep.
    Neither looks at a group's size: small and large ones are chosen alike. Groups are per dataset; where unknown,
    every image is one.

    Raises:
        InputError: a fold without a number, or fewer groups than folds.
    """
    chosen = Chosen(list(train), list(val))
    if config.folds is not None:
        chosen = _fold([*train, *val], config.folds, config.fold)
    elif config.fold is not None:
        raise InputError("fold: give the number of folds as well, e.g. --set folds=5")
    if config.train_share < 1:
        chosen = Chosen(_share(chosen.train, config.train_share), chosen.val)
    if config.label_share < 1:
        chosen = Chosen(_with_labels(chosen.train, config.label_share), chosen.val)
    return chosen


LOOKED_AT = 4
"""Of how many times as many samples as are wanted the masks are looked at, to tell present from absent."""


def spread(
    items: Sequence[Prompted], limit: int | None, seed: int, empty: Callable[[Prompted], bool]
) -> list[Prompted]:
    """At most `limit` of the samples, drawn by the seed from every dataset, target, present and absent.

    One of each kind first, then by the kinds' shares; in the order that they came in. What is absent is known from
    masks alone; where there are many, those of some drawn samples are read.

    Args:
        items: labelled samples.
        limit: None or as many as there are keeps all.
        seed: of the draw.
        empty: whether a sample's mask has no foreground.
    """
    if limit is None or limit >= len(items):
        return list(items)
    drawn = [int(index) for index in generator(seed, "validate").permutation(len(items))]

    def what(index: int) -> tuple[object, ...]:
        return items[index].sample.dataset, items[index].sample.target

    some = _interleaved(drawn, what)[: LOOKED_AT * limit]
    absent = {index: empty(items[index]) for index in some}
    chosen = _interleaved(some, lambda index: (*what(index), absent[index]))[:limit]
    return [items[index] for index in sorted(chosen)]


def _interleaved(indices: Sequence[int], kind: Callable[[int], tuple[object, ...]]) -> list[int]:
    """One of each kind, then the rest so that every beginning has the kinds' shares."""
    kinds: dict[tuple[object, ...], list[int]] = {}
    for index in indices:
        kinds.setdefault(kind(index), []).append(index)
    places = [
        ((turn + 0.5) / len(members) if turn else 0.0, order, index)
        for order, members in enumerate(kinds.values())
        for turn, index in enumerate(members)
    ]
    return [index for _, _, index in sorted(places)]


def write_chosen(path: Path, chosen: Chosen) -> None:
    """Ids of the samples in a file, so that anybody can see what a run saw; of "train" the "unlabelled" once more."""
    unlabelled = [item for item in chosen.train if not item.sample.mask_paths]
    values = {
        name: [f"{item.sample.dataset}: {item.sample.id}" for item in items]
        for name, items in (("train", chosen.train), ("val", chosen.val), ("unlabelled", unlabelled))
    }
    write_text(path, json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def _fold(items: Sequence[Prompted], folds: int, fold: int | None) -> Chosen:
    if fold is None or not 0 <= fold < folds:
        raise InputError(f"fold: give a number from 0 to {folds - 1}, e.g. --set fold=0")
    groups = _ordered(items, "fold")
    if len(groups) < folds:
        raise InputError(f"folds: {folds} folds need as many groups, the data have {len(groups)}")
    owners = [group for group, count in groups.items() for _ in range(count)]
    shares = {str(index): 1 / folds for index in range(folds)}
    drawn = split_by_group([json.dumps(owner) for owner in owners], SUBSET_SEED, shares)
    number = {owner: int(split) for owner, split in zip(owners, drawn, strict=True)}
    return Chosen(
        [item for item in items if number[_group(item)] != fold],
        [item for item in items if number[_group(item)] == fold],
    )


def _share(items: Sequence[Prompted], share: float) -> list[Prompted]:
    """Groups whose middle lies in the first `share` of a circle as long as all images: nested, and blind to size."""
    groups = _ordered(items, "share")
    start = derived_seed(SUBSET_SEED, "share", "start") / 2**63 % 1
    places = circle(list(groups), groups, start)
    taken = {group for group, place in places.items() if place < share} or {min(places, key=lambda g: places[g])}
    return [item for item in items if _group(item) in taken]


def _with_labels(items: Sequence[Prompted], share: float) -> list[Prompted]:
    """All samples, those outside a share of the labelled images' groups without their masks."""
    labelled = [item for item in items if item.sample.mask_paths]
    kept = {_group(item) for item in _share(labelled, share)} if labelled else set()
    return [item if _group(item) in kept else _without_mask(item) for item in items]


def _without_mask(item: Prompted) -> Prompted:
    return replace(item, sample=replace(item.sample, mask_paths=()))


def _ordered(items: Sequence[Prompted], purpose: str) -> dict[tuple[str, str], int]:
    """Images by group, in an order that depends on names alone."""
    images: dict[tuple[str, str], set[str]] = {}
    for item in items:
        images.setdefault(_group(item), set()).add(item.sample.image_id)
    order = sorted(images, key=lambda group: (derived_seed(SUBSET_SEED, purpose, *group), group))
    return {group: len(images[group]) for group in order}


def _group(item: Prompted) -> tuple[str, str]:
    sample = item.sample
    return sample.dataset, f"group {sample.group}" if sample.group is not None else f"image {sample.image_id}"
