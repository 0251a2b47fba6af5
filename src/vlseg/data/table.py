"""cases.csv: what a user knows of each image of a plain folder."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from vlseg.records import SOURCES, SPLITS, Attribute, InputError, Source

GROUP_COLUMNS = ("group", "patient", "patient_id")
TABLE = "cases.csv"


@dataclass(frozen=True)
class Row:
    """One line. `prompts` are wordings with their source; None and empty where a cell is empty."""

    group: str | None = None
    site: str | None = None
    split: str | None = None
    spacing: tuple[float, float] | None = None
    prompts: tuple[str, ...] = ()
    prompt_source: Source = "unknown"
    attributes: tuple[Attribute, ...] = field(default=())


def read_table(path: Path) -> dict[str, Row]:
    """The rows of a CSV file, see `parse_table`.

    Raises:
        InputError: missing file, or what `parse_table` raises.
    """
    try:
        return parse_table(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read; give a CSV table with a column 'file'") from error


def parse_table(content: bytes, path: str) -> dict[str, Row]:
    """Rows by the image's name without its suffix (folders below images/ kept: "site1/a").

    Columns: `file` (needed), `group` (or `patient`), `site`, `split`, `spacing` (mm: "0.1" or "y x"), `prompt`
    (several wordings are parted by "|"), and any other as an attribute. `prompt` and attributes say where
    they come from after a colon: `age:metadata`, `prompt:user`; without it they count as unknown.
    Comma, semicolon and tab part the columns.

    Raises:
        InputError: missing column, a name that stands twice, a cell that cannot be read.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text; save it as CSV (UTF-8)") from error
    header = text.splitlines()[0] if text.strip() else ""
    delimiter = max(",;\t", key=header.count)
    lines = csv.DictReader(text.splitlines(), delimiter=delimiter)
    columns = [name.strip() for name in lines.fieldnames or ()]
    lines.fieldnames = columns
    if "file" not in columns:
        raise InputError(f"{path}: has no column 'file' (it has {', '.join(columns) or 'none'}); name each image there")
    sources = {name: _column(path, name) for name in columns}
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines, start=2):
        where = f"{path}: line {number}"
        if None in line:
            raise InputError(f"{where}: has more cells than the header; put texts with commas in quotes")
        name = stem((line["file"] or "").strip())
        if not name:
            raise InputError(f"{where}: the column 'file' is empty")
        if name in rows:
            raise InputError(f"{where}: '{line['file']}' stands there twice; keep one line per image")
        rows[name] = _row(where, line, sources)
    return rows


def stem(name: str) -> str:
    """The name without its suffix, folders kept."""
    return PurePosixPath(name.replace("\\", "/")).with_suffix("").as_posix() if name else ""


def _column(path: str, name: str) -> tuple[str, Source]:
    plain, _, source = name.partition(":")
    if source and source not in SOURCES:
        raise InputError(f"{path}: column '{name}': source '{source}' is unknown (known: {', '.join(SOURCES)})")
    return plain.strip().lower(), source or "unknown"


def _row(where: str, line: Mapping[str, str | None], columns: Mapping[str, tuple[str, Source]]) -> Row:
    cells = {columns[name]: (value or "").strip() for name, value in line.items()}
    known: dict[str, str] = {}
    attributes: list[Attribute] = []
    prompts: tuple[str, ...] = ()
    prompt_source: Source = "unknown"
    for (name, source), value in cells.items():
        if not value:
            continue
        if name == "prompt":
            prompts, prompt_source = tuple(text.strip() for text in value.split("|")), source
        elif name in ("file", "site", "split", "spacing"):
            known[name] = value
        elif name in GROUP_COLUMNS:
            known["group"] = value
        else:
            attributes.append(Attribute(name, value, source))
    split = known.get("split")
    if split is not None and split not in SPLITS:
        raise InputError(f"{where}: split '{split}' is unknown (known: {', '.join(SPLITS)})")
    return Row(
        group=known.get("group"),
        site=known.get("site"),
        split=split,
        spacing=_spacing(where, known.get("spacing")),
        prompts=prompts,
        prompt_source=prompt_source,
        attributes=tuple(attributes),
    )


def _spacing(where: str, text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    parts = text.replace(",", ".").split() if " " in text else [text.replace(",", ".")]
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if len(values) not in (1, 2) or min(values, default=0) <= 0:
        raise InputError(f"{where}: spacing '{text}' is not one or two positive numbers (mm; y x)")
    return values[0], values[-1]
