"""Somebody's own source as items: images and masks paired by name, with an optional table, the rest named."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from vlseg.data.archives import Tree
from vlseg.data.cards.card import Item, Part
from vlseg.data.cards.find import prepared_suffix
from vlseg.data.formats.known import DRAWN
from vlseg.data.formats.lvit import is_lvit, sentences
from vlseg.data.formats.nnunet import FOLDERS
from vlseg.data.laid_out import LaidOut, laid_out
from vlseg.data.matching import SHOWN, Matched, Pair, counted, match
from vlseg.data.names import Place, is_picture, plain_stem, split_named
from vlseg.data.pairs import find_table, folder_splits, patient_folders
from vlseg.data.parted import UNNAMED
from vlseg.data.table import TABLES, Row, fit_rows, parse_table, read_table
from vlseg.records import Attribute, InputError

FOLDER = "folder"


@dataclass(frozen=True)
class Found:
    """What a source of one's own holds.

    Attributes:
        items: images with masks.
        about: what was taken for what, in words.
        left_out: one line for each sort of file that is not used.
        seen: whether we ever had real files laid out so.
    """

    items: list[Item]
    about: str
    left_out: list[str]
    seen: bool = True


def own_items(
    tree: Tree,
    target: str | None,
    table: Path | None = None,
    masks: str | None = None,
    groups: str | None = None,
    *,
    below: Path,
) -> Found:
    """Items of a source that no card describes.

    Args:
        tree: the source.
        target: what the masks show; not needed where the masks' folder holds a folder per target.
        table: a table from elsewhere; else the source's own cases.csv or cases.xlsx is used.
        masks: chooses among sorts of masks, see `vlseg.data.matching.match`.
        groups: tells the patient or sequence by the image's path: "folder", or a regular expression whose first group
            (or whole match) is the name. Without it folders like "patient07" do, where all images lie in such.
        below: a folder for masks that must be drawn because the source has no pictures of masks, but outlines in
            COCO's, labelme's, YOLO's or CVAT's layout; must last until the items' masks are made.

    Raises:
        InputError: nothing pairs, what does not pair without a guess, no target, or a table that does not fit.
    """
    names = [name for name in tree.names if PurePosixPath(name).parts[0] not in DRAWN]
    matched = match(names, str(tree.source), masks)
    left_out = matched.left_out()
    known = laid_out(tree.source, below, target) if not matched.pairs and tree.source.is_dir() else None
    if known is not None:
        return _known(tree, known, table, groups)
    if not matched.pairs:
        told = f" ({'; '.join(held)})" if (held := [*left_out, *_others(tree, set())]) else ""
        raise InputError(
            f"{tree.source}: no image with a mask is found there{told}; give images/a.png and masks/a.png, or say with "
            "--masks in which folder the masks are"
            + ("; an export of COCO, YOLO, CVAT or labelme is read from its folder: unpack it" * tree.source.is_file())
        )
    if target is None and any(pair.target is None for pair in matched.pairs):
        raise InputError(f"{tree.source}: say with --target what the masks show, e.g. --target polyp")
    named = {pair.target for pair in matched.pairs if pair.target is not None}
    if target not in (None, UNNAMED) and all(pair.target is not None for pair in matched.pairs):
        raise InputError(
            f"--target: the masks lie in a folder per target already ({', '.join(sorted(named))}); leave the option "
            "out (vlseg train --target chooses one)"
        )
    place, rows = _rows(tree, table)
    items, about = _items(tree, matched, target or "", rows, place, groups)
    used = {place if table is None else _below(table, tree.source)}
    if tree.source.is_dir() and is_lvit(tree.source):
        items, sheets, unsaid = _with_sentences(items, tree.source)
        used.update(sheets)
        left_out += unsaid
        about += "; sentences from LViT's sheets" * bool(sheets)
    return Found(items, about, [*left_out, *_unsaid(items), *_others(tree, used)])


def _with_sentences(items: Sequence[Item], root: Path) -> tuple[list[Item], list[str], list[str]]:
    """The items with the sentences of LViT's sheets, the sheets, and a line about images that have none."""
    texts, sheets = sentences(root)
    without = [item.file for item in items if sheets and item.file not in texts]
    told = [
        replace(item, attributes=(*item.attributes, Attribute("text", texts[item.file], "unknown")))
        if item.file in texts
        else item
        for item in items
    ]
    return (
        told,
        sheets,
        [counted(without, "images have no sentence in LViT's sheets and are used without one")] if without else [],
    )


