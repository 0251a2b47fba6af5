"""What may be said of the sentence against the class: over which samples, against whom, and when not."""

from dataclasses import replace

import numpy as np
import pytest
from asked import MODELS, a_run, ask, blurred, evaluated

from vlseg.records import SampleScore
from vlseg.reports.load import RunOnDisk
from vlseg.reports.words import about_words, adds_over_class
from vlseg.reports.words.gain import about_class_prompt, says_more

ROWS = ask(MODELS["oracle"], "clean")
NAMES = [replace(row, wording="disc", prompt="class", prompt_sources="class") for row in ROWS]


def told(name: str, rows: list[SampleScore], told: str = "prompt", **config: object) -> RunOnDisk:
    return a_run(name, evaluated(rows, told=told), **config)


def said(run: RunOnDisk, *others: RunOnDisk) -> str:
    return about_words(run, run.clean[0], [run, *others], who=run.record.id)


def cell(run: RunOnDisk, *others: RunOnDisk) -> tuple[str, str]:
    found = adds_over_class(run, run.clean[0], [run, *others])
    return found.text, found.note


def test_the_difference_is_paired_over_present_targets() -> None:
    run, control = told("s", blurred(ROWS, 0.1, 1)), told("c", blurred(ROWS, 0.3, 2), "target")
    expected = np.mean([a.dice - b.dice for a, b in zip(run.clean[0].scores, control.clean[0].scores, strict=True)])
    found = adds_over_class(run, run.clean[0], [run, control])
    assert found.value == pytest.approx(expected)
    assert found.ci95 is not None
    assert found.ci95[0] < expected < found.ci95[1]
    assert said(run, control).startswith(f"The sentence adds {100 * expected:.0f} points [")
    assert "against c, a run told the class alone, over the same 120 targets that are there" in said(run, control)
    # Absent targets are no part of it, however they were answered.
    absent = [replace(row, sample_id=f"no {row.sample_id}", empty_target=True, dice=0.0) for row in ROWS]
    with_absent = told("s", run.clean[0].scores + absent)
    both = told("c", control.clean[0].scores + [replace(row, dice=1.0) for row in absent], "target")
    assert adds_over_class(with_absent, with_absent.clean[0], [both]).value == pytest.approx(expected)


def test_no_gain_and_a_loss_are_said() -> None:
    run = told("s", blurred(ROWS, 0.2, 1))
    assert said(run, told("c", blurred(ROWS, 0.2, 2), "target")).startswith(
        "No gain over knowing the class could be shown"
    )
    text = said(run, told("c", blurred(ROWS, 0.1, 2), "target"))
    assert " points [" in text
    assert " below c" in text
    assert "adds" not in text
    same = said(run, told("c", run.clean[0].scores, "target"))
    assert same.startswith("No gain over knowing the class could be shown")
    assert "no difference anywhere" in same


def test_few_images_show_no_gain() -> None:
    rows = ask(MODELS["oracle"], "clean", images=3)
    text = said(told("s", rows), told("c", blurred(rows, 0.4), "target"))
    assert text.startswith("No gain over knowing the class could be shown")
    assert "3 images: too few for an interval" in text
    assert cell(told("s", rows), told("c", blurred(rows, 0.4), "target"))[1].endswith(
        "3 images: too few for an interval"
    )


def test_the_best_control_counts_and_is_named() -> None:
    run = told("s", blurred(ROWS, 0.05))
    weak, strong = told("weak", blurred(ROWS, 0.5), "target"), told("strong", blurred(ROWS, 0.1), "target")
    for order in ((weak, strong), (strong, weak)):
        assert "against strong, the best of 2 runs told the class alone" in said(run, *order)
        assert cell(run, *order)[1] == "over the best of 2, strong"


def test_what_else_differs_is_said_and_then_the_sentence_adds_nothing_by_itself() -> None:
    run = told("s", blurred(ROWS, 0.05), max_steps=1000)
    text = said(run, told("c", blurred(ROWS, 0.3), "target", model="other", max_steps=250, seed=3))
    assert "above c" in text
    assert "(the two differ in max steps and model, too)" in text or "differ in model and max steps, too" in text
    assert "adds" not in text
    twin = told("c", blurred(ROWS, 0.3), "target", max_steps=1000, model_arguments={"text": "target"})
    run = told("s", blurred(ROWS, 0.05), max_steps=1000, model_arguments={"text": "minilm"})
    assert said(run, twin).startswith("The sentence adds")


