"""COCO annotation files: categories as targets, all objects of a category in an image as one mask."""

import json
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
from PIL import Image

from vlseg.data.entries import Entry
from vlseg.data.masks import Mask
from vlseg.data.splits import split_by_group
from vlseg.records import SPLITS, InputError, read_json, replacing

MASKS = "masks_from_coco"
"""Folder of the rasterised masks."""
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
    segmentation: Any
    vlseg: dict[str, Any] = {}


class _Category(pydantic.BaseModel):
    id: int
    name: str


class _File(pydantic.BaseModel):
    images: list[_Picture]
    annotations: list[_Object]
    categories: list[_Category]
    vlseg: dict[str, Any] = {}


def is_coco(root: Path) -> bool:
    """True when a JSON file here or in annotations/ has COCO's lists, and no masks/ says that it is another's extra."""
    return not (root / "masks").is_dir() and bool(_files(root))


def _files(root: Path) -> list[Path]:
    found = []
    for file in sorted([*root.glob("*.json"), *(root / "annotations").glob("*.json")]):
        with file.open("rb") as stream:
            head = stream.read(1 << 20)
        if (
            file.name != "dataset.json"
            and b'"images"' in head
            and (b'"annotations"' in head or b'"categories"' in head)
        ):
            found.append(file)
    return found


def read_coco(root: Path) -> dict[str, list[Entry]]:
    """Entries by split, names relative to `root`. Masks are rasterised once, to PNG files in masks_from_coco/.

    A file's name tells its split (train, val, test); where none does, images are split 80/10/10, seeded.
    An image without any object gets an empty mask when there is only one category.

    Raises:
        InputError: broken JSON, an annotation for an unknown image or category, a missing image file, a
            segmentation that cannot be read, or a folder that cannot be written.
    """
    files = _files(root)
    by_split: dict[str, list[Entry]] = defaultdict(list)
    unsplit: list[Entry] = []
    for file in files:
        entries = _entries(root, file)
        split = next((split for split in SPLITS if split in file.stem.lower()), None)
        (by_split[split] if split else unsplit).extend(entries)
    if unsplit:
        splits = split_by_group([entry.group or entry.img_name for entry in unsplit], 0)
        for entry, split in zip(unsplit, splits, strict=True):
            by_split[split].append(entry)
    return {split: by_split[split] for split in SPLITS if split in by_split}


def _entries(root: Path, file: Path) -> list[Entry]:
    content = _parse(file)
    pictures = {picture.id: picture for picture in content.images}
    names = {category.id: category.name for category in content.categories}
    objects: dict[tuple[int, int, str], list[_Object]] = defaultdict(list)
    for index, one in enumerate(content.annotations):
        if one.image_id not in pictures:
            raise InputError(f"{file}: annotation {index}: image {one.image_id} is not in 'images'")
        if one.category_id not in names:
            raise InputError(f"{file}: annotation {index}: category {one.category_id} is not in 'categories'")
        objects[(one.image_id, one.category_id, str(one.vlseg.get("id", "")))].append(one)
    if len(names) == 1:
        drawn = {image for image, _, _ in objects}
        for image in pictures.keys() - drawn:
            objects[(image, next(iter(names)), "")] = []
    order = {image: index for index, image in enumerate(pictures)}
    return [
        _entry(root, file, pictures[image], names[category], parts)
        for (image, category, _), parts in sorted(objects.items(), key=lambda item: order[item[0][0]])
    ]


def _parse(file: Path) -> _File:
    try:
        return _File.model_validate(read_json(file, ""))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{file}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error


