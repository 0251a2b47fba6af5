"""nnU-Net's raw layout for natural 2-D images: imagesTr/CASE_0000.png, labelsTr/CASE.png, dataset.json."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from vlseg.data.entries import Entry
from vlseg.data.masks import mask_values
from vlseg.data.splits import split_by_group
from vlseg.records import InputError, read_json

CHANNEL = "_0000"
FLAT = frozenset({".png", ".tif", ".tiff", ".bmp"})
SPLITS_FILE = "splits_final.json"


def is_nnunet(root: Path) -> bool:
    """True for a folder with nnU-Net's dataset.json and training images."""
    return (root / "imagesTr").is_dir() and (root / "labelsTr").is_dir() and (root / "dataset.json").is_file()


def read_nnunet(root: Path) -> dict[str, list[Entry]]:
    """Entries by split, names relative to `root`, one for each label that a case holds.

    Fold 0 of splits_final.json parts train and val; without that file 10 % of the training cases become val,
    seeded. labelsTs, where it is there, gives the test split; test images without labels are left out.

    Raises:
        InputError: 3-D files, several channel files per case, a case without its label file, or a broken dataset.json.
    """
    labels, ending = _description(root / "dataset.json")
    training = _cases(root, "Tr", ending)
    split_of = _splits(root, sorted(training))
    entries: dict[str, list[Entry]] = {"train": [], "val": [], "test": []}
    for case, (image, mask) in sorted(training.items()):
        entries[split_of[case]] += _entries(root, image, mask, labels)
    if (root / "labelsTs").is_dir():
        for _, (image, mask) in sorted(_cases(root, "Ts", ending).items()):
            entries["test"] += _entries(root, image, mask, labels)
    return entries


def _description(path: Path) -> tuple[dict[str, int], str]:
    """Labels by name without the background, and the files' suffix."""
    values = read_json(path, "nnU-Net's raw layout has one")
    labels = values.get("labels") if isinstance(values, dict) else None
    if not isinstance(labels, dict) or not all(isinstance(value, int) for value in labels.values()):
        raise InputError(f"{path}: 'labels' must map names to numbers (regions are not read)")
    ending = str(values.get("file_ending", ".png"))
    if ending not in FLAT:
        raise InputError(f"{path}: file_ending '{ending}': only 2-D images are read ({', '.join(sorted(FLAT))})")
    return {name.replace("_", " "): value for name, value in labels.items() if value != 0}, ending


def _cases(root: Path, part: str, ending: str) -> dict[str, tuple[Path, Path]]:
    cases: dict[str, list[Path]] = defaultdict(list)
    for file in sorted((root / f"images{part}").glob(f"*{ending}")):
        cases[file.stem[:-5] if file.stem[-5:-4] == "_" and file.stem[-4:].isdigit() else file.stem].append(file)
    found = {}
    for case, files in cases.items():
        if len(files) > 1:
            raise InputError(f"{files[1]}: a second channel file; only images with all channels in one file are read")
        label = root / f"labels{part}" / f"{case}{ending}"
        if not label.is_file():
            raise InputError(f"{label}: not found; each image of images{part} needs its label file")
        found[case] = (files[0], label)
    return found


def _splits(root: Path, cases: list[str]) -> dict[str, str]:
    path = root / SPLITS_FILE
    if not path.exists():
        shares = {"train": 0.9, "val": 0.1, "test": 0.0}
        return dict(zip(cases, split_by_group(cases, 0, shares), strict=True))
    folds = read_json(path, "")
    try:
        fold = {str(case): split for split in ("train", "val") for case in folds[0][split]}
    except (KeyError, IndexError, TypeError) as error:
        raise InputError(f"{path}: must be a list of folds with 'train' and 'val'") from error
    missing = [case for case in cases if case not in fold]
    if missing:
        raise InputError(f"{path}: fold 0 does not name case '{missing[0]}'")
    return fold


def _entries(root: Path, image: Path, mask: Path, labels: dict[str, int]) -> list[Entry]:
    """With a single label every case gets an entry, so that its absence is kept."""
    present = set(mask_values(mask, index=True).ravel().tolist()) if len(labels) > 1 else set(labels.values())
    return [
        Entry(
            img_name=image.relative_to(root).as_posix(),
            mask_name=mask.relative_to(root).as_posix(),
            target=name,
            mask_value=value,
            prompts={"empty": "", "class": name},
            prompt_sources={"empty": ["none"], "class": ["class"]},
        )
        for name, value in labels.items()
        if value in present
    ]


def write_description(root: Path, name: str, labels: dict[str, int], training: int, channels: int) -> None:
    """Writes dataset.json as nnU-Net reads it."""
    values: dict[str, Any] = {
        "name": name,
        "channel_names": {str(channel): "rgb_to_0_1" for channel in range(channels)},
        "labels": {"background": 0} | {target.replace(" ", "_"): value for target, value in labels.items()},
        "numTraining": training,
        "file_ending": ".png",
    }
    (root / "dataset.json").write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
