"""One group a problem: nothing is lost, nothing hides behind notes, and size does not grow with the findings."""

import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from vlseg.jobs.check import TEXTS
from vlseg.records import SPLITS, Case, DatasetStatistics, Finding, Severity, Shared, View
from vlseg.reports.check_codes import CODES, WORDING, WORDING_CODES
from vlseg.reports.check_groups import (
    EXAMPLES,
    LONGEST,
    NAMED,
    Group,
    count_groups,
    counted,
    group_findings,
    listed,
    numbers_of,
    prompts_of,
)

ROOT = Path(__file__).resolve().parents[2]


def finding(
    code: str, severity: Severity = "note", split: str | None = "train", count: int = 1, **more: object
) -> Finding:
    values: dict[str, object] = {
        "dataset": "busi",
        "examples": (f"{code} of {split}",),
        "message": f"message of {code}",
    }
    return Finding(code=code, severity=severity, split=split, count=count, **{**values, **more})  # type: ignore[arg-type]


def numbers(name: str = "busi", images: tuple[int, int, int] = (80, 20, 71), **more: object) -> DatasetStatistics:
    by_split = dict(zip(SPLITS, images, strict=True))
    targets = {split: {"tumor": count} for split, count in by_split.items()}
    values: dict[str, object] = {"groups": dict.fromkeys(SPLITS, 0), "targets": targets, "absent": None, "areas": None}
    return DatasetStatistics(name, by_split, dict(by_split), **{**values, **more})  # type: ignore[arg-type]


def groups(*findings: Finding, statistics: tuple[DatasetStatistics, ...] = (numbers(),)) -> list[Group]:
    return group_findings(findings, statistics)


def test_every_code_that_a_check_gives_has_its_words() -> None:
    """Codes as they stand in the source and in the docs' table: each is named, and no other is."""
    sources = "".join(path.read_text() for path in (ROOT / "src/vlseg/checks").glob("*.py"))
    given = set(re.findall(r'found\.add\(\s*"([a-z_]+)"', sources)) | TEXTS.keys()
    given |= {"label_map", "odd_mask_values"}  # of data.mask_levels, by which readers refuse the same masks
    named = {code.split(" ")[-1] for code in CODES} | WORDING_CODES.keys()
    assert given == named
    section = (ROOT / "docs/data.md").read_text().split("## `vlseg data check`")[1].split("\n## ")[0]
    rows = re.findall(r"^\|([^|]+)\| (?:error|warning|note)", section, flags=re.MULTILINE)
    assert named == {code for row in rows for code in re.findall(r"`(\w+)`", row)}


def test_one_code_over_splits_and_datasets_is_one_line() -> None:
    found = [
        finding("empty_mask", split=split, count=n, dataset=name)
        for name in ("a", "b")
        for split, n in (("train", 14), ("test", 3))
    ]
    (one,) = groups(*found, statistics=(numbers("a"), numbers("b")))
    assert (one.key, one.count) == ("empty_mask", "34 masks")
    assert [part.where for part in one.parts] == ["a: train 14, test 3; b: train 14, test 3"]
    (alone,) = groups(*found[:2])
    assert alone.parts[0].where == "train 14, test 3"


def test_wording_is_one_group_with_a_count_by_kind() -> None:
    found = [
        finding("repeated_word", count=21),
        finding("repeated_word", split="val", count=4),
        finding("stray_article", count=3),
    ]
    (one,) = groups(*found)
    assert (one.key, one.count) == (WORDING, "2 kinds")
    assert [(part.message, part.count, part.where) for part in one.parts] == [
        ("a word or place stands twice", 25, "train 21, val 4"),
        ("an article in the middle of a phrase", 3, "train 3"),
    ]
    assert one.examples == ("repeated_word of train", "stray_article of train", "repeated_word of val")


def test_a_text_that_is_cut_off_is_no_matter_of_wording() -> None:
    assert [one.key for one in groups(finding("long_prompt"), finding("stray_blank"))] == ["long_prompt", WORDING]


def test_errors_stand_before_warnings_before_notes_whatever_their_order() -> None:
    found = [finding(code, severity) for code in CODES for severity in ("note", "warning", "error") if " " not in code]  # type: ignore[arg-type]
    random.Random(0).shuffle(found)
    shown = [one.severity for one in groups(*found)]
    assert shown == sorted(shown, key=["error", "warning", "note"].index)
    assert len(shown) == len(found)


