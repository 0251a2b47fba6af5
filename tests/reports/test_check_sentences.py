"""Each sentence of a check holds for the data it is told of, and is not told of data for which it would be false."""

import pytest

from vlseg.records import SPLITS, DatasetStatistics, Finding, Looked, Severity, Shared
from vlseg.reports.check_sentences import first_sentences

ALL = Looked()
ANNOTATIONS = Looked(files=False)
Findings = list[Finding]
Numbers = list[DatasetStatistics]


def found(
    code: str, severity: Severity = "warning", split: str | None = None, count: int = 1, **more: object
) -> Finding:
    values: dict[str, object] = {"dataset": "busi", "examples": (), "message": "as it is", **more}
    return Finding(code=code, severity=severity, split=split, count=count, **values)  # type: ignore[arg-type]


def leak(code: str, *shared: tuple[str, str, int], severity: Severity = "error") -> Finding:
    return found(code, severity, count=9, shared=tuple(Shared(*one) for one in shared))


def announced(
    count: int,
    split: str = "train",
    code: str = "announces_absence",
    prompts: tuple[str, ...] = ("p1",),
    **more: object,
) -> Finding:
    return found(code, split=split, count=count, prompts=dict.fromkeys(prompts, count), **more)


def numbers(
    images: tuple[int, int, int] = (80, 20, 71),
    absent: tuple[int, int, int] | None = (10, 2, 2),
    targets: tuple[str, ...] = ("tumor",),
    name: str = "busi",
) -> DatasetStatistics:
    by_split = dict(zip(SPLITS, images, strict=True))
    of = {split: dict.fromkeys(targets, count) for split, count in by_split.items()}
    empty = dict(zip(SPLITS, absent, strict=True)) if absent else None
    return DatasetStatistics(name, by_split, dict(by_split), dict.fromkeys(SPLITS, 0), of, empty, None)


def told(findings: Findings, statistics: Numbers | None = None, looked: Looked = ALL) -> str:
    return "\n".join(first_sentences(findings, statistics or [numbers()], looked))


READ = "No error: every image and mask that an entry names can be read."
NOT_READ = "Images and masks were not read."
NO_COPY = "No copy or near-copy of a training image was found among the 71 test images."
GIVEN_AWAY = "The words of prompts p1 to p3 tell whether the tumor is there: they give away all 14 empty masks."
THREE = ("p1", "p2", "p3")
EVERY = [announced(10, "train", prompts=THREE), announced(2, "val", prompts=THREE), announced(2, "test", prompts=THREE)]

TRUE: list[tuple[str, Findings, Numbers, Looked]] = [
    (READ, [], [numbers()], ALL),
    ("No error in the annotation files. Images and masks were not read.", [], [numbers()], ANNOTATIONS),
    (NOT_READ, [leak("split_leak")], [numbers()], ANNOTATIONS),
    ("Images were not compared with each other.", [], [numbers()], Looked(near=False)),
    (
        "To mend before anything is trained: files are missing (3 files) and images are listed in several splits "
        "(9 images).",
        [leak("split_leak"), found("missing_file", "error", "train", 3)],
        [numbers()],
        ALL,
    ),
    (
        "There are no training and validation entries: nothing to train on and nothing to choose the epoch by.",
        [],
        [numbers((0, 0, 9))],
        ALL,
    ),
    ("There are no test entries: nothing to test on.", [], [numbers((9, 9, 0))], ALL),
    ("There are no entries.", [], [numbers((0, 0, 0))], ALL),
    (
        "3 of 71 test images look like copies of training images: if so, scores on them say little of new images.",
        [leak("near_duplicate", ("test", "train", 3), ("val", "train", 1), severity="warning")],
        [numbers()],
        ALL,
    ),
    (
        "1 of 71 test images looks like a copy of a validation image: if so, it takes part in the choice of the epoch.",
        [leak("near_duplicate", ("test", "val", 1), severity="warning")],
        [numbers()],
        ALL,
    ),
    (
        "1 of 20 validation images is also a training image: the epoch is chosen on what was trained.",
        [leak("split_leak", ("val", "train", 1))],
        [numbers()],
        ALL,
    ),
    (
        "2 of 71 test images are also training images: scores on them say little of new images.",
        [leak("split_leak", ("test", "train", 2))],
        [numbers()],
        ALL,
    ),
    (
        "2 of 71 test images bear the name of training images: if so, scores on them say little of new images.",
        [leak("split_leak", ("test", "train", 2))],
        [numbers()],
        ANNOTATIONS,
    ),
    (
        "17 of 71 test images are of patients who have training images, too: scores on them say little of new images.",
        [leak("group_leak", ("test", "train", 17))],
        [numbers()],
        ALL,
    ),
    (
        "5 of 142 test images are also training images of another dataset: scores on them say little of new images.",
        [leak("shared_image", ("test", "train", 5))],
        [numbers(), numbers(name="b")],
        ALL,
    ),
    (NO_COPY, [leak("near_duplicate", ("test", "val", 1), severity="warning")], [numbers()], ALL),
    (GIVEN_AWAY, EVERY, [numbers()], ALL),
    (
        "The words of prompt p1 tell whether the target is there: they give away the one empty mask.",
        [announced(1)],
        [numbers(absent=(1, 0, 0), targets=("left", "right"))],
        ALL,
    ),
    ("The words of prompts p1 to p3 give away up to 12 of 14 empty masks.", EVERY[:2], [numbers()], ALL),
    (
        "The words of prompts p1 to p3 say of up to 14 entries that nothing is there.",
        EVERY,
        [numbers(absent=None)],
        ANNOTATIONS,
    ),
    (
        "Of 2 entries the words say that nothing is there, and the mask is not empty.",
        [announced(2, code="contradicts_mask")],
        [numbers()],
        ALL,
    ),
    (
        "Nobody says where the words of prompt text come from: they may tell of the masks.",
        [found("unknown_source", "note", "train", 4, prompts={"text": 4})],
        [numbers()],
        ALL,
    ),
    (
        "To look at besides: most masks cover more than half of their image (1 dataset).",
        [found("inverted_masks")],
        [numbers()],
        ALL,
    ),
    (
        "To look at besides: splits without entries (1 split).",
        [found("empty_split", split="val")],
        [numbers(), numbers(name="b")],
        ALL,
    ),
    ("Nothing was found. Looked for: ", [], [numbers()], ALL),
]


