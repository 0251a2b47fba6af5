"""labelme's JSON files, one beside each image: labels as targets, all shapes of a label in an image as one mask."""

import base64
import io
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
import pydantic
from PIL import Image, UnidentifiedImageError

from vlseg.data.archives import walk_files
from vlseg.data.formats import Found
from vlseg.data.formats.drawn import Drawn, check_size
from vlseg.data.formats.pages import Page, folder_split, not_used, of_pages
from vlseg.data.names import is_picture
from vlseg.records import InputError, read_json

MASKS = "masks_from_labelme"
"""Folder of the masks drawn from outlines."""

_Side = Annotated[int, pydantic.Field(gt=0, lt=100_000)]


class _Shape(pydantic.BaseModel):
    label: Annotated[str, pydantic.Field(min_length=1)]
    points: list[tuple[float, float]]
    shape_type: str = "polygon"
    mask: str | None = None


class _Page(pydantic.BaseModel):
    image: Annotated[str, pydantic.Field(alias="imagePath", min_length=1)]
    height: Annotated[_Side, pydantic.Field(alias="imageHeight")]
    width: Annotated[_Side, pydantic.Field(alias="imageWidth")]
    shapes: list[_Shape]


def is_labelme(root: Path) -> bool:
    """True when a JSON file of labelme's lies there, and no masks/ says that it is another's extra."""
    if (root / "masks").is_dir():
        return False
    return any(_content(file) is not None for _, file in walk_files(root) if file.suffix.lower() == ".json")


def read_labelme(root: Path, *, absent: bool = False, below: Path | None = None) -> Found:
    """Entries by split, names relative to `root`. Masks are drawn once to PNG files in masks_from_labelme/.

    Folders named train, val or test tell the split; where none does, images are split 80/10/10, seeded. An image
    with a file of no shapes gets an empty mask of each label, and with `absent` every image of each that it lacks; an
    image without a file is left out and named. `below` is where masks_from_labelme/ is made instead, see `Drawn`.

    Raises:
        InputError: a broken file, a shape that is neither polygon, rectangle nor mask, or that lies outside, two files
            about one image, a missing image, or folders that tell the split of some images only.
    """
    files = [file for _, file in walk_files(root) if file.suffix.lower() == ".json"]
    pages: dict[str, tuple[Path, _Page]] = {}
    strange = []
    for file in files:
        content = _content(file)
        if content is None:
            strange += [file.relative_to(root).as_posix()] if file.name != "dataset.json" else []
            continue
        page = _parsed(file, content)
        image = _image(root, file, page.image)
        if image in pages:
            raise InputError(f"{file}: is about {image}, as {pages[image][0].name} is; keep one of the files")
        pages[image] = file, page
    targets = sorted({shape.label for _, page in pages.values() for shape in page.shapes})
    if not targets:
        raise InputError(f"{root}: no labelme file has a shape")
    alone = [
        name
        for name, _ in walk_files(root)
        if is_picture(name) and name not in pages and PurePosixPath(name).parts[0] != MASKS
    ]
    left_out = not_used(
        ((alone, "images without a labelme file"), (strange, "JSON files that are not labelme's")),
    )
    read = [_read_page(root, image, file, page) for image, (file, page) in sorted(pages.items())]
    return of_pages(read, targets, Drawn(root, MASKS, below), left_out, absent)


def _content(file: Path) -> dict[str, Any] | None:
    values = read_json(file, "")
    return values if isinstance(values, dict) and {"shapes", "imagePath"} <= values.keys() else None


def _parsed(file: Path, content: dict[str, Any]) -> _Page:
    try:
        return _Page.model_validate({key: value for key, value in content.items() if key != "imageData"})
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{file}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error


def _image(root: Path, file: Path, name: str) -> str:
    """The image's name below the folder: where imagePath says, or beside the file."""
    plain = name.replace("\\", "/")
    for path in (file.parent / plain, file.parent / PurePosixPath(plain).name):
        if path.is_file() and path.resolve().is_relative_to(root.resolve()):
            return path.resolve().relative_to(root.resolve()).as_posix()
    raise InputError(f"{file}: its image {name} is not there; put it beside the file, or take the file away")


def _read_page(root: Path, image: str, file: Path, page: _Page) -> Page:
    outlines: dict[str, list[Any]] = defaultdict(list)
    for shape in page.shapes:
        drawn = shape.shape_type == "mask" and shape.mask is not None
        outlines[shape.label].append(_cut_out(file, shape) if drawn else [_outline(file, shape)])
    size = (page.height, page.width)
    check_size(root / image, size, str(file))
    return Page(image, str(file), size, outlines, folder_split(image))


def _outline(file: Path, shape: _Shape) -> list[float]:
    """The corners as x, y, x, y, ..."""
    if shape.shape_type == "rectangle" and len(shape.points) == 2:
        (x0, y0), (x1, y1) = shape.points
        return [x0, y0, x1, y0, x1, y1, x0, y1]
    if shape.shape_type != "polygon":
        raise InputError(
            f"{file}: a '{shape.label}' is a {shape.shape_type} of {len(shape.points)} points; draw it as a polygon"
        )
    return [value for point in shape.points for value in point]


def _cut_out(file: Path, shape: _Shape) -> dict[str, Any]:
    """The pixels of a mask (labelme's AI-Mask), a PNG of its box, as `vlseg.data.formats.outlines.decode` takes it."""
    where = f"{file}: a '{shape.label}' is a mask"
    try:
        with Image.open(io.BytesIO(base64.b64decode(shape.mask or "", validate=True)), formats=("PNG",)) as image:
            inside = np.asarray(image.convert("L")) > 0
        (left, top), (right, bottom) = ((int(x), int(y)) for x, y in shape.points)
    except (ValueError, OverflowError, OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"{where} that cannot be read ({' '.join(str(error).split())}); draw it anew") from error
    height, width = inside.shape
    if (right - left + 1, bottom - top + 1) != (width, height):
        raise InputError(f"{where} of {width}x{height}, its corners are of another size; draw it anew")
    changes = np.flatnonzero(np.diff(inside.ravel(), prepend=False))
    runs = np.diff(np.concatenate([[0], changes, [inside.size]]))
    return {"rle": runs.tolist(), "left": left, "top": top, "width": width, "height": height}
