"""What folder and file names say of a picture: image or mask, split, patient, and the plain name below the affixes."""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import PurePosixPath

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".pbm"}
)
READER_WORDS = ("reader", "rater", "annotator", "observer", "expert")

_MASK_FOLDER = re.compile(
    r"mask|(?<!un)label|\bgt\b|_gt\b|gt_|ground[ _-]?truth|segmentation|annot|manual|lesion[ _-]?map"
    r"|(?:^|[^a-z])segs?(?:$|[^a-z])",
    re.IGNORECASE,
)
_IMAGE_FOLDER = re.compile(
    r"(?:^|[^a-z])(?:images?|imgs?|jpegimages|scans?|originals?|raw|photos?|pictures?)(?:$|[^a-z])", re.IGNORECASE
)
_PLAIN_MASK = re.compile(r"masks?|labels?|gts?|ground[ _-]?truth|annotations?", re.IGNORECASE)
_PLAIN_IMAGE = re.compile(r"images?|imgs?|originals?", re.IGNORECASE)
_MASK_AFFIX = re.compile(
    r"^(?:mask|label|gt|seg)(?:[ _-]|(?=\d))"
    r"|[ _-]?(?:masks?|labels?|gt|seg|segmentation|ground[ _-]?truth|manual\d?|\d(?:st|nd|rd)ho)(?:[ _-]?\d+)?$",
    re.IGNORECASE,
)
_IMAGE_AFFIX = re.compile(
    r"^(?:image|img|im)(?:[ _-]|(?=\d))"
    r"|[ _-](?:image|img|training|train|testing|test|validation|val|original|orig|raw)$",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
_SPLIT_COMPANY = frozenset({"set", "data", "dataset", "folder", "images", "image", "imgs", "masks", "mask", "split"})
_PATIENT = re.compile(
    r"(?:patient|pat|subject|subj|sub|case|video|vid|sequence|seq|study|exam|person|p)[ _-]?\d+", re.IGNORECASE
)


@dataclass(frozen=True)
class Place:
    """A picture by its path.

    Attributes:
        path: in the source.
        is_mask: whether it is taken for a mask.
        context: its folders, without those that only say image or mask.
        kind: what tells this sort of mask from others: the mask folder, and the affix of its name.
        stem: its name without suffix, in composed Unicode (macOS writes it decomposed).
        split: that its folders name, or None.
    """

    path: str
    is_mask: bool
    context: tuple[str, ...]
    kind: tuple[str, str]
    stem: str
    split: str | None


def plain_stem(name: str) -> str:
    """The name without an image's suffix, folders kept, in composed Unicode. Other dots belong to the name."""
    plain = unicodedata.normalize("NFC", name.replace("\\", "/"))
    path = PurePosixPath(plain)
    return path.with_suffix("").as_posix() if name and path.suffix.lower() in SUFFIXES else plain


def is_picture(path: str) -> bool:
    """True for the names of images that can be read; hidden ones are copies that editors leave."""
    pure = PurePosixPath(path)
    return pure.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in pure.parts)


def mask_folder(folders: tuple[str, ...]) -> tuple[bool, int] | None:
    """Whether the folder that decides says mask (else image), and its index; None when none speaks.

    The innermost one of a plain name ("images", "mask") decides, else the innermost one with such a word in its name.
    """
    for is_mask, is_image in (
        (_PLAIN_MASK.fullmatch, _PLAIN_IMAGE.fullmatch),
        (_MASK_FOLDER.search, _IMAGE_FOLDER.search),
    ):
        for index in reversed(range(len(folders))):
            if is_mask(folders[index]) or is_image(folders[index]):
                return is_mask(folders[index]) is not None, index
    return None


def without_mask_words(stem: str) -> str:
    """The stem without "mask", "gt" and the like at its ends."""
    return _stripped(_MASK_AFFIX, stem)


def without_image_words(stem: str) -> str:
    """The stem without "img", "training" and the like at its ends."""
    return _stripped(_IMAGE_AFFIX, stem)


def _stripped(affix: re.Pattern[str], stem: str) -> str:
    while (shorter := affix.sub("", stem)) != stem and shorter:
        stem = shorter
    return stem


def mask_words(stem: str) -> str:
    """What `without_mask_words` takes away, without the running number: "_mask_2" and "_mask" are one sort."""
    plain = without_mask_words(stem)
    affix = stem.replace(plain, "", 1).strip(" _-").lower()
    return re.sub(r"[ _-]\d+$", "", affix)


def split_named(folders: tuple[str, ...]) -> str | None:
    """The split that the innermost folder which names one names: "TestDataset", "train", "val_images".

    Every word of the folder's name must say so or be company: "latest" and "Test Hospital" name none.
    """
    for folder in reversed(folders):
        words = [word.lower() for word in _WORD.findall(folder) if not word.isdigit()]
        words = [part for word in words for part in _parted(word)]
        named = {_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS}
        if len(named) == 1 and all(word in _SPLIT_WORDS or word in _SPLIT_COMPANY for word in words):
            return named.pop()
    return None


def _parted(word: str) -> list[str]:
    """Two words of one: train and set of "trainset"."""
    for ending in ("dataset", "data", "set"):
        if word.endswith(ending) and word.removesuffix(ending) in _SPLIT_WORDS:
            return [word.removesuffix(ending), ending]
    return [word]


def patient_folder(folders: tuple[str, ...]) -> str | None:
    """The outermost folder that bears a patient's or sequence's number: "patient07", "P12", "video_3"."""
    return next((folder for folder in folders if _PATIENT.fullmatch(folder)), None)
