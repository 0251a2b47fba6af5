"""Writing a dataset in another layout. What a layout cannot hold is told."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from vlseg.data.formats import coco, lvit, nnunet, outlines
from vlseg.data.images import as_png, open_image
from vlseg.data.masks import Mask
from vlseg.data.read import load_mask
from vlseg.data.write import info_values, new_folder, sample_entry
from vlseg.records import SPLITS, Dataset, InputError, Sample, replacing_folder

Layout = Literal["medvlsm", "lvit", "coco", "nnunet"]


@dataclass(frozen=True)
class ConvertSummary:
    """Entries by split, and in words what was not kept."""

    entries: dict[str, int]
    dropped: tuple[str, ...]


def convert(source: Dataset, to: Layout, out: Path, *, prompt: str | None = None) -> ConvertSummary:
    """Write `source` in the layout `to` into the new folder `out`, whole or not at all.

    medvlsm and coco (in keys of ours that other readers pass over) hold everything; lvit one text and one mask per
    image; nnunet labels only.

    Args:
        source: with its mask range known.
        to: the layout.
        out: the new folder.
        prompt: for lvit, the key of the prompt whose first wording is written; default: the only one that is
            neither empty nor the class, else the class.

    Raises:
        InputError: an unknown layout or prompt, `out` in use, or a dataset the layout cannot hold at all.
    """
    writers: Mapping[str, Callable[[Dataset, Path, str | None], ConvertSummary]] = {
        "medvlsm": _medvlsm,
        "lvit": _lvit,
        "coco": _coco,
        "nnunet": _nnunet,
    }
    if to not in get_args(Layout):
        raise InputError(f"--to: '{to}' is unknown (known: {', '.join(get_args(Layout))})")
    new_folder(out)
    with replacing_folder(out) as folder:
        return writers[to](source, folder, prompt)


def _names(samples: Sequence[Sample]) -> dict[Path, str]:
    """A file-safe stem for each image, with its split and a number only where plain stems would clash."""
    images: dict[Path, str] = {}
    for sample in samples:
        images.setdefault(sample.image_path, sample.split)
    plain = Counter(_safe(path.stem).lower() for path in images)
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path, split in sorted(images.items(), key=lambda item: plain[_safe(item[0].stem).lower()] > 1):
        stem = _safe(path.stem)
        names[path] = _free(stem if plain[stem.lower()] == 1 else f"{split}_{stem}", taken)
    return names


def _free(stem: str, taken: set[str]) -> str:
    """The stem, numbered where it is taken already, also on disks that do not tell capitals apart."""
    numbered = (stem if number == 1 else f"{stem}_{number}" for number in count(1))
    found = next(name for name in numbered if name.lower() not in taken)
    taken.add(found.lower())
    return found


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)


def _truth(sample: Sample, dataset: Dataset) -> Mask:
    return load_mask(sample, dataset.info, None)


def _save(mask: Mask, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)


def _counts(dataset: Dataset) -> dict[str, int]:
    return {split: len(dataset.split(split)) for split in SPLITS}


def _write(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _medvlsm(dataset: Dataset, out: Path, prompt: str | None) -> ConvertSummary:
    names = _names(dataset.samples)
    taken: set[str] = set()
    entries: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for sample in dataset.samples:
        stem = names[sample.image_path]
        entry = sample_entry(sample, dataset.info)
        entry["img_name"] = stem + sample.image_path.suffix.lower()
        entry.pop("mask_value", None)
        if sample.mask_paths:
            entry["mask_name"] = f"{_free(stem, taken)}.png"
            _save(_truth(sample, dataset), out / "masks" / entry["mask_name"])
        entries[sample.split].append(entry)
        if not (out / "images" / entry["img_name"]).exists():
            _copy(sample.image_path, out / "images" / entry["img_name"])
    (out / "masks").mkdir(exist_ok=True)
    for split, inside in entries.items():
        _write(out / "anns" / f"{split}.json", inside)
    _write(out / "dataset.json", info_values(dataset.info))
    return ConvertSummary(_counts(dataset), ())


def _coco(dataset: Dataset, out: Path, prompt: str | None) -> ConvertSummary:
    names = _names(dataset.samples)
    targets = sorted({sample.target or "object" for sample in dataset.samples})
    number = {target: index for index, target in enumerate(targets, start=1)}
    for split in SPLITS:
        samples = dataset.split(split)
        if not samples:
            continue
        pictures: dict[Path, dict[str, Any]] = {}
        objects: list[dict[str, Any]] = []
        for sample in samples:
            name = names[sample.image_path] + sample.image_path.suffix.lower()
            if sample.image_path not in pictures:
                _copy(sample.image_path, out / "images" / name)
                width, height = open_image(sample.image_path).size
                number_here = len(pictures) + 1
                pictures[sample.image_path] = {"id": number_here, "file_name": name, "width": width, "height": height}
            picture = pictures[sample.image_path]
            shape = (picture["height"], picture["width"])
            mask = _truth(sample, dataset) if sample.mask_paths else np.zeros(shape, dtype=np.bool_)
            objects.append(_object(len(objects) + 1, picture["id"], number, sample, mask, dataset))
        content = {
            "images": list(pictures.values()),
            "annotations": objects,
            "categories": [{"id": index, "name": target} for target, index in number.items()],
        }
        _write(out / "annotations" / f"{split}.json", content)
    _write(out / "dataset.json", info_values(dataset.info))
    return ConvertSummary(_counts(dataset), ())


def _object(
    index: int, image: int, number: Mapping[str, int], sample: Sample, mask: Mask, dataset: Dataset
) -> dict[str, Any]:
    entry = sample_entry(sample, dataset.info)
    kept = {key: entry[key] for key in coco.KEPT if key in entry} | ({} if sample.mask_paths else {"unlabelled": True})
    rows, columns = np.nonzero(mask)
    box = [0, 0, 0, 0]
    if len(rows):
        left, top = int(columns.min()), int(rows.min())
        box = [left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top]
    return {
        "id": index,
        "image_id": image,
        "category_id": number[sample.target or "object"],
        "segmentation": outlines.encode(mask),
        "area": int(mask.sum()),
        "bbox": box,
        "iscrowd": 1,
        "vlseg": kept,
    }


def _lvit(dataset: Dataset, out: Path, prompt: str | None) -> ConvertSummary:
    import openpyxl

    key = _text_key(dataset, prompt)
    names = _names(dataset.samples)
    images = Counter((sample.split, sample.image_path) for sample in dataset.samples)
    several = [path for (_, path), count in images.items() if count > 1]
    if several:
        raise InputError(
            f"--to lvit: {several[0].name} has several entries; LViT's layout holds one (choose with --target)"
        )
    dropped = _not_in_lvit(dataset, key)
    for split, folder in lvit.FOLDERS.items():
        book = openpyxl.Workbook()
        book.active.append(["Image", "Description"])
        for sample in dataset.split(split):
            if not sample.mask_paths:
                continue
            stem = names[sample.image_path]
            _copy(sample.image_path, out / folder / "img" / f"{stem}{sample.image_path.suffix.lower()}")
            _save(_truth(sample, dataset), out / folder / "labelcol" / f"{stem}.png")
            text = sample.prompts[key][0] if key in sample.prompts else sample.target or ""
            book.active.append([f"{stem}.png", text])
        if dataset.split(split):
            book.save(out / folder / f"{split.capitalize()}_text.xlsx")
    values = info_values(dataset.info)
    sources = {"text": values["prompt_sources"].get(key, ["class"])}
    _write(out / "dataset.json", values | {"prompt_sources": sources, "aliases": {}, "groups_known": False})
    return ConvertSummary(_counts(dataset), dropped)


def _text_key(dataset: Dataset, prompt: str | None) -> str:
    keys = list(dict.fromkeys(key for sample in dataset.samples for key in sample.prompts))
    if prompt is not None:
        if prompt not in keys:
            raise InputError(f"--prompt: '{prompt}' is unknown (known: {', '.join(keys)})")
        return prompt
    telling = [key for key in keys if key not in ("empty", "class", "p0")]
    return telling[0] if len(telling) == 1 else "class" if "class" in keys or not telling else telling[0]


def _not_in_lvit(dataset: Dataset, key: str) -> tuple[str, ...]:
    samples = dataset.samples
    others = sorted({name for sample in samples for name in sample.prompts} - {key, "empty"})
    return (
        *([f"prompts other than '{key}': {', '.join(others)}"] if others else []),
        *([f"wordings of '{key}' after the first"] if any(len(s.prompts.get(key, ())) > 1 for s in samples) else []),
        *_known_of_entries(samples),
    )


def _known_of_entries(samples: Sequence[Sample]) -> list[str]:
    """What is known of entries, in words, that neither LViT's layout nor nnU-Net's has a place for."""
    lost = [
        (any(sample.group for sample in samples), "groups"),
        (any(sample.site for sample in samples), "sites"),
        (any(sample.spacing for sample in samples), "spacings"),
        (any(sample.attributes for sample in samples), "attributes"),
        (any(not sample.mask_paths for sample in samples), "images without a mask"),
    ]
    return [words for is_lost, words in lost if is_lost]


def _nnunet(dataset: Dataset, out: Path, prompt: str | None) -> ConvertSummary:
    names = _names(dataset.samples)
    targets = sorted({sample.target or "object" for sample in dataset.samples})
    labels = _numbered(targets)
    by_image: dict[tuple[str, Path], list[Sample]] = {}
    for sample in dataset.samples:
        if sample.mask_paths:
            by_image.setdefault((sample.split, sample.image_path), []).append(sample)
    folds: dict[str, list[str]] = {"train": [], "val": []}
    channels, empty = 1, 0
    for (split, path), samples in by_image.items():
        part, case = ("Ts" if split == "test" else "Tr"), names[path]
        channels = max(channels, _as_png(path, out / f"images{part}" / f"{case}{nnunet.CHANNEL}.png"))
        (out / f"labels{part}").mkdir(exist_ok=True)
        label_map = _label_map(samples, dataset, labels)
        present = set(np.unique(label_map).tolist())
        if present != {0}:  # where nothing is there, reading gives every target an empty mask
            empty += sum(labels[sample.target or "object"] not in present for sample in samples)
        Image.fromarray(label_map).save(out / f"labels{part}" / f"{case}.png")
        if part == "Tr":
            folds[split].append(case)
    _write(out / nnunet.SPLITS_FILE, [folds])
    whole = all({sample.target or "object" for sample in samples} == set(targets) for samples in by_image.values())
    cases = len(folds["train"]) + len(folds["val"])
    nnunet.write_description(out, dataset.info.name, labels, cases, channels, absent=whole)
    partly = () if whole or not empty else (f"absence: {empty} entries with an empty mask",)
    return ConvertSummary(_counts(dataset), (*_not_in_nnunet(dataset), *partly))


def _numbered(targets: Sequence[str]) -> dict[str, int]:
    """The label of each target.

    Raises:
        InputError: more than a label map of 8 bits holds, or names that nnU-Net's dataset.json cannot tell apart.
    """
    if len(targets) > 254:
        raise InputError(f"--to nnunet: {len(targets)} targets are more than a label map holds (254); choose --target")
    for target in targets:
        same = [other for other in targets if other.replace(" ", "_") == target.replace(" ", "_")]
        if len(same) > 1 or target in ("background", nnunet.IGNORE):
            raise InputError(f"--to nnunet: a target cannot be called '{target}' there; rename it")
    return {target: index for index, target in enumerate(targets, start=1)}


def _as_png(path: Path, target: Path) -> int:
    """The image as PNG, pixels unchanged; returns its number of channels."""
    target.parent.mkdir(exist_ok=True)
    image = as_png(open_image(path))
    if image is None:
        raise InputError(f"{path}: PNG cannot hold its pixels as they are (fractions, or 16 bits per colour)")
    if image.mode not in ("L", "RGB", "I;16", "I"):
        image = image.convert("RGB")
    image.save(target, format="PNG")
    return len(image.getbands())


def _label_map(samples: Sequence[Sample], dataset: Dataset, labels: Mapping[str, int]) -> np.ndarray:
    result: np.ndarray | None = None
    for sample in samples:
        mask = _truth(sample, dataset)
        result = np.zeros(mask.shape, np.uint8) if result is None else result
        value = labels[sample.target or "object"]
        if (mask & (result != 0) & (result != value)).any():
            raise InputError(
                f"--to nnunet: structures overlap in {sample.image_path.name}, which a label map cannot hold; "
                "choose one with --target"
            )
        result[mask] = value
    assert result is not None
    return result


def _not_in_nnunet(dataset: Dataset) -> tuple[str, ...]:
    samples = dataset.samples
    if any(sample.reader for sample in samples):
        raise InputError(
            "--to nnunet: readers' masks are kept apart; make one first (vlseg data prepare own --readers)"
        )
    keys = {name for sample in samples for name in sample.prompts} - {"empty", "class", "p0"}
    return (*(["all prompts but the target's name"] if keys else []), *_known_of_entries(samples))