def test_what_was_trained_or_measured_otherwise_is_no_control() -> None:
    run = told("s", blurred(ROWS, 0.05))
    low = blurred(ROWS, 0.5)
    others = [
        a_run("other data", evaluated(low, told="target", data_fingerprint="g")),
        a_run("other split", evaluated(low, told="target", split="val")),
        a_run("other protocol", evaluated(low, told="target", protocol="published")),
        a_run("one answer", evaluated(low, told="nothing", condition="blind")),
        a_run("broken off", evaluated(low, told="target"), status="failed"),
        told("also told the sentence", low),
    ]
    elsewhere = told("trained elsewhere", low, "target")
    others.append(replace(elsewhere, record=elsewhere.record.model_copy(update={"datasets": ["other"]})))
    assert said(run, *others) == ""
    assert cell(run, *others) == ("–", "no run was told the class alone")


def test_a_run_on_the_class_as_its_prompt_is_a_control_only_if_trained_on_it() -> None:
    run = told("s", blurred(ROWS, 0.05))
    low = blurred(NAMES, 0.4)
    trained = a_run("named", evaluated(low, prompt="class", prompt_sources=["class"]))
    assert "against named, a run told the class alone" in said(run, trained)
    asked = replace(trained, record=trained.record.model_copy(update={"prompt": "place"}))
    assert said(run, asked) == ""
    # The same run asked with the class is no control of itself, whichever it was trained on.
    both = replace(run, evaluations=[*run.evaluations, *trained.evaluations])
    assert said(both) == ""
    assert said(replace(both, record=trained.record)) == ""


def test_samples_with_another_truth_are_not_compared() -> None:
    """Another prompt may unite other masks."""
    run = told("s", blurred(ROWS, 0.05))
    low = blurred(ROWS, 0.4)
    other = [replace(row, area=row.area + 5, dice=0.0) for row in low[:30]]
    found = adds_over_class(run, run.clean[0], [told("c", other + low[30:], "target")])
    pairs = zip(run.clean[0].scores[30:], low[30:], strict=True)
    assert found.value == pytest.approx(np.mean([a.dice - b.dice for a, b in pairs]))


def test_words_that_are_the_same_for_every_image_of_a_class_say_no_more_than_the_class() -> None:
    assert says_more(ROWS)
    assert not says_more(NAMES)
    assert not says_more([replace(row, prompt_sources="unknown") for row in NAMES])
    run = a_run("named", evaluated(NAMES, prompt="class"))
    assert said(run, told("c", blurred(NAMES, 0.4), "target")) == ""
    assert cell(run, told("c", blurred(NAMES, 0.4), "target")) == ("–", "its words are the class alone")
    assert cell(told("c", ROWS, "target")) == ("–", "told the class alone")


def test_the_ceiling_of_the_class() -> None:
    rows = blurred(ROWS, 0.2)
    mean = float(np.mean([row.dice for row in rows]))
    above = a_run("s", evaluated(rows, class_ceiling=mean - 0.05))
    assert f"no answer that knows the class alone could pass {mean - 0.05:.3f} on these images" in said(above)
    assert cell(above) == ("+5.0", f"above the most that the class alone could reach ({mean - 0.05:.3f})")
    below = a_run("s", evaluated(rows, class_ceiling=mean + 0.001))
    assert said(below) == ""
    assert cell(below)[0] == "–"
    # One part of a pool may lie above the ceiling of the whole and read nothing.
    assert adds_over_class(above, above.clean[0], [above], dataset="made").text == "–"


def test_the_same_model_asked_for_the_class_is_charged_for_words_it_never_saw() -> None:
    low = [
        replace(row, condition="class_only", condition_arguments='{"against": "original"}')
        for row in blurred(ROWS, 0.3)
    ]
    probe = evaluated(ROWS + low, condition="probe")
    clean = evaluated(ROWS)
    text = about_class_prompt(a_run("s", clean, probe), clean, who="s")
    assert "this is not what the sentence adds" in text
    text = about_class_prompt(a_run("s", clean, probe, class_prompt_share=0.3), clean, who="s")
    assert "which it was trained to answer, too" in text
    same = evaluated(ROWS + [replace(row, condition="class_only") for row in ROWS], condition="probe")
    assert about_class_prompt(a_run("s", clean, same), clean, who="s") == ""


