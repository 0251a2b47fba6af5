"""Which split an image goes to: as published, or drawn by group."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from vlseg.data.cards import Item
from vlseg.data.splits import draw_splits
from vlseg.records import SPLITS, InputError, read_json

_NAMED = 3


@dataclass(frozen=True)
class Placed:
    """An image with the splits that list it, each with the published entry's keys (none: {}).

    `group` stands for the item's own where images were joined.
    """

    item: Item
    entries: tuple[tuple[str, dict[str, Any]], ...] = field(default=())
    group: str | None = None


def assign_seeded(
    items: Sequence[Item], seed: int, val_share: float, present: Sequence[Collection[str]] | None = None
) -> list[Placed]:
    """Official splits as they are; the rest as `vlseg.data.splits.draw_splits` draws it.

    `present` are the targets that each image shows; without it, those it has masks for.
    """
    groups = [item.group or f"image {item.image}" for item in items]
    shown = present or [{part.target for part in item.parts if part.files or part.make} for item in items]
    splits = draw_splits(groups, [item.official for item in items], seed, val_share, shown)
    return [Placed(item, ((split, {}),)) for item, split in zip(items, splits, strict=True)]


def assign_published(items: Sequence[Item], anns: Path) -> tuple[list[Placed], list[str]]:
    """The published splits, and what was left out: images that no list names.

    An entry belongs to the image of its name, whatever the suffix; where val and test use the same names for
    different images (CAMUS), test entries belong to the official test images.

    Raises:
        InputError: no annotation files there, or entries whose images are not in the source.
    """
    published = _published(anns)
    by_name = {_plain(item.image): item for item in items}
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    missing: list[str] = []
    for split, entry in published:
        item = _item_of(by_name, split, str(entry["img_name"]))
        if item is None:
            missing.append(f"{split}: {entry['img_name']}")
            continue
        named = _target(item, str(entry.get("mask_name", "")))
        found.setdefault(item.image, []).append((split, {**entry, "_target": named}))
    if missing:
        raise InputError(
            f"{anns}: {len(missing)} of {len(published)} entries have no image in the source, e.g. "
            f"{', '.join(missing[:_NAMED])}; is this the annotation folder of this dataset?"
        )
    placed = [Placed(item, tuple(found[item.image])) for item in items if item.image in found]
    unused = [item.image for item in items if item.image not in found]
    if not unused:
        return placed, []
    return placed, [f"{len(unused)} images that no published list names, e.g. {', '.join(unused[:_NAMED])}"]


def _published(anns: Path) -> list[tuple[str, dict[str, Any]]]:
    folder = anns / "anns" if (anns / "anns").is_dir() else anns
    files = {split: folder / f"{split}.json" for split in SPLITS if (folder / f"{split}.json").exists()}
    if not files:
        raise InputError(f"{anns}: holds none of train.json, val.json, test.json")
    entries: list[tuple[str, dict[str, Any]]] = []
    for split, file in files.items():
        values = read_json(file, "")
        if not isinstance(values, list) or not all(isinstance(v, dict) and "img_name" in v for v in values):
            raise InputError(f"{file}: must be a list of entries with img_name, mask_name and prompts")
        entries += [(split, value) for value in values]
    return entries


def _plain(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix().lower()


def _item_of(by_name: dict[str, Item], split: str, name: str) -> Item | None:
    plain = _plain(name)
    nested = f"{'test' if split == 'test' else 'train'}/{plain}"
    return by_name.get(nested) or by_name.get(plain)


def _target(item: Item, mask_name: str) -> str:
    """The target whose mask the entry names; the only one where there is only one."""
    targets = _distinct(part.target for part in item.parts)
    if len(targets) == 1:
        return targets[0]
    plain = _plain(mask_name)
    for part in item.parts:
        own = _plain(part.name)
        if own == plain or own.endswith("/" + plain):
            return part.target
    raise InputError(f"{mask_name}: the source has no such mask for {item.image} (it has {', '.join(targets)})")


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
