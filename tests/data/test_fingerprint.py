"""The fingerprint: changes with all that a score depends on, and with nothing else."""

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, replace
from pathlib import Path
from typing import Any

import pytest

from vlseg.data import read_dataset
from vlseg.data.fingerprint import EXEMPT, fingerprint
from vlseg.records import Attribute, DatasetInfo, IntensityPolicy, Sample

MakeDataset = Callable[..., Path]

OTHER: dict[str, Any] = {
    "str": "another",
    "str | None": "another",
    "int": 7,
    "int | None": 7,
    "float | None": 0.5,
    "bool": True,
    "tuple[str, ...]": ("another",),
    "frozenset[str]": frozenset({"vertical"}),
    "tuple[float, float] | None": (0.5, 0.25),
    "IntensityPolicy": IntensityPolicy("bits_stored", bits=12),
    "tuple[Attribute, ...]": (Attribute("size", "small", "mask"),),
    "Mapping[str, str]": {"p1": "another"},
    "Mapping[str, Any]": {"seed": 1},
    "Mapping[str, tuple[str, ...]]": {"p1": ("another",)},
    "Mapping[str, frozenset[Source]]": {"p1": frozenset({"mask"})},
}
"""Another value for each type of field. A new type needs a line here, and so somebody's thought."""


def other(field: Field[Any], folder: Path) -> Any:
    kind = field.type.__name__ if isinstance(field.type, type) else _short(str(field.type))
    if "Path" in kind:
        path = folder / "another"
        path.write_bytes(b"another")
        return (path,) if kind.startswith("tuple") else path
    return OTHER[kind]


def _short(kind: str) -> str:
    """The type as it stands in the source."""
    source = "Literal['none', 'class', 'metadata', 'image', 'user', 'label', 'mask', 'unknown']"
    kind = kind.replace("typing.", "").replace(source, "Source")
    return kind.replace("collections.abc.", "").replace("vlseg.records.sample.", "")


def records(folder: Path) -> tuple[DatasetInfo, Sample]:
    image, mask = folder / "image", folder / "mask"
    image.write_bytes(b"image")
    mask.write_bytes(b"mask")
    sample = Sample("id", "image id", image, (mask,), "polyp", {"p1": ("a polyp",)}, "data", "train")
    return DatasetInfo("data", folder, folder), sample


@pytest.mark.parametrize("field", fields(Sample), ids=lambda field: field.name)
def test_every_field_of_a_sample_counts_or_is_exempt(tmp_path: Path, field: Field[Any]) -> None:
    info, sample = records(tmp_path)
    changed = replace(sample, **{field.name: other(field, tmp_path)})
    assert (fingerprint(info, [changed]) == fingerprint(info, [sample])) == (f"Sample.{field.name}" in EXEMPT)


@pytest.mark.parametrize("field", fields(DatasetInfo), ids=lambda field: field.name)
def test_every_field_of_the_info_counts_or_is_exempt(tmp_path: Path, field: Field[Any]) -> None:
    info, sample = records(tmp_path)
    changed = replace(info, **{field.name: other(field, tmp_path)})
    assert changed != info
    assert (fingerprint(changed, [sample]) == fingerprint(info, [sample])) == (f"DatasetInfo.{field.name}" in EXEMPT)


def test_exemptions_name_fields_that_there_are() -> None:
    known = {f"{record.__name__}.{field.name}" for record in (Sample, DatasetInfo) for field in fields(record)}
    assert EXEMPT.keys() <= known
    assert not {name for name in EXEMPT if name in ("Sample.spacing", "Sample.attributes", "DatasetInfo.intensity")}


@pytest.mark.parametrize(
    "attribute", [Attribute("a", "w"), Attribute("a", "v", "mask"), Attribute("a", "v", referring=True)]
)
def test_values_inside_of_fields_count(tmp_path: Path, attribute: Attribute) -> None:
    info, sample = records(tmp_path)
    first, second = replace(sample, attributes=(Attribute("a", "v"),)), replace(sample, attributes=(attribute,))
    assert fingerprint(info, [first]) != fingerprint(info, [second])
    assert fingerprint(info, [first, second]) != fingerprint(info, [second, first])


@pytest.mark.parametrize("kind", ["image_path", "mask_paths"])
def test_one_byte_in_the_middle_counts_even_with_the_date_of_before(tmp_path: Path, kind: str) -> None:
    info, sample = records(tmp_path)
    path = sample.image_path if kind == "image_path" else sample.mask_paths[0]
    content = bytearray(os.urandom(1_000_000))
    path.write_bytes(content)
    status = path.stat()
    before = fingerprint(info, [sample])
    content[500_000] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert path.stat().st_ino == status.st_ino
    assert fingerprint(info, [sample]) != before
    path.unlink()
    assert fingerprint(info, [sample]) != before


def test_moved_renamed_and_redated_data_keep_their_fingerprint(make_dataset: MakeDataset, tmp_path: Path) -> None:
    root = make_dataset()
    (root / "dataset.json").unlink()
    before = read_dataset(root).info
    shutil.copytree(root, tmp_path / "elsewhere" / "under another name")
    for file in (tmp_path / "elsewhere").rglob("*.png"):
        os.utime(file, (1, 1))
    after = read_dataset(tmp_path / "elsewhere" / "under another name").info
    assert (before.name, after.name) == ("discs", "under another name")
    assert before.fingerprint == after.fingerprint


def test_a_field_at_its_default_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    info, sample = records(tmp_path)
    assert fingerprint(info, [sample]) == fingerprint(info, [replace(sample, site=None, attributes=())])
    assert all(field.default is not MISSING or field.default_factory is not MISSING for field in fields(Sample)[8:])


def test_a_command_reads_each_file_once(make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_dataset()
    first = read_dataset(root).info.fingerprint

    def refuse(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(hashlib, "file_digest", refuse)
    assert read_dataset(root).info.fingerprint == first
