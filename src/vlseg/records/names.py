"""Names of files that are made of what users type: readable, of any script, and safe on every system."""

import re
import unicodedata
from collections.abc import Sequence


def file_name(text: str, longest: int = 100) -> str:
    """The text as part of a file name; different texts may give the same.

    Letters and digits of any script and `+ . _ -` stay, in composed form; everything else becomes "-".

    Args:
        text: any.
        longest: bytes of UTF-8, of the 255 that file systems take for a whole name.
    """
    kept = re.sub(r"[^\w+.-]+", "-", unicodedata.normalize("NFC", text)).strip("-.")
    return kept.encode(errors="ignore")[:longest].decode(errors="ignore").strip("-.")


def same_file(name: str) -> str:
    """Equal for names that some file system takes for one file: upper and lower case, composed and decomposed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def slug(prompt: str) -> str:
    """The prompt as part of a file name, in small letters of any script; different prompts may give the same."""
    name = re.sub(r"[\W_]+", "-", same_file(prompt)).strip("-")
    return name.encode(errors="ignore")[:60].decode(errors="ignore").strip("-") or "empty"


def listing(names: Sequence[str], shown: int = 3) -> str:
    """How many files are not used, and the first ones."""
    more = ", ..." if len(names) > shown else ""
    files = "1 file" if len(names) == 1 else f"{len(names)} files"
    return f"{files} not used ({', '.join(names[:shown])}{more})"
