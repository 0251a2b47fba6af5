"""nnU-Net's raw layout for natural 2-D images: imagesTr/CASE_0000.png, labelsTr/CASE.png, dataset.json."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from vlseg.data.entries import Entry
from vlseg.data.formats import Found, identified
from vlseg.data.formats.drawn import Drawn
from vlseg.data.masks import mask_values
from vlseg.data.splits import split_by_group
from vlseg.records import InputError, read_json

CHANNEL = "_0000"
FLAT = frozenset({".png", ".tif", ".tiff", ".bmp"})
FOLDERS = ("imagesTr", "labelsTr", "imagesTs", "labelsTs")
SPLITS_FILE = "splits_final.json"
MASKS = "masks_from_nnunet"
"""Folder of the masks of regions, which unite labels."""
IGNORE = "ignore"


@dataclass(frozen=True)
class _Labels:
    """What dataset.json declares: the label numbers of each target, the number of pixels to ignore, files' suffix."""

    targets: Mapping[str, tuple[int, ...]]
    ignore: int | None
    ending: str

    @property
    def declared(self) -> set[int]:
        """All numbers that label files may hold."""
        ignored = set() if self.ignore is None else {self.ignore}
        return {0, *ignored, *(value for values in self.targets.values() for value in values)}


def is_nnunet(root: Path) -> bool:
    """True for a folder with nnU-Net's dataset.json and training images."""
    return (root / "imagesTr").is_dir() and (root / "labelsTr").is_dir() and (root / "dataset.json").is_file()


def read_nnunet(root: Path, *, absent: bool = False, below: Path | None = None) -> Found:
    """Entries by split, names relative to `root`, one for each target that a case holds.

    A case that holds none gets an empty mask of each, and with `absent` every case gets one of those it lacks. A
    region (a list of labels) is the union of its labels. Fold 0 of splits_final.json parts train and val; without that
    file 10 % of the training cases become val, seeded. labelsTs, where it is there, gives the test split; test images
    without it are left out.

    Raises:
        InputError: 3-D files, several channel files per case, a case without its label file, a broken dataset.json,
            label files with values that it does not declare, or with pixels to ignore.
    """
    labels = _labels(root / "dataset.json")
    training = _cases(root, "Tr", labels.ending)
    testing = _cases(root, "Ts", labels.ending) if (root / "labelsTs").is_dir() else {}
    masks = [mask for _, mask in (*training.values(), *testing.values())]
    present = {mask: _present(mask) for mask in masks}
    _check_values(root / "dataset.json", labels, present)
    split_of, gone = _splits(root, sorted(training))
    drawn = Drawn(root, MASKS, below) if any(len(values) > 1 for values in labels.targets.values()) else None
    entries: dict[str, list[Entry]] = {"train": [], "val": [], "test": []}
    for cases, split in ((training, None), (testing, "test")):
        for case, (image, mask) in sorted(cases.items()):
            here = _shown(labels.targets, present[mask], absent)
            entries[split or split_of[case]] += [_entry(root, image, mask, name, here[name], drawn) for name in here]
    left_out = (*gone, *_left_out(root, labels.ending, masks))
    entries = {split: identified(split, inside) for split, inside in entries.items()}
    told = bool(testing) or (root / SPLITS_FILE).exists()
    return Found(entries, left_out, drawn.elsewhere if drawn else None, split_drawn=not told)


