"""Rewriting location words when an image is mirrored."""

import re
from collections.abc import Collection

_PAIRS = {
    "horizontal": (
        ("left", "right"),
        ("leftmost", "rightmost"),
        ("lefthand", "righthand"),
        ("leftward", "rightward"),
        ("leftwards", "rightwards"),
    ),
    "vertical": (
        ("upper", "lower"),
        ("top", "bottom"),
        ("above", "below"),
        ("uppermost", "lowermost"),
        ("topmost", "bottommost"),
        ("upward", "downward"),
        ("upwards", "downwards"),
        ("overlying", "underlying"),
    ),
}
_SWAPS = {axis: {**dict(pairs), **{second: first for first, second in pairs}} for axis, pairs in _PAIRS.items()}
_LOCATION = frozenset(word for swaps in _SWAPS.values() for word in swaps)
# Words that place something relative to a body or a clock face: no mirrored wording is known for them.
_UNMIRRORED = frozenset(
    "medial lateral anterior posterior superior inferior proximal distal ipsilateral contralateral nasal "
    "temporal clockwise counterclockwise clock north south east west ruq luq rlq llq higher beneath underneath".split()
)
# A mirror leaves them as they are, a quarter turn does not.
_DIRECTIONS = frozenset(
    "vertical vertically horizontal horizontally diagonal diagonally oblique obliquely upright".split()
)
# Structures whose right one is not the mirror image of the left one.
_ONE_SIDED = re.compile(
    r"\b(?:left|right)(?:\s+(?:main|anterior|posterior|upper|lower))*\s+"
    r"(?:ventric|atri|coronary|bundle|heart|hepatic|colon|colic|hemicolon|bronch|middle lobe)",
    re.IGNORECASE,
)


def mirrored(text: str, axis: str) -> str | None:
    """The text for the image mirrored along `axis` ("horizontal": left and right change places).

    None when a location word has no known mirrored form, or a structure none (a left ventricle does not become a right
    one), so that the transform must be left out.
    """
    words = re.findall(r"[a-z]+", text.lower())
    if any(word in _UNMIRRORED for word in words) or (axis == "horizontal" and _ONE_SIDED.search(text)):
        return None
    swaps = _SWAPS[axis]

    def swap(match: re.Match[str]) -> str:
        word = match.group(0)
        other = swaps.get(word.lower())
        if other is None:
            return word
        return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other

    return re.sub(r"[A-Za-z]+", swap, text)


def mirrored_name(name: str, axis: str, known: Collection[str]) -> str | None:
    """The target for the mirrored image, of those that are known; None where it has a side and no counterpart."""
    other = mirrored(name, axis)
    if other is None or other == name:
        return other
    return next((one for one in known if one.lower() == other.lower()), None)


def names_a_place(text: str) -> bool:
    """True when the text holds a word of place or direction (which a quarter turn would falsify)."""
    words = re.findall(r"[a-z]+", text.lower())
    return any(word in _LOCATION or word in _UNMIRRORED or word in _DIRECTIONS for word in words)
