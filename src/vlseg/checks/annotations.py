"""Checks of the annotation files themselves, and the samples they give."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from vlseg.checks.collect import Collector
from vlseg.data.archives import shown, walk_files
from vlseg.data.entries import Entry, entry_samples, read_entries
from vlseg.data.info import read_info
from vlseg.data.names import is_picture
from vlseg.data.pairs import paired_files
from vlseg.data.read import layout_folders, read_dataset
from vlseg.records import SPLITS, InputError, Sample, View


def read_samples(path: Path, target: str | None, found: Collector) -> list[Sample]:
    """Samples of all splits that can be read; what cannot is a finding."""
    try:
        info = read_info(path)
    except InputError as error:
        found.add("broken_json", "error", None, "dataset.json cannot be read", str(error))
        return []
    found.dataset = info.name
    files = {split: path / "anns" / f"{split}.json" for split in SPLITS}
    if not any(file.exists() for file in files.values()):
        if (path / "images").is_dir() and (path / "masks").is_dir():
            matched = paired_files(path)
            for name in (*matched.images_alone, *matched.masks_alone):
                message = "files without a partner of the same stem; they are not used"
                found.add("unpaired_file", "warning", None, message, name, View(name, path / name))
        dataset = read_dataset(path, target=target, write=False)
        for words in dataset.info.left_out:
            found.add("not_used", "warning", None, "found in the folder, but not used", words)
        return list(dataset.samples)
    samples: list[Sample] = []
    for split, file in files.items():
        if not file.exists():
            found.add("missing_split", "warning", split, "the split has no annotation file", file.name)
            continue
        try:
            entries = read_entries(file)
        except InputError as error:
            found.add("broken_json", "error", split, "the annotation file cannot be read", str(error))
            continue
        if not entries:
            found.add("empty_split", "warning", split, "the split has no entries", file.name)
        _check_types(entries, split, found)
        _check_boxes(entries, split, found)
        samples += _located(layout_folders(info), info.name, split, entries, found)
    if info.mask_value is not None:
        samples = [s if s.mask_value is not None else replace(s, mask_value=info.mask_value) for s in samples]
    _check_redundant(path, found)
    _check_unused(layout_folders(info), samples, found)
    return samples


def _check_unused(folders: tuple[Path, Path], samples: Sequence[Sample], found: Collector) -> None:
    """Pictures beside those that some entry names."""
    used = {file for sample in samples for file in (sample.image_path, *sample.mask_paths)}
    for folder in dict.fromkeys(folders):
        for name, file in walk_files(folder) if folder.is_dir() else ():
            if is_picture(name) and file not in used:
                message = "a file that no annotation names; it is not used"
                told = f"{folder.name}/{shown(name)}"
                found.add("unused_file", "note", None, message, told, View(told, file))


def _located(
    folders: tuple[Path, Path], name: str, split: str, entries: Sequence[Entry], found: Collector
) -> Iterator[Sample]:
    try:
        yield from entry_samples(*folders, name, split, entries)
    except InputError as error:
        found.add("bad_path", "error", split, "a file name leads out of the dataset", str(error))


def _check_types(entries: Sequence[Entry], split: str, found: Collector) -> None:
    kinds: dict[str, dict[type, str]] = defaultdict(dict)
    lengths: dict[str, dict[int, str]] = defaultdict(dict)
    for entry in entries:
        for key, value in entry.prompts.items():
            kinds[key].setdefault(type(value), entry.img_name)
            if isinstance(value, list):
                lengths[key].setdefault(len(value), entry.img_name)
    for key, seen in kinds.items():
        if len(seen) > 1:
            example = f"{key}: {seen[str]} has one text, {seen[list]} a list"
            found.add("prompt_type_mixture", "note", split, "a prompt is a text here and a list there", example)
    for key, counts in lengths.items():
        if len(counts) > 1:
            example = f"{key}: " + ", ".join(f"{name} has {count}" for count, name in sorted(counts.items()))
            found.add("wording_count", "note", split, "a prompt has more wordings here than there", example)


def _check_boxes(entries: Sequence[Entry], split: str, found: Collector) -> None:
    for entry in entries:
        if entry.bbox is not None and not _is_box(entry.bbox):
            message = "a box (x0, y0, x1, y1) encloses nothing; vlseg uses masks, other software may use boxes"
            found.add("degenerate_box", "note", split, message, f"{entry.img_name}: {entry.bbox}")


def _is_box(box: Any) -> bool:
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(value, int | float) for value in box):
        return False
    return bool(box[0] < box[2] and box[1] < box[3])


def _check_redundant(path: Path, found: Collector) -> None:
    """Further annotation files that repeat a split, which somebody may take for another test set."""
    contents: dict[str, Counter[str]] = {}
    for file in sorted((path / "anns").glob("*.json")):
        try:
            values = json.loads(file.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError):
            continue  # of our own splits that is a finding already; other files are not ours to judge
        if isinstance(values, list) and values:
            contents[file.name] = Counter(
                str(value.get("img_name")) + str(value.get("mask_name")) for value in values if isinstance(value, dict)
            )
    splits = {f"{split}.json" for split in SPLITS}  # two splits of equal names are a name collision
    for (first, one), (second, two) in combinations(contents.items(), 2):
        if one == two and not {first, second} <= splits:
            message = "two annotation files list the same images and masks"
            found.add("redundant_file", "warning", None, message, f"{second} repeats {first}")
