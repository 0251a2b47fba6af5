"""Reading images: any common format to RGB in [0, 1], EXIF orientation applied."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from vlseg.records import InputError, IntensityPolicy, from_system

_COLOUR_MODES = frozenset({"LA", "RGB", "RGBA"})
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})
_PAGED = frozenset({"TIFF", "GIF", "PNG", "WEBP"})
"""Formats whose further pages are pictures in their own right; cameras' JPEGs hold previews."""
_RAW = "vlseg_raw_mode"
_UNTURNED = frozenset({"BMP", "GIF", "PPM"})
"""Formats without tags that turn an image."""
_QUARTER_TURNS = (5, 6, 7, 8)
_DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
PERCENTILES = (0.5, 99.5)
_SCALED_AT_ONCE = 2**20
"""Values; bounds the memory of what lies between."""


def open_image(path: Path, *, one_page: bool = False) -> Image.Image:
    """The decoded image, upright by its EXIF orientation: see `decode_image`.

    Raises:
        InputError: missing, or see `decode_image`.
    """
    with _opened(path) as stream:
        return decode_image(stream, str(path), one_page=one_page)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as stream:
            yield stream
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(from_system(error, str(path))) from error


def decode_image(
    stream: IO[bytes], name: str, *, one_page: bool = False, formats: tuple[str, ...] | None = None
) -> Image.Image:
    """The image in a stream, upright by its EXIF orientation; `name` stands in the errors.

    Of several pages it is the first. Colours of 16 bit per channel are cut to 8, as Pillow knows none:
    `read_pixels` reads them at their depth.

    Args:
        stream: of the file.
        name: of the file.
        one_page: refuse further pages of the same size that differ from the first, which in a mask are more objects.
        formats: Pillow's names of those that are read; None = all.

    Raises:
        InputError: empty, truncated, too large, of no known format, with pixels that are no finite numbers, or with
            pages that differ.
    """
    try:
        with Image.open(stream, formats=formats) as image:
            raw = deep_mode(image)
            if one_page and getattr(image, "n_frames", 1) > 1:
                _refuse_pages(image, name)
            image.load()
            upright = ImageOps.exif_transpose(image)
    except UnidentifiedImageError as error:
        stream.seek(0)
        if not stream.read(1):
            raise InputError(f"{name}: the file is empty (0 bytes); copy it again") from error
        raise InputError(f"{name}: not an image in a format that can be read") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{name}: has too many pixels ({error}); make it smaller") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InputError(f"{name}: cannot be decoded ({error}); it may be truncated, copy it again") from error
    if upright.mode == "F" and not np.isfinite(np.asarray(upright)).all():
        raise InputError(f"{name}: holds pixels that are no finite numbers (NaN or infinite); replace them")
    if raw is not None and raw.startswith("LA"):
        raise InputError(f"{name}: 16-bit grey with transparency cannot be read at its depth; save it without alpha")
    upright.info[_RAW] = raw
    return upright


def upright_size(path: Path) -> tuple[int, int]:
    """(H, W) of the image as `open_image` gives it, from the header alone wherever that tells how it is turned.

    Raises:
        InputError: see `open_image`.
    """
    # Where the header cannot be read, decoding gives the error its line.
    with suppress(OSError, SyntaxError, ValueError, Image.DecompressionBombError), Image.open(path) as image:
        width, height = image.size
        if image.format in _UNTURNED or (image.format == "PNG" and not _tagged(path)):
            return height, width
        if image.format in ("JPEG", "MPO"):
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in _QUARTER_TURNS
            return (width, height) if turned else (height, width)
    upright = open_image(path)
    return upright.height, upright.width


def _tagged(path: Path) -> bool:
    """True when a PNG file may hold EXIF tags, which stand before or behind the pixels."""
    content = path.read_bytes()
    return b"eXIf" in content or b"Raw profile type" in content


def _refuse_pages(image: Image.Image, name: str) -> None:
    first = np.asarray(image)
    pages = getattr(image, "n_frames", 1)
    for page in range(1, pages):
        image.seek(page)
        if image.size == (first.shape[1], first.shape[0]) and not np.array_equal(np.asarray(image), first):
            raise InputError(
                f"{name}: has {pages} pages, and page {page + 1} differs from the first; save one mask per file "
                "(images and their masks are paired by name, or put the masks of several targets into a folder each)"
            )
    image.seek(0)