def _known(tree: Tree, known: LaidOut, table: Path | None, groups: str | None) -> Found:
    """Items of another layout, with what a table and folders tell of them."""
    place, rows = _rows(tree, table)
    paths = {item.file: item.file for item in known.items}
    unused = [name for name in tree.names if is_picture(name) and name not in paths]
    fitted = fit_rows(place, rows, paths, unused) if rows else {}
    owner, told = _groups(tree, known.places, groups, has_column=any(row.group for row in fitted.values()))
    names = _names(known.places)
    items = []
    for item in known.items:
        short, long = names[item.file], plain_stem(item.file)
        parts = tuple(replace(part, name=part.name.removesuffix(f"{long}.png") + f"{short}.png") for part in item.parts)
        image = short + item.image.removeprefix(long)
        item = replace(item, image=image, parts=parts, group=owner.get(item.file) or item.group)
        items.append(_with_row(item, fitted[item.file]) if item.file in fitted else item)
    return Found(items, "; ".join([known.about, *told]), known.left_out, seen=False)


def _items(
    tree: Tree, matched: Matched, target: str, rows: Mapping[str, Row], table: str, groups: str | None
) -> tuple[list[Item], str]:
    by_image: dict[str, list[Pair]] = defaultdict(list)
    for pair in matched.pairs:
        by_image[pair.image.path].append(pair)
    places = [pairs[0].image for pairs in by_image.values()]
    paths = {place.path: place.path for place in places}
    fitted = fit_rows(table, rows, paths, matched.images_alone) if rows else {}
    split = folder_splits(places, tree.source) if not any(row.split for row in fitted.values()) else {}
    owner, told = _groups(tree, places, groups, has_column=any(row.group for row in fitted.values()))
    names = _names(places)
    items = []
    for path, pairs in by_image.items():
        item = Item(names[path] + prepared_suffix(path), path, _parts(pairs, names[path], target), split.get(path))
        item = replace(item, group=owner.get(path))
        items.append(_with_row(item, fitted[path]) if path in fitted else item)
    told = [*_united(items), *_sorts(matched), *_splits(split), *told]
    return items, "; ".join(["images and masks of your own, paired by name", *told])


def _parts(pairs: Sequence[Pair], name: str, target: str) -> tuple[Part, ...]:
    """One part for each target and reader; numbered masks are its files."""
    files: dict[tuple[str | None, str | None], list[str]] = defaultdict(list)
    for pair in pairs:
        files[(pair.target, pair.reader)].append(pair.mask.path)
    return tuple(
        Part(
            named or target,
            "/".join(part for part in (reader or (named or "").replace(" ", "_"), f"{name}.png") if part),
            tuple(found),
            reader=reader,
        )
        for (named, reader), found in files.items()
    )


def _names(places: Sequence[Place]) -> dict[str, str]:
    """The prepared name of each image without suffix: its folders but those that name the split or say nothing."""
    shared = min((len(place.context) for place in places), default=0)
    while shared and len({place.context[:shared] for place in places}) > 1:
        shared -= 1
    short = {
        place.path: "/".join([*(part for part in place.context[shared:] if split_named((part,)) is None), place.stem])
        for place in places
    }
    if len({name.lower() for name in short.values()}) == len(short):
        return short
    return {place.path: "/".join([*place.context[shared:], place.stem]) for place in places}


