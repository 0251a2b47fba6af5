"""What a study reads: datasets by label, weights; what is missing is collected, not raised."""

import fnmatch
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlseg.data import read_dataset
from vlseg.data.keys import file_digest
from vlseg.prompts import annotate
from vlseg.prompts.annotate import resolve_name, sources_of
from vlseg.records import Dataset, InputError, is_deployable
from vlseg.records.study import LEFT_OUT, Hole, StudySpec


class Places:
    """Datasets and weights of a study, each looked at once.

    Attributes:
        holes: what is missing, one line each.
        excluded: runs that the study leaves out for a reason that it gives.
    """

    def __init__(self, spec: StudySpec) -> None:
        self.spec = spec
        self.holes: dict[str, Hole] = {}
        self.excluded: list[Hole] = []
        self._datasets: dict[str, Dataset | None] = {}
        self._weights: dict[tuple[str, str | None], str | None] = {}

    def folder(self, label: str) -> str:
        """Where a dataset lies."""
        return self.spec.data.get(label, f"data/{label}")

    def members(self, label: str) -> list[str]:
        """The datasets of a pool, or the dataset itself."""
        return list(self.spec.pools.get(label, [label]))

    def dataset(self, label: str) -> Dataset | None:
        """A dataset with its prompts' sources; None, with a hole, where it cannot be read."""
        if label not in self._datasets:
            folder = self.folder(label)
            try:
                if not Path(folder).is_dir():
                    raise InputError(f"{folder}: no such folder; say where it is: --data {label}=FOLDER")
                self._datasets[label] = annotate(read_dataset(Path(folder), target=self.spec.set.get("target")))
            except InputError as error:
                self._datasets[label] = None
                why = str(error).replace(
                    "say with --target", "say with --set target=NAME, or target in the study's set,"
                )
                self.missing(f"dataset {label}", why, {"data": label})
        return self._datasets[label]

    def has(self, label: str, split: str) -> bool:
        """Whether a dataset is there and has images in a split; else there is a hole."""
        dataset = self.dataset(label)
        if dataset is None:
            return False
        splits = sorted({sample.split for sample in dataset.samples})
        if split not in splits:
            why = (
                f"{self.folder(label)}: has no images in it (it has {', '.join(splits)}); give it some or another split"
            )
            self.missing(f"split '{split}' of {label}", why, {"data": label, "split": split})
        return split in splits

    def missing(self, what: str, why: str, labels: Mapping[str, str] | None = None) -> None:
        """Note a hole, once; `labels` say which cells of tables it leaves empty."""
        self.holes.setdefault(what, Hole(what=what, why=why, labels=dict(labels or {})))

    def left_out(self, part: str, labels: Mapping[str, str], why: str) -> None:
        """Note runs that the study itself excludes."""
        self.excluded.append(Hole(what=LEFT_OUT, why=why, labels=dict(labels), parts=[part]))

    def prompts(self, label: str, wanted: Sequence[str]) -> list[str]:
        """The prompts of a dataset, or those that all members of a pool have, that names or patterns stand for.

        Raises:
            InputError: a name that a dataset does not have, or a pattern that fits nothing.
        """
        found: list[str] = []
        datasets = [one for one in map(self.dataset, self.members(label)) if one is not None]
        for name in wanted:
            if any(sign in name for sign in "*?["):
                shared = [_prompt_names(one) for one in datasets]
                fits = [one for one in (shared[0] if shared else []) if all(one in other for other in shared)]
                fits = [one for one in fits if fnmatch.fnmatchcase(one, name)]
                if datasets and not fits:
                    raise InputError(f"{label}: no prompt fits '{name}' (it has {', '.join(shared[0])})")
                found += fits
            else:
                for one in datasets:
                    resolve_name(one, name)
                found.append(name)
        return list(dict.fromkeys(found))

    def check_honest(self, label: str, prompt: str) -> None:
        """That a user could write a prompt of a dataset that is there.

        Raises:
            InputError: it tells of the truth.
        """
        dataset = self.dataset(label)
        sources = frozenset() if dataset is None else sources_of(dataset, prompt)
        if not is_deployable(sources):
            raise InputError(
                f"worth: '{prompt}' of {label} is not deployable ({', '.join(sorted(sources))}); the honest prompt "
                "must not tell of the truth"
            )

    def fingerprints(self, labels: Iterable[str]) -> dict[str, str]:
        """By label, of datasets that are there."""
        return {label: one.info.fingerprint for label in labels if (one := self.dataset(label)) is not None}

    def weights(self, source: str, revision: str | None) -> str | None:
        """What identifies weights' content; None, with a hole, where they are not to be had."""
        key = (source, revision)
        if key not in self._weights:
            from vlseg.models.hub import locate

            try:
                self._weights[key] = content(locate(source, revision))
            except InputError as error:
                self._weights[key] = None
                self.missing(f"weights {source}", str(error))
        return self._weights[key]


def _prompt_names(dataset: Dataset) -> list[str]:
    """Keys and their aliases, in the order of the annotations."""
    names: list[str] = []
    for key in dict.fromkeys(key for sample in dataset.samples for key in sample.prompts):
        names += [key] + ([dataset.info.aliases[key]] if key in dataset.info.aliases else [])
    return names


def content(place: Path) -> str:
    """Digest of a file, or of all files of a run's or model's folder by their names."""
    from vlseg.models.registry import model_folder

    place = model_folder(place)
    if place.is_file():
        return file_digest(place)[:16]
    digest = hashlib.sha256()
    for file in sorted(file for file in place.rglob("*") if file.is_file()):
        digest.update(f"{file.relative_to(place)} {file_digest(file)}\n".encode())
    return digest.hexdigest()[:16]


def contents(values: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a model, the content of files and folders in the place of their paths."""
    return {key: _content_of(value) for key, value in values.items()}


def _content_of(value: Any) -> Any:
    if isinstance(value, Mapping):
        return contents(value)
    if isinstance(value, str) and "/" in value and Path(value).exists():
        return content(Path(value))
    return value
