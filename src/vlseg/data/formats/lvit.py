"""LViT's layout: {Train,Val,Test}_Folder/{img,labelcol} with a sheet of sentences (Li et al., TMI 2023)."""

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from vlseg.data.entries import Entry
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


def read_lvit(root: Path) -> dict[str, list[Entry]]:
    """Entries by split, names relative to `root`; the sentence is the prompt "text", its source unknown.

    Raises:
        InputError: an image without mask or sentence, or a sheet that cannot be read.
    """
    targets = read_info(root).targets
    target = targets[0] if len(targets) == 1 else None
    entries: dict[str, list[Entry]] = {}
    for split, folder in FOLDERS.items():
        if (root / folder).is_dir():
            entries[split] = list(_split_entries(root, folder, target))
    return entries


def _split_entries(root: Path, folder: str, target: str | None) -> Iterable[Entry]:
    masks = {file.stem: file.name for file in _pictures(root / folder / "labelcol")}
    sheet = _sheet_of(root, folder)
    with sheet.open("rb") as stream:
        texts = read_sheet(stream, str(sheet))
    by_stem = {Path(name).stem: text for name, text in texts.items()}
    for image in _pictures(root / folder / "img"):
        stem = next((stem for stem in (image.stem, MASK_PREFIX + image.stem) if stem in masks), None)
        if stem is None:
            raise InputError(f"{image}: has no mask in {folder}/labelcol; add it or take the image away")
        if stem not in by_stem and image.stem not in by_stem:
            raise InputError(f"{sheet}: has no row for {masks[stem]}; add one (columns Image and Description)")
        text = by_stem.get(stem, by_stem.get(image.stem, ""))
        prompts: dict[str, Any] = {"empty": "", "text": text}
        if target is not None:
            prompts["class"] = target
        yield Entry(
            img_name=f"{folder}/img/{image.name}",
            mask_name=f"{folder}/labelcol/{masks[stem]}",
            prompts=prompts,
            prompt_sources={"empty": ["none"], "class": ["class"], "text": ["unknown"]},
            target=target,
        )


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: is missing; LViT's layout has img/ and labelcol/ in each split's folder")
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)


def _sheet_of(root: Path, folder: str) -> Path:
    split = folder.removesuffix("_Folder").lower()
    places = [*sorted((root / folder).glob("*.xlsx")), *sorted(root.glob("*.xlsx"))]
    fitting = [file for file in places if file.stem.lower().startswith(split) or f"{split}_" in file.stem.lower()]
    chosen = min(fitting, key=lambda file: len(file.stem), default=None)
    if chosen is None:
        raise InputError(f"{root / folder}: has no {split.capitalize()}_text.xlsx with the sentences")
    return chosen


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
