"""What `vlseg data check` tells: files and entries by data, texts by prompts, joined; and the mended copy."""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vlseg.checks import Checked, check_dataset, view
from vlseg.data import layout_folders, new_folder, read_info, write_entries
from vlseg.jobs.cards import with_bar
from vlseg.prompts import Spelling, TextCase, head_noun, mend, proofread, spelling_of, with_targets
from vlseg.records import (
    SEVERITIES,
    SPLITS,
    Case,
    DatasetStatistics,
    Finding,
    InputError,
    Severity,
    read_json,
    replacing_folder,
    write_text,
)

EXAMPLES = 5
LOG = "fixes.json"

TEXTS: Mapping[str, tuple[Severity, str]] = {
    "announces_absence": ("warning", "a text tells that nothing is there: the prompt leaks the label"),
    "contradicts_mask": (
        "warning",
        "a text says that nothing is there, but the mask is not empty: one of them is wrong",
    ),
    "number_agreement": ("note", "number and noun do not agree"),
    "repeated_word": ("note", "a word stands twice in a row"),
    "stray_blank": ("note", "a text begins or ends with a blank, or holds two"),
    "stray_article": ("note", "an article stands in the middle of a phrase"),
    "sentence_answer": ("note", "a whole answer stands inside a phrase"),
    "misspelling": ("note", "a word seems to be misspelt"),
    "long_prompt": ("note", "a text is so long that text encoders cut it off"),
}
"""Severity and message by the code of a text's defect."""


def check_data(
    paths: Sequence[Path], *, target: str | None = None, anns_only: bool = False, near: bool = True
) -> tuple[list[Finding], list[DatasetStatistics]]:
    """All findings, worst first within each dataset, and the numbers of each dataset.

    Raises:
        InputError: see `vlseg.checks.check_dataset`.
    """
    checked, across = check_dataset(
        paths,
        target=target,
        anns_only=anns_only,
        near=near,
        name_targets=with_targets,
        bar=lambda blocks: with_bar(blocks, "comparing images"),
    )
    findings: list[Finding] = []
    for one in checked:
        every = [*one.findings, *_texts(one)]
        findings += sorted(every, key=lambda finding: SEVERITIES.index(finding.severity))
    return [*findings, *across], [one.statistics for one in checked]


def _texts(checked: Checked) -> list[Finding]:
    """Findings of the texts; each counts entries, not wordings."""
    grouped: dict[tuple[str, str], dict[str, list[TextCase]]] = defaultdict(lambda: defaultdict(list))
    for case in proofread(checked.samples, empty=checked.absent):
        wrong = case.code == "announces_absence" and case.sample in checked.present
        grouped[("contradicts_mask" if wrong else case.code, case.split)][case.sample].append(case)
    samples = {sample.id: sample for sample in checked.samples}
    unread = not checked.absent | checked.present
    findings = []
    for (code, split), cases in grouped.items():
        severity, message = TEXTS[code]
        firsts = [inside[0] for inside in cases.values()][:EXAMPLES]
        examples = tuple(f'{case.sample}, {case.key}: "{case.text}" ({case.detail})' for case in firsts)
        sure = [
            inside for name, inside in cases.items() if unread or code != "announces_absence" or name in checked.absent
        ]
        prompts = Counter(key for inside in sure for key in {case.key for case in inside})
        shown = [
            Case(told, (view(samples[case.sample], *samples[case.sample].mask_paths),))
            for told, case in zip(examples, firsts, strict=True)
            if code == "contradicts_mask"
        ]
        findings.append(
            Finding(code, severity, checked.name, split, len(cases), examples, message, tuple(shown), (), prompts)
        )
    return findings


