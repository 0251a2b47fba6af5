"""What data a run saw, in one word."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from vlseg.data.keys import file_digest
from vlseg.records import DatasetInfo, Sample

EXEMPT: Mapping[str, str] = {
    "Sample.dataset": "a name, which may be the folder's",
    "DatasetInfo.name": "a name, which may be the folder's",
    "DatasetInfo.root": "a place",
    "DatasetInfo.files": "a place",
    "DatasetInfo.names_from_root": "says only where files lie",
    "DatasetInfo.masks": "a place",
    "DatasetInfo.absent": "what it adds are samples",
    "DatasetInfo.left_out": "words on what is not used",
    "DatasetInfo.licence": "changes no score",
    "DatasetInfo.mask_max": "follows from the masks",
    "DatasetInfo.fingerprint": "the result",
    "DatasetInfo.text_blind_ceiling": "follows from the masks",
    "DatasetInfo.generator": "the pixels that it drew count",
}
"""Fields that the fingerprint leaves out, each with its reason. All others count, new ones too."""


def fingerprint(info: DatasetInfo, samples: Sequence[Sample]) -> str:
    """SHA-256 (16 hexadecimal digits) over all that a score of these samples depends on.

    That is every field of the samples and the info but those in `EXEMPT`, with all bytes of each image and mask in the
    place of its name: a dataset that moves keeps its fingerprint. A file that cannot be read counts as missing.
    """
    digest = hashlib.sha256()
    for record in (info, *samples):
        digest.update(json.dumps(_plain(record), sort_keys=True, ensure_ascii=False).encode(errors="surrogateescape"))
        digest.update(b"\n")
    return digest.hexdigest()[:16]


def _plain(value: Any) -> Any:
    """The value in JSON's types, the same for equal values.

    Fields at their default are left out: fields that later versions add change nothing where they are not used.
    """
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, tuple | list):
        return [_plain(inside) for inside in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(inside) for key, inside in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(_plain(inside) for inside in value)
    if isinstance(value, Path):
        return _content(value)
    if is_dataclass(value) and not isinstance(value, type):
        kept = ((name, default, getattr(value, name)) for name, default in _fields(type(value)))
        return {name: _plain(inside) for name, default, inside in kept if default is MISSING or inside != default}
    raise TypeError(f"the fingerprint cannot hold a {type(value).__name__}")


@lru_cache(maxsize=64)
def _fields(record: type) -> tuple[tuple[str, Any], ...]:
    """Names and defaults of the fields that count."""
    return tuple((f.name, f.default) for f in fields(record) if f"{record.__name__}.{f.name}" not in EXEMPT)


def _content(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError:
        return "missing"
