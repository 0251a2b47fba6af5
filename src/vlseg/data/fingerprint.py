"""What data a run saw, in one word."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from vlseg.records import DatasetInfo, Sample

ENDS = 65536


def fingerprint(info: DatasetInfo, samples: Sequence[Sample]) -> str:
    """SHA-256 (16 hexadecimal digits) over annotations, dataset.json and every image and mask file used.

    Of each file: its name below the dataset's folder, its size and its first and last 64 KiB, so that thousands of
    files take seconds. Dates do not count. A missing file counts as missing.
    """
    digest = hashlib.sha256()
    digest.update(_content(info.root / "dataset.json"))
    listed = [path for sample in samples for path in (sample.image_path, *sample.mask_paths)]
    for path in dict.fromkeys(listed):
        digest.update(path.relative_to(info.files).as_posix().encode() + b"\0" + _content(path))
    for sample in samples:
        parts = (
            sample.id,
            sample.split,
            sample.target,
            sample.group,
            sample.mask_value,
            sorted(sample.prompts.items()),
            sample.reader,
        )
        digest.update(repr(parts).encode())
    return digest.hexdigest()[:16]


def _content(path: Path) -> bytes:
    if not path.is_file():
        return b"missing"
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(ENDS)
        file.seek(max(0, size - ENDS))
        tail = file.read(ENDS)
    return hashlib.sha256(size.to_bytes(8, "little") + head + tail).digest()
