"""Files made to harm who decodes them, built byte by byte."""

import io
import struct
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

Entry = tuple[int, int, int, int]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    width: int,
    height: int,
    *,
    bits: int = 8,
    colour: int = 2,
    before: bytes = b"",
    after: bytes = b"",
    rows: int | None = None,
    pixels: bytes | None = None,
) -> bytes:
    """Black, or of `pixels`; `before` and `after` stand around them. `rows` is how many bytes they claim to be."""
    rows = height * (1 + width * bits * (3 if colour == 2 else 1) // 8) if rows is None else rows
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    packed = _chunk(b"IDAT", zlib.compress(b"\0" * rows if pixels is None else pixels, 1))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + before + packed + after + _chunk(b"IEND", b"")


def tiff(entries: Sequence[Entry], content: bytes = b"", *, further: bytes = b"") -> bytes:
    """`content` from byte 8, then the directory of (tag, type, count, value), which leads to `further`."""
    content += b"\0" * (len(content) % 2)
    at = 8 + len(content)
    listed = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    end = at + 2 + len(listed) + 4
    head = b"II*\0" + struct.pack("<I", at) + content + struct.pack("<H", len(entries)) + listed
    return head + struct.pack("<I", end if further else 0) + further


def _grey(width: int, height: int, compression: int = 1) -> list[Entry]:
    return [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, compression),
        (262, 3, 1, 1),
        (277, 3, 1, 1),
    ]


_STRIP: list[Entry] = [(278, 4, 1, 10), (273, 4, 1, 8), (279, 4, 1, 100)]


def _tiled() -> bytes:
    zeros = zlib.compress(b"\0" * 12_000**2, 1)
    tile = [(322, 4, 1, 12_000), (323, 4, 1, 12_000), (324, 4, 1, 8), (325, 4, 1, len(zeros))]
    return tiff(_grey(10, 10, 8) + tile, zeros)


def _many_strips() -> bytes:
    count = 8 * 2**20 - 100
    return tiff([*_grey(10, 10), (278, 4, 1, 1), (273, 4, count, 8), (279, 4, count, 8)], struct.pack("<I", 8) * count)


def _second_directory() -> bytes:
    count = 7 * 2**20
    entries = sorted([*_grey(10, 10), (278, 4, 1, 1), (273, 4, count, 8), (279, 4, count, 8)])
    further = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + b"\0" * 4
    return tiff(_grey(10, 10) + _STRIP, struct.pack("<I", 8) * count, further=further)


def _tags(kind: int, size: int) -> bytes:
    """EXIF of 32 MB of numbers that turns the image, whereupon Pillow writes it all anew."""
    count = (2**25 - 400) // size
    return tiff([(274, 3, 1, 6), (40000, kind, count, 8)], b"\7" * (count * size))


