"""Names as they can be drawn: one line, what XML can hold, short enough, each unlike the others."""

import re
import unicodedata
from collections.abc import Sequence

_UNPRINTABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def printable(text: str) -> str:
    """One line that XML can hold."""
    return _UNPRINTABLE.sub("�", " ".join(text.split()))


def wrapped(text: str, width: int, lines: int = 2) -> list[str]:
    """At most so many lines of so many characters, broken behind blanks and - _ + / , where that fits.

    What does not fit goes from the middle: the names of one study's runs begin and end with what tells them apart more
    often than not. Letters of double width count as two.
    """
    text = printable(text)
    if breadth(text) > width:
        width = width * len(text) // breadth(text)
    most = width * lines
    if len(text) > most:
        text = f"{text[: most // 2]}…{text[len(text) - (most - most // 2 - 1) :]}"
    found = [""]
    for piece in re.findall(r"[^\s_+/,-]*[\s_+/,-]?", text):
        if len(found[-1]) + len(piece.rstrip()) > width:
            found.append("")
        found[-1] += piece
    found = [line.strip() for line in found]
    fits = len(found) <= lines and all(len(line) <= width for line in found)
    return found if fits else [text[start : start + width] for start in range(0, len(text), width)]


def breadth(text: str) -> int:
    """In letters of usual width."""
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def told_apart(labels: Sequence[str], width: int, lines: int = 2) -> list[list[str]]:
    """Labels that fit, each unlike the others: those that cutting made alike are numbered."""
    found = [wrapped(label, width, lines) for label in labels]
    seen: dict[str, int] = {}
    for index, one in enumerate(found):
        key = "\n".join(one)
        seen[key] = seen.get(key, 0) + 1
        if key and seen[key] > 1:
            mark = f" ({seen[key]})"
            found[index] = [*one[:-1], one[-1][: width - len(mark)] + mark]
    return found
