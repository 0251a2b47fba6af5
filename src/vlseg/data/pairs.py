"""Somebody's own folder: images/ and masks/ paired by name, split once and written down."""

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlseg.data.archives import shown, walk_files
from vlseg.data.entries import Entry
from vlseg.data.matching import Matched, Pair, match
from vlseg.data.names import SUFFIXES, Place, patient_folder
from vlseg.data.splits import draw_splits
from vlseg.data.table import TABLE, TABLES, Row, fit_rows, read_table
from vlseg.records import SPLITS, InputError, write_text

__all__ = ["SUFFIXES", "pair_entries", "paired_files", "split_pairs", "write_entries"]


def paired_files(root: Path) -> Matched:
    """The masks of each image below images/ and masks/, paths relative to `root`; see `vlseg.data.matching.match`.

    Raises:
        InputError: a folder is missing, a name that is not UTF-8 text, or what does not pair without a guess.
    """
    names = []
    for kind in ("images", "masks"):
        if not (root / kind).is_dir():
            raise InputError(
                f"{root}: has no {kind}/; a dataset has images/ and masks/ (and anns/, or --target); other folders "
                "are brought into that form by vlseg data prepare own"
            )
        names += [f"{kind}/{name}" for name, _ in walk_files(root / kind)]
    odd = next((name for name in names if shown(name) != name), None)
    if odd is not None:
        raise InputError(f"{root}: the name {shown(odd)} is not UTF-8 text; rename the file or its folder")
    return match(names, str(root))


def split_pairs(root: Path, target: str | None, seed: int, *, write: bool = True) -> dict[str, list[Entry]]:
    """The pairs by split: as the table or folders named train, val and test say, else a seeded 80/10/10 by group.

    With `write` it is written to anns/ so that it is made only once; where the folder cannot be written the same
    split is made again from the same seed. cases.csv (or .xlsx) in the folder gives groups, splits, attributes and
    texts (see `read_table`).

    Raises:
        InputError: no target, nothing to pair, or a table that does not fit the images.
    """
    values = pair_entries(root, target, seed)
    if write:
        _keep(root / "anns", values)
    return {split: [Entry.model_validate(entry) for entry in entries] for split, entries in values.items()}


def _keep(folder: Path, values: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Written as a whole, or not: of two processes that split at once, one writes."""
    part = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    with suppress(InputError, OSError):  # a read-only dataset; the same seed and names give the same split again
        write_entries(part, values)
        part.rename(folder)
    shutil.rmtree(part, ignore_errors=True)


def pair_entries(root: Path, target: str | None, seed: int) -> dict[str, list[dict[str, Any]]]:
    """The entries of `split_pairs` as plain values, not written."""
    matched = paired_files(root)
    if not matched.pairs:
        raise InputError(f"{root}: no image has a mask of the same name; images/a.png needs masks/a.png")
    if target is None and any(pair.target is None for pair in matched.pairs):
        raise InputError(f"{root}: has no anns/; say with --target what its masks show, e.g. --target polyp")
    path = find_table([name for name in TABLES if (root / name).exists()], root)
    places = {pair.image.path: pair.image for pair in matched.pairs}
    rows: dict[str, Row] = {}
    if path is not None:
        rows = fit_rows(
            root / path,
            read_table(root / path),
            {name: name.removeprefix("images/") for name in places},
            matched.images_alone,
        )
    known = {name: rows.get(name, Row()) for name in places}
    folders = patient_folders(places.values())
    known = {name: replace(row, group=row.group or folders.get(name)) for name, row in known.items()}
    splits = _splits(root, known, matched, seed)
    values: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for pair in matched.pairs:
        values[splits[pair.image.path]].append(_entry(pair, target, known[pair.image.path]))
    return values


def find_table(tables: Sequence[str], where: Path) -> str | None:
    """The one table there is.

    Raises:
        InputError: there are several.
    """
    if len(tables) > 1:
        raise InputError(f"{where}: holds {' and '.join(tables[:2])}; keep one table, or give it with --table")
    return tables[0] if tables else None


def patient_folders(places: Iterable[Place]) -> dict[str, str]:
    """The group of each image by path, where the folders of all images bear the numbers of patients or sequences."""
    found = {place.path: patient_folder(place.context) for place in places}
    return {path: group for path, group in found.items() if group} if all(found.values()) else {}


def write_entries(folder: Path, values: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Writes FOLDER/<split>.json for each split."""
    for split, entries in values.items():
        write_text(folder / f"{split}.json", json.dumps(entries, indent=1, ensure_ascii=False) + "\n")


def folder_splits(places: Sequence[Place], where: object) -> dict[str, str | None]:
    """The split of each image by path, as its folders name it.

    Where all say train (or val), that tells no split: it is the name of a download.

    Raises:
        InputError: the folders of some images name one and those of others none.
    """
    named = {place.path: place.split for place in places}
    without = [path for path, split in named.items() if split is None]
    if 0 < len(without) < len(named):
        given = next(path for path, split in named.items() if split is not None)
        raise InputError(
            f"{where}: the folders of {given} name a split and those of {without[0]} none ({len(without)} such images);"
            " name one for all or none, or give a table with a column 'split'"
        )
    return named if set(named.values()) not in ({"train"}, {"val"}) else dict.fromkeys(named)


def _splits(root: Path, rows: Mapping[str, Row], matched: Matched, seed: int) -> dict[str, str]:
    """Split by image: the table's, else as folders name it, else drawn so that a group stays together."""
    if all(row.split for row in rows.values()):
        return {image: str(row.split) for image, row in rows.items()}
    places = list({pair.image.path: pair.image for pair in matched.pairs}.values())
    named = folder_splits(places, root)
    targets: dict[str, set[str]] = {path: set() for path in rows}
    for pair in matched.pairs:
        targets[pair.image.path].add(pair.target or "")
    drawn = draw_splits(
        [row.group or f"image {image}" for image, row in rows.items()],
        [named[image] for image in rows],
        seed,
        strata=list(targets.values()),
    )
    return dict(zip(rows, drawn, strict=True))


def _entry(pair: Pair, target: str | None, row: Row) -> dict[str, Any]:
    named = pair.target or target or ""
    entry: dict[str, Any] = {
        "img_name": pair.image.path.removeprefix("images/"),
        "mask_name": pair.mask.path.removeprefix("masks/"),
        "prompts": {"empty": "", "class": named},
        "prompt_sources": {"empty": ["none"], "class": ["class"]},
        "target": named,
    }
    if row.prompts:
        entry["prompts"]["text"] = list(row.prompts) if len(row.prompts) > 1 else row.prompts[0]
        entry["prompt_sources"]["text"] = [row.prompt_source]
    optional = {"group": row.group, "site": row.site, "reader": pair.reader}
    entry |= {key: value for key, value in optional.items() if value is not None}
    if row.spacing is not None:
        entry |= {"spacing": list(row.spacing), "spacing_source": TABLE}
    if row.attributes:
        entry["attributes"] = [{"name": a.name, "value": a.value, "source": a.source} for a in row.attributes]
    return entry
