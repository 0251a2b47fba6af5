"""Checks between samples: duplicates, leaks by name and group, ambiguous prompts."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from vlseg.checks.collect import Collector, between_splits, one_a_split, view
from vlseg.records import Sample


def check_entries(samples: Sequence[Sample], found: Collector) -> None:
    """Entries that repeat, and groups on both sides of a split."""
    seen: set[tuple[object, ...]] = set()
    for sample in samples:
        key = (sample.split, sample.image_path, sample.mask_paths, sample.mask_value, sample.target)
        if key in seen and sample.mask_paths:
            message = "the same image and mask stand twice; they are used once"
            found.add("duplicate_entry", "warning", sample.split, message, sample.id, view(sample))
        seen.add(key)
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.group is not None:
            groups[sample.group].append(sample)
    for group, inside in groups.items():
        splits = {sample.split for sample in inside}
        if len(splits) > 1:
            message = "a patient or sequence is in more than one split"
            example = f"{group} in {', '.join(sorted(splits))}"
            alike = between_splits(inside)
            found.add("group_leak", "error", None, message, example, *one_a_split(inside), alike=alike)
    for sample in samples if groups else ():
        if sample.group is None:
            message = "entries name no patient beside others that do: whether theirs is in another split is unknown"
            found.add("group_unknown", "warning", sample.split, message, sample.id, view(sample))


def check_prompts(samples: Sequence[Sample], declared: Collection[str], found: Collector) -> None:
    """Keys that are missing here and there, and words that fit several objects of an image.

    `declared` are the prompts whose sources dataset.json gives in the place of the entries.
    """
    keys = {key for sample in samples for key in sample.prompts}
    for sample in samples:
        for key in sorted(keys - sample.prompts.keys()):
            message = f"prompt '{key}' is missing from entries; it cannot be chosen with --prompt"
            found.add("missing_prompt_key", "warning", sample.split, message, sample.id, prompt=key)
    for sample in samples:
        for key, sources in sample.prompt_sources.items():
            if "unknown" in sources and key not in declared and any(sample.prompts.get(key, ())):
                message = f"nobody says where the words of prompt '{key}' come from: they may tell what the mask shows"
                example = f'{sample.id}: "{sample.prompts[key][0]}"'
                found.add("unknown_source", "note", sample.split, message, example, prompt=key)
    truths: dict[tuple[str, str, str, tuple[str, ...], str | None], set[tuple[Path, ...]]] = defaultdict(set)
    for sample in samples:
        for key, wordings in sample.prompts.items():
            if any(wordings) and sample.mask_paths:
                truths[(key, sample.split, sample.image_id, wordings, sample.reader)].add(sample.mask_paths)
    for (key, split, image, wordings, _), masks in truths.items():
        if len(masks) > 1:
            message = f"prompt '{key}' fits several masks of one image; its truth is their union"
            found.add("ambiguous_prompt", "note", split, message, f'{image}: "{wordings[0]}"', prompt=key)


def check_names_across_splits(samples: Sequence[Sample], found: Collector) -> None:
    """Image and mask names in several splits, where the files themselves are not read.

    A leak concerns some images; where most names recur, they are numbered anew in each split, and texts that
    differ show that the images do.
    """
    texts: dict[str, dict[str, set[object]]] = defaultdict(lambda: defaultdict(set))
    named: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        texts[sample.image_path.name][sample.split].add(_texts(sample))
        named[sample.image_path.name].append(sample)
    where = {name: set(splits) for name, splits in texts.items()}
    shared = {name: splits for name, splits in where.items() if len(splits) > 1}
    if not shared:
        return
    if _recurs(where, shared):
        differing = sum(len({frozenset(seen) for seen in texts[name].values()}) > 1 for name in shared)
        message = "most image names are in more than one split: other images of the same name, if their texts differ"
        for name, splits in shared.items():
            example = f"{name} in {', '.join(sorted(splits))} (texts differ for {differing} of {len(shared)} names)"
            found.add("name_collision", "warning", None, message, example)
        _mask_names(samples, found)
    else:
        message = "an image name is in more than one split (contents were not compared)"
        for name, splits in shared.items():
            example = f"{name} in {', '.join(sorted(splits))}"
            found.add("split_leak", "error", None, message, example, alike=between_splits(named[name]))


def _texts(sample: Sample) -> object:
    return sample.target, tuple(sorted(sample.prompts.items()))


def _recurs(where: Mapping[str, set[str]], shared: Mapping[str, set[str]]) -> bool:
    """True when more than half the names of the smallest split concerned are in another one, too."""
    concerned = set().union(*shared.values())
    return len(shared) > min(sum(split in splits for splits in where.values()) for split in concerned) / 2


def _mask_names(samples: Sequence[Sample], found: Collector) -> None:
    masks: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        for path in sample.mask_paths:
            masks[f"{path.parent.name}/{path.name}"].add(sample.split)
    for name, splits in masks.items():
        if len(splits) > 1:
            message = "mask names recur in another split: predictions saved under them overwrite each other"
            found.add("name_collision", "warning", None, message, f"{name} in {', '.join(sorted(splits))}")
