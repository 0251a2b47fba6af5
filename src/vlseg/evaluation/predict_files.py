"""Masks for files or a folder of images: one model load, each image encoded once."""

import json
import math
import os
import re
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from vlseg.data import made_ahead
from vlseg.evaluation.familiarity import UNKNOWN
from vlseg.evaluation.judging import Answered, state_of
from vlseg.evaluation.overlays import overlay
from vlseg.evaluation.predict import Prediction
from vlseg.evaluation.predictor import Predictor
from vlseg.records import InputError, read_json, replacing, write_text
from vlseg.records.names import same_file

WRITERS = 2
"""Threads that write masks while the next image is read and answered."""
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"})
PREDICTIONS = "predictions.json"
_WORDS = {"model": "model", "digest": "model of this name", "threshold": "threshold", "precision": "precision"}


@dataclass(frozen=True)
class PredictedMask:
    """One written mask.

    `area_px` counts pixels at the image's own size; `present` says that there are any; `presence` is
    the model's score in [0, 1] that the named thing is in the image, None where it has none. `file` is the mask's name
    below the folder. `model` is the model's name, `digest` says which weights and settings; `threshold` acts on
    probabilities. `state` is "found", "not_found" or "cannot_judge" (see `state_of`), `familiar` whether the image is
    like those of the training and why not, `unknown_words` are those of the prompt that the training prompts lack.
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
    file: str
    model: str
    digest: str
    threshold: float
    precision: str
    state: Answered
    familiar: dict[str, Any]
    unknown_words: list[str]


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


class Names:
    """Names of masks in a folder: that of the same image and prompt if it has one, else one that nothing there has.

    Raises:
        InputError: the folder holds predictions of another model, threshold or precision.
    """

    def __init__(self, out: Path, predictor: Predictor) -> None:
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        for row in _rows(out):
            _check_alike(out, row, predictor)
            self.rows[_absolute(row["image"]), row["prompt"]] = row
        present = files_below(out) if out.is_dir() else []
        self._taken = {same_file(file.relative_to(out).with_suffix("").as_posix()) for file in present}

    def give(self, image: Path, name: str, prompt: str) -> str:
        """The mask's name below the folder, without suffix."""
        old = self.rows.get((_absolute(image), prompt))
        if old is not None:
            return PurePosixPath(old["file"]).with_suffix("").as_posix()
        folder, _, stem = name.rpartition("/")
        begin = f"{folder}/{_short(stem)}" if folder else _short(stem)
        wanted = candidate = f"{begin}__{slug(prompt)}"
        number = 2
        while self._taken & {same_file(candidate), same_file(f"overlays/{candidate}")}:
            candidate, number = f"{wanted}-{number}", number + 1
        self._taken |= {same_file(candidate), same_file(f"overlays/{candidate}")}
        return candidate

    def write(self, out: Path, masks: Sequence[PredictedMask]) -> None:
        """predictions.json with the rows that were there and the new ones, by image and prompt."""
        new = {(_absolute(mask.image), mask.prompt): asdict(mask) for mask in masks}
        rows = list({**self.rows, **new}.values())
        write_text(out / PREDICTIONS, json.dumps(rows, indent=1, allow_nan=False) + "\n")


def _absolute(path: str | Path) -> str:
    """With links as they are: two links to one file are two images."""
    return os.path.normpath(Path(path).absolute())


def _rows(out: Path) -> list[dict[str, Any]]:
    path = out / PREDICTIONS
    if not path.is_file():
        return []
    rows = read_json(path, "")
    kept = {"image", "prompt", "file", "model", "digest", "threshold", "precision"}
    if not isinstance(rows, list) or not all(isinstance(row, dict) and kept <= row.keys() for row in rows):
        raise InputError(f"--out: {path} is of an earlier version or not of vlseg predict; give another folder")
    return rows


def _check_alike(out: Path, row: dict[str, Any], predictor: Predictor) -> None:
    own = {
        "model": predictor.model.spec.name,
        "digest": predictor.digest,
        "threshold": predictor.threshold,
        "precision": predictor.precision,
    }
    for name, value in own.items():
        if row[name] != value:
            raise InputError(
                f"--out: {out} holds predictions of another {_WORDS[name]} ({row[name]}, not {value}); "
                "give another folder"
            )