def _entry(root: Path, file: Path, picture: _Picture, target: str, parts: list[_Object]) -> Entry:
    image = _image(root, file, picture.file_name)
    kept = parts[0].vlseg if parts else {}
    # Several entries of one target in one image are told apart by their ids.
    suffix = f"_{zlib.crc32(str(kept['id']).encode()):08x}" if "id" in kept else ""
    stem = image.with_suffix("").as_posix().replace("/", "_")
    name = f"{MASKS}/{stem}_{target.replace(' ', '_').replace('/', '_')}{suffix}.png"
    unlabelled = bool(kept.get("unlabelled"))
    if not unlabelled:
        _rasterise(root, file, root / name, picture, parts)
    values: dict[str, Any] = {
        "img_name": image.as_posix(),
        "target": target,
        "prompts": {"empty": "", "class": target},
        "prompt_sources": {"empty": ["none"], "class": ["class"]},
    }
    values |= {key: value for key, value in kept.items() if key in KEPT}
    values |= {"mask": None} if unlabelled else {"mask_name": name}
    try:
        return Entry.model_validate(values)
    except pydantic.ValidationError as error:
        raise InputError(
            f"{file}: image '{picture.file_name}': 'vlseg' holds a wrong value ({error.error_count()})"
        ) from error


def _image(root: Path, file: Path, name: str) -> Path:
    """The picture relative to `root`, wherever COCO's users put it."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"{file}: file_name '{name}' leads out of the dataset folder")
    split = next((split for split in SPLITS if split in file.stem.lower()), "")
    folders = ("", "images", split, f"images/{split}", f"{split}2017", f"images/{split}2017")
    for folder in folders:
        if (root / folder / name).is_file():
            return Path(folder) / name
    raise InputError(f"{file}: file_name '{name}' is found neither in {root} nor in images/ or {split or 'train'}/")


def _rasterise(root: Path, file: Path, path: Path, picture: _Picture, parts: list[_Object]) -> None:
    if path.exists() and path.stat().st_mtime >= file.stat().st_mtime:
        return
    mask = np.zeros((picture.height, picture.width), dtype=bool)
    for part in parts:
        mask |= decode(part.segmentation, (picture.height, picture.width), f"{file}: image '{picture.file_name}'")
    try:
        with replacing(path) as temporary:
            Image.fromarray(mask.astype(np.uint8) * 255).save(temporary, format="PNG")
    except InputError as error:
        raise InputError(
            f"{root}: cannot be written, where masks of COCO files go; run vlseg data convert {root} --to medvlsm "
            f"--out DIR on a copy ({error})"
        ) from error


def decode(segmentation: Any, size: tuple[int, int], where: str) -> Mask:
    """The mask (H, W) of polygons, or of a plain or compressed run-length code.

    Raises:
        InputError: none of these, or of another size.
    """
    from pycocotools import mask as coco

    height, width = size
    if isinstance(segmentation, dict):
        counts, shape = segmentation.get("counts"), segmentation.get("size")
        if shape != [height, width]:
            raise InputError(f"{where}: its run-length code is for {shape}, the image is {[height, width]} (H, W)")
        if isinstance(counts, list) and all(isinstance(run, int) and run >= 0 for run in counts):
            if sum(counts) != height * width:
                raise InputError(f"{where}: its run-length code covers {sum(counts)} pixels, not {height * width}")
            runs = np.repeat(np.arange(len(counts)) % 2, counts)
            return np.asarray(runs.reshape(width, height).T, dtype=bool)
        if isinstance(counts, str):
            return np.asarray(coco.decode({"size": [height, width], "counts": counts.encode()}), dtype=bool)
    polygons = segmentation if isinstance(segmentation, list) else []
    flat = [polygon for polygon in polygons if isinstance(polygon, list)]
    numeric = all(isinstance(value, int | float) for polygon in flat for value in polygon)
    if not flat or not numeric or any(len(polygon) < 6 or len(polygon) % 2 for polygon in flat):
        raise InputError(
            f"{where}: its segmentation is neither polygons (x, y, ... of three points or more) nor a code"
        )
    return np.asarray(coco.decode(coco.merge(coco.frPyObjects(flat, height, width))), dtype=bool)


def encode(mask: Mask) -> dict[str, Any]:
    """A mask (H, W) as compressed run-length code, which loses nothing."""
    from pycocotools import mask as coco

    found = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(length) for length in found["size"]], "counts": found["counts"].decode()}


def write_json(path: Path, values: Any) -> None:
    """JSON, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, ensure_ascii=False) + "\n", encoding="utf-8")
