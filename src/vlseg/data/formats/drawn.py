"""Masks that a layout holds in another form, drawn to files once, each under a name that tells its content."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from vlseg.data.formats.outlines import union
from vlseg.data.masks import Mask
from vlseg.records import InputError, replacing

VERSION = "1"
"""Counts up when the same description gives other pixels."""


class Drawn:
    """Masks below FOLDER of the dataset; where that cannot be written, of a folder of its own in the user's cache.

    With `below`, FOLDER lies there whether the dataset can be written or not.
    """

    def __init__(self, root: Path, folder: str, below: Path | None = None) -> None:
        self.root = root
        self.folder = folder
        self.below = below or (root if _writable(root, folder) else _cache(root))

    @property
    def elsewhere(self) -> Path | None:
        """The folder below which the masks lie, where that is not the dataset's."""
        return None if self.below == self.root else self.below

    def name(self, words: str, content: bytes, draw: Callable[[], Mask]) -> str:
        """The name, below `self.below`, of the file that holds the mask `draw` gives; drawn when it is not there.

        Args:
            words: for the reader of the folder; other characters than letters, digits, ".", "-" become "_".
            content: all that the mask depends on. The name holds its hash, so that another content is another file.
            draw: gives the mask (H, W).

        Raises:
            InputError: neither place can be written, or what `draw` raises.
        """
        mark = hashlib.sha256(VERSION.encode() + b"\0" + content).hexdigest()[:16]
        plain = re.sub(r"[^\w.-]+", "_", words).encode()[:120].decode(errors="ignore")
        name = f"{self.folder}/{plain}_{mark}.png"
        path = self.below / name
        if not path.exists():
            mask = draw()
            try:
                with replacing(path) as temporary:
                    Image.fromarray(mask.astype(np.uint8) * 255).save(temporary, format="PNG")
            except InputError as error:
                raise InputError(
                    f"{self.root}: its masks must be drawn to files, and neither {self.folder}/ in it nor {self.below} "
                    f"can be written ({error}); copy the dataset to a folder that you may write"
                ) from error
        return name

    def outlines(self, image: str, target: str, outlines: Sequence[Any], size: tuple[int, int], where: str) -> str:
        """The name of the mask that unites outlines, each as `vlseg.data.formats.outlines.decode` takes it.

        Args:
            image: the picture, below the dataset.
            target: what is outlined.
            outlines: none give an empty mask, which all images of that size share.
            size: (H, W).
            where: file and image, for errors.

        Raises:
            InputError: the picture has another size, or see `name` and `vlseg.data.formats.outlines.union`.
        """
        words = f"{image}_{target}" if outlines else f"empty_{size[0]}x{size[1]}"
        content = json.dumps([*size, outlines]).encode()
        return self.name(words, content, partial(_united, self.root / image, outlines, size, where))


def _united(path: Path, outlines: Sequence[Any], size: tuple[int, int], where: str) -> Mask:
    check_size(path, size, where)
    return union(outlines, size, where)


def check_size(path: Path, size: tuple[int, int], where: str) -> None:
    """Refuses an image file whose (height, width) is not `size`, unless turned.

    Raises:
        InputError: it is not.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return  # reading the image says what is wrong with it
    # An EXIF orientation may turn it.
    if size not in ((height, width), (width, height)):
        raise InputError(f"{where}: is {width}x{height} on disk, {size[1]}x{size[0]} in the file; correct the file")


def _writable(root: Path, folder: str) -> bool:
    place = root / folder if (root / folder).is_dir() else root
    return os.access(place, os.W_OK | os.X_OK)


def _cache(root: Path) -> Path:
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vlseg" / "masks"
    return place / hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
