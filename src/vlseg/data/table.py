"""cases.csv: what a user knows of each image of a plain folder."""

import csv
import io
import math
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vlseg.data.names import plain_stem
from vlseg.records import SOURCES, SPLITS, Attribute, InputError, Source

GROUP_COLUMNS = ("group", "patient", "patient_id", "patient id", "patientid", "subject", "subject_id", "subject id")
FILE_COLUMNS = ("file", "filename", "file_name", "file name", "image", "img_name")
TABLE = "cases.csv"
TABLES = (TABLE, "cases.xlsx")
MISSING = frozenset({"nan", "#n/a"})
"""What programs write into a cell of which nothing is known."""
_PARTS = ",;\t"
Cells = Sequence[tuple[int, Sequence[str]]]
"""Lines with their numbers."""


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
    """The rows of a CSV or Excel file, see `parse_table`.

    Raises:
        InputError: missing file, or what `parse_table` raises.
    """
    try:
        return parse_table(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a table with a column 'file'") from error


def parse_table(content: bytes, path: str) -> dict[str, Row]:
    """Rows by the image's name without its suffix (folders below images/ kept: "site1/a").

    Columns, in any case: `file` (needed), `group` (or `patient`, `subject`), `site`, `split`, `spacing` (mm: "0.1" or
    "y x"), `prompt` (several wordings are parted by "|"), and any other as an attribute. `prompt` and attributes say
    where they come from after a colon: `age:metadata`, `prompt:user`; without it they count as unknown.
    CSV in UTF-8 or UTF-16, parted by comma, semicolon or tab; or the first sheet of an Excel file (.xlsx). Blank lines
    are passed over, and "nan" or "#N/A" is an empty cell.

    Raises:
        InputError: missing column, two columns of one meaning, a name that stands twice, a cell that cannot be read.
    """
    lines = _sheet_lines(content, path) if content.startswith(b"PK") else _text_lines(content, path)
    header = [name.strip() for name in (lines[0][1] if lines else ())]
    while header and not header[-1]:
        header.pop()
    columns = _columns(path, header)
    rows: dict[str, Row] = {}
    for number, cells in lines[1:]:
        where = f"{path}: line {number}"
        if not any(cell.strip() for cell in cells):
            continue
        if any(cell.strip() for cell in cells[len(header) :]):
            raise InputError(f"{where}: has more cells than the header; put texts with commas in quotes")
        texts = [cell.strip() for cell in cells]
        line = {column: "" if text.lower() in MISSING else text for column, text in zip(columns, texts, strict=False)}
        named = next((cell for (name, _), cell in line.items() if name == "file"), "")
        name = stem(named)
        if not name:
            raise InputError(f"{where}: the column 'file' is empty")
        if name in rows:
            raise InputError(f"{where}: '{named}' stands there twice; keep one line per image")
        rows[name] = _row(where, line)
    return rows


def _text_lines(content: bytes, path: str) -> Cells:
    coding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(coding)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text; save it as CSV (UTF-8)") from error
    delimiter = max(_PARTS, key=text.lstrip().split("\n", 1)[0].count)
    first, _, rest = text.partition("\n")
    if first.lower().startswith("sep=") and len(first.strip()) == 5:  # a line that Excel writes and reads
        delimiter, text = first[4], "\n" + rest
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        return [(reader.line_num, cells) for cells in reader if any(cells)]
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: cannot be read as CSV ({error})") from error


def _sheet_lines(content: bytes, path: str) -> Cells:
    import openpyxl

    try:
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        rows = list(book.worksheets[0].iter_rows(values_only=True))
    except (zipfile.BadZipFile, KeyError, ValueError, IndexError, OSError) as error:
        raise InputError(f"{path}: cannot be read as an Excel sheet ({error}); save it as CSV (UTF-8)") from error
    lines = [(number, [_cell(value) for value in row]) for number, row in enumerate(rows, start=1)]
    return [(number, cells) for number, cells in lines if any(cells)]


def _cell(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)


def _columns(path: str, header: Sequence[str]) -> list[tuple[str, Source]]:
    """What each column means, with its source.

    Raises:
        InputError: no `file`, an unknown source, or two columns of one meaning.
    """
    columns = [_column(path, name) for name in header]
    first: dict[str, str] = {}
    for (meaning, _), name in zip(columns, header, strict=True):
        if meaning and meaning in first:  # a column without a name is a program's line number
            raise InputError(f"{path}: the columns '{first[meaning]}' and '{name}' mean the same; keep one of them")
        first[meaning] = name
    if "file" not in first:
        raise InputError(f"{path}: has no column 'file' (it has {', '.join(header) or 'none'}); name each image there")
    return columns


def fit_rows(path: object, rows: Mapping[str, Row], images: Mapping[str, str], others: Iterable[str]) -> dict[str, Row]:
    """The row of each image, by the image's key.

    A row names an image by its file's name, as far as it is one image's alone, or with the folders before it.

    Args:
        path: the table, for errors.
        rows: by name.
        images: by key, the image's path in the source.
        others: paths of images that are not used; rows for them are passed over.

    Raises:
        InputError: a row for no image or for several, an image without one, `group` or `split` filled here and there.
    """
    known = _by_ending(images.items())
    unused = _by_ending((name, name) for name in others)
    found: dict[str, Row] = {}
    for name, row in rows.items():
        fitting = [name] if name in images else known.get(name, [])
        if len(fitting) > 1:
            shown = " and ".join(images[key] for key in fitting[:2])
            raise InputError(f"{path}: '{name}' fits {shown}; write the folders before the name")
        if fitting and fitting[0] in found:
            raise InputError(f"{path}: '{images[fitting[0]]}' stands there twice; keep one line per image")
        found |= dict.fromkeys(fitting, row)
        if not fitting and name not in unused:
            raise InputError(f"{path}: '{name}' has no image with a mask; correct 'file' or take the line away")
    absent = [key for key in images if key not in found]
    if absent:
        raise InputError(
            f"{path}: has no line for image '{stem(images[absent[0]])}' ({len(absent)} such images); add one each"
        )
    for column in ("group", "split"):
        empty = [key for key, row in found.items() if getattr(row, column) is None]
        if 0 < len(empty) < len(found):
            shown = stem(images[empty[0]])
            raise InputError(f"{path}: column '{column}' is empty for '{shown}'; fill it for all images or none")
    return found


def _by_ending(paths: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Keys by every ending of their path: "site1/a" and "a" for "images/site1/a.png"."""
    found: dict[str, list[str]] = defaultdict(list)
    for key, path in paths:
        parts = stem(path).split("/")
        for start in range(len(parts)):
            found["/".join(parts[start:])].append(key)
    return found


def stem(name: str) -> str:
    """The name without an image's suffix, folders kept."""
    return plain_stem(name)


def _column(path: str, name: str) -> tuple[str, Source]:
    plain, _, source = (part.strip().lower() for part in name.partition(":"))
    if source and source not in SOURCES:
        raise InputError(f"{path}: column '{name}': source '{source}' is unknown (known: {', '.join(SOURCES)})")
    meaning = "file" if plain in FILE_COLUMNS else "group" if plain in GROUP_COLUMNS else plain
    return meaning, source or "unknown"


def _row(where: str, cells: Mapping[tuple[str, Source], str]) -> Row:
    known: dict[str, str] = {}
    attributes: list[Attribute] = []
    prompts: tuple[str, ...] = ()
    prompt_source: Source = "unknown"
    for (name, source), value in cells.items():
        if not value or not name:
            continue
        if name == "prompt":
            prompts, prompt_source = tuple(text.strip() for text in value.split("|")), source
        elif name in ("file", "group", "site", "spacing"):
            known[name] = value
        elif name == "split":
            known[name] = value.lower()
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
    if len(values) not in (1, 2) or not all(0 < value < math.inf for value in values):
        raise InputError(f"{where}: spacing '{text}' is not one or two positive numbers (mm; y x)")
    return values[0], values[-1]
