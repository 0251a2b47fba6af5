"""The images of a folder."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from vlseg.records import InputError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"})


@dataclass(frozen=True)
class FoundImages:
    """Images, the folder that they were looked for in, and the other files there.

    Names of masks are those of the images below `root`. `unused` are names below it.
    """

    root: Path
    images: tuple[Path, ...]
    unused: tuple[str, ...] = ()

    def name(self, image: Path) -> str:
        """The image's name below the root, without suffix."""
        return image.relative_to(self.root).with_suffix("").as_posix()


def find_images(path: Path, out: Path | None = None) -> FoundImages:
    """The image itself, or the image files of a folder and of the folders in it, by name.

    Linked folders are entered, hidden files and folders are not, nor is `out` where it lies inside.

    Raises:
        InputError: nothing there.
    """
    if path.is_file():
        return FoundImages(path.parent, (path,))
    if not path.is_dir():
        raise InputError(f"--image: {path} does not exist; give an image file or a folder of them")
    files = files_below(path, without=out)
    images = tuple(file for file in files if file.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        others = Counter(file.suffix.lower() or "no suffix" for file in files)
        held = ", ".join(f"{count} {kind}" for kind, count in others.most_common(3)) or "no files"
        raise InputError(
            f"--image: {path} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}), but {held}; convert them to PNG"
        )
    taken = set(images)
    return FoundImages(path, images, tuple(file.relative_to(path).as_posix() for file in files if file not in taken))


def files_below(folder: Path, without: Path | None = None) -> list[Path]:
    """Files below a folder, sorted, those in linked folders included, hidden ones and those in `without` not."""
    files: list[Path] = []
    left_out = without.resolve() if without is not None else None
    for root, folders, names in os.walk(folder, followlinks=True):
        here, above = Path(root).resolve(), Path(root)
        loops = False
        while above != folder:
            above = above.parent
            loops = loops or above.resolve() == here
        if loops or here == left_out:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [file for name in names if not name.startswith(".") and (file := Path(root, name)).is_file()]
    return sorted(files)
