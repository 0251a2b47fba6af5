"""YOLO's segmentation labels as Ultralytics lays them out: data.yaml, images/, and a txt of outlines for each image."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from vlseg.data.archives import walk_files
from vlseg.data.formats import Found
from vlseg.data.formats.drawn import Drawn
from vlseg.data.formats.lookup import finder
from vlseg.data.formats.pages import Page, not_used, of_pages
from vlseg.data.formats.yolo_yaml import Description, descriptions
from vlseg.data.images import upright_size
from vlseg.data.names import is_picture
from vlseg.records import SPLITS, InputError

MASKS = "masks_from_yolo"
"""Folder of the masks drawn from outlines."""
SLACK = 0.01
"""How far corners may lie outside of [0, 1]: as much as Ultralytics lets pass."""

_LOOKED_AT = 50
"""Label files that are looked at to tell whether they are any: the first ones may be empty."""
_NO_FILE = 'images without a label file (not annotated, or nothing there? "absent": true in dataset.json says nothing)'


@dataclass
class _Labels:
    """Label files as they are read, and lines that hold a box instead of an outline."""

    lines: int = 0
    boxes: list[str] = field(default_factory=list)


def is_yolo(root: Path) -> bool:
    """True when there is a data.yaml, or label files of numbers, and neither masks/ nor pictures in labels/ instead."""
    if (root / "masks").is_dir():
        return False
    names = [name for name, _ in walk_files(root)]
    labels = _label_files(names)
    pictures = [name for name in names if is_picture(name) and "labels" in PurePosixPath(name).parts[:-1]]
    if len(pictures) > len(labels):
        return False
    return bool(descriptions(root)) or any(_is_label(root / name) for name in labels[:_LOOKED_AT])


def _label_files(names: Sequence[str]) -> list[str]:
    return [n for n in names if n.lower().endswith(".txt") and "labels" in PurePosixPath(n).parts[:-1]]


def _is_label(file: Path) -> bool:
    """True when the file starts with a class number and coordinates."""
    with file.open("rb") as stream:
        first = stream.readline(100_000).decode("utf-8-sig", errors="replace").split()
    return len(first) >= 5 and first[0].isdigit() and all(re.fullmatch(r"-?\d*\.?\d+(e-?\d+)?", w) for w in first[1:5])


def read_yolo(root: Path, *, absent: bool = False, below: Path | None = None) -> Found:
    """Entries by split, names relative to `root`. Masks are drawn once to PNG files in masks_from_yolo/.

    data.yaml names the classes and where the images of train, val and test lie: a folder, several, or lists in text
    files. The labels of images/.../a.png are in labels/.../a.txt; without a folder images they lie beside. An empty
    file says that nothing is there. An image without a file is left out and named; with `absent` nothing is there, as
    Ultralytics has it, and every other image gets an empty mask of each class that it lacks. `below` is where
    masks_from_yolo/ is made instead, see `Drawn`.

    Raises:
        InputError: no or several files like data.yaml, one that is wrong, images that are not there, boxes, numbers
            that are no class or coordinate, or nothing to read.
    """
    described = descriptions(root)
    if len(described) != 1:
        told = " and ".join(one.file.name for one in described) or "no data.yaml"
        mend = "keep one" if described else "write one, e.g. names: [polyp], train: images/train, val: images/val"
        raise InputError(f"{root}: has YOLO's label files and {told}; {mend}")
    names = [name for name, _ in walk_files(root)]
    pictures = [name for name in names if is_picture(name) and PurePosixPath(name).parts[0] != MASKS]
    find = finder(names)
    images, missing = _images(root, described[0], pictures, find)
    pages, labels = _pages(root, images, described[0], find, absent)
    used = {target for page in pages for target in page.outlines}
    targets = [name for name in described[0].names.values() if name in used or not used]
    read = {page.image for page in pages}
    listed = {image for _, image in images}
    kinds = (
        (sorted(listed - read), _NO_FILE),
        ([name for name in described[0].names.values() if name not in targets], "classes without any object"),
        ([name for name in pictures if name not in listed], "images in no split of " + described[0].file.name),
        ([name for name in _label_files(names) if name not in labels], "label files of no image in a split"),
    )
    return of_pages(pages, targets, Drawn(root, MASKS, below), [*missing, *not_used(kinds)], absent)


def _pages(
    root: Path,
    images: Sequence[tuple[str, str]],
    described: Description,
    find: Callable[[str], str | None],
    absent: bool,
) -> tuple[list[Page], set[str]]:
    """What is drawn in the images of which something is known, and the label files that say so."""
    read, owner = _Labels(), dict[str, str]()
    pages = []
    for split, image in images:
        label = find(label_of(image))
        if label is not None and owner.setdefault(label, image) != image:
            raise InputError(f"{root}: {owner[label]} and {image} share the labels {label}; keep one of the images")
        if label is not None or absent:
            pages.append(_page(root, split, image, label, described, read))
    if read.boxes:
        raise InputError(
            f"{read.boxes[0]}: has a box (class and four numbers), not an outline ({len(read.boxes)} of {read.lines} "
            "lines do); draw outlines, or take such images away with their label files"
        )
    if not owner:
        first = images[0][1]
        raise InputError(
            f"{root}: none of {len(images)} images has a label file; the one of {first} is {label_of(first)}"
        )
    return pages, set(owner)


def label_of(image: str) -> str:
    """The label file of an image: the last folder "images" becomes "labels", the suffix .txt."""
    folders = re.sub(r"(.*/|^)images/", r"\1labels/", image, count=1, flags=re.IGNORECASE)
    return str(PurePosixPath(folders).with_suffix(".txt"))


def _images(
    root: Path, described: Description, pictures: Sequence[str], find: Callable[[str], str | None]
) -> tuple[list[tuple[str, str]], list[str]]:
    """(split, image) of all that data.yaml names, and in words the splits that it names and that are not there."""
    found: dict[tuple[str, str], None] = {}
    missing = []
    for split in SPLITS:
        for value in described.places.get(split, ()):
            inside = _inside(root, described, value)
            if inside is None:
                missing.append(f"'{split}' of {described.file.name}: {value} is not there")
            elif inside.lower().endswith(".txt"):
                found |= {(split, name): None for name in _listed(root, described, inside, find)}
            else:
                prefix = "" if inside == "." else f"{inside}/"
                found |= {(split, name): None for name in pictures if name.startswith(prefix)}
    if not found:
        told = missing[0] if missing else "its folders hold no images"
        raise InputError(f"{described.file}: {told}; write where the images are, e.g. train: images/train")
    return list(found), missing


def _inside(root: Path, described: Description, value: str) -> str | None:
    """The place below `root` that data.yaml names, or None; what it says of another machine's folders does not count.

    "../train/images" is how Roboflow writes "train/images".
    """
    here = os.path.abspath(root)  # noqa: PTH100 - links inside the folder are followed only when files are read
    plain = value.removeprefix("../") if value.startswith("../") else value
    for base in dict.fromkeys((described.base, here)):
        for name in dict.fromkeys((plain, value)):
            path = os.path.normpath(os.path.join(base, name))  # noqa: PTH118 - see above
            if os.path.exists(path) and (path + os.sep).startswith(here + os.sep):  # noqa: PTH110
                return Path(path).relative_to(here).as_posix()
    return None


def _listed(root: Path, described: Description, file: str, find: Callable[[str], str | None]) -> list[str]:
    """The images that a text file lists, one a line."""
    lines = [line.strip().replace("\\", "/") for line in text_of(root / file).splitlines() if line.strip()]
    here = os.path.abspath(root)  # noqa: PTH100
    bases = dict.fromkeys((os.path.dirname(os.path.join(here, file)), described.base, here))  # noqa: PTH118, PTH120
    images: list[str] = []
    missing: list[str] = []
    for line in lines:
        paths = (os.path.normpath(os.path.join(base, line)) for base in bases)  # noqa: PTH118
        inside = [find(os.path.relpath(path, here).replace(os.sep, "/")) for path in paths]
        image = next((name for name in inside if name is not None), None)
        (missing if image is None else images).append(image or line)
    if missing:
        raise InputError(
            f"{root / file}: {missing[0]} is not there ({len(missing)} of {len(lines)} images are missing); write "
            "names as they lie below the folder of this file, or take them out"
        )
    return images


def text_of(file: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises:
        InputError: it is in another encoding, or cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{file}: is no text in UTF-8 ({error}); save it as UTF-8") from error


def _page(root: Path, split: str, image: str, label: str | None, described: Description, read: _Labels) -> Page:
    size = upright_size(root / image)
    outlines: dict[str, list[list[list[float]]]] = {}
    if label is None:
        return Page(image, image, size, outlines, split)
    file = root / label
    for number, line in enumerate(text_of(file).splitlines(), start=1):
        words = line.split()
        if words:
            read.lines += 1
            target, points = _line(f"{file}: line {number}", words, described, read)
            scaled = [value * size[1 - index % 2] for index, value in enumerate(points)]
            outlines.setdefault(target, []).append([scaled])
    return Page(image, str(file), size, outlines, split)


def _line(where: str, words: Sequence[str], described: Description, read: _Labels) -> tuple[str, list[float]]:
    """The target, and corners as x, y, ... in [0, 1]."""
    try:
        number, *points = (float(word) for word in words)
    except ValueError as error:
        raise InputError(f"{where}: holds something else than numbers ({error}); correct it") from error
    names: Mapping[int, str] = described.names
    if not number.is_integer() or int(number) not in names:
        raise InputError(
            f"{where}: class {words[0]} is not among the {len(names)} names of {described.file.name}; name it there, "
            "or correct the line"
        )
    if len(points) == 4:
        read.boxes.append(where)
    elif len(points) < 6 or len(points) % 2:
        raise InputError(
            f"{where}: {len(points)} numbers after the class are no outline (x y of three corners or more)"
        )
    odd: list[Any] = [word for word, value in zip(words[1:], points, strict=True) if not -SLACK <= value <= 1 + SLACK]
    if odd:
        raise InputError(
            f"{where}: {odd[0]} is no coordinate in [0, 1] ({len(odd)} such); divide x by the image's width and y by "
            "its height"
        )
    return names[int(number)], points
