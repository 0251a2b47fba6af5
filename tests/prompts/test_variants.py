"""Prompts said otherwise."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from vlseg.prompts import (
    Phrase,
    chooser,
    misspelt,
    negated,
    other_side,
    other_values,
    paraphrased,
    phrases,
    shuffled,
    translated,
    with_words,
)
from vlseg.records import Attribute, Dataset, DatasetInfo, Sample

TEXT = "One small pink round polyp which is a projecting growth"


def test_negation_and_paraphrase_keep_the_words() -> None:
    assert negated("Dark cyst") == "no dark cyst"
    assert "Dark cyst" in paraphrased("Dark cyst.", Random(0))
    assert paraphrased("Dark cyst.", Random(0)) != "Dark cyst"


@pytest.mark.parametrize("seed", range(20))
def test_typos_change_long_words_only_and_lose_no_letter(seed: int) -> None:
    changed = misspelt(TEXT, Random(seed))
    assert changed is not None
    for before, after in zip(TEXT.split(), changed.split(), strict=True):
        assert Counter(before) == Counter(after)
        assert (before == after) == (len(before) < 5)
        assert before[0] == after[0]
    assert misspelt("one of two", Random(seed)) is None


def test_shuffling_gives_another_order_of_the_same_words() -> None:
    changed = shuffled(TEXT, Random(1))
    assert changed is not None
    assert changed != TEXT
    assert sorted(changed.split()) == sorted(TEXT.split())
    assert shuffled("polyp", Random(1)) is None
    assert shuffled("a a a", Random(1)) is None


def test_choices_depend_on_the_parts_alone() -> None:
    assert chooser(0, "a", "b").random() == chooser(0, "a", "b").random()
    assert chooser(0, "a", "b").random() != chooser(0, "ab").random()


def test_known_names_in_other_languages() -> None:
    assert translated("Polyp")["fr"] == "polype"
    assert translated("unheard of") == {}
    assert translated(None) == {}


def sample(prompts: dict[str, list[str]], attributes: tuple[Attribute, ...] = ()) -> Sample:
    return Sample(
        id="s",
        image_id="i",
        image_path=Path("i.png"),
        mask_paths=(),
        target="polyp",
        prompts={key: tuple(value) for key, value in prompts.items()},
        attributes=attributes,
        dataset="d",
        split="test",
    )


def dataset(aliases: dict[str, str]) -> Dataset:
    return Dataset(DatasetInfo(name="d", root=Path(), files=(), aliases=aliases), ())


def test_phrases_by_attributes_that_stand_in_the_text() -> None:
    one = sample({}, (Attribute("color", "pink", "mask"), Attribute("number", "two", "mask")))
    found = phrases(dataset({}), one, None, TEXT)
    assert [(phrase.attribute, phrase.words) for phrase in found] == [("color", "pink")]
    assert TEXT[found[0].start : found[0].end] == "pink"


def test_phrases_by_what_a_scheme_adds_step_by_step() -> None:
    """As in the published files: every key says more than the one before."""
    aliases = {"p1": "class", "p2": "class+shape", "p3": "class+shape+color"}
    prompts = {"p1": ["polyp"], "p2": ["round polyp"], "p3": ["pink round polyp"]}
    one = sample(prompts)
    found = {phrase.attribute: phrase.words for phrase in phrases(dataset(aliases), one, "p3", "pink round polyp")}
    assert found == {"shape": "round", "color": "pink"}


def test_words_replaced_or_left_out() -> None:
    phrase = Phrase("color", 10, 14, "pink")
    assert with_words(TEXT, phrase, "blue") == TEXT.replace("pink", "blue")
    assert with_words(TEXT, phrase, "") == TEXT.replace("pink ", "")
    assert with_words("polyp, pink, round", Phrase("color", 7, 11, "pink"), "") == "polyp, round"


def test_other_values_are_those_of_the_same_attribute() -> None:
    every = [Phrase("color", 0, 4, words) for words in ("pink", "Red", "white", "red")] + [
        Phrase("size", 0, 5, "small")
    ]
    assert other_values(every, every[0]) == ["red", "white"]


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Unilateral infection, upper left lung.", "Unilateral infection, upper right lung."),
        ("lower left lung and all right lung", "lower right lung and all left lung"),
        ("Bilateral infection, upper left lung and upper right lung", None),
        ("the left and right lungs", None),
        ("Left, right lung", None),
        ("both the left and the right lung", None),
        ("left & right lungs", None),
        ("left/right pleura", None),
        ("from left to right", None),
        ("left larger than right", "right larger than left"),
        ("the left ventricle", None),
        ("a polyp at the top", None),
        ("", None),
    ],
)
def test_the_other_side_says_something_else(text: str, other: str | None) -> None:
    assert other_side(text) == other
