"""dataset.json: what a dataset says of itself."""

from pathlib import Path
from typing import Any, Literal

import pydantic

from vlseg.records import DatasetInfo, InputError, IntensityPolicy, Source, from_validation, read_json


class _Intensity(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    kind: Literal["full_range", "bits_stored", "percentile", "window"] = "full_range"
    bits: int | None = pydantic.Field(default=None, ge=1, le=32)
    low: float | None = None
    high: float | None = None


class _DatasetFile(pydantic.BaseModel):
    """The keys that are read; others are kept for other readers."""

    name: str | None = None
    licence: str | None = None
    targets: list[str] = []
    intensity: _Intensity = _Intensity()
    symmetries: list[Literal["horizontal", "vertical", "rotation"]] = []
    groups_known: bool = False
    prompt_sources: dict[str, list[Source]] = {}
    aliases: dict[str, str] = {}
    files: str | None = None
    """Folder of images/ and masks/, relative to dataset.json, where these are another dataset's."""
    names_from_root: bool = False
    """True when annotations name files from that folder itself, not from images/ and masks/."""
    masks: str | None = None
    """The folder, relative to dataset.json, from which they name masks, where that is another one."""
    absent: bool = False
    """Other layouts: True when what an image has no object of is not there, and not just not drawn."""
    mask_value: int | None = None
    """The foreground's value (a palette's index) in masks whose entries give none."""
    generator: dict[str, Any] = {}
    """What drew the images, where nobody took them."""
    modality: str = ""
    """With what they were taken, in the words of the cards ("ultrasound", "chest X-ray")."""


def read_info(root: Path) -> DatasetInfo:
    """The info of the dataset in `root`; without dataset.json its name is the folder's.

    Raises:
        InputError: dataset.json is broken or a field has a wrong value.
    """
    path = root / "dataset.json"
    values: Any = read_json(path, "") if path.exists() else {}
    if isinstance(values, dict) and _is_nnunet(values):
        values = {key: values[key] for key in ("name", "licence", "absent") if isinstance(values.get(key), str | bool)}
    try:
        read = _DatasetFile.model_validate(values)
    except pydantic.ValidationError as error:
        raise from_validation(error, str(path)) from error
    files = root if read.files is None else root / read.files
    if not files.is_dir():
        raise InputError(f"{path}: 'files' points to {files}, which is no folder; correct it or move the dataset back")
    masks = None if read.masks is None else root / read.masks
    if masks is not None and not masks.is_dir():
        raise InputError(
            f"{path}: 'masks' points to {masks}, which is no folder; make this dataset anew from its source"
        )
    return DatasetInfo(
        name=read.name or root.resolve().name,
        root=root,
        files=files,
        names_from_root=read.names_from_root,
        masks=masks,
        absent=read.absent,
        licence=read.licence,
        targets=tuple(read.targets),
        intensity=IntensityPolicy(**read.intensity.model_dump()),
        symmetries=frozenset(read.symmetries),
        groups_known=read.groups_known,
        prompt_sources={name: frozenset(sources) for name, sources in read.prompt_sources.items()},
        aliases=read.aliases,
        mask_value=read.mask_value,
        generator=read.generator,
        modality=read.modality,
    )


def _is_nnunet(values: dict[str, Any]) -> bool:
    """nnU-Net keeps a dataset.json of its own, whose keys mean other things."""
    return "file_ending" in values and "labels" in values
