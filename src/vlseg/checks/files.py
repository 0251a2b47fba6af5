"""Checks of image and mask files."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vlseg.checks.collect import Collector, between_splits, one_a_split, view
from vlseg.checks.facts import FileFacts
from vlseg.data.info import read_info
from vlseg.data.mask_levels import judge, several_colours
from vlseg.records import Sample, Severity, View

MISPLACED = 1.8
"""How much better than as given a mask must fit elsewhere to be named, where its outline follows no edges at all."""
INVERTED = 0.5
"""Share of the image above which a mask may show the background; most masks of a set must."""
MIN_MASKS = 10
STANDARD_ERRORS = 4.0


def check_files(
    root: Path, samples: Sequence[Sample], facts: Mapping[Path, FileFacts], found: Collector
) -> dict[str, float]:
    """All checks that open files. Returns the foreground's share of the image by sample id."""
    for path, sample in {s.image_path: s for s in samples}.items():
        _unreadable(path, facts[path], sample.split, "an image", found)
    for path, sample in _masks(samples).items():
        _unreadable(path, facts[path], sample.split, "a mask", found)
    _check_leaks(samples, facts, found)
    _check_storage(root, samples, facts, found)
    plain = [path for path, sample in _masks(samples).items() if sample.mask_value is None]
    summaries = {str(path): summary for path in plain if (summary := facts[path].summary)}
    largest = max((summary.largest for summary in summaries.values()), default=0) or 255
    odd = {Path(one.name): (one.code, one.text) for one in judge(summaries, largest)}
    for path, sample in _masks(samples).items():
        _check_mask(path, sample, facts, largest, odd.get(path), found)
    _check_declared(samples, facts, found)
    _check_alignment(samples, facts, found)
    areas = _areas([s for s in samples if not odd.keys() & set(s.mask_paths)], facts, largest)
    _check_inverted(samples, areas, found)
    return areas


def _masks(samples: Sequence[Sample]) -> dict[Path, Sample]:
    return {path: sample for sample in samples for path in sample.mask_paths}


def _unreadable(path: Path, facts: FileFacts, split: str, kind: str, found: Collector) -> None:
    if not facts.exists:
        found.add("missing_file", "error", split, f"{kind} file is missing", str(path))
    elif facts.problem:
        found.add("undecodable", "error", split, f"{kind} file cannot be read", facts.problem)


def _check_leaks(samples: Sequence[Sample], facts: Mapping[Path, FileFacts], found: Collector) -> None:
    contents: dict[str, list[Sample]] = defaultdict(list)
    names: dict[str, dict[str, Sample]] = defaultdict(dict)
    for sample in samples:
        digest = facts[sample.image_path].digest
        if digest:
            contents[digest].append(sample)
            names[sample.image_path.name].setdefault(sample.split, sample)
    for inside in contents.values():
        shown = one_a_split(inside)
        if len(shown) > 1:
            example = ", ".join(one.name for one in shown)
            message = "the same image is in more than one split"
            found.add("split_leak", "error", None, message, example, *shown, alike=between_splits(inside))
    for name, firsts in names.items():
        if len(firsts) > 1 and len({facts[sample.image_path].digest for sample in firsts.values()}) > 1:
            message = "different images bear one name in several splits"
            example = f"{name} in {', '.join(firsts)}"
            found.add("name_collision", "warning", None, message, example, *one_a_split(firsts.values()))


def _check_storage(root: Path, samples: Sequence[Sample], facts: Mapping[Path, FileFacts], found: Collector) -> None:
    """EXIF orientation and bit depth: read rightly here, and often wrongly by other software. Further pages."""
    images = {s.image_path: s for s in samples if facts[s.image_path].shape is not None}
    for path, sample in images.items():
        if facts[path].turned:
            message = "EXIF turns an image; vlseg turns it, software that does not sees it otherwise than its mask"
            found.add("exif_orientation", "note", sample.split, message, path.name, view(sample))
        if facts[path].pages > 1:
            message = "an image file has several pages, of which only the first is read; save one image per file"
            example = f"{path.name}: {facts[path].pages} pages"
            found.add("several_pages", "warning", sample.split, message, example, view(sample))
    bits = Counter(facts[path].bits for path in images)
    declared = "intensity" in _declared(root)
    for path, sample in images.items():
        if facts[path].bits > 8 and not declared:
            message = (
                "an image has more than 8 bits and dataset.json declares no intensity policy, so that its type's full "
                "range becomes 0 to 1 (of fractions 0 to 1): it may be almost black, or white"
            )
            found.add(
                "bit_depth", "warning", sample.split, message, f"{path.name}: {facts[path].bits} bits", view(sample)
            )
    if len(bits) > 1:
        listed = ", ".join(f"{count} with {depth} bits" for depth, count in sorted(bits.items()))
        found.add("mixed_bit_depth", "warning", None, "images differ in bit depth", listed)


def _declared(root: Path) -> dict[str, object]:
    """Keys in dataset.json, where there is one."""
    import json

    path = root / "dataset.json"
    read_info(root)  # raises where it is broken, which an earlier check reported
    values = json.loads(path.read_text(encoding="utf-8-sig")) if path.exists() else {}
    return values if isinstance(values, dict) else {}


