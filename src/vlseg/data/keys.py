"""What identifies a file's content, and an image as it is read."""

import hashlib
from functools import lru_cache
from pathlib import Path

from vlseg.records import DatasetInfo, Sample


def image_key(sample: Sample, info: DatasetInfo) -> str:
    """The same for equal bytes read alike, wherever the file lies."""
    return f"{file_digest(sample.image_path)} {info.intensity}"


def file_digest(path: Path) -> str:
    """SHA-256 of all bytes. In one process a file is read again only when its size, dates or inode have changed.

    Raises:
        OSError: it cannot be read.
    """
    return _digest(path, file_status(path))


def file_status(path: Path) -> tuple[int, ...]:
    """Size, dates and inode: another content has others.

    Raises:
        OSError: it is not there.
    """
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


@lru_cache(maxsize=200_000)
def _digest(path: Path, status: tuple[int, ...]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
