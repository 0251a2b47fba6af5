"""The first sentences of a page, for one run and for many."""

from dataclasses import replace
from typing import Any, get_args

import pytest
from asked import MODELS, a_run, ask, blurred, evaluated

from vlseg.records import SampleScore
from vlseg.records.run import Status
from vlseg.reports.load import RunOnDisk
from vlseg.reports.words import adds_over_class, first_screen, reads
from vlseg.reports.words.screen import ENDED

ROWS = ask(MODELS["oracle"], "clean")


def run_of(name: str, loss: float = 0.1, *, words: str = "nearly", status: str = "done", **changes: Any) -> RunOnDisk:
    """A run with scores and a probe."""
    clean = evaluated(blurred(ROWS, loss, seed=len(name)), **changes)
    probe = evaluated(ask(MODELS[words], "selection"), condition="probe", **changes)
    return a_run(name, clean, probe, status=status)


def control(name: str = "control", loss: float = 0.4) -> RunOnDisk:
    return a_run(name, evaluated(blurred(ROWS, loss), told="target"))


def test_a_run_and_its_control() -> None:
    language, words, leak = first_screen([control(), run_of("s")])
    assert language.startswith("Asked for one of two things in an image, s chose the named one in ")
    assert words.startswith("The sentence adds ")
    assert leak == "The prompt's words are ones that a user has before looking at the truth."


def test_the_cells_say_what_the_sentences_say() -> None:
    run, other = run_of("s"), control()
    language, words, _ = first_screen([run, other])
    assert reads(run, run.clean[0]).text in language
    text = adds_over_class(run, run.clean[0], [run, other]).text.replace("+", "")
    assert text.replace(" [", " points [") in words


def test_demo_like_runs() -> None:
    """Made-up images: said, and calmly; the controls are not the subject."""
    made: dict[str, Any] = {"phantoms": ["made"], "prompt_sources": ["class", "mask"], "deployable": False}
    told = first_screen([run_of("clipseg", **made), control("unet", 0.5), control("unet-target")])
    assert len(told) == 3
    assert "against control" not in told[1]
    assert "unet-target, the best of 2 runs told the class alone" in told[1]
    assert "made up" in told[2]
    assert "sight of the truth" not in " ".join(told)


def test_a_prompt_with_sight_of_the_truth_is_said() -> None:
    told = first_screen([run_of("s", prompt_sources=["mask"], deployable=False)])
    assert any("written with sight of the truth (from the mask)" in one for one in told)
    assert not any("sight of the truth (" in one for one in first_screen([run_of("s")]))


def test_a_run_that_does_not_read() -> None:
    told = " ".join(first_screen([run_of("s", words="constant"), control()]))
    assert "s chose the named one no more often than chance" in told


def test_an_image_only_run() -> None:
    told = first_screen([control("unet")])
    assert told[0].startswith("unet reads no text: it is told the class")
    assert told[1].startswith("unet reaches Dice ")
    assert len(told) == 2


def test_scores_without_questions() -> None:
    """A run that nobody asked in other words, or a model as it came."""
    run = a_run("s", evaluated(blurred(ROWS, 0.2)))
    told = first_screen([run])
    assert told[0] == "Whether s reads its sentences has not been asked: vlseg probe does."
    assert told[1].startswith("s reaches Dice ")
    assert "not trained" not in told[1]
    probe = evaluated(ask(MODELS["nearly"], "selection"), condition="probe", split="val")
    told = first_screen([replace(run, evaluations=[*run.evaluations, probe])])
    assert told[0].startswith("Whether s reads its sentences has not been asked as it was scored here")
    assert " ".join(first_screen([run, control()])).count("Dice") == 1  # the score is told once
    elsewhere = replace(run, record=run.record.model_copy(update={"datasets": ["other"]}))
    assert "It was not trained on this data." in first_screen([elsewhere])[1]


def test_runs_without_scores() -> None:
    assert first_screen([a_run("s")]) == ["s has no scores yet: vlseg evaluate makes them."]
    failed = a_run("s", status="failed")
    assert first_screen([failed]) == [
        "s has no scores yet.", "The training failed: vlseg train --resume --out RUN goes on with it."
    ]  # fmt: skip
    assert {*get_args(Status)} == {*ENDED, "done"}
    assert first_screen([failed, a_run("t")])[0].startswith("None of the 2 runs has scores yet")


def test_unlabelled_images() -> None:
    rows: list[SampleScore] = [replace(row, dice=None, empty_target=None) for row in ROWS]
    told = " ".join(first_screen([a_run("s", evaluated(rows))]))
    assert "None of the 120 samples has a truth" in told
    assert "Dice" not in told


def test_the_best_of_many_is_said_to_be_picked() -> None:
    rows = ask(MODELS["oracle"], "clean", images=10)
    runs = [a_run(f"run{place}", evaluated(blurred(rows, 0.1 + place / 1000, place))) for place in range(150)]
    runs.append(a_run("x", status="failed"))
    told = first_screen(runs, {"reason": "too many"})
    best = max(runs[:-1], key=lambda run: run.clean[0].whole.dice_present.mean or 0.0).record.id
    assert told[0].startswith(f"Of 150 runs with sentences, {best} has the highest Dice over targets that are there.")
    assert "picked after seeing these scores" in told[0]
    assert best in told[1]
    assert told[-1] == "Not done, of 151 runs: 1 failed."
    assert not any("picked" in one for one in first_screen([runs[0], control()]))


