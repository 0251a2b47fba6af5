"""The gallery: each answer once, within its bytes, whole without a script."""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from pictured import absent, evaluation, page, run_of, score

import vlseg.reports.gallery as module
from vlseg.records import InputError, SampleScore
from vlseg.records.pictures import GRID, Outline, SmallImage, write_pictures
from vlseg.reports.chosen import Row, choose
from vlseg.reports.gallery import BUDGET, MOST_VALUES, Gallery, gallery
from vlseg.reports.load import RunOnDisk


class Cards(HTMLParser):
    """The cards as a page without script has them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cards: list[str] = []
        self.classes: list[str] = []
        self.hidden: list[str] = []
        self.inside = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.inside += tag == "ul"
        if "hidden" in found:
            self.hidden.append(tag)
        if self.inside and tag == "li":
            self.cards.append("")
        if self.inside and tag == "svg":
            self.classes.append(found["class"] or "")

    def handle_endtag(self, tag: str) -> None:
        self.inside -= tag == "ul"

    def handle_data(self, data: str) -> None:
        if self.inside and self.cards:
            self.cards[-1] += data


def found(runs: list[RunOnDisk], budget: int = BUDGET) -> Gallery:
    result = gallery(runs, budget)
    assert result is not None
    return result


def many(count: int, **changes: Any) -> list[SampleScore]:
    return [score(f"s{number:05d}", number / count, **changes) for number in range(count)]


def test_every_answer_is_a_card_and_own_prompts_with_low_dice_come_first(tmp_path: Path) -> None:
    rows = [
        score("a", 0.9),
        score("b", 0.1, empty_pred=True),
        absent("c", marked=False),
        absent("d", marked=True),
        score("e", None),
        score("a", 0.05, condition="typos", wording="teh cyst"),
    ]
    cards = Cards(page(gallery=found([run_of([evaluation(tmp_path / "e", rows)])]))).cards
    assert [card.split(" the ")[0].split(" teh ")[0] for card in cards] == [
        "Dice 0.10, nothing marked",
        "Dice 0.90",
        "absent, nothing marked",
        "absent, but marked",
        "no truth",
        "Dice 0.05",
    ]
    assert "typos" in cards[-1]


def test_without_a_script_all_cards_are_shown_and_the_controls_are_not(tmp_path: Path) -> None:
    read = Cards(page(gallery=found([run_of([evaluation(tmp_path / "e", many(7))])])))
    assert len(read.cards) == 7
    assert read.hidden == ["form"]


def test_an_image_is_there_once_however_many_rows_and_runs_show_it(tmp_path: Path) -> None:
    rows = [score(name, 0.5, image_id="one") for name in "abc"] + [score("d", 0.5, image_id="two")]
    runs = [run_of([evaluation(tmp_path / name, rows)], name) for name in ("first", "second")]
    text = page(gallery=found(runs))
    assert text.count("data:image/webp") == 2
    assert Counter(Cards(text).classes) == {"picture g0": 6, "picture g1": 2}


def test_no_pictures_no_gallery(tmp_path: Path) -> None:
    assert gallery([run_of([evaluation(tmp_path / "e", many(3), pictures=False)])]) is None
    assert gallery([run_of([])]) is None
    mixed = [evaluation(tmp_path / "f", many(3), pictures=False), evaluation(tmp_path / "g", many(2), split="val")]
    assert len(found([run_of(mixed)]).cards) == 2


def test_pictures_of_other_scores_are_one_line(tmp_path: Path) -> None:
    evaluation(tmp_path / "e", many(3))
    broken = evaluation(tmp_path / "e", many(4), pictures=False)
    with pytest.raises(InputError, match="3 rows, the scores 4"):
        gallery([run_of([broken])])


def test_answers_that_repeat_or_lie_on_other_images_are_counted(tmp_path: Path) -> None:
    probe = [
        score("a", 0.9),
        score("a", 0.9, condition="selection"),
        score("a", 0.2, condition="mean_image"),
        score("a", 0.2, condition="other_image"),
        score("v", 0.2, condition="val"),
        score("a", 0.1, condition="swapped", arguments={"against": "original"}),
        score("a", 0.6, condition="swapped", arguments={"against": "named"}),
    ]
    evaluations = [
        evaluation(tmp_path / "p", probe, condition="probe"),
        evaluation(tmp_path / "e", [score("a", 0.9)]),
        evaluation(tmp_path / "other", [score("a", 0.8)], threshold=0.9),
    ]
    result = found([run_of(evaluations)])
    # Each answer, against each of the truths that it is held against; another threshold gives another answer.
    assert [card.verdict for card in result.cards] == ["Dice 0.80", "Dice 0.90", "Dice 0.10", "Dice 0.60"]
    assert "2 answers on other images" in result.notes[0]
    assert "3 rows that repeat an answer" in result.notes[0]
    assert result.why == ""
    asked = next(facet for facet in result.facets if facet.label == "asked with")
    assert asked.values == [
        "own prompt",
        "swapped, against the own target",
        "swapped, against what the words name",
    ]


def test_filters_are_those_with_more_than_one_value_and_not_the_same_twice(tmp_path: Path) -> None:
    rows = [
        score(f"s{number}", 0.5, target=f"t{number % 11}", dataset=f"d{number % 2}", group=f"g{number}")
        for number in range(MOST_VALUES + 1)
    ]
    result = found([run_of([evaluation(tmp_path / "e", rows)])])
    assert [facet.label for facet in result.facets] == ["dataset", "target"]
    assert result.facets[1].values == [f"t{number}" for number in range(11)]  # by number, not t0, t1, t10
    assert result.searched == ["sentence"]  # group and sentence part the rows alike
    for card in result.cards:
        values = [facet.values[key] for facet, key in zip(result.facets, card.keys, strict=True)]
        number = int(card.words[0].removeprefix("s"))
        assert values == [f"d{number % 2}", f"t{number % 11}"]
    single = page(gallery=found([run_of([evaluation(tmp_path / "f", [score("a", 0.5)])])]))
    assert '<select name="facet"' not in single


def test_what_is_told_to_no_model_is_not_shown_as_a_sentence(tmp_path: Path) -> None:
    result = found([run_of([evaluation(tmp_path / "e", many(2), told="target")], "image-only")])
    assert {card.sentence for card in result.cards} == {None}
    assert "No sentence is told to image-only." in result.notes


def test_shares_of_the_image_are_what_areas_are_sorted_by(tmp_path: Path) -> None:
    rows = [score("a", 0.5, area=100, area_error=-50), score("b", 0.6, area=100, pixels=None), score("c", None)]
    result = found([run_of([evaluation(tmp_path / "e", rows)])])
    assert [(card.truth_share, card.answer_share) for card in result.cards] == [(15, 10), (None, None), (None, 10)]


def test_privacy_is_said_and_groups_only_where_there_are_some(tmp_path: Path) -> None:
    with_groups = page(gallery=found([run_of([evaluation(tmp_path / "e", many(2, group="patient 7"))])]))
    assert "names of their groups (patients, sequences): keep it as you keep the images" in with_groups
    without = page(gallery=found([run_of([evaluation(tmp_path / "f", many(2))])]))
    assert "pixels wide or high: keep it as you keep the images" in without


def test_words_are_escaped(tmp_path: Path) -> None:
    wording = "</bdi><script>alert('x')</script> \"كيس\" &amp; {{ 7 * 7 }}"
    rows = [score("a<b", 0.5, wording=wording, target="<i>"), score("c", 0.4, target='"><b>')]
    text = page(gallery=found([run_of([evaluation(tmp_path / "e", rows)])]))
    assert "<script>alert" not in text
    assert wording in Cards(text).cards[1]
    assert '<option value="1">&lt;i&gt;</option>' in text
    assert text.count("<script>") == 1


@pytest.mark.parametrize("budget", [60_000, 120_000, 400_000])
def test_the_budget_holds_with_the_words_that_cost_most(tmp_path: Path, budget: int) -> None:
    rows = [
        score(f"s{number:04d}", 0.5, wording=f'"<&>" كيس {number}', target=f"'t{number % 3}'", group=f"<{number % 70}>",
              dataset=f"d{number % 2}", condition=("clean", "typos")[number % 2], empty_pred=number % 5 == 0)
        for number in range(160)
    ]  # fmt: skip
    runs = [run_of([evaluation(tmp_path / f"e{number}", rows)], f"run {number}") for number in range(2)]
    empty = len(page())
    result = found(runs, budget)
    assert len(page(gallery=result).encode()) - empty <= budget + 12_000  # style and script
    shown = len(result.cards)
    if budget == 60_000:
        assert shown < result.total == 320
        assert re.search(r"own prompts of \d+ of 80 samples, spread evenly by name, and none of the others", result.why)
        assert "kept below 0.06 MB" in result.why
    if budget == 400_000:
        assert (shown, result.why) == (320, "")


def test_outlines_get_coarser_before_cards_are_left_out(tmp_path: Path) -> None:
    rows = many(20)
    curve = "M10 10" + "".join(f"l{1 - 2 * (step % 2)} 1l1 0" for step in range(150)) + "z"
    one = evaluation(tmp_path / "e", rows)
    images = [SmallImage("d", row.image_id, GRID, GRID // 2, b"RIFF") for row in rows]
    write_pictures(one.folder, images, [Outline(curve, curve) for _ in rows])
    fine, coarse = found([run_of([one])]), found([run_of([one])], 60_000)
    assert (fine.cards[0].width, fine.cards[0].height) == (GRID, GRID // 2)
    assert coarse.cards[0].width < GRID
    assert len(coarse.cards) == 20
    assert fine.cards[0].answer == curve
    assert len(coarse.cards[0].answer) < len(curve)


def the_rows(tmp_path: Path) -> list[Row]:
    own = [*many(50), *many(50, wording="again")]
    other = many(50, condition="typos")
    runs = [run_of([evaluation(tmp_path / name, own + other)], name) for name in ("r1", "r2")]
    return [Row(run, run.evaluations[0], index) for run in runs for index in range(150)]


def test_of_too_many_own_prompts_come_first_and_samples_are_spread_the_same_in_all_runs(tmp_path: Path) -> None:
    rows = the_rows(tmp_path)
    everything = choose(rows, 300)
    assert (len(everything.rows), everything.words) == (300, "")

    some = choose(rows, 250)
    assert sum(row.score.condition == "clean" for row in some.rows) == 200
    typos = [row for row in some.rows if row.score.condition == "typos"]
    assert Counter(row.run.record.id for row in typos) == {"r1": 25, "r2": 25}
    names = sorted({row.sample[1] for row in typos})
    assert names == [f"s{number:05d}" for number in range(0, 50, 2)]
    assert some.words == (
        "all to the samples' own prompts, and of the others those to 25 of 50 samples, spread evenly by name"
    )

    few = choose(rows, 43)
    assert Counter(row.sample[1] for row in few.rows) == dict.fromkeys(
        (f"s{number:05d}" for number in range(0, 50, 5)), 4
    )
    assert few.words == "those to the own prompts of 10 of 50 samples, spread evenly by name, and none of the others"

    assert len(choose(rows, 3).rows) == 3
    assert choose(rows, 200).words.endswith("those to no sample")


def test_the_page_says_when_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 40)
    text = page(gallery=found([run_of([evaluation(tmp_path / "e", many(100))])]))
    assert len(Cards(text).cards) == 40
    assert "Showing 40 of 100 answers" in text
    assert "40 of 100 samples, spread evenly by name: a page with more than 40 is slow" in text


def test_the_same_runs_give_the_same_page(tmp_path: Path) -> None:
    runs = [run_of([evaluation(tmp_path / "e", many(30))])]
    backwards = [run_of([evaluation(tmp_path / "f", many(30)[::-1])])]
    assert page(gallery=found(runs)) == page(gallery=found(runs)) == page(gallery=found(backwards))


def test_pictures_that_do_not_fit_at_their_smallest_leave_samples_out(tmp_path: Path) -> None:
    """Noise does not compress: the page says that it is kept below a size, and is."""
    rows = [score(f"s{place:04d}", place % 97 / 97) for place in range(400)]
    budget = 300_000
    found = gallery([run_of([evaluation(tmp_path / "e", rows)])], budget)
    assert found is not None
    assert len(page(gallery=found).encode()) - len(page().encode()) <= budget + 8000
    assert 0 < len(found.cards) < 400
    assert "kept below 0.3 MB" in found.why
