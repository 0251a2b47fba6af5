"""Corrected masks as a dataset of vlseg's own layout, which `vlseg data check` and `vlseg train` take as it is."""

import hashlib
import json
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vlseg.jobs.lock import run_lock
from vlseg.records import InputError, check_folder, read_json, replacing, write_text
from vlseg.records.names import slug
from vlseg.serve.limits import Refused
from vlseg.serve.pictures import NOTICE, read_mask_png
from vlseg.serve.schemas import CorrectionAsk, CorrectionItem
from vlseg.serve.store import Stored

MADE_BY = "vlseg serve --corrections"
SHARES = {"train": 0.9, "val": 0.1}
"""No test split: masks drawn over a model's answer flatter that model."""
UNKNOWN = "unknown"
"""The patient, where nobody knows: these images are all for training, as two may be of one patient."""
_writing = threading.Lock()
_log = logging.getLogger("vlseg.serve")


def check_corrections(folder: Path) -> None:
    """Makes sure that corrections can be kept in a folder: a new or empty one, or one that has some.

    Raises:
        InputError: it holds something else, or cannot be written.
    """
    check_folder("--corrections", folder, written=True)
    if not folder.is_dir() or all(path.name.startswith(".") for path in folder.iterdir()):
        return
    info = folder / "dataset.json"
    values = read_json(info, "") if info.is_file() else None
    if not isinstance(values, dict) or values.get("made_by") != MADE_BY:
        raise InputError(f"--corrections: {folder} holds something else; give a new folder")


def keep(folder: Path, ask: CorrectionAsk, image: Stored) -> list[str]:
    """Adds the masks of an image to the dataset and returns the samples' ids.

    A mask of the same pixels, prompt and target replaces the one before. Files are this user's alone (0600), and a
    reader at any time sees a sound dataset: masks and image are there before the entries that name them.

    Raises:
        Refused: masks that are not of the image's size, two for one prompt and target, or an image that was given
            with another patient (422); or the folder cannot be written now (503).
    """
    masks = [read_mask_png(one.mask, image.size, f"items.{number}.mask") for number, one in enumerate(ask.items)]
    named = {(one.prompt, one.target): None for one in ask.items}
    if len(named) < len(ask.items):
        raise Refused(422, "twice", "items: two have the same prompt and target; send one mask for them")
    picture = _picture(image.pixels)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with _writing, run_lock(folder):
            return _kept(folder, ask, image, masks, picture)
    except InputError as error:
        # Another server on the same folder, a full disk: what was there is as it was.
        _log.warning("corrections: %s", error)
        raise Refused(503, "not_written", "the corrections cannot be written now; the server's log says why") from error


def _kept(
    folder: Path, ask: CorrectionAsk, image: Stored, masks: Sequence[np.ndarray], picture: Image.Image
) -> list[str]:
    entries = {split: _entries(folder, split) for split in SHARES}
    stem = hashlib.sha256(repr(image.size).encode() + np.ascontiguousarray(image.pixels).data).hexdigest()[:24]
    split = _split(entries, stem, ask.patient)
    if not (folder / "dataset.json").exists():
        write_text(folder / "dataset.json", json.dumps(_info(folder), indent=1) + "\n", private=True)
    for name in ("images", "masks", "anns"):
        (folder / name).mkdir(exist_ok=True, mode=0o700)
    _save(folder / "images" / f"{stem}.png", picture)
    ids = []
    for item, mask in zip(ask.items, masks, strict=True):
        entry = _entry(item, ask.patient, stem, image)
        _save(folder / "masks" / entry["mask_name"], Image.fromarray(mask.astype(np.uint8) * 255))
        entries[split] = [one for one in entries[split] if one["id"] != entry["id"]] + [entry]
        ids.append(entry["id"])
    text = json.dumps(entries[split], indent=1, ensure_ascii=False) + "\n"
    write_text(folder / "anns" / f"{split}.json", text, private=True)
    return ids


def _entries(folder: Path, split: str) -> list[dict[str, Any]]:
    path = folder / "anns" / f"{split}.json"
    found: list[dict[str, Any]] = read_json(path, "") if path.exists() else []
    return found


def _split(entries: dict[str, list[dict[str, Any]]], image: str, patient: str) -> str:
    """Where the image or its patient is already; else where images lack most, first of all training."""
    for inside in entries.values():
        for entry in inside:
            if entry["image_id"] == image and entry.get("group", UNKNOWN) != patient:
                raise Refused(422, "other_patient", "patient: this image was given with another one; give the same")
    for split, inside in entries.items():
        if any(patient != UNKNOWN and entry.get("group") == patient for entry in inside):
            return split
    if patient == UNKNOWN:
        return "train"
    images = {split: len({entry["image_id"] for entry in inside}) for split, inside in entries.items()}
    total = sum(images.values()) + 1
    return max(SHARES, key=lambda split: SHARES[split] * total - images[split])


def _entry(item: CorrectionItem, patient: str, stem: str, image: Stored) -> dict[str, Any]:
    told = hashlib.sha256(json.dumps([item.prompt, item.target]).encode()).hexdigest()[:8]
    name = f"{stem}__{slug(item.target)}-{told}"
    entry: dict[str, Any] = {
        "id": name,
        "image_id": stem,
        "img_name": f"{stem}.png",
        "mask_name": f"{name}.png",
        "prompts": {"typed": item.prompt if item.prompt.strip() else item.target},
        "target": item.target,
    }
    if patient != UNKNOWN:
        entry["group"] = patient
    if image.spacing_mm is not None:
        entry |= {"spacing": list(image.spacing_mm), "spacing_source": "file"}
    return entry


def _info(folder: Path) -> dict[str, Any]:
    return {
        "name": folder.resolve().name,
        "made_by": MADE_BY,
        "notice": NOTICE,
        "prompt_sources": {"typed": ["user"]},
    }


def _picture(pixels: np.ndarray) -> Image.Image:
    """(H, W, 3) as it can be kept: above 8 bit in grey with 16 bits.

    Raises:
        Refused: colours above 8 bit, which PNG files written here cannot hold.
    """
    if pixels.dtype == np.uint8:
        return Image.fromarray(pixels)
    if not (pixels == pixels[..., :1]).all():
        raise Refused(422, "deep_colours", "image_id: has colours above 8 bit; upload it with 8 bits to correct it")
    return Image.fromarray(np.rint(pixels[..., 0] * 65535).astype(np.uint16))


def _save(path: Path, image: Image.Image) -> None:
    with replacing(path, private=True) as temporary:
        image.save(temporary, format="PNG")
