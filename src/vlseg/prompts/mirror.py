"""Rewriting location words when an image is mirrored."""

import re

_PAIRS = {
    "horizontal": (("left", "right"), ("leftmost", "rightmost"), ("lefthand", "righthand")),
    "vertical": (("upper", "lower"), ("top", "bottom"), ("above", "below"), ("uppermost", "lowermost")),
}
_SWAPS = {axis: {**dict(pairs), **{second: first for first, second in pairs}} for axis, pairs in _PAIRS.items()}
_LOCATION = frozenset(word for swaps in _SWAPS.values() for word in swaps)
# Words that place something relative to a body or a clock face: no mirrored wording is known for them.
_UNMIRRORED = frozenset(
    "medial lateral anterior posterior superior inferior proximal distal ipsilateral contralateral nasal "
    "temporal clockwise counterclockwise clock north south east west".split()
)


def mirrored(text: str, axis: str) -> str | None:
    """The text for the image mirrored along `axis` ("horizontal": left and right change places).

    None when a location word has no known mirrored form, so that the transform must be left out.
    """
    words = re.findall(r"[a-z]+", text.lower())
    if any(word in _UNMIRRORED for word in words):
        return None
    swaps = _SWAPS[axis]

    def swap(match: re.Match[str]) -> str:
        word = match.group(0)
        other = swaps.get(word.lower())
        if other is None:
            return word
        return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other

    return re.sub(r"[A-Za-z]+", swap, text)


def names_a_place(text: str) -> bool:
    """True when the text holds a location word (which a rotation would falsify)."""
    words = re.findall(r"[a-z]+", text.lower())
    return any(word in _LOCATION or word in _UNMIRRORED for word in words)
