"""The page of a dataset check: in order, escaped, bounded, without what it must not hold."""

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from vlseg.records import SPLITS, Case, DatasetStatistics, Finding, Looked, Severity, Shared, View
from vlseg.reports.check_page import DATASETS, write_check_page
from vlseg.reports.check_sentences import first_sentences

PICTURE = b"RIFF....WEBP"


class Seen(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.inside and self.inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" not in self.inside:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def finding(
    code: str, severity: Severity, split: str | None = None, count: int = 1, shown: int = 0, **more: object
) -> Finding:
    pair = (View("train: a.png", Path("a.png")), View("test: b.png", Path("b.png"), (Path("m.png"),)))
    values: dict[str, object] = {
        "dataset": "busi",
        "examples": tuple(f"case {n}" for n in range(count))[:5],
        "message": f"message of {code}",
        "cases": tuple(Case(f"case {n}", pair) for n in range(shown)),
        **more,
    }
    return Finding(code=code, severity=severity, split=split, count=count, **values)  # type: ignore[arg-type]


def numbers(name: str = "busi") -> DatasetStatistics:
    counts = {"train": 1479, "val": 20, "test": 71}
    return DatasetStatistics(
        name,
        images=counts,
        entries=counts,
        groups={"train": 30, "val": 0, "test": 5},
        targets={split: {f"target {n}": 1 for n in range(40)} for split in SPLITS},
        absent={"train": 10, "val": 2, "test": 3},
        areas={"train": [0, 40, 10, 0, 0, 0, 0], "val": [0] * 7, "test": [1, 2, 0, 0, 0, 0, 4]},
    )


FOUND = [
    finding("empty_mask", "note", "train", 300, shown=9),
    finding("near_duplicate", "warning", None, 3, shown=3, shared=(Shared("test", "train", 3),)),
    finding("split_leak", "error", None, 1, shown=1),
    finding("repeated_word", "note", "val", 4),
]


def page(
    tmp_path: Path, findings: list[Finding], statistics: list[DatasetStatistics] | None = None, draw: bool = True
) -> Seen:
    out = tmp_path / "page.html"
    shown = statistics if statistics is not None else [numbers()]
    write_check_page(findings, shown, Looked(), out, (lambda view: PICTURE) if draw else None)
    return Seen(out.read_text())


def test_sentences_come_first_then_errors_warnings_notes_numbers(tmp_path: Path) -> None:
    seen = page(tmp_path, FOUND)
    places = [seen.text.index(sentence) for sentence in first_sentences(FOUND, [numbers()], Looked())]
    places += [
        seen.text.index(word)
        for word in ("In all: 1 error, 1 warning, 2 notes", "\nErrors\n", "\nWarnings\n", "\nNotes\n")
    ]
    places += [seen.text.index(word) for word in ("\nNumbers\n", "What the words mean")]
    assert places == sorted(places)


def test_three_hundred_notes_are_one_line_with_a_count_and_three_pictures(tmp_path: Path) -> None:
    seen = page(tmp_path, FOUND[:1])
    assert "300 masks" in seen.text
    assert len(seen.all("figure")) == 3
    assert len(seen.all("h3")) == 1


def test_pairs_stand_side_by_side_with_names_and_splits(tmp_path: Path) -> None:
    images = page(tmp_path, FOUND[1:2]).all("img")
    assert [image["alt"] for image in images] == ["train: a.png", "test: b.png, with the outline of its mask"] * 3
    assert all((image["src"] or "").startswith("data:image/webp;base64,") for image in images)


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    write_check_page(FOUND[2:3], [numbers()], Looked(), tmp_path / "page.html", lambda view: None)
    seen = Seen((tmp_path / "page.html").read_text())
    assert seen.text.count("cannot be shown") == 2
    assert seen.all("img") == []


def test_without_pictures_examples_are_told_and_nothing_is_said_of_copies(tmp_path: Path) -> None:
    seen = page(tmp_path, FOUND, draw=False)
    assert seen.all("img") == []
    assert seen.text.count("case 0") == len(FOUND)
    assert "small copies of images" not in seen.text
    assert "small copies of images" in page(tmp_path, FOUND).text


def test_what_to_do_is_said_once_a_group(tmp_path: Path) -> None:
    seen = page(tmp_path, FOUND)
    assert seen.text.count("To do:") == 4
    assert {"vlseg data check DATA --fix NEW"} <= set(
        re.findall(r"<code>([^<]+)</code>", (tmp_path / "page.html").read_text())
    )


