"""LViT's layout as the structure of a card."""

import io
import re
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
_SHEET = re.compile(r"(?:^|.*/)(?P<split>Train_Val|Train|Val|Test)_(?:Folder/.*)?text\.xlsx$", re.IGNORECASE)


def lvit_structure(target: str, *, seen: bool, group: str | None = None) -> Structure:
    """Split_Folder/{img,labelcol} with a sheet of sentences.

    Args:
        target: what the masks show.
        seen: whether we had such files.
        group: regular expression that takes the group from an image's stem.
    """

    def find(tree: Tree) -> list[Item]:
        return _find(tree, target, group)

    return Structure("LViT's {Train,Val,Test}_Folder/{img,labelcol}/NAME, *_text.xlsx", seen, find)


def _find(tree: Tree, target: str, group: str | None) -> list[Item]:
    images: dict[tuple[str, str], str] = {}
    masks: dict[tuple[str, str], str] = {}
    texts: dict[str, str] = {}
    for path in tree.names:
        match = _FILE.match(path)
        if match and PurePosixPath(path).suffix.lower() in SUFFIXES:
            kept = images if match["kind"].lower() == "img" else masks
            kept[(match["split"].lower(), match["stem"])] = path
        elif path.lower().endswith(".xlsx"):
            texts |= {
                PurePosixPath(name).stem: text for name, text in read_sheet(io.BytesIO(tree.read(path)), path).items()
            }
    items = []
    for (split, stem), path in sorted(images.items()):
        mask_stem = next((name for name in (stem, f"mask_{stem}") if (split, name) in masks), None)
        if mask_stem is None:
            continue
        said = texts.get(mask_stem, texts.get(stem))
        patient = re.match(group, stem) if group else None
        items.append(
            Item(
                image=f"{split}_{stem}{prepared_suffix(path)}",
                file=path,
                parts=(Part(target, f"{split}_{stem}.png", (masks[(split, mask_stem)],)),),
                official=split,
                group=patient[0] if patient else None,
                attributes=(Attribute("text", said, "unknown"),) if said else (),
            )
        )
    return items
