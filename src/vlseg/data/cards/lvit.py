"""LViT's layout as the structure of a card."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from vlseg.data.archives import Tree
from vlseg.data.cards.card import Item, Part, Structure
from vlseg.data.cards.find import prepared_suffix
from vlseg.data.formats.lvit import read_sheet
from vlseg.data.pairs import SUFFIXES
from vlseg.records import Attribute

_FILE = re.compile(
    r"(?:^|.*/)(?P<split>Train|Val|Test)_Folder/(?P<kind>img|labelcol)/(?P<stem>[^/]+)\.[a-z]+$", re.IGNORECASE
)
_SHEET = re.compile(r"(?:^|.*/)[^/]*text[^/]*\.xlsx$", re.IGNORECASE)


def lvit_structure(target: str, *, seen: bool, group: str | None = None) -> Structure:
    """Split_Folder/{img,labelcol} with a sheet of sentences.

    Args:
        target: what the masks show.
        seen: whether we had such files.
        group: regular expression that takes the group from an image's stem: its first group, or all of it.
    """

    def find(tree: Tree) -> list[Item]:
        return _find(tree, target, group)

    return Structure("LViT's {Train,Val,Test}_Folder/{img,labelcol}/NAME, *_text.xlsx", seen, find)


def _find(tree: Tree, target: str, group: str | None) -> list[Item]:
    images: dict[tuple[str, str], str] = {}
    masks: dict[tuple[str, str], str] = {}
    texts = sheet_texts(tree)
    for path in tree.names:
        match = _FILE.match(path)
        if match and PurePosixPath(path).suffix.lower() in SUFFIXES:
            kept = images if match["kind"].lower() == "img" else masks
            kept[(match["split"].lower(), match["stem"])] = path
    items = []
    for (split, stem), path in sorted(images.items()):
        mask_stem = next((name for name in (stem, f"mask_{stem}") if (split, name) in masks), None)
        if mask_stem is None:
            continue
        said = texts.get(mask_stem, texts.get(stem))
        patient = re.search(group, stem, re.IGNORECASE) if group else None
        items.append(
            Item(
                image=f"{split}_{stem}{prepared_suffix(path)}",
                file=path,
                parts=(Part(target, f"{split}_{stem}.png", (masks[(split, mask_stem)],)),),
                official=split,
                group=patient[patient.re.groups and 1].lower() if patient else None,
                attributes=(Attribute("text", said, "unknown"),) if said else (),
            )
        )
    return items


def sheet_texts(tree: Tree) -> dict[str, str]:
    """Sentences by the stem of the mask they are about, from all sheets of LViT's in the source."""
    return {
        PurePosixPath(name).stem: text
        for path in tree.names
        if _SHEET.match(path)
        for name, text in read_sheet(io.BytesIO(tree.read(path)), f"{tree.source}: {path}").items()
    }


def with_sheet_texts(find: Callable[[Tree], Sequence[Item]]) -> Callable[[Tree], list[Item]]:
    """The finder, with LViT's sentences where its sheets lie beside the images."""

    def found(tree: Tree) -> list[Item]:
        items = find(tree)
        texts = sheet_texts(tree) if items else {}
        return [_with_text(item, texts) for item in items]

    return found


def _with_text(item: Item, texts: Mapping[str, str]) -> Item:
    stems = [PurePosixPath(file).stem for part in item.parts for file in part.files] + [PurePosixPath(item.file).stem]
    said = next((texts[stem] for stem in stems if stem in texts), None)
    return item if said is None else replace(item, attributes=(*item.attributes, Attribute("text", said, "unknown")))
