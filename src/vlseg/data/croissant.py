"""croissant.json: a prepared dataset in MLCommons' format Croissant 1.0, which dataset searches and loaders read.

https://docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from vlseg.data.cards.card import Card
from vlseg.records import SPLITS, write_text

CROISSANT = "croissant.json"
_MIME = {
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".jfif": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
}
_CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
} | {
    word: f"cr:{word}"
    for word in (
        "citeAs column equivalentProperty extract field fileProperty fileObject fileSet format includes isLiveDataset "
        "jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate separator source "
        "subField transform"
    ).split()
}
_ROLES = {"train": "cr:TrainingSplit", "val": "cr:ValidationSplit", "test": "cr:TestSplit"}
_KEY = re.compile(r"[A-Za-z_]\w*", re.ASCII)
"""Prompt names that a path into JSON can hold as they are."""


def write_croissant(
    folder: Path, name: str, card: Card | None, entries: Mapping[str, Sequence[Mapping[str, Any]]], images: int
) -> None:
    """Writes croissant.json for the dataset in `folder`, whose other files are there: the same dataset, the same bytes.

    It points to files and keys and repeats no entry, so that it tells nothing of patients. Licence, page and citation
    are the card's; what nobody has said is left out.

    Args:
        folder: with images/, masks/ and anns/.
        name: of the dataset.
        card: None = own data.
        entries: by split, as in the annotation files.
        images: their number.
    """
    listed = [entry for split in SPLITS for entry in entries[split]]
    targets = sorted({str(entry["target"]) for entry in listed})
    counts = ", ".join(f"{len(entries[split])} {split}" for split in SPLITS)
    titled = f"{card.title}, {card.modality}: " if card else ""
    values: dict[str, Any] = {
        "@context": dict(_CONTEXT),
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": f"{titled}{images} images with masks of {', '.join(targets)}; entries: {counts}. Each entry of "
        "anns/*.json names an image, a mask, the target that the mask shows, and prompts.",
    }
    if card is not None:
        values |= {"license": card.licence, "url": card.page, "citeAs": card.citation}
    values["distribution"] = [
        _pictures("images", (str(entry["img_name"]) for entry in listed)),
        _pictures("masks", (str(entry["mask_name"]) for entry in listed)),
        {
            "@type": "cr:FileSet",
            "@id": "anns-files",
            "name": "anns-files",
            "description": "One JSON list of entries for each split.",
            "encodingFormat": "application/json",
            "includes": "anns/*.json",
        },
        *(_file(folder, f"anns/{split}.json") for split in SPLITS),
    ]
    records = _entries(listed)
    masked = _with("masks", "entries_with_masks", records)
    samples = _with("images", "samples", masked)
    values["recordSet"] = [_splits(), _by_name("images"), _by_name("masks"), records, masked, samples]
    write_text(folder / CROISSANT, json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def _pictures(kind: str, names: Iterable[str]) -> dict[str, Any]:
    places = sorted({(len(PurePosixPath(name).parts), PurePosixPath(name).suffix) for name in names})
    formats = sorted({_MIME.get(suffix.lower(), "application/octet-stream") for _, suffix in places})
    return {
        "@type": "cr:FileSet",
        "@id": f"{kind}-files",
        "name": f"{kind}-files",
        "encodingFormat": formats if len(formats) > 1 else formats[0],
        "includes": [f"{kind}/{'*/' * (depth - 1)}*{suffix}" for depth, suffix in places],
    }


def _file(folder: Path, name: str) -> dict[str, Any]:
    content = (folder / name).read_bytes()
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{len(content)} B",
        "encodingFormat": "application/json",
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _field(record: str, name: str, kind: str, source: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{record}/{name}",
        "name": name,
        "dataType": kind,
        **({"source": dict(source)} if source else {}),
        **more,
    }


def _splits() -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [_field("splits", "name", "sc:Text", {}), _field("splits", "url", "sc:URL", {})],
        "data": [{"splits/name": split, "splits/url": role} for split, role in _ROLES.items()],
    }


def _by_name(kind: str) -> dict[str, Any]:
    """The pictures of a folder by their path below it, as entries name them."""
    files = {"fileSet": {"@id": f"{kind}-files"}}
    path = files | {"extract": {"fileProperty": "fullpath"}, "transform": {"regex": f"^{kind}/(.+)$"}}
    return {
        "@type": "cr:RecordSet",
        "@id": kind,
        "name": kind,
        "key": {"@id": f"{kind}/name"},
        "field": [
            _field(kind, "name", "sc:Text", path),
            _field(kind, "content", "sc:ImageObject", files | {"extract": {"fileProperty": "content"}}),
        ],
    }


def _entries(listed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The entries. Keys that some entry lacks are left out: a path into JSON would shift them."""
    split = {
        "fileSet": {"@id": "anns-files"},
        "extract": {"fileProperty": "filename"},
        "transform": {"regex": r"^(train|val|test)(?:\.json)?$"},
    }
    fields = [
        _field("entries", "image_name", "sc:Text", _key("img_name")),
        _field("entries", "mask_name", "sc:Text", _key("mask_name")),
        _field("entries", "split", "sc:Text", split, references={"field": {"@id": "splits/name"}}),
        _field("entries", "target", "sc:Text", _key("target")),
    ]
    for key in sorted({key for entry in listed for key in entry["prompts"] if _KEY.fullmatch(key)}):
        kinds = {type(entry["prompts"].get(key)) for entry in listed}
        if kinds in ({str}, {list}):
            several = {"repeated": True} if kinds == {list} else {}
            fields.append(_field("entries", f"prompt_{key}", "sc:Text", _key(f"prompts.{key}"), **several))
    if listed and all(entry.get("group") is not None for entry in listed):
        told = "Patient or sequence: entries of one group are not independent."
        fields.append(_field("entries", "group", "sc:Text", _key("group"), description=told))
    return {"@type": "cr:RecordSet", "@id": "entries", "name": "entries", "field": fields}


def _with(kind: str, name: str, inner: Mapping[str, Any]) -> dict[str, Any]:
    """The records of `inner` with the pictures of `kind` that they name: mlcroissant joins two sources at once."""
    word = kind.removesuffix("s")
    fields = [_field(name, word, "sc:ImageObject", {"field": {"@id": f"{kind}/content"}})]
    for one in inner["field"]:
        kept = {key: one[key] for key in ("repeated", "description") if key in one}
        if one["name"] == f"{word}_name":
            kept["references"] = {"field": {"@id": f"{kind}/name"}}
        fields.append(_field(name, one["name"], one["dataType"], {"field": {"@id": one["@id"]}}, **kept))
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "field": fields}


def _key(path: str) -> dict[str, Any]:
    return {"fileSet": {"@id": "anns-files"}, "extract": {"jsonPath": f"$[*].{path}"}}
