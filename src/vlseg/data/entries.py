"""Entries of MedVLSM's annotation files, and the samples they stand for."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pydantic

from vlseg.records import Attribute, InputError, Sample, Source, read_json


class _Attribute(pydantic.BaseModel):
    name: str
    value: str
    source: Source = "unknown"
    referring: bool = False


class Entry(pydantic.BaseModel):
    """One (image, mask, prompts). The keys after `prompts` are ours and optional; further keys are ignored.

    `mask: null` (or `mask_name: null`) marks an unlabelled image.
    """

    img_name: Annotated[str, pydantic.Field(min_length=1)]
    mask_name: str | None = None
    prompts: dict[str, str | list[str]]
    mask: Any = ""
    id: str | None = None
    image_id: str | None = None
    target: str | None = None
    group: str | None = None
    site: str | None = None
    spacing: tuple[pydantic.PositiveFloat, pydantic.PositiveFloat] | None = None
    spacing_source: str | None = None
    attributes: list[_Attribute] = []
    prompt_sources: dict[str, list[Source]] = {}
    mask_value: int | None = None
    reader: str | None = None
    bbox: Any = None
    """(x0, y0, x1, y1) of the published files; checked, not used."""

    @property
    def unlabelled(self) -> bool:
        """True when the entry says that it has no mask."""
        return self.mask is None or self.mask_name is None


def read_entries(path: Path) -> list[Entry]:
    """The entries of one annotation file.

    Raises:
        InputError: broken JSON, not a list, or an entry with a missing or wrong field (its index is named).
    """
    values = read_json(path, "a dataset has anns/train.json, val.json and test.json")
    if not isinstance(values, list):
        raise InputError(f"{path}: must be a list of entries, is a {type(values).__name__}")
    return [_parse(path, index, value) for index, value in enumerate(values)]


def _parse(path: Path, index: int, value: Any) -> Entry:
    try:
        entry = Entry.model_validate(value)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "entry"
        raise InputError(f"{path}: entry {index}: field '{field}': {first['msg']}") from error
    if any(not wordings for wordings in entry.prompts.values() if isinstance(wordings, list)):
        raise InputError(f"{path}: entry {index}: field 'prompts': an empty list of wordings")
    if "mask_name" not in (value if isinstance(value, dict) else {}) and entry.mask is not None:
        raise InputError(
            f"{path}: entry {index}: field 'mask_name' is missing (\"mask\": null marks an unlabelled image)"
        )
    return entry


def entry_samples(images: Path, masks: Path, dataset: str, split: str, entries: Sequence[Entry]) -> list[Sample]:
    """One sample per entry, with its files below the folders `images` and `masks`.

    Ids are "split/mask name", numbered when they repeat.

    Image ids carry the split: some published sets give different images the same name in val and test.
    """
    taken: Counter[str] = Counter()
    samples = []
    for entry in entries:
        base = entry.id or f"{split}/{entry.mask_name or entry.img_name}"
        taken[base] += 1
        name = base if taken[base] == 1 else f"{base}#{taken[base]}"
        samples.append(_sample(images, masks, dataset, split, entry, name))
    return samples


def _sample(images: Path, masks: Path, dataset: str, split: str, entry: Entry, name: str) -> Sample:
    mask_paths = () if entry.unlabelled else (locate(masks, entry.mask_name or "", split),)
    return Sample(
        id=name,
        image_id=entry.image_id or f"{split}/{entry.img_name}",
        image_path=locate(images, entry.img_name, split),
        mask_paths=mask_paths,
        target=entry.target,
        prompts={key: (text,) if isinstance(text, str) else tuple(text) for key, text in entry.prompts.items()},
        dataset=dataset,
        split=split,
        attributes=tuple(Attribute(a.name, a.value, a.source, a.referring) for a in entry.attributes),
        prompt_sources={key: frozenset(sources) for key, sources in entry.prompt_sources.items()},
        group=entry.group,
        site=entry.site,
        spacing=entry.spacing,
        spacing_source=entry.spacing_source,
        mask_value=entry.mask_value,
        reader=entry.reader,
    )


def locate(folder: Path, name: str, split: str) -> Path:
    """The file of that name; CAMUS keeps test files in test/ and all others in train/.

    Composed and decomposed Unicode are one name: macOS changes the one into the other.

    Raises:
        InputError: a name that leads out of the dataset.
    """
    plain = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"{plain}: the name leads out of the dataset folder; use names below {folder.name}/")
    if plain.exists():
        return plain
    nested = Path("test" if split == "test" else "train") / name
    forms = (Path(unicodedata.normalize(form, name)) for form in ("NFC", "NFD"))
    return next((folder / other for other in (nested, *forms) if (folder / other).exists()), plain)
