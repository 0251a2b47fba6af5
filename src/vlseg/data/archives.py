"""What a user downloaded, as one list of files: a folder, a zip or a tar, or a folder that holds such archives.

Archives come from the internet: nothing is ever written under a name that an archive chose, and what is
read is bounded.
"""

import io
import lzma
import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, cast

from vlseg.data.names import is_picture
from vlseg.records import InputError, from_system

MAX_MEMBERS = 2_000_000
MAX_MEMBER_BYTES = 2 * 1024**3
MAX_TOTAL_BYTES = 500 * 1024**3
MAX_RATIO = 1000
"""Unpacked to packed size; a blank mask of 10 megapixels packs 1:800 as it is."""
RATIO_FREE_BYTES = 16 * 1024**2
"""Files up to this size may pack at any ratio."""

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_NOISE = frozenset({"__macosx", ".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir"})


@dataclass(eq=False)
class Tree:
    """Files by their path in the source ("folder/a.png"), each with a reader of its bytes."""

    source: Path
    readers: dict[str, Callable[[], bytes]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    """One line for each file that could not be taken in."""

    @property
    def names(self) -> list[str]:
        """All paths, sorted."""
        return sorted(self.readers)

    def read(self, name: str) -> bytes:
        """The file's bytes.

        Raises:
            InputError: it cannot be unpacked, or is larger than it said.
        """
        return self.readers[name]()


@contextmanager
def open_source(source: Path) -> Iterator[Tree]:
    """The files of a folder or archive. Archives directly in a folder count as folders of their name.

    Raises:
        InputError: no such source, no archive that is known, or one that could do harm: names that lead out,
            links and devices, names that stand twice, more or larger files than any dataset has.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; give the archive or folder you downloaded")
    tree = Tree(source)
    with ExitStack() as stack:
        if source.is_file():
            _add_archive(tree, source, "", stack)
        else:
            _add_folder(tree, source, stack)
        yield tree


def is_archive(path: Path) -> bool:
    """True for the names of archives that can be read."""
    return path.name.lower().endswith(ARCHIVES)


def walk_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name below the folder and path of each file, sorted; links are followed, but not back into where they lie.

    Raises:
        OSError: a folder that cannot be read.
    """
    yield from sorted(_walk(folder, "", ()))


def _walk(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, Path]]:
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for entry in folder.iterdir():
        name = prefix + entry.name
        if is_noise(entry.name):
            continue
        if entry.is_dir():
            yield from _walk(entry, f"{name}/", (*above, here))
        else:
            yield name, entry


def _add_folder(tree: Tree, folder: Path, stack: ExitStack) -> None:
    for name, file in walk_files(folder):
        if not file.is_file():
            tree.skipped.append(f"{shown(name)} is a link that leads nowhere, or no file")
        elif is_archive(file):
            _add_archive(tree, file, name[: -len(_suffix(file))] + "/", stack)
        else:
            _add(tree, name, file.stat().st_size, file.read_bytes, folder)