def predict_files(
    predictor: Predictor,
    found: FoundImages,
    prompts: Sequence[str],
    out: Path,
    *,
    on_image: Callable[[], None] = lambda: None,
) -> tuple[list[PredictedMask], list[str]]:
    """Write masks (0/255, the image's size), overlays and predictions.json into `out`.

    An unreadable image among several does not stop the others. Predictions that are in `out` already stay, but for
    those of the same images and prompts, which are replaced.

    Returns:
        The written masks, and one line for each image that could not be read or answer that is not a number.

    Raises:
        InputError: no image could be read, or `out` cannot be written or holds predictions of another model.
    """
    masks: list[PredictedMask] = []
    failures: list[str] = []
    prompts = list(dict.fromkeys(prompts))
    names = Names(out, predictor)
    waiting: deque[Future[PredictedMask]] = deque()

    def load(index: int) -> np.ndarray | InputError:
        try:
            return predictor.read(found.images[index])
        except InputError as error:
            return error

    try:
        with ThreadPoolExecutor(WRITERS, thread_name_prefix="write") as writers:
            for path, pixels in zip(found.images, made_ahead(load, len(found.images), 1), strict=True):
                if isinstance(pixels, InputError):
                    failures.append(str(pixels))
                    on_image()
                    continue
                predictions, verdict = predictor.segment(pixels, prompts), predictor.judge(pixels)
                familiar = dict(UNKNOWN) if verdict is None else verdict.to_json()
                for prompt, prediction in zip(prompts, predictions, strict=True):
                    if np.isnan(prediction.probability).any():
                        failures.append(f'{path}: the answer to "{prompt}" is not a number; do the weights hold NaN?')
                    name = names.give(path, found.name(path), prompt)
                    made = (path, prompt, pixels, prediction, out, name, predictor, familiar)
                    waiting.append(writers.submit(_write, *made))
                    if len(waiting) > 2 * WRITERS:
                        masks.append(waiting.popleft().result())
                on_image()
            while waiting:
                masks.append(waiting.popleft().result())
    finally:  # also when interrupted: what was written is listed
        masks += [job.result() for job in waiting if job.done() and not job.cancelled() and job.exception() is None]
        if masks:
            names.write(out, masks)
    if not masks:
        raise InputError(failures[0])
    return masks, failures


def _write(
    path: Path,
    prompt: str,
    pixels: np.ndarray,
    prediction: Prediction,
    out: Path,
    name: str,
    predictor: Predictor,
    familiar: dict[str, Any],
) -> PredictedMask:
    """The mask and the picture of one answer."""
    mask_path, overlay_path = out / f"{name}.png", out / "overlays" / f"{name}.png"
    with replacing(mask_path) as temporary:
        Image.fromarray(prediction.mask.astype("uint8") * 255).save(temporary, format="PNG")
    with replacing(overlay_path) as temporary:
        overlay(pixels, prediction.mask).save(temporary, format="PNG")
    area = int(prediction.mask.sum())
    height, width = prediction.mask.shape
    presence = prediction.presence
    return PredictedMask(
        image=str(path),
        prompt=prompt,
        mask=str(mask_path),
        overlay=str(overlay_path),
        area_px=area,
        present=area > 0,
        presence=presence if presence is not None and math.isfinite(presence) else None,
        height=height,
        width=width,
        file=f"{name}.png",
        model=predictor.model.spec.name,
        digest=predictor.digest,
        threshold=predictor.threshold,
        precision=predictor.precision,
        state=state_of(area, familiar["state"], finite=bool(np.isfinite(prediction.probability).all())),
        familiar=familiar,
        unknown_words=predictor.vocabulary.unknown(prompt) if predictor.vocabulary is not None else [],
    )


def slug(prompt: str) -> str:
    """The prompt as part of a file name, in small letters of any script; different prompts may give the same."""
    name = re.sub(r"[\W_]+", "-", same_file(prompt)).strip("-")
    return name.encode(errors="ignore")[:60].decode(errors="ignore").strip("-") or "empty"


def _short(stem: str) -> str:
    """The stem of an image as the beginning of a name: as it is, but for what no name may hold, and its length."""
    kept = re.sub(r'[<>:"\\|?*\x00-\x1f]', "-", stem)
    return kept.encode(errors="ignore")[:160].decode(errors="ignore")