def _check_mask(
    path: Path,
    sample: Sample,
    facts: Mapping[Path, FileFacts],
    largest: int,
    odd: tuple[str, str] | None,
    found: Collector,
) -> None:
    mask, image = facts[path], facts[sample.image_path]
    summary, split = mask.summary, sample.split
    if summary is None:
        return
    apart = (view(sample), view(sample, file=path))
    if image.shape is not None and mask.shape != image.shape:
        example = f"{path.name} {_size(mask.shape)}, {sample.image_path.name} {_size(image.shape)}"
        found.add("size_mismatch", "error", split, "a mask has another size than its image", example, *apart)
    if odd is None and sample.mask_value is not None and len(summary.colours) > 1:
        odd = "label_map", several_colours(summary.colours)
    if odd is not None:
        code, text = odd
        message = "the masks' values do not say what foreground is"
        found.add(code, "error", split, message, f"{path.name}: {text}", *apart)
        return
    if sample.mask_value is None and len(summary.present) > 2:
        message = "a mask is not binary (compression or resizing); values above half are foreground"
        example = f"{path.name}: {len(summary.present)} values"
        found.add("non_binary_mask", "note", split, message, example, view(sample, path))
    if summary.area(largest, sample.mask_value) == 0:
        found.add("empty_mask", "note", split, "the named target is absent (empty mask)", path.name, view(sample, path))


def _check_declared(samples: Sequence[Sample], facts: Mapping[Path, FileFacts], found: Collector) -> None:
    """Values that entries or labels declare and no mask holds."""
    held: dict[tuple[str | None, int], bool] = {}
    for sample in samples:
        summaries = [facts[path].summary for path in sample.mask_paths]
        if sample.mask_value is not None and any(summaries):
            key = (sample.target, sample.mask_value)
            holds = any(summary is not None and sample.mask_value in summary.present for summary in summaries)
            held[key] = held.get(key, False) or holds
    for (target, value), holds in held.items():
        if not holds:
            message = "a declared value occurs in no mask"
            severity: Severity = "warning" if any(held.values()) else "error"
            found.add("absent_value", severity, None, message, f"{target or 'mask_value'}: {value}")


def _check_inverted(samples: Sequence[Sample], areas: Mapping[str, float], found: Collector) -> None:
    shares = {name: area for name, area in areas.items() if area > 0}
    large = [sample for sample in samples if shares.get(sample.id, 0) > INVERTED]
    if len(large) > len(shares) / 2:
        message = "most masks cover more than half of their images: are they inverted, foreground 0?"
        found.add("inverted_masks", "warning", None, message, f"{len(large)} of {len(shares)} masks", *_outlined(large))


def _check_alignment(samples: Sequence[Sample], facts: Mapping[Path, FileFacts], found: Collector) -> None:
    """Masks that lie better on their images when mirrored, turned or shifted: all together, or one by one.

    Together it is a paired comparison of log ratios; a single mask is named only when its outline follows edges
    less than the image's average and much better elsewhere. Hints, no proofs: look at the pictures.
    """
    fits: dict[Path, tuple[Sample, dict[str, float]]] = {}
    for path, sample in _masks(samples).items():
        measured = facts[path].fits
        if measured is not None and facts[path].shape == facts[sample.image_path].shape:
            fits[path] = (sample, measured)
    for split in dict.fromkeys(sample.split for sample, _ in fits.values()):
        inside = [fit for sample, fit in fits.values() if sample.split == split]
        better = _better_together(inside)
        if better:
            shown = _outlined([sample for sample, _ in fits.values() if sample.split == split])
            message = "the masks fit the edges of their images better in another place or turned; look at them"
            found.add("misaligned_masks", "warning", split, message, f"{better}, over {len(inside)} masks", *shown)
    for path, (sample, fit) in fits.items():
        best = max(fit, key=lambda name: fit[name])
        if fit["as given"] < 1 and fit[best] > MISPLACED * max(fit["as given"], 1e-6) and "shifted" not in best:
            message = "a mask's outline follows no edges of its image as given, but does elsewhere; look at it"
            found.add("misaligned_mask", "note", sample.split, message, f"{path.name}: {best}", view(sample, path))


def _outlined(samples: Sequence[Sample]) -> list[View]:
    """Some of them, with their masks."""
    return [view(sample, *sample.mask_paths) for sample in samples[:3]]


def _better_together(fits: Sequence[dict[str, float]]) -> str | None:
    """The placement that is better than "as given" over all masks beyond chance, or None."""
    if len(fits) < MIN_MASKS:
        return None
    given = np.log(np.array([fit["as given"] for fit in fits]) + 1e-3)
    best, name = 0.0, None
    for other in fits[0]:
        gain = np.log(np.array([fit[other] for fit in fits]) + 1e-3) - given
        error = gain.std(ddof=1) / np.sqrt(len(gain)) + 1e-9
        if gain.mean() > max(best, STANDARD_ERRORS * error):
            best, name = float(gain.mean()), other
    return name


def _areas(samples: Sequence[Sample], facts: Mapping[Path, FileFacts], largest: int) -> dict[str, float]:
    """Of several masks the largest share stands for their union; it is 0 exactly when the union is."""
    areas = {}
    for sample in samples:
        summaries = [facts[path].summary for path in sample.mask_paths]
        if summaries and all(summary is not None for summary in summaries):
            areas[sample.id] = max(summary.area(largest, sample.mask_value) for summary in summaries if summary)
    return areas


def _size(shape: tuple[int, int] | None) -> str:
    return "?" if shape is None else f"{shape[1]}x{shape[0]}"
