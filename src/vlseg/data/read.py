"""Datasets from disk: MedVLSM's layout, those of others, or a plain pair of folders."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlseg.data.entries import Entry, entry_samples, read_entries
from vlseg.data.fingerprint import fingerprint
from vlseg.data.formats import Found
from vlseg.data.formats.known import ABSENT, read_layout
from vlseg.data.images import read_image, read_pixels
from vlseg.data.info import read_info
from vlseg.data.masks import mask_range, mask_values, read_mask
from vlseg.data.pairs import split_pairs
from vlseg.records import SPLITS, Dataset, DatasetInfo, InputError, Sample


def read_dataset(
    path: Path, *, target: str | None = None, seed: int = 0, write: bool = True, absent: bool = False
) -> Dataset:
    """The samples of a dataset folder in a fixed order: split, then order of the annotation file.

    A folder with anns/{train,val,test}.json is read as MedVLSM's layout. Other layouts (see
    `vlseg.data.formats.known.read_layout`) are read where they lie. A folder with images/ and masks/ alone is paired
    by file stem, needs `target`, and is split once (see `split_pairs`), with `write` written down as anns/*.json.

    Args:
        path: the folder.
        target: what the masks of a plain pair of folders show.
        seed: of a split that is drawn.
        write: write such a split down.
        absent: as "absent" in dataset.json: images in another layout get an empty mask of what they do not show.

    Raises:
        InputError: no such folder, no layout that is known, or annotations that cannot be read.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; give a dataset folder with images/, masks/ and anns/")
    info = read_info(path)
    entries, info = _entries(replace(info, absent=info.absent or absent), target, seed, write)
    dataset = _dataset(entries, info)
    return Dataset(replace(dataset.info, fingerprint=fingerprint(dataset.info, dataset.samples)), dataset.samples)


def layout_dataset(info: DatasetInfo, found: Found) -> Dataset:
    """The dataset that a folder in another layout holds, without fingerprint."""
    return _dataset(*_laid_out(info, found))


def _dataset(entries: Mapping[str, Sequence[Entry]], info: DatasetInfo) -> Dataset:
    samples: list[Sample] = []
    for split, items in entries.items():
        samples += entry_samples(*layout_folders(info), info.name, split, items)
    if info.mask_value is not None:
        samples = [s if s.mask_value is not None else replace(s, mask_value=info.mask_value) for s in samples]
    groups_known = info.groups_known or (bool(samples) and all(sample.group is not None for sample in samples))
    targets = info.targets or tuple(sorted({sample.target for sample in samples if sample.target}))
    return Dataset(replace(info, groups_known=groups_known, targets=targets), tuple(samples))


def _entries(
    info: DatasetInfo, target: str | None, seed: int, write: bool
) -> tuple[Mapping[str, Sequence[Entry]], DatasetInfo]:
    """Entries by split, and the info that tells where their files lie."""
    root = info.root
    present = {split: root / "anns" / f"{split}.json" for split in SPLITS}
    present = {split: file for split, file in present.items() if file.exists()}
    if present and info.absent:
        raise InputError(f"{root}: {ABSENT}")
    if present:
        return {split: read_entries(file) for split, file in present.items()}, info
    if (root / "anns").is_dir():
        raise InputError(f"{root / 'anns'}: holds none of train.json, val.json, test.json")
    known = read_layout(root, absent=info.absent)
    if known is not None:
        return _laid_out(info, known[1])
    if info.absent:
        raise InputError(f"{root}: {ABSENT}")
    return split_pairs(root, target, seed, write=write), info


def _laid_out(info: DatasetInfo, found: Found) -> tuple[Mapping[str, Sequence[Entry]], DatasetInfo]:
    return found.entries, replace(info, names_from_root=True, masks=found.masks, left_out=found.left_out)


def layout_folders(info: DatasetInfo) -> tuple[Path, Path]:
    """The folders below which annotations name images and masks."""
    if info.names_from_root:
        return info.files, info.masks or info.files
    return info.files / "images", info.masks or info.files / "masks"


def with_mask_max(dataset: Dataset) -> Dataset:
    """The dataset with the largest value of its masks, which decides what foreground is.

    Raises:
        InputError: a mask that cannot be read, masks whose values or colours do not say what foreground is, or a
            `mask_value` that no mask holds.
    """
    plain = dict.fromkeys(path for sample in dataset.samples if sample.mask_value is None for path in sample.mask_paths)
    declared = {(path, s.mask_value) for s in dataset.samples if s.mask_value is not None for path in s.mask_paths}
    if declared and not any((mask_values(path, index=True) == value).any() for path, value in sorted(declared)):
        path = min(declared)[0]
        wanted = ", ".join(str(value) for value in sorted({value for _, value in declared})[:6])
        held = ", ".join(str(value) for value in np.unique(mask_values(path, index=True))[:6])
        raise InputError(
            f"{path}: no mask of '{dataset.info.name}' holds a declared value ({wanted}), this one holds {held}; "
            "correct mask_value or the labels"
        )
    return Dataset(replace(dataset.info, mask_max=mask_range(plain)), dataset.samples)


def load_image(sample: Sample, info: DatasetInfo) -> NDArray[np.float32]:
    """The sample's image, (H, W, 3) float32 in [0, 1]."""
    return read_image(sample.image_path, info.intensity)


def load_pixels(sample: Sample, info: DatasetInfo) -> NDArray[np.uint8] | NDArray[np.float32]:
    """The sample's image as `read_pixels` gives it."""
    return read_pixels(sample.image_path, info.intensity)


def load_mask(sample: Sample, info: DatasetInfo, size: tuple[int, int] | None) -> NDArray[np.bool_]:
    """The sample's truth, (H, W) bool; `size` is the image's (H, W) where it is known."""
    return read_mask(
        sample.mask_paths,
        mask_max=info.mask_max,
        mask_value=sample.mask_value,
        size=size,
        image=sample.image_path,
    )
