"""LViT's layout: {Train,Val,Test}_Folder/{img,labelcol} with a sheet of sentences (Li et al., TMI 2023)."""

import re
import zipfile
from pathlib import Path
from typing import IO, Any

from vlseg.data.entries import Entry
from vlseg.data.formats import Found
from vlseg.data.info import read_info
from vlseg.data.pairs import SUFFIXES
from vlseg.records import InputError

FOLDERS = {"train": "Train_Folder", "val": "Val_Folder", "test": "Test_Folder"}
MASK_PREFIX = "mask_"
_PADDING = re.compile(r"(?:\s*\bEOF XXX\b)+\s*$")
"""What LViT's code appends to short captions so that they reach ten word pieces; it is no text."""


def is_lvit(root: Path) -> bool:
    """True when some split folder with images and masks is there."""
    return any(
        (root / folder / "img").is_dir() and (root / folder / "labelcol").is_dir() for folder in FOLDERS.values()
    )


def read_lvit(root: Path) -> Found:
    """Entries by split, names relative to `root`; the sentence is the prompt "text", its source unknown.

    Raises:
        InputError: an image without mask or sentence, two files of one stem, or not one sheet that can be read.
    """
    targets = read_info(root).targets
    target = targets[0] if len(targets) == 1 else None
    entries: dict[str, list[Entry]] = {}
    left_out: list[str] = []
    for split, folder in FOLDERS.items():
        if (root / folder).is_dir():
            entries[split] = _split_entries(root, folder, target, left_out)
    return Found(entries, tuple(left_out))


def _split_entries(root: Path, folder: str, target: str | None, left_out: list[str]) -> list[Entry]:
    masks = _pictures(root / folder / "labelcol")
    images = _pictures(root / folder / "img")
    sheet = _sheet_of(root, folder)
    with sheet.open("rb") as stream:
        texts = _by_stem(read_sheet(stream, str(sheet)), sheet)
    entries = []
    for name, image in images.items():
        stem = next((stem for stem in (name, MASK_PREFIX + name) if stem in masks), None)
        if stem is None:
            raise InputError(f"{image}: has no mask in {folder}/labelcol; add it or take the image away")
        key = stem if stem in texts else name
        if key not in texts:
            raise InputError(f"{sheet}: has no row for {masks[stem].name}; add one (columns Image and Description)")
        entries.append(_entry(root, image, masks.pop(stem), texts.pop(key), target))
    for names, words in (
        (list(masks), "masks without an image"),
        (list(texts), f"rows of {sheet.name} without an image"),
    ):
        if names:
            left_out.append(f"{folder}: {len(names)} {words}, e.g. {names[0]}")
    return entries


def sentences(root: Path) -> tuple[dict[str, str], list[str]]:
    """The sentence of each image that has one, by its path below `root`, and the paths of the sheets that hold them.

    Raises:
        InputError: two sheets of one split, or one that cannot be read.
    """
    texts: dict[str, str] = {}
    sheets: list[str] = []
    for folder in FOLDERS.values():
        sheet = _found_sheet(root, folder)
        if sheet is None or not (root / folder / "img").is_dir():
            continue
        with sheet.open("rb") as stream:
            said = _by_stem(read_sheet(stream, str(sheet)), sheet)
        sheets.append(sheet.relative_to(root).as_posix())
        for name, image in _pictures(root / folder / "img").items():
            text = said.get(MASK_PREFIX + name, said.get(name))
            if text:
                texts[image.relative_to(root).as_posix()] = text
    return texts, sheets


def _by_stem(texts: dict[str, str], sheet: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, text in texts.items():
        if found.setdefault(Path(name).stem, text) != text:
            raise InputError(f"{sheet}: '{Path(name).stem}' stands twice with different texts; keep one")
    return found


def _entry(root: Path, image: Path, mask: Path, text: str, target: str | None) -> Entry:
    prompts: dict[str, Any] = {"empty": "", "text": text}
    if target is not None:
        prompts["class"] = target
    return Entry(
        img_name=image.relative_to(root).as_posix(),
        mask_name=mask.relative_to(root).as_posix(),
        prompts=prompts,
        prompt_sources={"empty": ["none"], "class": ["class"], "text": ["unknown"]},
        target=target,
    )


def _pictures(folder: Path) -> dict[str, Path]:
    """The pictures by stem, sorted."""
    if not folder.is_dir():
        raise InputError(f"{folder}: is missing; LViT's layout has img/ and labelcol/ in each split's folder")
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in SUFFIXES or file.name.startswith("."):
            continue
        if found.setdefault(file.stem, file) != file:
            raise InputError(f"{file}: has the same stem as {found[file.stem].name}; keep one of them")
    return found


def _sheet_of(root: Path, folder: str) -> Path:
    sheet = _found_sheet(root, folder)
    if sheet is None:
        split = folder.removesuffix("_Folder")
        raise InputError(f"{root / folder}: has no {split}_text.xlsx with the sentences")
    return sheet


def _found_sheet(root: Path, folder: str) -> Path | None:
    split = folder.removesuffix("_Folder").lower()
    for place in (root / folder, root):
        sheets = [file for file in sorted(place.glob("*.xlsx")) if not file.name.startswith("~$")]
        fitting = [f for f in sheets if f.stem.lower().startswith(split) or f"{split}_" in f.stem.lower()]
        if len(fitting) > 1:
            raise InputError(f"{place}: holds {fitting[0].name} and {fitting[1].name}; keep the sheet that is right")
        if fitting:
            return fitting[0]
    return None


def read_sheet(stream: IO[bytes], name: str) -> dict[str, str]:
    """Descriptions by mask file name from a sheet with the columns Image and Description.

    Raises:
        InputError: no sheet, a missing column, or a name that stands twice with different texts.
    """
    import openpyxl

    try:
        book = openpyxl.load_workbook(stream, read_only=True, data_only=True)
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise InputError(f"{name}: cannot be read as an .xlsx sheet ({error}); save it anew") from error
    try:
        rows = book.active.iter_rows(values_only=True) if book.active is not None else iter(())
        header = [str(cell or "").strip().lower() for cell in next(rows, ())]
        if "image" not in header or "description" not in header:
            raise InputError(f"{name}: needs the columns Image and Description (it has {', '.join(header) or 'none'})")
        image, description = header.index("image"), header.index("description")
        texts: dict[str, str] = {}
        for row in rows:
            if row[image] is None:
                continue
            text = _PADDING.sub("", str(row[description] or "")).strip()
            if texts.setdefault(str(row[image]).strip(), text) != text:
                raise InputError(f"{name}: '{row[image]}' stands twice with different texts; keep one")
        return texts
    finally:
        book.close()
