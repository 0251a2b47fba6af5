"""Finding images and their masks among the names of a source."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath

from vlseg.data.archives import Tree
from vlseg.data.cards.card import Item, Part
from vlseg.data.pairs import SUFFIXES
from vlseg.records import Attribute

Groups = Mapping[str, str | None]
Namer = Callable[[Groups], str]
CONVERTED = frozenset({".tif", ".tiff", ".bmp"})
"""Kept pixel by pixel as PNG, which browsers and every reader show."""


def by_pattern(
    image: str,
    mask: str,
    target: str,
    *,
    name: str = "{stem}",
    group: str | None = None,
    official: Mapping[str, str] | None = None,
    attributes: Callable[[Groups], Sequence[Attribute]] = lambda groups: (),
    empty_without_mask: Callable[[Groups], bool] = lambda groups: False,
) -> Callable[[Tree], list[Item]]:
    """A finder by two regular expressions, matched at the end of paths, without regard to case.

    Images and masks belong together when all named groups that both expressions have are equal; several masks
    of one image are united.

    Args:
        image: expression of image paths.
        mask: expression of mask paths.
        target: what the masks show.
        name: of the prepared image without suffix, a format string over the image's named groups.
        group: the same for the patient or sequence.
        official: official split by the value of the named group "split".
        attributes: from the image's named groups.
        empty_without_mask: images for which no mask file means an empty mask; others without one are left out.
    """
    images, masks = (re.compile(f"(?:^|.*/){text}$", re.IGNORECASE) for text in (image, mask))
    shared = sorted(images.groupindex.keys() & masks.groupindex.keys())

    def find(tree: Tree) -> list[Item]:
        found: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for path in tree.names:
            match = masks.match(path)
            if match:
                found[_key(match, shared)].append(path)
        items = []
        for path in tree.names:
            match = images.match(path)
            if match is None or PurePosixPath(path).suffix.lower() not in SUFFIXES or masks.match(path):
                continue
            files = tuple(found.get(_key(match, shared), ()))
            groups = match.groupdict()
            if not files and not empty_without_mask(groups):
                continue
            stem = name.format(**groups)
            items.append(
                Item(
                    image=stem + prepared_suffix(path),
                    file=path,
                    parts=(Part(target, f"{stem}.png", files),),
                    official=(official or {}).get((groups.get("split") or "").lower()),
                    group=group.format(**groups) if group else None,
                    attributes=tuple(attributes(groups)),
                )
            )
        return items

    return find


def _key(match: re.Match[str], names: Sequence[str]) -> tuple[str, ...]:
    return tuple((match[name] or "").lower() for name in names)


def prepared_suffix(path: str) -> str:
    """The suffix an image gets in the prepared dataset."""
    suffix = PurePosixPath(path).suffix.lower()
    return ".png" if suffix in CONVERTED else suffix


_MASK_WORDS = re.compile(
    r"mask|label|\bgt\b|_gt\b|gt_|ground[ _-]?truth|segmentation|annotation|manual|lesion[ _-]?map", re.IGNORECASE
)
_AFFIX = re.compile(
    r"^(?:mask|label|gt|seg)[ _-]|[ _-]?(?:mask|label|labels|gt|seg|segmentation|groundtruth|manual1?)(?:[ _-]?\d+)?$",
    re.IGNORECASE,
)


def by_rule(tree: Tree, target: str) -> list[Item]:
    """Images and masks of a source nobody described: masks are in folders or bear names that say so.

    A mask belongs to the image of the same stem once words like "mask" or "gt" are cut off its ends; where
    several images share a stem, to the one whose folder differs in the fewest parts.
    """
    pictures = [path for path in tree.names if PurePosixPath(path).suffix.lower() in SUFFIXES]
    masks = [path for path in pictures if _MASK_WORDS.search(_folders(path)) or _is_affixed(path)]
    taken = set(masks)
    images: dict[str, list[str]] = defaultdict(list)
    for path in pictures:
        if path not in taken:
            images[PurePosixPath(path).stem.lower()].append(path)
    owned: dict[str, list[str]] = defaultdict(list)
    for path in masks:
        stem = PurePosixPath(path).stem
        candidates = images.get(stem.lower()) or images.get(_AFFIX.sub("", stem).lower(), [])
        if candidates:
            owned[min(candidates, key=lambda image: _distance(image, path))].append(path)
    stems = _unique_stems(sorted(owned))
    return [
        Item(stems[path] + prepared_suffix(path), path, (Part(target, f"{stems[path]}.png", tuple(owned[path])),))
        for path in sorted(owned)
    ]


def _folders(path: str) -> str:
    return PurePosixPath(path).parent.as_posix()


def _is_affixed(path: str) -> bool:
    stem = PurePosixPath(path).stem
    return _AFFIX.sub("", stem) != stem


def _distance(first: str, second: str) -> tuple[int, str]:
    one, two = PurePosixPath(first).parts[:-1], PurePosixPath(second).parts[:-1]
    same = sum(a == b for a, b in zip(one, two, strict=False))
    return len(one) + len(two) - 2 * same, first


def _unique_stems(paths: Sequence[str]) -> dict[str, str]:
    """Plain stems where these are unique, else the folders joined to them."""
    stems = [PurePosixPath(path).stem for path in paths]
    if len({stem.lower() for stem in stems}) == len(stems):
        return dict(zip(paths, stems, strict=True))
    return {path: PurePosixPath(path).with_suffix("").as_posix().replace("/", "_") for path in paths}
