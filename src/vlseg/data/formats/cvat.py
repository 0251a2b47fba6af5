"""CVAT's XML of image tasks ("CVAT for images 1.1"): labels as targets, all shapes of one in an image as one mask."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element

from vlseg.data.archives import walk_files
from vlseg.data.formats import Found
from vlseg.data.formats.coco_files import split_of
from vlseg.data.formats.drawn import Drawn, check_size
from vlseg.data.formats.lookup import finder
from vlseg.data.formats.pages import Page, folder_split, not_used, of_pages
from vlseg.data.names import is_picture, plain_stem
from vlseg.data.safe_xml import first_elements, parse_xml
from vlseg.records import InputError

MASKS = "masks_from_cvat"
"""Folder of the masks drawn from shapes."""
_NOT_OUTLINES = ("polyline", "points", "ellipse", "cuboid", "skeleton")
_NO_SHAPE = 'images without a shape (not annotated, or nothing there? "absent": true in dataset.json says nothing)'
_DEFAULT = "default"
"""CVAT's folder of images of no subset."""
_UNDEFINED = "__undefined__"
"""The value of an attribute that nobody has set."""
Find = Callable[[str], str | None]


@dataclass
class _Seen:
    """What the files hold beside outlines."""

    pages: list[Page] = field(default_factory=list)
    shapes: int = 0
    other: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


def is_cvat(root: Path) -> bool:
    """True when an XML file of CVAT's lies there, and no masks/ says that it is another's extra."""
    return not (root / "masks").is_dir() and any(_is_one(file) for _, file in _files(root))


def _files(root: Path) -> list[tuple[str, Path]]:
    return [(name, file) for name, file in walk_files(root) if name.lower().endswith(".xml") and file.is_file()]


def _is_one(file: Path) -> bool:
    with file.open("rb") as stream:
        tags = first_elements(stream.read(1 << 16), 2)
    return tags[:1] == ["annotations"] and tags[1:] in (["version"], ["meta"], ["image"], ["track"])


def read_cvat(root: Path, *, absent: bool = False, below: Path | None = None) -> Found:
    """Entries by split, names relative to `root`. Masks are drawn once to PNG files in masks_from_cvat/.

    An image's subset tells its split, else its task's, else a folder of its name or the XML file's own name; where
    nothing does, images are split 80/10/10, seeded. CVAT lists every image of a task, whether anybody looked at it
    or not: one without a shape is left out and named. With `absent` it gets an empty mask of each label instead, and
    every other image one of each that it lacks. Attributes on which all shapes of a label in an image agree become the
    entry's, with the source "label". `below` is where masks_from_cvat/ is made instead, see `Drawn`.

    Raises:
        InputError: broken XML, a file of a video task, shapes without an area (polylines, points ...) or that cannot be
            read, an image that is not there, of another size or named twice, or subsets that tell the split of some
            images only.
    """
    names = [name for name, _ in walk_files(root)]
    pictures = [name for name in names if is_picture(name) and PurePosixPath(name).parts[0] != MASKS]
    find = _pictures_by_name(pictures)
    seen = _Seen()
    files = [(name, file) for name, file in _files(root) if _is_one(file)]
    for name, file in files:
        _read_file(root, name, file, find, seen)
    _refuse_other(files[0][1], seen)
    used = {target for page in seen.pages for target in page.outlines}
    targets = [label for label in dict.fromkeys(seen.labels) if label in used or not used]
    kept = [page for page in seen.pages if page.outlines or (absent and targets)]
    if not kept:
        raise InputError(f"{files[0][1]}: none of {len(seen.pages)} images has a shape; annotate some")
    listed = {page.image for page in seen.pages}
    kinds = (
        ([page.image for page in seen.pages if not page.outlines and not absent], _NO_SHAPE),
        ([label for label in dict.fromkeys(seen.labels) if label not in targets], "labels without any shape"),
        (seen.tags, "tags, which outline nothing"),
        ([name for name in pictures if name not in listed], "images that no annotation file names"),
    )
    return of_pages(kept, targets, Drawn(root, MASKS, below), not_used(kinds), absent)


def _pictures_by_name(pictures: Sequence[str]) -> Find:
    """Finds a picture by its path; frames of videos are named without the suffix that they are saved with."""
    whole, stems = finder(pictures), defaultdict(list)
    for name in pictures:
        stems[plain_stem(name)].append(name)

    def find(path: str) -> str | None:
        without_suffix = [] if is_picture(path) else stems.get(path, [])
        return whole(path) or (without_suffix[0] if len(without_suffix) == 1 else None)

    return find


def _refuse_other(file: Path, seen: _Seen) -> None:
    if seen.other:
        raise InputError(
            f"{seen.other[0]}; polygons, rectangles and masks are read ({len(seen.other)} of {seen.shapes} shapes are "
            "of other kinds); draw it as one of these, or delete it"
        )
    if seen.missing:
        raise InputError(
            f"{file}: image '{seen.missing[0]}' is found neither beside the file nor in images/ ({len(seen.missing)} "
            f"of {len(seen.missing) + len(seen.pages)} images are missing); put them there or take them out of the file"
        )


