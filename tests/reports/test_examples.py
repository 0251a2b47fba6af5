"""Example rows: chosen by the rule that the page states."""

from pathlib import Path
from typing import Any

import pytest
from pictured import ANSWER, TRUTH, absent, evaluation, page, run_of, score

from vlseg.records import SampleScore
from vlseg.reports.examples import Example, Examples, examples

DICE = {"a": 0.5, "b": 0.9, "c": 0.1, "d": 0.9, "e": 0.7, "f": 0.1}


def clean(**changes: Any) -> list[SampleScore]:
    return [score(name, dice, **changes) for name, dice in DICE.items()]


def titled(found: Examples) -> dict[str, Example]:
    return {row.title: row for row in found.rows}


def sample(row: Example) -> str:
    return row.sample[1]


def test_best_median_and_worst_by_dice_and_ties_by_name(tmp_path: Path) -> None:
    rows = clean()
    for order in (rows, rows[::-1]):
        found = titled(examples([run_of([evaluation(tmp_path / "e", order)])]))
        assert {title: sample(row) for title, row in found.items()} == {
            "Best of 6 (1 more with the same Dice)": "b",
            "Median of 6": "a",  # c, f, a, e, b, d: the lower of the two in the middle
            "Worst of 6 (1 more with the same Dice)": "c",
        }
    best = next(iter(found.values()))
    assert best.facts == ["Dice 0.900"]
    assert [(sentence.text, sentence.origin) for sentence in best.sentences] == [("the cyst of b", "from the mask")]
    assert [(one.truth, one.answer) for one in best.panels] == [(None, None), (TRUTH, None), (None, ANSWER)]


def test_absent_targets_and_rows_of_other_conditions_are_no_best(tmp_path: Path) -> None:
    rows = [*clean(), absent("x", marked=False), score("y", 1.0, condition="typos"), score("z", 1.0, condition="val")]
    found = titled(examples([run_of([evaluation(tmp_path / "e", rows)])]))
    assert sample(found["Best of 6 (1 more with the same Dice)"]) == "b"


def test_one_and_two_targets_are_not_shown_twice(tmp_path: Path) -> None:
    one = examples([run_of([evaluation(tmp_path / "1", [score("a", 0.5)])])])
    assert [row.title for row in one.rows] == ["The only present target"]
    two = examples([run_of([evaluation(tmp_path / "2", [score("a", 0.5), score("b", 0.5)])])])
    assert [(row.title, sample(row)) for row in two.rows] == [
        ("Best of 2 (1 more with the same Dice)", "a"),
        ("Worst of 2 (1 more with the same Dice)", "b"),
    ]


@pytest.mark.parametrize(
    ("marked", "shown", "over"),
    [
        ({"p": 0, "q": 0, "r": 80}, "p", "nothing marked"),
        ({"p": 0, "q": 70, "r": 80, "s": 20}, "q", ""),
        ({"p": 0, "q": 0, "r": 80, "s": 20}, "s", ""),  # half: the worse is shown
    ],
)
def test_the_absent_target_is_answered_as_most_are(
    tmp_path: Path, marked: dict[str, int], shown: str, over: str
) -> None:
    rows = [absent(name, marked=bool(area), area=area) for name, area in marked.items()]
    row = titled(examples([run_of([evaluation(tmp_path / "e", rows)])]))["An absent target"]
    assert sample(row) == shown
    assert row.panels[1].over == "not in this image"
    assert row.panels[2].over == over
    empty = sum(not area for area in marked.values())
    assert row.facts == [f"{empty} of {len(marked)} absent targets are answered empty, as they should be."]


def swapped(name: str, own: float, named: float, **changes: Any) -> list[SampleScore]:
    words = {"wording": f"another than {name}", "condition": "swapped", **changes}
    return [
        score(name, own, arguments={"against": "original"}, **words),
        score(name, named, arguments={"against": "named"}, **words),
    ]


