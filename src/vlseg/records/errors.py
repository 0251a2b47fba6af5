"""The one error that means "the input is wrong": one clear line, exit code 2."""

from collections.abc import Iterable
from difflib import get_close_matches

import pydantic


class InputError(Exception):
    """Wrong input. The message is one line that names the file or field, what is wrong, and the mend."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name nobody knows; it lists the known ones, the likeliest first."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return InputError(f"unknown {kind} '{name}'{hint} (known: {', '.join(names) or 'none'})")


def from_validation(error: pydantic.ValidationError, where: str) -> InputError:
    """The first complaint of pydantic as one line: where, field, what is wrong."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "the whole"
    return InputError(f"{where}: field '{field}': {first['msg']} (got {first.get('input')!r:.80})")