def _exif_directory() -> bytes:
    content = b"\7" * (2**25 - 800)
    inner = struct.pack("<H", 1) + struct.pack("<HHII", 40000, 3, len(content) // 2, 8) + b"\0" * 4
    return tiff([*_grey(10, 10), *_STRIP, (34665, 4, 1, 8 + len(content))], content + inner)


def _many_directories() -> bytes:
    parts, at = [tiff(_grey(10, 10) + _STRIP, b"\0" * 100)[:-4]], 0
    at = len(parts[0]) + 4
    parts.append(struct.pack("<I", at))
    for _ in range(300_000):
        at += 6
        parts.append(struct.pack("<HI", 0, at))
    return b"".join(parts)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _scans() -> bytes:
    """The last of a progressive JPEG's passes over all pixels, 20,000 times."""
    content = saved(Image.new("L", (4000, 4000), 128), "JPEG", progressive=True, quality=10)
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * 20_000 + b"\xff\xd9"


def _slow_bmp() -> bytes:
    """Runs that go nowhere, which Pillow reads one by one."""
    head = struct.pack("<IiiHHIIiiII", 40, 5000, 5000, 1, 8, 1, 0, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + 1024) + head + b"\0" * 1024 + b"\0\2\0\0" * 8_000_000


def _frames() -> bytes:
    frames = [Image.new("L", (500, 500), tone) for tone in range(100)]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


def _enlarging_gif() -> bytes:
    frame = struct.pack("<HHHH", 0, 0, 60_000, 60_000) + b"\x80\0\0\0\xff\xff\xff\2\2\x44\1\0"
    return b"GIF89a" + struct.pack("<HH", 10, 10) + b"\0\0\0," + frame + b";"


def _webp() -> bytes:
    return (
        b"RIFF"
        + struct.pack("<I", 62)
        + b"WEBPVP8X"
        + struct.pack("<I", 10)
        + b"\2\0\0\0"
        + b"\xff\x3f\0\xff\x3f\0"
        + (b"ANIM" + struct.pack("<I", 6) + b"\0" * 6)
    )


def _nan() -> bytes:
    values = np.full((20, 20), 0.5, np.float32)
    values[3, 4] = np.nan
    return saved(Image.fromarray(values), "TIFF")


def _deep(colour: int) -> bytes:
    return png(5000, 5000, bits=16, colour=colour)


_ARCHIVE = b"PK\x03\x04" + b"\0" * 100
_DRAWING = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'

CASES: dict[str, tuple[Callable[[], bytes], int, str, int]] = {
    "PNG that says 30,000 x 30,000": (lambda: png(30_000, 30_000, rows=99), 413, "too_many_pixels", 10),
    "TIFF that says 30,000 x 30,000": (lambda: tiff(_grey(30_000, 30_000) + _STRIP), 413, "too_many_pixels", 10),
    "WebP that says 16,384 x 16,384": (_webp, 413, "too_many_pixels", 10),
    "GIF of 10 x 10 with a frame of 60,000 x 60,000": (_enlarging_gif, 413, "too_many_pixels", 10),
    "PNG of 40,000 x 1": (lambda: png(40_000, 1), 413, "too_many_pixels", 10),
    "TIFF of 10 x 10 with a tile of 12,000 x 12,000": (_tiled, 413, "too_many_pixels", 20),
    "PNG whose text unpacks to 60 MB": (
        lambda: png(9, 9, before=_chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 60_000_000, 1))),
        422,
        "image_unreadable",
        20,
    ),
    "PNG whose colour profile unpacks to 60 MB": (
        lambda: png(9, 9, before=_chunk(b"iCCP", b"a\0\0" + zlib.compress(b"\0" * 60_000_000, 1))),
        422,
        "image_unreadable",
        20,
    ),
    "PNG with 2,000 texts of 1 MB": (
        lambda: png(9, 9, after=_chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 1_000_000, 9)) * 2000),
        422,
        "image_unreadable",
        100,
    ),
    "PNG with 32 MB of EXIF numbers": (
        lambda: png(9, 9, before=_chunk(b"eXIf", _tags(3, 2))),
        422,
        "image_unreadable",
        100,
    ),
    "PNG with 32 MB of EXIF fractions behind the pixels": (
        lambda: png(9, 9, after=_chunk(b"eXIf", _tags(5, 8))),
        422,
        "image_unreadable",
        100,
    ),
    "PNG with four million EXIF marks": (lambda: png(9, 9, after=b"eXIf" * 4_000_000), 422, "image_unreadable", 100),
    "TIFF of eight million strips": (_many_strips, 422, "image_unreadable", 10),
    "TIFF whose second picture has seven million strips": (_second_directory, 422, "image_unreadable", 10),
    "TIFF with 32 MB of EXIF numbers": (_exif_directory, 422, "image_unreadable", 10),
    "TIFF of 300,000 pictures": (_many_directories, 422, "image_unreadable", 10),
    "JPEG of 20,000 passes": (_scans, 422, "image_takes_too_long", 10),
    "BMP of eight million empty runs": (_slow_bmp, 422, "image_takes_too_long", 60),
    "GIF of 100 frames": (_frames, 422, "too_many_pictures", 20),
    "Truncated PNG": (lambda: png(900, 900)[:-40], 422, "image_unreadable", 20),
    "Truncated JPEG": (lambda: saved(Image.effect_noise((900, 900), 90), "JPEG")[:9000], 422, "image_unreadable", 20),
    "First four bytes of a PNG": (lambda: png(9, 9)[:4], 422, "image_unreadable", 10),
    "PNG without pixels (0 x 9)": (lambda: png(0, 9), 422, "image_unreadable", 10),
    "TIFF with NaN": (_nan, 422, "image_unreadable", 20),
    "Nothing (0 bytes)": (lambda: b"", 422, "image_empty", 10),
    "33 MB": (lambda: b"\x89PNG" + b"\0" * (33 * 2**20), 413, "too_large", 10),
    "Zip archive named .png": (lambda: _ARCHIVE, 415, "not_an_image", 10),
    "SVG with a script": (lambda: _DRAWING, 415, "not_an_image", 10),
    "PostScript": (
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
        415,
        "not_an_image",
        10,
    ),
    "DICOM": (lambda: b"\0" * 128 + b"DICM" + b"\0" * 99, 415, "not_an_image", 10),
    "Noise": (lambda: np.random.default_rng(0).bytes(99_999), 415, "not_an_image", 10),
    "PNG with a zip archive behind it": (lambda: png(9, 9) + _ARCHIVE, 200, "", 20),
    "PNG of 9 x 9 whose pixels unpack to 60 MB": (lambda: png(9, 9, rows=60_000_000), 200, "", 20),
    "The largest 8-bit image (5,000 x 5,000)": (lambda: png(5000, 5000), 200, "", 330),
    "The largest 16-bit image in grey": (lambda: _deep(0), 200, "", 520),
    "The largest 16-bit image in colour": (lambda: _deep(2), 200, "", 680),
}
"""Case: how it is built, status, code, and the memory in MB that reading it may take."""
