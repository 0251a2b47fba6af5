"""The file of `vlseg predict --jobs`: images with prompts of their own."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from vlseg.evaluation import Ask, Wanted
from vlseg.evaluation.mask_names import key_of
from vlseg.records import InputError

FIELDS = ("image", "prompts", "name", "threshold")
SHOWN = 20
"""Faults that one message tells."""
LONGEST = 160
"""Bytes of each part of a name."""
_NOT_IN_NAMES = frozenset('<>:"\\|?*') | {chr(code) for code in range(32)}


@dataclass(frozen=True)
class _Entry:
    """A right entry, and what it is called in messages."""

    called: str
    image: Path
    wanted: tuple[Wanted, ...]


def read_jobs(path: Path) -> list[Ask]:
    """What a file of jobs asks, each image once, in the order of their first entries.

    It is a JSON list of entries, or has an entry on each line (JSON lines): {"image": path from the file's folder,
    "prompts": [text, ...]}, and if wanted "name" (of the masks' files) and "threshold".

    Raises:
        InputError: all that is wrong with it in one line, by number.
    """
    found: list[_Entry] = []
    faults: list[str] = []
    entries = _entries(path)
    for called, values in entries:
        wrong = [values] if isinstance(values, str) else _faults(values, path.parent)
        if wrong:
            faults.append(f"{called}: {', '.join(wrong)}")
        elif isinstance(values, dict):
            found.append(_entry(called, values, path.parent))
    if not faults:
        asks, faults = _joined(found)
    if faults:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        count = f"{len(faults)} of {len(entries)} entries are wrong"
        raise InputError(f"--jobs: {path}: {count}: {'; '.join(faults[:SHOWN])}{more}")
    if not asks:
        raise InputError(f'--jobs: {path} holds no entry; write [{{"image": "a.png", "prompts": ["polyp"]}}]')
    return asks


def _entries(path: Path) -> list[tuple[str, Any]]:
    """Each entry by what it is called; a line that is no JSON is a text that says so."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"--jobs: {path} does not exist; give a file of images and prompts") from error
    except OSError as error:
        raise InputError(f"--jobs: {path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"--jobs: {path} is no UTF-8 text; save it as UTF-8") from error
    if text.lstrip().startswith("["):
        try:
            return [(f"entry {number}", _object(entry)) for number, entry in enumerate(json.loads(text), start=1)]
        except (ValueError, RecursionError) as error:
            raise InputError(f"--jobs: {path}: broken JSON ({error}); mend the file") from error
    return list(_lines(text))


def _lines(text: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield f"line {number}", _object(json.loads(line))
            except (ValueError, RecursionError) as error:
                yield f"line {number}", f"is no JSON ({error})"


def _object(entry: Any) -> Any:
    return entry if isinstance(entry, dict) else 'is no object; write {"image": ..., "prompts": [...]}'


def _faults(values: dict[str, Any], folder: Path) -> list[str]:
    """Everything that is wrong with an entry."""
    unknown = [f"'{key}' is no field (known: {', '.join(FIELDS)})" for key in values if key not in FIELDS]
    faults = [_image_fault(values.get("image"), folder), _prompts_fault(values.get("prompts"))]
    if values.get("name") is not None:
        faults.append(_name_fault(values["name"]))
    limit = values.get("threshold")
    number = isinstance(limit, int | float) and not isinstance(limit, bool) and 0 <= limit <= 1
    if limit is not None and not number:
        faults.append(f"'threshold' is {json.dumps(limit)[:40]}; give a number from 0 to 1")
    return [*unknown, *(fault for fault in faults if fault)]


def _image_fault(image: Any, folder: Path) -> str:
    if not isinstance(image, str) or not image:
        return "'image' is missing; give a path" if image in (None, "") else "'image' is no text; give a path"
    try:
        place = folder / image
        there, is_file = place.exists(), place.is_file()
    except (OSError, ValueError):
        there, is_file = False, False
    if not there:
        return f"no image at {image!a:.200} (from the file's folder)"
    return "" if is_file else f"'image' {image!a:.200} is no file"


def _prompts_fault(prompts: Any) -> str:
    if not isinstance(prompts, list) or not prompts:
        return "'prompts' must be a list of texts, at least one"
    wrong = [number for number, prompt in enumerate(prompts, start=1) if not _is_text(prompt)]
    return f"prompt {wrong[0]} is no text" if wrong else ""


def _name_fault(name: Any) -> str:
    if not _is_text(name) or not name:
        return "'name' is no text"
    for part in name.split("/"):
        if not part or part.startswith(".") or _NOT_IN_NAMES & set(part) or len(part.encode()) > LONGEST:
            return f"'name' {name!a:.80} is no name of a file below --out; use letters, digits, '-', '_' and '/'"
    return ""


def _is_text(value: Any) -> bool:
    """Whether it is text that can be written: a lone surrogate cannot."""
    try:
        return isinstance(value, str) and bool(value.encode() or not value)
    except UnicodeEncodeError:
        return False


def _entry(called: str, values: dict[str, Any], folder: Path) -> _Entry:
    image = (folder / values["image"]).absolute()
    name = values.get("name") or _name_of(values["image"])
    limit = None if values.get("threshold") is None else float(values["threshold"])
    return _Entry(called, image, tuple(Wanted(prompt, name, limit) for prompt in dict.fromkeys(values["prompts"])))


def _name_of(image: str) -> str:
    """The image's path below the file's folder without suffix; its name alone where it lies elsewhere or is hidden."""
    path = PurePosixPath(Path(image).as_posix())
    inside = not path.is_absolute() and not any(part.startswith(".") for part in path.parts)
    return path.with_suffix("").as_posix() if inside else path.stem.lstrip(".") or "image"


def _joined(entries: Sequence[_Entry]) -> tuple[list[Ask], list[str]]:
    """Entries of one image together; and those that want one mask in two ways."""
    images: dict[str, Path] = {}
    wanted: dict[str, dict[str, tuple[Wanted, str]]] = {}
    faults = []
    for entry in entries:
        key, _ = key_of(entry.image, "")
        images.setdefault(key, entry.image)
        for one in entry.wanted:
            first, called = wanted.setdefault(key, {}).setdefault(one.prompt, (one, entry.called))
            if first != one:
                faults.append(
                    f'{entry.called}: asks for "{one.prompt:.80}" as {called} does, with another threshold or name'
                )
    asks = [Ask(images[key], tuple(one for one, _ in inside.values())) for key, inside in wanted.items()]
    return asks, faults
