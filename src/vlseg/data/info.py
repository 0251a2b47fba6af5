"""dataset.json: what a dataset says of itself."""

from pathlib import Path
from typing import Any, Literal

import pydantic

from vlseg.records import DatasetInfo, IntensityPolicy, Source, from_validation, read_json


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


def read_info(root: Path) -> DatasetInfo:
    """The info of the dataset in `root`; without dataset.json its name is the folder's.

    Raises:
        InputError: dataset.json is broken or a field has a wrong value.
    """
    path = root / "dataset.json"
    values: Any = read_json(path, "") if path.exists() else {}
    try:
        read = _DatasetFile.model_validate(values)
    except pydantic.ValidationError as error:
        raise from_validation(error, str(path)) from error
    return DatasetInfo(
        name=read.name or root.resolve().name,
        root=root,
        licence=read.licence,
        targets=tuple(read.targets),
        intensity=IntensityPolicy(**read.intensity.model_dump()),
        symmetries=frozenset(read.symmetries),
        groups_known=read.groups_known,
        prompt_sources={name: frozenset(sources) for name, sources in read.prompt_sources.items()},
        aliases=read.aliases,
    )
