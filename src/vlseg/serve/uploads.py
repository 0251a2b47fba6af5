"""Bytes that somebody sent to pixels: by content, within the limits, as `vlseg predict` reads the same file."""

import io
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from vlseg.data.images import decode_pixels
from vlseg.records import InputError, IntensityPolicy
from vlseg.serve.directories import listed_numbers
from vlseg.serve.limits import Limits, Refused

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
"""Pillow's names. They are those of the files that `vlseg predict` looks for in a folder; no other decoder runs."""
MAX_SIDE = 32_767
"""Browsers draw no longer side."""
DECODE_SECONDS = 10.0
"""Of a processor. The largest images take a fifth of it; files made to be slow take hours."""
MAX_SCANS = 1000
"""Of a JPEG, that many passes over all pixels; cameras and programs make ten, and by chance the mark stands in data."""
MAX_NUMBERS = 2**19
"""In the tag directories of a file; a strip for each row of each channel makes half of it."""
MAX_TAG_CHUNKS = 8
"""A PNG has one, and its pixels hold the name of the chunk by chance hardly ever."""
_COMPRESSION, _TILE = 259, (322, 323)
_JPEG_IN_TIFF = (6, 7)
_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (128, b"DICM", "DICOM; export the picture that you mean as PNG"),
    (344, b"n+1\0", "NIfTI; export the slice that you mean as PNG"),
    (344, b"ni1\0", "NIfTI; export the slice that you mean as PNG"),
    (0, b"\x1f\x8b", "gzip, as .nii.gz is; export the slice that you mean as PNG"),
    (0, b"PK\x03\x04", "a zip archive or an Office document; unpack it and send one image"),
    (0, b"%PDF", "PDF; export the image from it as PNG"),
    (4, b"ftyp", "HEIC, AVIF or a video; save it as JPEG or PNG"),
    (0, b"\0\0\0\x0cjP", "JPEG 2000; save it as PNG"),
    (0, b"<", "text (SVG, XML or HTML); save it as PNG"),
    (0, b"\xef\xbb\xbf<", "text (SVG, XML or HTML); save it as PNG"),
)
"""Where which bytes tell what the file is, and the mend."""
_BEGINS = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"GIF8")


@dataclass(frozen=True)
class Upload:
    """A read image.

    Attributes:
        pixels: (H, W, 3), uint8, or float32 in [0, 1] for files above 8 bit; upright.
        spacing_mm: (y, x) of a pixel, or None where the file tells none that can be trusted. None of FORMATS does: the
            dots per inch of PNG, JPEG and TIFF say how to print, and screenshots and exports make them up.
    """

    pixels: NDArray[np.uint8] | NDArray[np.float32]
    spacing_mm: tuple[float, float] | None = None


