"""Anybody's masks as answers: files from `vlseg predict`, nnU-Net, another reader."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlseg.data import mask_range, mask_values, read_mask
from vlseg.data.mask_levels import EXACT
from vlseg.evaluation.answers import Answer
from vlseg.evaluation.image_files import files_below
from vlseg.evaluation.mask_names import JOURNAL, PREDICTIONS, Key, key_of, replay
from vlseg.evaluation.predict import Prediction
from vlseg.evaluation.query import Query
from vlseg.records import InputError
from vlseg.records.names import same_file, slug

SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")
_KINDS = ("images", "masks")
_Key = tuple[str, str, str]


@dataclass(frozen=True)
class Listed:
    """A row of predictions.json: the image as it was called then, the prompt, the mask's file."""

    image: Path
    prompt: str
    file: Path
    presence: float | None


@dataclass(frozen=True)
class MaskFiles:
    """The file that answers each query, by (dataset, sample id, wording), with its presence score; what is left over.

    `unused`: names of files below the folder that answer nothing, sorted. `mask_max`: the largest value in the files,
    foreground is above half of it; with `labelled` they hold the truth's own labels instead.
    """

    folder: Path
    found: Mapping[_Key, tuple[Path, float | None]]
    unused: tuple[str, ...]
    mask_max: int = 255
    labelled: bool = False

    def answer(self, image: np.ndarray, group: Sequence[Query]) -> Iterable[Prediction]:
        """The masks of one image, (H, W) bool each."""
        for query in group:
            path, presence = self.found[_key(query)]
            sample, size = query.prompted.sample, (image.shape[0], image.shape[1])
            value = sample.mask_value if self.labelled else None
            mask = read_mask([path], mask_max=self.mask_max, mask_value=value, size=size, image=sample.image_path)
            yield Prediction(mask, mask, presence)

    def digest(self) -> str:
        """Sixteen hexadecimal digits of which file answers what, and of the files' bytes."""
        digest = hashlib.sha256()
        for key, (path, presence) in sorted(self.found.items(), key=lambda item: item[0]):
            digest.update(repr((*key, presence)).encode(errors="surrogatepass"))
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()[:16]


def mask_answers(folder: Path, queries: Sequence[Query]) -> Answer:
    """The answers of `find_masks`."""
    return find_masks(folder, queries).answer


def find_masks(folder: Path, queries: Sequence[Query]) -> MaskFiles:
    """The files of a folder, and of the folders in it, that answer the queries; every query must have one.

    Where `vlseg predict` wrote predictions.json, its table of images and prompts is used, of a run that was killed its
    journal, too; the files that it lists stand for their own image and prompt only. Any other file is called
    IMAGE__PROMPT, IMAGE__TARGET, like the truth's own file, or lies in a folder called as the target; where every image
    has one target, IMAGE will do. Folders that lie in `folder` are those of the images (a/b/IMAGE), or are joined to
    the name (a_b_IMAGE).

    Raises:
        InputError: no such folder, queries without a file (some are named), two files for one query, one file for two
            images or (unless it holds their labels) targets, or masks whose values do not say what foreground is: over
            all files together, as for a dataset's own masks.
    """
    if not folder.is_dir():
        raise InputError(f"--masks: {folder}: no such folder; give one of mask files named like the images")
    listed, begun = _table(folder)
    files = [file for file in files_below(folder) if file.name != PREDICTIONS]
    theirs = {row.file for row in listed} | begun
    free = [file for file in files if file not in theirs and file.suffix.lower() in SUFFIXES]
    shelves = _shelves(folder, free)
    targets = {(_image(query), query.prompted.sample.target) for query in queries}
    single = len({image for image, _ in targets}) == len(targets)
    found: dict[_Key, tuple[Path, float | None]] = {}
    missing = []
    for query in queries:
        match = _listed(folder, listed, query) or _named(folder, shelves, query, single)
        if match is None:
            missing.append(query)
        else:
            found[_key(query)] = match
    if missing:
        raise _missing(folder, missing, len(queries), single)
    labelled = _are_label_maps(folder, queries, found)
    _check_shared(folder, queries, found, labelled)
    used = dict.fromkeys(path for path, _ in found.values())
    mask_max = 255 if labelled else mask_range(used)
    overlays = folder / "overlays" if listed else None
    unused = [file for file in files if file not in used and (overlays is None or overlays not in file.parents)]
    names = tuple(file.relative_to(folder).as_posix() for file in unused)
    return MaskFiles(folder, found, names, mask_max, labelled)


