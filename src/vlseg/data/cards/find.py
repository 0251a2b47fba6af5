"""Finding images and their masks among the names of a source."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath

from vlseg.data.archives import Tree
from vlseg.data.cards.card import Item, Part
from vlseg.data.matching import match
from vlseg.data.names import SUFFIXES, plain_stem
from vlseg.records import Attribute

Groups = Mapping[str, str | None]
Namer = Callable[[Groups], str]
CONVERTED = frozenset({".tif", ".tiff", ".bmp", ".ppm", ".pgm", ".pbm"})
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


def by_rule(tree: Tree, target: str, masks: str | None = None) -> list[Item]:
    """Images and masks of a source that no card describes, see `vlseg.data.matching.match`; numbered masks are united.

    Raises:
        InputError: what does not pair without a guess.
    """
    owned: dict[str, list[str]] = defaultdict(list)
    for pair in match(tree.names, str(tree.source), masks).pairs:
        owned[pair.image.path].append(pair.mask.path)
    stems = _unique_stems(sorted(owned))
    return [
        Item(stems[path] + prepared_suffix(path), path, (Part(target, f"{stems[path]}.png", tuple(owned[path])),))
        for path in sorted(owned)
    ]


def _unique_stems(paths: Sequence[str]) -> dict[str, str]:
    """Plain stems where these are unique, else the folders joined to them."""
    stems = [plain_stem(PurePosixPath(path).name) for path in paths]
    if len({stem.lower() for stem in stems}) == len(stems):
        return dict(zip(paths, stems, strict=True))
    return {path: plain_stem(path).replace("/", "_") for path in paths}