class _Timed(io.BytesIO):
    """A file that this thread can work on for DECODE_SECONDS only: decoders ask for more in small pieces."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._end = time.thread_time() + DECODE_SECONDS

    def read(self, size: int | None = -1, /) -> bytes:
        if time.thread_time() > self._end:
            raise Refused(422, "image_takes_too_long", "image: takes too long to decode; save it anew as PNG")
        return super().read(size)


def read_upload(
    data: bytes, name: str, limits: Limits, intensity: IntensityPolicy | None = IntensityPolicy()
) -> Upload:
    """The image in `data`, as `Predictor.read` gives it for the same file.

    The size in the header is held against the limits before a pixel is decoded. What stands behind the image's end (a
    zip archive, say) is not read. Of a JPEG with previews it is the picture itself; other files with several pictures
    are beyond `limits.frames` rather than answered for the first one.

    Args:
        data: the file's content.
        name: of the field, for messages ("image"); never the client's file name, which nothing depends on.
        limits: bytes, pixels and frames count.
        intensity: of the model (`Predictor.intensity`); None = files above 8 bit are refused.

    Raises:
        Refused: with 413 (too large), 415 (no such format) or 422 (cannot be read).
    """
    if not data:
        raise Refused(422, "image_empty", f"{name}: is empty (0 bytes); send the file's content")
    if len(data) > limits.bytes:
        raise Refused(413, "too_large", f"{name}: has {len(data)} bytes, the limit is {limits.bytes}; make it smaller")
    stream = _Timed(data)
    try:
        _check_header(data, stream, name, limits)
        pixels = decode_pixels(stream, name, intensity, formats=FORMATS)
    except Refused:
        raise
    except InputError as error:
        raise Refused(422, "image_unreadable", " ".join(str(error).split())) from error
    except (MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Refused(
            413, "too_many_pixels", f"{name}: is beyond {limits.pixels} pixels, or decodes to far more; make it smaller"
        ) from error
    except Exception as error:  # whatever a decoder stumbles over in a malformed file is the file's fault
        raise Refused(
            422, "image_unreadable", f"{name}: cannot be decoded ({type(error).__name__}); save it anew as PNG"
        ) from error
    _check_size(pixels.shape[1], pixels.shape[0], name, limits)
    if intensity is None and pixels.dtype != np.uint8:
        raise Refused(
            422,
            "image_too_deep",
            f"{name}: has more than 8 bits, and the sets that this model was trained on read those differently; "
            "convert it to 8 bits as its set is read",
        )
    return Upload(pixels)


def _check_header(data: bytes, stream: io.BytesIO, name: str, limits: Limits) -> None:
    """What can be told before a pixel is decoded."""
    if data[:4] in _BEGINS and data[:2] in (b"II", b"MM"):
        _check_directories(data, name)
    try:
        image = Image.open(stream, formats=FORMATS)
    except UnidentifiedImageError as error:
        if data.startswith(_BEGINS):
            line = f"{name}: begins as an image and cannot be decoded; it may be truncated, copy it again"
            raise Refused(422, "image_unreadable", line) from error
        raise Refused(415, "not_an_image", f"{name}: {_what(data)}") from error
    _check_size(image.width, image.height, name, limits)
    tags = getattr(image, "tag_v2", {})
    if all(tag in tags for tag in _TILE):  # a tile is held whole, however small the image
        _check_size(int(tags[_TILE[0]]), int(tags[_TILE[1]]), name, limits)
    if image.format in ("JPEG", "MPO") or tags.get(_COMPRESSION) in _JPEG_IN_TIFF:
        _check_scans(data, name)
    _check_directories(image.info.get("exif", b""), name)
    if image.format == "PNG":
        _check_png_tags(data, name)
    if image.format != "MPO":  # whose further pictures are previews
        _check_frames(image, name, limits)


def _check_directories(content: bytes, name: str) -> None:
    if listed_numbers(content.removeprefix(b"Exif\0\0"), MAX_NUMBERS) > MAX_NUMBERS:
        raise Refused(422, "image_unreadable", f"{name}: its tags hold too many numbers; save it anew as PNG")


def _check_scans(data: bytes, name: str) -> None:
    if data.count(b"\xff\xda") > MAX_SCANS:
        raise Refused(422, "image_takes_too_long", f"{name}: has over {MAX_SCANS} scans; save it anew as PNG")


def _check_png_tags(data: bytes, name: str) -> None:
    """Of all chunks, as those behind the pixels are met only after these are decoded."""
    at, met = data.find(b"eXIf"), 0
    while at >= 0:
        met += 1
        if met > MAX_TAG_CHUNKS:
            raise Refused(422, "image_unreadable", f"{name}: holds its tags many times; save it anew as PNG")
        _check_directories(data[at + 4 : at + 4 + int.from_bytes(data[at - 4 : at])], name)
        at = data.find(b"eXIf", at + 1)


def _what(data: bytes) -> str:
    for start, begin, what in _OTHERS:
        if data[start : start + len(begin)] == begin:
            return f"is {what}"
    return "is not PNG, JPEG, WebP, BMP, TIFF or GIF, whatever its name says; save it as PNG"


def _check_size(width: int, height: int, name: str, limits: Limits) -> None:
    if width < 1 or height < 1:
        raise Refused(422, "image_unreadable", f"{name}: has no pixels ({width} x {height})")
    if width * height > limits.pixels or max(width, height) > MAX_SIDE:
        raise Refused(
            413,
            "too_many_pixels",
            f"{name}: {width} x {height} is beyond {limits.pixels} pixels or {MAX_SIDE} a side; make it smaller",
        )


def _check_frames(image: Image.Image, name: str, limits: Limits) -> None:
    try:
        image.seek(limits.frames)
    except EOFError:
        return
    line = f"{name}: holds more pictures than {limits.frames}; save the one that you mean as PNG"
    raise Refused(422, "too_many_pictures", line)
