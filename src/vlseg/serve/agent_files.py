"""The files that an agent may read and write: below folders that the user named, whatever path it gives."""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vlseg.records import InputError, check_folder, replacing
from vlseg.records.names import file_name, slug
from vlseg.serve.limits import Refused

LONGEST_PATH = 4096
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _NO_LINK
_FILE = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | _NO_LINK


@dataclass(frozen=True)
class Folders:
    """Real paths: `readable` ones, and the one that masks are written to, or None."""

    readable: tuple[Path, ...]
    written: Path | None = None


def open_folders(readable: Sequence[Path], written: Path | None) -> Folders:
    """The folders by their real paths; the one that is written to is made.

    Raises:
        InputError: one to be read that is no folder, or one that cannot be written.
    """
    for folder in readable:
        if not folder.is_dir():
            raise InputError(f"--allow: {folder} is no folder; give one with images")
    if written is not None:
        check_folder("--out", written, written=True)
        written.mkdir(parents=True, exist_ok=True)
    real = tuple(dict.fromkeys(Path(os.path.realpath(folder)) for folder in readable))
    return Folders(real, None if written is None else Path(os.path.realpath(written)))


def read_image_file(folders: Folders, given: str, most: int) -> bytes:
    """The content of a file below a readable folder; relative paths are looked for in each, in order.

    Links are followed as far as they stay inside. What is opened is what was judged: no part of the path is a link
    any more by then.

    Args:
        folders: see `Folders`.
        given: the path as the agent gave it.
        most: bytes.

    Raises:
        Refused: outside of the folders (the same line whether something is there or not), not there, not a plain
            file, too large.
    """
    failed: OSError | None = None
    places = _places(folders, given)
    for root, parts in (place for place in places if place is not None):
        try:
            file = _opened(root, parts)
        except OSError as error:
            failed = error
            continue
        return _read(file, given, most)
    if failed is None or None in places:
        names = ", ".join(map(str, folders.readable))
        line = f"image: {given!a:.200} is outside of the folders that may be read ({names}); give a path below one"
        raise Refused(403, "path_outside", line)
    line = f"image: {given!a:.200} cannot be opened ({failed.strerror or failed}); give an image file"
    raise Refused(404, "no_such_file", line) from failed


def write_mask(folders: Folders, image: str, prompt: str, content: bytes) -> Path:
    """Write a mask under a name that nothing in the folder has.

    Args:
        folders: with one to be written to.
        image: the image's path or "" for one that has none.
        prompt: of the mask.
        content: PNG.

    Raises:
        InputError: the folder cannot be written.
    """
    assert folders.written is not None
    begin = f"{file_name(Path(image).stem) or 'image'}__{slug(prompt)}"
    number = 1
    while True:
        path = folders.written / (f"{begin}.png" if number == 1 else f"{begin}-{number}.png")
        try:
            # Taking the name fails where anything is called so, a link as well.
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            break
        except FileExistsError:
            number += 1
        except OSError as error:
            raise InputError(f"--out: {path} cannot be written ({error.strerror})") from error
    try:
        with replacing(path, private=True) as temporary:
            temporary.write_bytes(content)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _places(folders: Folders, given: str) -> list[tuple[Path, tuple[str, ...]] | None]:
    """Where the path leads, from each folder: a readable folder and the way from there, or None for outside."""
    if not given or len(given) > LONGEST_PATH:
        return []
    found: list[tuple[Path, tuple[str, ...]] | None] = []
    for start in folders.readable:
        try:
            real = Path(os.path.realpath(start / given))
        except (ValueError, OSError):  # characters that no path has
            return []
        root = next((root for root in folders.readable if real != root and real.is_relative_to(root)), None)
        found.append(None if root is None else (root, real.relative_to(root).parts))
    return found


def _opened(root: Path, parts: Sequence[str]) -> int:
    """The file, opened from folder to folder so that none of them can become a link in between."""
    if os.open not in os.supports_dir_fd:  # Windows
        return os.open(root.joinpath(*parts), _FILE)
    folder = os.open(root, _FOLDER)
    try:
        for part in parts[:-1]:
            folder, before = os.open(part, _FOLDER, dir_fd=folder), folder
            os.close(before)
        return os.open(parts[-1], _FILE, dir_fd=folder)
    finally:
        os.close(folder)


def _read(file: int, given: str, most: int) -> bytes:
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise Refused(422, "no_plain_file", f"image: {given!a:.200} is no plain file; give an image file")
        with os.fdopen(file, "rb", closefd=False) as opened:
            content = opened.read(most + 1)
    finally:
        os.close(file)
    if len(content) > most:
        line = f"image: {given!a:.200} has more than {most} bytes; make it smaller"
        raise Refused(413, "too_large", line)
    return content
