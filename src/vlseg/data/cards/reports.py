"""Folders as text-guided segmentation hands them round: images, masks, reports, split.json."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from vlseg.data.archives import Tree
from vlseg.data.cards.card import Item, Part, Structure
from vlseg.data.cards.find import prepared_suffix
from vlseg.data.names import SUFFIXES
from vlseg.records import SPLITS, Attribute, InputError

_FILE = re.compile(r"(?:^|.*/)(?P<kind>images|masks|reports)/(?:mask_)?(?P<stem>[^/]+)\.[a-z]+$", re.IGNORECASE)


def reports_structure(target: str, *, group: str | None = None) -> Structure:
    """images/NAME, masks/NAME, reports/NAME.txt and split.json with lists of names by split.

    Args:
        target: what the masks show.
        group: expression of the group in an image's stem; see `with_groups`.
    """

    def find(tree: Tree) -> list[Item]:
        return _find(tree, target)

    about = "images/NAME.png, masks/NAME.png, reports/NAME.txt, split.json"
    return Structure(about, False, with_groups(find, group) if group else find)


def with_groups(find: Callable[[Tree], Sequence[Item]], pattern: str) -> Callable[[Tree], list[Item]]:
    """The finder, with the patient or study from the image's stem: what the pattern's first group holds.

    Images whose names hold none have no group.
    """
    told = re.compile(pattern, re.IGNORECASE)

    def found(tree: Tree) -> list[Item]:
        items = []
        for item in find(tree):
            match = told.search(PurePosixPath(item.file).stem)
            items.append(replace(item, group=match[1].lower()) if match else item)
        return items

    return found


def _find(tree: Tree, target: str) -> list[Item]:
    files: dict[str, dict[str, str]] = defaultdict(dict)
    for path in tree.names:
        match = _FILE.match(path)
        suffixes = {".txt"} if match and match["kind"].lower() == "reports" else SUFFIXES
        if match and PurePosixPath(path).suffix.lower() in suffixes:
            first = files[match["kind"].lower()].setdefault(match["stem"], path)
            if first != path:
                raise InputError(f"{tree.source}: {first} and {path} have one name; keep one of them")
    if not files["reports"]:
        return []
    splits = _splits(tree, set(files["images"]))
    items = []
    for stem, path in sorted(files["images"].items()):
        if stem not in files["masks"] or (splits and stem not in splits):
            continue
        report = files["reports"].get(stem)
        said = " ".join(_text(tree, report).split()) if report else ""
        items.append(
            Item(
                image=stem + prepared_suffix(path),
                file=path,
                parts=(Part(target, f"{stem}.png", (files["masks"][stem],)),),
                official=splits.get(stem),
                attributes=(Attribute("text", said, "unknown"),) if said else (),
            )
        )
    return items


def _text(tree: Tree, path: str) -> str:
    try:
        return tree.read(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{tree.source}: {path}: is no UTF-8 text; save it as UTF-8") from error


def _splits(tree: Tree, images: set[str]) -> dict[str, str]:
    """The split by stem; {} without split.json. A name that stands twice in one split counts once."""
    path = next((name for name in tree.names if PurePosixPath(name).name == "split.json"), None)
    if path is None:
        return {}
    where = f"{tree.source}: {path}"
    try:
        values = json.loads(_text(tree, path))
    except ValueError as error:
        raise InputError(f"{where}: broken JSON ({error})") from error
    if not isinstance(values, dict) or not values.keys() <= set(SPLITS):
        raise InputError(f"{where}: must hold lists of names by train, val and test")
    splits: dict[str, str] = {}
    for split, names in values.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"{where}: {split} must be a list of names")
        for name in names:
            stem = PurePosixPath(name).stem if PurePosixPath(name).suffix.lower() in SUFFIXES else name
            if splits.setdefault(stem, split) != split:
                raise InputError(f"{where}: {name} is in {splits[stem]} and {split}; keep it in one")
    if not images & splits.keys():
        raise InputError(f"{where}: names none of the images")
    return splits
