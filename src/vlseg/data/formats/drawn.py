"""Masks that a layout holds in another form, drawn to files once, each under a name that tells its content."""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from vlseg.data.masks import Mask
from vlseg.records import InputError, replacing

VERSION = "1"
"""Counts up when the same description gives other pixels."""


class Drawn:
    """Masks below FOLDER of the dataset; where that cannot be written, of a folder of its own in the user's cache."""

    def __init__(self, root: Path, folder: str) -> None:
        self.root = root
        self.folder = folder
        self.below = root if _writable(root, folder) else _cache(root)

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


def _writable(root: Path, folder: str) -> bool:
    place = root / folder if (root / folder).is_dir() else root
    return os.access(place, os.W_OK | os.X_OK)


def _cache(root: Path) -> Path:
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vlseg" / "masks"
    return place / hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