def _labels(path: Path) -> _Labels:
    values = read_json(path, "nnU-Net's raw layout has one")
    given = values.get("labels") if isinstance(values, dict) else None
    if not isinstance(given, dict):
        raise InputError(f"{path}: 'labels' must map names to numbers")
    if given and all(key.isdigit() and isinstance(name, str) for key, name in given.items()):
        names = list(given.values())  # nnU-Net's first version turns it round
        if len(set(names)) < len(names):
            raise InputError(f"{path}: 'labels' names two numbers alike; to unite them write \"NAME\": [1, 2]")
        given = {name: int(key) for key, name in given.items()}
    numbers = {name: _numbers(path, name, value) for name, value in given.items()}
    ignored = numbers.pop(IGNORE, None)
    targets: dict[str, tuple[int, ...]] = {}
    for name, value in ((name, value) for name, value in numbers.items() if value != (0,)):
        if targets.setdefault(name.replace("_", " "), value) != value:
            raise InputError(f"{path}: 'labels' names '{name.replace('_', ' ')}' twice (with _); rename one of them")
    if not targets:
        raise InputError(f"{path}: 'labels' names nothing but the background")
    by_value: dict[tuple[int, ...], str] = {}
    for name, value in targets.items():
        if by_value.setdefault(value, name) != name:
            raise InputError(f"{path}: 'labels' gives '{by_value[value]}' and '{name}' the same number; correct it")
    ending = str(values.get("file_ending", ".png"))
    if ending not in FLAT:
        raise InputError(f"{path}: file_ending '{ending}': only 2-D images are read ({', '.join(sorted(FLAT))})")
    return _Labels(targets, ignored[0] if ignored else None, ending)


def _numbers(path: Path, name: str, value: Any) -> tuple[int, ...]:
    values = value if isinstance(value, list) else [value]
    whole = all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in values)
    if not values or not whole or (isinstance(value, list) and 0 in values) or (name == IGNORE and len(values) > 1):
        raise InputError(
            f"{path}: 'labels' must map names to numbers, or to lists of them (regions); '{name}' does not"
        )
    return tuple(sorted(set(values)))


def _cases(root: Path, part: str, ending: str) -> dict[str, tuple[Path, Path]]:
    cases: dict[str, list[Path]] = defaultdict(list)
    for file in sorted((root / f"images{part}").glob(f"*{ending}")):
        cases[file.stem[:-5] if file.stem[-5:-4] == "_" and file.stem[-4:].isdigit() else file.stem].append(file)
    found = {}
    missing = []
    for case, files in cases.items():
        if len(files) > 1:
            raise InputError(
                f"{files[1]}: a second channel file; only images with all channels in one file are read, so merge "
                f"{len(files)} files of a case into one colour image"
            )
        label = root / f"labels{part}" / f"{case}{ending}"
        if label.is_file():
            found[case] = (files[0], label)
        else:
            missing.append(label)
    if missing:
        raise InputError(
            f"{missing[0]}: not found; each image of images{part} needs its label file ({len(missing)} of {len(cases)} "
            "have none)"
        )
    return found


def _left_out(root: Path, ending: str, used: Sequence[Path]) -> list[str]:
    unlabelled = [] if (root / "labelsTs").is_dir() else sorted((root / "imagesTs").glob(f"*{ending}"))
    spare = [file for part in ("Tr", "Ts") for file in sorted((root / f"labels{part}").glob(f"*{ending}"))]
    spare = [file for file in spare if file not in set(used)]
    other = [
        file
        for folder in FOLDERS
        for file in sorted((root / folder).glob("*"))
        if file.suffix != ending and not file.name.startswith(".")
    ]
    kinds = (
        (unlabelled, "test images without labels"),
        (spare, "label files without an image"),
        (other, f"files that do not end in {ending}"),
    )
    return [f"{len(files)} {words}, e.g. {files[0].relative_to(root)}" for files, words in kinds if files]