def test_other_words_are_those_of_the_target_nearest_the_median(tmp_path: Path) -> None:
    probe = [*clean(), *swapped("b", 0.0, 0.8), *swapped("e", 0.02, 0.6, overlap=0.25)]
    evaluations = [
        evaluation(tmp_path / "e", clean()),
        evaluation(tmp_path / "p", probe, condition="probe"),
    ]
    row = titled(examples([run_of(evaluations)]))["Asked with other words"]
    assert sample(row) == "e"
    assert [sentence.text for sentence in row.sentences] == ["the cyst of e", "another than e"]
    assert row.sentences[1].origin == "the sentence of another target in this image"
    assert row.facts == [
        "Dice 0.700 with sentence 1.",
        "With sentence 2: 0.600 with what it names, 0.020 with what sentence 1 names.",
        "IoU of the two answers: 0.250.",
    ]


def test_words_that_name_nothing_else_are_held_against_the_own_target(tmp_path: Path) -> None:
    changed = [
        score("c", 0.3, condition="wrong_size", wording="a large cyst", arguments={"against": "original"}),
        score("a", 0.4, condition="paraphrase", wording="the same cyst", arguments={"against": "original"}),
    ]
    probe = evaluation(tmp_path / "p", [*clean(), *changed], condition="probe")
    row = titled(examples([run_of([probe])]))["Asked with other words"]
    assert sample(row) == "c"  # another size tells more than the same said otherwise, whatever is nearer the median
    assert row.sentences[1].origin == "another size"
    assert row.facts[1] == "With sentence 2: 0.300 with the same target; no target of this image has that sentence."
    only = evaluation(tmp_path / "q", [*clean(), changed[1]], condition="probe")
    row = titled(examples([run_of([only])]))["Asked with other words"]
    assert row.facts[1] == "With sentence 2: 0.400 with the same target."


def test_answers_of_another_model_or_threshold_are_not_other_words(tmp_path: Path) -> None:
    other = evaluation(tmp_path / "p", swapped("a", 0.0, 0.8), condition="swapped", threshold=0.9)
    found = examples([run_of([evaluation(tmp_path / "e", clean()), other])])
    assert "Asked with other words" not in titled(found)
    assert found.missing == [
        "No target is known to be absent from its image.",
        "Not asked with other words: vlseg probe does that.",
    ]


def test_a_model_that_is_told_no_sentence_shows_none(tmp_path: Path) -> None:
    for told, words in (("target", "told the class alone: cyst"), ("nothing", "told nothing beside the image")):
        found = examples([run_of([evaluation(tmp_path / told, clean(), told=told)])])
        assert {row.told for row in found.rows} == {words}
        assert not any(row.sentences for row in found.rows)
        assert "It is told no sentence: there are no other words to ask it with." in found.missing
        assert "the cyst of" not in page(found)


def test_of_several_runs_the_first_that_is_told_a_sentence(tmp_path: Path) -> None:
    runs = [
        run_of([evaluation(tmp_path / "1", clean(), told="target")], "image-only"),
        run_of([evaluation(tmp_path / "2", clean(), pictures=False)], "no-pictures"),
        run_of([evaluation(tmp_path / "3", clean())], "first"),
        run_of([evaluation(tmp_path / "4", clean())], "second"),
    ]
    assert "answers of first (the first run here that is told a sentence) to" in examples(runs).rule
    assert "answers of image-only on d" in examples(runs[:2]).rule


def test_the_test_split_own_data_and_own_prompt_come_first(tmp_path: Path) -> None:
    evaluations = [
        evaluation(tmp_path / "1", clean(), condition="probe"),
        evaluation(tmp_path / "4", clean(), split="val"),
        evaluation(tmp_path / "3", clean(), dataset="elsewhere"),
        evaluation(tmp_path / "2", clean(), prompt="other"),
        evaluation(tmp_path / "5", clean()),
    ]
    while evaluations:
        spec = evaluations[-1].spec
        assert f"to the prompts {spec.prompt} on {spec.dataset}, {spec.split}:" in examples([run_of(evaluations)]).rule
        evaluations.pop()