def _are_label_maps(folder: Path, queries: Sequence[Query], found: Mapping[_Key, tuple[Path, float | None]]) -> bool:
    """Whether the files hold labels as the truth does: one file answers for several labels, or holds several.

    Raises:
        InputError: they hold labels, but none of the truth's, or could be either: one of 0 and 255 for several labels,
            or of 0 and another small label.
    """
    asked: dict[Path, set[int | None]] = {}
    for query in queries:
        asked.setdefault(found[_key(query)][0], set()).add(query.prompted.sample.mask_value)
    if None in set().union(*asked.values()):
        return False
    labels = {value for values in asked.values() for value in values if value is not None}
    held = {path: {int(value) for value in np.unique(mask_values(path, index=True))} - {0} for path in asked}
    alien = {path: sorted(v for v in values - labels if v >= EXACT) for path, values in held.items()}
    several = [path for path, values in asked.items() if len(values) > 1]
    every = set().union(*held.values())
    if (several or len(every) > 1) and every and not every & labels and (several or max(every) < EXACT):
        raise InputError(
            f"--masks: the files in {folder} hold {_few(every)}, the truth's labels are {_few(labels)}; write the "
            "truth's labels into them, or one file of 0 and 255 for each target"
        )
    for path in several:
        if alien[path]:
            raise InputError(
                f"--masks: {path.relative_to(folder)} in {folder} would answer for {len(asked[path])} labels and holds "
                f"{alien[path][0]}, which is none of them; save the labels, or files IMAGE__TARGET.png of 0 and 255"
            )
    if len(every) == 1 and len(labels) == 1 and every != labels and max(every) < EXACT:
        raise InputError(
            f"--masks: the files in {folder} hold {every.pop()} where the truth's label is {labels.pop()}: another "
            "structure's label, or foreground; save them as 0 and 255, or with the truth's labels"
        )
    # Grey values up to 255 are a border's fringe or a probability, which are judged as those of any mask.
    return bool(several) or (len(every) > 1 and not any(alien.values()))


def _few(values: Iterable[int]) -> str:
    listed = [str(value) for value in sorted(values)]
    return ", ".join(listed[:6]) + (", ..." if len(listed) > 6 else "")


def _missing(folder: Path, missing: Sequence[Query], asked: int, single: bool) -> InputError:
    examples = ", ".join(
        f'{_shown(query)} with "{query.wording}"'
        for query in {_image(query): query for query in reversed(missing[:3])}.values()
    )
    name = f"{missing[0].prompted.sample.image_path.stem}{'' if single else '__' + slug(missing[0].wording)}.png"
    return InputError(
        f"--masks: {folder} has no mask for {len(missing)} of {asked} prompts, e.g. {examples}; name it {name}"
    )


def _check_shared(
    folder: Path, queries: Sequence[Query], found: Mapping[_Key, tuple[Path, float | None]], labelled: bool
) -> None:
    """One file is the answer for one image and target; two readers or wordings of it, and labels, may share it."""
    asked: dict[Path, dict[tuple[str, str, str], Query]] = {}
    for query in queries:
        sample = query.prompted.sample
        asked.setdefault(found[_key(query)][0], {})[(*_image(query), "" if labelled else sample.target or "")] = query
    for path, about in asked.items():
        if len(about) > 1:
            first, second = list(about.values())[:2]
            same = _image(first) == _image(second)
            names = [query.prompted.sample.target if same else _shown(query) for query in (first, second)]
            raise InputError(
                f"--masks: {path.relative_to(folder)} in {folder} would answer for {len(about)} "
                f"{'targets' if same else 'images'} ({names[0]} and {names[1]}); "
                + ("name files IMAGE__TARGET.png" if same else "put the masks into folders like the images'")
            )


def _table(folder: Path) -> tuple[list[Listed], set[Path]]:
    """The rows of predictions.json and of the journal of a run that was killed; files that it had only begun."""
    path = folder / PREDICTIONS
    if not path.exists() and not (folder / JOURNAL).exists():
        return [], set()
    try:
        rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        told: dict[Key, dict[str, Any]] = {key_of(row["image"], row["prompt"]): row for row in rows}
        begun = replay(folder, told)
        listed = [
            Listed(
                Path(row["image"]),
                row["prompt"],
                folder / row["file"] if "file" in row else folder / Path(row["mask"]).name,
                _finite(row.get("presence")),
            )
            for key, row in told.items()
            if key not in begun
        ]
        return listed, {folder / f"{name}.png" for name in begun.values()}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: is not what vlseg predict writes ({error}); remove it to match by file names"
        ) from error


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _listed(folder: Path, rows: Sequence[Listed], query: Query) -> tuple[Path, float | None] | None:
    """The row whose image has the most of the sample's path in common, from its end."""
    image = query.prompted.sample.image_path
    common = [
        (_common(row.image, image), row) for row in rows if row.prompt == query.wording and row.image.name == image.name
    ]
    most = max((count for count, _ in common), default=0)
    best = [row for count, row in common if count == most]
    if len({row.file for row in best}) > 1:
        raise InputError(
            f"{folder / PREDICTIONS}: {best[0].image} and {best[1].image} may both be {image}; predict again "
            "with --image on the folder of the dataset's images"
        )
    return (best[0].file, best[0].presence) if best and best[0].file.is_file() else None


