"""Somebody's own folder: images/ and masks/ paired by name, split once and written down."""

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlseg.data.entries import Entry
from vlseg.data.splits import split_by_group
from vlseg.data.table import TABLE, Row, read_table, stem
from vlseg.records import SPLITS, InputError, write_text

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"})
READER_WORDS = ("reader", "rater", "annotator", "observer", "expert")


@dataclass(frozen=True)
class Pair:
    """An image with one mask, names relative to images/ and masks/.

    `target` and `reader` come from the mask's folder, where masks/ holds folders of targets or readers.
    """

    image: str
    mask: str
    target: str | None = None
    reader: str | None = None


def paired_files(root: Path) -> tuple[list[Pair], list[Path]]:
    """Images with the masks of the same stem, by name, and the files that have no partner.

    masks/ may hold a folder per target (masks/kidney/a.png) or per reader (masks/reader1/a.png; also rater,
    annotator, observer, expert).

    Raises:
        InputError: a folder is missing, or two files of one folder share a stem.
    """
    images = _by_stem(root, "images")
    masks = _by_stem(root, "masks")
    pairs, alone = pair_names(
        {stem: _relative(file, root / "images") for stem, file in images.items()},
        {stem: _relative(file, root / "masks") for stem, file in masks.items()},
    )
    return pairs, [root / name for name in alone]


def pair_names(images: Mapping[str, str], masks: Mapping[str, str]) -> tuple[list[Pair], list[str]]:
    """Pairs, and names ("images/a.png") without a partner, from names below images/ and masks/ by stem."""
    folders = sorted({name.split("/")[0] for name in masks if "/" in name})
    parted = folders and not any(name.split("/")[0] in folders for name in images)
    pairs, used = [], set()
    for name, mask in masks.items():
        folder, _, rest = name.partition("/") if parted and "/" in name else ("", "", name)
        if rest not in images:
            continue
        used |= {f"images/{images[rest]}", f"masks/{mask}"}
        reader = folder if folder.lower().startswith(READER_WORDS) else None
        target = None if reader or not folder else folder.replace("_", " ")
        pairs.append(Pair(images[rest], mask, target, reader))
    named = [f"images/{name}" for name in images.values()] + [f"masks/{name}" for name in masks.values()]
    alone = [name for name in named if name not in used]
    return sorted(pairs, key=lambda pair: (pair.image, pair.mask)), alone


def _by_stem(root: Path, kind: str) -> dict[str, Path]:
    folder = root / kind
    if not folder.is_dir():
        raise InputError(f"{root}: has no {kind}/; a dataset has images/ and masks/ (and anns/, or --target)")
    stems: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() not in SUFFIXES or file.name.startswith("."):
            continue
        name = stem(_relative(file, folder))
        if name in stems:
            raise InputError(f"{file}: has the same stem as {stems[name].name}; keep one of them")
        stems[name] = file
    return stems


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def split_pairs(root: Path, target: str | None, seed: int) -> dict[str, list[Entry]]:
    """Seeded 80/10/10 split of the pairs by group, written to anns/ so that it is made only once.

    cases.csv in the folder gives groups, splits, attributes and texts (see `read_table`). Where the folder
    cannot be written the same split is made again from the same seed.

    Raises:
        InputError: no target, nothing to pair, or a table that does not fit the images.
    """
    values = pair_entries(root, target, seed)
    with suppress(InputError):  # a read-only dataset; the same seed and names give the same split again
        write_entries(root / "anns", values)
    return {split: [Entry.model_validate(entry) for entry in entries] for split, entries in values.items()}


def pair_entries(
    root: Path, target: str | None, seed: int, table: Path | None = None
) -> dict[str, list[dict[str, Any]]]:
    """The entries of `split_pairs` as plain values, not written. `table` replaces cases.csv of the folder."""
    pairs, _ = paired_files(root)
    if not pairs:
        raise InputError(f"{root}: no image has a mask of the same name; images/a.png needs masks/a.png")
    if target is None and any(pair.target is None for pair in pairs):
        raise InputError(f"{root}: has no anns/; say with --target what its masks show, e.g. --target polyp")
    path = table or root / TABLE
    rows = read_table(path) if table or path.exists() else {}
    if rows:
        check_rows(path, rows, {stem(pair.image) for pair in pairs})
    splits = _splits(rows, pairs, seed)
    values: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for pair in pairs:
        values[splits[pair.image]].append(_entry(pair, target, rows.get(stem(pair.image), Row())))
    return values


def write_entries(folder: Path, values: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Writes FOLDER/<split>.json for each split."""
    for split, entries in values.items():
        write_text(folder / f"{split}.json", json.dumps(entries, indent=1, ensure_ascii=False) + "\n")


def check_rows(path: Path, rows: Mapping[str, Row], names: Collection[str]) -> None:
    """A table must have one line for each image, by its name without suffix, and columns filled throughout.

    Raises:
        InputError: it has not.
    """
    strange = sorted(rows.keys() - set(names))
    if strange:
        raise InputError(f"{path}: '{strange[0]}' has no image with a mask ({len(strange)} such lines); correct 'file'")
    absent = sorted(set(names) - rows.keys())
    if absent:
        raise InputError(f"{path}: has no line for image '{absent[0]}' ({len(absent)} such images); add one each")
    for column in ("group", "split"):
        empty = [name for name, row in rows.items() if getattr(row, column) is None]
        if 0 < len(empty) < len(rows):
            raise InputError(f"{path}: column '{column}' is empty for '{empty[0]}'; fill it for all images or none")


def _splits(rows: Mapping[str, Row], pairs: Sequence[Pair], seed: int) -> dict[str, str]:
    """Split by image name: the table's, else drawn so that a group stays together."""
    images = list(dict.fromkeys(pair.image for pair in pairs))
    given = {image: rows.get(stem(image), Row()) for image in images}
    if all(row.split for row in given.values()):
        return {image: str(row.split) for image, row in given.items()}
    groups = [row.group or f"image {image}" for image, row in given.items()]
    return dict(zip(images, split_by_group(groups, seed), strict=True))


def _entry(pair: Pair, target: str | None, row: Row) -> dict[str, Any]:
    named = pair.target or target or ""
    entry: dict[str, Any] = {
        "img_name": pair.image,
        "mask_name": pair.mask,
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
