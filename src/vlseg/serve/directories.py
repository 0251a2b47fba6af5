"""Tag directories of TIFF files and EXIF, whose numbers Pillow makes into objects of forty bytes each or more."""

import struct

MAX_DIRECTORIES = 64
_FURTHER = frozenset({34665, 34853, 40965})
"""Tags that lead to further directories which Pillow reads: EXIF, GPS, interoperability."""
_BYTES = frozenset({1, 2, 7})
"""Types that stay one object."""


def listed_numbers(content: bytes, enough: int) -> int:
    """How many numbers the directories list, those that follow and those that tags lead to included.

    Args:
        content: a TIFF file, BigTIFF too, or EXIF without its first six bytes; of anything else it is 0.
        enough: the count stops beyond it; more than MAX_DIRECTORIES directories are beyond it as well.
    """
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None or len(content) < 16:
        return 0
    big = content[2:4] in (b"+\0", b"\0+")
    counted = struct.Struct(order + ("Q" if big else "H"))
    entry = struct.Struct(order + ("HHQ" if big else "HHI"))
    place = struct.Struct(order + ("Q" if big else "I"))
    size = entry.size + place.size
    waiting, seen, total = [place.unpack_from(content, 8 if big else 4)[0]], set[int](), 0
    while waiting and total <= enough:
        at = waiting.pop()
        if at in seen or not 0 < at <= len(content) - counted.size:
            continue
        seen.add(at)
        if len(seen) > MAX_DIRECTORIES:
            return enough + 1
        begin = at + counted.size
        end = begin + counted.unpack_from(content, at)[0] * size
        for start in range(begin, min(end, len(content) - size + 1), size):
            tag, kind, count = entry.unpack_from(content, start)
            total += 1 if kind in _BYTES else min(count, len(content))
            if tag in _FURTHER:
                waiting.append(place.unpack_from(content, start + entry.size)[0])
            if total > enough:
                return total
        if end <= len(content) - place.size:
            waiting.append(place.unpack_from(content, end)[0])
    return total