def test_words_of_a_made_up_scene_are_called_so(tmp_path: Path) -> None:
    row = examples([run_of([evaluation(tmp_path / "e", clean(), phantoms=["d"])])]).rows[0]
    assert row.sentences[0].origin.startswith("from the made-up scene")


def test_what_cannot_be_shown_is_said(tmp_path: Path) -> None:
    without = examples([run_of([evaluation(tmp_path / "1", clean(), pictures=False)])])
    assert (without.rows, len(without.missing)) == ([], 1)
    assert "--no-images" in page(without)
    blank = examples([run_of([evaluation(tmp_path / "2", [score("a", None)])])])
    assert blank.missing == ["No answer with a picture has a truth: there is no Dice to choose examples by."]
    only = examples([run_of([evaluation(tmp_path / "3", [absent("a", marked=True)])])])
    assert [row.title for row in only.rows] == ["An absent target"]
    assert only.missing == ["No target is present in its image: none of these answers has a Dice."]


def test_an_empty_answer_reads_nothing_marked_and_an_image_is_there_once(tmp_path: Path) -> None:
    rows = [score("a", 0.0, empty_pred=True, area=0), score("b", 0.5, image_id="image of a")]
    text = page(examples([run_of([evaluation(tmp_path / "e", rows)])]))
    assert 'aria-label="answer: nothing marked"' in text
    assert '<span class="over" aria-hidden="true">nothing marked</span>' in text
    assert text.count("data:image/webp") == 1


def test_words_are_escaped(tmp_path: Path) -> None:
    wording = "<script>alert('x')</script> \"كيس\" & 'quoted'"
    text = page(examples([run_of([evaluation(tmp_path / "e", [score("a", 0.5, wording=wording)])])]))
    assert "<script>alert" not in text
    assert "<bdi>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &#34;كيس&#34; &amp; &#39;quoted&#39;</bdi>" in text


def test_several_wordings_of_a_target_are_counted_as_answers_and_not_as_targets(tmp_path: Path) -> None:
    twice = [score(name, dice - 0.01 * place, wording=f"{place}") for name, dice in DICE.items() for place in range(2)]
    gone = [absent(name, marked=name == "y" and place == 1, wording=f"{place}") for name in "xy" for place in range(2)]
    found = titled(examples([run_of([evaluation(tmp_path / "e", [*twice, *gone])])]))
    assert "Median of 12 answers about 6 targets" in found
    assert found["An absent target"].facts == ["3 of 4 answers about 2 absent targets are empty, as they should be."]
    one = titled(examples([run_of([evaluation(tmp_path / "1", [score("a", 0.5), score("a", 0.6, wording="x")])])]))
    assert "Best of 2 answers about 1 target" in one


def test_the_rule_says_that_the_kind_of_other_words_goes_before_the_nearness_to_the_median(tmp_path: Path) -> None:
    changed = [
        *swapped("c", 0.0, 0.8),  # the worst
        score("a", 0.4, condition="wrong_size", wording="large", arguments={"against": "original"}),  # the median
    ]
    found = examples([run_of([evaluation(tmp_path / "p", [*clean(), *changed], condition="probe")])])
    assert sample(titled(found)["Asked with other words"]) == "c"
    assert "another target's go before another attribute" in found.rule


def test_examples_are_of_the_run_that_the_sentences_are_about(tmp_path: Path) -> None:
    """Of two runs that are told sentences the better one, though it is the second; without pictures the first one."""
    low = run_of([evaluation(tmp_path / "1", [score("a", 0.2), score("b", 0.3)])])
    high = run_of([evaluation(tmp_path / "2", [score("a", 0.8), score("b", 0.9)])])
    found = examples([low, high])
    assert "(the run of the sentences above)" in found.rule
    assert found.rows[0].facts == examples([high]).rows[0].facts
    bare = run_of([evaluation(tmp_path / "3", [score("a", 0.8), score("b", 0.9)], pictures=False)])
    assert "(the first run here that is told a sentence)" in examples([low, bare]).rule
