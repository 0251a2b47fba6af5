"""The one error that means "the input is wrong": one clear line, exit code 2."""

import errno
import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

import pydantic


class InputError(Exception):
    """Wrong input. The message is one line that names the file or field, what is wrong, and the mend."""


class LostProcessError(Exception):
    """Another process of the same run has ended and so this one must; the message is one line that says why.

    With `first` it was the one that tells such things, so that somebody else must. With `silent` it ended without a
    word, and does not come back.
    """

    def __init__(self, message: str, *, first: bool = False, silent: bool = False) -> None:
        super().__init__(message)
        self.first, self.silent = first, silent


WRITING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
"""What only writing can meet."""
_MENDS: Mapping[int, str] = {
    errno.ENOSPC: "make room there or choose another folder",
    errno.EDQUOT: "make room there or choose another folder",
    errno.EROFS: "choose another folder",
    errno.EACCES: "change its rights, or those of its folder",
    errno.EPERM: "change its rights, or those of its folder",
    errno.ENOENT: "it was there, or is named, but is not there now",
    errno.ENOTDIR: "a part of this path is a file, not a folder",
    errno.EISDIR: "give a file, not a folder",
    errno.EMFILE: "raise the number of open files (ulimit -n)",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "a link leads back to itself",
    errno.EIO: "the disk or its connection failed; copy the file anew",
}
"""What to do, by the error's number."""


def from_system(error: OSError, nameless: str) -> str:
    """The operating system's error as one line that names the file.

    Args:
        error: as raised by Python, or by a library that leaves out the file's name.
        nameless: what is named where the error names no file.
    """
    number = error.errno or 0
    names = [name for name in (error.filename, error.filename2) if isinstance(name, str | bytes | os.PathLike)]
    named = os.fsdecode(names[-1 if number in WRITING else 0]) if names else nameless
    done = "cannot be written" if number in WRITING else "cannot be opened"
    reason = error.strerror or str(error) or type(error).__name__
    mend = f"; {_MENDS[number]}" if number in _MENDS else ""
    return f"{named}: {done} ({reason}){mend}"


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name nobody knows; it lists the known ones, the likeliest first."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return InputError(f"unknown {kind} '{name}'{hint} (known: {', '.join(names) or 'none'})")


def from_validation(error: pydantic.ValidationError, where: str) -> InputError:
    """The first complaint of pydantic as one line: where, field, what is wrong."""
    first, *rest = error.errors()
    if first["type"] == "literal_error":  # where a list may stand as well, it was meant
        first = next(
            (one for one in rest if one["type"] == "list_type" and one["loc"][:-1] == first["loc"][:-1]), first
        )
    # Of several forms that a field may have, pydantic names each: list[str], literal['own'].
    field = ".".join(str(part) for part in first["loc"] if "[" not in str(part)) or "the whole"
    given = first.get("input")
    said = _SAID.get(first["type"], first["msg"])
    if first["type"] == "list_type" and isinstance(given, str | int | float):
        said += f"; write [{given}]"
    return InputError(f"{where}: field '{field}': {said} (got {given!r:.80})")


_SAID = {"list_type": "Input should be a valid list", "extra_forbidden": "there is no field of this name here"}
"""In place of pydantic's own words."""