def test_runs_that_are_not_shown_to_be_worse_are_counted() -> None:
    runs = [run_of("one", 0.1), run_of("other", 0.11), control()]
    pairs = [
        {"first": "one", "second": "other", "p": 0.5, "p_holm": 0.5, "difference": -0.01, "ci95": [-0.02, 0.01], "n": 9,
         "n_groups": 9, "reason": None},
        {"first": "one", "second": "control", "p": 0.5, "p_holm": 0.5, "difference": -0.01, "ci95": [-0.02, 0.01],
         "n": 9, "n_groups": 9, "reason": None},
    ]  # fmt: skip
    assert (
        "; 1 of the others could not be shown to differ from it over all targets"
        in first_screen(runs, {"pairs": pairs})[0]
    )
    apart = [pairs[0] | {"p_holm": 0.001, "ci95": [-0.02, -0.005]}, pairs[1]]
    assert "could not be shown to differ" not in first_screen(runs, {"pairs": apart})[0]


def test_what_a_user_can_write_is_the_subject_before_what_leaks() -> None:
    leaking = run_of("leaking", 0.01, prompt_sources=["mask"], deployable=False)
    told = " ".join(first_screen([leaking, run_of("honest", 0.2)]))
    assert "honest" in told
    assert "leaking" not in told


def test_the_evaluation_that_stands_for_a_run() -> None:
    """Test images, own prompt and threshold before all else."""
    own = evaluated(blurred(ROWS, 0.3))
    others = [
        evaluated(ROWS, split="val"), evaluated(ROWS, prompt="class"), evaluated(ROWS, threshold_origin="fixed"),
        evaluated(ROWS + ROWS, precision="bf16"),
    ]  # fmt: skip
    run = replace(a_run("s", own), evaluations=[*others, own])
    told = first_screen([run])
    mean = own.whole.dice_present.mean
    assert any(f"Dice {mean:.3f}" in one for one in told)


@pytest.mark.parametrize("runs", [[], [a_run("s")]])
def test_there_is_always_something_to_say(runs: list[RunOnDisk]) -> None:
    assert all(isinstance(one, str) and one for one in first_screen(runs))
    assert first_screen(runs)


def test_the_highest_of_honest_sentences_is_not_called_the_highest_of_all() -> None:
    honest = [run_of("a", 0.3), run_of("bb", 0.2)]
    told = first_screen([*honest, run_of("leaking", 0.01, prompt_sources=["mask"], deployable=False)])
    assert told[0].startswith("Of 2 runs with sentences that a user can write, bb has the highest Dice")
    assert first_screen(honest)[0].startswith("Of 2 runs with sentences, bb has")


def test_the_highest_of_one_dataset_is_said_to_be_of_that() -> None:
    elsewhere = run_of("c", 0.01, dataset="other", data_fingerprint="g", data_fingerprints={"other": "g"})
    told = first_screen([run_of("a", 0.3), run_of("bb", 0.2), elsewhere])
    assert told[0].startswith("Of 2 runs with sentences on made, bb has the highest Dice")


def test_of_runs_without_a_present_target_none_has_the_highest_dice() -> None:
    absent = [replace(row, empty_target=True, dice=1.0, empty_pred=True, area=0, area_error=0) for row in ROWS]
    told = first_screen([a_run("a", evaluated(absent)), a_run("b", evaluated(absent))])
    assert not any("highest" in one for one in told)


def test_a_probe_at_another_threshold_is_not_no_probe() -> None:
    run = run_of("s")
    run.evaluations[1] = evaluated(ask(MODELS["nearly"], "selection"), condition="probe", threshold=0.3)
    assert first_screen([run])[0] == (
        "Whether s reads its sentences has not been asked as it was scored here: vlseg probe does."
    )
    assert reads(run, run.clean[0]).note == "not asked as it was scored here"


def test_of_two_probes_the_one_that_asked_more_is_told() -> None:
    run = run_of("s")
    few = evaluated(ask(MODELS["constant"], "selection", images=3), condition="probe")
    told = first_screen([replace(run, evaluations=[run.evaluations[0], few, run.evaluations[1]])])
    assert "of 120 questions" in told[0]


def test_two_runs_with_the_highest_dice_are_said_to_share_it() -> None:
    told = first_screen([a_run("a", evaluated(ROWS)), a_run("b", evaluated(ROWS))])
    assert told[0].startswith(
        "Of 2 runs with sentences, a has the highest Dice over targets that are there, as 1 other"
    )


def test_runs_without_words_have_not_the_class_as_their_prompt() -> None:
    empty = [replace(row, wording="", prompt_sources="none") for row in ROWS]
    told = first_screen([a_run(name, evaluated(empty, prompt_sources=["none"])) for name in "ab"])
    assert told[0].startswith("Of 2 runs with no prompt that is known and tells anything")


def test_a_run_that_was_probed_alone_has_something_to_say() -> None:
    probe = evaluated(ask(MODELS["nearly"], "selection"), condition="probe")
    language, scores = first_screen([a_run("s", probe)])
    assert language.startswith("Asked for one of two things in an image, s chose the named one in ")
    assert scores == "s has no scores of images and prompts as they are yet: vlseg evaluate makes them."
    worse = a_run("s", evaluated(ROWS, condition="corrupted"))
    assert first_screen([worse]) == [scores]
    assert first_screen([worse, a_run("t")])[0].startswith("None of the 2 runs has scores of images and prompts as")


def test_a_probe_of_another_target_says_nothing_of_these_scores() -> None:
    run = run_of("s")
    liver = evaluated(ask(MODELS["nearly"], "selection"), condition="probe", target="liver")
    kidney, livers = evaluated(ROWS, target="kidney"), evaluated(ROWS, target="liver")
    asked = replace(run, evaluations=[kidney, livers, liver])
    assert reads(asked, kidney).note == "not asked as it was scored here"
    assert reads(asked, livers).text.startswith("98 %")
    assert not any("Asked for one" in one for one in first_screen([replace(run, evaluations=[kidney, liver])]))