def test_numbers_by_split_and_bars(tmp_path: Path) -> None:
    seen = page(tmp_path, [])
    cells = {(row.get("data-label"), index) for index, row in enumerate(seen.all("td")) if row.get("data-label")}
    assert len(cells) == 3 * 5
    for words in ("1,479", "unknown", "and 28 more", "busi: 1,479 train, 20 val, 71 test entries, an image each"):
        assert words in seen.text
    bars = [float((bar["style"] or "").split(":")[1]) for bar in seen.all("span") if bar.get("class") == "area"]
    by_split = list(zip(*[iter(bars)] * 3, strict=True))
    assert [row[0] for row in by_split] == [0, 100, 25, 0, 0, 0, 0]
    assert [row[1] for row in by_split] == [0] * 7
    assert [row[2] for row in by_split] == [25, 50, 0, 0, 0, 0, 100]
    assert "60 to 100 %" in seen.text


def test_nothing_found_says_what_was_looked_for(tmp_path: Path) -> None:
    seen = page(tmp_path, [])
    assert "Nothing was found. Looked for: " in seen.text
    assert "In all: no error, no warning, no note." in seen.text
    assert seen.all("h3") == []


def test_no_statistics_at_all(tmp_path: Path) -> None:
    assert "There are no entries." in page(tmp_path, [], statistics=[]).text


def test_names_and_texts_of_a_dataset_are_no_markup(tmp_path: Path) -> None:
    evil = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'
    case = Case(evil, (View(evil, Path("a.png"), (Path("m.png"),)),))
    told = {"examples": (evil,), "dataset": evil, "prompts": {evil: 1}}
    findings = [
        finding("empty_mask", "note", evil, cases=(case,), message=evil, **told),
        finding("repeated_word", "note", evil, **told),
        finding("announces_absence", "warning", evil, **told),
        finding(evil, "warning", None, message=evil, **told),
    ]
    statistics = [numbers(evil), numbers("b")]
    statistics[0].targets["train"] = {evil: 3}
    seen = page(tmp_path, findings, statistics)
    assert seen.all("script") == []
    assert all("onerror" not in image for image in seen.all("img"))
    assert seen.text.count("alert(1)") > 5


@pytest.mark.parametrize("draw", [True, False])
def test_no_script_no_address(tmp_path: Path, draw: bool) -> None:
    page(tmp_path, FOUND, draw=draw)
    text = (tmp_path / "page.html").read_text()
    assert "<script" not in text
    assert not re.search(r"https?://|//[a-z]|url\(|@import", re.sub(r"base64,[^\"]+", "", text))


def test_headings_tables_and_pictures_can_be_read_aloud(tmp_path: Path) -> None:
    seen = page(tmp_path, FOUND)
    levels = [int(tag[1]) for tag, _ in seen.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(cell.get("scope") for cell in seen.all("th"))
    assert len(seen.all("caption")) == len(seen.all("table"))
    assert all(image.get("alt") for image in seen.all("img"))
    assert [root.get("lang") for root in seen.all("html")] == ["en"]


def test_ten_thousand_findings_of_as_many_datasets_stay_below_two_megabytes(tmp_path: Path) -> None:
    """With pictures of 20 kB, which is more than one has: pictures grow with the groups, not with the findings."""
    codes = ("empty_mask", "near_duplicate", "split_leak", "repeated_word")
    long = "a word " * 2_000
    findings = [
        finding(codes[n % 4], "note", "train", 24, shown=12, dataset=f"data{n}", message=f"{n}", examples=(long,) * 5)
        for n in range(10_000)
    ]
    out = tmp_path / "page.html"
    statistics = [numbers(f"data{n}") for n in range(10_000)]
    write_check_page(findings, statistics, Looked(), out, lambda view: b"x" * 20_000)
    assert out.stat().st_size < 2_000_000
    seen = Seen(out.read_text())
    assert len(seen.all("img")) == len(codes) * 3 * 2
    assert len(seen.all("table")) == 2 * DATASETS
    assert f"{10_000 - DATASETS:,} datasets more" in seen.text


def test_what_stands_below_the_pictures_is_not_said_again(tmp_path: Path) -> None:
    pair = (View("train: a.png", Path("a.png")), View("val: b.png", Path("b.png")))
    cases = (Case("train: a.png, val: b.png", pair),)
    text = page(tmp_path, [finding("split_leak", "error", None, 1, examples=(cases[0].example,), cases=cases)]).text
    assert (text.count("a.png"), text.count("b.png")) == (1, 1)