def _common(one: Path, other: Path) -> int:
    """Number of equal parts, from the end."""
    pairs = zip(reversed(one.absolute().parts), reversed(other.absolute().parts), strict=False)
    count = 0
    for first, second in pairs:
        if first != second:
            break
        count += 1
    return count


def _shelves(folder: Path, files: Sequence[Path]) -> dict[str, list[tuple[tuple[str, ...], Path]]]:
    """Files by their name without suffix, with the folders they lie in; by the name with folders joined, too."""
    shelves: dict[str, list[tuple[tuple[str, ...], Path]]] = {}
    for file in files:
        *places, name = _parts(file.relative_to(folder))
        folders = [place for place in places if place not in _KINDS]
        shelves.setdefault(name, []).append((tuple(folders), file))
        for joint in ("_", "__", "-") if folders else ():
            shelves.setdefault(joint.join([*folders, name]), []).append(((), file))
    return shelves


def _named(
    folder: Path, shelves: Mapping[str, list[tuple[tuple[str, ...], Path]]], query: Query, single: bool
) -> tuple[Path, None] | None:
    """The file that is called for a query: for its wording, else for its target or image."""
    for names in _names(query, single):
        found: dict[Path, None] = {}
        for name, of_target in names:
            found |= {file: None for folders, file in shelves.get(name, ()) if _lies_right(folders, query, of_target)}
        if len(found) > 1:
            two = " and ".join(file.relative_to(folder).as_posix() for file in list(found)[:2])
            raise InputError(
                f'--masks: {two} in {folder} both answer for {_shown(query)} with "{query.wording}"; leave one of them'
            )
        if found:
            return next(iter(found)), None
    return None


def _names(query: Query, single: bool) -> list[list[tuple[str, bool]]]:
    """Names without suffix in order of rank, and whether the file must lie in a folder called as the target."""
    sample = query.prompted.sample
    *_, stem = place = _place(query)
    stems = {stem, *(joint.join(place[-count:]) for count in range(2, len(place) + 1) for joint in ("_", "__", "-"))}
    own = [_parts(path)[-1] for path in sample.mask_paths] if len(sample.mask_paths) == 1 else []
    others = [(f"{one}__{same_file(slug(sample.target or ''))}", False) for one in stems]
    others += [(one, not single) for one in stems]
    others += [(one, not single and one == stem) for one in own]
    return [[(f"{one}__{same_file(slug(query.wording))}", False) for one in stems], others]


def _lies_right(folders: tuple[str, ...], query: Query, of_target: bool) -> bool:
    """Whether a file's folders are the last ones of the image or of its truth, but for one called as the target."""
    sample = query.prompted.sample
    places = [_place(query)[:-1], *(_inside(path)[:-1] for path in sample.mask_paths)]
    target = sample.target or ""
    called = {same_file(name) for name in (target, slug(target), target.replace(" ", "_"))} - {""}
    without = [folders[:at] + folders[at + 1 :] for at, name in enumerate(folders) if name in called]
    return any(
        place[len(place) - len(rest) :] == rest
        for place in places
        for rest in (without if of_target else [folders, *without])
        if len(rest) <= len(place)
    )


def _place(query: Query) -> tuple[str, ...]:
    return _inside(query.prompted.sample.image_path)


def _inside(path: Path) -> tuple[str, ...]:
    """The parts of a path that tell a file from others of its dataset; images/ and masks/ hold all of them."""
    *folders, name = _parts(path)
    return (*(part for part in folders if part not in _KINDS), name)


def _shown(query: Query) -> str:
    """The image below its images/ folder."""
    parts = query.prompted.sample.image_path.parts
    start = max((at + 1 for at, part in enumerate(parts[:-1]) if part.lower() == "images"), default=len(parts) - 1)
    return "/".join(parts[start:])


def _parts(path: Path) -> tuple[str, ...]:
    """Of a path without suffix, as any file system compares them."""
    return tuple(same_file(part) for part in path.with_suffix("").parts)


def _key(query: Query) -> _Key:
    sample = query.prompted.sample
    return sample.dataset, sample.id, query.wording


def _image(query: Query) -> tuple[str, str]:
    return query.prompted.sample.dataset, query.prompted.sample.image_id