def _present(mask: Path) -> frozenset[int]:
    status = mask.stat()
    return _values_of(mask, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@lru_cache(maxsize=200_000)
def _values_of(mask: Path, size: int, modified: int, changed: int) -> frozenset[int]:
    return frozenset(np.unique(mask_values(mask, index=True)).tolist())


def _check_values(path: Path, labels: _Labels, present: Mapping[Path, frozenset[int]]) -> None:
    """What the label files hold is what dataset.json declares: another value is truth that nobody would see."""
    strange = {mask: sorted(values - labels.declared) for mask, values in present.items()}
    strange = {mask: values for mask, values in strange.items() if values}
    if strange:
        values = sorted({value for inside in strange.values() for value in inside})
        shown = ", ".join(str(value) for value in values[:6]) + (", ..." if len(values) > 6 else "")
        mend = f"add it to 'labels' of {path}, or relabel the files"
        if (
            len(values) == 1
            and len(labels.targets) == 1
            and not any(labels.declared - {0} & v for v in present.values())
        ):
            name, (number, *_) = next(iter(labels.targets.items()))
            mend = f"where that is '{name}', write {number} instead of {values[0]} into the files"
        raise InputError(
            f"{next(iter(strange))}: holds {shown}, which 'labels' in dataset.json does not declare ({len(strange)} of "
            f"{len(present)} label files do); {mend}"
        )
    ignoring = [mask for mask, inside in present.items() if labels.ignore in inside]
    if ignoring:
        raise InputError(
            f"{ignoring[0]}: holds pixels to ignore ({labels.ignore}; {len(ignoring)} of {len(present)} label files "
            "do), which cannot be left out of a score; relabel them, or take these cases away"
        )


def _splits(root: Path, cases: list[str]) -> tuple[dict[str, str], list[str]]:
    """The split of each case, and in words the cases that are named and not there."""
    path = root / SPLITS_FILE
    if not path.exists():
        shares = {"train": 0.9, "val": 0.1, "test": 0.0}
        return dict(zip(cases, split_by_group(cases, 0, shares), strict=True)), []
    folds = read_json(path, "")
    try:
        listed = [(str(case), split) for split in ("train", "val") for case in folds[0][split]]
    except (KeyError, IndexError, TypeError) as error:
        raise InputError(f"{path}: must be a list of folds with 'train' and 'val'") from error
    fold = dict(listed)
    both = [case for case, split in listed if fold[case] != split]
    if both:
        raise InputError(f"{path}: fold 0 names case '{both[0]}' in train and in val; keep it in one")
    missing = [case for case in cases if case not in fold]
    if missing:
        raise InputError(f"{path}: fold 0 does not name case '{missing[0]}'")
    gone = sorted(fold.keys() - set(cases))
    return fold, [f"{len(gone)} cases of {SPLITS_FILE} without an image, e.g. {gone[0]}"] if gone else []


def _shown(targets: Mapping[str, tuple[int, ...]], present: frozenset[int], absent: bool) -> dict[str, tuple[int, ...]]:
    """The targets that a case has entries for. A label map says of every pixel what it is, so none is absence."""
    shown = {name: values for name, values in targets.items() if present & set(values)}
    return dict(targets) if absent or not shown else shown


def _entry(root: Path, image: Path, mask: Path, name: str, values: tuple[int, ...], drawn: Drawn | None) -> Entry:
    where: dict[str, Any] = {"mask_name": mask.relative_to(root).as_posix(), "mask_value": values[0]}
    if drawn is not None:
        where = {"mask_name": _region(root, mask, name, values, drawn)}
    return Entry(
        img_name=image.relative_to(root).as_posix(),
        target=name,
        prompts={"empty": "", "class": name},
        prompt_sources={"empty": ["none"], "class": ["class"]},
        **where,
    )


def _region(root: Path, mask: Path, name: str, values: tuple[int, ...], drawn: Drawn) -> str:
    content = f"{mask.relative_to(root)} {values} {hashlib.sha256(mask.read_bytes()).hexdigest()}"
    words = f"{mask.parent.name}_{mask.name}_{name}"
    return drawn.name(words, content.encode(), lambda: np.isin(mask_values(mask, index=True), values))


def write_description(
    root: Path, name: str, labels: dict[str, int], training: int, channels: int, *, absent: bool
) -> None:
    """Writes dataset.json as nnU-Net reads it, with the key "absent" of ours where that is true."""
    values: dict[str, Any] = {
        "name": name,
        "channel_names": {str(channel): "rgb_to_0_1" for channel in range(channels)},
        "labels": {"background": 0} | {target.replace(" ", "_"): value for target, value in labels.items()},
        "numTraining": training,
        "file_ending": ".png",
    }
    values |= {"absent": True} if absent else {}
    (root / "dataset.json").write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
