"""Anybody's masks as answers: files from `vlseg predict`, nnU-Net, another reader."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from vlseg.data import read_mask
from vlseg.evaluation.answers import Answer
from vlseg.evaluation.predict import Prediction
from vlseg.evaluation.predict_files import slug
from vlseg.evaluation.query import Query
from vlseg.records import InputError

SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")


def mask_answers(folder: Path, queries: Sequence[Query]) -> Answer:
    """Answers read from the files of a folder; every query must have one.

    Where `vlseg predict` wrote predictions.json, its table of images and prompts is used. Else the first that exists
    of: the truth's own file name; IMAGE__PROMPT; IMAGE__TARGET; TARGET/IMAGE; and, where every image has one query,
    IMAGE (with any picture suffix).

    Raises:
        InputError: no such folder, or queries without a file (some are named).
    """
    if not folder.is_dir():
        raise InputError(f"--masks: {folder}: no such folder; give one of mask files named like the images")
    table = _table(folder)
    single = len({_image(query) for query in queries}) == len(queries)
    find: Callable[[Query], Path | None] = lambda query: _file(folder, table, query, single)  # noqa: E731
    missing = [query for query in queries if find(query) is None]
    if missing:
        raise InputError(
            f"--masks: {folder} has no mask for {len(missing)} of {len(queries)} prompts, e.g. "
            f'{missing[0].prompted.sample.image_path.name} with "{missing[0].wording}"; name it '
            f"{_names(missing[0], single)[0]}.png"
        )

    def answer(image: np.ndarray, group: Sequence[Query]) -> Iterable[Prediction]:
        for query in group:
            path = find(query)
            assert path is not None  # checked above
            sample = query.prompted.sample
            size = (image.shape[0], image.shape[1])
            mask = read_mask([path], size=size, image=sample.image_path)
            presence = table.get(_key(query), (path, None))[1]
            yield Prediction(mask, mask, presence)

    return answer


def _table(folder: Path) -> dict[tuple[str, str], tuple[Path, float | None]]:
    """(image name, prompt) to file and presence score, from predictions.json."""
    path = folder / "predictions.json"
    if not path.exists():
        return {}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {
            (Path(row["image"]).name, row["prompt"]): (folder / Path(row["mask"]).name, row.get("presence"))
            for row in rows
        }
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: is not what vlseg predict writes ({error}); remove it to match by file names"
        ) from error


def _key(query: Query) -> tuple[str, str]:
    return query.prompted.sample.image_path.name, query.wording


def _image(query: Query) -> tuple[str, str]:
    return query.prompted.sample.dataset, query.prompted.sample.image_id


def _file(
    folder: Path, table: dict[tuple[str, str], tuple[Path, float | None]], query: Query, single: bool
) -> Path | None:
    listed = table.get(_key(query))
    if listed is not None:
        return listed[0] if listed[0].is_file() else None
    own = query.prompted.sample.mask_paths
    if len(own) == 1 and (folder / own[0].name).is_file() and (single or own[0].stem != _stem(query)):
        return folder / own[0].name
    candidates = (folder / f"{name}{suffix}" for name in _names(query, single) for suffix in SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


def _names(query: Query, single: bool) -> list[str]:
    stem, target = _stem(query), query.prompted.sample.target or ""
    names = [f"{stem}__{slug(query.wording)}", f"{stem}__{slug(target)}", f"{target}/{stem}", f"{slug(target)}/{stem}"]
    return [stem, *names] if single else names


def _stem(query: Query) -> str:
    return query.prompted.sample.image_path.stem
