"""Which mask of a folder is whose: predictions.json, and a journal that makes it whole after a crash."""

import json
import os
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from vlseg.evaluation.image_files import files_below
from vlseg.evaluation.judging import Answered
from vlseg.evaluation.predictor import Predictor
from vlseg.records import InputError, read_json, write_text
from vlseg.records.names import same_file, slug

PREDICTIONS = "predictions.json"
JOURNAL = ".predictions.jsonl"
"""Beside it while masks are written: a line when a mask begins, one when it is there."""
_WORDS = {"model": "model", "digest": "model of this name", "threshold": "threshold", "precision": "precision"}
_KEPT = frozenset({"image", "prompt", "file", "model", "digest", "threshold", "precision"})

Key = tuple[str, str]
"""An image's absolute path, and a prompt."""


@dataclass(frozen=True)
class PredictedMask:
    """One written mask.

    `area_px` counts pixels at the image's own size; `present` says that there are any; `presence` is
    the model's score in [0, 1] that the named thing is in the image, None where it has none. `file` is the mask's name
    below the folder. `model` is the model's name, `digest` says which weights and settings; `threshold` acts on
    probabilities. `state` is "found", "not_found" or "cannot_judge" (see `state_of`), `familiar` whether the image is
    like those of the training and why not, `unknown_words` are those of the prompt that the training prompts lack.
    `image_digest` is of the image file's bytes; None where the answer is not a number, so that it is asked again.
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
    image_digest: str | None


class Names:
    """Names of masks in a folder: that of the same image and prompt if it has one, else one that nothing there has.

    Args:
        out: the folder.
        predictor: whose masks will be written.
        renewed: images with prompts whose masks may be there from another model, and are then replaced. Where these
            are given, masks of other images and prompts may have another threshold.

    Raises:
        InputError: the folder holds predictions of another model, threshold or precision.
    """

    def __init__(self, out: Path, predictor: Predictor, renewed: Collection[Key] | None = None) -> None:
        self.out = out
        self.rows = {key_of(row["image"], row["prompt"]): row for row in _rows(out)}
        self._begun = replay(out, self.rows)
        for key, row in self.rows.items():
            if renewed is None or key not in renewed:
                _check_alike(out, row, predictor, threshold=renewed is None)
        present = files_below(out) if out.is_dir() else []
        self._taken = {same_file(file.relative_to(out).with_suffix("").as_posix()) for file in present}
        self._taken |= {same_file(name) for name in self._begun.values()}
        self._journal: TextIO | None = None

    def there(self, key: Key) -> dict[str, Any] | None:
        """The row of a mask that lies there whole with its overlay, or None."""
        row = self.rows.get(key)
        if row is None or key in self._begun:
            return None
        places = (self.out / row["file"], self.out / "overlays" / row["file"])
        return row if all(place.is_file() for place in places) else None

    def give(self, image: Path, name: str, prompt: str) -> str:
        """The mask's name below the folder, without suffix; from now on what lies there is not taken for whole."""
        key = key_of(image, prompt)
        candidate = self._name(key, name, prompt)
        self._begun[key] = candidate
        self._note(_begun_line(key, candidate))
        return candidate

    def done(self, mask: PredictedMask) -> None:
        """The mask and its overlay are written."""
        row = asdict(mask)
        key = key_of(mask.image, mask.prompt)
        self.rows[key] = row
        self._begun.pop(key, None)
        self._note(row)

    def write(self) -> None:
        """predictions.json with the rows that were there and the new ones, by image and prompt; ends the journal."""
        if self._journal is None and not (self.out / JOURNAL).is_file():
            return
        rows = [row for key, row in self.rows.items() if key not in self._begun]
        write_text(self.out / PREDICTIONS, json.dumps(rows, indent=1, allow_nan=False) + "\n")
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self._begun:
            write_text(self.out / JOURNAL, "".join(_line(_begun_line(*item)) for item in self._begun.items()))
        else:
            (self.out / JOURNAL).unlink(missing_ok=True)

    def _name(self, key: Key, name: str, prompt: str) -> str:
        if key in self._begun:
            return self._begun[key]
        if key in self.rows:
            return PurePosixPath(self.rows[key]["file"]).with_suffix("").as_posix()
        folder, _, stem = name.rpartition("/")
        begin = f"{folder}/{_short(stem)}" if folder else _short(stem)
        wanted = candidate = f"{begin}__{slug(prompt)}"
        number = 2
        while self._taken & {same_file(candidate), same_file(f"overlays/{candidate}")}:
            candidate, number = f"{wanted}-{number}", number + 1
        self._taken |= {same_file(candidate), same_file(f"overlays/{candidate}")}
        return candidate

    def _note(self, row: dict[str, Any]) -> None:
        if self._journal is None:
            try:
                self.out.mkdir(parents=True, exist_ok=True)
                path = self.out / JOURNAL
                torn = path.is_file() and not path.read_bytes().endswith(b"\n")
                self._journal = path.open("a", encoding="utf-8")
                self._journal.write("\n" if torn else "")
            except OSError as error:
                raise InputError(
                    f"{self.out}: cannot be written ({error.strerror or error}); choose another output folder"
                ) from error
        self._journal.write(_line(row))
        self._journal.flush()


def key_of(image: str | Path, prompt: str) -> Key:
    """With links as they are: two links to one file are two images."""
    return os.path.normpath(Path(image).absolute()), prompt


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, allow_nan=False) + "\n"


def _begun_line(key: Key, name: str) -> dict[str, Any]:
    return {"image": key[0], "prompt": key[1], "begun": name}


def _rows(out: Path) -> list[dict[str, Any]]:
    path = out / PREDICTIONS
    if not path.is_file():
        return []
    rows = read_json(path, "")
    if not isinstance(rows, list) or not all(isinstance(row, dict) and row.keys() >= _KEPT for row in rows):
        raise InputError(f"--out: {path} is of an earlier version or not of vlseg predict; give another folder")
    return rows


def replay(out: Path, rows: dict[Key, dict[str, Any]]) -> dict[Key, str]:
    """The journal of a run that was killed or goes on: its masks join `rows`; names of those that it has only begun."""
    path = out / JOURNAL
    begun: dict[Key, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
            key = key_of(row["image"], row["prompt"])
        except (ValueError, KeyError, TypeError):  # cut off when the process or the machine went down
            continue
        if "begun" in row:
            begun[key] = row["begun"]
        elif row.keys() >= _KEPT:
            rows[key] = row
            begun.pop(key, None)
    return begun


def _check_alike(out: Path, row: dict[str, Any], predictor: Predictor, *, threshold: bool) -> None:
    own: dict[str, Any] = {
        "model": predictor.model.spec.name,
        "digest": predictor.digest,
        "precision": predictor.precision,
        **({"threshold": predictor.threshold} if threshold else {}),
    }
    for name, value in own.items():
        if row[name] != value:
            raise InputError(
                f"--out: {out} holds predictions of another {_WORDS[name]} ({row[name]}, not {value}); "
                "give another folder"
            )


def _short(stem: str) -> str:
    """The stem of an image as the beginning of a name: as it is, but for what no name may hold, and its length."""
    kept = re.sub(r'[<>:"\\|?*\x00-\x1f]', "-", stem)
    return kept.encode(errors="ignore")[:160].decode(errors="ignore")