def fix_annotations(path: Path, out: Path) -> list[dict[str, Any]]:
    """Writes mended annotation files for the dataset `path` to the new folder `out`, and a log; returns the log.

    Texts: blanks, repeated words, misspellings with one known mend, plurals. Entries: exact duplicates go, and
    images that stand in several splits stay in the one that is tested (test before val before train). Boxes that
    enclose nothing go. The images and masks stay where they are: `out`/dataset.json points to them.

    Raises:
        InputError: no annotation files there, or `out` is not empty.
    """
    info = read_info(path)
    files = {split: path / "anns" / f"{split}.json" for split in SPLITS if (path / "anns" / f"{split}.json").exists()}
    if not files:
        raise InputError(f"--fix: {path} has no anns/*.json to mend")
    new_folder(out)
    entries = {split: _raw(file) for split, file in files.items()}
    log: list[dict[str, Any]] = []
    entries = _without_repeats(entries, _contents(entries, layout_folders(info)), log)
    spelling = spelling_of(_all_texts(entries))
    for split, inside in entries.items():
        for entry in inside:
            _mend_entry(split, entry, spelling, log)
    values = read_json(path / "dataset.json", "") if (path / "dataset.json").exists() else {"name": info.name}
    values["files"] = Path(os.path.relpath(info.files.resolve(), out.resolve())).as_posix()
    if info.masks is not None:
        values["masks"] = Path(os.path.relpath(info.masks.resolve(), out.resolve())).as_posix()
    with replacing_folder(out) as folder:
        write_entries(folder / "anns", entries)
        write_text(folder / "dataset.json", json.dumps(values, indent=1, ensure_ascii=False) + "\n")
        write_text(folder / LOG, json.dumps(log, indent=1, ensure_ascii=False) + "\n")
    return log


def _raw(file: Path) -> list[dict[str, Any]]:
    values = read_json(file, "")
    if not isinstance(values, list) or not all(
        isinstance(v, dict) and isinstance(v.get("prompts"), dict) for v in values
    ):
        raise InputError(f"{file}: must be a list of entries with prompts; mend that by hand first")
    return values


def _contents(
    entries: Mapping[str, Sequence[Mapping[str, Any]]], folders: tuple[Path, Path]
) -> dict[tuple[str, str], str]:
    """What tells an image: its bytes where the file is there, else its name unless most names recur."""
    import hashlib

    from vlseg.data import locate

    names = {split: {str(entry.get("img_name")) for entry in inside} for split, inside in entries.items()}
    known: dict[tuple[str, str], str] = {}
    for split, inside in names.items():
        for name in inside:
            file = locate(folders[0], name, split)
            recurs = any(len(inside & other) > len(inside) / 2 for key, other in names.items() if key != split)
            if file.is_file():
                known[(split, name)] = hashlib.sha256(file.read_bytes()).hexdigest()
            else:
                known[(split, name)] = f"{split}/{name}" if recurs else name
    return known


def _without_repeats(
    entries: Mapping[str, list[dict[str, Any]]], contents: Mapping[tuple[str, str], str], log: list[dict[str, Any]]
) -> dict[str, list[dict[str, Any]]]:
    """Entries once each, and every image in one split only."""
    owner: dict[str, str] = {}
    for split in reversed(SPLITS):
        for entry in entries.get(split, ()):
            owner.setdefault(contents[(split, str(entry["img_name"]))], split)
    kept: dict[str, list[dict[str, Any]]] = {}
    for split, inside in entries.items():
        seen: set[str] = set()
        kept[split] = []
        for entry in inside:
            name = str(entry["img_name"])
            first = owner[contents[(split, name)]]
            key = json.dumps({k: entry.get(k) for k in ("img_name", "mask_name", "target", "prompts", "reader")})
            if first != split:
                log.append(_line(split, entry, f"dropped: the image is in {first} as well"))
            elif key in seen:
                log.append(_line(split, entry, "dropped: the entry stands twice"))
            else:
                kept[split].append(entry)
            seen.add(key)
    return kept


def _mend_entry(split: str, entry: dict[str, Any], spelling: Spelling, log: list[dict[str, Any]]) -> None:
    box = entry.get("bbox")
    if isinstance(box, list) and len(box) == 4 and not (box[0] < box[2] and box[1] < box[3]):
        log.append(_line(split, entry, f"box removed: {box} encloses nothing"))
        del entry["bbox"]
    listed = {key: [value] if isinstance(value, str) else list(value) for key, value in entry["prompts"].items()}
    noun = head_noun(entry.get("target"), listed)
    for key, texts in listed.items():
        mended = []
        for text in texts:
            better, changes = mend(text, spelling, noun)
            mended.append(better)
            if better != text:
                log.append(_line(split, entry, "; ".join(changes)) | {"prompt": key, "before": text, "after": better})
        entry["prompts"][key] = mended[0] if isinstance(entry["prompts"][key], str) else mended


def _line(split: str, entry: Mapping[str, Any], change: str) -> dict[str, Any]:
    return {"split": split, "image": entry.get("img_name"), "mask": entry.get("mask_name"), "change": change}


def _all_texts(entries: Mapping[str, Iterable[Mapping[str, Any]]]) -> list[str]:
    values = [value for inside in entries.values() for entry in inside for value in entry["prompts"].values()]
    return [text for value in values for text in ([value] if isinstance(value, str) else value)]
