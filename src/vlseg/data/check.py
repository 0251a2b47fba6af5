"""What would spoil a result, found before training. Nothing is written, nothing stops at the first find."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from vlseg.data.check_files import FileFacts, image_facts, mask_facts
from vlseg.data.entries import Entry, entry_samples, read_entries
from vlseg.data.info import read_info
from vlseg.data.masks import odd_values
from vlseg.data.pairs import paired_files
from vlseg.data.read import read_dataset
from vlseg.records import SPLITS, InputError, Sample

Severity = Literal["error", "warning", "note"]
EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """One kind of problem in one split (or across splits: None). `count` cases, a few as examples."""

    code: str
    severity: Severity
    dataset: str
    split: str | None
    count: int
    examples: tuple[str, ...]
    message: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass
class _Collector:
    """Cases gathered by (code, split), in order of first appearance."""

    dataset: str
    cases: dict[tuple[str, Severity, str | None, str], list[str]] = field(default_factory=dict)

    def add(self, code: str, severity: Severity, split: str | None, message: str, example: str) -> None:
        self.cases.setdefault((code, severity, split, message), []).append(example)

    def findings(self) -> list[Finding]:
        return [
            Finding(code, severity, self.dataset, split, len(found), tuple(found[:EXAMPLES]), message)
            for (code, severity, split, message), found in self.cases.items()
        ]


def check_dataset(paths: Sequence[Path], *, target: str | None = None, anns_only: bool = False) -> list[Finding]:
    """All findings of the datasets, worst first within each.

    Args:
        paths: dataset folders.
        target: names the masks of a plain images/ + masks/ pair.
        anns_only: read annotation files only, not images or masks.

    Raises:
        InputError: a path that is no folder, or holds nothing that looks like a dataset.
    """
    order = {"error": 0, "warning": 1, "note": 2}
    findings: list[Finding] = []
    for path in paths:
        if not path.is_dir():
            raise InputError(f"{path}: no such folder; give a dataset folder")
        findings += sorted(_check_one(path, target, anns_only), key=lambda finding: order[finding.severity])
    return findings


def _check_one(path: Path, target: str | None, anns_only: bool) -> list[Finding]:
    found = _Collector(path.resolve().name)
    samples = _samples(path, target, found)
    _check_entries(samples, found)
    _check_prompts(samples, found)
    if anns_only:
        _check_names_across_splits(samples, found)
    else:
        _check_files(samples, found)
    return found.findings()


def _samples(path: Path, target: str | None, found: _Collector) -> list[Sample]:
    """Samples of all splits that can be read; what cannot is a finding."""
    try:
        name = read_info(path).name
    except InputError as error:
        found.add("broken_json", "error", None, "dataset.json cannot be read", str(error))
        name = path.resolve().name
    found.dataset = name
    files = [(split, path / "anns" / f"{split}.json") for split in SPLITS]
    if not any(file.exists() for _, file in files):
        _, alone = paired_files(path)
        for file in alone:
            found.add("unpaired_file", "warning", None, "files without a partner of the same stem", file.name)
        return list(read_dataset(path, target=target).samples)
    samples: list[Sample] = []
    for split, file in files:
        if not file.exists():
            found.add("missing_split", "warning", split, "the split has no annotation file", file.name)
            continue
        try:
            entries = read_entries(file)
        except InputError as error:
            found.add("broken_json", "error", split, "the annotation file cannot be read", str(error))
            continue
        if not entries:
            found.add("empty_split", "warning", split, "the split has no entries", file.name)
        _check_types(entries, split, found)
        samples += _located(path, name, split, entries, found)
    return samples


def _located(path: Path, name: str, split: str, entries: Sequence[Entry], found: _Collector) -> Iterator[Sample]:
    try:
        yield from entry_samples(path, name, split, entries)
    except InputError as error:
        found.add("bad_path", "error", split, "a file name leads out of the dataset", str(error))


def _check_types(entries: Sequence[Entry], split: str, found: _Collector) -> None:
    kinds: dict[str, dict[type, str]] = defaultdict(dict)
    for entry in entries:
        for key, value in entry.prompts.items():
            kinds[key].setdefault(type(value), entry.img_name)
    for key, seen in kinds.items():
        if len(seen) > 1:
            example = f"{key}: {seen[str]} has one text, {seen[list]} a list"
            found.add("prompt_type_mixture", "note", split, "a prompt is a text here and a list there", example)


def _check_entries(samples: Sequence[Sample], found: _Collector) -> None:
    seen: set[tuple[object, ...]] = set()
    for sample in samples:
        key = (sample.split, sample.image_path, sample.mask_paths, sample.mask_value, sample.target)
        if key in seen and sample.mask_paths:
            message = "the same image and mask stand twice; they are used once"
            found.add("duplicate_entry", "warning", sample.split, message, sample.id)
        seen.add(key)
    groups: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        if sample.group is not None:
            groups[sample.group].add(sample.split)
    for group, splits in groups.items():
        if len(splits) > 1:
            message = "a patient or sequence is in more than one split"
            found.add("group_leak", "error", None, message, f"{group} in {', '.join(sorted(splits))}")


def _check_prompts(samples: Sequence[Sample], found: _Collector) -> None:
    keys = {key for sample in samples for key in sample.prompts}
    for sample in samples:
        for key in sorted(keys - sample.prompts.keys()):
            message = f"prompt '{key}' is missing from entries; it cannot be chosen with --prompt"
            found.add("missing_prompt_key", "warning", sample.split, message, sample.id)
    truths: dict[tuple[str, str, str, tuple[str, ...]], set[tuple[Path, ...]]] = defaultdict(set)
    for sample in samples:
        for key, wordings in sample.prompts.items():
            if any(wordings) and sample.mask_paths:
                truths[(key, sample.split, sample.image_id, wordings)].add(sample.mask_paths)
    for (key, split, image, wordings), masks in truths.items():
        if len(masks) > 1:
            message = f"prompt '{key}' fits several masks of one image; its truth is their union"
            found.add("ambiguous_prompt", "note", split, message, f'{image}: "{wordings[0]}"')


def _check_names_across_splits(samples: Sequence[Sample], found: _Collector) -> None:
    names: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        names[sample.image_path.name].add(sample.split)
    shared = {name: splits for name, splits in names.items() if len(splits) > 1}
    splits = {sample.split for sample in samples}
    smallest = min((sum(split in where for where in names.values()) for split in splits), default=0)
    # A leak concerns some images; where most names recur, they are numbered anew in each split.
    renumbered = len(shared) > smallest / 2
    for name, where in shared.items():
        example = f"{name} in {', '.join(sorted(where))}"
        if renumbered:
            message = "most image names are in more than one split: perhaps other images of the same name"
            found.add("name_collision", "warning", None, message, example)
        else:
            message = "an image name is in more than one split (contents were not compared)"
            found.add("split_leak", "error", None, message, example)


def _check_files(samples: Sequence[Sample], found: _Collector) -> None:
    images = {sample.image_path: sample.split for sample in samples}
    image_files = {path: image_facts(path) for path in images}
    masks = {path: sample for sample in samples for path in sample.mask_paths}
    mask_files = {path: mask_facts(path, sample.mask_value) for path, sample in masks.items()}
    for path, facts in image_files.items():
        _report_unreadable(path, facts, images[path], "image", found)
    for path, facts in mask_files.items():
        _report_unreadable(path, facts, masks[path].split, "mask", found)
    _check_leaks(samples, image_files, found)
    _check_masks(masks, mask_files, image_files, found)


def _report_unreadable(path: Path, facts: FileFacts, split: str, kind: str, found: _Collector) -> None:
    if not facts.exists:
        found.add("missing_file", "error", split, f"a {kind} file is missing", str(path))
    elif facts.problem:
        found.add("undecodable", "error", split, f"a {kind} file cannot be read", facts.problem)


def _check_leaks(samples: Sequence[Sample], files: dict[Path, FileFacts], found: _Collector) -> None:
    contents: dict[str, dict[str, str]] = defaultdict(dict)
    names: dict[str, dict[str, str]] = defaultdict(dict)
    for sample in samples:
        facts = files[sample.image_path]
        if facts.digest:
            contents[facts.digest].setdefault(sample.split, sample.image_path.name)
            names[sample.image_path.name].setdefault(sample.split, facts.digest)
    for splits in contents.values():
        if len(splits) > 1:
            example = ", ".join(f"{split}: {name}" for split, name in splits.items())
            found.add("split_leak", "error", None, "the same image is in more than one split", example)
    for name, digests in names.items():
        if len(digests) > 1 and len(set(digests.values())) > 1:
            message = "different images bear one name in several splits"
            found.add("name_collision", "warning", None, message, f"{name} in {', '.join(digests)}")


def _check_masks(
    masks: dict[Path, Sample],
    files: dict[Path, FileFacts],
    images: dict[Path, FileFacts],
    found: _Collector,
) -> None:
    largest = max((facts.largest for path, facts in files.items() if masks[path].mask_value is None), default=0)
    for path, facts in files.items():
        sample = masks[path]
        if facts.values is None:
            continue
        image = images[sample.image_path]
        if image.shape is not None and facts.shape != image.shape:
            example = f"{path.name} {_size(facts.shape)}, {sample.image_path.name} {_size(image.shape)}"
            found.add("size_mismatch", "error", sample.split, "a mask has another size than its image", example)
        _check_values(path, facts, sample, largest or 255, found)


def _check_values(path: Path, facts: FileFacts, sample: Sample, largest: int, found: _Collector) -> None:
    split, values = sample.split, facts.values
    assert values is not None  # the caller has sorted these out
    if sample.mask_value is not None:
        empty = not (values == sample.mask_value).any()
    else:
        problem = odd_values(values, largest)
        if problem:
            code = "label_map" if "labels" in problem else "odd_mask_values"
            found.add(code, "error", split, "a mask has values that do not fit", f"{path.name}: {problem}")
            return
        if facts.distinct > 2:
            message = "a mask is not binary (compression or resizing); values above half are foreground"
            found.add("non_binary_mask", "note", split, message, f"{path.name}: {facts.distinct} values")
        empty = not (values > largest / 2).any()
    if empty:
        found.add("empty_mask", "note", split, "the named target is absent (empty mask)", path.name)


def _size(shape: tuple[int, int] | None) -> str:
    return "?" if shape is None else f"{shape[1]}x{shape[0]}"


def count_by_severity(findings: Iterable[Finding]) -> dict[str, int]:
    """Number of findings (kinds, not cases) by severity."""
    counts = {"error": 0, "warning": 0, "note": 0}
    for finding in findings:
        counts[finding.severity] += 1
    return counts
