"""Reading JSON with one-line errors; writing so that a reader sees the old file or the new one, never half."""

import json
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vlseg.records.errors import WRITING, InputError


@contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[Path]:
    """A temporary name beside `path`; renamed onto it when the block ends well, removed when it fails.

    The file gets the rights that `open` would give it: those of the file it replaces, or what the umask leaves. Some
    writers (safetensors) would keep it from everybody else. With `private` nobody else reads it, at no time.

    Raises:
        InputError: the folder cannot be made or written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(0o600 if private else 0o666)
        mode = 0o600 if private else stat.S_IMODE((path if path.exists() else temporary).stat().st_mode)
        if not private:
            temporary.unlink()
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(mode)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


@contextmanager
def replacing_folder(out: Path) -> Iterator[Path]:
    """An empty folder beside `out` that takes its name when the block ends well; what a killed run left goes first.

    `out` must not exist or be empty.

    Raises:
        InputError: the place cannot be written.
    """
    folder = out.with_name(f".{out.name}.partial")
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    except OSError as error:
        raise _unwritable(out, error) from error
    try:
        yield folder
        if out.exists():
            out.rmdir()
        folder.rename(out)
    except OSError as error:
        if error.errno in WRITING or error.filename is None or _is_below(folder, error.filename):
            raise _unwritable(out, error) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_folder(option: str, path: Path, *, written: bool = False) -> None:
    """That `path` is a folder or can become one, before work is done that is to be written there.

    Args:
        option: names it in the error.
        path: the folder.
        written: it will be written for sure.

    Raises:
        InputError: it is a file, or lies below one; where it is to be written, no rights to do so.
    """
    there = next((place for place in (path, *path.parents) if place.exists()), path)
    if there.exists() and not there.is_dir():
        raise InputError(f"{option}: {path} cannot be written ({there} is a file); give a folder")
    if written and not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{option}: {path} cannot be written (no rights in {there}); choose another folder")


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be written ({error.strerror or error}); choose another output folder")


def _is_below(folder: Path, name: str | bytes) -> bool:
    return Path(os.fsdecode(name)).is_relative_to(folder)


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write UTF-8 text through `replacing`."""
    with replacing(path, private=private) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path, hint: str) -> Any:
    """The content of a JSON file; a byte order mark at its beginning is no fault.

    Args:
        path: the file.
        hint: what to do when it is not there.

    Raises:
        InputError: missing, unreadable, or broken JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: not found; {hint}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: broken JSON ({error}); mend or replace the file") from error
