"""Masks for files or a folder of images: one model load, each image encoded once."""

import json
import re
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vlseg.data import made_ahead
from vlseg.evaluation.overlays import overlay
from vlseg.evaluation.predict import Prediction
from vlseg.evaluation.predictor import Predictor
from vlseg.records import InputError, replacing, write_text

WRITERS = 2
"""Threads that write masks while the next image is read and answered."""
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"})


@dataclass(frozen=True)
class PredictedMask:
    """One written mask.

    `area_px` counts pixels at the image's own size; `present` says that there are any; `presence` is
    the model's score in [0, 1] that the named thing is in the image.
    """

    image: str
    prompt: str
    mask: str
    overlay: str
    area_px: int
    present: bool
    presence: float | None
    height: int
    width: int


def find_images(path: Path) -> list[Path]:
    """The image itself, or the image files of a folder by name.

    Raises:
        InputError: nothing there.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"--image: {path} does not exist; give an image file or a folder of them")
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    if not found:
        raise InputError(f"--image: {path} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return found


def predict_files(
    predictor: Predictor,
    images: Sequence[Path],
    prompts: Sequence[str],
    out: Path,
    *,
    on_image: Callable[[], None] = lambda: None,
) -> tuple[list[PredictedMask], list[str]]:
    """Write masks (0/255, the image's size), overlays and predictions.json into `out`.

    An unreadable image among several does not stop the others.

    Returns:
        The written masks, and one line for each image that could not be read.

    Raises:
        InputError: no image could be read, or `out` cannot be written.
    """
    masks: list[PredictedMask] = []
    failures: list[str] = []
    names: set[str] = set()
    waiting: deque[Future[PredictedMask]] = deque()

    def load(index: int) -> np.ndarray | InputError:
        try:
            return predictor.read(images[index])
        except InputError as error:
            return error

    with ThreadPoolExecutor(WRITERS, thread_name_prefix="write") as writers:
        for path, pixels in zip(images, made_ahead(load, len(images), 1), strict=True):
            if isinstance(pixels, InputError):
                failures.append(str(pixels))
                on_image()
                continue
            for prompt, prediction in zip(prompts, predictor.segment(pixels, prompts), strict=True):
                name = _unused(f"{path.stem}__{slug(prompt)}", names)
                waiting.append(writers.submit(_write, path, prompt, pixels, prediction, out, name))
                if len(waiting) > 2 * WRITERS:
                    masks.append(waiting.popleft().result())
            on_image()
        masks += [job.result() for job in waiting]
    if not masks:
        raise InputError(failures[0])
    write_text(out / "predictions.json", json.dumps([asdict(mask) for mask in masks], indent=1) + "\n")
    return masks, failures


def _write(path: Path, prompt: str, pixels: np.ndarray, prediction: Prediction, out: Path, name: str) -> PredictedMask:
    """The mask and the picture of one answer."""
    mask_path, overlay_path = out / f"{name}.png", out / "overlays" / f"{name}.png"
    with replacing(mask_path) as temporary:
        Image.fromarray(prediction.mask.astype("uint8") * 255).save(temporary, format="PNG")
    with replacing(overlay_path) as temporary:
        overlay(pixels, prediction.mask).save(temporary, format="PNG")
    area = int(prediction.mask.sum())
    height, width = prediction.mask.shape
    return PredictedMask(
        str(path), prompt, str(mask_path), str(overlay_path), area, area > 0, prediction.presence, height, width
    )


def slug(prompt: str) -> str:
    """The prompt as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:60] or "empty"


def _unused(name: str, taken: set[str]) -> str:
    """The name, numbered when it was given before (a.png beside a.jpg, prompts alike in letters)."""
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}-{number}", number + 1
    taken.add(candidate)
    return candidate
