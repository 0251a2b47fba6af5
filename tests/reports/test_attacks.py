"""Attacks on the page: a sentence, a figure, the numbers, and pictures where they were kept."""

import html
import json
import re
import shutil
from pathlib import Path

import pytest

from vlseg.attacks import parse_text_attack
from vlseg.jobs.attack import AttackedRun, attack_on
from vlseg.jobs.attack_plan import AttackOptions
from vlseg.jobs.attack_summary import summary
from vlseg.jobs.scoring import EvaluateOptions
from vlseg.metrics import Estimate, epsilon_words
from vlseg.records.pictures import read_attack_pictures
from vlseg.reports import write_report
from vlseg.reports.attacks import search_name
from vlseg.reports.chosen import condition_words
from vlseg.reports.figures import robustness
from vlseg.reports.words.numbers import decimal


def run_copy(trained: Path, place: Path) -> Path:
    shutil.copytree(trained / "run", place, ignore=shutil.ignore_patterns("evaluations"))
    return place


def test_the_page_tells_what_attacks_did(trained: Path, tmp_path: Path) -> None:
    run = run_copy(trained, tmp_path / "run")
    options = EvaluateOptions(device="cpu", threads=1, pictures=True)
    asked = AttackOptions(method="pgd", epsilons=("4/255", "32/255"), steps=2)
    (attacked,) = attack_on([str(run)], [str(trained / "data")], options, asked)
    kept = read_attack_pictures(attacked.evaluated.folder)
    assert len(kept) == 3, "three samples under the largest budget"
    assert {json.loads(one.arguments)["budget"]["epsilon"] for one in kept} == {32 / 255}
    page = write_report([run], tmp_path / "r.html", title="t", figures=tmp_path / "figures").read_text()
    large = summary([attacked])["results"][-1]
    sentence = re.search(r"Of a mean Dice of .*? may find worse\.", page)
    assert sentence is not None
    assert decimal(large["robust_dice"]) in sentence[0]
    assert decimal(large["noise_dice"]) in sentence[0]
    assert page.count("The change, ten times") == 2 * 3, "a caption and what is read out"
    assert list((tmp_path / "figures").glob("attacks-*.svg"))
    bare = write_report([run], tmp_path / "b.html", title="t", images=False).read_text()
    assert "The change, ten times" not in bare
    assert "data:image" not in bare


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "pgd"),
        ({"goal": {"kind": "erase"}}, "pgd to erase"),
        ({"budget": {"norm": "l2", "place": "native"}}, "pgd (l2) at native size"),
        ({"round_trip": "jpeg"}, "pgd, after JPEG"),
        ({"found_on": "a"}, "pgd, found on a"),
        ({"published": True, "round_trip": "file"}, "published pgd"),
    ],
)
def test_attacks_in_words(changes: dict[str, object], words: str) -> None:
    plain = {"budget": {"norm": "linf", "place": "input"}, "goal": {"kind": "untargeted"}, "search": {"method": "pgd"}}
    assert search_name({**plain, **changes}) == words


def test_a_row_under_attack_in_words(trained: Path, tmp_path: Path) -> None:
    options = EvaluateOptions(device="cpu", threads=1, pictures=False)
    asked = AttackOptions(method="fgsm", epsilons=("0.02",), goal="move", limit=1)
    run = run_copy(trained, tmp_path / "run")
    (attacked,) = attack_on([str(run)], [str(trained / "data")], options, asked)
    row = attacked.evaluated.scores[2]
    words = "under fgsm to move, epsilon 0.02, against the mask that is wanted"
    assert condition_words(row, attacked.evaluated.spec.condition_arguments) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (2 / 255, "2/255"),
        (0.5 / 255, "0.5/255"),
        (0.01, "0.01"),
        (0.0, "0"),
        (3.0, "3"),
        (0.0226, "0.0226"),
        (0.05, "0.05"),
    ],
)
def test_budgets_read_as_they_are_typed(value: float, words: str) -> None:
    assert epsilon_words(value) == words
    assert epsilon_words(0.1, normalised=True) == "0.1 normalised"


