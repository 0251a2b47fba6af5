"""Which files of a folder are COCO's annotations, what their names say, and where their images lie."""

import mmap
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from vlseg.data.pairs import SUFFIXES
from vlseg.records import InputError, read_json

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, eq=False)
class Source:
    """One JSON file: its content, its split where its name or folder says one, or why it cannot be used."""

    file: Path
    content: dict[str, Any]
    split: str | None
    problem: str | None


def split_of(name: str) -> str | None:
    """The split that whole words of a file's or folder's name say; None when none does.

    Words end at what is no letter and where capitals begin: "instances_val2017", "Test", "trainImages", not "latest".

    Raises:
        InputError: it says two.
    """
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    found = {SPLIT_WORDS[word.lower()] for word in words if word.lower() in SPLIT_WORDS}
    if len(found) > 1:
        raise InputError(f"{name}: names several splits ({', '.join(sorted(found))}); rename it so that it names one")
    return next(iter(found), None)


def sources(root: Path) -> list[Source]:
    """The files with COCO's lists in the folder, in annotations/, and in folders named for a split, by path.

    Raises:
        InputError: such a file is broken, or its name says two splits.
    """
    folders = [root, root / "annotations", *(folder for folder in _folders(root) if folder.name.lower() in SPLIT_WORDS)]
    found = []
    for folder in folders:
        for file in sorted(folder.glob("*.json")):
            status = file.stat()
            content = _content(file, status.st_size, status.st_mtime_ns) if file.name != "dataset.json" else None
            if content is not None:
                split = split_of(file.stem) or SPLIT_WORDS.get(folder.name.lower())
                found.append(Source(file, content, split, _problem(content)))
    return found


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


@cache
def _content(file: Path, size: int, modified: int) -> dict[str, Any] | None:
    """The file's values when it has a list of named images. Only what holds the word is parsed, and only once."""
    if size == 0:
        return None
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
        if view.find(b'"images"') < 0 or view.find(b'"file_name"') < 0:
            return None
    values = read_json(file, "")
    images = values.get("images") if isinstance(values, dict) else None
    if not isinstance(images, list) or not ("annotations" in values or "categories" in values):
        return None
    return dict(values)


def forget() -> None:
    """Lets go of the parsed files, which may be large."""
    _content.cache_clear()
    _image_folders.cache_clear()


def _problem(content: dict[str, Any]) -> str | None:
    """Files that describe images without saying where something is would pass for images with nothing on them."""
    if "categories" not in content:
        return "has no 'categories' (captions?), not used"
    if not content.get("annotations"):
        return f"has no annotations, its {len(content['images'])} images are not used"
    return None


def find_image(root: Path, source: Source, name: str) -> Path | None:
    """The picture relative to `root`, wherever COCO's users put it; None when it is nowhere.

    Raises:
        InputError: a name that leads out of the folder, or different files of that name.
    """
    name = name.replace("\\", "/")
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"{source.file}: file_name '{name}' leads out of the dataset folder")
    spellings = dict.fromkeys((name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))))
    folders = _image_folders(root, source.file.parent, source.split)
    found = [folder / one for one in spellings for folder in folders if (root / folder / one).is_file()]
    other = next((path for path in found[1:] if not (root / path).samefile(root / found[0])), None)
    if other is not None:
        raise InputError(
            f"{source.file}: file_name '{name}' is found as {found[0]} and as {other}; write the folder into file_name"
        )
    return found[0] if found else None


@lru_cache(maxsize=64)
def _image_folders(root: Path, beside: Path, split: str | None) -> tuple[Path, ...]:
    inside = [folder for folder in (*_folders(root), *_folders(root / "images")) if _says(folder.name, split)]
    places = [beside, root, root / "images", *inside]
    if SPLIT_WORDS.get(beside.name.lower()):
        places = [beside, beside / "images"]  # every split's folder has images of its own, often of the same names
    return tuple(dict.fromkeys(place.relative_to(root) for place in places))


def _says(name: str, split: str | None) -> bool:
    try:
        return split is not None and split_of(name) == split
    except InputError:
        return False


def unlisted(root: Path, used: Sequence[Path]) -> list[str]:
    """In words, pictures in the folders of the used ones that no file names."""
    known = {root / place for place in used}
    others = [
        file
        for folder in sorted({path.parent for path in known})
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in SUFFIXES and file not in known and not file.name.startswith(".")
    ]
    if not others:
        return []
    return [f"{len(others)} images that no annotation file names, e.g. {others[0].relative_to(root)}"]
