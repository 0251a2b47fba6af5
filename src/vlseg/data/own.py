"""Somebody's own source as items: images/ and masks/ with an optional table, or whatever a rule finds."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from vlseg.data.archives import Tree
from vlseg.data.cards.card import Item, Part
from vlseg.data.cards.find import by_rule, prepared_suffix
from vlseg.data.pairs import SUFFIXES, check_rows, pair_names
from vlseg.data.table import TABLE, Row, parse_table, read_table, stem
from vlseg.records import Attribute, InputError

_PLACE = re.compile(r"(?P<root>(?:.*/)?)(?P<kind>images|masks)/(?P<name>.+)$", re.IGNORECASE)


def own_items(tree: Tree, target: str | None, table: Path | None = None) -> list[Item]:
    """Items of a source that no card describes.

    images/ and masks/ are paired by stem; masks/ may hold a folder per target or per reader. Otherwise folder and
    file names tell which pictures are masks.

    Args:
        tree: the source.
        target: what the masks show; not needed where masks/ holds a folder per target.
        table: cases.csv from elsewhere; else the source's own is used.

    Raises:
        InputError: nothing pairs, no target, or a table that does not fit.
    """
    items = _from_folders(tree, target) or by_rule(tree, target or "")
    if not items:
        raise InputError(f"{tree.source}: no image with a mask is found there; give images/a.png and masks/a.png")
    if any(not part.target for item in items for part in item.parts):
        raise InputError(f"{tree.source}: say with --target what the masks show, e.g. --target polyp")
    return _with_rows(items, *_rows(tree, table))


def _from_folders(tree: Tree, target: str | None) -> list[Item]:
    files: dict[str, dict[str, dict[str, str]]] = {}
    for path in tree.names:
        match = _PLACE.match(path)
        if match and PurePosixPath(path).suffix.lower() in SUFFIXES:
            kind = files.setdefault(match["root"], {}).setdefault(match["kind"].lower(), {})
            name = stem(match["name"])
            if name in kind:
                raise InputError(f"{tree.source}: {path}: another file of {match['kind']}/ has the same stem; keep one")
            kind[name] = match["name"]
    both = [root for root, kinds in files.items() if kinds.keys() == {"images", "masks"}]
    if not both:
        return []
    root = min(both, key=len)
    pairs, _ = pair_names(files[root]["images"], files[root]["masks"])
    cased = {path.lower(): path for path in tree.names}
    parts: dict[str, list[Part]] = {}
    for pair in pairs:
        folder = pair.reader or ("" if pair.target is None else pair.target.replace(" ", "_"))
        name = f"{folder}/{stem(pair.image)}.png" if folder else f"{stem(pair.image)}.png"
        file = cased[f"{root}masks/{pair.mask}".lower()]
        parts.setdefault(pair.image, []).append(Part(pair.target or target or "", name, (file,), reader=pair.reader))
    return [
        Item(stem(image) + prepared_suffix(image), cased[f"{root}images/{image}".lower()], tuple(found))
        for image, found in parts.items()
    ]


def _rows(tree: Tree, table: Path | None) -> tuple[Path, Mapping[str, Row]]:
    if table is not None:
        return table, read_table(table)
    found = min((path for path in tree.names if PurePosixPath(path).name.lower() == TABLE), key=len, default=None)
    if found is None:
        return tree.source, {}
    return tree.source / found, parse_table(tree.read(found), f"{tree.source}: {found}")


def _with_rows(items: list[Item], path: Path, rows: Mapping[str, Row]) -> list[Item]:
    if not rows:
        return items
    check_rows(path, rows, {stem(item.image) for item in items})
    return [_with_row(item, rows[stem(item.image)]) for item in items]


def _with_row(item: Item, row: Row) -> Item:
    texts = tuple(Attribute("text", text, row.prompt_source) for text in row.prompts)
    return replace(
        item,
        official=row.split,
        group=row.group,
        site=row.site,
        spacing=row.spacing,
        attributes=(*row.attributes, *texts),
    )