def test_the_figure_draws_each_search_over_its_budgets() -> None:
    def curve(*means: float) -> dict[float, Estimate]:
        return {place / 255: Estimate(one, 0.1, (one - 0.05, one + 0.05), 12) for place, one in enumerate(means)}

    figure = robustness({"pgd": curve(0.9, 0.6, 0.3), "noise": curve(0.9, 0.89, 0.88)}, levels=True)
    assert figure is not None
    lines = figure.plot.axes[0].get_lines()
    drawn = [line for line in lines if len(line.get_xdata()) == 3]
    assert [list(line.get_ydata()) for line in drawn] == [[0.9, 0.6, 0.3], [0.9, 0.89, 0.88]]
    assert list(drawn[0].get_xdata()) == pytest.approx([0, 1, 2])
    assert robustness({}, levels=True) is None


def words_attacked(trained: Path, run: Path, *kinds: str, pictures: bool = False) -> AttackedRun:
    options = EvaluateOptions(device="cpu", threads=1, pictures=pictures)
    asked = AttackOptions(words=kinds, sizes=(1,), candidates=4)
    (attacked,) = attack_on([str(run)], [str(trained / "data")], options, asked)
    return attacked


def section(page: str) -> str:
    """What a reader sees under "Under attack"."""
    start = page.index('id="attacked"')
    text = re.sub(r"<[^>]+>", " ", page[start : page.index("<h2", start + 1)])
    return re.sub(r"\s+", " ", html.unescape(text))


def test_the_page_tells_what_attacks_on_sentences_did(trained: Path, tmp_path: Path) -> None:
    run = run_copy(trained, tmp_path / "run")
    attacked = words_attacked(trained, run, "typos", "suffix", pictures=True)
    page = write_report([run], tmp_path / "r.html", title="t", figures=tmp_path / "figures").read_text()
    told = section(page)
    typos, suffix = summary([attacked])["results"]
    assert f"1 typo greedy {typos['queries']:.0f} {typos['n']} (3)" in told
    assert f"1 word appended (meaning not kept) greedy {suffix['queries']:.0f}" in told
    for row in (typos, suffix):
        assert decimal(row["robust_dice"]) in told
        assert decimal(row["random_dice"]) in told
        for pair in row["sentences"][:3]:
            both = f"{pair['before']} {pair['after']} {pair['n']}"
            assert f"{both} {decimal(pair['clean_dice'])} to {decimal(pair['dice'])}" in told
    start = (
        f"Of a mean Dice of {decimal(typos['clean_dice'])}, 1 typo, by greedy, leaves {decimal(typos['robust_dice'])}"
    )
    assert start in told
    assert "The sentence asks for the same as before. A better search may find worse." in told
    assert "a lower Dice may be the right answer" in told
    assert not list((tmp_path / "figures").glob("attacks-*")), "there is no epsilon to draw over"
    for again in re.findall(r"vlseg attack --attack '(\{.*?\})'", told):
        assert parse_text_attack(json.dumps({k: v for k, v in json.loads(again).items() if k != "words"}))
    row = next(one for one in attacked.evaluated.scores if one.condition == "attack")
    assert condition_words(row, attacked.evaluated.spec.condition_arguments) == "under greedy, 1 typo"


def test_the_page_says_where_no_sentence_could_be_changed(trained: Path, tmp_path: Path) -> None:
    run = run_copy(trained, tmp_path / "run")
    options, asked = (
        EvaluateOptions(device="cpu", threads=1, pictures=False, prompt="p2"),
        AttackOptions(words=["synonyms"]),
    )
    attack_on([str(run)], [str(trained / "data")], options, asked)
    told = section(write_report([run], tmp_path / "r.html", title="t").read_text())
    assert "1 synonym greedy – 0 (0)" in told
    assert "no sample had anything to change" in told


def test_attacks_on_images_and_on_sentences_stand_on_one_page(trained: Path, tmp_path: Path) -> None:
    run = run_copy(trained, tmp_path / "run")
    words_attacked(trained, run, "order")
    options = EvaluateOptions(device="cpu", threads=1, pictures=False)
    attack_on([str(run)], [str(trained / "data")], options, AttackOptions(method="fgsm", epsilons=("4/255",)))
    told = section(write_report([run], tmp_path / "r.html", title="t").read_text())
    assert "fgsm with epsilon 4/255 leaves" in told
    assert ", 1 swap of words (meaning not kept), by greedy, leaves" in told
