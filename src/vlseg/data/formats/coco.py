"""COCO annotation files: categories as targets, all objects of a category in an image as one mask."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
from PIL import Image

from vlseg.data.entries import Entry
from vlseg.data.formats import Found, identified
from vlseg.data.formats.coco_files import Source, find_image, forget, sources, unlisted
from vlseg.data.formats.drawn import Drawn
from vlseg.data.formats.outlines import is_outline
from vlseg.data.splits import split_by_group
from vlseg.records import SPLITS, InputError

MASKS = "masks_from_coco"
"""Folder of the masks drawn from outlines."""
KEPT = (
    "id",
    "image_id",
    "group",
    "site",
    "spacing",
    "spacing_source",
    "attributes",
    "prompts",
    "prompt_sources",
    "reader",
)
"""Keys of our entries that annotations of ours carry along under "vlseg"."""


class _Picture(pydantic.BaseModel):
    id: int
    file_name: str
    width: int = pydantic.Field(gt=0, lt=100_000)
    height: int = pydantic.Field(gt=0, lt=100_000)


class _Object(pydantic.BaseModel):
    image_id: int
    category_id: int
    segmentation: Any = None
    vlseg: dict[str, Any] = {}


class _Category(pydantic.BaseModel):
    id: int
    name: str = pydantic.Field(min_length=1)


class _File(pydantic.BaseModel):
    images: list[_Picture]
    annotations: list[_Object]
    categories: list[_Category]


@dataclass(frozen=True)
class _Page:
    """One annotation file, checked: pictures and target names by number, and where each picture lies."""

    source: Source
    pictures: dict[int, _Picture]
    names: dict[int, str]
    objects: list[_Object]
    places: dict[int, Path]


def is_coco(root: Path) -> bool:
    """True when a JSON file has COCO's lists, and no masks/ says that it is another's extra.

    Looked for in the folder, in annotations/, and in folders named for a split.
    """
    return not (root / "masks").is_dir() and bool(sources(root))


def read_coco(root: Path, *, absent: bool = False, below: Path | None = None) -> Found:
    """Entries by split, names relative to `root`. Masks are drawn once to PNG files in masks_from_coco/.

    A whole word in a file's name, or its folder's, tells its split (train, val, test); where no file's does, images
    are split 80/10/10, seeded. An image without any object gets an empty mask of each target, and with `absent` so does
    every target that an image has no object of. `below` is where masks_from_coco/ is made instead, see `Drawn`.

    Raises:
        InputError: broken JSON, names that leave the split open, an annotation for an unknown image or category or
            without an outline, a missing image file, a segmentation that cannot be read, or no place to write.
    """
    try:
        found = sources(root)
        pages = [_page(root, source, _parse(source)) for source in found if not source.problem]
    finally:
        forget()
    left_out = [f"{source.file.relative_to(root)}: {source.problem}" for source in found if source.problem]
    if not pages:
        raise InputError(f"{root}: no COCO file can be used; {left_out[0]}")
    _check_splits(root, pages)
    _check_repeats(pages)
    used = {page.names[one.category_id] for page in pages for one in page.objects}
    unused = sorted({name for page in pages for name in page.names.values()} - used) if used else []
    if unused:
        left_out.append(f"{len(unused)} categories without any object: {', '.join(unused)}")
    left_out += unlisted(root, [place for page in pages for place in page.places.values()])
    drawn = Drawn(root, MASKS, below)
    by_split: dict[str, list[Entry]] = defaultdict(list)
    unsplit: list[Entry] = []
    for page in pages:
        inside = _entries(page, used or set(page.names.values()), drawn, absent)
        (by_split[page.source.split] if page.source.split else unsplit).extend(inside)
    if unsplit:
        splits = split_by_group([entry.group or entry.img_name for entry in unsplit], 0)
        for entry, split in zip(unsplit, splits, strict=True):
            by_split[split].append(entry)
    entries = {split: identified(split, by_split[split]) for split in SPLITS if split in by_split}
    return Found(entries, tuple(left_out), drawn.elsewhere, split_drawn=bool(unsplit))


def _parse(source: Source) -> _File:
    try:
        return _File.model_validate(source.content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{source.file}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error


def _page(root: Path, source: Source, content: _File) -> _Page:
    file = source.file
    _once(file, "image id", (picture.id for picture in content.images))
    _once(file, "file_name", (picture.file_name for picture in content.images))
    _once(file, "category id", (category.id for category in content.categories))
    _once(file, "category name", (category.name for category in content.categories))
    pictures = {picture.id: picture for picture in content.images}
    names = {category.id: category.name for category in content.categories}
    for words, strange in (
        ("image {0.image_id} is not in 'images'", [o for o in content.annotations if o.image_id not in pictures]),
        (
            "category {0.category_id} is not in 'categories'",
            [o for o in content.annotations if o.category_id not in names],
        ),
        (
            "image {0.image_id} has a box without an outline; draw outlines, or delete such objects and their images",
            [o for o in content.annotations if not is_outline(o.segmentation) and not o.vlseg.get("unlabelled")],
        ),
    ):
        if strange:
            count = f"{len(strange)} of {len(content.annotations)}"
            raise InputError(f"{file}: {count} annotations: {words.format(strange[0])}")
    for picture in content.images:
        if picture.width * picture.height > (Image.MAX_IMAGE_PIXELS or 2**27):
            raise InputError(f"{file}: image '{picture.file_name}': {picture.width}x{picture.height} is too large")
    places = {picture.id: find_image(root, source, picture.file_name) for picture in content.images}
    missing = [picture.file_name for picture in content.images if places[picture.id] is None]
    if missing:
        raise InputError(
            f"{file}: file_name '{missing[0]}' is found neither in {root} nor in images/ or {source.split or 'train'}/ "
            f"({len(missing)} of {len(pictures)} images are missing); put them there or take them out of the file"
        )
    return _Page(source, pictures, names, content.annotations, {key: place for key, place in places.items() if place})


def _once(file: Path, words: str, values: Iterable[Any]) -> None:
    value, count = next(iter(Counter(values).most_common(1)), (None, 0))
    if count > 1:
        raise InputError(f"{file}: {words} '{value}' stands {count} times; each must be there once")


def _check_splits(root: Path, pages: Sequence[_Page]) -> None:
    """Either all files name their split or none: images drawn into a split that a file already is would bias it."""
    without = [page.source.file for page in pages if page.source.split is None]
    if 0 < len(without) < len(pages):
        named = next(page.source.file for page in pages if page.source.split)
        raise InputError(
            f"{without[0]}: its name says no split, while {named.relative_to(root)} says one; give it a name with the "
            "word train, val or test, or move it away"
        )


def _check_repeats(pages: Sequence[_Page]) -> None:
    """One truth for each image, target and split: no two files say of one image where a category is."""
    for index, page in enumerate(pages):
        for other in pages[:index]:
            both = set(page.names.values()) & set(other.names.values())
            places = set(page.places.values()) & set(other.places.values())
            if both and places and page.source.split == other.source.split:
                raise InputError(
                    f"{page.source.file}: is about '{min(both)}' in {min(places)} ({len(places)} such images), as "
                    f"{other.source.file} is; keep one of the files"
                )


def _entries(page: _Page, targets: set[str], drawn: Drawn, absent: bool) -> list[Entry]:
    objects: dict[tuple[int, str, str], list[_Object]] = defaultdict(list)
    for one in page.objects:
        objects[(one.image_id, page.names[one.category_id], str(one.vlseg.get("id", "")))].append(one)
    here = [name for name in page.names.values() if name in targets]
    shown: dict[int, set[str]] = {image: set() for image in page.pictures}
    for image, target, _ in objects:
        shown[image].add(target)
    for image, found in shown.items():
        if absent or not found:
            objects |= {(image, target, ""): [] for target in here if target not in found}
    order = {image: index for index, image in enumerate(page.pictures)}
    keys = sorted(objects, key=lambda key: order[key[0]])
    return [_entry(page, key[0], key[1], objects[key], drawn) for key in keys]


def _entry(page: _Page, image: int, target: str, parts: list[_Object], drawn: Drawn) -> Entry:
    picture, place = page.pictures[image], page.places[image]
    where = f"{page.source.file}: image '{picture.file_name}'"
    kept = parts[0].vlseg if parts else {}
    values: dict[str, Any] = {
        "img_name": place.as_posix(),
        "target": target,
        "prompts": {"empty": "", "class": target},
        "prompt_sources": {"empty": ["none"], "class": ["class"]},
    }
    values |= {key: value for key, value in kept.items() if key in KEPT}
    if kept.get("unlabelled"):
        values["mask"] = None
    else:
        outlines = [part.segmentation for part in parts]
        size = (picture.height, picture.width)
        values["mask_name"] = drawn.outlines(place.as_posix(), target, outlines, size, where)
    try:
        return Entry.model_validate(values)
    except pydantic.ValidationError as error:
        raise InputError(f"{where}: 'vlseg' holds a wrong value ({error.error_count()})") from error
