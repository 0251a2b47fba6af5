"""The first screen of a study's page: each sentence, and records for which it would be false."""

from typing import Any

import pytest
from study_cells import evaluated
from study_facts_made import a_run, facts, probed, worth

from vlseg.records.study import Cell, Hole, TableSpec
from vlseg.reports.study_facts import StudySearch
from vlseg.reports.study_words import beside_published, chosen, failures, first_screen, how_far, leaks, made_up, telling
from vlseg.reports.tables import build_tables

INDIVIDUAL = "medvlsm/table2/individual"


def test_how_far_counts_every_state_and_the_parts_add_up() -> None:
    states = ["done"] * 7 + ["failed"] * 2 + ["waits"] * 2 + ["outdated", "running", "interrupted"] + ["planned"] * 3
    told = how_far(facts([a_run(f"r{i}", state) for i, state in enumerate(states)]))
    assert told == (
        "7 of 17 runs are done, 2 failed, 2 wait for one that failed, 1 is outdated, 1 is at work, "
        "1 was laid down half done, 3 are still to be made."
    )
    for gone in ("failed", "waits", "outdated", "running", "interrupted", "planned"):
        left = [a_run(f"r{i}", state) for i, state in enumerate(states) if state != gone]
        words = {"failed": "2 failed", "waits": "wait", "running": "at work", "interrupted": "laid", "planned": "made"}
        assert words.get(gone, gone) not in how_far(facts(left))


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ([], "No run is planned yet."),
        (["done"], "The only run is done."),
        (["done"] * 3, "All 3 runs are done."),
        (["planned"], "0 of 1 runs are done, 1 is still to be made."),
        (["done", "failed"], "1 of 2 runs is done, 1 failed."),
    ],
)
def test_how_far_of_few(states: list[Any], told: str) -> None:
    assert how_far(facts([a_run(f"r{i}", state) for i, state in enumerate(states)])) == told


def test_all_done_is_not_all_where_trials_or_data_are_missing() -> None:
    search = StudySearch("s", ("learning_rate",), ("a", "b"), 5)
    holes = [Hole(what="busi", why="no such folder", parts=["p"]), Hole(what="left out", why="of no use")]
    told = how_far(facts([a_run()], searches=[search], holes=holes))
    assert "Of the 5 trials searched with, 3 have not been asked for yet." in told
    assert told.endswith("Missing here: busi; what needs it is left out.")
    done = how_far(facts([a_run()], searches=[StudySearch("s", (), ("a",), 1)], holes=holes[1:]))
    assert done == "The only run is done."


def test_made_up_is_said_of_phantoms_alone() -> None:
    assert made_up(facts(phantoms=True)) == "Made-up images: no number here says anything about the real sets."
    assert made_up(facts()) == ""
    specs = [TableSpec(name="t", published=INDIVIDUAL)]
    beside = facts(cells=[evaluated(0.9)], specs=specs, phantoms=True)
    assert made_up(beside).endswith("so that no difference from published values is taken.")
    assert beside_published(beside.tables) == ""


def seeded(mean: float, **own: Any) -> list[Cell]:
    return [evaluated(mean + shift, 0.01, seed=seed, **own) for seed, shift in enumerate((-0.005, 0.0, 0.005))]


def test_differences_within_noise_are_counted_and_the_largest_is_named() -> None:
    # Published: CRIS 91.39 on Kvasir, 91.69 on CVC-ClinicDB; CLIPSeg 89.51 on Kvasir.
    cells = [
        *seeded(0.9139 + 0.015),  # within 1 point of range and 1 of half an interval
        *seeded(0.9169 - 0.12, data="cvc-clinicdb"),
        *seeded(0.8951 + 0.05, model="clipseg"),
    ]
    specs = [TableSpec(name="t", published=INDIVIDUAL)]
    told = beside_published(build_tables(cells, specs, []))
    assert told == (
        "Of 3 differences from published values that can be judged, 1 lies within noise; the largest is −12.00 points "
        "(cris / cvc-clinicdb: 79.69, published 91.69)."
    )
    nearer = [*cells[:3], *seeded(0.9169 - 0.03, data="cvc-clinicdb"), *cells[6:]]
    assert "+5.00 points (clipseg" in beside_published(build_tables(nearer, specs, []))
    exact = [*seeded(0.9139), *seeded(0.9169, data="cvc-clinicdb")]
    assert "Of 2 differences from published values that can be judged, 2 lie" in beside_published(
        build_tables(exact, specs, [])
    )
    assert "can be judged, none lie" in beside_published(build_tables(cells[3:], specs, []))


def test_what_cannot_be_judged_is_not_counted_as_within() -> None:
    specs = [TableSpec(name="t", published=INDIVIDUAL)]
    one_seed = evaluated(0.9169, data="cvc-clinicdb")
    told = beside_published(build_tables([*seeded(0.9139), one_seed], specs, []))
    assert told.startswith(
        "The one published value that can be judged lies within noise; the difference is 0.00 points"
    )
    assert told.endswith("1 more cannot be judged: no interval, or fewer than three seeds of a trained model.")
    assert beside_published(build_tables([one_seed], specs, [])) == (
        "The difference from the published value cannot be judged: no interval, or fewer than three seeds of a trained "
        "model."
    )
    assert beside_published(build_tables([one_seed], [TableSpec(name="t")], [])) == ""