def _read_file(root: Path, name: str, file: Path, find: Find, seen: _Seen) -> None:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    xml = parse_xml(content, str(file))
    if xml.find("track") is not None:
        raise InputError(f"{file}: holds a video task's tracks; export it from CVAT as 'CVAT for images 1.1'")
    seen.labels += [
        label.text.strip() for label in xml.iterfind("meta//label/name") if label.text and label.text.strip()
    ]
    task = (xml.findtext("meta/task/subset") or "").strip()
    folder = PurePosixPath(name).parent
    known = {page.image: page.where for page in seen.pages}
    for image in xml.iterfind("image"):
        named = _text(image, "name", f"{file}: an image").replace("\\", "/")
        where = f"{file}: image '{named}'"
        subset = (image.get("subset") or task).strip()
        place = _place(where, folder, named, subset, find)
        if place is None:
            seen.missing.append(named)
            continue
        if place in known:
            raise InputError(f"{where}: is {place}, which stands twice ({known[place]}); keep one")
        known[place] = where
        split = split_of(subset) or folder_split(place) or split_of(PurePosixPath(name).stem)
        seen.pages.append(_page(root, image, place, where, split, seen))


def _place(where: str, folder: PurePosixPath, named: str, subset: str, find: Find) -> str | None:
    """The image below the dataset: in CVAT's folder of its subset, in images/, or beside the file."""
    if named.startswith("/") or ".." in PurePosixPath(named).parts:
        raise InputError(f"{where}: the name leads out of the dataset folder; use names below it")
    images = folder / "images"
    own = (images / subset, folder / subset) if subset else ()
    for folders in (own, (images, folder), (images / _DEFAULT,)):
        found = dict.fromkeys(place for one in folders if (place := find((one / named).as_posix())) is not None)
        if len(found) > 1:
            raise InputError(f"{where}: is found as {' and as '.join(found)}; keep one")
        if found:
            return next(iter(found))
    return None


def _page(root: Path, image: Element, place: str, where: str, split: str | None, seen: _Seen) -> Page:
    size = (int(_number(image, "height", where)), int(_number(image, "width", where)))
    if not (0 < size[0] < 100_000 and 0 < size[1] < 100_000):
        raise InputError(f"{where}: has the size {size[1]}x{size[0]}; correct width and height")
    outlines: dict[str, list[Any]] = defaultdict(list)
    attributes: dict[str, list[dict[str, str]]] = defaultdict(list)
    for shape in image:
        label = _text(shape, "label", where)
        if shape.tag == "tag":
            seen.tags.append(f"'{label}' of {place}")
            continue
        seen.shapes += 1
        if shape.tag not in ("polygon", "box", "mask"):
            kind = shape.tag if shape.tag in _NOT_OUTLINES else f"'{shape.tag}'"
            seen.other.append(f"{where}: a '{label}' is drawn as {kind}")
            continue
        outlines[label].append(_outline(shape, where))
        attributes[label].append({a.get("name", ""): (a.text or "").strip() for a in shape.iterfind("attribute")})
        seen.labels.append(label)
    check_size(root / place, size, where)
    return Page(place, where, size, outlines, split, {label: _agreed(inside) for label, inside in attributes.items()})


def _agreed(shapes: Sequence[dict[str, str]]) -> dict[str, str]:
    """Attributes of the first shape that all others share."""
    return {
        name: value
        for name, value in shapes[0].items()
        if name and value not in ("", _UNDEFINED) and all(shape.get(name) == value for shape in shapes)
    }


def _outline(shape: Element, where: str) -> Any:
    """The shape as `vlseg.data.formats.outlines.decode` takes it."""
    if shape.tag == "polygon":
        pairs = [pair.split(",") for pair in _text(shape, "points", where).strip(";").split(";")]
        return [[_float(value, "points", where) for pair in pairs for value in pair]]
    if shape.tag == "box":
        return [_corners(shape, where)]
    code = {key: int(_number(shape, key, where)) for key in ("left", "top", "width", "height")}
    runs = [_float(run, "rle", where) for run in _text(shape, "rle", where).split(",")]
    if not all(run.is_integer() for run in runs):
        raise InputError(f"{where}: a mask's rle must be whole numbers; export it anew")
    return code | {"rle": [int(run) for run in runs]}


def _corners(box: Element, where: str) -> list[float]:
    """The corners as x, y, ..., turned clockwise about the middle by `rotation` degrees."""
    left, top, right, bottom = (_number(box, key, where) for key in ("xtl", "ytl", "xbr", "ybr"))
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    angle = math.radians(_float(box.get("rotation") or "0", "rotation", where))
    if angle == 0:
        return [value for corner in corners for value in corner]
    x0, y0, cos, sin = (left + right) / 2, (top + bottom) / 2, math.cos(angle), math.sin(angle)
    turned = ((x0 + (x - x0) * cos - (y - y0) * sin, y0 + (x - x0) * sin + (y - y0) * cos) for x, y in corners)
    return [value for corner in turned for value in corner]


def _text(element: Element, key: str, where: str) -> str:
    value = (element.get(key) or "").strip()
    if not value:
        raise InputError(f"{where}: a {element.tag} has no '{key}'; export it anew")
    return value


def _number(element: Element, key: str, where: str) -> float:
    return _float(_text(element, key, where), key, where)


def _float(text: str, key: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise InputError(f"{where}: '{key}' holds '{text.strip()}', which is no number; correct it") from error
    if not math.isfinite(value):
        raise InputError(f"{where}: '{key}' holds '{text.strip()}'; numbers must be finite")
    return value
