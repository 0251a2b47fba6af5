"""What a dataset check says first: sentences by rule from its findings. Each is told only where it holds."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from vlseg.records import DatasetStatistics, Finding, Looked
from vlseg.reports.check_codes import LOOKED_FOR
from vlseg.reports.check_groups import (
    SPLIT_NAMES,
    Group,
    counted,
    group_findings,
    images_by_split,
    listed,
    prompts_of,
    shared_images,
    shortened,
)

_MOST = 3
"""Errors, warnings or datasets that are named in the sentences, at most."""

_LEAKS = {
    "split_leak": "{is_are} also {a}{other} image{s}",
    "shared_image": "{is_are} also {a}{other} image{s} of another dataset",
    "group_leak": "{is_are} of patients who have {other} images, too",
    "near_duplicate": "look{verb} like {a_copy} {other} image{s}",
}


def first_sentences(findings: Sequence[Finding], statistics: Sequence[DatasetStatistics], looked: Looked) -> list[str]:
    """Whether the data can be used, then what spoils a result; a handful of sentences."""
    groups = group_findings(findings, statistics)
    told = [*_errors(groups, looked, statistics), *_splits(statistics)]
    told += _leaks(findings, statistics, looked)
    told += _texts(findings, statistics)
    told += _warnings(groups, statistics)
    if not findings:
        told.append(f"Nothing was found. Looked for: {looked_for(looked)}.")
    return told


def looked_for(looked: Looked) -> str:
    """In words."""
    kinds = {"texts": True, "files": looked.files, "near": looked.files and looked.near}
    return "; ".join(words for kind, words in LOOKED_FOR.items() if kinds[kind])


def _errors(groups: Sequence[Group], looked: Looked, statistics: Sequence[DatasetStatistics]) -> Iterator[str]:
    errors = [group for group in groups if group.severity == "error"]
    if errors:
        yield f"To mend before anything is trained: {_titles(errors)}."
    if not looked.files:
        yield f"{'' if errors else 'No error in the annotation files. '}Images and masks were not read."
    elif not errors and any(images_by_split(statistics).values()):
        yield "No error: every image and mask that an entry names can be read."
    if looked.files and not looked.near:
        yield "Images were not compared with each other."


def _titles(groups: Sequence[Group]) -> str:
    return listed([f"{_lower(group.about.title)} ({group.count})" for group in groups], _MOST)


def _lower(title: str) -> str:
    return title if title[:2].isupper() else title[0].lower() + title[1:]


def _splits(statistics: Sequence[DatasetStatistics]) -> Iterator[str]:
    """What is out of question for want of entries, over all datasets together."""
    empty = [split for split in _USES if not any(one.entries.get(split) for one in statistics)]
    if len(empty) == len(_USES):
        yield "There are no entries."
    elif empty:
        yield f"There are no {listed([SPLIT_NAMES[split] for split in empty])} entries: nothing {_or(empty)}."


_USES = {"train": "to train on", "val": "to choose the epoch by", "test": "to test on"}


def _or(splits: Sequence[str]) -> str:
    return " and nothing ".join(_USES[split] for split in splits)


def _leaks(findings: Sequence[Finding], statistics: Sequence[DatasetStatistics], looked: Looked) -> Iterator[str]:
    """Of each kind of leak its worst pair of splits: test against train, then against val, then val against train."""
    images = images_by_split(statistics)
    for code, words in _LEAKS.items():
        found = shared_images([one for one in findings if one.code == code])
        if code == "split_leak" and not looked.files:
            words = "bear{verb} the name of {a}{other} image{s}"
        for pair, why in _WHY.items():
            if found.get(pair):
                yield _leak(found[pair], images[pair[0]], pair, words, why)
                break
    unread = any(finding.code in ("missing_file", "undecodable") for finding in findings)
    alike = shared_images([one for one in findings if one.code != "group_leak"])
    compared = looked.files and looked.near and not unread and images["train"]
    if compared and images["test"] and not alike.get(("test", "train")):
        yield f"No copy or near-copy of a training image was found among the {images['test']:,} test images."


_WHY = {
    ("test", "train"): ("its score says little of new images", "scores on them say little of new images"),
    ("test", "val"): ("it takes part in the choice of the epoch", "they take part in the choice of the epoch"),
    ("val", "train"): ("the epoch is chosen on what was trained",) * 2,
}


def _leak(count: int, images: int, pair: tuple[str, str], words: str, why: tuple[str, str]) -> str:
    """As in "3 of 71 test images are also training images: scores on them say little of new images"."""
    one = count == 1
    told = words.format(
        is_are="is" if one else "are",
        a="a " if one else "",
        a_copy="a copy of a" if one else "copies of",
        verb="s" if one else "",
        s="" if one else "s",
        other=SPLIT_NAMES[pair[1]],
    )
    doubt = "if so, " if words.startswith(("look", "bear")) else ""
    many = counted(images, f"{SPLIT_NAMES[pair[0]]} image", f"{SPLIT_NAMES[pair[0]]} images")
    return f"{count:,} of {many} {told}: {doubt}{why[0 if one else 1]}."


def _texts(findings: Sequence[Finding], statistics: Sequence[DatasetStatistics]) -> Iterator[str]:
    """Whether words tell of the truth: by dataset."""
    of: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.code in ("announces_absence", "contradicts_mask", "unknown_source"):
            of[finding.dataset].append(finding)
    named: dict[str, list[DatasetStatistics]] = defaultdict(list)
    for one in statistics:
        named[one.dataset].append(one)
    told = [
        f"{f'{shortened(name)}: ' if len(named) > 1 else ''}{sentence}"
        for name, numbers in named.items()
        for sentence in _of_dataset(of.get(name, ()), numbers)
    ]
    yield from told[:_MOST]
    if len(told) > _MOST:
        yield f"{len(told) - _MOST:,} more of that kind are below."


def _of_dataset(found: Sequence[Finding], numbers: Sequence[DatasetStatistics]) -> Iterator[str]:
    """Of one dataset, or of several that bear one name."""
    announced, contradicted, unknown = (
        _by_prompt(found, code) for code in ("announces_absence", "contradicts_mask", "unknown_source")
    )
    empty = [one.absent for one in numbers if one.absent is not None]
    absent = sum(sum(one.values()) for one in empty) if len(empty) == len(numbers) else None
    whole = [key for key, count in announced.items() if count == absent and key not in contradicted]
    some = [key for key in announced if key not in whole]
    if whole and absent:
        masks = "the one empty mask" if absent == 1 else f"all {absent:,} empty masks"
        yield f"The words of {prompts_of(whole)} tell whether {_target(numbers)} is there: they give away {masks}."
    elif some and absent is not None:
        most = max(announced[key] for key in some)
        yield f"The words of {prompts_of(some)} give away up to {most:,} of {absent:,} empty masks."
    elif some:
        many = counted(max(announced.values()), "entry", "entries")
        yield f"The words of {prompts_of(some)} say of up to {many} that nothing is there."
    if contradicted:
        count = sum(one.count for one in found if one.code == "contradicts_mask")
        yield f"Of {counted(count, 'entry', 'entries')} the words say that nothing is there, and the mask is not empty."
    if unknown:
        yield f"Nobody says where the words of {prompts_of(unknown)} come from: they may tell of the masks."


def _by_prompt(found: Sequence[Finding], code: str) -> Mapping[str, int]:
    totals: dict[str, int] = defaultdict(int)
    for finding in found:
        for key, count in finding.prompts.items() if finding.code == code else ():
            totals[key] += count
    return totals


def _target(numbers: Sequence[DatasetStatistics]) -> str:
    names = {name for one in numbers for counts in one.targets.values() for name in counts}
    only = next(iter(names), "unknown")
    return f"the {only}" if len(names) == 1 and only != "unknown" else "the target"


_SAID = {"near_duplicate", "announces_absence", "contradicts_mask"}
"""Warnings that have sentences of their own."""


def _warnings(groups: Sequence[Group], statistics: Sequence[DatasetStatistics]) -> Iterator[str]:
    said = _SAID | ({"missing_split", "empty_split"} if len(statistics) == 1 else set())
    others = [group for group in groups if group.severity == "warning" and group.key not in said]
    if others:
        yield f"To look at besides: {_titles(others)}."
