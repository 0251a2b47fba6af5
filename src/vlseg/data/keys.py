"""What identifies an image as it is read: the file's bytes and the dataset's policy."""

import hashlib
from functools import lru_cache
from pathlib import Path

from vlseg.records import DatasetInfo, Sample


def image_key(sample: Sample, info: DatasetInfo) -> str:
    """The same for equal bytes read alike, wherever the file lies."""
    status = sample.image_path.stat()
    return f"{_digest(sample.image_path, status.st_mtime_ns, status.st_size)} {info.intensity}"


@lru_cache(maxsize=200_000)
def _digest(path: Path, modified: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
