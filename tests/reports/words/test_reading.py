"""What may be said of a model's use of the words, for models whose use of them is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from asked import MODELS, a_run, ask, evaluated, spec

from vlseg.metrics import choices
from vlseg.reports.words import about_language, reading_cell, reads
from vlseg.reports.words.reading import HARDLY, INSTEAD

IGNORES = ("constant", "everything", "nothing", "random")


def said(name: str, condition: str = "selection", **how: int) -> str:
    rows = ask(MODELS[name], condition, **how)
    return about_language(rows, spec(condition="probe" if condition == "selection" else condition), who="m")


def claimed(text: str) -> bool:
    """The sentence says that the model reads."""
    choosing = text.startswith("Asked for one of ") and "m chose the named one in " in text
    return choosing or (text.startswith("Asked with the words of another object") and ", m marks that object" in text)


@pytest.mark.parametrize("condition", ["selection", "swapped"])
@pytest.mark.parametrize("things", [2, 3, 4])
def test_a_model_that_reads_is_said_to_choose(things: int, condition: str) -> None:
    for name in ("oracle", "nearly"):
        assert claimed(said(name, condition, things=things))
    assert f"in all {60 * things} questions" in said("oracle", condition, things=things)


@pytest.mark.parametrize("things", [2, 3, 4])
@pytest.mark.parametrize("name", IGNORES)
@pytest.mark.parametrize("condition", ["selection", "swapped"])
def test_a_model_that_ignores_the_words_is_never_said_to(name: str, condition: str, things: int) -> None:
    for seed in range(3):
        assert not claimed(said(name, condition, things=things, seed=seed))


def test_the_numbers_are_those_of_the_answers() -> None:
    rows = ask(MODELS["shy"], "selection", things=3, images=100)
    right = [one.right for one in choices(rows)]
    assert set(right) == {True, None}
    text = about_language(rows, spec(condition="probe"), who="m")
    # An answer that chose nothing did not choose the named one, and nothing chosen is no reading either.
    assert f"chose the named one in {100 * right.count(True) / 300:.0f} % [" in text
    assert f"of 300 questions, none of them in {100 * right.count(None) / 300:.0f} %" in text
    assert f"ignoring the words would give {100 * right.count(True) / 300 / 3:.0f} %." in text


def test_a_little_more_than_chance_is_not_reading() -> None:
    """However many questions there are: with 1,500 images 55 % of two is no accident."""
    rows = ask(MODELS["hardly"], "selection", images=1500)
    text = about_language(rows, spec(condition="probe"), who="m")
    assert "hardly more often than chance: in 5" in text
    assert "ignoring the words would give 50 %" in text
    assert reading_cell(rows, spec(condition="probe")).note == "hardly; ignoring the words 50 %"


def test_the_wrong_one_every_time_is_no_reading() -> None:
    assert "less often than chance: in none of 120 questions" in said("other")
    assert "does not follow them" in said("other", "swapped")


def test_a_large_object_is_no_reading_under_swapped_prompts() -> None:
    """Where the first object is every other's partner, an answer that always marks it fits the named one in most."""
    rows = ask(MODELS["constant"], "swapped", things=4)
    names = {f"s{image}-{own}" for image in range(60) for own in (1, 2)}
    kept = [row for row in rows if row.sample_id not in names]  # left: 3 asked with 0's words, 0 asked with 1's
    assert "cannot be judged" in about_language(kept, spec(condition="swapped"), who="m")


def test_few_images_show_nothing() -> None:
    text = said("oracle", images=3)
    assert text.startswith("That m reads the words could not be shown")
    assert "all 6 questions" in text
    text = said("nearly", images=4)
    assert "not be shown" in text
    assert reading_cell(ask(MODELS["oracle"], "selection", images=3), spec(condition="probe")).note.startswith(
        "not shown"
    )


@pytest.mark.parametrize("told", ["target", "nothing"])
def test_what_reads_no_text_is_not_said_to_read(told: str) -> None:
    """A channel for each class chooses the right one of two classes without a word."""
    rows = ask(MODELS["oracle"], "selection")
    text = about_language(rows, spec(condition="probe", told=told), who="m")
    assert text.startswith("m reads no text")
    assert "chose" not in text
    assert reading_cell(rows, spec(condition="probe", told=told)).text == "–"


