"""What a check needs to know of an image or mask file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlseg.data.images import open_image
from vlseg.data.masks import mask_values
from vlseg.records import InputError


@dataclass(frozen=True)
class FileFacts:
    """Facts of one file; `problem` is the reading error's line, `values` a mask's small-integer values."""

    exists: bool
    problem: str | None = None
    digest: str | None = None
    shape: tuple[int, int] | None = None
    values: NDArray[np.int64] | None = None
    largest: int = 0
    distinct: int = 0


def image_facts(path: Path) -> FileFacts:
    """Decodes the image fully: a truncated file is found only so."""
    if not path.is_file():
        return FileFacts(exists=False)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    try:
        image = open_image(path)
    except InputError as error:
        return FileFacts(exists=True, problem=str(error), digest=digest)
    return FileFacts(exists=True, digest=digest, shape=(image.height, image.width))


def mask_facts(path: Path, mask_value: int | None) -> FileFacts:
    """Reads the mask's values."""
    if not path.is_file():
        return FileFacts(exists=False)
    try:
        values = mask_values(path, index=mask_value is not None)
    except InputError as error:
        return FileFacts(exists=True, problem=str(error))
    present = np.unique(values)
    shape = (values.shape[0], values.shape[1])
    return FileFacts(True, None, None, shape, values, int(present[-1]), len(present))
