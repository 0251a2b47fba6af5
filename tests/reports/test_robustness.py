"""The page's first section on robustness: what it says, on how many samples, and what it keeps apart."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pictured import absent, evaluation, run_of, score

from vlseg.metrics import robustness
from vlseg.records import EvaluationSpec, SampleScore, write_record, write_scores, write_text
from vlseg.reports import write_report
from vlseg.reports.load import EvaluationOnDisk
from vlseg.reports.robustness import robustness_facts
from vlseg.reports.words.robust import about_robustness, attack_words, robustness_notes, row_name

NAMES = [f"s{number}" for number in range(12)]


def clean(names: Sequence[str] = NAMES, **changes: Any) -> list[SampleScore]:
    return [score(name, 0.9 - 0.01 * place, **changes) for place, name in enumerate(names)]


def arguments(epsilon: float = 8 / 255, method: str = "pgd", goal: str = "untargeted", **more: Any) -> dict[str, Any]:
    budget = {"norm": "linf", "epsilon": epsilon, "place": "input"}
    return {
        "budget": budget,
        "goal": {"kind": goal, "loss": "both"},
        "search": {"method": method, "steps": 20, "restarts": 1},
        **more,
    }


def words(unit: str = "typos", size: int = 2, *, kept: bool = True, method: str = "greedy") -> dict[str, Any]:
    source = None if unit in ("typos", "order") else "synonyms" if kept else "vocabulary"
    budget = {"unit": unit, "size": size, "source": source, "ends": False, "keeps_meaning": kept}
    return {"budget": budget, "goal": {"kind": "untargeted"}, "search": {"method": method}, "words": True}


def under(
    rows: Sequence[SampleScore], told: dict[str, Any], lost: float, condition: str = "attack", **changes: Any
) -> list[SampleScore]:
    text = json.dumps(told, sort_keys=True)
    changes |= {"condition": condition, "condition_arguments": text}
    return [replace(row, dice=(row.dice or 0) - lost - 0.001 * place, **changes) for place, row in enumerate(rows)]


def attacked(folder: Path, rows: Sequence[SampleScore], *parts: Sequence[SampleScore], **spec: Any) -> EvaluationOnDisk:
    every = [*rows, *(row for part in parts for row in part)]
    return evaluation(folder, every, pictures=False, **({"condition": "attack", "told": "prompt"} | spec))


def write(folder: Path, evaluations: Sequence[EvaluationOnDisk]) -> Path:
    """A run's folder with these evaluations."""
    write_record(folder / "run.json", run_of([], "r").record)
    for one in evaluations:
        place = folder / "evaluations" / one.name
        place.mkdir(parents=True)
        write_text(place / "spec.json", one.spec.model_dump_json())
        write_scores(place / "scores.parquet", one.scores)
    return folder


def test_a_run_that_was_only_scored_has_no_section(tmp_path: Path) -> None:
    run = run_of([evaluation(tmp_path / "a", clean(), pictures=False)])
    assert robustness_facts(run) == []
    page = write_report([write(tmp_path / "run", run.evaluations)], tmp_path / "r.html", title="t").read_text()
    assert 'id="robust"' not in page


def test_the_section_stands_before_the_others_and_holds_the_numbers(tmp_path: Path) -> None:
    own = [*clean(presence_score=0.9), absent("a", marked=False, presence_score=0.05)]
    blurred = under(own, {"severity": 3}, 0.1, "blur")
    strong = [replace(row, presence_score=0.77 if row.empty_target else 0.33) for row in under(own, arguments(), 0.5)]
    evaluations = [
        evaluation(tmp_path / "clean", own, pictures=False, told="prompt"),
        evaluation(tmp_path / "worse", [*own, *blurred], pictures=False, condition="corrupted", told="prompt"),
        attacked(tmp_path / "attack", own, strong),
    ]
    page = write_report(
        [write(tmp_path / "run", evaluations)], tmp_path / "r.html", title="t", figures=tmp_path / "figures"
    ).read_text()
    assert page.index('id="robust"') < page.index('id="worse-images"') < page.index('id="attacked"')
    section = page[page.index('id="robust"') : page.index('id="worse-images"')]
    after = sum(row.dice or 0 for row in strong) / 13
    assert f"{after:.3f}" in section
    change = 100 * (after - sum(row.dice or 0 for row in own) / 13)
    assert f"pgd 8/255 {change:+.0f} [" in section
    assert "blur" in section
    assert "0.900 to 0.330" in section, "of targets that are there"
    assert "0.050 to 0.770" in section, "and of those that are not"
    assert "attacks on the sentence" in section, "which were not measured"
    assert list((tmp_path / "figures").glob("robustness-r-clean.svg"))
    below = page[page.index('id="attacked"') :]
    assert "0.050 to 0.770" in below


