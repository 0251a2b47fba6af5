"""Sentences on scores, prompts and pairs of runs; each also with records for which it would be false."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from asked import MODELS, ask, blurred, evaluated, spec

from vlseg.metrics import aggregate, compare_paired
from vlseg.records import SampleScore
from vlseg.reports.words import about_comparison, about_leak, about_scores, differs

ROWS = ask(MODELS["oracle"], "clean")


def scored(rows: list[SampleScore], **changes: Any) -> str:
    return about_scores(aggregate(rows, groups_known=False), spec(**changes))


def absent(rows: list[SampleScore], empty: int) -> list[SampleScore]:
    """The same samples as ones whose target is not there, the first `empty` of them answered empty."""
    return [
        replace(
            row, sample_id=f"no {row.sample_id}", empty_target=True, empty_pred=place < empty, dice=float(place < empty)
        )
        for place, row in enumerate(rows)
    ]


def test_scores_of_present_and_absent_targets() -> None:
    rows = blurred(ROWS, 0.2)
    mean = np.mean([row.dice for row in rows])
    text = scored(rows + absent(ROWS[:50], 49))
    assert text.startswith(f"Dice {mean:.3f} [")
    assert text.endswith("over 120 targets that are there, and an empty mask for 98 % of 50 absent ones.")
    assert "absent" not in scored(rows)
    assert scored(absent(ROWS[:4], 3)).startswith("None of the 4 targets asked for is there; an empty mask")
    assert "all 4 absent ones" in scored(rows + absent(ROWS[:4], 4))
    assert "none of 4 absent ones" in scored(rows + absent(ROWS[:4], 0))


def test_no_interval_and_no_truth_are_said() -> None:
    few = blurred(ask(MODELS["oracle"], "clean", images=3), 0.2)
    assert "(3 images: too few for an interval) over 6 targets that are there" in scored(few)
    none = [replace(row, dice=None, empty_target=None) for row in few]
    assert scored(none) == "None of the 6 samples has a truth, so nothing could be scored."
    assert "1 target that is there" in scored(few[:1])


def test_images_that_training_saw_are_said() -> None:
    assert "training split" in scored(ROWS, split="train")
    assert "by which trainings choose their weights" in scored(ROWS, split="val")
    assert scored(ROWS).endswith("that are there.")
    assert "another object's words" in scored(ROWS, condition="swapped")
    # Of an evaluation with worse images the sentence is about the plain ones, which it has, too.
    assert scored(ROWS, condition="corrupted").endswith("that are there, on the images as they are.")


SIGHT = "written with sight of the truth ("


def test_who_could_have_written_the_prompt() -> None:
    assert SIGHT not in about_leak(spec())
    assert "a user has" in about_leak(spec())
    for sources, words in ((["mask"], "from the mask"), (["class", "label"], "from the image's label")):
        assert f"{SIGHT}{words})" in about_leak(spec(prompt_sources=sources))
    for unknown in (["unknown"], []):
        text = about_leak(spec(prompt_sources=unknown))
        assert "not known" in text
        assert SIGHT not in text
    assert "not known" in about_leak(spec(told="unknown"))
    assert about_leak(spec(prompt_sources=["none"])) == "Asked without any words."
    # Words that were not read leak nothing.
    assert about_leak(spec(prompt_sources=["mask"], told="target")) == ""


def test_made_up_images_are_said_and_their_words_are_calm() -> None:
    text = about_leak(spec(prompt_sources=["mask"], phantoms=["made"]))
    assert "images are made up, and the words come from the made-up scene" in text
    assert SIGHT not in text
    assert "no score on them is one on real images" in text
    assert "made up" in about_leak(spec(told="target", phantoms=["made"]))
    assert "made up" not in about_leak(spec())
    # In a pool the words of the real images leak all the same.
    pool = spec(prompt_sources=["mask"], phantoms=["made"], data_fingerprints={"made": "f", "real": "g"})
    assert "The images of made are made up:" in about_leak(pool)
    assert SIGHT in about_leak(pool)


def pair(first: list[SampleScore], second: list[SampleScore], **changes: Any) -> dict[str, Any]:
    values = [[row.dice or 0.0 for row in rows] for rows in (first, second)]
    found = compare_paired(values[0], values[1], [row.image_id for row in first], largest=1.0)
    return {"first": "a", "second": "b", "differs": [], **vars(found), "p_holm": found.p, **changes}


def test_a_difference_is_said_only_where_it_is_shown() -> None:
    low, high = blurred(ROWS, 0.4, 1), blurred(ROWS, 0.1, 2)
    up, down, none = pair(low, high), pair(high, low), pair(low, blurred(ROWS, 0.4, 3))
    assert about_comparison(up).startswith("b has a Dice 30 points [")
    assert " higher than a on the same 120 samples; p < 0.001." in about_comparison(up)
    assert "b has a Dice 30 points [" in about_comparison(down)
    assert " lower than a " in about_comparison(down)
    assert about_comparison(none).startswith("No difference of Dice between b and a could be shown on the same 120")
    assert "four times in five" in about_comparison(none)
    assert [differs(one) for one in (up, down, none)] == [1, -1, 0]
    # What one test alone would show, the family may not.
    weak = about_comparison(up | {"p_holm": 0.2, "family": 6})
    assert weak.startswith("No difference")
    assert "p after Holm's correction over 6 pairs = 0.200" in weak


def test_pairs_that_are_equal_unlike_or_apart() -> None:
    assert about_comparison(pair(ROWS, ROWS)) == "a and b have the same Dice on the same 120 samples, sample by sample."
    unlike = about_comparison(pair(ROWS, ROWS) | {"differs": ["engine torch, onnx fp32"]})
    assert unlike.endswith("sample by sample. They differ in engine (torch, onnx fp32).")
    told = about_comparison(pair(ROWS, ROWS[::-1], differs=["told prompt, target", "threshold 0.5, 0.35"]))
    assert "differ" not in told or "told (prompt, target) and threshold (0.5, 0.35)" in told
    assert "no sample in common" in about_comparison(pair([], []))
    lower = pair(blurred(ROWS, 0.4, 1), blurred(ROWS, 0.1, 2))
    assert "a HD95 0.3" in about_comparison(lower, metric="hd95")
    assert "(lower is better)" in about_comparison(lower, metric="hd95")


@pytest.mark.parametrize("value", [0.0, 0.2])
def test_few_images_show_no_difference(value: float) -> None:
    rows = ask(MODELS["oracle"], "clean", images=4)
    text = about_comparison(pair(rows, blurred(rows, value)))
    assert text.startswith("No difference" if value else "a and b have the same")


def test_scores_of_one_structure_are_not_those_of_all() -> None:
    rows = ask(MODELS["oracle"], "clean")
    one = evaluated(rows, target="kidney")
    assert about_scores(one.whole, one.spec, who="s").endswith("that are there, asked for kidney alone.")
    assert "alone" not in about_scores(one.whole, evaluated(rows).spec)