def page_count(content: bytes) -> int:
    """Pages of a file's content; 1 where that cannot be told."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return int(getattr(image, "n_frames", 1)) if image.format in _PAGED else 1
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 1  # decoding gives the error its line


def as_png(image: Image.Image) -> Image.Image | None:
    """The decoded image in a form that PNG keeps pixel by pixel as it is read; None where PNG has none."""
    if image.info[_RAW] is not None or image.mode == "F":
        return None
    if image.mode == "I" or image.mode.startswith("I;"):
        values = np.asarray(image).astype(np.int64)
        fits = values.min() >= 0 and values.max() <= 65535
        return Image.fromarray(values.astype(np.uint16)) if fits else None
    return image if image.mode in _PNG_MODES else image.convert("RGB")


def deep_mode(image: Image.Image) -> str | None:
    """How an opened file keeps 16 bits per colour channel, as Pillow names it ("RGB;16B"); None for other files."""
    if image.mode not in _COLOUR_MODES or not getattr(image, "tile", None):
        return None
    arguments = image.tile[0].args  # type: ignore[attr-defined]
    raw = arguments if isinstance(arguments, str) else arguments[0] if isinstance(arguments, tuple) else None
    return raw if isinstance(raw, str) and ";16" in raw else None


def _deep_colour(upright: Image.Image, stream: IO[bytes], name: str) -> NDArray[np.uint16]:
    """(H, W, 3) of a file with 16 bits per channel: Pillow keeps the high bytes, with the order of bytes turned round
    the low ones.
    """
    values: NDArray[np.uint16] = np.left_shift(np.asarray(upright.convert("RGB")), 8, dtype=np.uint16)
    try:
        stream.seek(0)
        with Image.open(stream) as image:
            image.tile = [tile._replace(args=_turned(tile.args)) for tile in image.tile]
            image.load()
            values |= np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{name}: its 16 bits per channel cannot be read ({error}); save it as 16-bit PNG") from error
    return values


def _turned(arguments: Any) -> Any:
    """A decoder's arguments with the other order of bytes."""
    if isinstance(arguments, tuple):
        return (_turned(arguments[0]), *arguments[1:])
    native = "L" if sys.byteorder == "little" else "B"
    stem, order = arguments[:-1], arguments[-1].replace("N", native)
    return stem + {"L": "B", "B": "L"}[order]


def read_image(path: Path, policy: IntensityPolicy | None = None) -> NDArray[np.float32]:
    """RGB as (H, W, 3) float32 in [0, 1]; grey is repeated, alpha dropped, CMYK and palettes converted.

    Above 8 bit the dataset's policy decides what becomes 0 and 1.

    Raises:
        InputError: see `open_image`.
    """
    return unit_range(read_pixels(path, policy))


def read_pixels(path: Path, policy: IntensityPolicy | None = None) -> NDArray[np.uint8] | NDArray[np.float32]:
    """As `read_image`, but 8-bit images stay (H, W, 3) uint8: a quarter of the memory, for what keeps many.

    Raises:
        InputError: see `open_image`.
    """
    with _opened(path) as stream:
        return decode_pixels(stream, str(path), policy)


def decode_pixels(
    stream: IO[bytes], name: str, policy: IntensityPolicy | None = None, *, formats: tuple[str, ...] | None = None
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """As `read_pixels`, from a stream; the other arguments are those of `decode_image`.

    Raises:
        InputError: see `decode_image`.
    """
    image = decode_image(stream, name, formats=formats)
    if image.info[_RAW] is not None:
        return _scale(_deep_colour(image, stream, name), policy or IntensityPolicy(), 65535.0)
    if image.mode in _DEEP_MODES:
        grey = _scale(np.asarray(image), policy or IntensityPolicy(), _depth(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "P":
        image.info.pop("transparency", None)  # dropped in any case; Pillow warns of it
    return np.asarray(image.convert("RGB"))


def unit_range(pixels: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Pixels of `read_pixels` as float32 in [0, 1]."""
    return pixels.astype(np.float32) / np.float32(255) if pixels.dtype == np.uint8 else pixels.astype(np.float32)


def _depth(image: Image.Image) -> float:
    """The largest value the file's type can hold. A 32-bit mode is how PNG's 16 bits are often opened."""
    return 1.0 if image.mode == "F" else 65535.0


def _scale(values: NDArray[Any], policy: IntensityPolicy, full: float) -> NDArray[np.float32]:
    """Each value in double precision, a few rows at a time."""
    if policy.kind == "bits_stored":
        low, high = 0.0, float(2 ** (policy.bits or 16) - 1)
    elif policy.kind == "window":
        low = 0.0 if policy.low is None else policy.low
        high = full if policy.high is None else policy.high
    elif policy.kind == "percentile":
        exact = values if values.dtype == np.uint16 else values.astype(np.float64)
        low, high = (float(value) for value in np.percentile(exact, PERCENTILES))
    else:
        low, high = 0.0, full
    span = max(high - low, np.finfo(np.float64).tiny)
    scaled = np.empty(values.shape, np.float32)
    step = max(1, _SCALED_AT_ONCE // max(1, values[0].size))
    for row in range(0, len(values), step):
        block = values[row : row + step].astype(np.float64)
        scaled[row : row + step] = np.clip((block - low) / span, 0, 1)
    return scaled