def test_prompts_and_thresholds_have_tables_of_their_own(tmp_path: Path) -> None:
    own = clean()
    parts = [
        attacked(tmp_path / "p6", own, under(own, arguments(), 0.3), prompt="p6"),
        attacked(tmp_path / "low", own, under(own, arguments(), 0.2), threshold=0.3),
        attacked(tmp_path / "usual", own, under(own, arguments(), 0.1)),
        evaluation(tmp_path / "clean", own, pictures=False, told="prompt"),
    ]
    tables = robustness_facts(run_of(parts))
    assert [(one["spec"].prompt, one["spec"].threshold) for one in tables] == [("p", 0.5), ("p", 0.3), ("p6", 0.5)]
    assert [one["name"] for one in tables] == ["threshold 0.5", "threshold 0.3", ""]
    lost = [one["table"].rows[1].change.difference for one in tables]
    assert lost == pytest.approx([-0.1055, -0.2055, -0.3055])
    assert [len(one["table"].rows) for one in tables] == [2, 2, 2]


def test_the_sentence_has_the_largest_loss_of_each_kind_on_the_same_samples() -> None:
    own = clean()
    rows = [
        *own, *under(own, arguments(2 / 255), 0.1), *under(own, arguments(), 0.4),
        *under(own, arguments(8 / 255, "noise"), 0.01),
        *under(own, words(), 0.2, wording="x"), *under(own, words("suffix", 1, kept=False), 0.6, wording="y"),
        *under(own, words(method="random"), 0.15, wording="z"),
    ]  # fmt: skip
    table = robustness([(spec(), rows)])
    assert table is not None
    sentence = about_robustness(table)
    assert sentence.startswith("As it is, mean Dice is 0.845 [")
    order = [
        "noise 8/255 ",
        "pgd 8/255 ",
        "greedy, 2 typos (meaning kept) ",
        "greedy, 1 word appended (meaning not kept) ",
    ]
    places = [sentence.index(one) for one in order]
    assert places == sorted(places)
    assert "2/255" not in sentence.replace("noise 8/255", "")
    assert "random" not in sentence
    assert "with and without on the same samples" in sentence
    notes = " ".join(robustness_notes(table, spec()))
    assert "where the meaning is kept a loss is a fault" in notes
    assert "Not measured as the rest was: corruptions" in notes


def spec(**changes: Any) -> EvaluationSpec:
    values: dict[str, Any] = {
        "id": "x", "model": "m", "run_id": "r", "dataset": "d", "data_fingerprint": "f", "split": "test", "prompt": "p",
        "prompt_sources": [], "deployable": True, "protocol": "corrected", "condition": "attack", "told": "prompt",
    }  # fmt: skip
    return EvaluationSpec(**(values | changes))


def test_rows_on_different_samples_say_so_and_are_shown_on_those_they_share(tmp_path: Path) -> None:
    own = clean()
    one = attacked(tmp_path / "pgd", own[:8], under(own[:8], arguments(), 0.3))
    two = attacked(tmp_path / "words", own[4:], under(own[4:], words(), 0.1, wording="x"))
    (facts,) = robustness_facts(run_of([one, two]))
    assert "The rows are of different samples, 8 to 12: compare their changes" in facts["notes"][0]
    assert "on the 4 samples that they share" in facts["notes"][0]
    (_, first), (rows, title) = facts["lines"]
    assert (first, title) == ("", "On the 4 samples that these rows share")
    assert {len(row.samples) for row in rows} == {4}
    assert "each one's own samples" in facts["sentence"]


def test_a_model_that_reads_no_text_has_no_words_to_change() -> None:
    own = clean()
    table = robustness([(spec(told="target"), [*own, *under(own, arguments(), 0.4)])])
    assert table is not None
    notes = robustness_notes(table, spec(told="target"))
    assert "No words are changed: the model reads none" in notes
    assert not any("sentence" in one for one in notes)


@pytest.mark.parametrize(
    ("told", "name"),
    [
        (arguments(), "pgd 8/255"),
        (arguments(goal="erase"), "pgd to erase 8/255"),
        (arguments(round_trip="jpeg"), "pgd, after JPEG, 8/255"),
        (arguments(0.01, "fgsm", published=True), "published fgsm 0.01 normalised"),
        (words(), "greedy, 2 typos"),
        (words("typos", 1), "greedy, 1 typo"),
        (words("words", 1), "greedy, 1 synonym"),
        (words("words", 2, kept=False), "greedy, 2 other words (meaning not kept)"),
        (words("suffix", 1, kept=False), "greedy, 1 word appended (meaning not kept)"),
        (words("order", 2, kept=False, method="random"), "random, 2 swaps of words (meaning not kept)"),
        (words() | {"found_on": "a"}, "greedy, found on a, 2 typos"),
    ],
)
def test_names_of_attacks(told: dict[str, Any], name: str) -> None:
    assert attack_words(told) == name


def test_names_of_corruptions() -> None:
    own = clean()
    rows = [*own, *under(own, {"severity": 2}, 0.1, "jpeg"), *under(own, {"severity": 4}, 0.1, "gain")]
    table = robustness([(spec(condition="corrupted"), rows)])
    assert table is not None
    assert [row_name(row) for row in table.rows] == ["as it is", "corrupted, severity 2", "scanner-like, severity 4"]