def _groups(
    tree: Tree, places: Sequence[Place], groups: str | None, *, has_column: bool
) -> tuple[dict[str, str], list[str]]:
    """The group of each image by path as folders or names tell it, and a line that says so."""
    if groups is None:
        found = {} if has_column else patient_folders(places)
        told = [f"groups by folder: {_listed(found.values())}"] if found else []
        folders = {_own_folder(place) for place in places}
        if not found and not has_column and len(folders) > 1:
            told = [
                f"images lie in {len(folders)} folders ({_listed(folders)}), not taken for patients; --groups folder"
            ]
        return found, told
    if has_column:
        raise InputError("--groups: the table has a column for it already; leave one of them out")
    found = {place.path: _own_folder(place) if groups == FOLDER else _matched(place, groups) for place in places}
    missing = [path for path, group in found.items() if not group]
    if missing:
        raise InputError(f"--groups: '{groups}' gives nothing for {missing[0]} ({len(missing)} such images)")
    return found, [f"groups: {_listed(found.values())}"]


def _own_folder(place: Place) -> str:
    own = (part for part in place.context if part not in FOLDERS and split_named((part,)) is None)
    return "/".join(own)


def _matched(place: Place, pattern: str) -> str:
    try:
        found = re.search(pattern, place.path)
    except re.error as error:
        raise InputError(f"--groups: '{pattern}' is no regular expression ({error}); give one, or 'folder'") from error
    return "" if found is None else (found[1] or "") if found.re.groups else found[0]


def _listed(names: object) -> str:
    distinct = sorted(set(names))  # type: ignore[call-overload]
    return f"{', '.join(distinct[:SHOWN])}{', ...' if len(distinct) > SHOWN else ''} ({len(distinct)})"


def _united(items: Sequence[Item]) -> list[str]:
    count = sum(any(len(part.files) > 1 for part in item.parts) for item in items)
    return [f"several numbered masks of one image united ({count} images)"] if count else []


def _unsaid(items: Sequence[Item]) -> list[str]:
    """Of several targets, how often one has no mask: nobody says whether it is absent or was not drawn."""
    shown = [{part.target for part in item.parts} for item in items]
    targets = set().union(*shown)
    lacking = sum(len(targets - one) for one in shown)
    told = f"{lacking} of {len(targets) * len(shown)} pairs of an image and a target, which have no mask"
    return [f"{told}: where the target is absent, add an empty (black) one"] if lacking else []


def _sorts(matched: Matched) -> list[str]:
    """The masks' folders, where there are several: one may hold something else than the others."""
    folders = {PurePosixPath(pair.mask.kind[0]).name for pair in matched.pairs}
    return [f"masks in folders named {_listed(folders)}"] if len(folders) > 1 else []


def _splits(named: Mapping[str, str | None]) -> list[str]:
    return ["splits as the folders name them"] if any(named.values()) else []


def _others(tree: Tree, used: set[str]) -> list[str]:
    """Files that are no pictures, and what could not be taken in."""
    others = [name for name in tree.names if not is_picture(name) and name not in used]
    lines = []
    if others:
        kinds = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in others)
        sorts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(SHOWN))
        lines.append(counted(others, f"other files ({sorts})"))
    return lines + ([counted(tree.skipped, "files that cannot be read")] if tree.skipped else [])


def _below(path: Path, root: Path) -> str:
    """The path's name below the root, or "" where it lies elsewhere."""
    inside = path.resolve().is_relative_to(root.resolve())
    return path.resolve().relative_to(root.resolve()).as_posix() if inside else ""


def _rows(tree: Tree, table: Path | None) -> tuple[str, Mapping[str, Row]]:
    """The table, as the errors call it, and its rows."""
    if table is not None:
        return str(table), read_table(table)
    found = find_table([name for name in tree.names if PurePosixPath(name).name.lower() in TABLES], tree.source)
    if found is None:
        return "", {}
    return found, parse_table(tree.read(found), f"{tree.source}: {found}")


def _with_row(item: Item, row: Row) -> Item:
    texts = tuple(Attribute("text", text, row.prompt_source) for text in row.prompts)
    return replace(
        item,
        official=row.split or item.official,
        group=row.group or item.group,
        site=row.site or item.site,
        spacing=row.spacing or item.spacing,
        attributes=(*row.attributes, *texts),
    )
