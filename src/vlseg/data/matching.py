"""Which pictures of a source are masks, and of which image: by folders and names alone, the rest named and counted."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from vlseg.data.names import (
    READER_WORDS,
    Place,
    is_picture,
    mask_folder,
    mask_words,
    plain_stem,
    split_named,
    without_image_words,
    without_mask_words,
)
from vlseg.records import InputError

SHOWN = 3


@dataclass(frozen=True)
class Pair:
    """An image with one mask, by their paths. `target` and `reader` come from a folder inside the mask's folder."""

    image: Place
    mask: Place
    target: str | None = None
    reader: str | None = None


@dataclass(frozen=True)
class Matched:
    """Pairs in the order of images and masks, and what has no partner or was not chosen."""

    pairs: tuple[Pair, ...]
    images_alone: tuple[str, ...]
    masks_alone: tuple[str, ...]
    not_chosen: tuple[str, ...]

    def left_out(self) -> list[str]:
        """One line for each sort of picture that is not used."""
        sorts = (
            (self.images_alone, "images without a mask"),
            (self.masks_alone, "masks without an image"),
            (self.not_chosen, "masks of another sort than --masks chooses"),
        )
        return [counted(names, what) for names, what in sorts if names]


def counted(names: Sequence[str], what: str) -> str:
    """As in: 4 images without a mask, e.g. a.png, b.png, c.png."""
    return f"{len(names)} {what}, e.g. {', '.join(names[:SHOWN])}"


def match(names: Iterable[str], where: str, masks: str | None = None) -> Matched:
    """The masks of each image.

    A mask is what lies in a folder that says so ("masks", "gt", "1st_manual"), the innermost folder that speaks
    deciding, or bears a name that says so ("a_mask.png"); folders that all pictures share do not count. A mask belongs
    to the image of its name (words like "mask" and "img" cut off where the names differ otherwise) in the folders it
    shares; folders inside a mask's folder are targets or readers. Numbered masks ("a_mask_1") are parts of one.

    Args:
        names: paths of all files of the source.
        where: the source, for errors.
        masks: takes for masks only the files in folders of this name (or path), or that fit this pattern ("*_seg.*").

    Raises:
        InputError: two images of one name, a mask that fits two images, an image with two sorts of masks, or
            nothing of the name `masks`.
    """
    pictures = sorted(name for name in names if is_picture(name))
    if masks is not None and not any(_chosen(name, masks) for name in pictures):
        folders = sorted({PurePosixPath(name).parent.as_posix() for name in pictures})
        raise InputError(f"--masks: {where} has no pictures in '{masks}' (it has {', '.join(folders[:9]) or 'none'})")
    places = _places(pictures, masks)
    images = [place for place in places if not place.is_mask]
    _check_twice(images, where)
    find = _finder(images, where)
    found: dict[str, list[tuple[Place, Pair]]] = defaultdict(list)
    alone, unchosen = [], []
    for mask in places:
        if not mask.is_mask:
            continue
        if masks is not None and not _chosen(mask.path, masks):
            unchosen.append(mask.path)
            continue
        image = find(mask)
        if image is None:
            alone.append(mask.path)
        else:
            found[image.path].append((mask, _pair(image, mask)))
    for inside in found.values():
        _check_sorts(inside, where, found)
    pairs = tuple(pair for image in images for _, pair in found.get(image.path, ()))
    images_alone = tuple(image.path for image in images if image.path not in found)
    return Matched(pairs, images_alone, tuple(alone), tuple(unchosen))


def _chosen(path: str, masks: str) -> bool:
    pure = PurePosixPath(path)
    if any(character in masks for character in "*?["):
        return fnmatchcase(pure.name.lower(), masks.lower()) or fnmatchcase(path.lower(), masks.lower())
    return f"/{masks.strip('/').lower()}/" in f"/{pure.parent.as_posix().lower()}/"


def _places(pictures: Sequence[str], masks: str | None) -> list[Place]:
    folders = {path: PurePosixPath(path).parts[:-1] for path in pictures}
    shared = _shared(list(folders.values()))
    beside = {(inside, plain_stem(PurePosixPath(path).name).casefold()) for path, inside in folders.items()}
    return [_place(path, inside, shared, beside, masks) for path, inside in folders.items()]


def _shared(folders: Sequence[tuple[str, ...]]) -> int:
    """How many outer folders all pictures share."""
    count = 0
    while folders and all(len(inside) > count and inside[count] == folders[0][count] for inside in folders):
        count += 1
    return count