def test_a_control_on_fewer_targets_is_compared_over_these_and_it_is_said() -> None:
    """The score beside the difference is over the same targets, not over all."""
    rows = blurred(ROWS[:40], 0.05, 1) + blurred(ROWS[40:], 0.5, 1)
    run, part = told("s", rows), told("c", blurred(ROWS[:40], 0.3, 2), "target")
    text = said(run, part)
    assert f"s reaches Dice {np.mean([row.dice for row in rows[:40]]):.3f} [" in text
    assert "over the 40 of 120 targets that are there on which both were scored" in text
    assert cell(run, part)[1] == "over c; on 40 of 120 targets"
    assert "both were scored" not in said(run, told("c", blurred(ROWS, 0.3, 2), "target"))


def test_a_control_on_a_few_easy_targets_is_not_the_best() -> None:
    run = told("s", blurred(ROWS, 0.05))
    easy, whole = told("easy", ROWS[:12], "target"), told("whole", blurred(ROWS, 0.4), "target")
    for order in ((easy, whole), (whole, easy)):
        assert "against whole, a run told the class alone, over the same 120 targets" in said(run, *order)


def test_a_control_scored_at_two_thresholds_is_one_run() -> None:
    run = told("s", blurred(ROWS, 0.05))
    twice = a_run(
        "c",
        evaluated(blurred(ROWS, 0.3), told="target"),
        evaluated(blurred(ROWS, 0.2), told="target", threshold=0.3, threshold_origin="fixed"),
    )
    assert "against c, a run told the class alone" in said(run, twice)
    assert cell(run, twice)[1] == "over c"


def test_one_image_a_class_shows_nothing_of_what_words_are_always_the_same() -> None:
    """The sentence about the one image is not "the class alone", nor its run a control that is told no more."""
    one = [replace(ROWS[0], wording="a disc in the upper left", prompt_sources="class,mask")]
    assert says_more(one)
    assert cell(told("s", one)) == ("–", "no run was told the class alone")
    assert said(told("t", one), told("s", blurred(one, 0.3))) == ""
    assert not says_more([replace(one[0], prompt_sources="class")])


def test_no_words_and_one_word_for_all_classes_are_not_the_class() -> None:
    """A run on the empty prompt was not told the class; nor one whose classes all have the same words."""
    low = blurred(ROWS, 0.4)
    empty = [replace(row, wording="", prompt_sources="none") for row in low]
    classes = [replace(row, target=("left", "right")[place % 2]) for place, row in enumerate(low)]
    same = [replace(row, wording="object", prompt_sources="user") for row in classes]
    named = [replace(row, wording=row.target or "", prompt_sources="class") for row in classes]
    run = told("s", blurred(ROWS, 0.05))
    for rows, words in ((empty, "its words tell nothing"), (same, "its words tell nothing")):
        assert said(run, told("c", rows)) == ""
        assert cell(told("c", rows)) == ("–", words)
    assert "against c, a run told the class alone" in said(run, told("c", named))
    assert cell(told("c", named)) == ("–", "its words are the class alone")


def test_a_change_that_falls_with_the_correction_is_not_told_of_the_class_prompt() -> None:
    """One of many conditions that a probe asks lies apart by chance."""
    rng = np.random.default_rng(1)
    lost = rng.normal(0.025, 0.1, len(ROWS))  # p of about 0.02
    low = [replace(row, condition="class_only", dice=1 - loss) for row, loss in zip(ROWS, lost, strict=True)]
    more = [replace(row, condition=f"random_{name}") for name in "abcdefghijkl" for row in ROWS]
    clean = evaluated(ROWS)
    alone = a_run("s", clean, evaluated(ROWS + low, condition="probe"))
    assert "s scores" in about_class_prompt(alone, clean, who="s")
    assert about_class_prompt(a_run("s", clean, evaluated(ROWS + low + more, condition="probe")), clean, who="s") == ""
