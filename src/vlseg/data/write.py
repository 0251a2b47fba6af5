"""Annotation files for a dataset in memory: what reading them gives is that dataset."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vlseg.data.pairs import write_entries
from vlseg.data.read import layout_folders
from vlseg.records import SPLITS, Dataset, DatasetInfo, InputError, Sample, check_folder, replacing_folder, write_text


def sample_entry(sample: Sample, info: DatasetInfo) -> dict[str, Any]:
    """The sample as an entry of an annotation file, names below the dataset's image and mask folders."""
    images, masks = layout_folders(info)
    entry: dict[str, Any] = {"id": sample.id, "image_id": sample.image_id}
    entry["img_name"] = sample.image_path.relative_to(images).as_posix()
    if sample.mask_paths:
        entry["mask_name"] = sample.mask_paths[0].relative_to(masks).as_posix()
    else:
        entry["mask"] = None
    entry["prompts"] = {key: list(texts) if len(texts) > 1 else texts[0] for key, texts in sample.prompts.items()}
    entry["prompt_sources"] = {key: sorted(sources) for key, sources in sample.prompt_sources.items()}
    optional = {
        "target": sample.target,
        "group": sample.group,
        "site": sample.site,
        "spacing": list(sample.spacing) if sample.spacing else None,
        "spacing_source": sample.spacing_source,
        "mask_value": sample.mask_value,
        "reader": sample.reader,
        "attributes": [asdict(attribute) for attribute in sample.attributes] or None,
    }
    return entry | {key: value for key, value in optional.items() if value is not None}


def info_values(info: DatasetInfo) -> dict[str, Any]:
    """The info as the keys of dataset.json, without `files`."""
    intensity = {key: value for key, value in asdict(info.intensity).items() if value is not None}
    return {
        "name": info.name,
        "licence": info.licence,
        "targets": list(info.targets),
        "intensity": intensity,
        "symmetries": sorted(info.symmetries),
        "groups_known": info.groups_known,
        "prompt_sources": {key: sorted(sources) for key, sources in info.prompt_sources.items()},
        "aliases": dict(info.aliases),
        **({"generator": dict(info.generator)} if info.generator else {}),
    }


def write_view(dataset: Dataset, out: Path, *, extra: Mapping[str, Any] | None = None) -> None:
    """A new dataset folder with annotations of its own over the images and masks of `dataset`, which stay in place.

    Args:
        dataset: the samples.
        out: a folder that does not exist or is empty.
        extra: further keys of dataset.json.

    Raises:
        InputError: `out` is in use or cannot be written.
    """
    new_folder(out)
    entries = {split: [sample_entry(sample, dataset.info) for sample in dataset.split(split)] for split in SPLITS}
    files = os.path.relpath(dataset.info.files.resolve(), out.resolve())
    where: dict[str, Any] = {"files": Path(files).as_posix(), "names_from_root": dataset.info.names_from_root}
    if dataset.info.masks is not None:
        where["masks"] = Path(os.path.relpath(dataset.info.masks.resolve(), out.resolve())).as_posix()
    values = info_values(dataset.info) | where | dict(extra or {})
    with replacing_folder(out) as folder:
        write_entries(folder / "anns", entries)
        write_text(folder / "dataset.json", json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def new_folder(out: Path) -> None:
    """Makes sure that `out` can become a new folder.

    Raises:
        InputError: a file, or a folder that is not empty.
    """
    check_folder("--out", out, written=True)
    if out.exists() and any(out.iterdir()):
        raise InputError(f"--out: {out} exists and is not empty; choose another folder")