def test_no_case_is_lost_or_told_twice() -> None:
    """Against a count of its own over a thousand findings of every code, severity, split and three datasets."""
    rng = random.Random(1)
    codes = [code for code in [*CODES, *WORDING_CODES, "a_new_code"] if " " not in code]
    found = [
        finding(
            rng.choice(codes),
            rng.choice(("error", "warning", "note")),
            rng.choice((*SPLITS, None)),
            rng.randrange(1, 500),
            dataset=rng.choice("abc"),
            message="one",
        )
        for _ in range(1000)
    ]
    expected: Counter[tuple[str, str, str]] = Counter()
    for one in found:
        group = "wording" if one.code in WORDING_CODES else one.code
        expected[(one.severity, group, WORDING_CODES.get(one.code, "one"))] += one.count
    made = group_findings(found, [numbers(name) for name in "abc"])
    assert {(g.severity, g.key, p.message): p.count for g in made for p in g.parts} == expected
    for part in (part for group in made for part in group.parts):
        told = [int(told.replace(",", "")) for told in re.findall(r" (\d[\d,]*)(?=[,;]|$)", part.where)]
        assert sum(told) == part.count


def test_leaks_say_of_how_many_images_by_pair_of_splits() -> None:
    shared = (Shared("test", "train", 3), Shared("val", "train", 1))
    (one,) = groups(finding("near_duplicate", "warning", None, 56, shared=shared))
    assert one.shared == ("test against train: 3 of 71 test images", "val against train: 1 of 20 validation images")
    assert one.about.title == "Images of different splits look the same"
    assert groups(finding("near_duplicate"))[0].about.title == "Images of one split look the same"


def test_ten_thousand_findings_stay_small() -> None:
    long = "x" * 5_000
    case = Case(long, tuple(View(long, Path("a.png")) for _ in range(5)))
    more = {"cases": (case,) * 9, "examples": (long,) * 9}
    found = [
        finding("missing_prompt_key", "warning", "val", dataset=f"data{n}", message=f"{n}{long}", **more)
        for n in range(10_000)
    ]
    (one,) = group_findings(found, [numbers(f"data{n}") for n in range(10_000)])
    assert len(one.parts) == NAMED
    assert (one.more, one.count) == (10_000 - NAMED, "10,000 kinds")
    assert len(one.cases) == len(one.examples) == EXAMPLES
    assert max(len(text) for text in one.examples) == LONGEST
    (same,) = group_findings([replace(each, message="one") for each in found], [numbers("a"), numbers("b")])
    assert same.parts[0].where.endswith("9,994 datasets more")
    assert same.parts[0].count == 10_000
    assert len(repr(same.parts)) < 20_000


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], ""),
        (["p1"], "prompt p1"),
        (["p1", "p2"], "prompts p1 and p2"),
        (["p6", "p2", "p1", "p3", "p4", "p5"], "prompts p1 to p6"),
        (["p1", "p3", "p4"], "prompts p1, p3 and p4"),
        (["p8", "p9", "p10"], "prompts p8 to p10"),
        (["text", "p1", "p2"], "prompts p1, p2 and text"),
    ],
)
def test_names_of_prompts(names: list[str], words: str) -> None:
    assert prompts_of([*names, *names]) == words


def test_numbers_in_words() -> None:
    assert counted(1, "entry", "entries") == "1 entry"
    assert counted(1279, "entry", "entries") == "1,279 entries"
    assert listed(["a"]) == "a"
    assert listed([f"d{n}" for n in range(9)], 2) == "d0, d1 and 7 more"
    assert numbers_of(numbers()) == "busi: 80 train, 20 val, 71 test entries, an image each"
    twice = replace(numbers(), entries={"train": 160, "val": 0, "test": 142})
    assert numbers_of(twice) == "busi: 160 train, 0 val, 142 test entries, of 80 and 71 images"


def test_counts_are_of_groups() -> None:
    found = groups(
        finding("empty_mask"),
        finding("empty_mask", split="test"),
        finding("stray_blank"),
        finding("split_leak", "error"),
    )
    assert count_groups(found) == "1 error, no warning, 2 notes"
    assert count_groups([]) == "no error, no warning, no note"