def _place(
    path: str,
    folders: tuple[str, ...],
    shared: int,
    beside: set[tuple[tuple[str, ...], str]],
    masks: str | None,
) -> Place:
    stem = plain_stem(PurePosixPath(path).name)
    inner = folders[shared:]
    said = mask_folder(inner)
    plain = without_mask_words(stem)
    is_affixed = plain != stem
    is_mask = said[0] if said else is_affixed
    if said and not said[0] and is_affixed and (folders, plain.casefold()) in beside:
        is_mask, said = True, None
    context, kind = list(inner), ""
    if said:
        kind = "/".join(inner[: said[1] + 1])
        del context[said[1]]
    if masks is not None and _chosen(path, masks):
        is_mask = True
        wanted = [part for part in masks.strip("/").split("/") if not any(c in part for c in "*?[")]
        context = [part for part in context if part.lower() not in {word.lower() for word in wanted}]
        kind = masks
    words = mask_words(stem) if is_mask else ""
    return Place(path, is_mask, tuple(map(_composed, context)), (kind, words), stem, split_named(folders))


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _check_twice(images: Sequence[Place], where: str) -> None:
    seen: dict[tuple[str, str], str] = {}
    for image in images:
        key = (PurePosixPath(image.path).parent.as_posix(), image.stem)
        if key in seen:
            raise InputError(f"{where}: {image.path} has the same stem as {seen[key]}; keep one of them")
        seen[key] = image.path


def _finder(images: Sequence[Place], where: str) -> Callable[[Place], Place | None]:
    """The image of a mask: by the same name first, then without regard to case, then without affixes."""
    of_image: tuple[Callable[[str], str], ...] = (str, str.casefold, lambda s: without_image_words(s).casefold())
    of_mask: tuple[tuple[int, Callable[[str], str]], ...] = (
        (0, str),
        (1, str.casefold),
        (1, lambda stem: without_mask_words(stem).casefold()),
        (2, lambda stem: without_image_words(without_mask_words(stem)).casefold()),
    )
    by_key: list[dict[str, list[Place]]] = [defaultdict(list) for _ in of_image]
    for image in images:
        for index, key in zip(by_key, of_image, strict=True):
            index[key(image.stem)].append(image)

    def find(mask: Place) -> Place | None:
        for level, key in of_mask:
            fitting = [image for image in by_key[level].get(key(mask.stem), ()) if _may_belong(image, mask)]
            if fitting:
                return _nearest(fitting, mask, where)
        return None

    return find


def _may_belong(image: Place, mask: Place) -> bool:
    """A mask's folders hold all of its image's, or its image's all of the mask's."""
    if image.split and mask.split and image.split != mask.split:
        return False
    one, two = Counter(image.context), Counter(mask.context)
    return one <= two or two <= one


def _nearest(images: Sequence[Place], mask: Place, where: str) -> Place:
    def shared(image: Place) -> int:
        return (Counter(image.context) & Counter(mask.context)).total()

    most = max(shared(image) for image in images)
    best = [image for image in images if shared(image) == most]
    if len(best) > 1:
        raise InputError(
            f"{where}: the mask {mask.path} fits {best[0].path} and {best[1].path}; "
            "put masks into folders named like their images', or take one of the images away"
        )
    return best[0]


def _pair(image: Place, mask: Place) -> Pair:
    own = (Counter(mask.context) - Counter(image.context)).elements()
    folder = "/".join(part for part in own if split_named((part,)) is None)
    if not folder:
        return Pair(image, mask)
    if folder.lower().startswith(READER_WORDS):
        return Pair(image, mask, reader=folder)
    return Pair(image, mask, target=folder.replace("_", " "))


def _check_sorts(inside: Sequence[tuple[Place, Pair]], where: str, found: dict[str, list[tuple[Place, Pair]]]) -> None:
    """Masks of one image, target and reader are of one sort, and several only where they are numbered."""
    first: dict[tuple[str | None, str | None], Place] = {}
    stems: dict[tuple[str | None, str | None, str], Place] = {}
    for mask, pair in inside:
        key = (pair.target, pair.reader)
        other = first.setdefault(key, mask)
        if other.kind != mask.kind:
            count = sum(len({mask.kind for mask, _ in masks}) > 1 for masks in found.values())
            raise InputError(
                f"{where}: {count} images have two sorts of masks, e.g. {other.path} and {mask.path}; "
                f"{_mend(other, mask)}"
            )
        twin = stems.setdefault((*key, mask.stem.casefold()), mask)
        if twin is not mask:
            raise InputError(f"{where}: {mask.path} and {twin.path} are masks of one image; keep one of them")


def _mend(one: Place, other: Place) -> str:
    """How to choose between the two."""
    chosen = [_pattern(one, other), _pattern(other, one)]
    named = " or ".join(f"--masks {pattern}" for pattern in chosen if pattern)
    return f"choose one with {named}" if named else "keep one of them"


def _pattern(mask: Place, other: Place) -> str:
    """What --masks must say to choose this sort and not the other; empty when no word tells."""
    parts, others = PurePosixPath(mask.path).parts[:-1], PurePosixPath(other.path).parts[:-1]
    own = [part for part in parts if part not in others]
    if own:
        return own[-1] if own[-1].replace("_", "").isalnum() else f"'{own[-1]}'"
    return f"'*{mask.kind[1]}*'" if mask.kind[1] and mask.kind[1] not in other.stem.lower() else ""