def shown(name: str) -> str:
    """The name as text that can be printed and written: bytes that are not UTF-8 as their hexadecimal digits."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _suffix(file: Path) -> str:
    return next(suffix for suffix in sorted(ARCHIVES, key=len, reverse=True) if file.name.lower().endswith(suffix))


def _add_archive(tree: Tree, file: Path, prefix: str, stack: ExitStack) -> None:
    try:
        if zipfile.is_zipfile(file):
            _add_zip(tree, file, prefix, stack)
        elif tarfile.is_tarfile(file):
            _add_tar(tree, file, prefix, stack)
        else:
            known = ", ".join(ARCHIVES)
            raise InputError(f"{file}: is no archive that can be read ({known}); unpack it and give the folder")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the system's, not the archive's
            raise InputError(from_system(error, f"{file}: its unpacked copy in {tempfile.gettempdir()}")) from error
        raise InputError(f"{file}: is damaged or incomplete ({error}); download it again") from error


def _add(tree: Tree, name: str, size: int, read: Callable[[], bytes], where: Path) -> None:
    if shown(name) != name:
        if is_picture(name):
            raise InputError(f"{where}: the name {shown(name)} is not UTF-8 text; rename the file or its folder")
        tree.skipped.append(f"{shown(name)} has a name that is not UTF-8 text")
        return
    if name in tree.readers:
        raise InputError(f"{where}: holds '{name}' twice; which one is meant cannot be known")
    tree.readers[name] = read
    tree.sizes[name] = size


def is_noise(name: str) -> bool:
    """True for what operating systems leave in folders."""
    return any(part.lower() in _NOISE or part.startswith("._") for part in PurePosixPath(name).parts)


def _checked_name(file: Path, name: str) -> str:
    """The name with slashes: some archivers of Windows write backslashes."""
    slashed = name.replace("\\", "/")
    parts = PurePosixPath(slashed).parts
    if "\0" in name or ":" in slashed.split("/")[0] or slashed.startswith("/") or ".." in parts:
        raise InputError(f"{file}: holds the name {name!r}, which leads out of the folder; do not use this archive")
    return slashed


def _check_sizes(file: Path, name: str, size: int, total: int) -> None:
    if size > MAX_MEMBER_BYTES or total > MAX_TOTAL_BYTES:
        raise InputError(f"{file}: '{name}' unpacks to {size} bytes; no dataset file is so large, it is not unpacked")


def _add_zip(tree: Tree, file: Path, prefix: str, stack: ExitStack) -> None:
    archive = stack.enter_context(zipfile.ZipFile(file))
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise InputError(f"{file}: holds {len(members)} files, more than any dataset; it is not unpacked")
    total = 0
    for member in members:
        name = _checked_name(file, member.orig_filename)  # as stored: zipfile cuts at zero bytes
        mode = member.external_attr >> 16
        if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(f"{file}: '{name}' is a link or device, which no dataset needs; do not use this archive")
        if name.endswith("/") or is_noise(name):
            continue
        if member.flag_bits & 1:
            raise InputError(f"{file}: '{name}' is encrypted; unpack it with its password and give the folder")
        total += member.file_size
        _check_sizes(file, name, member.file_size, total)
        if member.file_size > RATIO_FREE_BYTES and member.file_size > MAX_RATIO * max(member.compress_size, 1):
            raise InputError(
                f"{file}: '{name}' unpacks to {member.file_size // max(member.compress_size, 1)} times "
                "its size; it looks like an archive bomb and is not unpacked"
            )
        _add(tree, prefix + name, member.file_size, _zip_reader(archive, member, file), file)


def _zip_reader(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            with archive.open(member) as stream:
                return _bounded(stream, member.file_size, file, member.filename)
        except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, OSError) as error:
            raise InputError(f"{file}: '{member.filename}' cannot be unpacked ({error}); download it again") from error

    return read


def _add_tar(tree: Tree, file: Path, prefix: str, stack: ExitStack) -> None:
    """Adds a tar's files.

    Going back in a compressed tar means unpacking it anew, so that a compressed one is first unpacked as a
    whole into an anonymous temporary file.
    """
    archive = tarfile.open(fileobj=_plain_tar(file, stack), mode="r:")  # noqa: SIM115
    stack.enter_context(archive)
    total = 0
    for count, member in enumerate(archive, start=1):
        if count > MAX_MEMBERS:
            raise InputError(f"{file}: holds more files than any dataset; it is not unpacked")
        name = _checked_name(file, member.name).removeprefix("./")
        if member.isdir():
            continue
        if not member.isreg():
            raise InputError(f"{file}: '{name}' is a link or device, which no dataset needs; do not use this archive")
        if is_noise(name):
            continue
        total += member.size
        _check_sizes(file, name, member.size, total)
        _add(tree, prefix + name, member.size, _tar_reader(archive, member, file), file)


def _plain_tar(file: Path, stack: ExitStack) -> IO[bytes]:
    import bz2
    import gzip

    with file.open("rb") as stream:
        head = stream.read(6)
    openers: dict[bytes, Callable[[Path], IO[bytes]]] = {
        b"\x1f\x8b": lambda path: cast(IO[bytes], gzip.open(path)),  # noqa: SIM115
        b"BZ": lambda path: cast(IO[bytes], bz2.open(path)),  # noqa: SIM115
        b"\xfd7": lambda path: cast(IO[bytes], lzma.open(path)),  # noqa: SIM115
    }
    if head[:2] not in openers:
        return stack.enter_context(file.open("rb"))
    limit = max(RATIO_FREE_BYTES, min(MAX_TOTAL_BYTES, MAX_RATIO * file.stat().st_size))
    plain = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    with openers[head[:2]](file) as packed:
        while block := packed.read(1 << 20):
            plain.write(block)
            if plain.tell() > limit:
                raise InputError(
                    f"{file}: unpacks to more than {MAX_RATIO} times its size; it looks like an archive "
                    "bomb and is not unpacked"
                )
    plain.seek(0)
    return plain


def _tar_reader(archive: tarfile.TarFile, member: tarfile.TarInfo, file: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            stream = archive.extractfile(member)
            return _bounded(stream or io.BytesIO(), member.size, file, member.name)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise InputError(f"{file}: '{member.name}' cannot be unpacked ({error}); download it again") from error

    return read


def _bounded(stream: IO[bytes], size: int, file: Path, name: str) -> bytes:
    """Never more than the size the archive declared, which was checked."""
    content = stream.read(size + 1)
    if len(content) != size:
        raise InputError(f"{file}: '{name}' is not as large as the archive says; download it again")
    return content
