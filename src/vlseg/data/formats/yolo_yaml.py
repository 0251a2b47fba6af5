"""data.yaml: the classes of a YOLO dataset and where its images lie."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vlseg.data.formats.coco_files import SPLIT_WORDS
from vlseg.records import InputError

_LARGEST = 1 << 20
_KEYS = (
    re.compile(rb"^(?:\xef\xbb\xbf)?\W*names\W*:", re.MULTILINE),
    re.compile(rb"^(?:\xef\xbb\xbf)?\W*(?:train|val|valid|validation|test)\W*:", re.MULTILINE),
)


@dataclass(frozen=True)
class Description:
    """A file like data.yaml, checked.

    Attributes:
        file: it.
        names: target by class number.
        places: by split, folders or lists of images as they are written there, with "/".
        base: the absolute folder to which they are relative.
    """

    file: Path
    names: Mapping[int, str]
    places: Mapping[str, Sequence[str]]
    base: str


def descriptions(root: Path) -> list[Description]:
    """The YAML files in the folder that name classes and a split.

    Raises:
        InputError: such a file is broken or wrong.
    """
    files = [file for file in sorted(root.iterdir()) if file.suffix.lower() in (".yaml", ".yml") and file.is_file()]
    found = []
    for file in files:
        if file.stat().st_size > _LARGEST:
            continue
        content = file.read_bytes()
        if all(key.search(content) for key in _KEYS):
            values = _values(file, content)
            found += [_description(root, file, values)] if values else []
    return found


def _values(file: Path, content: bytes) -> dict[str, Any]:
    try:
        values = yaml.safe_load(content.decode("utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        line = " ".join(str(error).split())
        mend = "in double quotes a backslash means something else, write /" if b'"' in content else "correct it"
        raise InputError(f"{file}: is no YAML that can be read ({line}); {mend}") from error
    return values if isinstance(values, dict) and "names" in values else {}


def _description(root: Path, file: Path, values: dict[str, Any]) -> Description:
    places: dict[str, list[str]] = {}
    for key, value in values.items():
        split = SPLIT_WORDS.get(str(key).lower())
        if split is None or value in (None, "", []):
            continue
        several = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) for one in several):
            raise InputError(f"{file}: '{key}' must name a folder, several, or a text file of images")
        if any(ord(letter) < 32 for one in several for letter in one):
            raise InputError(f"{file}: '{key}': in double quotes a backslash means something else; write /")
        places.setdefault(split, []).extend(one.replace("\\", "/").rstrip("/") or "." for one in several)
    return Description(file, _names(file, values), places, _base(root, values.get("path")))


def _names(file: Path, values: dict[str, Any]) -> dict[int, str]:
    given = values["names"]
    pairs = (
        list(given.items()) if isinstance(given, dict) else list(enumerate(given if isinstance(given, list) else []))
    )
    names: dict[int, str] = {}
    for key, name in pairs:
        if isinstance(name, bool | float) or not isinstance(name, str | int) or not str(name).strip():
            raise InputError(f"{file}: 'names' holds {name!r}, which is no name; put quotes around it")
        if not str(key).isdigit():
            raise InputError(
                f"{file}: 'names' must be a list, or map the class numbers 0, 1, ... to names; not {key!r}"
            )
        if str(name).strip() in names.values():
            raise InputError(f"{file}: 'names' holds '{str(name).strip()}' twice; rename one of them")
        names[int(key)] = str(name).strip()
    if not names:
        raise InputError(f"{file}: 'names' must list the classes, e.g. names: [polyp]")
    count = values.get("nc")
    if isinstance(count, int) and count != len(names):
        raise InputError(f"{file}: 'nc' is {count}, 'names' holds {len(names)}; correct one of them")
    return names


def _base(root: Path, path: Any) -> str:
    """The folder that `path` names where that lies in `root`: elsewhere it is another machine's, or an older place."""
    here = os.path.abspath(root)  # noqa: PTH100 - links inside the folder are followed only when files are read
    named = os.path.normpath(os.path.join(here, str(path or "").replace("\\", "/")))  # noqa: PTH118
    return named if (named + os.sep).startswith(here + os.sep) and Path(named).is_dir() else here