def test_a_difference_that_two_tables_show_counts_once() -> None:
    specs = [TableSpec(name="one", published=INDIVIDUAL), TableSpec(name="two", published=INDIVIDUAL)]
    assert beside_published(build_tables(seeded(0.9139), specs, [])).startswith("The one published value")


def test_a_model_chooses_the_named_target_where_all_its_intervals_lie_above_chance() -> None:
    reads = [probed((0.1, 0.5), seed=0), probed((0.05, 0.4), seed=1)]
    one_seed_does_not = [probed((0.1, 0.5), model="clipseg", seed=0), probed((-0.02, 0.4), model="clipseg", seed=1)]
    touches = [probed((0.0, 0.4), model="unet")]
    told = chosen([*reads, *one_seed_does_not, *touches])
    assert told == "Of 3 models probed, 1 is shown to choose the named target among several more often than chance."
    assert (
        chosen(reads)
        == "The one model probed is shown to choose the named target among several more often than chance."
    )
    # An interval that reaches from below chance to far above it shows nothing: it does not show that the model ignores.
    assert "is not shown to choose" in chosen(one_seed_does_not)
    assert chosen([*one_seed_does_not, *touches]).startswith("Of 2 models probed, none is shown to choose")
    part = [Cell(c.kind, {**c.labels, "part": "again"}, c.values) for c in reads]
    assert chosen([*reads, *part]) == chosen(reads), "a run that two parts want is one"


def test_a_probe_without_an_interval_is_not_a_model_that_does_not_read() -> None:
    few = [probed(None, "2 groups, fewer than 10", model="unet")]
    assert chosen([probed((0.1, 0.5)), *few]).endswith("1 more cannot be judged: 2 groups, fewer than 10.")
    assert chosen(few).startswith("Whether the model probed chooses the named target among several cannot be judged")
    half = [probed((0.1, 0.5), seed=0), probed(None, "no image", seed=1)]
    assert "cannot be judged: no image" in chosen(half)
    unlike = [probed(None, "no image", model=name) for name in ("unet", "cris")]
    assert "cannot be judged: most often no image." in chosen([*unlike, *few])
    assert chosen([]) == ""


def test_prompts_that_tell_of_the_truth_are_counted() -> None:
    leaking = {"deployable": False, "prompt_source": ["class", "mask"]}
    cells = [evaluated(0.5, seed=0), evaluated(0.5, seed=1, asked="p7", values=leaking)]
    assert telling(cells) == (
        "Of 2 scores 1 is under prompts that tell of the truth (p7): nobody has these before the truth is known."
    )
    again = [Cell(c.kind, {**c.labels, "part": "again"}, c.values) for c in cells]
    assert telling([*cells, *again]) == telling(cells), "a run that two parts want is one"
    assert telling(cells[:1]) == ""
    assert telling([evaluated(0.5, values={"deployable": None})]) == ""
    blind = evaluated(0.5, values={**leaking, "told": "nothing"})
    assert telling([blind]) == "", "an answer that was told nothing is no better for its prompt"
    unknown = telling([*cells, evaluated(0.5, asked="p9", values={"deployable": False, "prompt_source": ["unknown"]})])
    assert unknown == "Of 3 scores 2 are under prompts that tell of the truth, or may (p7, p9)."


def test_what_a_leak_is_worth_has_its_interval_or_says_why_not() -> None:
    told = "The prompt 'p6', which tells of the truth, is worth +6.1 [2.1, 10.2] points of Dice over 'class'"
    assert leaks([worth(0.0613, (0.021, 0.102), data="busi")]) == f"{told} (cris on busi)."
    several = leaks([worth(0.02), worth(0.05, model="unet"), worth(None, model="clipseg")])
    assert several.startswith("Of 2 leaks measured, the largest is that of 'p6', which is worth +5.0 points")
    assert "(unet on kvasir-seg; no interval: 3 seeds, fewer than 5)" in several
    assert "−2.0 points" in leaks([worth(-0.02)])
    assert leaks([worth(None)]) == ""


def test_the_first_screen_leaves_out_what_nothing_is_known_of() -> None:
    assert first_screen(facts([a_run()])) == ["The only run is done."]
    told = first_screen(facts([a_run()], [worth(0.02), probed((0.1, 0.2))], phantoms=True))
    assert [sentence.split()[0] for sentence in told] == ["The", "Made-up", "The", "The"]


def test_forty_failures_alike_are_one_line_and_others_are_not() -> None:
    runs = [a_run(f"r{i}", "failed", error=f"r{i}: the loss is NaN at step {i}") for i in range(40)]
    runs += [a_run("x", "failed", error="out of memory"), a_run("y")]
    found = failures(runs)
    assert [(len(one.names), one.alike) for one in found] == [(40, True), (1, False)]
    assert found[0].error == "r0: the loss is NaN at step 0"
    assert found[0].names[:2] == ("r0", "r1")
    same = failures([a_run("a", "failed", error="full disk"), a_run("b", "failed", error="full disk")])
    assert [(one.names, one.alike) for one in same] == [(("a", "b"), False)]