def test_one_thing_an_image_leaves_the_other_words() -> None:
    rows = ask(MODELS["oracle"], "clean", things=1)
    nothing = about_language(rows, spec(condition="probe"), who="m")
    assert "nothing shows whether m reads them" in nothing
    # Of a probe with --limit the other images may hold two; and things that overlap are no choice, but two.
    assert nothing.startswith("No image asked about holds two separate things")
    other = [
        replace(row, condition="other_image_prompt", condition_arguments='{"against": "original"}', dice=dice)
        for row, dice in zip(rows, [0.5, 0.6, 0.7] * 20, strict=True)
    ]
    text = about_language(rows + other, spec(condition="probe"), who="m")
    assert "another image's words for the same structure, m loses 40 points of Dice [3" in text
    same = [replace(row, dice=1.0) for row in other]
    text = about_language(rows + same, spec(condition="probe"), who="m")
    assert "is not shown to lose Dice" in text
    assert "depend" not in text


def test_a_loss_stands_only_after_the_correction_for_all_that_was_asked() -> None:
    rows = ask(MODELS["oracle"], "clean", things=1)
    rng = np.random.default_rng(1)
    lost = rng.normal(0.03, 0.1, len(rows))  # p of about 0.02
    other = [replace(row, condition="other_image_prompt", dice=1 - loss) for row, loss in zip(rows, lost, strict=True)]
    alone = about_language(rows + other, spec(condition="probe"), who="m")
    assert "its answers depend on the words" in alone
    more = [replace(row, condition=f"random_{name}") for name in "abcdefgh" for row in rows]
    text = about_language(rows + other + more, spec(condition="probe"), who="m")
    assert "is not shown to lose Dice" in text
    assert "8 other changes of the words, none is shown to change it" in text
    low = [
        replace(row, condition=name, dice=0.5 + 0.1 * rng.random())
        for name in ("wrong_size", "mean_image")
        for row in rows
    ]
    text = about_language(rows + other + more + low, spec(condition="probe"), who="m")
    assert text.endswith("; of 9 other changes of the words, wrong_size is shown to change it.")


DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_the_docs_quote_what_is_said() -> None:
    page = " ".join((DOCS / "probe.md").read_text().split())
    quoted = {
        "Asked for one of several things in an image, ": said("nearly", things=3),
        " chose the named one in ": said("nearly"),
        " questions; ignoring the words would give 50 %.": said("nearly", images=200),
        "hardly more often than chance": said("hardly", images=1500),
        "no more often than chance": said("constant"),
        "Asked with the words of another object in the image, ": said("nearly", "swapped"),
        " marks that object and not its own in ": said("nearly", "swapped"),
    }
    for words, text in quoted.items():
        assert words in text
        assert words in page
    assert "at least a fifth of the way" in page
    assert HARDLY == 1 / 5
    assert all(f"`{name}`" in page for name in INSTEAD)


def test_the_cell_is_of_what_was_measured_alike() -> None:
    clean = evaluated(ask(MODELS["oracle"], "clean"))
    probe = evaluated(ask(MODELS["nearly"], "selection"), condition="probe")
    run = a_run("m", clean, probe)
    assert reads(run, clean).value == pytest.approx(
        sum(one.right is True for one in choices(probe.scores)) / len(choices(probe.scores))
    )
    elsewhere = evaluated(ask(MODELS["oracle"], "clean"), threshold=0.9)
    assert reads(run, elsewhere).note == "not asked as it was scored here"
    assert reads(a_run("m", clean), clean).note == "not asked"
    assert reads(run, evaluated(ask(MODELS["oracle"], "clean"), prompt="class")).note == "not asked"
    # Kept features are a rounding of the same answers.
    cached = evaluated(ask(MODELS["oracle"], "clean"), cached_features=True)
    assert reads(run, cached) == reads(run, clean)


def test_a_model_that_marks_nothing_is_not_excused_by_the_images() -> None:
    text = about_language(ask(MODELS["nothing"], "swapped"), spec(condition="swapped"), who="m")
    assert text.startswith(
        "Asked with the words of another object in the image, m marks neither that object nor its own"
    )
    cell = reading_cell(ask(MODELS["nothing"], "selection"), spec(condition="probe"))
    assert cell.note.startswith("chose none of them")