@pytest.mark.parametrize(("words", "findings", "statistics", "looked"), TRUE, ids=[one[0][:60] for one in TRUE])
def test_is_told(words: str, findings: Findings, statistics: Numbers, looked: Looked) -> None:
    assert words in told(findings, statistics, looked)


FALSE: list[tuple[str, Findings, Numbers, Looked]] = [
    (READ, [found("missing_file", "error")], [numbers()], ALL),
    (READ, [], [numbers()], ANNOTATIONS),
    (READ, [], [numbers((0, 0, 0))], ALL),
    ("No error", [leak("group_leak")], [numbers()], ANNOTATIONS),
    (NOT_READ, [], [numbers()], ALL),
    ("not compared", [], [numbers()], ALL),
    ("To mend", [found("inverted_masks"), found("empty_mask", "note")], [numbers()], ALL),
    ("There are no", [], [numbers()], ALL),
    ("There are no", [], [numbers((9, 0, 0)), numbers((0, 9, 9), name="b")], ALL),
    ("look like", [leak("near_duplicate", severity="note")], [numbers()], ALL),
    ("also", [leak("split_leak", ("test", "train", 2))], [numbers()], ANNOTATIONS),
    (NO_COPY, [leak("near_duplicate", ("test", "train", 1), severity="warning")], [numbers()], ALL),
    (NO_COPY, [leak("split_leak", ("test", "train", 1))], [numbers()], ALL),
    (NO_COPY, [], [numbers()], Looked(near=False)),
    (NO_COPY, [], [numbers()], ANNOTATIONS),
    (NO_COPY, [found("undecodable", "error")], [numbers()], ALL),
    ("No copy", [], [numbers((0, 5, 71))], ALL),
    ("tell whether", EVERY[:2], [numbers()], ALL),
    ("tell whether", EVERY, [numbers(absent=None)], ANNOTATIONS),
    ("tell whether", [*EVERY, announced(1, code="contradicts_mask", prompts=THREE)], [numbers()], ALL),
    ("the tumor", EVERY, [numbers(targets=("tumor", "cyst"))], ALL),
    ("give away", [announced(2, code="contradicts_mask")], [numbers()], ALL),
    ("mask is not empty", EVERY, [numbers()], ALL),
    ("Nobody says", EVERY, [numbers()], ALL),
    ("To look at besides", EVERY, [numbers()], ALL),
    ("Nothing was found", [found("empty_mask", "note")], [numbers()], ALL),
]


@pytest.mark.parametrize(("words", "findings", "statistics", "looked"), FALSE)
def test_is_not_told(words: str, findings: Findings, statistics: Numbers, looked: Looked) -> None:
    assert words not in told(findings, statistics, looked)


def test_a_prompt_that_tells_all_is_named_beside_one_that_tells_some() -> None:
    some = [
        announced(10, prompts=("p1", "p2")),
        announced(2, "val", prompts=("p1",)),
        announced(2, "test", prompts=("p1",)),
    ]
    assert "The words of prompt p1 tell whether the tumor is there" in told(some)


def test_what_was_not_looked_for_is_not_said_to_be_missing() -> None:
    everything, no_near, texts = (told([], looked=one) for one in (ALL, Looked(near=False), ANNOTATIONS))
    assert "images that look the same" in everything
    assert "images that look the same" not in no_near
    assert "unreadable files" in no_near
    assert "unreadable files" not in texts
    assert "texts that tell the truth" in texts


def test_datasets_are_named_where_there_are_several_and_not_without_end() -> None:
    several = [numbers(name=f"set{n}") for n in range(9)]
    findings = [announced(14, dataset=f"set{n}") for n in range(9)]
    lines = told(findings, several).splitlines()
    assert "set0: The words of prompt p1 tell whether the tumor is there: they give away all 14 empty masks." in lines
    assert sum("tell whether" in line for line in lines) == 3
    assert "6 more of that kind are below." in lines


def test_two_datasets_of_one_name_are_counted_together() -> None:
    twice = [announced(14), announced(14)]
    assert "all 28 empty masks" in told(twice, [numbers(), numbers()])
    assert "tell whether" not in told(twice[:1], [numbers(), numbers()])


def test_no_warning_is_silent() -> None:
    """Each warning, alone, leads to a sentence that nothing would not have."""
    from vlseg.reports.check_codes import CODES

    nothing = set(told([]).splitlines())
    for code in (code for code in CODES if " " not in code):
        shared = (Shared("test", "train", 1),)
        images = (80, 0, 71) if code in ("missing_split", "empty_split") else (80, 20, 71)
        lines = told([found(code, prompts={"p1": 1}, shared=shared)], [numbers(images)]).splitlines()
        assert {line for line in lines if not line.startswith("Nothing")} - nothing, code
